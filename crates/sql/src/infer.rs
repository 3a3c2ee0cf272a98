//! Columns from the first records, for topics whose columns nobody declared.
//!
//! Numbers written as integers become int64, other numbers float64, and a mixture
//! float64; text stays string, even when it looks like a timestamp, for a guess
//! would reject the first text that does not. Conflicting types, and what was never
//! anything but null, become json. Once the caller has taken the columns they are
//! pinned: a later record that does not fit is rejected.

use courant_model::{
    Column, ColumnType, Columns,
    limits::{SQL_COLUMNS_MAX, SQL_INFERRED_FIELDS_MAX},
};
use indexmap::IndexMap;
use serde_json::Value;

/// What the records seen so far have in common.
#[derive(Debug, Clone, Default)]
pub struct Inference {
    fields: IndexMap<String, Shape>,
    records: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Null,
    Boolean,
    Integer,
    Float,
    String,
    List(Box<Self>),
    Struct(IndexMap<String, Self>),
    /// Anything: the end of every conflict.
    Json,
}

impl Inference {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a record's value into account, unless it is no JSON object; says whether
    /// it was. Fields beyond the bound on columns are left out.
    pub fn observe(&mut self, value: &[u8]) -> bool {
        let Ok(Value::Object(document)) = serde_json::from_slice::<Value>(value) else {
            return false;
        };
        self.records += 1;
        for (name, value) in document {
            let shape = Shape::of(value);
            if let Some(known) = self.fields.get_mut(&name) {
                known.widen(shape);
            } else if self.fields.len() < SQL_COLUMNS_MAX {
                self.fields.insert(name, shape);
            }
        }
        true
    }

    /// Records taken into account.
    pub const fn records(&self) -> usize {
        self.records
    }

    /// The columns that fit all records seen, in the order of their first sight.
    pub fn columns(&self) -> Columns {
        self.fields.iter().map(|(name, shape)| Column::new(name, shape.column_type())).collect()
    }
}

impl Shape {
    fn of(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Integer,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::String,
            Value::Array(items) => {
                let mut item = Self::Null;
                items.into_iter().for_each(|value| item.widen(Self::of(value)));
                Self::List(Box::new(item))
            }
            Value::Object(fields) if fields.len() > SQL_INFERRED_FIELDS_MAX => Self::Json,
            Value::Object(fields) => Self::Struct(
                fields.into_iter().map(|(name, value)| (name, Self::of(value))).collect(),
            ),
        }
    }

    /// Becomes the narrowest shape that fits both.
    fn widen(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Null) | (Self::Json, _) | (Self::Float, Self::Integer) => {}
            (Self::Null, other) => *self = other,
            (Self::Integer, Self::Float) => *self = Self::Float,
            (Self::List(item), Self::List(other)) => item.widen(*other),
            (Self::Struct(fields), Self::Struct(others)) => {
                for (name, shape) in others {
                    fields.entry(name).or_insert(Self::Null).widen(shape);
                }
                if fields.len() > SQL_INFERRED_FIELDS_MAX {
                    *self = Self::Json;
                }
            }
            (known, other) if *known == other => {}
            _ => *self = Self::Json,
        }
    }

    fn column_type(&self) -> ColumnType {
        match self {
            Self::Boolean => ColumnType::Boolean,
            Self::Integer => ColumnType::Int64,
            Self::Float => ColumnType::Float64,
            Self::String => ColumnType::String,
            Self::List(item) => ColumnType::List(Box::new(item.column_type())),
            Self::Struct(fields) if !fields.is_empty() => ColumnType::Struct(
                fields.iter().map(|(name, shape)| Column::new(name, shape.column_type())).collect(),
            ),
            Self::Null | Self::Struct(_) | Self::Json => ColumnType::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(records: &[&str]) -> String {
        let mut inference = Inference::new();
        for record in records {
            assert!(inference.observe(record.as_bytes()));
        }
        serde_json::to_string(&inference.columns()).unwrap()
    }

    #[test]
    fn every_kind_of_value_gets_its_type() {
        assert_eq!(
            inferred(&[
                r#"{"a":1,"b":1.5,"c":"2026-01-01T00:00:00Z","d":true,"e":[1],"f":{"g":"x"},"h":null}"#
            ]),
            r#"{"a":"int64","b":"float64","c":"string","d":"boolean","e":"list<int64>","f":"struct<g: string>","h":"json"}"#
        );
    }

    #[test]
    fn later_records_widen_what_earlier_ones_said() {
        assert_eq!(
            inferred(&[
                r#"{"n":1,"s":null,"l":[],"o":{"a":1}}"#,
                r#"{"n":1.5,"s":"x","l":[null,2,0.5],"o":{"b":"x"},"late":1}"#
            ]),
            r#"{"n":"float64","s":"string","l":"list<float64>","o":"struct<a: int64, b: string>","late":"int64"}"#
        );
    }

    #[test]
    fn conflicting_types_become_json() {
        assert_eq!(
            inferred(&[r#"{"a":1,"b":[1,"x"],"c":{}}"#, r#"{"a":"x","b":[],"c":{}}"#]),
            r#"{"a":"json","b":"list<json>","c":"json"}"#
        );
    }

    #[test]
    fn an_object_used_as_a_map_becomes_json() {
        let fields: Vec<_> =
            (0..=SQL_INFERRED_FIELDS_MAX).map(|number| format!("\"k{number}\":1")).collect();
        assert_eq!(inferred(&[&format!("{{\"m\":{{{}}}}}", fields.join(","))]), r#"{"m":"json"}"#);
    }

    #[test]
    fn what_is_no_object_is_left_out() {
        let mut inference = Inference::new();
        for value in ["[1]", "1", "", "{", "\"x\""] {
            assert!(!inference.observe(value.as_bytes()), "{value}");
        }
        assert_eq!((inference.records(), inference.columns().len()), (0, 0));
    }
}
