//! To and from `serde_json`, for callers whose documents are trees already.

use serde_json::Value as Json;

use crate::{
    arena::Arena,
    java,
    value::{Number, Object, Value},
};

/// Takes a tree; numbers get the kind that Jackson would have given them.
pub fn from_serde<'x>(arena: &'x Arena, json: &'x Json) -> Value<'x> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => Value::Number(from_number(arena, number)),
        Json::String(text) => Value::String(text),
        Json::Array(items) => arena.array(items.iter().map(|item| from_serde(arena, item))),
        Json::Object(map) => {
            let object = Object::new(arena);
            for (key, value) in map {
                object.push_new(key, from_serde(arena, value));
            }
            Value::Object(object)
        }
    }
}

fn from_number<'x>(arena: &'x Arena, number: &serde_json::Number) -> Number<'x> {
    if let Some(value) = number.as_i64() {
        return Number::whole(value);
    }
    match number.as_u64() {
        Some(value) => Number::Big(arena.text(itoa::Buffer::new().format(value))),
        None => Number::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Gives a tree. A number without a place in JSON becomes its name in quotes; one too
/// large for `serde_json` becomes the nearest double.
pub fn to_serde(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(value.into()),
        Value::Number(number) => to_number(number),
        Value::String(text) => Json::String(text.to_owned()),
        Value::Array(array) => Json::Array(array.iter().map(to_serde).collect()),
        Value::Object(object) => Json::Object(
            object.iter().map(|(key, value)| (key.to_owned(), to_serde(value))).collect(),
        ),
    }
}

fn to_number(number: Number<'_>) -> Json {
    match number {
        Number::Int(value) => Json::from(value.get()),
        Number::Long(value) => Json::from(value),
        Number::Big(text) => {
            text.parse::<u64>().map_or_else(|_| to_double(number.to_f64()), Json::from)
        }
        Number::Double(_) | Number::Decimal(_) => to_double(number.to_f64()),
    }
}

fn to_double(value: f64) -> Json {
    serde_json::Number::from_f64(value)
        .map_or_else(|| Json::String(java::double(value).to_string()), Json::Number)
}
