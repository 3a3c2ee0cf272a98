//! How a record of the log reads in JSON.
//!
//! Values that are JSON appear as they are, byte for byte; other text appears as a
//! string and bytes as base64, and `…_encoding` says so. Keys are text or base64.
//! Nothing is lost: what is written here can be produced again as an envelope.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use courant_model::{Header, Record, StoredRecord};
use serde::Serialize;
use serde_json::value::RawValue;

/// A record at its place, as answers and streams carry it.
#[derive(Debug, Serialize)]
pub struct RecordJson {
    partition: i32,
    offset: i64,
    /// Milliseconds since the epoch.
    timestamp: i64,
    #[serde(flatten)]
    body: BodyJson,
    /// When the change was committed at its source, microseconds since the epoch.
    origin_micros: Option<i64>,
}

/// Key, value and headers.
#[derive(Debug, Serialize)]
struct BodyJson {
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
    headers: Vec<HeaderJson>,
}

#[derive(Debug, Serialize)]
struct HeaderJson {
    name: String,
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

const BASE64: Option<&str> = Some("base64");

impl RecordJson {
    pub fn new(stored: &StoredRecord) -> Self {
        Self {
            partition: stored.partition,
            offset: stored.offset,
            timestamp: stored.record.timestamp.as_millis(),
            body: BodyJson::new(&stored.record),
            origin_micros: stored.record.origin().map(courant_model::Origin::as_micros),
        }
    }
}

impl BodyJson {
    fn new(record: &Record) -> Self {
        let (key, key_encoding) = text(record.key.as_ref());
        let (value, value_encoding) = value(record.value.as_ref());
        let headers = record.headers.iter().map(HeaderJson::new).collect();
        Self { key, key_encoding, value, value_encoding, headers }
    }
}

impl HeaderJson {
    fn new(header: &Header) -> Self {
        let (value, encoding) = text(header.value.as_ref());
        Self { name: header.name.clone(), value, encoding }
    }
}

/// Bytes as JSON: a document as it is, text as a string, the rest as base64.
pub(crate) fn value(bytes: Option<&Bytes>) -> (Option<Box<RawValue>>, Option<&'static str>) {
    let Some(bytes) = bytes else { return (None, None) };
    if let Ok(document) = serde_json::from_slice::<Box<RawValue>>(bytes) {
        return (Some(document), None);
    }
    let (text, encoding) = text(Some(bytes));
    let quoted = text.and_then(|text| serde_json::value::to_raw_value(&text).ok());
    (quoted, encoding.or(Some("text")))
}

fn text(bytes: Option<&Bytes>) -> (Option<String>, Option<&'static str>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => (None, None),
        Some((Ok(text), _)) => (Some(text.into()), None),
        Some((Err(_), bytes)) => (Some(STANDARD.encode(bytes)), BASE64),
    }
}

#[cfg(test)]
mod tests {
    use courant_model::{Timestamp, TopicName};
    use serde_json::{Value, json};

    use super::*;

    fn shown(record: Record) -> Value {
        let topic = TopicName::new("t").unwrap();
        let stored = StoredRecord { topic, partition: 2, offset: 7, record };
        serde_json::to_value(RecordJson::new(&stored)).unwrap()
    }

    #[test]
    fn a_document_appears_as_it_is_written() {
        let record =
            Record::new(r#"{"b":1,"a":12345678901234567890123}"#, Timestamp::from_millis(5));
        let text = serde_json::to_string(&BodyJson::new(&record)).unwrap();
        assert!(text.contains(r#""value":{"b":1,"a":12345678901234567890123}"#), "{text}");
    }

    #[test]
    fn text_bytes_and_null_say_what_they_are() {
        let at = Timestamp::from_millis(5);
        let text = shown(Record::new("hello", at).with_key("5").with_header("h", "x"));
        assert_eq!(text["value"], "hello");
        assert_eq!(text["value_encoding"], "text");
        assert_eq!(text["key"], "5");
        assert_eq!(text["headers"], json!([{ "name": "h", "value": "x" }]));
        let bytes = shown(Record::new(vec![0xff, 0xfe], at).with_key(vec![0xff]));
        assert_eq!((&bytes["value"], &bytes["value_encoding"]), (&json!("//4="), &json!("base64")));
        assert_eq!((&bytes["key"], &bytes["key_encoding"]), (&json!("/w=="), &json!("base64")));
        let tombstone = shown(Record { value: None, ..Record::new("", at) });
        assert_eq!((&tombstone["value"], tombstone.get("value_encoding")), (&Value::Null, None));
        assert_eq!((&tombstone["partition"], &tombstone["offset"]), (&json!(2), &json!(7)));
    }
}
