//! Sizes and spans as people write them: `64MiB`, `500ms`, `7d`.
//!
//! A number without a unit is refused: nobody should have to guess. Sizes know
//! both families (`MB` is 10⁶, `MiB` is 2²⁰); spans go from microseconds to weeks.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

/// A length of time. Named apart from `std`'s type, which has no text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

/// Why a text is no size or span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{what} {text:?} has no number; write one such as {example}")]
    NoNumber { what: &'static str, text: String, example: &'static str },
    #[error("{what} {text:?} has no unit; write one of {units}, such as {example}")]
    NoUnit { what: &'static str, text: String, units: String, example: &'static str },
    #[error("{what} {text:?} has the unknown unit {unit:?}; use one of {units}")]
    UnknownUnit { what: &'static str, text: String, unit: String, units: String },
    #[error("{what} {text:?} is too large")]
    TooLarge { what: &'static str, text: String },
}

/// Units from small to large; the factor is in bytes.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Units from small to large; the factor is in microseconds.
const SPANS: [(&str, u64); 7] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
    ("w", 604_800_000_000),
];

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// The size as a `usize`; saturates on machines with short addresses.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Span {
    pub const fn from_duration(duration: Duration) -> Self {
        Self(duration)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// Whole milliseconds; saturates.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse("size", text, &SIZES, "64MiB").map(Self)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse("duration", text, &SPANS, "500ms").map(|micros| Self(Duration::from_micros(micros)))
    }
}

fn parse(
    what: &'static str,
    text: &str,
    units: &[(&str, u64)],
    example: &'static str,
) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = (&trimmed[..split], trimmed[split..].trim_start());
    let text = || text.chars().take(80).collect::<String>();
    let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if digits.is_empty() {
        return Err(UnitError::NoNumber { what, text: text(), example });
    }
    if unit.is_empty() && digits.bytes().all(|digit| digit == b'0') {
        return Ok(0);
    }
    if unit.is_empty() {
        return Err(UnitError::NoUnit { what, text: text(), units: names(), example });
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let unit = unit.chars().take(80).collect();
        return Err(UnitError::UnknownUnit { what, text: text(), unit, units: names() });
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| UnitError::TooLarge { what, text: text() })
}

/// Writes with the largest unit that divides evenly, so that text → value → text
/// keeps its meaning.
fn format(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (name, factor) = units
        .iter()
        .rev()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .unwrap_or(&units[0]);
    write!(f, "{}{name}", value / factor)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        format(self.0, &SIZES, f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        format(u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX), &SPANS, f)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

macro_rules! text_form {
    ($type:ty, $name:literal, $pattern:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $description,
                })
            }
        }
    };
}

text_form!(
    ByteSize,
    "ByteSize",
    "^[0-9]+ ?(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$",
    "A number of bytes with its unit, such as 64MiB."
);
text_form!(
    Span,
    "Span",
    "^[0-9]+ ?(us|ms|s|m|h|d|w)$",
    "A length of time with its unit, such as 500ms or 7d."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_them_so() {
        assert_eq!("64MiB".parse::<ByteSize>().unwrap().as_bytes(), 64 << 20);
        assert_eq!("10 MB".parse::<ByteSize>().unwrap().as_bytes(), 10_000_000);
        assert_eq!("500ms".parse::<Span>().unwrap().as_millis(), 500);
        assert_eq!("7d".parse::<Span>().unwrap().to_string(), "1w");
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
        assert_eq!("0".parse::<Span>().unwrap(), Span::default());
    }

    #[test]
    fn a_refusal_names_the_remedy() {
        let text = "64".parse::<ByteSize>().unwrap_err().to_string();
        assert_eq!(
            text,
            "size \"64\" has no unit; write one of B, kB, KiB, MB, MiB, GB, GiB, TB, TiB, such as 64MiB"
        );
        assert!(matches!("5 parsecs".parse::<Span>(), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!("-5s".parse::<Span>(), Err(UnitError::NoNumber { .. })));
        assert!(matches!("99999999999999TiB".parse::<ByteSize>(), Err(UnitError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn sizes_survive_their_text(bytes: u64) {
            let size = ByteSize::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }

        #[test]
        fn spans_survive_their_text(micros in 0..u64::MAX) {
            let span = Span::from_duration(Duration::from_micros(micros));
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Span>();
            let _ = text.parse::<ByteSize>();
        }
    }
}
