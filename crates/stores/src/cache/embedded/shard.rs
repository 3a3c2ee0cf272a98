//! One shard of the cache in memory: entries, what expires when, what is not flushed.
//!
//! Get, set and delete are O(1); a key with a time to live costs O(log n) more, so
//! that what is due is found without looking at the rest. Eviction is CLOCK: a hand
//! goes round the entries, spares those used since it last passed, takes the first
//! that was not. Invariant: the tables' counters and the memory counter are the sums
//! of the entries. A deleted key stays as an entry without a body while its versions are
//! remembered; readers, pages and counts of keys do not meet it. A shard knows no disk and
//! no other shard.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use indexmap::{Equivalent, IndexMap};

use super::versions::{Versions, kept_until};
use crate::StoreError;

/// Bytes that an entry costs beside its key and values, and a field beside its own.
const ENTRY_BYTES: usize = 192;
const FIELD_BYTES: usize = 96;

/// A key within its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    table: u32,
    key: Arc<str>,
}

/// A key to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyRef<'a> {
    pub(super) table: u32,
    pub(super) key: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.table == key.table && *self.key == *key.key
    }
}

/// A table: its name and its sums.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) keys: AtomicU64,
    pub(super) size_bytes: AtomicU64,
    pub(super) evicted: AtomicU64,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Value(Bytes),
    Fields(IndexMap<String, Bytes>),
}

impl Body {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Value(_) => "a value",
            Self::Fields(_) => "fields",
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Fields(fields) => {
                fields.iter().map(|(name, value)| field_bytes(name, value)).sum()
            }
        }
    }
}

/// A key's contents and when they end, in microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// `None`: the key was deleted; its versions are remembered until it expires.
    pub(super) body: Option<Body>,
    pub(super) versions: Versions,
    pub(super) expires_micros: Option<i64>,
}

/// What goes with a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) version: Option<i64>,
    pub(super) expires_micros: Option<i64>,
    /// The time, in microseconds since the epoch.
    pub(super) now: i64,
}

/// The state of a key that changed since the last flush; `None` when it went.
pub(super) type Unflushed = (Arc<Table>, Key, Option<Held>);

#[derive(Debug)]
struct Entry {
    table: Arc<Table>,
    held: Held,
    size_bytes: usize,
    /// Since the hand last passed.
    used: bool,
}

/// What all shards share.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) used_bytes: AtomicU64,
    /// Keys that changed since the last flush.
    pub(super) unflushed: AtomicU64,
    /// Bytes that one key may hold.
    pub(super) entry_bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Shard {
    memory: Arc<Memory>,
    entries: IndexMap<Key, Entry>,
    due: BTreeSet<(i64, Key)>,
    unflushed: HashMap<Key, Arc<Table>>,
    /// Index of the entry that the hand points at.
    hand: usize,
}

impl Key {
    pub(super) fn text(&self) -> &str {
        &self.key
    }

    pub(super) fn of(table: &Table, key: &str) -> Self {
        Self { table: table.number, key: key.into() }
    }

    fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { table: self.table, key: &self.key }
    }
}

impl Held {
    fn expired(&self, now: i64) -> bool {
        self.expires_micros.is_some_and(|at| at <= now)
    }

    fn size_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Body::size_bytes) + self.versions.size_bytes()
    }

    /// The fields of a key that holds something.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`].
    fn fields(&self, table: &Table, key: &str) -> Result<&IndexMap<String, Bytes>, StoreError> {
        match &self.body {
            Some(Body::Fields(fields)) => Ok(fields),
            _ => Err(wrong_kind(table, key, &Body::Value(Bytes::new()), "fields")),
        }
    }

    /// A deleted key.
    fn gone(versions: Versions, now: i64) -> Self {
        Self { body: None, versions, expires_micros: Some(kept_until(now)) }
    }
}

