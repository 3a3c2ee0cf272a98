//! One field of a logged row: from its bytes to an exact value.
//!
//! Formats: MySQL's row image, as `log_event` and `Field` write it, with MariaDB's own
//! types. Which format a field has is decided once, when its table's map is read; here
//! only bytes are read. Nothing is rounded.

use std::{net::Ipv6Addr, sync::Arc};

use super::{
    bytes::{Bytes, Fault, Parsed, unfold_value},
    charset::Charset,
    json,
};
use crate::value::{Date, DateTime, Geometry, Time, Value};

/// How a field's bytes are read. `prefix` is the bytes of its length.
#[derive(Debug, Clone)]
pub(super) enum Format {
    Int {
        bytes: usize,
        unsigned: bool,
    },
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bit {
        bytes: usize,
    },
    Year,
    Date,
    Time {
        digits: u8,
    },
    DateTime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    /// Of tables from before fractions: `hhmmss` in 3 bytes.
    OldTime,
    /// Of tables from before fractions: `YYYYMMDDhhmmss` in 8 bytes.
    OldDateTime,
    /// Of tables from before fractions.
    OldTimestamp,
    Enum {
        bytes: usize,
        labels: Arc<[String]>,
    },
    Set {
        bytes: usize,
        labels: Arc<[String]>,
    },
    Text {
        prefix: usize,
        charset: Charset,
    },
    Bytes {
        prefix: usize,
    },
    /// Fixed length; the log leaves zero bytes at the end away.
    Padded {
        prefix: usize,
        length: usize,
    },
    CompressedText {
        prefix: usize,
        charset: Charset,
    },
    CompressedBytes {
        prefix: usize,
    },
    Uuid {
        prefix: usize,
    },
    Inet4 {
        prefix: usize,
    },
    Inet6 {
        prefix: usize,
    },
    Json {
        prefix: usize,
    },
    Geometry {
        prefix: usize,
    },
}

impl Format {
    /// Reads one value.
    ///
    /// # Errors
    /// When the bytes are none of this format.
    pub(super) fn read(&self, from: &mut Bytes<'_>) -> Parsed<Value> {
        Ok(match self {
            Self::Int { bytes, unsigned: true } => Value::UInt(from.uint(*bytes)?),
            Self::Int { bytes, unsigned: false } => Value::Int(from.int(*bytes)?),
            Self::Float => Value::Float(f32::from_bits(from.uint(4)? as u32)),
            Self::Double => Value::Double(f64::from_bits(from.uint(8)?)),
            Self::Decimal { precision, scale } => {
                Value::Decimal(decimal(from, *precision, *scale)?)
            }
            Self::Bit { bytes } => Value::UInt(from.uint_be(*bytes)?),
            Self::Year => Value::UInt(match from.u8()? {
                0 => 0,
                year => 1900 + u64::from(year),
            }),
            Self::Date => Value::Date(date(from.uint(3)?)),
            Self::Time { digits } => Value::Time(time(from, *digits)?),
            Self::DateTime { digits } => {
                let whole = from.uint_be(5)?;
                let micros = fraction(from, *digits)?;
                Value::DateTime(unpack_date_time(whole & 0x7f_ffff_ffff, micros, *digits))
            }
            Self::Timestamp { digits } => {
                let seconds = from.uint_be(4)?;
                let micros = fraction(from, *digits)?;
                Value::Timestamp(timestamp(seconds, micros, *digits))
            }
            Self::OldTime => Value::Time(old_time(from.int(3)?)),
            Self::OldDateTime => Value::DateTime(old_date_time(from.uint(8)?)),
            Self::OldTimestamp => Value::Timestamp(timestamp(from.uint(4)?, 0, 0)),
            Self::Enum { bytes, labels } => match from.uint(*bytes)? {
                // What an invalid insert left; a SELECT shows an empty string.
                0 => Value::Text(String::new()),
                index => Value::Text(
                    labels
                        .get(index as usize - 1)
                        .ok_or(Fault::new("an enumeration has no such label"))?
                        .clone(),
                ),
            },
            Self::Set { bytes, labels } => Value::Text(set(from.uint(*bytes)?, labels)?),
            _ => self.read_counted(from)?,
        })
    }

