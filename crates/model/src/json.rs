//! Paths into JSON documents: `customer.address.city`, `lines.0.price`.
//!
//! The one notation for "a field" everywhere in the file: keys, ids, filters,
//! sorts and splits. A segment of digits indexes a list, or names a field of an
//! object. A dot within a name is written `\.`.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::limits::NESTING_MAX;

/// A parsed path; at least one segment, at most [`NESTING_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<String>);

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    #[error("field path {text:?} has an empty segment; write names joined by dots")]
    EmptySegment { text: String },
    #[error("field path is deeper than {NESTING_MAX} segments")]
    TooDeep,
}

impl FieldPath {
    /// The path of a single field, whatever its name holds.
    pub fn field(name: impl Into<String>) -> Self {
        Self(vec![name.into()])
    }

    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The value at the path; `None` where a step is missing or of another kind.
    pub fn get<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, |value, segment| match value {
            Value::Object(fields) => fields.get(segment),
            Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// As [`FieldPath::get`], for changing the value.
    pub fn get_mut<'a>(&self, document: &'a mut Value) -> Option<&'a mut Value> {
        self.0.iter().try_fold(document, |value, segment| match value {
            Value::Object(fields) => fields.get_mut(segment),
            Value::Array(items) => items.get_mut(segment.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        let mut segments = vec![String::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if matches!(chars.peek(), Some('.' | '\\')) => {
                    segments.last_mut().expect("never empty").extend(chars.next());
                }
                '.' => segments.push(String::new()),
                c => segments.last_mut().expect("never empty").push(c),
            }
            if segments.len() > NESTING_MAX {
                return Err(FieldPathError::TooDeep);
            }
        }
        if segments.iter().any(String::is_empty) {
            return Err(FieldPathError::EmptySegment { text: text.chars().take(200).collect() });
        }
        Ok(Self(segments))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            f.write_str(&segment.replace('\\', "\\\\").replace('.', "\\."))?;
        }
        Ok(())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for FieldPath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FieldPath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "A field of the document, such as customer.address.city or lines.0.price.",
        })
    }
}

/// The text of a scalar as keys and ids use it: strings as they are, numbers and
/// booleans in their JSON form. `None` for null, lists and objects.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_goes_through_objects_and_lists() {
        let document = json!({ "a": { "b": [10, { "c.d": 20 }] } });
        let at = |path: &str| path.parse::<FieldPath>().unwrap().get(&document).cloned();
        assert_eq!(at("a.b.0"), Some(json!(10)));
        assert_eq!(at(r"a.b.1.c\.d"), Some(json!(20)));
        assert_eq!(at("a.b.7"), None);
        assert_eq!(at("a.x.y"), None);
        let mut changed = document.clone();
        *"a.b.0".parse::<FieldPath>().unwrap().get_mut(&mut changed).unwrap() = json!(11);
        assert_eq!(changed, json!({ "a": { "b": [11, { "c.d": 20 }] } }));
    }

    proptest! {
        #[test]
        fn paths_survive_their_text(segments in prop::collection::vec(".{1,8}", 1..5)) {
            let path = FieldPath(segments);
            prop_assert_eq!(path.to_string().parse::<FieldPath>().unwrap(), path);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<FieldPath>();
        }
    }
}
