//! Writing to the new document.
//!
//! Containers are made on the way. Where something of another shape stands in the way the
//! write is dropped without a word. A second value in one place makes a list of both.

use crate::{
    arena::Arena,
    budget::{Budget, Fault, Weight},
    path::Segment,
    value::{Array, Object, Slot, Value, own_array, own_object},
};

/// What a path goes on from. It stays the same while its entries move and grow; only a
/// second value in its own place ends it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Container<'x> {
    Object(&'x Object<'x>),
    Array(&'x Array<'x>),
}

impl<'x> Container<'x> {
    /// The container in a place, made where there is nothing; `None` where something of
    /// another shape is in the way.
    #[inline]
    pub(super) fn of(slot: &Slot<'x>, is_array: bool, arena: &'x Arena) -> Option<Self> {
        if slot.get().is_null() {
            slot.set(if is_array { arena.array(std::iter::empty()) } else { arena.object() });
        }
        if is_array { own_array(slot).map(Self::Array) } else { own_object(slot).map(Self::Object) }
    }

    /// The place a step below, made if it is not there.
    #[inline]
    pub(super) fn below(
        self,
        segment: Segment<'x>,
        budget: &mut Budget<'x>,
    ) -> Result<Option<&'x Slot<'x>>, Fault> {
        let (array, index) = match (self, segment) {
            (Self::Object(object), Segment::Key(key)) => {
                if let Some(found) = object.slot(key) {
                    return Ok(Some(found));
                }
                budget.weight(Weight { nodes: 1, text_bytes: key.len() })?;
                return Ok(Some(object.push_new(key, Value::Null)));
            }
            (Self::Array(array), Segment::Index(index)) => (array, index),
            (Self::Array(array), Segment::Append) => (array, array.len()),
            _ => return Ok(None),
        };
        budget.grow(array, index)?;
        Ok(array.slots().get(index))
    }

    pub(super) const fn value(self) -> Value<'x> {
        match self {
            Self::Object(object) => Value::Object(object),
            Self::Array(array) => Value::Array(array),
        }
    }
}

/// Writes to the place that was reached; answers whether an object became an item.
#[inline]
pub(super) fn write<'x>(
    slot: &Slot<'x>,
    value: Value<'x>,
    arena: &'x Arena,
    budget: &mut Budget<'x>,
) -> Result<bool, Fault> {
    match slot.get() {
        Value::Null => slot.set(value),
        Value::Array(_) => {
            if let Some(array) = own_array(slot) {
                array.push(value);
            }
        }
        first => {
            budget.nodes(1)?;
            slot.set(arena.array([first, value].into_iter()));
            return Ok(matches!(first, Value::Object(_)));
        }
    }
    Ok(false)
}
