//! Functions on any value: conversions, sizes, and squashing.

use super::Shape;
use crate::{
    java,
    value::{Number, Value},
};

pub(super) fn to_boolean<'x>(value: &Value<'x>) -> Option<Value<'x>> {
    match value {
        Value::Bool(value) => Some(Value::Bool(*value)),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
        _ => None,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "one of a family")]
pub(super) fn to_string<'x>(value: &Value<'x>) -> Option<Value<'x>> {
    Some(Value::String(java::text(value)))
}

/// Items, keys or UTF-16 units of one argument; the number of several.
pub(super) fn size<'x>(arguments: &[&Value<'x>]) -> Option<Value<'x>> {
    let size = match arguments {
        [Value::Array(items)] => items.len(),
        [Value::Object(object)] => object.len(),
        [Value::String(text)] => java::length(text),
        [] | [_] => return None,
        several => several.len(),
    };
    i32::try_from(size).ok().map(|size| Number::Int(size).into())
}

/// Squashes a copy of one argument. Several make a list that the reference cannot
/// shorten: with something to take out of it there is no value.
pub(super) fn squash<'x>(arguments: &[&Value<'x>], of: fn(&mut Value<'x>)) -> Option<Value<'x>> {
    let mut value = match Shape::of(arguments) {
        Shape::Nothing => return None,
        Shape::One(value) => value.clone(),
        Shape::List(_) if arguments.len() == 1 => arguments[0].clone(),
        Shape::List(items) if items.iter().any(|item| item.is_null()) => return None,
        Shape::List(items) => Value::Array(items.into_iter().cloned().collect()),
    };
    of(&mut value);
    Some(value)
}

pub(super) fn squash_nulls(value: &mut Value<'_>) {
    match value {
        Value::Array(items) => items.retain(|item| !item.is_null()),
        Value::Object(object) => object.retain(|_, value| !value.is_null()),
        _ => {}
    }
}

pub(super) fn recursively_squash_nulls(value: &mut Value<'_>) {
    squash_nulls(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(recursively_squash_nulls),
        Value::Object(object) => {
            object.values_mut().for_each(|(_, value)| recursively_squash_nulls(value));
        }
        _ => {}
    }
}

/// Keeps the first of equal items.
pub(super) fn squash_duplicates<'x>(arguments: &[&Value<'x>]) -> Option<Value<'x>> {
    let items = match Shape::of(arguments) {
        Shape::Nothing => return None,
        Shape::One(value) => return Some(value.clone()),
        Shape::List(items) => items,
    };
    let mut kept: Vec<&Value<'x>> = Vec::new();
    for item in items {
        if !kept.iter().any(|before| java::equal(before, item)) {
            kept.push(item);
        }
    }
    Some(Value::Array(kept.into_iter().cloned().collect()))
}
