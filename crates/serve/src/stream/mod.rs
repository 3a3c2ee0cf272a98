//! Server-sent events: one frame for every stream.
//!
//! A stream is pulled by its client: what a slow one has not read waits in the log or
//! in the change log, not in memory. Invariant: the id of an event is a token that
//! continues after it, and every stream ends when the process stops, so that its
//! client connects again elsewhere or later. A client that stops reading is cut off by
//! `listen`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use courant_log::TopicDescription;
use courant_model::{PartitionId, limits};
use futures::{Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;

use crate::{context::Shared, error::ApiError, telemetry};

pub(crate) mod changes;
pub(crate) mod results;
pub(crate) mod tail;
pub(crate) mod ticks;

/// A topic and those of its partitions that a stream follows.
pub(crate) struct Topic {
    pub(crate) description: TopicDescription,
    pub(crate) partitions: Vec<PartitionId>,
    /// Whether partitions that come later are followed too.
    pub(crate) whole: bool,
}

/// Makes a response of events. `permit` is given back with the stream's end.
pub(crate) fn respond(
    shared: &Shared,
    permit: OwnedSemaphorePermit,
    events: impl Stream<Item = Event> + Send + 'static,
) -> Response {
    let opened = telemetry::StreamOpen::begin();
    let hello = Event::default().retry(Duration::from_millis(limits::STREAM_RETRY_MS));
    let events = stream::iter([hello])
        .chain(events)
        .take_until(shared.context.stop.clone().cancelled_owned())
        .map(move |event| {
            let _held = (&permit, &opened);
            Ok::<_, Infallible>(event)
        });
    let heartbeat = KeepAlive::new().interval(Duration::from_millis(limits::STREAM_HEARTBEAT_MS));
    let mut response = Sse::new(events).keep_alive(heartbeat).into_response();
    // Proxies that buffer would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An event with JSON and the token that continues after it.
fn event(name: &str, data: &impl serde::Serialize, token: Option<&str>) -> Event {
    let event = Event::default().event(name);
    let event = match serde_json::to_string(data) {
        Ok(text) => event.data(text),
        Err(error) => event.comment(error.to_string().replace(['\r', '\n'], " ")),
    };
    match token {
        Some(token) if !token.contains(['\r', '\n', '\0']) => event.id(token),
        _ => event,
    }
}

/// The last event of a stream that cannot go on; its client resumes or begins anew.
fn end(error: &ApiError) -> Event {
    event("end", &error.to_json(), None)
}

/// Takes a place for a subscriber.
fn admit(shared: &Arc<Shared>) -> Result<OwnedSemaphorePermit, ApiError> {
    shared.subscribe()
}
