//! What one transform may still use: values, matches and bytes of text.
//!
//! Charged where something is made or tried, so that a specification that multiplies its
//! document, or a document made to hurt, ends with an error instead of the memory.

use crate::{
    arena::Arena,
    limits::{INDEX_MAX, NODES_MAX, STEPS_MAX, TEXT_BYTES_MAX},
    value::{Array, Value},
    walk::OutOfRange,
};

/// Why an operation stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

impl From<OutOfRange> for Fault {
    fn from(OutOfRange(what): OutOfRange) -> Self {
        Self(what)
    }
}

/// What an operation runs with: its memory, what it may use, and who is told.
pub(crate) struct Run<'x, 'r, O> {
    pub(crate) arena: &'x Arena,
    pub(crate) budget: &'r mut Budget,
    pub(crate) observer: &'r mut O,
}

/// What is left.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: usize,
    steps: usize,
    text_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: NODES_MAX, steps: STEPS_MAX, text_bytes: TEXT_BYTES_MAX }
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

impl Budget {
    /// Values that are made.
    pub(crate) fn nodes(&mut self, count: usize) -> Result<(), Fault> {
        take(&mut self.nodes, count, "values", NODES_MAX)
    }

    /// Matches that are tried.
    pub(crate) fn steps(&mut self, count: usize) -> Result<(), Fault> {
        take(&mut self.steps, count, "matches tried", STEPS_MAX)
    }

    /// Text that is made.
    pub(crate) fn text(&mut self, bytes: usize) -> Result<(), Fault> {
        take(&mut self.text_bytes, bytes, "bytes of text made", TEXT_BYTES_MAX)
    }

    /// A value for a second place, paid for as if it were copied: a specification that
    /// doubles its document again and again ends here, although nothing is copied yet.
    pub(crate) fn copy<'x>(&mut self, value: Value<'x>) -> Result<Value<'x>, Fault> {
        match value {
            Value::Array(_) | Value::Object(_) => self.nodes(value.nodes())?,
            _ => self.nodes(1)?,
        }
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
