//! One value of a captured row, exactly as the database holds it.
//!
//! Numbers keep their width of meaning, decimals all their digits, temporal values
//! their fraction; a date that no calendar knows (`0000-00-00`) stays what it is. JSON
//! is made of them by [`Value::to_json`]: exact values that JSON's numbers cannot carry
//! become text.

use std::{fmt, io::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// A value; which variants a column has follows from its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Null,
    Int(i64),
    /// Unsigned integers, years and bit fields.
    UInt(u64),
    Float(f32),
    Double(f64),
    /// All digits, with the column's scale: `-12.50`.
    Decimal(String),
    /// Text, an enumeration's label, a set's labels joined by commas.
    Text(String),
    Bytes(Vec<u8>),
    Date(Date),
    /// A duration or a time of day; MySQL's goes from -838 to 838 hours.
    Time(Time),
    /// Without a zone.
    DateTime(DateTime),
    /// In UTC.
    Timestamp(DateTime),
    /// The document's text.
    Json(String),
    Geometry(Geometry),
}

/// A calendar date; zero parts are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Date {
    pub year: u16,
    pub month: u8,
    pub day: u8,
}

/// A signed time with `digits` (0 to 6) of its microseconds shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    pub negative: bool,
    pub hours: u16,
    pub minutes: u8,
    pub seconds: u8,
    pub micros: u32,
    pub digits: u8,
}

/// A date and a time of day with `digits` (0 to 6) of its microseconds shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateTime {
    pub date: Date,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
    pub digits: u8,
}

/// A geometry as well-known binary, with its reference system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    pub srid: u32,
    pub wkb: Vec<u8>,
}

impl Value {
    /// The value in JSON: decimals, temporal values and bytes (Base64) as text; dates as
    /// `2024-02-29`, date-times as `2024-02-29T12:00:00.5`, timestamps the same with `Z`;
    /// JSON documents as themselves; geometries as `{"srid": …, "wkb": Base64}`.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Int(number) => json!(number),
            Self::UInt(number) => json!(number),
            // The shortest digits of the narrow number, not those of its widening.
            Self::Float(number) => number.to_string().parse::<f64>().map_or(Json::Null, Json::from),
            Self::Double(number) => Json::from(*number),
            Self::Decimal(text) | Self::Text(text) => json!(text),
            Self::Bytes(bytes) => json!(STANDARD.encode(bytes)),
            Self::Date(date) => json!(date.to_string()),
            Self::Time(time) => json!(time.to_string()),
            Self::DateTime(at) => json!(at.iso()),
            Self::Timestamp(at) => json!(at.iso() + "Z"),
            Self::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
            Self::Geometry(shape) => {
                json!({ "srid": shape.srid, "wkb": STANDARD.encode(&shape.wkb) })
            }
        }
    }
}

impl Value {
    /// Writes what [`Self::to_json`] answers as text; most values without building it.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // Writing into memory does not fail.
        let _ = match self {
            Self::Null => out.write_all(b"null"),
            Self::Int(number) => write!(out, "{number}"),
            Self::UInt(number) => write!(out, "{number}"),
            Self::Decimal(text) | Self::Text(text) => {
                write_text(text, out);
                Ok(())
            }
            Self::Date(date) => write!(out, "\"{date}\""),
            Self::Time(time) => write!(out, "\"{time}\""),
            other => write!(out, "{}", other.to_json()),
        };
    }
}

/// Writes a text as JSON does.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing into memory does not fail, and every text is JSON.
    let _ = serde_json::to_writer(out, text);
}

impl DateTime {
    /// The instant of `seconds` since the Unix epoch, in UTC.
    pub fn from_unix(seconds: i64, micros: u32, digits: u8) -> Self {
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Howard Hinnant's days-to-civil algorithm, in years that begin in March.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let date = Date {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as u16,
            month: month as u8,
            day: (of_year - (153 * march_month + 2) / 5 + 1) as u8,
        };
        let (hour, minute) = ((second / 3_600) as u8, (second / 60 % 60) as u8);
        Self { date, hour, minute, second: (second % 60) as u8, micros, digits }
    }

    fn iso(&self) -> String {
        self.to_string().replacen(' ', "T", 1)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}{:02}:{:02}:{:02}", self.hours, self.minutes, self.seconds)?;
        write_fraction(f, self.micros, self.digits)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02}:{:02}:{:02}", self.date, self.hour, self.minute, self.second)?;
        write_fraction(f, self.micros, self.digits)
    }
}

fn write_fraction(f: &mut fmt::Formatter<'_>, micros: u32, digits: u8) -> fmt::Result {
    if digits == 0 {
        return Ok(());
    }
    let digits = digits.min(6);
    let shown = micros / 10_u32.pow(6 - u32::from(digits));
    write!(f, ".{shown:0width$}", width = usize::from(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_become_dates_on_both_sides_of_leap_days() {
        let at = |seconds, micros, digits| DateTime::from_unix(seconds, micros, digits).to_string();
        assert_eq!(at(0, 0, 0), "1970-01-01 00:00:00");
        assert_eq!(at(951_782_399, 999_999, 3), "2000-02-28 23:59:59.999");
        assert_eq!(at(951_782_400, 5, 6), "2000-02-29 00:00:00.000005");
        assert_eq!(at(951_868_800, 0, 0), "2000-03-01 00:00:00");
        assert_eq!(at(4_102_444_799, 0, 0), "2099-12-31 23:59:59");
    }

    #[test]
    fn json_keeps_what_its_numbers_cannot() {
        assert_eq!(Value::Float(1.1).to_json(), json!(1.1));
        assert_eq!(Value::UInt(u64::MAX).to_json(), json!(u64::MAX));
        assert_eq!(Value::Decimal("0.10".into()).to_json(), json!("0.10"));
        assert_eq!(Value::Bytes(vec![0, 255]).to_json(), json!("AP8="));
        assert_eq!(Value::Json(r#"{"a": [1]}"#.into()).to_json(), json!({ "a": [1] }));
        let at = DateTime::from_unix(1, 500_000, 1);
        assert_eq!(Value::Timestamp(at).to_json(), json!("1970-01-01T00:00:01.5Z"));
        assert_eq!(Value::DateTime(at).to_json(), json!("1970-01-01T00:00:01.5"));
    }

    #[test]
    fn written_json_is_the_built_one() {
        let at = DateTime::from_unix(1, 500_000, 1);
        let time = Time { negative: true, hours: 1, minutes: 2, seconds: 3, micros: 0, digits: 0 };
        for value in [
            Value::Null,
            Value::Int(i64::MIN),
            Value::UInt(u64::MAX),
            Value::Float(1.1),
            Value::Double(-0.5),
            Value::Decimal("0.10".into()),
            Value::Text("a\"\n\u{1}é".into()),
            Value::Bytes(vec![0, 255]),
            Value::Date(at.date),
            Value::Time(time),
            Value::DateTime(at),
            Value::Timestamp(at),
            Value::Json(r#"{"a": [1]}"#.into()),
            Value::Geometry(Geometry { srid: 1, wkb: vec![1] }),
        ] {
            let mut written = Vec::new();
            value.write_json(&mut written);
            assert_eq!(serde_json::from_slice::<Json>(&written).unwrap(), value.to_json());
        }
    }
}
