//! Functions on any value: conversions, sizes, and squashing.

use super::Shape;
use std::{cell::Cell, collections::HashMap, hash::RandomState};

use crate::{
    arena::Arena,
    java,
    value::{Slot, Value, own_array, own_object},
};

pub(super) fn to_boolean<'x>(_: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    match value {
        Value::Bool(value) => Some(Value::Bool(value)),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(Value::TRUE),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(Value::FALSE),
        _ => None,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "one of a family")]
pub(super) fn to_string<'x>(arena: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    Some(Value::String(java::text(arena, value)))
}

/// Items, keys or UTF-16 units of one argument; the number of several.
pub(super) fn size<'x>(arguments: &[Value<'x>]) -> Option<Value<'x>> {
    let size = match arguments {
        [Value::Array(array)] => array.len(),
        [Value::Object(object)] => object.len(),
        [Value::String(text)] => java::length(text),
        [] | [_] => return None,
        several => several.len(),
    };
    i32::try_from(size).ok().map(Value::from)
}

/// Squashes a copy of one argument. Several make a list that the reference cannot
/// shorten: with something to take out of it there is no value.
pub(super) fn squash<'x>(
    arena: &'x Arena,
    arguments: &[Value<'x>],
    of: fn(&Slot<'x>),
) -> Option<Value<'x>> {
    let value = match arguments {
        [one] => match Shape::of(arena, arguments) {
            Shape::Nothing => return None,
            Shape::One(_) | Shape::List(_) => one.share(),
        },
        [] => return None,
        several if several.iter().any(|item| item.is_null()) => return None,
        several => arena.array(several.iter().map(|item| item.share())),
    };
    let slot = Cell::new(value);
    of(&slot);
    Some(slot.get())
}

pub(super) fn squash_nulls(slot: &Slot<'_>) {
    if let Some(array) = own_array(slot) {
        array.retain(|_, item| !item.is_null());
    } else if let Some(object) = own_object(slot) {
        object.retain(|_, value| !value.is_null());
    }
}

pub(super) fn recursively_squash_nulls(slot: &Slot<'_>) {
    squash_nulls(slot);
    match slot.get() {
        Value::Array(array) => array.slots().iter().for_each(recursively_squash_nulls),
        Value::Object(object) => {
            object.entries().iter().for_each(|entry| recursively_squash_nulls(&entry.value));
        }
        _ => {}
    }
}

/// Keeps the first of equal items.
pub(super) fn squash_duplicates<'x>(arena: &'x Arena, shape: Shape<'x>) -> Option<Value<'x>> {
    let items = match shape {
        Shape::Nothing => return None,
        Shape::One(value) => return Some(value.share()),
        Shape::List(items) => items,
    };
    let mut kept = arena.list(items.len());
    // Items by their hash; comparing each with all would take the square of their number.
    let mut seen: HashMap<u64, Vec<Value<'x>>> = HashMap::new();
    let hasher = RandomState::new();
    for item in items {
        let alike = seen.entry(java::hash(item, &hasher)).or_default();
        if !alike.iter().any(|before| java::equal(*before, item)) {
            alike.push(item);
            kept.push(item.share());
        }
    }
    Some(arena.array(kept.iter().copied()))
}
