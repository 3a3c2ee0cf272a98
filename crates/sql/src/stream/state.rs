//! What a task remembers: ordered tables of bytes.
//!
//! The task names its tables by number; [`RESULTS`] is the one that others read. What a task
//! has put it can get at once; making it durable, together with the positions of the rows
//! that led to it, is the holder's.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;

/// The table of result rows: [`Change::key`](super::Change::key) → [`StoredResult`](super::StoredResult).
pub const RESULTS: u16 = 0;

/// Takes a key and its value, and says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Why a state could not answer.
#[derive(Debug, thiserror::Error)]
#[error("the state of the view cannot be read")]
pub struct StateError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl StateError {
    /// The state holds what no task has written.
    pub(super) fn broken(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(what.into())
    }
}

/// Tables whose keys are in the order of their bytes.
pub trait State {
    /// The value of a key.
    ///
    /// # Errors
    /// When the storage fails.
    fn get(&mut self, table: u16, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// Sets the value of a key.
    fn put(&mut self, table: u16, key: &[u8], value: Vec<u8>);

    /// Removes a key, if it is there.
    fn remove(&mut self, table: u16, key: &[u8]);

    /// Visits the keys from `from` on and below `to`, ascending, until the visitor breaks.
    ///
    /// # Errors
    /// When the storage fails.
    fn scan(
        &mut self,
        table: u16,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StateError>;
}

/// A state in memory: for tests, and for the driver on virtual time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryState {
    tables: BTreeMap<u16, BTreeMap<Vec<u8>, Bytes>>,
}

impl MemoryState {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keys and values of a table, ascending.
    pub fn entries(&self, table: u16) -> impl Iterator<Item = (&[u8], &Bytes)> {
        let entries = self.tables.get(&table).into_iter().flatten();
        entries.map(|(key, value)| (key.as_slice(), value))
    }
}

impl State for MemoryState {
    fn get(&mut self, table: u16, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.tables.get(&table).and_then(|entries| entries.get(key)).cloned())
    }

    fn put(&mut self, table: u16, key: &[u8], value: Vec<u8>) {
        let entries = self.tables.entry(table).or_default();
        match entries.get_mut(key) {
            Some(entry) => *entry = value.into(),
            None => {
                entries.insert(key.to_vec(), value.into());
            }
        }
    }

    fn remove(&mut self, table: u16, key: &[u8]) {
        if let Some(entries) = self.tables.get_mut(&table) {
            entries.remove(key);
        }
    }

    fn scan(
        &mut self,
        table: u16,
        from: &[u8],
        to: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StateError> {
        let Some(entries) = self.tables.get(&table).filter(|_| from < to) else { return Ok(()) };
        for (key, value) in entries.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
