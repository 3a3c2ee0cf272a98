//! The changes of a collection as a stream.
//!
//! With a snapshot the watch is opened first and the documents are read after it: a
//! change in between is told twice, never lost, and telling a change twice is
//! harmless. A client that resumes gets no snapshot, unless its token has become too
//! old; then it begins anew.

use std::{collections::VecDeque, sync::Arc};

use axum::response::Response;
use courant_model::limits::STREAM_CHANGES_MAX;
use courant_stores::{
    Change, ChangeKind, Changes, Filter, FindQuery, ResumeToken, StoreError, WatchFrom,
};
use futures::{Stream, StreamExt, stream};

use crate::{context::Shared, error::ApiError, find};

/// What to follow.
pub(crate) struct Watch {
    pub(crate) collection: String,
    pub(crate) filter: Filter,
    pub(crate) from: WatchFrom,
    /// The documents to send first.
    pub(crate) snapshot: Option<FindQuery>,
}

/// Opens the stream of a collection, after `last_event_id` if there is one.
///
/// # Errors
/// [`ApiError::TooManySubscribers`]; the history's, when nothing was sent yet.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    watch: Watch,
    last_event_id: Option<&str>,
) -> Result<Response, ApiError> {
    let permit = super::admit(shared)?;
    let history = shared.history();
    let Watch { collection, filter, from, mut snapshot } = watch;
    let resumed = match last_event_id {
        None => None,
        Some(token) => {
            let from = WatchFrom::After(ResumeToken(token.into()));
            match history.watch(&collection, from).await {
                Ok(changes) => Some(changes),
                Err(StoreError::InvalidToken { .. }) if snapshot.is_some() => None,
                Err(error) => return Err(error.into()),
            }
        }
    };
    let changes = match resumed {
        Some(changes) => {
            snapshot = None;
            changes
        }
        None => history.watch(&collection, from).await?,
    };
    let first = match snapshot {
        Some(query) => {
            let documents = find::documents(history, &collection, &query).await?;
            Some(super::event("snapshot", &documents, None))
        }
        None => None,
    };
    Ok(super::respond(shared, permit, stream::iter(first).chain(events(changes, filter))))
}

/// Changes one by one, a few in memory.
fn events(
    changes: Box<dyn Changes>,
    filter: Filter,
) -> impl Stream<Item = axum::response::sse::Event> {
    struct State {
        changes: Option<Box<dyn Changes>>,
        waiting: VecDeque<Change>,
        filter: Filter,
    }
    let state = State { changes: Some(changes), waiting: VecDeque::new(), filter };
    stream::unfold(state, |mut state| async move {
        loop {
            if let Some(change) = state.waiting.pop_front() {
                let Some(change) = narrow(change, &state.filter) else { continue };
                let event = super::event("change", &change, Some(&change.token.0));
                return Some((event, state));
            }
            match state.changes.as_mut()?.next(STREAM_CHANGES_MAX).await {
                Ok(more) => state.waiting.extend(more),
                Err(error) => {
                    state.changes = None;
                    return Some((super::end(&error.into()), state));
                }
            }
        }
    })
}

/// A change as somebody sees it who looks through a filter: what stops matching has
/// gone, what never matched is not told.
pub(crate) fn narrow(change: Change, filter: &Filter) -> Option<Change> {
    match &change.document {
        Some(document) if !filter.matches(document) => (change.kind == ChangeKind::Update)
            .then(|| Change { kind: ChangeKind::Delete, document: None, ..change }),
        _ => Some(change),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(kind: ChangeKind, document: Option<serde_json::Value>) -> Change {
        Change {
            token: ResumeToken("t".into()),
            kind,
            id: "1".into(),
            document: document.and_then(|document| document.as_object().cloned()),
            before: None,
            committed_micros: 5,
        }
    }

    #[test]
    fn a_filter_tells_what_comes_and_what_goes() {
        let filter = Filter::parse(&json!({ "a": 1 })).unwrap();
        let seen = |kind, document| narrow(change(kind, document), &filter).map(|seen| seen.kind);
        assert_eq!(seen(ChangeKind::Insert, Some(json!({ "a": 1 }))), Some(ChangeKind::Insert));
        assert_eq!(seen(ChangeKind::Insert, Some(json!({ "a": 2 }))), None);
        assert_eq!(seen(ChangeKind::Update, Some(json!({ "a": 1 }))), Some(ChangeKind::Update));
        assert_eq!(seen(ChangeKind::Update, Some(json!({ "a": 2 }))), Some(ChangeKind::Delete));
        assert_eq!(seen(ChangeKind::Delete, None), Some(ChangeKind::Delete));
    }
}
