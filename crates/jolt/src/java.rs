//! How Java writes values as text, reads numbers, and counts and compares strings.
//!
//! Doubles are the shortest digits that read back as the same number, as `Double.toString`
//! gives them since JDK 19; older ones sometimes print a digit more.

use std::{cmp::Ordering, fmt::Write, hash::BuildHasher, ops::Deref};

use crate::{
    arena::{Arena, Growing},
    value::{Number, Truth, Value},
};

/// A number as text; no double needs more room.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Printed {
    bytes: [u8; 32],
    length: usize,
}

impl Write for Printed {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Deref for Printed {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Printed {
    fn of(arguments: std::fmt::Arguments<'_>) -> Self {
        let mut printed = Self::default();
        let written = printed.write_fmt(arguments);
        debug_assert!(written.is_ok(), "no number is longer");
        printed
    }
}

/// `Double.toString`.
pub(crate) fn double(value: f64) -> Printed {
    if value.is_nan() {
        return Printed::of(format_args!("NaN"));
    }
    if value.is_infinite() {
        return Printed::of(format_args!("{}Infinity", if value > 0.0 { "" } else { "-" }));
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        // The debugging form always has a point in this range.
        return Printed::of(format_args!("{value:?}"));
    }
    let text = Printed::of(format_args!("{value:e}"));
    // Java prints two digits at least, and of those the nearest: 4.9E-324, not 5.0E-324.
    let text = if text.contains('.') { text } else { Printed::of(format_args!("{value:.1e}")) };
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    Printed::of(format_args!("{digits}E{exponent}"))
}

/// `String.valueOf`: of an object `{a=1, b=2}`, of an array `[1, 2]`.
pub(crate) fn text<'x>(arena: &'x Arena, value: Value<'x>) -> &'x str {
    match value {
        Value::String(text) => text,
        Value::Null => "null",
        Value::Bool(value) => bool_text(value),
        Value::Number(Number::Big(text) | Number::Decimal(text)) => text,
        Value::Number(Number::Int(value)) => arena.text(itoa::Buffer::new().format(value.get())),
        Value::Number(Number::Long(value)) => arena.text(itoa::Buffer::new().format(value)),
        Value::Number(Number::Double(value)) => arena.text(&double(value)),
        Value::Array(_) | Value::Object(_) => {
            let mut text = arena.growing(64);
            append(value, &mut text);
            text.into_bump_str()
        }
    }
}

/// The word for a boolean.
pub(crate) const fn bool_text(value: Truth) -> &'static str {
    match value {
        Truth::False => "false",
        Truth::True => "true",
    }
}

/// Appends what [`text`] gives.
pub(crate) fn append(value: Value<'_>, out: &mut Growing<'_>) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(bool_text(value)),
        Value::String(text) => out.push_str(text),
        Value::Number(Number::Int(value)) => out.push_str(itoa::Buffer::new().format(value.get())),
        Value::Number(Number::Long(value)) => out.push_str(itoa::Buffer::new().format(value)),
        Value::Number(Number::Big(text) | Number::Decimal(text)) => out.push_str(text),
        Value::Number(Number::Double(value)) => out.push_str(&double(value)),
        Value::Array(array) => {
            out.push('[');
            for (n, item) in array.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                append(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (n, (key, value)) in object.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                out.push_str(key);
                out.push('=');
                append(value, out);
            }
            out.push('}');
        }
    }
}

/// `Integer.parseInt`: a sign may stand before the digits.
pub(crate) fn parse_int(text: &str) -> Option<i32> {
    text.parse().ok()
}

/// The index that a key means: a whole number that is not negative.
pub(crate) fn index(text: &str) -> Option<usize> {
    parse_int(text).and_then(|index| usize::try_from(index).ok())
}

/// A number in a string: an integer, a long, else a double as `Double.parseDouble` reads.
pub(crate) fn parse_number(text: &str) -> Option<Number<'static>> {
    if let Ok(value) = text.parse::<i32>() {
        return Some(Number::Int(value.into()));
    }
    if let Ok(value) = text.parse::<i64>() {
        return Some(Number::Long(value));
    }
    parse_double(text).map(Number::Double)
}

