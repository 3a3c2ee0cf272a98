//! Writing to the new document.
//!
//! Containers are made on the way. Where something of another shape stands in the way the
//! write is dropped without a word. A second value in one place makes a list of both.

use crate::{
    arena::Arena,
    budget::{Budget, Fault},
    path::Segment,
    value::{Array, Slot, Value, own_array, own_object},
};

/// The place a step below; `None` where something of another shape is in the way.
#[inline]
pub(super) fn below<'x>(
    slot: &Slot<'x>,
    segment: Segment<'x>,
    arena: &'x Arena,
    budget: &mut Budget<'x>,
) -> Result<Option<&'x Slot<'x>>, Fault> {
    match segment {
        Segment::Key(key) => in_object(slot, key, arena, budget),
        Segment::Index(index) => in_array(slot, Some(index), arena, budget),
        Segment::Append => in_array(slot, None, arena, budget),
    }
}

/// Writes to the place that was reached.
pub(super) fn write<'x>(
    slot: &Slot<'x>,
    value: Value<'x>,
    arena: &'x Arena,
    budget: &mut Budget<'x>,
) -> Result<(), Fault> {
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
        }
    }
    Ok(())
}

#[inline]
fn in_object<'x>(
    slot: &Slot<'x>,
    key: &'x str,
    arena: &'x Arena,
    budget: &mut Budget<'x>,
) -> Result<Option<&'x Slot<'x>>, Fault> {
    if slot.get().is_null() {
        slot.set(arena.object());
    }
    let Some(object) = own_object(slot) else { return Ok(None) };
    if let Some(found) = object.slot(key) {
        return Ok(Some(found));
    }
    budget.nodes(1)?;
    budget.text(key.len())?;
    Ok(Some(object.push_new(key, Value::Null)))
}

fn in_array<'x>(
    slot: &Slot<'x>,
    index: Option<usize>,
    arena: &'x Arena,
    budget: &mut Budget<'x>,
) -> Result<Option<&'x Slot<'x>>, Fault> {
    if slot.get().is_null() {
        slot.set(Value::Array(Array::of(arena, std::iter::empty())));
    }
    let Some(array) = own_array(slot) else { return Ok(None) };
    let index = index.unwrap_or(array.len());
    budget.grow(array, index)?;
    Ok(array.slots().get(index))
}
