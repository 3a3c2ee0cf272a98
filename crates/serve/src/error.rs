//! What can go wrong with a request, and how that is told over HTTP.
//!
//! One type for everything that is served; status, stable code and retryability
//! are methods on it. The API wraps an error in an object
//! (`{"error": {"code", "message", …}}`); the file's own endpoints and sources tell
//! it flat (`{"error": "…", "code": "…"}`), as their clients know it. Server faults
//! are logged here, once, where they become an answer.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use courant_log::{ErrorCode, LogError};
use courant_model::{NameError, limits};
use courant_pipeline::runtime::{UnknownPipeline, ViewError};
use courant_stores::{StoreError, StoreErrorCode};
use serde_json::json;

/// Why a request was not answered as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    UnknownPipeline(#[from] UnknownPipeline),
    #[error(transparent)]
    TopicName(#[from] NameError),
    #[error("{what}")]
    InvalidRequest { what: String, remedy: Option<String> },
    #[error("there is nothing at {path:?}")]
    UnknownRoute { path: String },
    #[error("{path:?} does not take {method}")]
    MethodNotAllowed { method: String, path: String, allowed: Vec<String> },
    #[error("collection {collection:?} has no document with id {id:?}")]
    UnknownDocument { collection: String, id: String },
    #[error("cache table {table:?} has no key {key:?}")]
    UnknownKey { table: String, key: String },
    #[error("key {key:?} of cache table {table:?} has no field {field:?}")]
    UnknownField { table: String, key: String, field: String },
    #[error("view {view:?} does not exist")]
    UnknownView { view: String },
    #[error("view {view:?} has no row with key {key}")]
    UnknownRow { view: String, key: String },
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("dead letter {position} was sent back already")]
    AlreadyRedriven { position: String },
    #[error("request body is larger than the {} bytes allowed", limits::HTTP_BODY_BYTES_MAX)]
    BodyTooLarge,
    #[error("URL has {found_bytes} bytes; {} are allowed", limits::URL_BYTES_MAX)]
    UrlTooLong { found_bytes: usize },
    #[error("content type {found:?} cannot be read here")]
    UnsupportedMediaType { found: String, expected: &'static str },
    #[error("{} streams are open; no more are taken", limits::STREAM_SUBSCRIBERS_MAX)]
    TooManySubscribers,
    #[error("{} transformations are tried out; no more are taken", limits::JOLT_TRIED_AT_ONCE_MAX)]
    TooManyTrials,
    #[error("request to host {host:?} was refused: it is no name of this server")]
    HostNotAllowed { host: String },
    #[error("request from origin {origin:?} was refused: it is not this server's page")]
    CrossOrigin { origin: String },
    #[error("pages of origin {origin:?} may not connect to this push server")]
    PageNotAllowed { origin: String },
    #[error("request has no token, or one that is not known")]
    Unauthorized,
    #[error("the token may read, not write")]
    Forbidden,
}

