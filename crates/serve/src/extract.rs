//! Readers of a request's parts, whose refusals are this API's errors.
//!
//! axum's own extractors answer refusals in plain text; these wrap them. A handler
//! takes path segments, a query, a JSON body or raw bytes, and never sees a request
//! that did not fit.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use courant_stores::Filter;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The path's `{names}`, percent-decoded.
#[derive(Debug)]
pub(crate) struct Segments<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(ApiError::invalid(format!("path cannot be read: {}", rejection.body_text())))
            }
        }
    }
}

/// The query; unknown parameters are refused where the type says so.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        query(&parts.uri).map(Self)
    }
}

/// Reads a query outside a handler.
///
/// # Errors
/// [`ApiError::InvalidRequest`] naming the parameter.
pub(crate) fn query<T: DeserializeOwned>(uri: &axum::http::Uri) -> Result<T, ApiError> {
    Query::try_from_uri(uri).map(|Query(value)| value).map_err(|rejection| {
        let text = rejection.body_text();
        let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        ApiError::invalid(format!("query cannot be read: {why}"))
    })
}

/// The body's bytes, within the limit.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::BodyTooLarge)
            }
            Err(rejection) => {
                Err(ApiError::invalid(format!("body cannot be read: {}", rejection.body_text())))
            }
        }
    }
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let media_type = media_type(request.headers());
        if !is_json(&media_type) {
            let expected = "application/json";
            return Err(ApiError::UnsupportedMediaType { found: media_type, expected });
        }
        let Body(bytes) = Body::from_request(request, state).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(ApiError::invalid(format!("body does not fit: {error}"))),
        }
    }
}

/// The media type of a body, lower case and without parameters; empty without one.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.unwrap_or_default().split(';').next().unwrap_or_default();
    value.trim().to_ascii_lowercase()
}

/// Whether a media type is JSON's.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Whether a client asks for a stream of events.
pub(crate) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("text/event-stream"))
}

/// Where a stream's client was cut off; empty text counts as nothing.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().filter(|id| !id.is_empty())
}

/// Decodes a path segment.
///
/// # Errors
/// [`ApiError::InvalidRequest`] when it is not UTF-8.
pub(crate) fn decode_segment(segment: &str) -> Result<String, ApiError> {
    percent_decode_str(segment).decode_utf8().map(Into::into).map_err(|_| {
        ApiError::invalid_with(
            format!("path segment {segment:?} is not UTF-8"),
            "percent-encode its UTF-8 bytes",
        )
    })
}

/// Reads a filter in its JSON notation; absent matches all.
///
/// # Errors
/// [`ApiError::InvalidRequest`] for what is not JSON, the store's for what is no filter.
pub(crate) fn filter(text: Option<&str>) -> Result<Filter, ApiError> {
    let Some(text) = text else { return Ok(Filter::All) };
    let value = serde_json::from_str(text).map_err(|error| {
        ApiError::invalid_with(
            format!("filter is not JSON: {error}"),
            "write it as {\"status\": \"Shipped\"} and percent-encode it",
        )
    })?;
    Ok(Filter::parse(&value)?)
}

/// Checks a number of results against its bound.
///
/// # Errors
/// [`ApiError::InvalidRequest`] above `max`.
pub(crate) fn limit(asked: Option<usize>, default: usize, max: usize) -> Result<usize, ApiError> {
    match asked {
        Some(asked) if asked > max => Err(ApiError::invalid_with(
            format!("limit {asked} is above {max}, the most that is given here"),
            "ask for less, and page",
        )),
        Some(asked) => Ok(asked),
        None => Ok(default.min(max)),
    }
}
