//! MySQL's binary JSON, written as the text that a `SELECT` shows.
//!
//! Format: MySQL's `json_binary.h`. A type byte; objects and arrays hold a count, their
//! size and a table of offsets, small (2 bytes) or large (4 bytes); small scalars stand
//! in the table itself. Depth is bounded; offsets are checked by the slices.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use courant_model::limits::NESTING_MAX;

use super::{
    bytes::{Bytes, Fault, Parsed},
    fields,
};
use crate::value::{DateTime, Time};

/// The text of a document.
///
/// # Errors
/// When the bytes are no document.
pub(super) fn text(document: &[u8]) -> Parsed<String> {
    let room = document.len().saturating_mul(EXPANSION_MAX).saturating_add(EXPANSION_MAX);
    let mut out = Text { text: String::with_capacity(document.len()), room };
    match document.split_first() {
        // MySQL writes an empty value for JSON null in some old rows.
        None => push(&mut out, "null")?,
        Some((kind, data)) => write_value(&mut out, *kind, data, 0)?,
    }
    Ok(out.text)
}

/// Characters that one byte of a document may become: a control character takes 6, a
/// small number with its separator 8. More is a document that points at itself.
const EXPANSION_MAX: usize = 16;

/// Text with bounded room.
struct Text {
    text: String,
    room: usize,
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        self.room = self.room.checked_sub(more.len()).ok_or(std::fmt::Error)?;
        self.text.push_str(more);
        Ok(())
    }
}

fn write_value(out: &mut Text, kind: u8, data: &[u8], depth: usize) -> Parsed<()> {
    let mut bytes = Bytes(data);
    match kind {
        0..=3 if depth < NESTING_MAX => write_container(out, kind, data, depth),
        0..=3 => Err(Fault::new("a JSON document is nested too deep")),
        4 => match bytes.u8()? {
            0 => push(out, "null"),
            1 => push(out, "true"),
            2 => push(out, "false"),
            _ => Err(Fault::new("a JSON literal is unknown")),
        },
        5 => push(out, bytes.int(2)?),
        6 => push(out, bytes.uint(2)?),
        7 => push(out, bytes.int(4)?),
        8 => push(out, bytes.uint(4)?),
        9 => push(out, bytes.int(8)?),
        10 => push(out, bytes.uint(8)?),
        11 => push(out, serde_json::Value::from(f64::from_bits(bytes.uint(8)?))),
        12 => {
            let length = variable_length(&mut bytes)?;
            write_string(out, bytes.take(length)?)
        }
        15 => {
            let kind = bytes.u8()?;
            let length = variable_length(&mut bytes)?;
            write_opaque(out, kind, bytes.take(length)?)
        }
        _ => Err(Fault::new("a JSON value's type is unknown")),
    }
}

/// Kinds 0 and 1 are a small and a large object, 2 and 3 arrays.
fn write_container(out: &mut Text, kind: u8, data: &[u8], depth: usize) -> Parsed<()> {
    let (large, object) = (kind & 1 == 1, kind < 2);
    let width = if large { 4 } else { 2 };
    let mut head = Bytes(data);
    let (count, size) = (head.uint(width)? as usize, head.uint(width)? as usize);
    let data = data.get(..size).ok_or(Fault::new("a JSON container ends too early"))?;
    let key_bytes = if object { count.saturating_mul(width + 2) } else { 0 };
    let mut keys = Bytes(head.take(key_bytes)?);
    push(out, if object { '{' } else { '[' })?;
    for index in 0..count {
        if index > 0 {
            push(out, ", ")?;
        }
        if object {
            let (offset, length) = (keys.uint(width)? as usize, keys.uint(2)? as usize);
            let key = data.get(offset..).and_then(|rest| rest.get(..length));
            write_string(out, key.ok_or(Fault::new("a JSON key lies outside"))?)?;
            push(out, ": ")?;
        }
        let kind = head.u8()?;
        let place = head.take(width)?;
        let inline = matches!(kind, 4..=6) || large && matches!(kind, 7 | 8);
        if inline {
            write_value(out, kind, place, depth + 1)?;
        } else {
            let offset = Bytes(place).uint(width)? as usize;
            let value = data.get(offset..).ok_or(Fault::new("a JSON value lies outside"))?;
            write_value(out, kind, value, depth + 1)?;
        }
    }
    push(out, if object { '}' } else { ']' })
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn variable_length(bytes: &mut Bytes<'_>) -> Parsed<usize> {
    let mut length = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = bytes.u8()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Fault::new("a JSON length does not end"))
}

