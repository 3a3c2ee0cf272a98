//! One value on its way into a database: from JSON, by the kind of its column.
//!
//! Exact values stay exact: decimals travel as their digits, whole numbers as whole
//! numbers, documents as their text. Times without a zone stay as they are written;
//! those with one are brought to UTC. What the column cannot hold is told with what was
//! expected and found; what depends on lengths and limits is left to the database.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// A value that a statement is given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// What a column takes, as far as it matters for reading JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    /// A decimal with all its digits.
    Decimal,
    Float,
    /// Text, and all that a database reads from text: dates, enumerations, addresses.
    Text,
    /// A date and a time of day, with or without a zone.
    Timestamp,
    Json,
    /// Bytes; Base64 in JSON.
    Bytes,
    /// A PostgreSQL array, from a list.
    Array,
    /// MySQL's geometry, from `{"srid": …, "wkb": Base64}`.
    Geometry,
    /// Whatever comes, as it is: SQLite's columns without a type.
    Any,
}

impl Kind {
    /// The value that a column of this kind is given.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub(crate) fn cell(self, value: &Value) -> Result<Cell, String> {
        if value.is_null() {
            return Ok(Cell::Null);
        }
        match self {
            Self::Bool => boolean(value),
            Self::Integer => integer(value),
            Self::Decimal => decimal(value),
            Self::Float => float(value),
            Self::Text => Ok(Cell::Text(plain(value))),
            Self::Timestamp => timestamp(value),
            Self::Json => Ok(Cell::Text(value.to_string())),
            Self::Bytes => bytes(value),
            Self::Array => array(value).map(Cell::Text),
            Self::Geometry => geometry(value),
            Self::Any => Ok(any(value)),
        }
    }
}

impl Cell {
    /// The value as the text that PostgreSQL reads; `None` is null.
    pub(crate) fn into_text(self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            Self::UInt(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Text(text) => text,
            Self::Bytes(bytes) => bytes.iter().fold("\\x".into(), |mut text: String, byte| {
                for half in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(u32::from(half), 16).unwrap_or_default());
                }
                text
            }),
        })
    }
}

/// What stands in a value's place in a message.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

fn expected(what: &str, value: &Value) -> String {
    format!("expected {what}, found {}", found(value))
}

/// The text of a scalar; of lists and objects their JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn boolean(value: &Value) -> Result<Cell, String> {
    match (value, value.as_str(), value.as_i64()) {
        (Value::Bool(value), ..) => Ok(Cell::Bool(*value)),
        (_, Some("true"), _) | (_, _, Some(1)) => Ok(Cell::Bool(true)),
        (_, Some("false"), _) | (_, _, Some(0)) => Ok(Cell::Bool(false)),
        _ => Err(expected("true or false", value)),
    }
}