/// `Double.parseDouble`, but for hexadecimal numbers, which are refused.
fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, "NaN" | "Infinity") {
        return text.parse().ok();
    }
    let text = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let plain =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(plain) || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Length in UTF-16 units.
pub(crate) fn length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// `String.compareTo`: by UTF-16 units.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    if a.is_ascii() || b.is_ascii() {
        return a.cmp(b);
    }
    a.encode_utf16().cmp(b.encode_utf16())
}

/// `String.substring` by UTF-16 units; `None` out of range. Half of a pair is lost.
pub(crate) fn substring<'x>(
    arena: &'x Arena,
    text: &'x str,
    start: usize,
    end: usize,
) -> Option<&'x str> {
    if text.is_ascii() {
        return text.get(start..end);
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    units.get(start..end).map(|units| arena.text(&String::from_utf16_lossy(units)))
}

/// `equals`: of numbers only where their kinds are the same.
pub(crate) fn equal(a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => equal_numbers(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => false,
    }
}

/// A hash that equal values share: of an object without regard to the order of its keys.
pub(crate) fn hash(value: Value<'_>, hasher: &impl BuildHasher) -> u64 {
    match value {
        Value::Null => 0,
        Value::Bool(value) => hasher.hash_one(value),
        Value::String(text) | Value::Number(Number::Big(text)) => hasher.hash_one(text),
        Value::Number(number) if number.is_double() => match number.to_f64() {
            value if value.is_nan() => 1,
            value => hasher.hash_one(value.to_bits()),
        },
        Value::Number(number) => hasher.hash_one(number.to_i64()),
        Value::Array(array) => {
            array.iter().fold(2, |sum, item| hasher.hash_one((sum, hash(item, hasher))))
        }
        Value::Object(object) => object.iter().fold(3, |sum, (key, value)| {
            hasher.hash_one((key, hash(value, hasher))).wrapping_add(sum)
        }),
    }
}

fn equal_numbers(a: Number<'_>, b: Number<'_>) -> bool {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => a == b,
        (Number::Long(a), Number::Long(b)) => a == b,
        (Number::Big(a), Number::Big(b)) => a == b,
        (a, b) if a.is_double() && b.is_double() => {
            // As `Double.equals`: NaN is itself, the zeros differ.
            let (a, b) = (a.to_f64(), b.to_f64());
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    #[test]
    fn containers_are_written_as_java_writes_them() {
        let arena = Arena::new();
        let value = parse(&arena, br#"{"a":1,"b":[true,null,"x",1.50],"c":{}}"#).unwrap();
        assert_eq!(text(&arena, value), "{a=1, b=[true, null, x, 1.5], c={}}");
    }

    #[test]
    fn doubles_have_a_point_and_change_to_an_exponent() {
        for (value, expected) in [
            (1.0, "1.0"),
            (0.5, "0.5"),
            (1e7, "1.0E7"),
            (1.5e-4, "1.5E-4"),
            (123_456.789, "123456.789"),
            (-2.5e20, "-2.5E20"),
            (f64::MAX, "1.7976931348623157E308"),
            (5e-324, "4.9E-324"),
            (2e23, "2.0E23"),
        ] {
            assert_eq!(&*double(value), expected);
        }
    }

    #[test]
    fn numbers_in_strings_are_read_as_java_reads_them() {
        let read = |text| parse_number(text).map(|number| number.to_f64());
        for (text, expected) in [
            ("12", Some(12.0)),
            ("+12", Some(12.0)),
            (" 12", Some(12.0)),
            ("1e2", Some(100.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1d", Some(1.0)),
            ("1.5F", Some(1.5)),
            ("99999999999", Some(99_999_999_999.0)),
            ("Infinity", Some(f64::INFINITY)),
            ("inf", None),
            ("nan", None),
            ("", None),
            ("x", None),
            ("1_0", None),
            ("e5", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn strings_count_and_compare_in_utf_16_units() {
        assert_eq!(length("a😀"), 3);
        // U+FB01 is one unit above the surrogates that begin U+1F600.
        assert_eq!(compare("ﬁ", "😀"), Ordering::Greater);
        let arena = Arena::new();
        assert_eq!(substring(&arena, "a😀b", 1, 3), Some("😀"));
        assert_eq!(substring(&arena, "abc", 2, 5), None);
    }
}