impl ApiError {
    /// A request that cannot be understood.
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidRequest { what: what.into(), remedy: None }
    }

    /// A request that cannot be understood, and what to write instead.
    pub(crate) fn invalid_with(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::InvalidRequest { what: what.into(), remedy: Some(remedy.into()) }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Log(error) => log_status(error),
            Self::Store(error) => store_status(error),
            Self::UnknownPipeline(_)
            | Self::UnknownRoute { .. }
            | Self::UnknownDocument { .. }
            | Self::UnknownKey { .. }
            | Self::UnknownField { .. }
            | Self::UnknownView { .. }
            | Self::UnknownRow { .. } => StatusCode::NOT_FOUND,
            Self::AlreadyRedriven { .. } => StatusCode::CONFLICT,
            Self::TopicName(_) | Self::InvalidRequest { .. } => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UrlTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::View(error) => view_status(error),
            Self::TooManySubscribers | Self::TooManyTrials => StatusCode::SERVICE_UNAVAILABLE,
            Self::HostNotAllowed { .. }
            | Self::CrossOrigin { .. }
            | Self::PageNotAllowed { .. }
            | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
        }
    }

    /// The stable name of the kind, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Log(error) => error.code().as_str(),
            Self::Store(error) => error.code().as_str(),
            Self::UnknownPipeline(_) => "unknown_pipeline",
            Self::TopicName(_) => ErrorCode::InvalidTopic.as_str(),
            Self::InvalidRequest { .. } => "invalid_request",
            Self::UnknownRoute { .. } => "unknown_route",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnknownDocument { .. } => "unknown_document",
            Self::UnknownKey { .. } => "unknown_key",
            Self::UnknownField { .. } => "unknown_field",
            Self::UnknownView { .. } => "unknown_view",
            Self::UnknownRow { .. } => "unknown_row",
            Self::View(error) => view_code(error),
            Self::AlreadyRedriven { .. } => "already_redriven",
            Self::BodyTooLarge => "body_too_large",
            Self::UrlTooLong { .. } => "url_too_long",
            Self::UnsupportedMediaType { .. } => "unsupported_media_type",
            Self::TooManySubscribers => "too_many_subscribers",
            Self::TooManyTrials => "too_many_trials",
            Self::HostNotAllowed { .. } => "host_not_allowed",
            Self::CrossOrigin { .. } | Self::PageNotAllowed { .. } => "cross_origin",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.retryable(),
            Self::Store(error) => error.retryable(),
            Self::TooManySubscribers
            | Self::TooManyTrials
            | Self::View(ViewError::Storage { .. }) => true,
            _ => false,
        }
    }

    /// What to do about it, where that is not plain from the message.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::InvalidRequest { remedy, .. } => remedy.clone(),
            Self::UnknownRoute { .. } => Some("see /openapi.json for every route".into()),
            Self::MethodNotAllowed { allowed, .. } if !allowed.is_empty() => {
                Some(format!("use {}", allowed.join(" or ")))
            }
            Self::AlreadyRedriven { .. } => Some("send \"again\": true to repeat it".into()),
            Self::UnsupportedMediaType { expected, .. } => {
                Some(format!("send content-type: {expected}"))
            }
            Self::HostNotAllowed { .. } => {
                Some("ask by IP address or as localhost, or allow the host".into())
            }
            Self::PageNotAllowed { origin } => {
                Some(format!("start the server with --push-origin {origin}"))
            }
            Self::CrossOrigin { .. } => Some("allow the origin, or send no Origin header".into()),
            Self::Unauthorized => Some("send authorization: Bearer <token>".into()),
            _ => None,
        }
    }

    /// The answer to a request for `path`: the API's shape below `/api/`, else flat.
    pub(crate) fn into_response_at(self, path: &str) -> Response {
        if path.starts_with("/api/") { self.into_response() } else { self.into_flat_response() }
    }

    /// The answer as the file's endpoints give it: `{"error": "…", "code": "…"}`.
    pub(crate) fn into_flat_response(self) -> Response {
        let body = json!({ "error": self.to_string(), "code": self.code() });
        self.answer(body)
    }

    /// The error as JSON, as answers and streams of the API carry it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut error = json!({ "code": self.code(), "message": self.to_string() });
        if let Some(remedy) = self.remedy() {
            error["remedy"] = remedy.into();
        }
        if self.retryable() {
            error["retryable"] = true.into();
        }
        json!({ "error": error })
    }

    fn answer(self, body: serde_json::Value) -> Response {
        let status = self.status();
        if status.is_server_error()
            && !matches!(self, Self::TooManySubscribers | Self::TooManyTrials)
        {
            tracing::warn!(code = self.code(), error = %self, "a request failed");
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.retryable() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        match &self {
            Self::MethodNotAllowed { allowed, .. } if !allowed.is_empty() => {
                if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
                    headers.insert(header::ALLOW, value);
                }
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.to_json();
        self.answer(body)
    }
}

fn log_status(error: &LogError) -> StatusCode {
    match error.code() {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::GroupIdNotFound => StatusCode::NOT_FOUND,
        ErrorCode::TopicAlreadyExists | ErrorCode::NonEmptyGroup => StatusCode::CONFLICT,
        ErrorCode::InvalidTopic
        | ErrorCode::InvalidRecord
        | ErrorCode::InvalidGroupId
        | ErrorCode::InvalidSessionTimeout
        | ErrorCode::OffsetMetadataTooLarge => StatusCode::BAD_REQUEST,
        ErrorCode::OffsetOutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::MessageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Closed => StatusCode::SERVICE_UNAVAILABLE,
        _ if matches!(error, LogError::DiskFull { .. }) => StatusCode::INSUFFICIENT_STORAGE,
        _ if error.retryable() => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::ClusterError => StatusCode::BAD_GATEWAY,
        ErrorCode::StorageError | ErrorCode::CorruptMessage => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CONFLICT,
    }
}

fn store_status(error: &StoreError) -> StatusCode {
    match error.code() {
        StoreErrorCode::UnknownCollection => StatusCode::NOT_FOUND,
        StoreErrorCode::InvalidName
        | StoreErrorCode::InvalidDocument
        | StoreErrorCode::InvalidFilter => StatusCode::BAD_REQUEST,
        StoreErrorCode::InvalidToken | StoreErrorCode::WatchLagged => StatusCode::GONE,
        StoreErrorCode::DuplicateId | StoreErrorCode::WrongKind => StatusCode::CONFLICT,
        StoreErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        StoreErrorCode::Storage | StoreErrorCode::Closed => StatusCode::SERVICE_UNAVAILABLE,
        StoreErrorCode::AccessDenied => StatusCode::BAD_GATEWAY,
        StoreErrorCode::InUse | StoreErrorCode::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn view_status(error: &ViewError) -> StatusCode {
    match error {
        ViewError::NoStore { .. } => StatusCode::CONFLICT,
        ViewError::WrongKey { .. }
        | ViewError::NoWindows { .. }
        | ViewError::WrongContinuation { .. } => StatusCode::BAD_REQUEST,
        ViewError::Storage { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

const fn view_code(error: &ViewError) -> &'static str {
    match error {
        ViewError::NoStore { .. } => "no_store",
        ViewError::WrongKey { .. } => "wrong_key",
        ViewError::NoWindows { .. } => "no_windows",
        ViewError::WrongContinuation { .. } => "wrong_continuation",
        ViewError::Storage { .. } => StoreErrorCode::Storage.as_str(),
    }
}
