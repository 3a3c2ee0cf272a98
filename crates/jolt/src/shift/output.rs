//! Writing to the new document.
//!
//! Containers are made on the way. Where something of another shape stands in the way the
//! write is dropped without a word. A second value in one place makes a list of both.

use crate::{
    budget::{Budget, Fault},
    path::Segment,
    value::{Object, Text, Value},
};

pub(super) fn set<'x>(
    root: &mut Value<'x>,
    segments: &mut Vec<Segment<'x>>,
    value: Value<'x>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let mut slot = root;
    for segment in segments.drain(..) {
        let next = match segment {
            Segment::Key(key) => in_object(slot, key, budget)?,
            Segment::Index(index) => in_array(slot, Some(index), budget)?,
            Segment::Append => in_array(slot, None, budget)?,
        };
        match next {
            Some(next) => slot = next,
            None => return Ok(()),
        }
    }
    match slot {
        Value::Null => *slot = value,
        Value::Array(items) => items.push(value),
        other => {
            budget.nodes(1)?;
            let first = std::mem::take(other);
            *other = Value::Array(vec![first, value]);
        }
    }
    Ok(())
}

/// The slot of a key; `None` where something else than an object is in the way.
fn in_object<'o, 'x>(
    slot: &'o mut Value<'x>,
    key: Text<'x>,
    budget: &mut Budget,
) -> Result<Option<&'o mut Value<'x>>, Fault> {
    if slot.is_null() {
        *slot = Value::Object(Object::new());
    }
    let Value::Object(object) = slot else { return Ok(None) };
    let place = match object.place(&key) {
        Some(place) => place,
        None => {
            budget.nodes(1)?;
            if let Text::Shared(text) = &key {
                budget.text(text.len())?;
            }
            object.push_new(key, Value::Null)
        }
    };
    Ok(object.at_mut(place))
}

/// The slot of an index, or a new one at the end.
fn in_array<'o, 'x>(
    slot: &'o mut Value<'x>,
    index: Option<usize>,
    budget: &mut Budget,
) -> Result<Option<&'o mut Value<'x>>, Fault> {
    if slot.is_null() {
        *slot = Value::Array(Vec::new());
    }
    let Value::Array(items) = slot else { return Ok(None) };
    let index = index.unwrap_or(items.len());
    budget.grow(items, index)?;
    Ok(items.get_mut(index))
}