fn integer(value: &Value) -> Result<Cell, String> {
    /// Every whole number up to here has a double of its own.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let wrong = || expected("a whole number", value);
    match value {
        Value::Bool(value) => Ok(Cell::Int(i64::from(*value))),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Ok(Cell::Int(number)),
            (_, Some(number), _) => Ok(Cell::UInt(number)),
            (_, _, Some(number)) if number.fract() == 0.0 && number.abs() <= EXACT_MAX => {
                Ok(Cell::Int(number as i64))
            }
            _ => Err(wrong()),
        },
        Value::String(text) => match (text.trim().parse(), text.trim().parse()) {
            (Ok(number), _) => Ok(Cell::Int(number)),
            (_, Ok(number)) => Ok(Cell::UInt(number)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn decimal(value: &Value) -> Result<Cell, String> {
    match value {
        Value::Number(number) => Ok(Cell::Text(number.to_string())),
        Value::String(text) if is_number(text.trim()) => Ok(Cell::Text(text.trim().to_owned())),
        _ => Err(expected("a number, or its digits as text", value)),
    }
}

/// Whether a text is a number in digits, with a point and an exponent where wanted.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.parse::<f64>().is_ok()
}

fn float(value: &Value) -> Result<Cell, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.map(Cell::Float).ok_or_else(|| expected("a number", value))
}

fn timestamp(value: &Value) -> Result<Cell, String> {
    let Value::String(text) = value else {
        return Err(expected("a time as text, such as \"2026-01-02T03:04:05Z\"", value));
    };
    let in_utc = text.parse::<jiff::Timestamp>().map(|at| {
        let civil = at.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        civil.to_string().replacen('T', " ", 1)
    });
    Ok(Cell::Text(in_utc.unwrap_or_else(|_| text.replacen('T', " ", 1))))
}

fn bytes(value: &Value) -> Result<Cell, String> {
    let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    decoded.map(Cell::Bytes).ok_or_else(|| expected("bytes as Base64", value))
}

/// A list as PostgreSQL writes it: `{1,NULL,"a b"}`.
fn array(value: &Value) -> Result<String, String> {
    let Value::Array(items) = value else { return Err(expected("a list", value)) };
    let item = |item: &Value| match item {
        Value::Null => Ok("NULL".to_owned()),
        Value::Array(_) => array(item),
        _ => Ok(format!("\"{}\"", plain(item).replace('\\', "\\\\").replace('"', "\\\""))),
    };
    let items = items.iter().map(item).collect::<Result<Vec<_>, String>>()?;
    Ok(format!("{{{}}}", items.join(",")))
}

/// MySQL's own form of a geometry: its reference system, four bytes, before the WKB.
fn geometry(value: &Value) -> Result<Cell, String> {
    let wrong = || expected("a geometry {\"srid\": …, \"wkb\": Base64}", value);
    let srid = match value.get("srid") {
        None => 0,
        Some(srid) => srid.as_u64().and_then(|srid| u32::try_from(srid).ok()).ok_or_else(wrong)?,
    };
    let wkb = value.get("wkb").and_then(Value::as_str).and_then(|wkb| STANDARD.decode(wkb).ok());
    Ok(Cell::Bytes([srid.to_le_bytes().as_slice(), &wkb.ok_or_else(wrong)?].concat()))
}

fn any(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Int(i64::from(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cell::Int(number),
            (_, Some(number)) => Cell::UInt(number),
            _ => number.as_f64().map_or(Cell::Null, Cell::Float),
        },
        Value::String(text) => Cell::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => Cell::Text(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Result<Cell, String> {
        Ok(Cell::Text(text.into()))
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        assert_eq!(
            Kind::Decimal.cell(&json!("12345678901234567890.10")),
            text("12345678901234567890.10")
        );
        assert_eq!(Kind::Decimal.cell(&json!(0.1)), text("0.1"));
        assert_eq!(Kind::Integer.cell(&json!(u64::MAX)), Ok(Cell::UInt(u64::MAX)));
        assert_eq!(Kind::Integer.cell(&json!("-5")), Ok(Cell::Int(-5)));
        assert_eq!(Kind::Integer.cell(&json!(2.0)), Ok(Cell::Int(2)));
        assert_eq!(Kind::Integer.cell(&json!(true)), Ok(Cell::Int(1)));
        for (kind, value) in [
            (Kind::Integer, json!(1.5)),
            (Kind::Integer, json!("x")),
            (Kind::Decimal, json!("1,5")),
            (Kind::Decimal, json!(true)),
            (Kind::Float, json!([])),
            (Kind::Bool, json!(2)),
            (Kind::Bytes, json!("*")),
            (Kind::Timestamp, json!(5)),
        ] {
            let why = kind.cell(&value).unwrap_err();
            assert!(why.starts_with("expected ") && why.contains("found "), "{why}");
        }
    }

    #[test]
    fn times_with_a_zone_are_brought_to_utc_and_others_stay() {
        let at = |value: &str| Kind::Timestamp.cell(&json!(value));
        assert_eq!(at("2026-01-02T03:04:05.25+02:00"), text("2026-01-02 01:04:05.25"));
        assert_eq!(at("2026-01-02T03:04:05Z"), text("2026-01-02 03:04:05"));
        assert_eq!(at("2026-01-02T03:04:05.5"), text("2026-01-02 03:04:05.5"));
        assert_eq!(at("0000-00-00 00:00:00"), text("0000-00-00 00:00:00"));
    }

    #[test]
    fn documents_lists_and_bytes_take_their_databases_form() {
        assert_eq!(Kind::Json.cell(&json!("x")), text("\"x\""));
        assert_eq!(Kind::Text.cell(&json!({ "a": 1 })), text("{\"a\":1}"));
        assert_eq!(
            Kind::Array.cell(&json!([1, null, "a\"\\", [true]])),
            text(r#"{"1",NULL,"a\"\\",{"true"}}"#)
        );
        assert_eq!(Kind::Bytes.cell(&json!("AP8=")), Ok(Cell::Bytes(vec![0, 255])));
        assert_eq!(Cell::Bytes(vec![0, 255]).into_text().unwrap(), "\\x00ff");
        let point = json!({ "srid": 1, "wkb": "AQ==" });
        assert_eq!(Kind::Geometry.cell(&point), Ok(Cell::Bytes(vec![1, 0, 0, 0, 1])));
    }

    proptest::proptest! {
        #[test]
        fn decimals_are_given_as_their_digits(whole: i64, part in 0_u64..1_000_000) {
            let digits = format!("{whole}.{part:06}");
            proptest::prop_assert_eq!(Kind::Decimal.cell(&json!(&digits)), Ok(Cell::Text(digits)));
        }
    }
}
