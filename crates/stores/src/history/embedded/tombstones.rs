//! Versions of deleted documents, kept for a day.
//!
//! A delete with a version leaves a tombstone, written with it in one batch, so that an
//! older write that comes again does not bring the document back. Two keyspaces: by id, to
//! ask; by time, to drop what is older than the bound, some with every new one. Invariant:
//! a tombstone past its time is not seen, whether it was dropped or not. Only the one
//! writer comes here.

use std::{collections::HashMap, time::Duration};

use courant_model::limits::{DELETED_VERSIONS_DROPPED_MAX, DELETED_VERSIONS_KEPT_MS};
use fjall::{Database, Keyspace, OwnedWriteBatch};

use super::{
    changes::{reading, unreadable},
    keys::{Stamp, Tombstone, earlier, tombstone_time_key},
};
use crate::{StoreError, engine};

pub(super) struct Tombstones {
    by_id: Keyspace,
    by_time: Keyspace,
}

impl Tombstones {
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        let by_id = engine::keyspace(database, "tombstones")?;
        let by_time = engine::keyspace(database, "tombstone-times")?;
        Ok(Self { by_id, by_time })
    }

    /// The tombstone of an id, unless its time is over.
    pub(super) fn get(&self, id_key: &[u8], now: Stamp) -> Result<Option<Tombstone>, StoreError> {
        let Some(bytes) = self.by_id.get(id_key).map_err(reading)? else { return Ok(None) };
        let tombstone = Tombstone::decode(&bytes).ok_or_else(|| unreadable("tombstone"))?;
        Ok(Some(tombstone).filter(|tombstone| tombstone.deleted > oldest_kept(now)))
    }

    /// Adds a tombstone to the batch.
    pub(super) fn add(&self, batch: &mut OwnedWriteBatch, id_key: &[u8], tombstone: Tombstone) {
        batch.insert(&self.by_id, id_key, tombstone.encode());
        batch.insert(&self.by_time, tombstone_time_key(tombstone.deleted, id_key), []);
    }

    /// Adds to the batch that outdated tombstones go, but for those that it `renewed`, the
    /// oldest of them first, which begin at `from`; answers where the rest begins.
    pub(super) fn drop_outdated(
        &self,
        batch: &mut OwnedWriteBatch,
        renewed: &HashMap<Vec<u8>, Tombstone>,
        from: Stamp,
        now: Stamp,
    ) -> Result<Stamp, StoreError> {
        // From where the last one ended: what was removed before costs a scan to pass.
        let end = oldest_kept(now).saturating_add(1);
        let range = from.to_be_bytes().to_vec()..end.to_be_bytes().to_vec();
        let mut reached = from;
        for item in self.by_time.range(range).take(DELETED_VERSIONS_DROPPED_MAX) {
            let key = item.key().map_err(reading)?;
            let (time, id_key) =
                key.split_first_chunk().ok_or_else(|| unreadable("time of a tombstone"))?;
            reached = Stamp::from_be_bytes(*time);
            let stored = self.by_id.get(id_key).map_err(reading)?;
            let stored = stored.and_then(|bytes| Tombstone::decode(&bytes));
            if !renewed.contains_key(id_key) && stored.is_some_and(|one| one.deleted == reached) {
                batch.remove(&self.by_id, id_key);
            }
            batch.remove(&self.by_time, key.as_ref());
        }
        Ok(reached)
    }
}

#[cfg(test)]
impl Tombstones {
    /// Entries by id and by time.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.by_id.len().unwrap(), self.by_time.len().unwrap())
    }
}

fn oldest_kept(now: Stamp) -> Stamp {
    earlier(now, Duration::from_millis(DELETED_VERSIONS_KEPT_MS))
}
