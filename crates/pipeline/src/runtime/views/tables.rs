//! The tables of views on this machine: keyspace `views` of the folder `state/`.
//!
//! What a view's task remembers is stored together with the positions that led to it, in
//! one atomic, synced write. Before a transaction it is staged as a list beside what is in
//! force; the committed number of the checkpoint decides which counts. Unlike the steps'
//! memory it is read while the task runs, key by key: it need not fit in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use courant_model::{Offset, PartitionId, TopicName, limits::VIEW_STAGED_CHUNK_BYTES};
use courant_sql::stream::Visit;
use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};
use serde::{Deserialize, Serialize};

use crate::runtime::state::{StateError, failed};

/// Changes of a view's tables: table and key ([`table_key`]) → value, or nothing.
pub(super) type Dirty = BTreeMap<Vec<u8>, Option<Bytes>>;

/// What belongs to a checkpoint beside the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Of the checkpoint; every one of a partition has a larger one.
    pub(super) number: u64,
    /// Of the query that made the tables.
    pub(super) fingerprint: String,
    /// The next offset of each topic.
    pub(super) positions: BTreeMap<TopicName, Offset>,
    /// How far event time has come, input by input of the query, in microseconds.
    pub(super) event_times: Vec<i64>,
    /// The watermark; it never goes back.
    pub(super) watermark: i64,
}

/// Where the entries of a partition of a view stand in the keyspace: behind
/// `group 00 partition:4` a byte, and then
#[derive(Debug, Clone, Copy)]
enum Place {
    /// `00` → the [`Mark`] in force, as JSON.
    Mark = 0,
    /// `01 table:2 key` → value.
    Entry = 1,
    /// `02` → the staged [`Mark`], as JSON.
    Staged = 2,
    /// `03 chunk:4` → staged changes ([`write_change`]), one after the other.
    Chunk = 3,
}

/// The tables of one partition of one view; clones are one.
#[derive(Clone)]
pub(super) struct Tables {
    database: Database,
    keyspace: Keyspace,
    prefix: Vec<u8>,
}

/// A table's number and a key of it, as one key.
pub(super) fn table_key(into: &mut Vec<u8>, table: u16, key: &[u8]) {
    into.clear();
    into.extend_from_slice(&table.to_be_bytes());
    into.extend_from_slice(key);
}

impl Tables {
    pub(super) fn new(
        database: &Database,
        keyspace: &Keyspace,
        group: &str,
        partition: PartitionId,
    ) -> Self {
        let mut prefix = group.as_bytes().to_vec();
        prefix.push(0);
        prefix.extend_from_slice(&partition.to_be_bytes());
        Self { database: database.clone(), keyspace: keyspace.clone(), prefix }
    }

