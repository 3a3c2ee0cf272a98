//! From a request's body to records.
//!
//! Values keep the client's bytes: a JSON body is checked and cut into slices, not
//! written anew. Every fault names the record by its place, and one fault refuses
//! the whole request, so that a client never wonders what was taken.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use courant_model::{Clock, Header, Record, Timestamp, limits};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::ProduceQuery;
use crate::{error::ApiError, extract::is_json};

/// What a body may be.
pub(super) const MEDIA_TYPES: &[&str] =
    &["application/json", "application/x-ndjson", "text/plain", "application/octet-stream"];

/// Reads a body into records.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`], [`ApiError::InvalidRequest`].
pub(super) fn records(
    media_type: &str,
    body: &Bytes,
    query: &ProduceQuery,
    clock: &dyn Clock,
) -> Result<Vec<Record>, ApiError> {
    let now = clock.now();
    let items = match media_type {
        _ if is_json(media_type) => json_items(body)?,
        "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            lines(body, !query.envelope)?
        }
        "text/plain" | "application/octet-stream" if !query.envelope => {
            return Ok(vec![with_key(Record::new(body.clone(), now), query)]);
        }
        found => {
            let expected = "application/json or application/x-ndjson";
            return Err(ApiError::UnsupportedMediaType { found: found.into(), expected });
        }
    };
    if query.envelope && query.key.is_some() {
        return Err(ApiError::invalid_with(
            "key and envelope exclude each other",
            "put the key into each envelope",
        ));
    }
    let read = |(index, item): (usize, Bytes)| {
        if query.envelope {
            envelope(&item, now).map_err(|why| ApiError::invalid(format!("record {index}: {why}")))
        } else {
            Ok(with_key(Record::new(item, now), query))
        }
    };
    items.into_iter().enumerate().map(read).collect()
}

fn with_key(record: Record, query: &ProduceQuery) -> Record {
    match &query.key {
        Some(key) => record.with_key(key.clone()),
        None => record,
    }
}

/// The items of an array, or the one value that the body is; slices of the body.
fn json_items(body: &Bytes) -> Result<Vec<Bytes>, ApiError> {
    let fault = |error| ApiError::invalid(format!("body is not JSON: {error}"));
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        let items: Items<'_> = serde_json::from_slice(body).map_err(fault)?;
        return Ok(items.0.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect());
    }
    let item: &RawValue = serde_json::from_slice(body).map_err(fault)?;
    Ok(vec![body.slice_ref(item.get().as_bytes())])
}

/// The lines of NDJSON, empty ones left out. An envelope is checked when it is opened.
fn lines(body: &Bytes, check: bool) -> Result<Vec<Bytes>, ApiError> {
    let mut items = Vec::new();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if items.len() == limits::HTTP_RECORDS_MAX {
            return Err(too_many());
        }
        if check {
            serde_json::from_slice::<IgnoredAny>(line).map_err(|error| {
                ApiError::invalid(format!("line {} is not JSON: {error}", index + 1))
            })?;
        }
        items.push(body.slice_ref(line));
    }
    Ok(items)
}

fn too_many() -> ApiError {
    ApiError::invalid_with(
        format!("body has more than {} records", limits::HTTP_RECORDS_MAX),
        "send them in several requests",
    )
}

/// The raw items of an array, not more than are allowed.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    if all.len() == limits::HTTP_RECORDS_MAX {
                        return Err(serde::de::Error::custom(too_many()));
                    }
                    all.push(item);
                }
                Ok(Items(all))
            }
        }
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

/// A record with all its parts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(default)]
    key_base64: Option<String>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    /// Milliseconds since the epoch; now unless given.
    #[serde(default)]
    timestamp: Option<i64>,
}

fn envelope(item: &Bytes, now: Timestamp) -> Result<Record, String> {
    let envelope: Envelope<'_> =
        serde_json::from_slice(item).map_err(|error| format!("it is no envelope: {error}"))?;
    let key = match (envelope.key, envelope.key_base64) {
        (Some(_), Some(_)) => return Err("it has both key and key_base64".into()),
        (None, Some(text)) => Some(decode("key_base64", &text)?),
        (Some(raw), None) => key_bytes(item, raw)?,
        (None, None) => None,
    };
    let value = match (envelope.value, envelope.value_base64) {
        (Some(_), Some(_)) => return Err("it has both value and value_base64".into()),
        (None, Some(text)) => Some(decode("value_base64", &text)?),
        (Some(raw), None) => Some(item.slice_ref(raw.get().as_bytes())),
        (None, None) if key.is_none() => {
            return Err("it has neither value nor key; without a value it deletes its key".into());
        }
        (None, None) => None,
    };
    if envelope.headers.len() > limits::HEADERS_PER_RECORD_MAX {
        return Err(format!("it has more than {} headers", limits::HEADERS_PER_RECORD_MAX));
    }
    let header =
        |(name, value): (String, Option<String>)| Header { name, value: value.map(Bytes::from) };
    Ok(Record {
        key,
        value,
        headers: envelope.headers.into_iter().map(header).collect(),
        timestamp: envelope.timestamp.map_or(now, Timestamp::from_millis),
    })
}