    /// Reads a value whose length stands before it.
    fn read_counted(&self, from: &mut Bytes<'_>) -> Parsed<Value> {
        let mut counted = |prefix: &usize| {
            let length = from.uint(*prefix)?;
            from.take(length as usize)
        };
        Ok(match self {
            Self::Text { prefix, charset } => charset.value(counted(prefix)?),
            Self::Bytes { prefix } => Value::Bytes(counted(prefix)?.to_vec()),
            Self::Padded { prefix, length } => {
                let mut bytes = counted(prefix)?.to_vec();
                bytes.resize((*length).max(bytes.len()), 0);
                Value::Bytes(bytes)
            }
            Self::CompressedText { prefix, charset } => {
                charset.value(&unfold_value(Bytes(counted(prefix)?))?)
            }
            Self::CompressedBytes { prefix } => {
                Value::Bytes(unfold_value(Bytes(counted(prefix)?))?.into_owned())
            }
            Self::Uuid { prefix } => Value::Text(uuid(padded(counted(prefix)?)?)),
            Self::Inet4 { prefix } => {
                Value::Text(std::net::Ipv4Addr::from(padded::<4>(counted(prefix)?)?).to_string())
            }
            Self::Inet6 { prefix } => {
                Value::Text(inet6(Ipv6Addr::from(padded::<16>(counted(prefix)?)?)))
            }
            Self::Json { prefix } => Value::Json(json::text(counted(prefix)?)?),
            Self::Geometry { prefix } => geometry(counted(prefix)?)?,
            _ => return Err(Fault::new("a field without a length was read with one")),
        })
    }
}

/// MySQL's geometry: a little-endian reference system, then well-known binary.
pub(super) fn geometry(bytes: &[u8]) -> Parsed<Value> {
    let mut bytes = Bytes(bytes);
    let srid = bytes.uint(4)? as u32;
    Ok(Value::Geometry(Geometry { srid, wkb: bytes.rest().to_vec() }))
}

/// A decimal's text. Groups of nine digits take four bytes, big-endian, the parts of
/// groups fewer; the first bit is the sign, and negative numbers have all bits turned.
pub(super) fn decimal(from: &mut Bytes<'_>, precision: u8, scale: u8) -> Parsed<String> {
    const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let whole_digits =
        usize::from(precision.checked_sub(scale).ok_or(Fault::new("a decimal has no digits"))?);
    let scale = usize::from(scale);
    let mut bytes = [0_u8; 128];
    let size = whole_digits / 9 * 4 + BYTES[whole_digits % 9] + scale / 9 * 4 + BYTES[scale % 9];
    let bytes = bytes.get_mut(..size).ok_or(Fault::new("a decimal has too many digits"))?;
    bytes.copy_from_slice(from.take(size)?);
    let first = bytes.first_mut().ok_or(Fault::new("a decimal has no digits"))?;
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut rest = Bytes(bytes);
    let mut text = String::with_capacity(usize::from(precision) + 3);
    if negative {
        text.push('-');
    }
    let start = text.len();
    let mut group = |text: &mut String, digits: usize| -> Parsed<()> {
        let number = rest.uint_be(BYTES[digits])?;
        if number > 0 || text.len() > start {
            use std::fmt::Write;
            let width = if text.len() > start { digits } else { 0 };
            let _ = write!(text, "{number:0width$}");
        }
        Ok(())
    };
    if !whole_digits.is_multiple_of(9) {
        group(&mut text, whole_digits % 9)?;
    }
    for _ in 0..whole_digits / 9 {
        group(&mut text, 9)?;
    }
    if text.len() == start {
        text.push('0');
    }
    if scale > 0 {
        text.push('.');
        for _ in 0..scale / 9 {
            group(&mut text, 9)?;
        }
        if !scale.is_multiple_of(9) {
            group(&mut text, scale % 9)?;
        }
    }
    Ok(text)
}