/// What is no JSON of its own: decimals as numbers, temporal values and others as text.
fn write_opaque(out: &mut Text, kind: u8, data: &[u8]) -> Parsed<()> {
    let mut bytes = Bytes(data);
    match kind {
        246 => {
            let (precision, scale) = (bytes.u8()?, bytes.u8()?);
            push(out, fields::decimal(&mut bytes, precision, scale)?)
        }
        7 | 10 | 12 => {
            let packed = bytes.uint(8)?;
            let (whole, micros) = (packed >> 24, (packed & 0xff_ffff) as u32);
            let at: DateTime = fields::unpack_date_time(whole, micros, 6);
            if kind == 10 {
                push(out, format_args!("\"{}\"", at.date))
            } else {
                push(out, format_args!("\"{at}\""))
            }
        }
        11 => {
            let packed = bytes.int(8)?;
            let (whole, micros) = (packed.unsigned_abs() >> 24, packed.unsigned_abs() & 0xff_ffff);
            let time: Time = fields::unpack_time(packed < 0, whole, micros as u32, 6);
            push(out, format_args!("\"{time}\""))
        }
        _ => push(out, format_args!("\"base64:type{kind}:{}\"", STANDARD.encode(data))),
    }
}

fn write_string(out: &mut Text, text: &[u8]) -> Parsed<()> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::new("a JSON string is not UTF-8"))?;
    push(out, serde_json::Value::from(text))
}

fn push(out: &mut Text, what: impl std::fmt::Display) -> Parsed<()> {
    write!(out, "{what}").map_err(|_| Fault::new("a JSON document is larger than its bytes can be"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Writes a document as MySQL does, small or large.
    fn binary(value: &Value, large: bool) -> (u8, Vec<u8>) {
        let container = |object: bool, entries: Vec<(Option<&String>, &Value)>| {
            let width = if large { 4 } else { 2 };
            let number = |n: usize| n.to_le_bytes()[..width].to_vec();
            let head = 2 * width + entries.len() * (1 + width + if object { width + 2 } else { 0 });
            let (mut keys, mut values, mut tail) = (Vec::new(), Vec::new(), Vec::new());
            for (key, _) in entries.iter().filter(|_| object) {
                let key = key.unwrap();
                keys.extend(number(head + tail.len()));
                keys.extend((key.len() as u16).to_le_bytes());
                tail.extend(key.bytes());
            }
            for (_, value) in &entries {
                let (kind, data) = binary(value, large);
                values.push(kind);
                if kind == 4 || kind == 5 {
                    values.extend(data.iter().copied().chain([0; 4]).take(width));
                } else {
                    values.extend(number(head + tail.len()));
                    tail.extend(data);
                }
            }
            let mut whole = [number(entries.len()), number(head + tail.len())].concat();
            whole.extend([keys, values, tail].concat());
            (u8::from(large) + if object { 0 } else { 2 }, whole)
        };
        match value {
            Value::Null => (4, vec![0]),
            Value::Bool(true) => (4, vec![1]),
            Value::Bool(false) => (4, vec![2]),
            Value::Number(number) => match number.as_i64() {
                Some(n) if i16::try_from(n).is_ok() => (5, (n as i16).to_le_bytes().to_vec()),
                Some(n) => (9, n.to_le_bytes().to_vec()),
                None => (11, number.as_f64().unwrap().to_le_bytes().to_vec()),
            },
            Value::String(text) => {
                let length = text.len();
                assert!(length < 1 << 14, "two bytes of length are enough here");
                let mut data = vec![(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
                data.extend(text.bytes());
                (12, data)
            }
            Value::Array(items) => {
                container(false, items.iter().map(|item| (None, item)).collect())
            }
            Value::Object(fields) => {
                container(true, fields.iter().map(|(k, v)| (Some(k), v)).collect())
            }
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i16>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |n| n.is_finite()).prop_map(Value::from),
            ".{0,200}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,8}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_come_back_as_their_text(document in documents(), large: bool) {
            let (kind, data) = binary(&document, large);
            let whole = [vec![kind], data].concat();
            prop_assert_eq!(serde_json::from_str::<Value>(&text(&whole).unwrap()).unwrap(), document);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = text(&bytes);
        }
    }

    #[test]
    fn values_that_json_lacks_are_shown_as_a_select_shows_them() {
        let opaque = |kind: u8, data: &[u8]| {
            text(&[vec![15, kind, data.len() as u8], data.to_vec()].concat()).unwrap()
        };
        // 2015-01-15 23:24:25.000012, packed as DATETIME and DATE.
        let packed =
            ((((2015_u64 * 13 + 1) << 5 | 15) << 17) | (23 << 12 | 24 << 6 | 25)) << 24 | 12;
        assert_eq!(opaque(12, &packed.to_le_bytes()), r#""2015-01-15 23:24:25.000012""#);
        assert_eq!(opaque(10, &packed.to_le_bytes()), r#""2015-01-15""#);
        assert_eq!(opaque(246, &[4, 2, 0x80 | 12, 34]), "12.34");
        assert_eq!(opaque(252, b"ab"), r#""base64:type252:YWI=""#);
        assert_eq!(text(&[0, 0, 0, 4, 0]).unwrap(), "{}");
        assert_eq!(json!({}).to_string(), "{}");
    }
}
