//! What the tests of this crate share: random documents.
//!
//! Small alphabets on purpose, so that equal values, shared paths and ties appear
//! often. Compiled for tests only.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any JSON value, lists and objects a few levels deep.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((field_name(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A document over the fields `a` and `b`, often with small numbers and lists of them,
/// so that conditions and orders meet.
pub(crate) fn any_document() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        5 => small_number(),
        3 => prop::collection::vec(small_number(), 0..4).prop_map(Value::Array),
        2 => any_json(),
    ];
    prop::collection::vec(("[ab]", value), 0..4).prop_map(|fields| fields.into_iter().collect())
}

pub(crate) fn small_number() -> impl Strategy<Value = Value> {
    (0..6).prop_map(|number| json!(number))
}

fn field_name() -> impl Strategy<Value = String> {
    "[abc]"
}

pub(crate) fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3_i64..4).prop_map(|number| json!(number)),
        prop_oneof![any::<i64>().prop_map(|n| json!(n)), any::<u64>().prop_map(|n| json!(n))],
        prop_oneof![-3.0..3.0, any::<f64>()].prop_filter_map("JSON has no NaN", |number| {
            serde_json::Number::from_f64(number).map(Value::Number)
        }),
        "[ab\u{0}\u{ff}]{0,3}".prop_map(Value::String),
    ]
}