impl Shard {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            entries: IndexMap::new(),
            due: BTreeSet::new(),
            unflushed: HashMap::new(),
            hand: 0,
        }
    }

    /// What a live key holds; marks it used.
    pub(super) fn get(&mut self, key: KeyRef<'_>, now: i64) -> Option<&Body> {
        let index = self.live(key, now)?;
        let entry = &mut self.entries[index];
        entry.used = true;
        entry.held.body.as_ref()
    }

    /// Replaces whatever the key held.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub(super) fn set(
        &mut self,
        table: &Arc<Table>,
        key: &str,
        value: Bytes,
        terms: Terms,
    ) -> Result<(), StoreError> {
        self.check_size(key, value.len())?;
        let live = self.live(KeyRef { table: table.number, key }, terms.now);
        if live.is_some_and(|index| self.entries[index].held.versions.outdates(terms.version)) {
            return Ok(());
        }
        let (body, versions) = (Some(Body::Value(value)), Versions::new(terms.version, []));
        self.put(table, key, Held { body, versions, expires_micros: terms.expires_micros });
        Ok(())
    }

    /// Sets one field. Without an expiry the key's stays as it is.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`], [`StoreError::TooLarge`].
    pub(super) fn set_field(
        &mut self,
        table: &Arc<Table>,
        key: &str,
        (field, value): (String, Bytes),
        terms: Terms,
    ) -> Result<(), StoreError> {
        let live = self.live(KeyRef { table: table.number, key }, terms.now);
        let held = live.map(|index| &mut self.entries[index].held);
        let late = |held: &Held| held.versions.outdates_field(&field, terms.version);
        if held.as_ref().is_some_and(|held| late(held)) {
            return Ok(());
        }
        match (live, held) {
            (Some(index), Some(Held { body: Some(_), .. })) => {
                self.set_field_of(index, table, (field, value), terms)
            }
            (_, held) => {
                let mut versions = held.map(|held| held.versions.clone()).unwrap_or_default();
                self.check_size(key, field_bytes(&field, &value))?;
                versions.set(&field, terms.version);
                let body = Some(Body::Fields(IndexMap::from([(field, value)])));
                self.put(table, key, Held { body, versions, expires_micros: terms.expires_micros });
                Ok(())
            }
        }
    }

    /// Sets one field of a key that holds something.
    fn set_field_of(
        &mut self,
        index: usize,
        table: &Table,
        (field, value): (String, Bytes),
        terms: Terms,
    ) -> Result<(), StoreError> {
        let (key, entry) = self.entries.get_index(index).expect("a live key is there");
        let fields = entry.held.fields(table, key.text())?;
        let old_bytes = fields.get(&field).map_or(0, |old| field_bytes(&field, old));
        let rest_bytes = ENTRY_BYTES + key.key.len() + entry.held.versions.size_bytes();
        let body_bytes = entry.size_bytes - rest_bytes - old_bytes + field_bytes(&field, &value);
        self.check_size(key.text(), body_bytes)?;
        let key_bytes = key.key.len();
        let entry = &mut self.entries[index];
        entry.used = true;
        entry.held.versions.set(&field, terms.version);
        let rest_bytes = ENTRY_BYTES + key_bytes + entry.held.versions.size_bytes();
        if let Some(Body::Fields(fields)) = &mut entry.held.body {
            fields.insert(field, value);
        }
        if terms.expires_micros.is_some() {
            self.set_expiry(index, terms.expires_micros);
        }
        self.resized(index, rest_bytes + body_bytes);
        self.changed(index);
        Ok(())
    }

    /// Removes a key; absent is fine. With a version it is remembered.
    pub(super) fn delete(&mut self, table: &Arc<Table>, key: &str, terms: Terms) {
        let live = self.live(KeyRef { table: table.number, key }, terms.now);
        if live.is_some_and(|index| self.entries[index].held.versions.outdates(terms.version)) {
            return;
        }
        match (terms.version, live) {
            (None, None) => {}
            (None, Some(index)) => self.remove(index),
            (version, _) => {
                self.put(table, key, Held::gone(Versions::new(version, []), terms.now));
            }
        }
    }

    /// Removes a field, and the key with its last one; absent is fine. With a version it
    /// is remembered.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`].
    pub(super) fn delete_field(
        &mut self,
        table: &Arc<Table>,
        key: &str,
        field: &str,
        terms: Terms,
    ) -> Result<(), StoreError> {
        let live = self.live(KeyRef { table: table.number, key }, terms.now);
        let Some(index) = live else {
            let mut versions = Versions::default();
            versions.delete(field, terms.version, terms.now);
            if !versions.is_empty() {
                self.put(table, key, Held::gone(versions, terms.now));
            }
            return Ok(());
        };
        let held = &mut self.entries[index].held;
        if held.versions.outdates_field(field, terms.version) {
            return Ok(());
        }
        if held.body.is_some() {
            held.fields(table, key)?;
        }
        held.versions.delete(field, terms.version, terms.now);
        if let Some(Body::Fields(fields)) = &mut held.body {
            fields.shift_remove(field);
            if !fields.is_empty() {
                let size_bytes = key.len() + held.size_bytes() + ENTRY_BYTES;
                self.resized(index, size_bytes);
                self.changed(index);
                return Ok(());
            }
        }
        match std::mem::take(&mut held.versions) {
            versions if versions.is_empty() => self.remove(index),
            versions => self.put(table, key, Held::gone(versions, terms.now)),
        }
        Ok(())
    }

    /// Removes everything that is due.
    pub(super) fn sweep(&mut self, now: i64) {
        while let Some((at, key)) = self.due.first()
            && *at <= now
        {
            let index = self.entries.get_index_of(&key.as_ref());
            self.remove(index.expect("what is due is there"));
        }
    }

    /// Gives one entry up to make room; `false` when there is none.
    pub(super) fn evict(&mut self) -> bool {
        // Once round clears every mark, so the second round finds a victim.
        for _ in 0..=self.entries.len() {
            self.hand = if self.hand < self.entries.len() { self.hand } else { 0 };
            let Some((_, entry)) = self.entries.get_index_mut(self.hand) else { return false };
            if std::mem::take(&mut entry.used) {
                self.hand += 1;
                continue;
            }
            entry.table.evicted.fetch_add(u64::from(entry.held.body.is_some()), Relaxed);
            self.remove(self.hand);
            return true;
        }
        false
    }

    /// Keys of a table that are live.
    pub(super) fn keys(&self, table: u32, now: i64) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(move |(key, entry)| {
                key.table == table && entry.held.body.is_some() && !entry.held.expired(now)
            })
            .map(|(key, _)| &*key.key)
    }

    /// Takes what changed since this was last asked.
    pub(super) fn take_unflushed(&mut self) -> Vec<Unflushed> {
        let keys = std::mem::take(&mut self.unflushed);
        self.memory.unflushed.fetch_sub(keys.len() as u64, Relaxed);
        keys.into_iter()
            .map(|(key, table)| {
                let held = self.entries.get(&key.as_ref()).map(|entry| entry.held.clone());
                (table, key, held)
            })
            .collect()
    }

    /// Remembers that a key is not flushed after all.
    pub(super) fn mark_unflushed(&mut self, table: Arc<Table>, key: Key) {
        if self.unflushed.insert(key, table).is_none() {
            self.memory.unflushed.fetch_add(1, Relaxed);
        }
    }

    /// Puts an entry in place, as restored from disk: not changed, not used.
    pub(super) fn restore(&mut self, table: &Arc<Table>, key: &str, held: Held) {
        self.put(table, key, held);
        let key = Key::of(table, key);
        if self.unflushed.remove(&key).is_some() {
            self.memory.unflushed.fetch_sub(1, Relaxed);
        }
    }

    fn put(&mut self, table: &Arc<Table>, key: &str, held: Held) {
        let expires_micros = held.expires_micros;
        let size_bytes = key.len() + held.size_bytes() + ENTRY_BYTES;
        let has_body = held.body.is_some();
        let index = match self.entries.get_index_of(&KeyRef { table: table.number, key }) {
            Some(index) => {
                self.set_expiry(index, None);
                let entry = &mut self.entries[index];
                table.keys.fetch_sub(u64::from(entry.held.body.is_some()), Relaxed);
                entry.held = Held { expires_micros: None, ..held };
                entry.used = true;
                index
            }
            None => {
                let held = Held { expires_micros: None, ..held };
                let entry = Entry { table: Arc::clone(table), held, size_bytes: 0, used: false };
                self.entries.insert_full(Key::of(table, key), entry).0
            }
        };
        table.keys.fetch_add(u64::from(has_body), Relaxed);
        self.set_expiry(index, expires_micros);
        self.resized(index, size_bytes);
        self.changed(index);
    }

    /// Where a key stands; an expired one is removed and absent.
    fn live(&mut self, key: KeyRef<'_>, now: i64) -> Option<usize> {
        let index = self.entries.get_index_of(&key)?;
        if self.entries[index].held.expired(now) {
            self.remove(index);
            return None;
        }
        Some(index)
    }

    fn remove(&mut self, index: usize) {
        self.set_expiry(index, None);
        self.resized(index, 0);
        self.changed(index);
        if let Some((_, entry)) = self.entries.swap_remove_index(index) {
            entry.table.keys.fetch_sub(u64::from(entry.held.body.is_some()), Relaxed);
        }
    }

    fn set_expiry(&mut self, index: usize, expires_micros: Option<i64>) {
        let Some((key, entry)) = self.entries.get_index_mut(index) else { return };
        if let Some(at) = std::mem::replace(&mut entry.held.expires_micros, expires_micros) {
            self.due.remove(&(at, key.clone()));
        }
        if let Some(at) = expires_micros {
            self.due.insert((at, key.clone()));
        }
    }

    fn resized(&mut self, index: usize, size_bytes: usize) {
        let entry = &mut self.entries[index];
        let old = std::mem::replace(&mut entry.size_bytes, size_bytes) as u64;
        // The new before the old: the sums never pass below zero.
        for sum in [&entry.table.size_bytes, &self.memory.used_bytes] {
            sum.fetch_add(size_bytes as u64, Relaxed);
            sum.fetch_sub(old, Relaxed);
        }
    }

    fn changed(&mut self, index: usize) {
        if let Some((key, entry)) = self.entries.get_index(index) {
            let (key, table) = (key.clone(), Arc::clone(&entry.table));
            self.mark_unflushed(table, key);
        }
    }

    fn check_size(&self, key: &str, body_bytes: usize) -> Result<(), StoreError> {
        let (found_bytes, max_bytes) = (key.len() + body_bytes, self.memory.entry_bytes_max);
        if found_bytes > max_bytes {
            return Err(StoreError::TooLarge { found_bytes, max_bytes });
        }
        Ok(())
    }
}

fn field_bytes(name: &str, value: &Bytes) -> usize {
    name.len() + value.len() + FIELD_BYTES
}

/// The refusal of an operation on what the key does not hold.
pub(super) fn wrong_kind(
    table: &Table,
    key: &str,
    found: &Body,
    expected: &'static str,
) -> StoreError {
    StoreError::WrongKind {
        table: table.name.clone(),
        key: key.to_owned(),
        found: found.kind(),
        expected,
    }
}
