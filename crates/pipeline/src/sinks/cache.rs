//! A cache table as a target: the latest event by key, or by key and field.
//!
//! Writes set, so a repeated one is invisible. A tombstone deletes the key that is the
//! record's key; a record that tells of a delete, the key or field that its document names.
//! What was written survives a restart once it was flushed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_model::{Operation, json::FieldPath};
use courant_stores::{Cache, CacheWrite};

use super::{history::key_text, refusals, store_failure, version_at};
use crate::{
    connector::{ConnectorError, Rejection, Sink},
    event::Event,
    steps::scalar_at,
};

#[derive(Debug)]
pub struct CacheSink {
    cache: Arc<dyn Cache>,
    table: String,
    place: CachePlace,
}

/// Where in its table an event goes.
#[derive(Debug, Clone)]
pub struct CachePlace {
    pub key: FieldPath,
    /// Set: a hash field of the key.
    pub field: Option<FieldPath>,
    pub ttl: Option<Duration>,
    /// Set: the number that guards against a record that comes late or again.
    pub version: Option<FieldPath>,
}

impl CacheSink {
    pub fn new(cache: Arc<dyn Cache>, table: String, place: CachePlace) -> Self {
        Self { cache, table, place }
    }
}

#[async_trait]
impl Sink for CacheSink {
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
            let answers = self.cache.apply(&self.table, writes).await;
            let answers = answers.map_err(|error| store_failure(&error))?;
            rejections.extend(refusals(answers, &indices)?);
        }
        Ok(rejections)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        self.cache.flush().await.map_err(|error| store_failure(&error))
    }
}

/// What an event writes into a table.
///
/// # Errors
/// Why it cannot be there.
pub(crate) fn write_of(event: &Event, place: &CachePlace) -> Result<CacheWrite, String> {
    if event.payload.is_null() {
        let key = key_text(event).ok_or("tombstone has no text key, so it names no cache key")?;
        return Ok(CacheWrite::Delete { key, version: None });
    }
    let document = event.payload.json().map_err(|error| error.to_string())?;
    let key = scalar_at(document, &place.key, "a cache key")?;
    let field = match &place.field {
        Some(field) => Some(scalar_at(document, field, "a cache field")?),
        None => None,
    };
    let version = version_at(document, place.version.as_ref())?;
    if event.operation() == Some(Operation::Delete) {
        return Ok(match field {
            None => CacheWrite::Delete { key, version },
            Some(field) => CacheWrite::DeleteField { key, field, version },
        });
    }
    let value = event.payload.bytes().ok_or("value is null")?;
    let ttl = place.ttl;
    Ok(match field {
        None => CacheWrite::Set { key, value, ttl, version },
        Some(field) => CacheWrite::SetField { key, field, value, ttl, version },
    })
}