/// A date-time of `year * 13 + month`, day, hour, minute and second in bits.
pub(super) fn unpack_date_time(packed: u64, micros: u32, digits: u8) -> DateTime {
    let months = packed >> 22;
    DateTime {
        date: Date {
            year: (months / 13) as u16,
            month: (months % 13) as u8,
            day: (packed >> 17 & 31) as u8,
        },
        hour: (packed >> 12 & 31) as u8,
        minute: (packed >> 6 & 63) as u8,
        second: (packed & 63) as u8,
        micros,
        digits,
    }
}

/// A time of hours, minutes and seconds in bits.
pub(super) fn unpack_time(negative: bool, packed: u64, micros: u32, digits: u8) -> Time {
    Time {
        negative,
        hours: (packed >> 12 & 0x3ff) as u16,
        minutes: (packed >> 6 & 63) as u8,
        seconds: (packed & 63) as u8,
        micros,
        digits,
    }
}

/// A UUID's text.
pub(super) fn uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let part = |shift: u32, digits: u32| number >> shift & ((1 << (4 * digits)) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 8),
        part(80, 4),
        part(64, 4),
        part(48, 4),
        part(0, 12)
    )
}

fn inet6(address: Ipv6Addr) -> String {
    // The server shows compatible addresses (::1.2.3.4) with their IPv4 part.
    match (address.to_bits() >> 32, address.segments()[6]) {
        (0, 1..) => format!("::{}", std::net::Ipv4Addr::from(address.to_bits() as u32)),
        _ => address.to_string(),
    }
}

fn padded<const LENGTH: usize>(bytes: &[u8]) -> Parsed<[u8; LENGTH]> {
    let mut whole = [0; LENGTH];
    let target = whole.get_mut(..bytes.len()).ok_or(Fault::new("a value is too long"))?;
    target.copy_from_slice(bytes);
    Ok(whole)
}

fn set(mask: u64, labels: &[String]) -> Parsed<String> {
    if labels.len() < 64 && mask >> labels.len() != 0 {
        return Err(Fault::new("a set has no such label"));
    }
    let chosen = labels.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
    Ok(chosen.map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(","))
}

const fn date(packed: u64) -> Date {
    Date { year: (packed >> 9) as u16, month: (packed >> 5 & 15) as u8, day: (packed & 31) as u8 }
}

/// A time and its fraction are one number around a middle, so that they sort as bytes.
fn time(from: &mut Bytes<'_>, digits: u8) -> Parsed<Time> {
    let fraction_bytes = usize::from(digits.div_ceil(2).min(3));
    let packed = from.uint_be(3 + fraction_bytes)? as i64;
    let bits = 8 * fraction_bytes as u32;
    let signed = packed - (0x80_0000_i64 << bits);
    let size = signed.unsigned_abs();
    let micros = (size & ((1 << bits) - 1)) as u32 * FRACTION_MICROS[fraction_bytes];
    Ok(unpack_time(signed < 0, size >> bits, micros, digits))
}

/// Microseconds of one unit of a fraction, by its bytes.
const FRACTION_MICROS: [u32; 4] = [1, 10_000, 100, 1];

fn fraction(from: &mut Bytes<'_>, digits: u8) -> Parsed<u32> {
    let bytes = usize::from(digits.div_ceil(2).min(3));
    Ok(from.uint_be(bytes)? as u32 * FRACTION_MICROS[bytes])
}

fn timestamp(seconds: u64, micros: u32, digits: u8) -> DateTime {
    if seconds == 0 && micros == 0 {
        let date = Date { year: 0, month: 0, day: 0 };
        return DateTime { date, hour: 0, minute: 0, second: 0, micros: 0, digits };
    }
    DateTime::from_unix(seconds as i64, micros, digits)
}

