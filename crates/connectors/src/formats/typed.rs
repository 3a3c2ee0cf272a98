//! The JSON value of a CSV field, by its column's type.
//!
//! CSV knows text only; a column says what a text means. The value is what SQL
//! reads from JSON for the same column: numbers as numbers, dates and timestamps
//! as text, UTC where a timestamp names no zone. An empty field is null, except in
//! a text column.

use courant_model::{Column, ColumnType};
use jiff::civil;
use serde_json::{Number, Value};

/// Decimal digits that a JSON number keeps exactly in every reader.
const EXACT_DIGITS: u8 = 15;

/// Reads a field. The reason of a refusal starts with a verb: "is … ".
pub(super) fn value(column: &Column, text: &str) -> Result<Value, String> {
    if text.is_empty() && column.column_type != ColumnType::String {
        return if column.required {
            Err(format!("is empty; expected {}", column.type_text()))
        } else {
            Ok(Value::Null)
        };
    }
    parse(&column.column_type, text.trim(), text).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        format!("is {shown:?}; expected {}", column.column_type)
    })
}

fn parse(column_type: &ColumnType, trimmed: &str, text: &str) -> Option<Value> {
    Some(match column_type {
        ColumnType::String | ColumnType::Bytes => text.into(),
        ColumnType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "1" => true.into(),
            "false" | "0" => false.into(),
            _ => return None,
        },
        ColumnType::Int32 => trimmed.parse::<i32>().ok()?.into(),
        ColumnType::Int64 => trimmed.parse::<i64>().ok()?.into(),
        ColumnType::Float64 => Number::from_f64(trimmed.parse().ok()?)?.into(),
        ColumnType::Decimal { precision, scale } => decimal(trimmed, *precision, *scale)?,
        ColumnType::Date => trimmed.parse::<civil::Date>().ok()?.to_string().into(),
        ColumnType::Timestamp => timestamp(trimmed)?,
        ColumnType::Json | ColumnType::List(_) | ColumnType::Struct(_) => {
            serde_json::from_str(trimmed).ok()?
        }
    })
}

/// A decimal within its digits: a number where that is exact, else its text.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let whole_digits = whole.trim_start_matches('0').len();
    let fits = fraction.len() <= usize::from(scale)
        && whole_digits <= usize::from(precision) - usize::from(scale);
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    if !(has_digits && all_digits(whole) && all_digits(fraction) && fits) {
        return None;
    }
    if precision > EXACT_DIGITS {
        return Some(text.into());
    }
    Some(Number::from_f64(text.parse().ok()?)?.into())
}

fn timestamp(text: &str) -> Option<Value> {
    if let Ok(millis) = text.parse::<i64>() {
        return Some(millis.into());
    }
    if text.parse::<jiff::Timestamp>().is_ok() {
        return Some(text.into());
    }
    let utc = text.parse::<civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(utc.timestamp().to_string().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(column_type: &str, text: &str) -> Result<Value, String> {
        value(&Column::parse("c", column_type).unwrap(), text)
    }

    #[test]
    fn every_type_reads_its_text() {
        assert_eq!(read("int64", "-5"), Ok(json!(-5)));
        assert_eq!(read("boolean", "TRUE"), Ok(json!(true)));
        assert_eq!(read("float64", "1.5"), Ok(json!(1.5)));
        assert_eq!(read("decimal(10,2)", "12345678.90"), Ok(json!(12_345_678.9)));
        assert_eq!(
            read("decimal(38,2)", "123456789012345678.90"),
            Ok(json!("123456789012345678.90"))
        );
        assert_eq!(read("date", "2026-01-31"), Ok(json!("2026-01-31")));
        assert_eq!(read("timestamp", "2026-01-31 10:00:00"), Ok(json!("2026-01-31T10:00:00Z")));
        assert_eq!(read("timestamp", "1700000000000"), Ok(json!(1_700_000_000_000_i64)));
        assert_eq!(read("list<int64>", "[1, 2]"), Ok(json!([1, 2])));
        assert_eq!(read("string", ""), Ok(json!("")));
        assert_eq!(read("int32", ""), Ok(Value::Null));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_type() {
        assert_eq!(read("int32", "3000000000"), Err("is \"3000000000\"; expected int32".into()));
        assert_eq!(read("int64 not null", ""), Err("is empty; expected int64 not null".into()));
        for (column_type, text) in [
            ("decimal(4,2)", "100.00"),
            ("decimal(4,2)", "1.234"),
            ("decimal(4,2)", "."),
            ("date", "2026-02-30"),
            ("timestamp", "yesterday"),
            ("boolean", "yes"),
            ("float64", "NaN"),
        ] {
            assert!(read(column_type, text).is_err(), "{column_type} {text}");
        }
    }
}
