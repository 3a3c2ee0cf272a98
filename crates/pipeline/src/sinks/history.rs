//! A collection of the history as a target: each event is a document, by its id.
//!
//! Writes are upserts, so a repeated one is invisible. Without an id of the user's the
//! record's place is the id. A tombstone deletes the document whose id is the record's
//! key; a record that tells of a delete, the one whose id its document has. Durable when a
//! write answers.

use std::sync::Arc;

use async_trait::async_trait;
use courant_model::{Operation, json::FieldPath};
use courant_stores::{History, HistoryWrite};
use serde_json::Value;

use super::{refusals, store_failure, version_at};
use crate::{
    connector::{ConnectorError, Rejection, Sink},
    event::Event,
    steps::scalar_at,
};

#[derive(Debug)]
pub struct HistorySink {
    history: Arc<dyn History>,
    collection: String,
    place: HistoryPlace,
}

/// Which document of its collection an event is.
#[derive(Debug, Clone)]
pub struct HistoryPlace {
    /// `None`: the record's place is the id.
    pub id: Option<FieldPath>,
    /// Set: the number that guards against a record that comes late or again.
    pub version: Option<FieldPath>,
}

impl HistorySink {
    /// The collection must exist.
    pub fn new(history: Arc<dyn History>, collection: String, place: HistoryPlace) -> Self {
        Self { history, collection, place }
    }
}

#[async_trait]
impl Sink for HistorySink {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        let mut rejections = Vec::new();
        let (mut indices, mut writes) =
            (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (index, event) in events.iter().enumerate() {
            match write_of(event, &self.place) {
                Ok(write) => {
                    indices.push(index);
                    writes.push(write);
                }
                Err(why) => rejections.push(Rejection { index, why }),
            }
        }
        if !writes.is_empty() {
            let answers = self.history.write(&self.collection, writes).await;
            let answers = answers.map_err(|error| store_failure(&error))?;
            rejections.extend(refusals(answers, &indices)?);
        }
        Ok(rejections)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// What an event writes into a collection.
///
/// # Errors
/// Why it cannot be a document there.
pub(crate) fn write_of(event: &Event, place: &HistoryPlace) -> Result<HistoryWrite, String> {
    const CANNOT_DELETE: &str =
        "cannot delete: the documents have their places as ids; set `id` on the target";
    if event.payload.is_null() {
        return match (&place.id, key_text(event)) {
            (Some(_), Some(id)) => Ok(HistoryWrite::Delete { id, version: None }),
            (Some(_), None) => {
                Err("tombstone has no text key, so it names no document; give the record a key"
                    .into())
            }
            (None, _) => Err(format!("tombstone {CANNOT_DELETE}")),
        };
    }
    let document = Value::Object(event.payload.to_object().map_err(|error| error.to_string())?);
    let id = match &place.id {
        Some(field) => Some(scalar_at(&document, field, "an id")?),
        None => None,
    };
    let version = version_at(&document, place.version.as_ref())?;
    if event.operation() == Some(Operation::Delete) {
        let id = id.ok_or_else(|| format!("record of a delete {CANNOT_DELETE}"))?;
        return Ok(HistoryWrite::Delete { id, version });
    }
    let id = id.unwrap_or_else(|| event.default_id());
    let Value::Object(document) = document else { unreachable!("it was made of an object") };
    Ok(HistoryWrite::Upsert { id, document, version })
}

/// The record's key as text.
pub(super) fn key_text(event: &Event) -> Option<String> {
    let key = event.key.as_ref()?;
    std::str::from_utf8(key).ok().map(str::to_owned)
}
