//! A collection of the history as a target: each event is a document, by its id.
//!
//! Writes are upserts, so a repeated one is invisible. Without an id of the user's the
//! record's place is the id. A tombstone deletes the document whose id is the record's
//! key. Durable when a write answers.

use std::sync::Arc;

use async_trait::async_trait;
use courant_model::json::{FieldPath, scalar_text};
use courant_stores::{Document, History, HistoryWrite};

use super::{refusals, store_failure};
use crate::{
    connector::{ConnectorError, Rejection, Sink},
    event::Event,
};

#[derive(Debug)]
pub struct HistorySink {
    history: Arc<dyn History>,
    collection: String,
    id: Option<FieldPath>,
}

impl HistorySink {
    /// The collection must exist.
    pub fn new(history: Arc<dyn History>, collection: String, id: Option<FieldPath>) -> Self {
        Self { history, collection, id }
    }
}

#[async_trait]
impl Sink for HistorySink {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        let mut rejections = Vec::new();
        let (mut indices, mut writes) =
            (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (index, event) in events.iter().enumerate() {
            match write_of(event, self.id.as_ref()) {
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
pub(crate) fn write_of(event: &Event, id: Option<&FieldPath>) -> Result<HistoryWrite, String> {
    if event.payload.is_null() {
        return match (id, key_text(event)) {
            (Some(_), Some(id)) => Ok(HistoryWrite::Delete { id }),
            (Some(_), None) => {
                Err("tombstone has no text key, so it names no document; give the record a key".into())
            }
            (None, _) => Err(
                "tombstone cannot delete: the documents have their places as ids; set `id` on the target"
                    .into(),
            ),
        };
    }
    let document = event.payload.to_object().map_err(|error| error.to_string())?;
    let id = match id {
        Some(field) => id_at(&document, field)?,
        None => event.default_id(),
    };
    Ok(HistoryWrite::Upsert { id, document })
}

fn id_at(document: &Document, field: &FieldPath) -> Result<String, String> {
    // The common path is a single field, found without making a value of the document.
    if let [name] = field.segments()
        && let Some(id) = document.get(name).and_then(scalar_text)
    {
        return Ok(id);
    }
    let document = serde_json::Value::Object(document.clone());
    crate::steps::scalar_at(&document, field, "an id")
}

/// The record's key as text.
pub(super) fn key_text(event: &Event) -> Option<String> {
    let key = event.key.as_ref()?;
    std::str::from_utf8(key).ok().map(str::to_owned)
}