fn old_time(packed: i64) -> Time {
    let size = packed.unsigned_abs();
    Time {
        negative: packed < 0,
        hours: (size / 10_000) as u16,
        minutes: (size / 100 % 100) as u8,
        seconds: (size % 100) as u8,
        micros: 0,
        digits: 0,
    }
}

fn old_date_time(packed: u64) -> DateTime {
    let (day, time) = (packed / 1_000_000, packed % 1_000_000);
    DateTime {
        date: Date {
            year: (day / 10_000) as u16,
            month: (day / 100 % 100) as u8,
            day: (day % 100) as u8,
        },
        hour: (time / 10_000) as u8,
        minute: (time / 100 % 100) as u8,
        second: (time % 100) as u8,
        micros: 0,
        digits: 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a decimal as MySQL does.
    fn binary_decimal(negative: bool, whole: &str, part: &str) -> Vec<u8> {
        const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
        let mut bytes: Vec<u8> = Vec::new();
        let mut group = |digits: &str| {
            let number: u32 = digits.parse().unwrap();
            bytes.extend(&number.to_be_bytes()[4 - BYTES[digits.len()]..]);
        };
        let (first, groups) = whole.split_at(whole.len() % 9);
        let last = part.len() - part.len() % 9;
        let all = std::iter::once(first)
            .chain(groups.as_bytes().chunks(9).map(|g| std::str::from_utf8(g).unwrap()))
            .chain(part.as_bytes()[..last].chunks(9).map(|g| std::str::from_utf8(g).unwrap()))
            .chain([&part[last..]]);
        all.filter(|digits| !digits.is_empty()).for_each(&mut group);
        if negative {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes[0] ^= 0x80;
        bytes
    }

    proptest! {
        #[test]
        fn decimals_keep_every_digit(negative: bool, whole in "[0-9]{1,35}", part in "[0-9]{0,30}") {
            let bytes = binary_decimal(negative, &whole, &part);
            let (precision, scale) = ((whole.len() + part.len()) as u8, part.len() as u8);
            let read = decimal(&mut Bytes(&bytes), precision, scale).unwrap();
            let trimmed = whole.trim_start_matches('0');
            let whole = if trimmed.is_empty() { "0" } else { trimmed };
            let point = if part.is_empty() { "" } else { "." };
            let sign = if negative { "-" } else { "" };
            prop_assert_eq!(read, format!("{sign}{whole}{point}{part}"));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), precision: u8, scale: u8) {
            let _ = decimal(&mut Bytes(&bytes), precision, scale);
            for prefix in 1..5 {
                let _ = Format::CompressedBytes { prefix }.read(&mut Bytes(&bytes));
                let _ = Format::Geometry { prefix }.read(&mut Bytes(&bytes));
                let _ = Format::Uuid { prefix }.read(&mut Bytes(&bytes));
            }
            for digits in 0..7 {
                let _ = Format::Time { digits }.read(&mut Bytes(&bytes));
                let _ = Format::Timestamp { digits }.read(&mut Bytes(&bytes));
            }
        }
    }

    #[test]
    fn a_medium_integer_keeps_its_sign() {
        let read = |unsigned| Format::Int { bytes: 3, unsigned }.read(&mut Bytes(&[0xff; 3]));
        assert_eq!(read(false), Ok(Value::Int(-1)));
        assert_eq!(read(true), Ok(Value::UInt(0xff_ffff)));
    }

    #[test]
    fn temporal_values_from_before_fractions_are_read() {
        let packed = 20_240_229_235_958_u64.to_le_bytes();
        let at = Format::OldDateTime.read(&mut Bytes(&packed)).unwrap();
        assert_eq!(at.to_json(), "2024-02-29T23:59:58");
        let packed = (-8_385_959_i64).to_le_bytes();
        let time = Format::OldTime.read(&mut Bytes(&packed[..3])).unwrap();
        assert_eq!(time.to_json(), "-838:59:59");
    }
}