    fn key(&self, place: Place, rest: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + 1 + rest.len());
        key.extend_from_slice(&self.prefix);
        key.push(place as u8);
        key.extend_from_slice(rest);
        key
    }

    /// The value in force of a table's key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let value = self.keyspace.get(self.key(Place::Entry, key));
        let value = value.map_err(failed("reading a view from"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Visits entries in force, ascending, from a table's key on and below another.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StateError> {
        let skipped = self.prefix.len() + 1;
        let range = self.key(Place::Entry, from)..self.key(Place::Entry, to);
        for entry in self.keyspace.range(range) {
            let (key, value) = entry.into_inner().map_err(failed("reading a view from"))?;
            if visit(&key[skipped..], &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The mark in force.
    pub(super) fn mark(&self) -> Result<Option<Mark>, StateError> {
        self.read_mark(Place::Mark)
    }

    fn read_mark(&self, place: Place) -> Result<Option<Mark>, StateError> {
        let found = self.keyspace.get(self.key(place, &[]));
        let found = found.map_err(failed("reading a view from"))?;
        Ok(found.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Puts changes in force with their mark, atomically; durable when it returns.
    pub(super) fn store(&self, mark: &Mark, changes: &Dirty) -> Result<(), StateError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        self.put(&mut batch, mark, changes.iter().map(|(key, value)| (&key[..], value.as_deref())));
        batch.commit().map_err(failed("storing a view in"))
    }

    fn put<'a>(
        &self,
        batch: &mut OwnedWriteBatch,
        mark: &Mark,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        for (key, value) in changes {
            let key = self.key(Place::Entry, key);
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        let text = serde_json::to_vec(mark).unwrap_or_default();
        batch.insert(&self.keyspace, self.key(Place::Mark, &[]), text);
    }

    /// Stores changes beside what is in force, atomically; durable when it returns. They
    /// replace those that were staged before.
    pub(super) fn stage(&self, mark: &Mark, changes: &Dirty) -> Result<(), StateError> {
        let stage = || {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
            self.unstage(&mut batch)?;
            let text = serde_json::to_vec(mark).unwrap_or_default();
            batch.insert(&self.keyspace, self.key(Place::Staged, &[]), text);
            let (mut number, mut chunk) = (0_u32, Vec::new());
            for (key, value) in changes {
                write_change(&mut chunk, key, value.as_deref());
                if chunk.len() >= VIEW_STAGED_CHUNK_BYTES {
                    let key = self.key(Place::Chunk, &number.to_be_bytes());
                    batch.insert(&self.keyspace, key, std::mem::take(&mut chunk));
                    number += 1;
                }
            }
            let key = self.key(Place::Chunk, &number.to_be_bytes());
            batch.insert(&self.keyspace, key, chunk);
            batch.commit()
        };
        stage().map_err(failed("staging a view in"))
    }

    fn unstage(&self, batch: &mut OwnedWriteBatch) -> fjall::Result<()> {
        batch.remove(&self.keyspace, self.key(Place::Staged, &[]));
        for entry in self.keyspace.prefix(self.key(Place::Chunk, &[])) {
            batch.remove(&self.keyspace, entry.key()?);
        }
        Ok(())
    }

    /// Puts in force what was staged just now, whose transaction is committed. It need not
    /// be synced: after a crash [`Self::settle`] finds it staged.
    pub(super) fn confirm(&self, mark: &Mark, changes: &Dirty) -> Result<(), StateError> {
        let confirm = || {
            let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
            self.unstage(&mut batch)?;
            let changes = changes.iter().map(|(key, value)| (&key[..], value.as_deref()));
            self.put(&mut batch, mark, changes);
            batch.commit()
        };
        confirm().map_err(failed("settling a view in"))
    }

    /// Decides on what an earlier process staged, if anything: it is put in force where its
    /// number and its positions are committed, or later ones, and thrown away otherwise.
    /// Durable when it returns.
    pub(super) fn settle(
        &self,
        committed: u64,
        positions: &BTreeMap<TopicName, Offset>,
    ) -> Result<(), StateError> {
        let Some(mark) = self.read_mark(Place::Staged)? else { return Ok(()) };
        // Another worker may have committed the number for other positions.
        let reached = |(topic, staged): (&TopicName, &Offset)| {
            positions.get(topic).is_some_and(|committed| staged <= committed)
        };
        let counts = mark.number <= committed && mark.positions.iter().all(reached);
        let settle = || {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
            if counts {
                for entry in self.keyspace.prefix(self.key(Place::Chunk, &[])) {
                    let chunk = entry.value()?;
                    self.put(&mut batch, &mark, Changes(&chunk));
                }
            }
            self.unstage(&mut batch)?;
            batch.commit()
        };
        settle().map_err(failed("settling a view in"))
    }

    /// Forgets everything; durable when it returns.
    pub(super) fn clear(&self) -> Result<(), StateError> {
        let clear = || {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
            // The marks first: tables without one are nobody's.
            for place in [Place::Mark, Place::Staged, Place::Chunk] {
                for entry in self.keyspace.prefix(self.key(place, &[])) {
                    batch.remove(&self.keyspace, entry.key()?);
                }
            }
            batch.commit()?;
            self.clear_entries()
        };
        clear().map_err(failed("clearing a view in"))
    }

    fn clear_entries(&self) -> fjall::Result<()> {
        let all = self.key(Place::Entry, &[]);
        loop {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
            for entry in self.keyspace.prefix(&all).take(CLEARED_AT_ONCE) {
                batch.remove(&self.keyspace, entry.key()?);
            }
            if batch.is_empty() {
                return Ok(());
            }
            batch.commit()?;
        }
    }
}

/// Entries that go with one write when a view is cleared.
const CLEARED_AT_ONCE: usize = 10_000;

/// Appends a change: `length of key:4 key`, then `01 length of value:4 value` or `00`.
fn write_change(into: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let part = |into: &mut Vec<u8>, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        into.extend_from_slice(&length.to_be_bytes());
        into.extend_from_slice(bytes);
    };
    part(into, key);
    match value {
        Some(value) => {
            into.push(1);
            part(into, value);
        }
        None => into.push(0),
    }
}

/// The changes of a chunk, in order.
struct Changes<'a>(&'a [u8]);

impl<'a> Changes<'a> {
    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.0 = rest;
        Some(part)
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.part()?;
        let (is_there, rest) = self.0.split_first()?;
        self.0 = rest;
        Some((key, if *is_there == 1 { Some(self.part()?) } else { None }))
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}
