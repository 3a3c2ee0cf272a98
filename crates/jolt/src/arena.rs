//! The memory of one transform: everything that it makes lies in one arena.
//!
//! Values are small and copied freely; what they point to lives as long as the arena and
//! is given back all at once. A reset arena keeps its last block, so a thread that
//! transforms one document after another soon asks the system for nothing. It does not
//! run destructors; nothing that lies in it has one.

use std::fmt;

use bumpalo::{Bump, collections};

use crate::{
    limits::ARENA_KEPT_BYTES_MAX,
    value::{Array, Object, Value},
};

/// Memory for documents that are parsed and transformed.
#[derive(Default)]
pub struct Arena {
    bump: Bump,
}

/// A list that grows in an arena.
pub(crate) type List<'x, T> = collections::Vec<'x, T>;

/// A text that grows in an arena.
pub(crate) type Growing<'x> = collections::String<'x>;

impl Arena {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what lies in it. Memory stays for the next document, unless it is a lot.
    pub fn reset(&mut self) {
        if self.allocated_bytes() > ARENA_KEPT_BYTES_MAX {
            *self = Self::default();
        } else {
            self.bump.reset();
        }
    }

    /// Bytes that it has from the system, used or not.
    #[inline]
    pub fn allocated_bytes(&self) -> usize {
        self.bump.allocated_bytes()
    }

    pub(crate) fn text(&self, text: &str) -> &str {
        self.bump.alloc_str(text)
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) -> &[u8] {
        self.bump.alloc_slice_copy(bytes)
    }

    /// The text of an index.
    pub(crate) fn index(&self, index: usize) -> &str {
        self.text(itoa::Buffer::new().format(index))
    }

    pub(crate) fn growing(&self, bytes: usize) -> Growing<'_> {
        Growing::with_capacity_in(bytes, &self.bump)
    }

    pub(crate) fn list<T>(&self, capacity: usize) -> List<'_, T> {
        List::with_capacity_in(capacity, &self.bump)
    }

    pub(crate) fn slice<T>(&self, items: impl ExactSizeIterator<Item = T>) -> &[T] {
        self.bump.alloc_slice_fill_iter(items)
    }

    pub(crate) fn put<T>(&self, value: T) -> &T {
        self.bump.alloc(value)
    }

    /// An array of these values.
    pub(crate) fn array<'x>(
        &'x self,
        items: impl ExactSizeIterator<Item = Value<'x>>,
    ) -> Value<'x> {
        Value::Array(Array::of(self, items))
    }

    /// An object without keys.
    pub(crate) fn object(&self) -> Value<'_> {
        Value::Object(Object::new(self))
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("bytes", &self.allocated_bytes()).finish()
    }
}
