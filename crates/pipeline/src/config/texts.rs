//! Texts of the file with a grammar of their own: retention times, durability,
//! column types.
//!
//! Each is a newtype with text form and JSON Schema, as the spans and sizes of the
//! model are; the reader of options parses them by name while it walks.

use courant_log::{Durability, DurabilityError};
use courant_model::{Column, Span, UnitError, columns::ColumnTypeError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A span, or `forever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetentionTime(pub(crate) Option<Span>);

const FOREVER: &str = "forever";

impl std::str::FromStr for RetentionTime {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == FOREVER { Ok(Self(None)) } else { text.parse().map(|span| Self(Some(span))) }
    }
}

impl std::fmt::Display for RetentionTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(span) => span.fmt(f),
            None => f.write_str(FOREVER),
        }
    }
}

/// The type of a column as the file writes it: `string`, `int64 not null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnText(pub(crate) Column);

impl std::str::FromStr for ColumnText {
    type Err = ColumnTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Column::parse("", text).map(Self)
    }
}

impl std::fmt::Display for ColumnText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.type_text())
    }
}

/// When an append is answered: `fsync`, `interval(100ms)` or `os`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DurabilityText(pub(crate) Durability);

impl std::str::FromStr for DurabilityText {
    type Err = DurabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl std::fmt::Display for DurabilityText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_form {
    ($type:ty, $name:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $description })
            }
        }
    };
}

text_form!(DurabilityText, "DurabilityText", "`fsync`, `interval(DURATION)` or `os`.");
text_form!(RetentionTime, "RetentionTime", "A length of time such as 7d, or forever.");
text_form!(
    ColumnText,
    "ColumnText",
    "A column's type, such as string, int64 not null, decimal(10,2), list<string> or struct<a: int64>."
);
