//! What a view's store holds, told again and again: the endpoints with `stream`.
//!
//! Messages come a little after each whole interval of the clock, to everybody the same: it
//! is read once, however many listen. A message stands for itself, so a client that comes
//! back begins with the present.

use std::{sync::Arc, time::Duration};

use axum::response::{Response, sse::Event};
use courant_model::Span;
use futures::{Stream, stream};

use crate::{
    context::Shared,
    endpoints::view::{Answer, ViewEndpoint},
    error::ApiError,
};

/// Opens the stream of an endpoint.
///
/// # Errors
/// [`ApiError::TooManySubscribers`]; the view's, when nothing was sent yet.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    endpoint: ViewEndpoint,
    every: Span,
) -> Result<Response, ApiError> {
    let permit = super::admit(shared)?;
    let first = endpoint.at_tick(shared, number(shared, every)).await?;
    let events = events(Arc::clone(shared), endpoint, every, first);
    Ok(super::respond(shared, permit, events))
}

fn events(
    shared: Arc<Shared>,
    endpoint: ViewEndpoint,
    every: Span,
    first: Arc<Answer>,
) -> impl Stream<Item = Event> {
    let state = Some((Some(first), shared, endpoint));
    stream::unfold(state, move |state| async move {
        let (first, shared, endpoint) = state?;
        if let Some(first) = first {
            return Some((event(&first), Some((None, shared, endpoint))));
        }
        tokio::time::sleep(until_next(&shared, every)).await;
        match endpoint.at_tick(&shared, number(&shared, every)).await {
            Ok(answer) => Some((event(&answer), Some((None, shared, endpoint)))),
            Err(error) => Some((super::end(&error), None)),
        }
    })
}

fn event(answer: &Answer) -> Event {
    Event::default().data(&answer.json).id((answer.until_micros / 1_000).to_string())
}

/// How long after a whole interval a message is made, so that what belongs to it is there.
const fn lag_micros(every_micros: i64) -> i64 {
    every_micros / 4
}

/// The number of the last message that was due.
fn number(shared: &Shared, every: Span) -> i64 {
    let every = micros(every);
    (shared.context.clock.now_micros() - lag_micros(every)).div_euclid(every)
}

fn until_next(shared: &Shared, every: Span) -> Duration {
    let every = micros(every);
    let past = (shared.context.clock.now_micros() - lag_micros(every)).rem_euclid(every);
    Duration::from_micros((every - past).unsigned_abs())
}

fn micros(every: Span) -> i64 {
    every.as_millis().saturating_mul(1_000).max(1)
}
