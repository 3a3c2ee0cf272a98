//! An array: places in the arena, with room to grow.

use std::{cell::Cell, fmt};

use super::{Slot, Value};
use crate::arena::Arena;

/// Room that an array gets when it first grows.
const ROOM_MIN: usize = 4;

/// A JSON array.
pub struct Array<'x> {
    arena: &'x Arena,
    /// The array and the room behind it.
    room: Cell<&'x [Slot<'x>]>,
    length: Cell<usize>,
    shared: Cell<bool>,
}

impl<'x> Array<'x> {
    pub(crate) fn of(
        arena: &'x Arena,
        items: impl ExactSizeIterator<Item = Value<'x>>,
    ) -> &'x Self {
        let room = arena.slice(items.map(Cell::new));
        let (length, shared) = (Cell::new(room.len()), Cell::new(false));
        arena.put(Self { arena, room: Cell::new(room), length, shared })
    }

    pub fn len(&self) -> usize {
        self.length.get()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, index: usize) -> Option<Value<'x>> {
        self.slots().get(index).map(Cell::get)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value<'x>> + use<'x> {
        self.slots().iter().map(Cell::get)
    }

    pub(crate) fn slots(&self) -> &'x [Slot<'x>] {
        &self.room.get()[..self.length.get()]
    }

    pub(crate) fn push(&self, value: Value<'x>) {
        let length = self.length.get();
        if length == self.room.get().len() {
            self.make_room(length + 1);
        }
        self.room.get()[length].set(value);
        self.length.set(length + 1);
    }

    /// Grows to a length, with nulls.
    pub(crate) fn lengthen(&self, length: usize) {
        if length <= self.len() {
            return;
        }
        if length > self.room.get().len() {
            self.make_room(length);
        }
        // What shrank before may have left something there.
        self.room.get()[self.len()..length].iter().for_each(|slot| slot.set(Value::Null));
        self.length.set(length);
    }

    fn make_room(&self, wanted: usize) {
        let before = self.slots();
        let room = wanted.max(2 * before.len()).max(ROOM_MIN);
        let slot = |n: usize| before.get(n).cloned().unwrap_or_default();
        self.room.set(self.arena.slice((0..room).map(slot)));
    }

    /// Keeps the items that please.
    pub(crate) fn retain(&self, mut keep: impl FnMut(usize, Value<'x>) -> bool) {
        let (slots, mut kept) = (self.slots(), 0);
        for (index, slot) in slots.iter().enumerate() {
            if keep(index, slot.get()) {
                slots[kept].set(slot.get());
                kept += 1;
            }
        }
        self.length.set(kept);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.get()
    }

    pub(super) fn share(&self) {
        self.shared.set(true);
    }

    /// A copy that has its items in common with the original.
    pub(super) fn copy(&self) -> &'x Self {
        Self::of(self.arena, self.iter().map(Value::share))
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
