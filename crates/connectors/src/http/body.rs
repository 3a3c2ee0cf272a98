//! From a request's body to records: one object, a list of objects, or JSON lines.
//!
//! JSON lines are known by their content type, or by their shape: several values
//! one after the other. Bytes of a record stay as they were sent. Nothing partial:
//! the first fault refuses the request and says where it is.

use bytes::Bytes;
use courant_model::limits::HTTP_RECORDS_MAX;
use serde_json::{Value, value::RawValue};

use super::answer::Refusal;
use crate::formats::decode::without_place;

/// The records of a body.
#[derive(Debug, PartialEq)]
pub(super) struct Records {
    /// Each as it was sent, and read.
    pub(super) items: Vec<(Bytes, Value)>,
    /// Whether the body was a list or lines, so that the answer is a list too.
    pub(super) many: bool,
}

/// Reads a body.
pub(super) fn read(body: &Bytes, content_type: Option<&str>) -> Result<Records, Refusal> {
    let media_type =
        content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    let is_lines = matches!(
        media_type.to_ascii_lowercase().as_str(),
        "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
    );
    if body.trim_ascii().is_empty() {
        return Err(Refusal::bad(
            "empty_body",
            "body is empty; send a JSON object, a list, or lines",
        ));
    }
    let (raws, many) = if is_lines { (lines(body)?, true) } else { document(body)? };
    if raws.is_empty() {
        return Err(Refusal::bad("empty_body", "body holds no record"));
    }
    if raws.len() > HTTP_RECORDS_MAX {
        let what = format!("body holds {} records; {HTTP_RECORDS_MAX} are allowed", raws.len());
        return Err(Refusal { status: 413, ..Refusal::bad("too_many_records", what) });
    }
    let mut items = Vec::with_capacity(raws.len());
    for (index, raw) in raws.iter().enumerate() {
        let value: Value = serde_json::from_str(raw.get()).map_err(|error| {
            Refusal::bad("invalid_json", without_place(&error)).at_record(index, many)
        })?;
        if !value.is_object() {
            let what = format!("record is {}, expected an object", kind(&value));
            return Err(Refusal::bad("not_an_object", what).at_record(index, many));
        }
        items.push((body.slice_ref(raw.get().as_bytes()), value));
    }
    Ok(Records { items, many })
}

fn lines(body: &[u8]) -> Result<Vec<&RawValue>, Refusal> {
    let mut raws = Vec::new();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            let raw = serde_json::from_slice(line);
            raws.push(raw.map_err(|error| syntax(&error, index + 1))?);
        }
    }
    Ok(raws)
}

/// A body without a word on its shape: one value, a list, or several values.
fn document(body: &[u8]) -> Result<(Vec<&RawValue>, bool), Refusal> {
    let values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    let mut raws = Vec::new();
    for value in values {
        raws.push(value.map_err(|error| syntax(&error, error.line()))?);
    }
    match raws.as_slice() {
        [one] if one.get().starts_with('[') => {
            let items = serde_json::from_str::<Vec<&RawValue>>(one.get());
            Ok((items.map_err(|error| syntax(&error, error.line()))?, true))
        }
        [_] => Ok((raws, false)),
        _ => Ok((raws, true)),
    }
}

fn syntax(error: &serde_json::Error, line: usize) -> Refusal {
    let what = format!("body is not JSON: {}", without_place(error));
    Refusal::bad("invalid_json", what).at_place(line, error.column())
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn texts(body: &'static str, content_type: Option<&str>) -> (Vec<String>, bool) {
        let records = read(&Bytes::from_static(body.as_bytes()), content_type).unwrap();
        let text = |(bytes, _): &(Bytes, Value)| String::from_utf8(bytes.to_vec()).unwrap();
        (records.items.iter().map(text).collect(), records.many)
    }

    fn refusal(body: &'static str, content_type: Option<&str>) -> (&'static str, Value) {
        let refusal = read(&Bytes::from_static(body.as_bytes()), content_type).unwrap_err();
        assert!(refusal.status == 400, "{refusal:?}");
        (refusal.code, refusal.at.unwrap_or(Value::Null))
    }

    #[test]
    fn one_a_list_and_lines_are_told_apart() {
        assert_eq!(texts(" {\"a\": 1.0} ", None), (vec!["{\"a\": 1.0}".into()], false));
        let two = (vec!["{\"a\":1}".into(), "{\"a\": 2}".into()], true);
        assert_eq!(texts("[{\"a\":1} , {\"a\": 2}]", Some("application/json")), two);
        assert_eq!(texts("{\"a\":1}\n{\"a\": 2}\n", None), two);
        assert_eq!(
            texts("{\"a\":1}\r\n\n{\"a\": 2}", Some("application/x-ndjson; charset=utf-8")),
            two
        );
        let (_, many) = texts("{\"a\":1}", Some("application/x-ndjson"));
        assert!(many);
    }

    #[test]
    fn a_refusal_says_where() {
        assert_eq!(refusal(" \n", None), ("empty_body", Value::Null));
        assert_eq!(refusal("[]", None), ("empty_body", Value::Null));
        assert_eq!(
            refusal("{\"a\":\n x}", None),
            ("invalid_json", json!({ "line": 2, "column": 2 }))
        );
        let lines = Some("application/x-ndjson");
        assert_eq!(
            refusal("{\"a\":1}\n{oops}", lines),
            ("invalid_json", json!({ "line": 2, "column": 2 }))
        );
        assert_eq!(refusal("[{}, 5]", None), ("not_an_object", json!({ "index": 1 })));
        assert_eq!(refusal("\"text\"", None), ("not_an_object", Value::Null));
        assert_eq!(refusal("[{}, {", None).0, "invalid_json");
    }

    proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, lines: bool) {
            let _ = read(&body.into(), lines.then_some("application/x-ndjson"));
        }

        #[test]
        fn lines_and_lists_give_the_same(numbers in prop::collection::vec(any::<i64>(), 2..20)) {
            let objects: Vec<String> = numbers.iter().map(|n| json!({ "n": n }).to_string()).collect();
            let list = read(&format!("[{}]", objects.join(",")).into(), None).unwrap();
            let lines = read(&objects.join("\n").into(), Some("application/x-ndjson")).unwrap();
            prop_assert_eq!(&list, &read(&objects.join("\n").into(), None).unwrap());
            prop_assert_eq!(list, lines);
        }
    }
}
