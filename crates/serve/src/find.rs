//! Lists of documents, for the API and for the file's endpoints alike.
//!
//! What a client asks only ever narrows what the endpoint gives: its filter is
//! joined to the endpoint's, its limit stays below. The total is counted where it is
//! cheap (no filter) or asked for, because counting reads what it counts.

use axum::{
    Json,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use courant_model::limits;
use courant_stores::{Document, Filter, FindQuery, History, SortKey};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    error::ApiError,
    extract::{self},
};

/// What a client may ask of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Narrowing {
    /// A filter such as `{"status": "Shipped"}`.
    pub(crate) filter: Option<String>,
    /// Fields joined by commas, `-` before those that descend: `-timestamp,name`.
    pub(crate) sort: Option<String>,
    /// Documents to leave out at the front.
    pub(crate) skip: Option<usize>,
    /// Documents at most.
    pub(crate) limit: Option<usize>,
    /// Whether to count all that match, for `x-total-count`.
    #[serde(default)]
    pub(crate) total: bool,
}

impl Narrowing {
    /// Joins the wishes to what is given without them.
    ///
    /// # Errors
    /// A filter or sort that is none; a limit above `limit_max`.
    pub(crate) fn apply(&self, all: FindQuery, limit_max: usize) -> Result<FindQuery, ApiError> {
        let skip = self.skip.unwrap_or(0);
        if skip > limits::FIND_SKIP_MAX {
            return Err(ApiError::invalid_with(
                format!("skip {skip} is above {}", limits::FIND_SKIP_MAX),
                "narrow with a filter on the sorted field instead",
            ));
        }
        let wished = extract::filter(self.filter.as_deref())?;
        let filter = match (all.filter, wished) {
            (filter, Filter::All) | (Filter::All, filter) => filter,
            (given, wished) => Filter::And(vec![given, wished]),
        };
        let sort = match self.sort.as_deref() {
            Some(sort) => SortKey::parse_list(sort)?,
            None => all.sort,
        };
        let limit = extract::limit(self.limit, all.limit, limit_max)?;
        Ok(FindQuery { filter, sort, skip, limit })
    }
}

/// Answers a list: `{"count": n, "data": […]}`.
///
/// # Errors
/// The history's.
pub(crate) async fn answer(
    history: &dyn History,
    collection: &str,
    query: &FindQuery,
    total: bool,
) -> Result<Response, ApiError> {
    let data = documents(history, collection, query).await?;
    let mut response = Json(json!({ "count": data.len(), "data": data })).into_response();
    if total || query.filter == Filter::All {
        let total = history.count(collection, &query.filter).await?;
        response.headers_mut().insert("x-total-count", HeaderValue::from(total));
    }
    Ok(response)
}

/// Finds documents; a limit of 0 gives none.
///
/// # Errors
/// The history's.
pub(crate) async fn documents(
    history: &dyn History,
    collection: &str,
    query: &FindQuery,
) -> Result<Vec<Document>, ApiError> {
    // The history reads 0 as "the most there is".
    let nothing = query.limit == 0;
    let query = FindQuery { limit: query.limit.max(1), ..query.clone() };
    let documents = history.find(collection, &query).await?;
    Ok(if nothing { Vec::new() } else { documents })
}

/// Gives one document.
///
/// # Errors
/// [`ApiError::UnknownDocument`]; the history's.
pub(crate) async fn document(
    history: &dyn History,
    collection: &str,
    id: &str,
) -> Result<Document, ApiError> {
    history
        .get(collection, id)
        .await?
        .ok_or_else(|| ApiError::UnknownDocument { collection: collection.into(), id: id.into() })
}
