//! How Java writes values as text, reads numbers, and counts and compares strings.
//!
//! Doubles are the shortest digits that read back as the same number, as `Double.toString`
//! gives them since JDK 19; older ones sometimes print a digit more.

use std::{cmp::Ordering, fmt::Write};

use crate::value::{Number, Text, Value};

/// `Double.toString`.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        let mut text = value.to_string();
        if !text.contains('.') {
            text.push_str(".0");
        }
        return text;
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// `String.valueOf`: of an object `{a=1, b=2}`, of an array `[1, 2]`.
pub(crate) fn text<'a>(value: &Value<'a>) -> Text<'a> {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "null".into(),
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::Number(Number::Big(text)) => text.clone(),
        Value::Number(Number::Decimal(text)) => (*text).into(),
        other => {
            let mut text = String::new();
            append(other, &mut text);
            text.into()
        }
    }
}

/// Appends what [`text`] gives.
pub(crate) fn append(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::String(text) => out.push_str(text),
        Value::Number(number) => append_number(number, out),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
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

fn append_number(number: &Number<'_>, out: &mut String) {
    let written = match number {
        Number::Int(value) => write!(out, "{value}"),
        Number::Long(value) => write!(out, "{value}"),
        Number::Big(text) => write!(out, "{}", &**text),
        Number::Decimal(text) => write!(out, "{text}"),
        Number::Double(value) => write!(out, "{}", double(*value)),
    };
    // Writing to a string does not fail.
    debug_assert!(written.is_ok());
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
        return Some(Number::Int(value));
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
pub(crate) fn substring(text: &str, start: usize, end: usize) -> Option<String> {
    if text.is_ascii() {
        return text.get(start..end).map(str::to_owned);
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    units.get(start..end).map(String::from_utf16_lossy)
}

/// `equals`: of numbers only where their kinds are the same.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => equal_numbers(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => false,
    }
}

fn equal_numbers(a: &Number<'_>, b: &Number<'_>) -> bool {
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
        let value = parse(br#"{"a":1,"b":[true,null,"x",1.50],"c":{}}"#).unwrap();
        assert_eq!(&*text(&value), "{a=1, b=[true, null, x, 1.5], c={}}");
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
        ] {
            assert_eq!(double(value), expected);
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
        assert_eq!(substring("a😀b", 1, 3).as_deref(), Some("😀"));
        assert_eq!(substring("abc", 2, 5), None);
    }
}
