//! The cache: tables, keys, and what a key holds.

use std::sync::Arc;

use axum::{Json, extract::State};
use courant_model::limits;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cached::{self, Held},
    context::Shared,
    error::ApiError,
    extract::{self, Params, Segments},
    table::Route,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/cache", "lists the cache's tables with their sizes", tables)
            .answers_json("`{\"tables\": [{\"table\", \"keys\", \"size_bytes\", \"evicted\"}]}`"),
        Route::get("/api/v1/cache/{table}", "lists the keys of a table, in byte order", keys)
            .query::<KeysQuery>()
            .answers_json(
                "`{\"keys\": [key], \"next\": key}`; `next` as `after` goes on, null at the end",
            ),
        Route::get("/api/v1/cache/{table}/keys/{key}", "gives what a key holds", key)
            .answers_json("`{\"key\", \"value\"}` or `{\"key\", \"fields\": {name: value}}`"),
    ]
}

/// Which keys to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeysQuery {
    /// Only keys after this one.
    after: Option<String>,
    /// Keys at most; 1,000 unless given, and not more.
    limit: Option<usize>,
}

async fn tables(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "tables": shared.cache().tables().await? })))
}

async fn keys(
    State(shared): State<Arc<Shared>>,
    Segments(table): Segments<String>,
    Params(query): Params<KeysQuery>,
) -> Result<Json<Value>, ApiError> {
    let max = limits::CACHE_KEYS_LIMIT_MAX;
    let limit = extract::limit(query.limit, max, max)?;
    let keys = shared.cache().keys(&table, query.after.as_deref(), limit).await?;
    let next = keys.last().filter(|_| keys.len() == limit);
    Ok(Json(json!({ "keys": keys, "next": next })))
}

async fn key(
    State(shared): State<Arc<Shared>>,
    Segments((table, key)): Segments<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(match cached::held(shared.cache(), &table, &key).await? {
        Held::Value(value) => json!({ "key": key, "value": value }),
        Held::Fields(fields) => json!({ "key": key, "fields": fields }),
    }))
}
