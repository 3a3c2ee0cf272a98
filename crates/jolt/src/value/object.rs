//! An object: its entries in order, searched while they are few, indexed when they are many.

use std::{cell::Cell, fmt, hash::BuildHasher, sync::LazyLock};

use hashbrown::DefaultHashBuilder;

use super::{Slot, Value};
use crate::{arena::Arena, scan::same};

/// Keys up to which an object is searched from its front: faster than hashing.
const SEARCHED_MAX: usize = 16;

/// Room that an object gets when it first grows.
const ROOM_MIN: usize = 8;

/// Seeded once a process, so that nobody can choose keys that collide.
static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

/// A JSON object.
pub struct Object<'x> {
    arena: &'x Arena,
    /// The entries and the room behind them.
    room: Cell<&'x [Entry<'x>]>,
    length: Cell<usize>,
    /// A hash table of places, each one more than it is; 0 is free. Made when it is first
    /// needed, dropped when it no longer fits.
    index: Cell<Option<&'x [Cell<u32>]>>,
    shared: Cell<bool>,
}

/// A key and its value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry<'x> {
    key: Cell<&'x str>,
    pub(crate) value: Slot<'x>,
}

impl<'x> Entry<'x> {
    pub(crate) fn key(&self) -> &'x str {
        self.key.get()
    }

    fn set(&self, other: &Self) {
        self.key.set(other.key.get());
        self.value.set(other.value.get());
    }
}

impl<'x> Object<'x> {
    pub(crate) fn new(arena: &'x Arena) -> &'x Self {
        Self::with(arena, &[], 0)
    }

    fn with(arena: &'x Arena, room: &'x [Entry<'x>], length: usize) -> &'x Self {
        let (room, length) = (Cell::new(room), Cell::new(length));
        arena.put(Self { arena, room, length, index: Cell::new(None), shared: Cell::new(false) })
    }

    /// An object of entries as they were read: a key that repeats keeps its first place
    /// and its last value.
    pub(crate) fn of(arena: &'x Arena, entries: &[(&'x str, Value<'x>)]) -> &'x Self {
        let entry = |(key, value): &(&'x str, Value<'x>)| Entry {
            key: Cell::new(key),
            value: Cell::new(*value),
        };
        if entries.len() <= SEARCHED_MAX && are_distinct(entries) {
            return Self::with(arena, arena.slice(entries.iter().map(entry)), entries.len());
        }
        let room = arena.slice((0..entries.len()).map(|_| Entry::default()));
        let object = Self::with(arena, room, 0);
        entries.iter().for_each(|(key, value)| object.insert(key, *value));
        object
    }

    pub fn len(&self) -> usize {
        self.length.get()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, key: &str) -> Option<Value<'x>> {
        self.slot(key).map(Cell::get)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'x str, Value<'x>)> + use<'x> {
        self.entries().iter().map(|entry| (entry.key(), entry.value.get()))
    }

    pub(crate) fn entries(&self) -> &'x [Entry<'x>] {
        &self.room.get()[..self.length.get()]
    }

    /// Where the value of a key is.
    #[inline]
    pub(crate) fn slot(&self, key: &str) -> Option<&'x Slot<'x>> {
        let entries = self.entries();
        let found = if entries.len() <= SEARCHED_MAX {
            entries.iter().find(|entry| same(entry.key.get(), key))
        } else {
            self.place(key).map(|place| &entries[place])
        };
        found.map(|entry| &entry.value)
    }

    /// As [`Object::slot`], looking first at `next`, which then is behind what was found:
    /// keys are mostly asked for in the order in which they stand.
    #[inline]
    pub(crate) fn slot_from(&self, next: &mut usize, key: &str) -> Option<&'x Slot<'x>> {
        let entries = self.entries();
        if let Some(entry) = entries.get(*next).filter(|entry| same(entry.key.get(), key)) {
            *next += 1;
            return Some(&entry.value);
        }
        let place = if entries.len() <= SEARCHED_MAX {
            entries.iter().position(|entry| same(entry.key.get(), key))
        } else {
            self.place(key)
        };
        *next = place? + 1;
        Some(&entries[*next - 1].value)
    }

    /// Sets a key; one that is there keeps its place.
    pub(crate) fn insert(&self, key: &'x str, value: Value<'x>) {
        match self.slot(key) {
            Some(slot) => slot.set(value),
            None => {
                self.push_new(key, value);
            }
        }
    }

    /// Appends a key that is known to be new; answers where its value is.
    #[inline]
    pub(crate) fn push_new(&self, key: &'x str, value: Value<'x>) -> &'x Slot<'x> {
        let length = self.length.get();
        if length == self.room.get().len() {
            self.grow(ROOM_MIN.max(2 * length));
        }
        let entry = &self.room.get()[length];
        entry.key.set(key);
        entry.value.set(value);
        self.length.set(length + 1);
        if let Some(index) = self.index.get() {
            if 2 * (length + 1) <= index.len() {
                add(index, key, length);
            } else {
                self.index.set(None);
            }
        }
        &entry.value
    }

    #[cold]
    fn grow(&self, room: usize) {
        let mut entries = self.arena.list(room);
        for entry in self.entries() {
            entries.push(entry.clone());
        }
        while entries.len() < room {
            entries.push(Entry::default());
        }
        self.room.set(entries.into_bump_slice());
    }

    /// Keeps the entries that please.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&'x str, Value<'x>) -> bool) {
        let (entries, mut kept) = (self.entries(), 0);
        for entry in entries {
            if keep(entry.key(), entry.value.get()) {
                entries[kept].set(entry);
                kept += 1;
            }
        }
        if kept < entries.len() {
            self.length.set(kept);
            self.index.set(None);
        }
    }

