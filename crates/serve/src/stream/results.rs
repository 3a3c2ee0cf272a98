//! The results of a view as a stream: first its rows, if wished, then every change.
//!
//! Changes are the records of the view's topic, so that a client which comes back misses
//! none. The topic is read from its end as it was before the rows were: a change in between
//! is told as well, and whoever follows ends with the same rows.

use std::sync::Arc;

use axum::response::{Response, sse::Event};
use courant_model::StoredRecord;
use courant_pipeline::runtime::ViewScan;
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::{
    Topic,
    tail::{self, Tell},
};
use crate::{
    api::views::rows, context::Shared, error::ApiError, record_json, start::Start, views::ViewState,
};

/// What to follow.
pub(crate) struct Watch {
    pub(crate) view: ViewState,
    /// Values of the first key columns; empty: every row.
    pub(crate) key: Map<String, Value>,
    /// How many rows to send first.
    pub(crate) snapshot: Option<usize>,
    pub(crate) from: Start,
}

/// Opens the stream of a view.
///
/// # Errors
/// [`ApiError::TooManySubscribers`]; the log's and the view's, when nothing was sent yet.
pub(crate) async fn open(shared: &Arc<Shared>, watch: Watch) -> Result<Response, ApiError> {
    let permit = super::admit(shared)?;
    let description = shared.log().topic(&watch.view.to).await?;
    let partitions: Vec<_> = (0..).zip(&description.partitions).map(|(number, _)| number).collect();
    let topic = Topic { description, partitions, whole: true };
    watch.from.check_partitions(topic.partitions.len())?;
    let columns = watch.view.key.clone().unwrap_or_default();
    let tell = Changes { columns, wanted: watch.key.clone() };
    let changes = tail::begin(shared, topic, &watch.from, tell).await?;
    let first = match watch.snapshot {
        None => None,
        Some(limit) => {
            let scan = ViewScan { prefix: watch.key, limit: Some(limit), ..ViewScan::default() };
            let page = shared.context.views.scan(&watch.view.name, &scan).await?;
            Some(super::event("snapshot", &rows(&page.rows), None))
        }
    };
    Ok(super::respond(shared, permit, stream::iter(first).chain(changes)))
}

/// Tells the records of a view's topic as changes of its rows.
struct Changes {
    /// Names of the key columns.
    columns: Vec<String>,
    wanted: Map<String, Value>,
}

impl Tell for Changes {
    fn tell(&self, record: &StoredRecord, token: &str) -> Option<Event> {
        let key = self.key(record);
        if !self.wanted.iter().all(|(name, value)| key.get(name) == Some(value)) {
            return None;
        }
        let (row, _) = record_json::value(record.record.value.as_ref());
        let change = json!({
            "key": key,
            "row": row,
            "event_time_millis": record.record.timestamp.as_millis(),
            "origin_micros": record.record.origin().map(|origin| origin.as_micros()),
        });
        Some(super::event("change", &change, Some(token)))
    }
}

impl Changes {
    /// The key columns by name: the record's key is their JSON object, or the text of the
    /// only one.
    fn key(&self, record: &StoredRecord) -> Map<String, Value> {
        let Some(key) = &record.record.key else { return Map::new() };
        match (self.columns.as_slice(), serde_json::from_slice(key)) {
            (_, Ok(Value::Object(fields))) => fields,
            ([only], _) => {
                let text = String::from_utf8_lossy(key).into_owned();
                Map::from_iter([(only.clone(), Value::String(text))])
            }
            _ => Map::new(),
        }
    }
}
