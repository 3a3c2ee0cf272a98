//! What a view's task remembers: changes in memory over the tables on disk.
//!
//! [`ViewState`] is shared by the task, which holds its lock for a whole batch, and by
//! questions from outside, which see whole batches only. Changes stay in memory until their
//! checkpoint is in force; entries that were read or written lately stay in a bounded
//! cache of the task's own. So a key is looked for in the changes, the cache and the tables,
//! in this order.

use std::{
    collections::HashMap,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;
use courant_model::limits::VIEW_CACHE_BYTES;
use courant_sql::stream::{self, State, Visit};
use parking_lot::{RwLock, RwLockWriteGuard};

use super::tables::{Dirty, Tables, table_key};
use crate::runtime::state::StateError;

/// What an entry costs in memory beside its bytes.
const ENTRY_BYTES: usize = 96;

/// The state of one partition of a view.
#[derive(Debug)]
pub(super) struct ViewState {
    pub(super) tables: Tables,
    changes: RwLock<Changes>,
}

/// Changes since the last checkpoint that is in force.
#[derive(Debug, Default)]
struct Changes {
    entries: Dirty,
    bytes: usize,
}

impl Changes {
    fn set(&mut self, key: &[u8], value: Option<Bytes>) {
        let added = value.as_ref().map_or(0, Bytes::len);
        if let Some(entry) = self.entries.get_mut(key) {
            let removed = entry.as_ref().map_or(0, Bytes::len);
            self.bytes = (self.bytes + added).saturating_sub(removed);
            *entry = value;
            return;
        }
        self.bytes += ENTRY_BYTES + key.len() + added;
        self.entries.insert(key.to_vec(), value);
    }
}

impl ViewState {
    pub(super) fn new(tables: Tables) -> Self {
        Self { tables, changes: RwLock::default() }
    }

    /// Bytes of the changes that wait for a checkpoint.
    pub(super) fn changed_bytes(&self) -> usize {
        self.changes.read().bytes
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.read().entries.is_empty()
    }

    /// Takes the lock, for a batch.
    pub(super) fn lock<'a>(&'a self, cache: &'a mut Cache) -> Working<'a> {
        Working {
            tables: &self.tables,
            changes: self.changes.write(),
            cache,
            scratch: Vec::new(),
            failure: None,
        }
    }

    /// Works on the changes that wait for a checkpoint.
    pub(super) fn with_changes<R>(&self, work: impl FnOnce(&Dirty) -> R) -> R {
        work(&self.changes.read().entries)
    }

    /// Notes that the changes are in force: they move to the cache.
    pub(super) fn stored(&self, cache: &mut Cache) {
        let changes = std::mem::take(&mut *self.changes.write());
        for (key, value) in changes.entries {
            cache.keep(key, value);
        }
    }

    /// Drops the changes.
    pub(super) fn forget(&self) {
        *self.changes.write() = Changes::default();
    }

    /// Visits the entries of a table as they are now, ascending, from a key on and below
    /// another, until the visitor breaks.
    ///
    /// # Errors
    /// When the storage fails.
    pub(super) fn scan(
        &self,
        table: u16,
        (from, to): (&[u8], &[u8]),
        visit: &mut Visit<'_>,
    ) -> Result<(), StateError> {
        let changes = self.changes.read();
        scan(&self.tables, &changes.entries, table, (from, to), visit)
    }
}

/// The state while a batch is worked on.
#[derive(Debug)]
pub(super) struct Working<'a> {
    tables: &'a Tables,
    changes: RwLockWriteGuard<'a, Changes>,
    cache: &'a mut Cache,
    /// For keys that are looked up.
    scratch: Vec<u8>,
    failure: Option<StateError>,
}

impl Working<'_> {
    /// The storage's own failure behind one that the query has passed on.
    pub(super) fn failure(&mut self, passed: &stream::StateError) -> String {
        self.failure.take().map_or_else(|| passed.to_string(), |failure| failure.to_string())
    }

    fn failed(&mut self, error: StateError) -> stream::StateError {
        self.failure = Some(error.clone());
        stream::StateError(Box::new(error))
    }
}

impl State for Working<'_> {
    fn get(&mut self, table: u16, key: &[u8]) -> Result<Option<Bytes>, stream::StateError> {
        let mut at = std::mem::take(&mut self.scratch);
        table_key(&mut at, table, key);
        let found = match self.changes.entries.get(&at) {
            Some(changed) => Ok(changed.clone()),
            None => match self.cache.get(&at) {
                Some(kept) => Ok(kept),
                None => self.tables.get(&at).inspect(|value| {
                    self.cache.keep(at.clone(), value.clone());
                }),
            },
        };
        self.scratch = at;
        found.map_err(|error| self.failed(error))
    }

    fn put(&mut self, table: u16, key: &[u8], value: Vec<u8>) {
        table_key(&mut self.scratch, table, key);
        self.changes.set(&self.scratch, Some(value.into()));
    }

    fn remove(&mut self, table: u16, key: &[u8]) {
        table_key(&mut self.scratch, table, key);
        self.changes.set(&self.scratch, None);
    }

    fn scan(
        &mut self,
        table: u16,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), stream::StateError> {
        scan(self.tables, &self.changes.entries, table, (from, to), visit)
            .map_err(|error| self.failed(error))
    }
}

/// Visits changes and tables as one, ascending; a change hides what it changes.
fn scan(
    tables: &Tables,
    changes: &Dirty,
    table: u16,
    (from, to): (&[u8], &[u8]),
    visit: &mut Visit<'_>,
) -> Result<(), StateError> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    table_key(&mut first, table, from);
    table_key(&mut last, table, to);
    if first >= last {
        return Ok(());
    }
    let bounds = (Bound::Included(first.as_slice()), Bound::Excluded(last.as_slice()));
    let mut changed = changes.range::<[u8], _>(bounds).peekable();
    let mut ended = false;
    tables.scan(&first, &last, &mut |key, value| {
        while let Some((new, entry)) = changed.next_if(|(new, _)| new.as_slice() < key) {
            if let Some(entry) = entry
                && visit(&new[2..], entry).is_break()
            {
                ended = true;
                return ControlFlow::Break(());
            }
        }
        let shown = match changed.next_if(|(new, _)| new.as_slice() == key) {
            Some((_, Some(entry))) => visit(&key[2..], entry),
            Some((_, None)) => ControlFlow::Continue(()),
            None => visit(&key[2..], value),
        };
        ended = shown.is_break();
        shown
    })?;
    for (key, entry) in changed {
        if ended {
            break;
        }
        if let Some(entry) = entry {
            ended = visit(&key[2..], entry).is_break();
        }
    }
    Ok(())
}

/// Entries as they are in the tables, of which the ones not used for longest go first.
///
/// Two generations: what is used moves to the young one, and once that is full it becomes
/// the old one, whose entries go. A key without a value is known to be absent.
#[derive(Debug, Default)]
pub(super) struct Cache {
    young: HashMap<Vec<u8>, Option<Bytes>>,
    young_bytes: usize,
    old: HashMap<Vec<u8>, Option<Bytes>>,
}

impl Cache {
    fn get(&mut self, key: &[u8]) -> Option<Option<Bytes>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.keep(key, value.clone());
        Some(value)
    }

    fn keep(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        self.old.remove(&key);
        let bytes = ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
        self.young_bytes += bytes;
        self.young.insert(key, value);
        if self.young_bytes > VIEW_CACHE_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
