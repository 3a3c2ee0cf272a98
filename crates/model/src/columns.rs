//! The columns of a topic: what its JSON documents hold, for SQL.
//!
//! Written in the file as `{ name: string, at: timestamp, stake: decimal(10,2) }`,
//! taken from a schema, or inferred. Types are SQL's in short; nesting is written
//! `list<string>` and `struct<a: int64, b: string>`.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::NESTING_MAX;

/// Type of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Boolean,
    Int32,
    Int64,
    Float64,
    /// Exact: digits in all (1 to 38), digits after the point (0 to the former).
    Decimal {
        precision: u8,
        scale: u8,
    },
    String,
    /// Base64 text in JSON.
    Bytes,
    /// `YYYY-MM-DD` in JSON.
    Date,
    /// RFC 3339 text or milliseconds since the epoch in JSON; UTC, microseconds.
    Timestamp,
    /// Any JSON, kept as its text.
    Json,
    List(Box<Self>),
    Struct(Vec<Column>),
}

/// One column. It may be null or missing unless it is required (`not null`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    pub name: String,
    pub column_type: ColumnType,
    /// A record without this value does not fit and is set aside.
    pub required: bool,
}

/// A topic's columns, in order, names distinct.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Columns(Vec<Column>);

/// Why a text is no column type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown column type {text:?}; use boolean, int32, int64, float64, decimal(precision,scale), string, bytes, date, timestamp, json, list<type> or struct<name: type, …>"
)]
pub struct ColumnTypeError {
    pub text: String,
}

impl Columns {
    pub const fn new(columns: Vec<Column>) -> Self {
        Self(columns)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Column> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Column> {
        self.0.iter().find(|column| column.name == name)
    }
}

impl FromIterator<Column> for Columns {
    fn from_iter<T: IntoIterator<Item = Column>>(columns: T) -> Self {
        Self(columns.into_iter().collect())
    }
}

impl Column {
    /// Builds a column that may be null.
    pub fn new(name: impl Into<String>, column_type: ColumnType) -> Self {
        Self { name: name.into(), column_type, required: false }
    }

    /// Makes the column one that every record must have.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Reads what the file says of a column: a type, and `not null` when it is required.
    ///
    /// # Errors
    /// When the text is no type.
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self, ColumnTypeError> {
        let name = name.into();
        parse_column(&name, text, 0)
            .ok_or_else(|| ColumnTypeError { text: text.chars().take(200).collect() })
    }

    /// What the file says of the column: `string`, `int64 not null`.
    pub fn type_text(&self) -> String {
        let not_null = if self.required { NOT_NULL } else { "" };
        format!("{}{not_null}", self.column_type)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Json => f.write_str("json"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{}: {}", field.name, field.type_text())?;
                }
                f.write_str(">")
            }
        }
    }
}

impl FromStr for ColumnType {
    type Err = ColumnTypeError;

    fn from_str(text: &str) -> Result<Self, ColumnTypeError> {
        parse(text, 0).ok_or_else(|| ColumnTypeError { text: text.chars().take(200).collect() })
    }
}

/// What follows the type of a required column.
const NOT_NULL: &str = " not null";

fn parse_column(name: &str, text: &str, depth: usize) -> Option<Column> {
    let text = text.trim();
    let (type_text, required) = match text.strip_suffix(NOT_NULL) {
        Some(type_text) => (type_text, true),
        None => (text, false),
    };
    Some(Column { name: name.into(), column_type: parse(type_text, depth)?, required })
}

fn parse(text: &str, depth: usize) -> Option<ColumnType> {
    if depth > NESTING_MAX {
        return None;
    }
    let text = text.trim();
    let inside = |name: &str, open: char, close: char| {
        text.strip_prefix(name)?.trim_start().strip_prefix(open)?.strip_suffix(close)
    };
    Some(match text {
        "boolean" => ColumnType::Boolean,
        "int32" => ColumnType::Int32,
        "int64" => ColumnType::Int64,
        "float64" => ColumnType::Float64,
        "string" => ColumnType::String,
        "bytes" => ColumnType::Bytes,
        "date" => ColumnType::Date,
        "timestamp" => ColumnType::Timestamp,
        "json" => ColumnType::Json,
        _ => {
            if let Some(arguments) = inside("decimal", '(', ')') {
                let (precision, scale) = arguments.split_once(',')?;
                let (precision, scale) =
                    (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
                ((1..=38).contains(&precision) && scale <= precision)
                    .then_some(ColumnType::Decimal { precision, scale })?
            } else if let Some(item) = inside("list", '<', '>') {
                ColumnType::List(Box::new(parse(item, depth + 1)?))
            } else {
                ColumnType::Struct(parse_fields(inside("struct", '<', '>')?, depth)?)
            }
        }
    })
}

fn parse_fields(text: &str, depth: usize) -> Option<Vec<Column>> {
    let mut fields: Vec<Column> = Vec::new();
    for part in split_outside_brackets(text) {
        let (name, column_type) = part.split_once(':')?;
        let name = name.trim();
        if name.is_empty() || fields.iter().any(|field| field.name == name) {
            return None;
        }
        fields.push(parse_column(name, column_type, depth + 1)?);
    }
    (!fields.is_empty()).then_some(fields)
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, c) in text.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "boolean, int32, int64, float64, decimal(precision,scale), string, bytes, date, timestamp, json, list<type> or struct<name: type, …>.",
        })
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|column| (&column.name, column.type_text())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        for text in [
            "boolean",
            "decimal(10,2)",
            "list<string>",
            "struct<a: int64 not null, b: list<struct<c: decimal(8,2), d: json>>>",
        ] {
            assert_eq!(text.parse::<ColumnType>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_required_column_says_not_null() {
        let column = Column::parse("text", "string not null").unwrap();
        assert_eq!(column, Column::new("text", ColumnType::String).required());
        assert_eq!(column.type_text(), "string not null");
        assert!(!Column::parse("text", "string").unwrap().required);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "int",
            "decimal(2,3)",
            "decimal(39,0)",
            "list<>",
            "struct<>",
            "struct<a>",
            "struct<a: int64, a: int64>",
        ] {
            assert!(text.parse::<ColumnType>().is_err(), "{text}");
        }
        let deep = "list<".repeat(5_000) + "string" + &">".repeat(5_000);
        assert!(deep.parse::<ColumnType>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z<>(),: 0-9]{0,40}") {
            let _ = text.parse::<ColumnType>();
        }
    }
}
