//! A [`Value`] as JSON text, compact or indented, as Jackson writes it.

use crate::{
    java, scan,
    value::{Number, Value},
};

/// Compact JSON.
pub fn to_vec(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

/// JSON with two blanks a level.
pub fn to_vec_pretty(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_pretty(value, 0, &mut out);
    out
}

/// The front of compact JSON, with an ellipsis where it goes on.
pub(crate) fn to_short(value: Value<'_>, bytes_max: usize) -> String {
    let mut out = Vec::with_capacity(bytes_max);
    write_front(value, bytes_max, &mut out);
    let text = String::from_utf8_lossy(&out);
    if text.len() <= bytes_max {
        return text.into_owned();
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Appends compact JSON, at least so many bytes of it where it is longer. Its work is
/// bounded by them, not by the value.
fn write_front(value: Value<'_>, bytes_max: usize, out: &mut Vec<u8>) {
    let (open, close) = match value {
        Value::Array(_) => (b'[', b']'),
        Value::Object(_) => (b'{', b'}'),
        Value::String(text) => {
            let end = (bytes_max + 1..text.len()).find(|end| text.is_char_boundary(*end));
            return write_text(&text[..end.unwrap_or(text.len())], out);
        }
        scalar => return write_scalar(scalar, out),
    };
    out.push(open);
    let mut comma = "";
    let mut item = |key: Option<&str>, value, out: &mut Vec<u8>| {
        out.extend_from_slice(comma.as_bytes());
        comma = ",";
        if let Some(key) = key {
            write_front(Value::String(key), bytes_max, out);
            out.push(b':');
        }
        write_front(value, bytes_max, out);
        out.len() <= bytes_max
    };
    match value {
        Value::Array(array) => {
            let _ = array.iter().all(|value| item(None, value, out));
        }
        Value::Object(object) => {
            let _ = object.iter().all(|(key, value)| item(Some(key), value, out));
        }
        _ => {}
    }
    out.push(close);
}

/// Appends compact JSON.
pub(crate) fn write(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            let mut before = b'[';
            for item in items.iter() {
                out.push(before);
                before = b',';
                write(item, out);
            }
            if items.is_empty() {
                out.push(b'[');
            }
            out.push(b']');
        }
        Value::Object(object) => {
            let mut before = b'{';
            for (key, value) in object.iter() {
                out.push(before);
                before = b',';
                write_text(key, out);
                out.push(b':');
                write(value, out);
            }
            if object.is_empty() {
                out.push(b'{');
            }
            out.push(b'}');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_pretty(value: Value<'_>, level: usize, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                new_line(n > 0, level + 1, out);
                write_pretty(item, level + 1, out);
            }
            new_line(false, level, out);
            out.push(b']');
        }
        Value::Object(object) if !object.is_empty() => {
            out.push(b'{');
            for (n, (key, value)) in object.iter().enumerate() {
                new_line(n > 0, level + 1, out);
                write_text(key, out);
                out.extend_from_slice(b": ");
                write_pretty(value, level + 1, out);
            }
            new_line(false, level, out);
            out.push(b'}');
        }
        other => write(other, out),
    }
}

fn new_line(comma: bool, level: usize, out: &mut Vec<u8>) {
    if comma {
        out.push(b',');
    }
    out.push(b'\n');
    out.resize(out.len() + 2 * level, b' ');
}

fn write_scalar(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Bool(value) => out.extend_from_slice(java::bool_text(value).as_bytes()),
        Value::String(text) => write_text(text, out),
        Value::Number(number) => write_number(number, out),
        Value::Null | Value::Array(_) | Value::Object(_) => out.extend_from_slice(b"null"),
    }
}

fn write_number(number: Number<'_>, out: &mut Vec<u8>) {
    match number {
        Number::Int(value) => write_whole(value.get(), out),
        Number::Long(value) => write_whole(value, out),
        Number::Big(text) => out.extend_from_slice(text.as_bytes()),
        Number::Decimal(text) => out.extend_from_slice(text.as_bytes()),
        // JSON has no word for these; Jackson writes them in quotes.
        Number::Double(value) if !value.is_finite() => write_text(&java::double(value), out),
        Number::Double(value) => out.extend_from_slice(java::double(value).as_bytes()),
    }
}

fn write_whole(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    // Texts are short: eight bytes at a time cost less than a call that copies any number.
    while !rest.is_empty() {
        if let Some((eight, after)) = rest.split_first_chunk::<8>()
            && scan::plain(eight) == eight.len()
        {
            out.extend_from_slice(eight);
            rest = after;
            continue;
        }
        let (some, after) = rest.split_at(rest.len().min(8));
        for byte in some {
            match byte {
                b'"' | b'\\' | 0..=0x1f => write_escape(*byte, out),
                plain => out.push(*plain),
            }
        }
        rest = after;
    }
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
