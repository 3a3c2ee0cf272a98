//! JSON documents as BSON, and back.
//!
//! What a document of ours holds comes back as it was: whole numbers are 64-bit integers,
//! those beyond them decimals, all others doubles. What another program stored in a type
//! that JSON has not (a date, an object id) is read as its usual text. Beside a document
//! stands [`HIDDEN`], which never leaves this folder.

use mongodb::bson::{Bson, Decimal128, Document as Bdoc};
use serde_json::{Number, Value};

use crate::{Document, StoreError};

/// The field with what Courant keeps beside a document: `order` of its insertion, the
/// token of the last `write`, and its `version`, if it has one.
pub(super) const HIDDEN: &str = "_courant";

/// A document as it is stored, without what stands beside it.
///
/// # Errors
/// [`StoreError::InvalidDocument`] for names of fields that MongoDB does not take.
pub(super) fn to_bson(document: &Document) -> Result<Bdoc, StoreError> {
    if let Some(name) = document.keys().find(|name| name.starts_with('$') || *name == HIDDEN) {
        let why = format!("its field {name:?} has a name that MongoDB or Courant keeps to itself");
        return Err(StoreError::InvalidDocument { why });
    }
    object(document)
}

pub(super) fn value_to_bson(value: &Value) -> Result<Bson, StoreError> {
    Ok(match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(*flag),
        Value::Number(number) => number_to_bson(number),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => {
            Bson::Array(items.iter().map(value_to_bson).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => Bson::Document(object(fields)?),
    })
}

fn object(fields: &Document) -> Result<Bdoc, StoreError> {
    let mut out = Bdoc::new();
    for (name, value) in fields {
        if name.contains('\0') {
            let why = format!("its field {name:?} has a zero byte in its name");
            return Err(StoreError::InvalidDocument { why });
        }
        out.insert(name.clone(), value_to_bson(value)?);
    }
    Ok(out)
}

fn number_to_bson(number: &Number) -> Bson {
    if let Some(integer) = number.as_i64() {
        return Bson::Int64(integer);
    }
    let large = number.as_u64().and_then(|large| large.to_string().parse::<Decimal128>().ok());
    large.map_or_else(|| Bson::Double(number.as_f64().unwrap_or(0.0)), Bson::Decimal128)
}

/// A stored document, `_id` first, without what stands beside it.
pub(super) fn from_bson(stored: Bdoc) -> Document {
    let mut document = Document::new();
    for (name, value) in stored {
        if name == "_id" {
            document.shift_insert(0, name, value_from_bson(value));
        } else if name != HIDDEN {
            document.insert(name, value_from_bson(value));
        }
    }
    document
}

pub(super) fn value_from_bson(value: Bson) -> Value {
    match value {
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Boolean(flag) => Value::Bool(flag),
        Bson::Int32(number) => number.into(),
        Bson::Int64(number) => number.into(),
        Bson::Double(number) => Number::from_f64(number)
            .map_or_else(|| Value::String(number.to_string()), Value::Number),
        Bson::Decimal128(number) => decimal_from_bson(number),
        Bson::String(text) | Bson::Symbol(text) => Value::String(text),
        Bson::Array(items) => items.into_iter().map(value_from_bson).collect(),
        Bson::Document(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (name, value_from_bson(value))).collect(),
        ),
        Bson::DateTime(time) => {
            Value::String(time.try_to_rfc3339_string().unwrap_or_else(|_| time.to_string()))
        }
        Bson::ObjectId(id) => Value::String(id.to_hex()),
        other => Value::String(other.to_string()),
    }
}

/// A whole number, where it has 64 bits; else its text, which loses nothing.
fn decimal_from_bson(number: Decimal128) -> Value {
    let text = number.to_string();
    match text.parse::<u64>() {
        Ok(number) => number.into(),
        Err(_) => text.parse::<i64>().map_or(Value::String(text), Into::into),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc, oid::ObjectId};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::any_json;

    #[test]
    fn what_other_programs_store_is_read_as_its_usual_text() {
        let id = ObjectId::new();
        let stored = doc! {
            "at": DateTime::from_millis(0), "small": 1_i32, "nan": f64::NAN,
            "price": Bson::Decimal128("12.50".parse().unwrap()),
            "_courant": { "order": 1_i64 }, "_id": id,
        };
        let expected = json!({
            "_id": id.to_hex(), "at": "1970-01-01T00:00:00Z", "small": 1, "nan": "NaN",
            "price": "12.50",
        });
        let document = from_bson(stored);
        assert_eq!(document.keys().next().unwrap(), "_id");
        assert_eq!(Value::Object(document), expected);
    }

    #[test]
    fn names_that_mongodb_does_not_take_are_refused() {
        for name in ["$set", "_courant", "a\0b"] {
            let document = Document::from_iter([(name.to_owned(), json!(1))]);
            let refused = to_bson(&document).unwrap_err();
            assert!(matches!(refused, StoreError::InvalidDocument { .. }), "{name:?}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn json_survives_bson(value in any_json()) {
            let stored = value_to_bson(&value).unwrap();
            prop_assert_eq!(value_from_bson(stored), value);
        }
    }
}
