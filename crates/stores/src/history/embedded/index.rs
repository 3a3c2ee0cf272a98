//! Secondary indexes: the entries of a document.
//!
//! An entry's key is the ordered bytes of the indexed values, one after another,
//! then the document's stamp; it has no value. A list gives one entry for each of
//! its items, and a value longer than [`INDEX_VALUE_BYTES_MAX`] is cut; either makes
//! the index *loose* (see [`IndexEntry::loose`]). Entries narrow, they never decide.

use std::{
    collections::BTreeSet,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use courant_model::{
    json::FieldPath,
    limits::{INDEX_ENTRIES_PER_DOCUMENT_MAX, INDEX_VALUE_BYTES_MAX},
};
use fjall::Keyspace;

use super::keys::{IndexEntry, Number, Stamp};
use crate::{
    Document, StoreError,
    history::values::{Keys, keys_at},
};

/// One index of a collection.
pub(super) struct Index {
    pub(super) number: Number,
    pub(super) fields: Vec<FieldPath>,
    pub(super) keyspace: Keyspace,
    loose: AtomicBool,
}

/// The entries of one document.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) keys: BTreeSet<Vec<u8>>,
    /// Whether they make the index loose.
    pub(super) loose: bool,
}

impl Index {
    pub(super) fn new(entry: IndexEntry, keyspace: Keyspace) -> Self {
        let IndexEntry { number, fields, loose } = entry;
        Self { number, fields, keyspace, loose: AtomicBool::new(loose) }
    }

    /// What is written of the index.
    pub(super) fn entry(&self) -> IndexEntry {
        IndexEntry { number: self.number, fields: self.fields.clone(), loose: self.loose() }
    }

    pub(super) fn loose(&self) -> bool {
        self.loose.load(Ordering::Acquire)
    }

    /// Marks the index loose; `true` when it was not.
    pub(super) fn loosen(&self) -> bool {
        !self.loose.swap(true, Ordering::AcqRel)
    }

    /// The entries of a document.
    ///
    /// # Errors
    /// [`StoreError::InvalidDocument`] above [`INDEX_ENTRIES_PER_DOCUMENT_MAX`].
    pub(super) fn entries(&self, document: &Document, stamp: Stamp) -> Result<Entries, StoreError> {
        let mut loose = false;
        let mut prefixes = vec![Vec::new()];
        for field in &self.fields {
            let Keys { values, from_list } = keys_at(document, field);
            loose |= from_list;
            if prefixes.len().saturating_mul(values.len()) > INDEX_ENTRIES_PER_DOCUMENT_MAX {
                return Err(self.too_many());
            }
            loose |= values.iter().any(|value| value.len() > INDEX_VALUE_BYTES_MAX);
            prefixes = prefixes
                .iter()
                .flat_map(|prefix| values.iter().map(|value| [prefix, cut(value)].concat()))
                .collect();
        }
        let keys = prefixes
            .into_iter()
            .map(|mut key| {
                key.extend(stamp.to_be_bytes());
                key
            })
            .collect();
        Ok(Entries { keys, loose })
    }

    fn too_many(&self) -> StoreError {
        let fields: Vec<_> = self.fields.iter().map(ToString::to_string).collect();
        StoreError::InvalidDocument {
            why: format!(
                "its lists give index {:?} more than {INDEX_ENTRIES_PER_DOCUMENT_MAX} entries",
                fields.join(",")
            ),
        }
    }
}

/// The part of a value's bytes that an index keeps.
pub(super) fn cut(value: &[u8]) -> &[u8] {
    &value[..value.len().min(INDEX_VALUE_BYTES_MAX)]
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("number", &self.number)
            .field("fields", &self.fields)
            .field("loose", &self.loose())
            .finish_non_exhaustive()
    }
}
