//! What one transform may still use: memory, values, matches and bytes of text.
//!
//! Charged where something is made or tried, so that a specification that multiplies its
//! document, or a document made to hurt, ends with an error instead of the memory.

use std::ops::AddAssign;

use crate::{
    arena::Arena,
    limits::{INDEX_MAX, MEMORY_BYTES_MAX, NODES_MAX, STEPS_MAX, TEXT_BYTES_MAX},
    value::{Array, Value},
    walk::OutOfRange,
};

/// Why an operation stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

impl From<OutOfRange> for Fault {
    fn from(reference: OutOfRange) -> Self {
        Self(reference.to_string())
    }
}

/// What an operation runs with: its memory, what it may use, and who is told.
pub(crate) struct Run<'x, 'r, O> {
    pub(crate) arena: &'x Arena,
    pub(crate) budget: &'r mut Budget<'x>,
    pub(crate) observer: &'r mut O,
}

/// What is left.
#[derive(Debug)]
pub(crate) struct Budget<'x> {
    arena: &'x Arena,
    /// What the arena may have taken from the system.
    memory_bytes: usize,
    nodes: usize,
    steps: usize,
    text_bytes: usize,
}

/// What a value is charged as where it gets a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Scalars and containers in it, itself among them.
    pub(crate) nodes: usize,
    /// Keys and strings. They are borrowed, not copied, but each place writes them out.
    pub(crate) text_bytes: usize,
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.text_bytes = self.text_bytes.saturating_add(other.text_bytes);
    }
}

#[inline]
fn take(left: &mut usize, wanted: usize, what: &str, max: usize) -> Result<(), Fault> {
    match left.checked_sub(wanted) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(exhausted(what, max)),
    }
}

#[cold]
fn exhausted(what: &str, max: usize) -> Fault {
    Fault(format!("the result is too large: more than {max} {what}"))
}

impl<'x> Budget<'x> {
    /// A budget for what is made in an arena from now on.
    pub(crate) fn of(arena: &'x Arena) -> Self {
        let memory_bytes = arena.allocated_bytes().saturating_add(MEMORY_BYTES_MAX);
        let (nodes, steps, text_bytes) = (NODES_MAX, STEPS_MAX, TEXT_BYTES_MAX);
        Self { arena, memory_bytes, nodes, steps, text_bytes }
    }

    /// Values that are made.
    #[inline]
    pub(crate) fn nodes(&mut self, count: usize) -> Result<(), Fault> {
        take(&mut self.nodes, count, "values", NODES_MAX)?;
        self.memory()
    }

    /// Matches that are tried.
    #[inline]
    pub(crate) fn steps(&mut self, count: usize) -> Result<(), Fault> {
        take(&mut self.steps, count, "matches tried", STEPS_MAX)?;
        self.memory()
    }

    /// Text that is made, or gets a place.
    #[inline]
    pub(crate) fn text(&mut self, bytes: usize) -> Result<(), Fault> {
        take(&mut self.text_bytes, bytes, "bytes of text", TEXT_BYTES_MAX)
    }

    pub(crate) fn weight(&mut self, weight: Weight) -> Result<(), Fault> {
        self.text(weight.text_bytes)?;
        self.nodes(weight.nodes)
    }

    /// Whether the arena is still within its bound. Values and matches differ in what they
    /// take: growing containers leave their old room behind, and trying a key can make text.
    #[inline]
    fn memory(&self) -> Result<(), Fault> {
        if self.arena.allocated_bytes() > self.memory_bytes {
            return Err(exhausted("bytes of memory", MEMORY_BYTES_MAX));
        }
        Ok(())
    }

    /// A value for a second place, paid for as if it were copied: a specification that
    /// doubles its document again and again ends here, although nothing is copied yet.
    #[inline]
    pub(crate) fn copy(&mut self, value: Value<'x>) -> Result<Value<'x>, Fault> {
        self.weight(value.weight())?;
        Ok(value.share())
    }

    /// Lets an array grow so that it has this index.
    pub(crate) fn grow(&mut self, array: &Array<'_>, index: usize) -> Result<(), Fault> {
        if index >= array.len() {
            if index > INDEX_MAX {
                return Err(Fault(format!("index {index} is too large; {INDEX_MAX} is the most")));
            }
            self.nodes(index + 1 - array.len())?;
            array.lengthen(index + 1);
        }
        Ok(())
    }
}