/// A key's bytes: a string's text, else its JSON.
fn key_bytes(item: &Bytes, raw: &RawValue) -> Result<Option<Bytes>, String> {
    match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(raw.get())
            .map(|text| Some(text.into()))
            .map_err(|error| format!("key is no text: {error}")),
        _ if raw.get() == "null" => Ok(None),
        _ => Ok(Some(item.slice_ref(raw.get().as_bytes()))),
    }
}

fn decode(name: &str, text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("{name} is not base64: {error}"))
}

#[cfg(test)]
mod tests {
    use courant_model::ManualClock;
    use proptest::prelude::*;

    use super::*;

    fn read(media_type: &str, body: &str, envelope: bool) -> Result<Vec<Record>, ApiError> {
        let query = ProduceQuery { partition: None, key: None, envelope, positions: None };
        let clock = ManualClock::at(Timestamp::from_millis(9));
        records(media_type, &Bytes::copy_from_slice(body.as_bytes()), &query, &clock)
    }

    fn values(records: &[Record]) -> Vec<&str> {
        fn texts(record: &Record) -> &str {
            std::str::from_utf8(record.value.as_deref().unwrap()).unwrap()
        }
        records.iter().map(texts).collect()
    }

    #[test]
    fn a_value_an_array_and_lines_are_records() {
        let one = read("application/json", r#" {"a": 1.0} "#, false).unwrap();
        assert_eq!(values(&one), [r#"{"a": 1.0}"#]);
        let many = read("application/json", r#"[{"a":1}, 2 ,"x"]"#, false).unwrap();
        assert_eq!(values(&many), [r#"{"a":1}"#, "2", r#""x""#]);
        let lines = read("application/x-ndjson", "{\"a\":1}\r\n\n{\"a\":2}", false).unwrap();
        assert_eq!(values(&lines), [r#"{"a":1}"#, r#"{"a":2}"#]);
        let text = read("text/plain", "not json", false).unwrap();
        assert_eq!(values(&text), ["not json"]);
    }

    #[test]
    fn an_envelope_brings_key_headers_and_time() {
        let body =
            r#"{"key": "k", "value": {"a":1}, "headers": {"h": "x", "n": null}, "timestamp": 5}"#;
        let record = read("application/json", body, true).unwrap().remove(0);
        assert_eq!(record.key.as_deref(), Some(b"k".as_slice()));
        assert_eq!(record.header("h").unwrap().value.as_deref(), Some(b"x".as_slice()));
        assert_eq!(record.header("n").unwrap().value, None);
        assert_eq!(record.timestamp, Timestamp::from_millis(5));
        let number =
            read("application/json", r#"{"key": 12, "value": 1}"#, true).unwrap().remove(0);
        assert_eq!(number.key.as_deref(), Some(b"12".as_slice()));
        let bytes = read("application/json", r#"{"key": "k", "value_base64": "//4="}"#, true);
        assert_eq!(bytes.unwrap()[0].value.as_deref(), Some([0xff, 0xfe].as_slice()));
        let tombstone = read("application/json", r#"{"key": "k", "value": null}"#, true).unwrap();
        assert_eq!(tombstone[0].value, None);
    }

    #[test]
    fn a_fault_names_its_place() {
        let text = |result: Result<Vec<Record>, ApiError>| result.unwrap_err().to_string();
        assert!(
            text(read("application/x-ndjson", "{}\n{", false)).starts_with("line 2 is not JSON")
        );
        let body = r#"[{"value": 1}, {"vlaue": 1}]"#;
        assert!(
            text(read("application/json", body, true))
                .starts_with("record 1: it is no envelope: unknown field `vlaue`")
        );
        assert!(text(read("application/json", "{}", true)).contains("neither value nor key"));
        assert_eq!(read("text/csv", "a,b", false).unwrap_err().code(), "unsupported_media_type");
        assert!(text(read("application/json", "", false)).starts_with("body is not JSON"));
    }

    #[test]
    fn a_body_of_too_many_records_is_refused() {
        let body = format!("[{}0]", "0,".repeat(limits::HTTP_RECORDS_MAX));
        assert!(
            read("application/json", &body, false).unwrap_err().to_string().contains("more than")
        );
        let body = "0\n".repeat(limits::HTTP_RECORDS_MAX + 1);
        assert!(read("application/x-ndjson", &body, false).is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(body: String, envelope: bool, kind in 0..MEDIA_TYPES.len()) {
            let _ = read(MEDIA_TYPES[kind], &body, envelope);
        }

        #[test]
        fn documents_keep_their_bytes(numbers in prop::collection::vec(any::<(i64, String)>(), 0..8)) {
            let documents: Vec<_> = numbers.iter().map(|value| serde_json::to_string(value).unwrap()).collect();
            let array = read("application/json", &format!("[{}]", documents.join(",")), false).unwrap();
            prop_assert_eq!(&values(&array), &documents);
            let lines = read("application/x-ndjson", &documents.join("\n"), false).unwrap();
            prop_assert_eq!(&values(&lines), &documents);
        }
    }
}
