//! A record on its way through a pipeline.
//!
//! Its body is decoded at most once and encoded at most once: steps and sinks ask
//! for the form they need and find it if somebody asked before.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use courant_model::{Header, Operation, Origin, Position, Record, StoredRecord, Timestamp};
use serde_json::{Map, Value};

/// A record within a pipeline, with the place it came from.
#[derive(Debug, Clone)]
pub struct Event {
    /// The input record that this event comes from.
    pub source: Position,
    /// Number of this event among those of one input record; 0 unless it was split.
    pub part: u32,
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
    pub timestamp: Timestamp,
    /// The oldest change that contributed.
    pub origin: Origin,
    pub payload: Payload,
}

impl Event {
    /// Takes a record from the log.
    pub fn from_stored(stored: StoredRecord) -> Self {
        let source = stored.position();
        let record = stored.record;
        let origin = record.origin().unwrap_or_else(|| Origin::from_timestamp(record.timestamp));
        Self {
            source,
            part: 0,
            key: record.key,
            headers: record.headers,
            timestamp: record.timestamp,
            origin,
            payload: record.value.map_or_else(Payload::null, Payload::from_bytes),
        }
    }

    /// Makes a record of it, for a topic, with its origin in the header.
    pub fn to_record(&self) -> Record {
        let mut record = Record {
            key: self.key.clone(),
            value: self.payload.bytes(),
            headers: self.headers.clone(),
            timestamp: self.timestamp,
        };
        record.stamp_origin(self.origin);
        record
    }

    /// What happened, if the record says so.
    pub fn operation(&self) -> Option<Operation> {
        Operation::of(&self.headers)
    }

    /// The id that makes a repeated write invisible where the user names none:
    /// topic, partition, offset, and the part when there are several.
    pub fn default_id(&self) -> String {
        let at = &self.source;
        match self.part {
            0 => format!("{}-{}-{}", at.partition.topic, at.partition.partition, at.offset),
            part => {
                format!("{}-{}-{}-{part}", at.partition.topic, at.partition.partition, at.offset)
            }
        }
    }
}

/// A body: bytes, JSON, or both once both were asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Payload(Arc<Forms>);

#[derive(Debug, Default)]
struct Forms {
    bytes: OnceLock<Option<Bytes>>,
    json: OnceLock<Result<Value, NotJson>>,
}

/// Why a body is no JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    #[error("value is null; it has no fields")]
    Null,
    #[error("value is not JSON: {why}")]
    Syntax { why: String },
    #[error("value is {found}, not an object")]
    NotObject { found: &'static str },
}

impl Payload {
    /// A tombstone.
    pub fn null() -> Self {
        let forms = Forms::default();
        let _ = forms.bytes.set(None);
        let _ = forms.json.set(Err(NotJson::Null));
        Self(Arc::new(forms))
    }

    pub fn from_bytes(bytes: Bytes) -> Self {
        let forms = Forms::default();
        let _ = forms.bytes.set(Some(bytes));
        Self(Arc::new(forms))
    }

    pub fn from_json(value: Value) -> Self {
        let forms = Forms::default();
        let _ = forms.json.set(Ok(value));
        Self(Arc::new(forms))
    }

    pub fn is_null(&self) -> bool {
        matches!(self.0.bytes.get(), Some(None))
    }

    /// The body as bytes; `None` for a tombstone.
    pub fn bytes(&self) -> Option<Bytes> {
        let encode = || match self.0.json.get() {
            Some(Ok(value)) => serde_json::to_vec(value).ok().map(Bytes::from),
            _ => None,
        };
        self.0.bytes.get_or_init(encode).clone()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`NotJson`] for a tombstone and for what is not JSON.
    pub fn json(&self) -> Result<&Value, NotJson> {
        let decode = || match self.0.bytes.get() {
            Some(Some(bytes)) => serde_json::from_slice(bytes)
                .map_err(|error| NotJson::Syntax { why: error.to_string() }),
            _ => Err(NotJson::Null),
        };
        self.0.json.get_or_init(decode).as_ref().map_err(Clone::clone)
    }

    /// The body as an object of its own, for a store to keep.
    ///
    /// # Errors
    /// [`NotJson`] for everything else.
    pub fn to_object(&self) -> Result<Map<String, Value>, NotJson> {
        let value = match (self.0.json.get(), self.0.bytes.get()) {
            (None, Some(Some(bytes))) => serde_json::from_slice(bytes)
                .map_err(|error| NotJson::Syntax { why: error.to_string() })?,
            _ => self.json()?.clone(),
        };
        match value {
            Value::Object(fields) => Ok(fields),
            Value::Null => Err(NotJson::NotObject { found: "null" }),
            Value::Bool(_) => Err(NotJson::NotObject { found: "a boolean" }),
            Value::Number(_) => Err(NotJson::NotObject { found: "a number" }),
            Value::String(_) => Err(NotJson::NotObject { found: "a text" }),
            Value::Array(_) => Err(NotJson::NotObject { found: "a list" }),
        }
    }
}