    /// Puts the entries into another order.
    pub(crate) fn sort_by(&self, mut compare: impl FnMut(&str, &str) -> std::cmp::Ordering) {
        let mut sorted = self.arena.list(self.len());
        sorted.extend(self.entries().iter().cloned());
        sorted.sort_by(|a: &Entry<'_>, b| compare(a.key(), b.key()));
        self.entries().iter().zip(&sorted).for_each(|(entry, sorted)| entry.set(sorted));
        self.index.set(None);
    }

    /// Moves entries to the end in the order of `places`, which is ascending.
    pub(crate) fn move_to_end(&self, places: &[usize]) {
        let mut moved = self.arena.list(places.len());
        let (entries, mut kept) = (self.entries(), 0);
        let mut next = places.iter().peekable();
        for (place, entry) in entries.iter().enumerate() {
            if next.next_if(|next| **next == place).is_some() {
                moved.push(entry.clone());
            } else {
                entries[kept].set(entry);
                kept += 1;
            }
        }
        entries[kept..].iter().zip(&moved).for_each(|(entry, moved)| entry.set(moved));
        self.index.set(None);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.get()
    }

    pub(super) fn share(&self) {
        self.shared.set(true);
    }

    /// A copy that has its values in common with the original.
    pub(super) fn copy(&self) -> &'x Self {
        let entries = self.entries();
        entries.iter().for_each(|entry| {
            entry.value.get().share();
        });
        Self::with(self.arena, self.arena.slice(entries.iter().cloned()), entries.len())
    }

    /// Where a key stands, by the index.
    #[cold]
    fn place(&self, key: &str) -> Option<usize> {
        let entries = self.entries();
        let index = self.index.get().unwrap_or_else(|| {
            let size = (4 * entries.len()).next_power_of_two();
            let index = self.arena.slice((0..size).map(|_| Cell::new(0)));
            entries.iter().enumerate().for_each(|(place, entry)| add(index, entry.key(), place));
            self.index.set(Some(index));
            index
        });
        let mut at = first(index, key);
        loop {
            let place = usize::try_from(index[at].get()).ok()?.checked_sub(1)?;
            if entries[place].key() == key {
                return Some(place);
            }
            at = (at + 1) % index.len();
        }
    }
}

/// Where a key is first looked for in a table, whose size is a power of two.
fn first(index: &[Cell<u32>], key: &str) -> usize {
    let hash = usize::try_from(HASHER.hash_one(key) & u64::from(u32::MAX)).unwrap_or(0);
    hash & (index.len() - 1)
}

/// Adds a new key to a table that is at most half full.
fn add(index: &[Cell<u32>], key: &str, place: usize) {
    let mut at = first(index, key);
    while index[at].get() != 0 {
        at = (at + 1) % index.len();
    }
    index[at].set(u32::try_from(place + 1).unwrap_or(u32::MAX));
}

/// Whether no key repeats, of a few: keys that differ in length or at an end need no
/// comparison.
fn are_distinct(entries: &[(&str, Value<'_>)]) -> bool {
    let mut seen = 0u64;
    for (n, (key, _)) in entries.iter().enumerate() {
        let bytes = key.as_bytes();
        let last = bytes.last().map_or(0, |byte| usize::from(*byte));
        let first = bytes.first().map_or(0, |byte| usize::from(*byte));
        let bit = 1 << ((bytes.len() + 5 * first + 11 * last) % 64);
        if seen & bit != 0 && entries[..n].iter().any(|(before, _)| before == key) {
            return false;
        }
        seen |= bit;
    }
    true
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Truth;

    #[test]
    fn a_large_object_finds_its_keys_also_after_some_are_gone() {
        let arena = Arena::new();
        let object = Object::new(&arena);
        for n in 0..1_000 {
            object.insert(arena.text(&format!("key{n}")), Value::TRUE);
        }
        assert!(object.slot("key999").is_some());
        object.retain(|key, _| !key.ends_with('7'));
        for n in 0..1_000 {
            let found = object.get(&format!("key{n}")).is_some();
            assert_eq!(found, n % 10 != 7, "key{n}");
        }
        object.insert("key0", Value::Null);
        assert_eq!(
            object.iter().next().map(|(key, value)| (key, value.is_null())),
            Some(("key0", true))
        );
        assert_eq!(object.len(), 900);
    }

    #[test]
    fn keys_that_repeat_keep_their_first_place_and_their_last_value() {
        let arena = Arena::new();
        for distinct in [2, 40] {
            let keys: Vec<&str> = (0..distinct).map(|n| arena.text(&format!("k{n}"))).collect();
            let entries: Vec<_> = [false, true]
                .iter()
                .flat_map(|last| keys.iter().map(|key| (*key, Value::from(*last))))
                .collect();
            let object = Object::of(&arena, &entries);
            assert_eq!(object.iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
            assert!(object.iter().all(|(_, value)| matches!(value, Value::Bool(Truth::True))));
        }
    }
}
