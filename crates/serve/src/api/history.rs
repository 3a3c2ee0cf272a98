//! The history: collections, documents, and their changes as a stream.

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use courant_model::limits;
use courant_stores::{Document, FindQuery, Order, ResumeToken, SortKey, WatchFrom};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    context::Shared,
    error::ApiError,
    extract::{self, Params, Segments},
    find::{self, Narrowing},
    stream::changes,
    table::Route,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/history", "lists the collections with their sizes", collections)
            .answers_json("`{\"collections\": [{\"name\", \"indexes\", \"documents\"}]}`"),
        Route::get("/api/v1/history/{collection}", "finds documents", documents)
            .query::<Narrowing>()
            .answers_json("`{\"count\": n, \"data\": [document]}`; n is the number in `data`, the header `x-total-count` that of all"),
        Route::get("/api/v1/history/{collection}/count", "counts the documents that match", count)
            .query::<CountQuery>()
            .answers_json("`{\"count\": n}`"),
        Route::get("/api/v1/history/{collection}/documents/{id}", "gives one document", document)
            .answers_json("the document"),
        Route::get("/api/v1/history/{collection}/stream", "follows a collection, change by change", follow)
            .query::<WatchQuery>()
            .answers_as(
                "text/event-stream",
                "with `snapshot` first an event `snapshot` with a list of documents; then events \
                 `change` with `{\"token\", \"kind\", \"id\", \"document\", \"committed_micros\"}`; \
                 each id is a resume token that `Last-Event-ID` continues after",
            ),
    ]
}

/// What to count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountQuery {
    /// A filter such as `{"status": "Shipped"}`.
    filter: Option<String>,
}

/// What to follow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WatchQuery {
    /// `now` (default), `earliest`, or a resume token. `Last-Event-ID` goes first.
    from: Option<String>,
    /// First the latest so many documents, newest first, then every change since.
    snapshot: Option<usize>,
    /// Only documents that match; one that no longer does is told as deleted.
    filter: Option<String>,
    /// Order of the snapshot, such as `-timestamp`; the newest first unless given.
    sort: Option<String>,
}

async fn collections(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    let mut collections = Vec::new();
    for spec in shared.history().collections().await? {
        let documents = shared.history().count(&spec.name, &courant_stores::Filter::All).await?;
        collections.push(json!({
            "name": spec.name,
            "indexes": spec.indexes,
            "documents": documents,
        }));
    }
    Ok(Json(json!({ "collections": collections })))
}

async fn documents(
    State(shared): State<Arc<Shared>>,
    Segments(collection): Segments<String>,
    Params(narrowing): Params<Narrowing>,
) -> Result<Response, ApiError> {
    let all = FindQuery {
        limit: narrowing.limit.unwrap_or(limits::FIND_LIMIT_DEFAULT).min(limits::FIND_LIMIT_MAX),
        ..FindQuery::default()
    };
    let query = narrowing.apply(all, limits::FIND_LIMIT_MAX)?;
    find::answer(shared.history(), &collection, &query, narrowing.total).await
}

async fn count(
    State(shared): State<Arc<Shared>>,
    Segments(collection): Segments<String>,
    Params(query): Params<CountQuery>,
) -> Result<Json<Value>, ApiError> {
    let filter = extract::filter(query.filter.as_deref())?;
    Ok(Json(json!({ "count": shared.history().count(&collection, &filter).await? })))
}

async fn document(
    State(shared): State<Arc<Shared>>,
    Segments((collection, id)): Segments<(String, String)>,
) -> Result<Json<Document>, ApiError> {
    find::document(shared.history(), &collection, &id).await.map(Json)
}

async fn follow(
    State(shared): State<Arc<Shared>>,
    Segments(collection): Segments<String>,
    Params(query): Params<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let filter = extract::filter(query.filter.as_deref())?;
    let from = match query.from.as_deref() {
        None | Some("now") => WatchFrom::Now,
        Some("earliest") => WatchFrom::Earliest,
        Some(token) => WatchFrom::After(ResumeToken(token.into())),
    };
    let snapshot = match query.snapshot {
        Some(_) if from != WatchFrom::Now => {
            return Err(ApiError::invalid_with(
                "snapshot and from exclude each other",
                "leave out one of them",
            ));
        }
        None => None,
        Some(asked) => Some(FindQuery {
            filter: filter.clone(),
            sort: match query.sort.as_deref() {
                Some(sort) => SortKey::parse_list(sort)?,
                None => vec![SortKey::inserted(Order::Descending)],
            },
            skip: 0,
            limit: extract::limit(Some(asked), asked, limits::FIND_LIMIT_MAX)?.max(1),
        }),
    };
    let watch = changes::Watch { collection, filter, from, snapshot };
    changes::open(&shared, watch, extract::last_event_id(&headers)).await
}
