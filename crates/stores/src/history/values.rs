//! How JSON values are found in a document, compared and laid out as ordered bytes.
//!
//! One order for everything: filters, sorts and indexes. Types rank as MongoDB's
//! (null or missing, numbers, strings, objects, lists, booleans); numbers compare by
//! their exact value whatever their form, strings by their UTF-8 bytes, objects and
//! lists item by item. Invariant, held by property tests: the bytes of two values
//! compare as the values do, and no value's bytes begin another's.

use std::cmp::Ordering;

use courant_model::json::FieldPath;
use serde_json::{Number, Value};

use super::Document;

/// First byte of an encoded value: the rank of its type. 0x00 ends lists and objects.
mod rank {
    /// A list without items, where items count and not the list: before null.
    pub(super) const EMPTY_LIST: u8 = 0x04;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const NUMBER: u8 = 0x10;
    pub(super) const STRING: u8 = 0x20;
    pub(super) const OBJECT: u8 = 0x30;
    pub(super) const LIST: u8 = 0x40;
    pub(super) const BOOLEAN: u8 = 0x50;
}

const END: u8 = 0x00;

/// The rank of a value's type.
pub(crate) const fn rank_of(value: &Value) -> u8 {
    match value {
        Value::Null => rank::NULL,
        Value::Number(_) => rank::NUMBER,
        Value::String(_) => rank::STRING,
        Value::Object(_) => rank::OBJECT,
        Value::Array(_) => rank::LIST,
        Value::Bool(_) => rank::BOOLEAN,
    }
}

/// Compares two values of any types.
pub(crate) fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => compare_numbers(l, r),
        (Value::String(l), Value::String(r)) => l.as_bytes().cmp(r.as_bytes()),
        (Value::Bool(l), Value::Bool(r)) => l.cmp(r),
        (Value::Array(l), Value::Array(r)) => l
            .iter()
            .zip(r)
            .map(|(l, r)| compare(l, r))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| l.len().cmp(&r.len())),
        (Value::Object(l), Value::Object(r)) => l
            .iter()
            .zip(r)
            .map(|((l_name, l), (r_name, r))| {
                (rank_of(l).cmp(&rank_of(r)))
                    .then_with(|| l_name.as_bytes().cmp(r_name.as_bytes()))
                    .then_with(|| compare(l, r))
            })
            .find(|order| order.is_ne())
            .unwrap_or_else(|| l.len().cmp(&r.len())),
        _ => rank_of(left).cmp(&rank_of(right)),
    }
}

/// Appends a value's ordered bytes: its rank, then
/// - a number: the nearest `f64` as 8 bytes that order, then what an integer differs
///   from it as 2 bytes, offset by 2¹⁵;
/// - a string: its UTF-8, each 0x00 followed by 0xFF, then 0x00 0x00;
/// - an object: for each field the value's rank, the name as a string, the value's
///   bytes after its rank; then 0x00;
/// - a list: its items, then 0x00;
/// - a boolean: 0x00 or 0x01.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    out.push(rank_of(value));
    encode_body(value, out);
}

fn encode_body(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Number(number) => encode_number(number, out),
        Value::String(text) => encode_text(text, out),
        Value::Bool(flag) => out.push(u8::from(*flag)),
        Value::Array(items) => {
            items.iter().for_each(|item| encode(item, out));
            out.push(END);
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                out.push(rank_of(value));
                encode_text(name, out);
                encode_body(value, out);
            }
            out.push(END);
        }
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0x00 {
            out.push(0xFF);
        }
    }
    out.extend([0x00, 0x00]);
}

fn encode_number(number: &Number, out: &mut Vec<u8>) {
    let (nearest, rest) = number_parts(number);
    let bits = nearest.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    out.extend(ordered.to_be_bytes());
    out.extend(((rest as u16) ^ 0x8000).to_be_bytes());
}

fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    let (left, right) = (number_parts(left), number_parts(right));
    left.0.total_cmp(&right.0).then(left.1.cmp(&right.1))
}

/// The nearest `f64`, never −0, and what an integer is more than it. Integers have
/// 64 bits, so the difference is at most 2¹⁰; rounding never turns an order around.
fn number_parts(number: &Number) -> (f64, i16) {
    let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match integer {
        Some(integer) => {
            let nearest = integer as f64;
            (nearest, (integer - nearest as i128) as i16)
        }
        None => (number.as_f64().unwrap_or(0.0) + 0.0, 0),
    }
}

/// Calls `visit` with every value at a path, and `None` for each place where it is
/// missing; stops and answers `true` as soon as `visit` does.
///
/// As in MongoDB, a path goes into every object of a list on its way (`lines.price`)
/// as well as into one item by its index (`lines.0.price`). A list at the end is one
/// value here.
pub(crate) fn any_at<'a>(
    document: &'a Document,
    path: &FieldPath,
    visit: &mut impl FnMut(Option<&'a Value>) -> bool,
) -> bool {
    let segments = path.segments();
    match document.get(&segments[0]) {
        None => visit(None),
        Some(value) => {
            let mut seen = false;
            let stopped = walk(value, &segments[1..], false, &mut |found| {
                seen = true;
                visit(found)
            });
            stopped || (!seen && visit(None))
        }
    }
}

