//! Views: what they do and how far they are; their stores by key, by range and by window;
//! their changes as a stream.

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use courant_model::limits;
use courant_pipeline::runtime::{ViewRow, ViewScan};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    context::Shared,
    error::ApiError,
    extract::{self, Params, Segments},
    record_json,
    stream::results,
    table::Route,
    views::ViewState,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/views", "lists the views with rates, watermarks and state", list)
            .answers_json("`{\"views\": [view]}`"),
        Route::get("/api/v1/views/{view}", "describes a view: operators, state, progress", describe)
            .answers_json("the view"),
        Route::get(
            "/api/v1/views/{view}/store",
            "reads the store: by key, by range of keys, by window, or all of it",
            store,
        )
        .query::<StoreQuery>()
        .answers_json(
            "`{\"rows\": [row], \"next\": token}`, in the order of the key; `next` as `after` goes \
             on, null at the end",
        ),
        Route::get("/api/v1/views/{view}/watch", "follows the results, change by change", watch)
            .query::<WatchQuery>()
            .answers_as(
                "text/event-stream",
                "with `snapshot` first an event `snapshot` with a list of rows; then events \
                 `change` with `{\"key\", \"row\", \"event_time_millis\", \"origin_micros\"}`, where a \
                 row that is null is gone; each id is a resume token that `Last-Event-ID` \
                 continues after",
            ),
    ]
}

/// Which rows to read; all of them unless something is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StoreQuery {
    /// The key, or its first columns: a value as text, a JSON list of values, or an object.
    key: Option<String>,
    /// The least value of the key column behind those of `key`.
    from: Option<String>,
    /// The value of that column before which the rows end.
    to: Option<String>,
    /// Only windows that start then or later: RFC 3339, or `@` and milliseconds.
    window_from: Option<String>,
    /// Only windows that start before then.
    window_to: Option<String>,
    /// The token of an earlier answer: what comes behind its rows.
    after: Option<String>,
    /// Rows at most; 100 unless given, 10,000 at most.
    limit: Option<usize>,
}

/// What to follow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WatchQuery {
    /// Only this key, as for the store.
    key: Option<String>,
    /// First so many rows of the store, then every change since.
    snapshot: Option<usize>,
    /// `latest` (default), `earliest`, a time, or a resume token. `Last-Event-ID` goes first.
    from: Option<String>,
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "views": shared.context.views.views() }))
}

async fn describe(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
) -> Result<Json<ViewState>, ApiError> {
    shared.view(&name).map(Json)
}

async fn store(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
    Params(query): Params<StoreQuery>,
) -> Result<Json<Value>, ApiError> {
    let view = shared.view(&name)?;
    let prefix = query.key.as_deref().map_or_else(|| Ok(Map::new()), |key| view.key_of(key))?;
    let bound =
        |text: &Option<String>| text.as_ref().map(|text| view.key_value(prefix.len(), text));
    let time = |text: &Option<String>| text.as_deref().map(time).transpose();
    let limit =
        extract::limit(query.limit, limits::FIND_LIMIT_DEFAULT, limits::FIND_LIMIT_MAX)?.max(1);
    let scan = ViewScan {
        from: bound(&query.from),
        to: bound(&query.to),
        window_from_micros: time(&query.window_from)?,
        window_to_micros: time(&query.window_to)?,
        limit: Some(limit),
        after: query.after,
        prefix,
    };
    let page = shared.context.views.scan(&name, &scan).await?;
    Ok(Json(json!({ "rows": rows(&page.rows), "next": page.next })))
}

/// A time in microseconds since the epoch.
fn time(text: &str) -> Result<i64, ApiError> {
    let millis = text.strip_prefix('@').and_then(|millis| millis.parse::<i64>().ok());
    let micros = millis.and_then(|millis| millis.checked_mul(1_000));
    let read = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
    micros.or_else(read).ok_or_else(|| {
        let text: String = text.chars().take(100).collect();
        let remedy = "write 2026-01-31T08:00:00Z, or @ and milliseconds";
        ApiError::invalid_with(format!("{text:?} is no time"), remedy)
    })
}

/// Rows as JSON.
pub(crate) fn rows(rows: &[ViewRow]) -> Vec<Box<RawValue>> {
    rows.iter().map(|row| record_json::value(Some(&row.row)).0.unwrap_or_default()).collect()
}

async fn watch(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
    Params(query): Params<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let view = shared.view(&name)?;
    if query.snapshot.is_some() && query.from.is_some() {
        let remedy = "leave out one of them";
        return Err(ApiError::invalid_with("snapshot and from exclude each other", remedy));
    }
    let snapshot = match query.snapshot {
        None => None,
        Some(asked) => Some(extract::limit(Some(asked), asked, limits::FIND_LIMIT_MAX)?.max(1)),
    };
    let key = query.key.as_deref().map_or_else(|| Ok(Map::new()), |key| view.key_of(key))?;
    let from = extract::last_event_id(&headers);
    let watch = results::Watch {
        view,
        key,
        // A client that comes back has seen the snapshot.
        snapshot: snapshot.filter(|_| from.is_none()),
        from: from.or(query.from.as_deref()).unwrap_or("latest").parse()?,
    };
    results::open(&shared, watch).await
}
