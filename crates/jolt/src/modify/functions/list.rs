//! Functions on lists.

use std::cmp::Ordering;

use super::Shape;
use crate::{
    arena::Arena,
    java,
    value::{Number, Value},
};

pub(super) fn first<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    items.first().map(|item| item.share())
}

pub(super) fn last<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    items.last().map(|item| item.share())
}

pub(super) fn element_at<'x>(index: i32, items: &[Value<'x>]) -> Option<Value<'x>> {
    items.get(usize::try_from(index).ok()?).map(|item| item.share())
}

pub(super) fn to_list<'x>(arena: &'x Arena, shape: Shape<'x>) -> Option<Value<'x>> {
    match shape {
        Shape::Nothing => None,
        Shape::One(value) => Some(arena.array(std::iter::once(value.share()))),
        Shape::List(items) => Some(arena.array(items.iter().map(|item| item.share()))),
    }
}

/// Sorts values of one kind; gives none where kinds differ, as nothing orders them.
pub(super) fn sort<'x>(arena: &'x Arena, shape: Shape<'x>) -> Option<Value<'x>> {
    let mut items = match shape {
        Shape::Nothing => return None,
        Shape::One(value) => return Some(value.share()),
        Shape::List(items) => items,
    };
    if let [first, rest @ ..] = &items[..]
        && !rest.is_empty()
        && (kind(*first).is_none() || rest.iter().any(|item| kind(*item) != kind(*first)))
    {
        return None;
    }
    items.sort_by(|a, b| compare(*a, *b));
    Some(arena.array(items.iter().map(|item| item.share())))
}

/// The class whose values Java can order among each other.
fn kind(value: Value<'_>) -> Option<u8> {
    match value {
        Value::Bool(_) => Some(0),
        Value::String(_) => Some(1),
        Value::Number(Number::Int(_)) => Some(2),
        Value::Number(Number::Long(_)) => Some(3),
        Value::Number(Number::Big(_)) => Some(4),
        Value::Number(Number::Double(_) | Number::Decimal(_)) => Some(5),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn compare(a: Value<'_>, b: Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(&b),
        (Value::String(a), Value::String(b)) => java::compare(a, b),
        (Value::Number(Number::Big(a)), Value::Number(Number::Big(b))) => compare_big(a, b),
        (Value::Number(a), Value::Number(b)) if a.is_double() => a.to_f64().total_cmp(&b.to_f64()),
        (Value::Number(a), Value::Number(b)) => a.to_i64().cmp(&b.to_i64()),
        _ => Ordering::Equal,
    }
}

/// Whole numbers in decimal without superfluous zeros.
fn compare_big(a: &str, b: &str) -> Ordering {
    let size = |a: &str, b: &str| a.len().cmp(&b.len()).then_with(|| a.cmp(b));
    match (a.strip_prefix('-'), b.strip_prefix('-')) {
        (Some(a), Some(b)) => size(b, a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => size(a, b),
    }
}