fn walk<'a>(
    value: &'a Value,
    segments: &[String],
    within_list: bool,
    visit: &mut dyn FnMut(Option<&'a Value>) -> bool,
) -> bool {
    let Some((segment, rest)) = segments.split_first() else {
        return visit(Some(value));
    };
    match value {
        Value::Object(fields) => match fields.get(segment) {
            Some(value) => walk(value, rest, false, visit),
            None => visit(None),
        },
        Value::Array(items) => match segment.parse::<usize>() {
            Ok(index) => {
                items.get(index).is_some_and(|item| walk(item, rest, false, visit))
                    || (items.iter().filter_map(|item| item.get(segment)))
                        .any(|value| walk(value, rest, false, visit))
            }
            Err(_) => (items.iter().filter(|item| item.is_object()))
                .any(|item| walk(item, segments, true, visit)),
        },
        _ if within_list => false,
        _ => visit(None),
    }
}

/// The ordered bytes of a path's values for an index or a sort: ascending, each
/// once, never none. A list counts by its items.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) values: Vec<Vec<u8>>,
    /// Whether a list was met, so that one document may have several keys.
    pub(crate) from_list: bool,
}

/// Finds the keys of a document at a path.
pub(crate) fn keys_at(document: &Document, path: &FieldPath) -> Keys {
    let mut keys = Keys { values: Vec::with_capacity(1), from_list: false };
    let encoded = |value: &Value| {
        let mut bytes = Vec::with_capacity(16);
        encode(value, &mut bytes);
        bytes
    };
    any_at(document, path, &mut |found| {
        match found {
            None => keys.values.push(vec![rank::NULL]),
            Some(Value::Array(items)) if items.is_empty() => {
                keys.from_list = true;
                keys.values.push(vec![rank::EMPTY_LIST]);
            }
            Some(Value::Array(items)) => {
                keys.from_list = true;
                keys.values.extend(items.iter().map(encoded));
            }
            Some(value) => keys.values.push(encoded(value)),
        }
        false
    });
    keys.values.sort_unstable();
    keys.values.dedup();
    keys.from_list |= keys.values.len() > 1;
    keys
}

/// Levels of nesting, a scalar being 0; stops counting past `limit`.
pub(crate) fn depth(value: &Value, limit: usize) -> usize {
    if limit == 0 {
        return 0;
    }
    let inner = |values: &mut dyn Iterator<Item = &Value>| {
        1 + values.map(|value| depth(value, limit - 1)).max().unwrap_or(0)
    };
    match value {
        Value::Array(items) => inner(&mut items.iter()),
        Value::Object(fields) => inner(&mut fields.values()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::any_json;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn types_rank_as_mongodbs() {
        let ascending = [
            json!(null),
            json!(-1.5),
            json!(7),
            json!(""),
            json!("a"),
            json!({}),
            json!({ "a": 1 }),
            json!([]),
            json!([null]),
            json!(false),
            json!(true),
        ];
        assert!(ascending.is_sorted_by(|l, r| compare(l, r).is_lt()));
        assert!(ascending.is_sorted_by(|l, r| bytes(l) < bytes(r)));
    }

    #[test]
    fn numbers_compare_by_exact_value_across_forms() {
        assert_eq!(compare(&json!(1), &json!(1.0)), Ordering::Equal);
        assert_eq!(compare(&json!(0.0), &json!(-0.0)), Ordering::Equal);
        assert_eq!(bytes(&json!(0)), bytes(&json!(-0.0)));
        assert_eq!(compare(&json!(u64::MAX), &json!(u64::MAX - 1)), Ordering::Greater);
        assert_eq!(
            compare(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992.0)),
            Ordering::Greater
        );
        assert_eq!(compare(&json!(i64::MIN), &json!(-9.3e18)), Ordering::Greater);
    }

    #[test]
    fn a_path_meets_every_object_of_a_list_and_an_item_by_its_index() {
        let document = json!({ "lines": [{ "price": 1 }, { "price": 2 }, {}, 7] });
        let document = document.as_object().unwrap();
        let found = |path: &str| {
            let mut found = Vec::new();
            any_at(document, &path.parse().unwrap(), &mut |value| {
                found.push(value.cloned());
                false
            });
            found
        };
        assert_eq!(found("lines.price"), [Some(json!(1)), Some(json!(2)), None]);
        assert_eq!(found("lines.1.price"), [Some(json!(2))]);
        assert_eq!(found("lines.9.price"), [None]);
        assert_eq!(found("absent.price"), [None]);
    }

    #[test]
    fn depth_counts_levels() {
        assert_eq!(depth(&json!(1), 10), 0);
        assert_eq!(depth(&json!([]), 10), 1);
        assert_eq!(depth(&json!({ "a": [[1]] }), 10), 3);
        assert_eq!(depth(&json!({ "a": [[1]] }), 2), 2);
    }

    proptest! {
        #[test]
        fn bytes_order_as_values_do(left in any_json(), right in any_json()) {
            prop_assert_eq!(bytes(&left).cmp(&bytes(&right)), compare(&left, &right));
        }

        #[test]
        fn no_values_bytes_begin_anothers(left in any_json(), right in any_json()) {
            let (left, right) = (bytes(&left), bytes(&right));
            prop_assert!(left == right || !right.starts_with(&left));
        }

        #[test]
        fn integers_order_exactly(left: i64, right: i64) {
            prop_assert_eq!(bytes(&json!(left)).cmp(&bytes(&json!(right))), left.cmp(&right));
        }
    }
}
