//! Collections and indexes: created, filled and dropped.
//!
//! An index is filled from the documents that exist before it is listed, so that no
//! reader meets half of it; a crash on the way leaves a keyspace that nobody lists,
//! which the next opening deletes. All of it holds the writer.

use std::sync::Arc;

use courant_model::json::FieldPath;

use super::{
    changes::reading,
    index::Index,
    keys::{CollectionEntry, IndexEntry, MetaKey, Number, Totals, index_keyspace, trailing_stamp},
    store::{Collection, Store, Writer, parse},
};
use crate::{CollectionSpec, StoreError, engine, names::check_name};

/// Entries of a new index that are written at a time.
const FILL_ENTRIES: usize = 10_000;

impl Store {
    /// Makes the collection what the specification says.
    pub(super) fn ensure_collection(&self, spec: &CollectionSpec) -> Result<(), StoreError> {
        check_name("collection", &spec.name)?;
        let wanted = spec.checked_indexes()?;
        let mut writer = self.writer.lock();
        let known = self.collections.read().get(&spec.name).cloned();
        match known {
            Some(collection) if same(&collection.indexes(), &wanted) => Ok(()),
            Some(collection) => self.set_indexes(&mut writer, &collection, &wanted),
            None => {
                let entry = CollectionEntry {
                    number: writer.number(),
                    identity: uuid::Uuid::new_v4().as_u64_pair().0,
                    indexes: Vec::new(),
                };
                let collection =
                    Arc::new(Collection::new(spec.name.clone(), &entry, Totals::default()));
                self.set_indexes(&mut writer, &collection, &wanted)?;
                self.collections.write().insert(spec.name.clone(), collection);
                Ok(())
            }
        }
    }

    fn set_indexes(
        &self,
        writer: &mut Writer,
        collection: &Collection,
        wanted: &[Vec<FieldPath>],
    ) -> Result<(), StoreError> {
        let old = collection.indexes();
        let mut indexes = Vec::with_capacity(wanted.len());
        for fields in wanted {
            match old.iter().find(|index| index.fields == *fields) {
                Some(index) => indexes.push(Arc::clone(index)),
                None => indexes.push(Arc::new(self.fill(collection, writer.number(), fields)?)),
            }
        }
        let mut batch = self.durable_batch();
        let key = MetaKey::Collection(&collection.name).encode();
        batch.insert(&self.meta, key, collection.entry(&indexes));
        self.commit(batch, "writing a collection of the history")?;
        let dropped: Vec<_> =
            old.iter().filter(|index| !wanted.contains(&index.fields)).cloned().collect();
        *collection.indexes.write() = indexes.into();
        for index in dropped {
            self.database.delete_keyspace(index.keyspace.clone()).map_err(|error| {
                StoreError::storage(format!("dropping index {:?}", index.fields), error)
            })?;
        }
        Ok(())
    }

    /// Builds an index over the documents that exist.
    fn fill(
        &self,
        collection: &Collection,
        number: Number,
        fields: &[FieldPath],
    ) -> Result<Index, StoreError> {
        let keyspace = engine::keyspace(&self.database, &index_keyspace(number))?;
        let index =
            Index::new(IndexEntry { number, fields: fields.to_vec(), loose: false }, keyspace);
        const ACTION: &str = "filling an index of the history";
        let mut batch = self.database.batch();
        for item in self.documents.prefix(collection.number.to_be_bytes()) {
            let (key, body) = item.into_inner().map_err(reading)?;
            let stamp = trailing_stamp(&key).unwrap_or(0);
            let document = parse(&body).ok_or_else(|| self.broken_document(collection, stamp))?;
            let entries = index.entries(&document, stamp)?;
            if entries.loose {
                index.loosen();
            }
            for key in entries.keys {
                batch.insert(&index.keyspace, key, []);
            }
            if batch.len() >= FILL_ENTRIES {
                self.commit(std::mem::replace(&mut batch, self.database.batch()), ACTION)?;
            }
        }
        self.commit(batch, ACTION)?;
        Ok(index)
    }
}

impl Writer {
    fn number(&mut self) -> Number {
        self.next_number += 1;
        self.next_number - 1
    }
}

fn same(indexes: &[Arc<Index>], wanted: &[Vec<FieldPath>]) -> bool {
    indexes.len() == wanted.len() && indexes.iter().all(|index| wanted.contains(&index.fields))
}
