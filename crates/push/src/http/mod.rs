//! The ways in over HTTP: the WebSocket of pages, and the API of servers.
//!
//! `/app/{key}` takes pages; what is wrong with one is told in the protocol, as close
//! codes, so the upgrade comes first. `/apps/{id}/…` takes signed requests; `publish` and
//! `query` answer them. Answers to what is refused are one line of text, as Pusher's are.

mod publish;
mod query;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, OriginalUri, Path, Query, State, ws::WebSocketUpgrade},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use courant_model::limits::{PUSH_BUFFER_BYTES, PUSH_FRAME_BYTES_MAX, PUSH_REQUEST_BYTES_MAX};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::{
    App, NameError, PublishError, Push,
    error::ErrorCode,
    hub::Hub,
    signature::{SignatureError, SignedRequest, check_request},
    socket,
};

/// Query parameters by name.
type Parameters = BTreeMap<String, String>;

/// Versions of the protocol whose clients can be served.
const VERSIONS: std::ops::RangeInclusive<u32> = 5..=7;

pub(crate) fn router(push: Push) -> Router {
    Router::new()
        .route("/app/{key}", any(connect))
        .route("/app/", any(lost))
        .route("/app/{key}/{*rest}", any(lost))
        .route("/apps/{id}/events", post(publish::event))
        .route("/apps/{id}/batch_events", post(publish::batch))
        .route("/apps/{id}/channels", get(query::channels))
        .route("/apps/{id}/channels/{channel}", get(query::channel))
        .route("/apps/{id}/channels/{channel}/users", get(query::users))
        .route("/apps/{id}/users/{user}/terminate_connections", post(query::terminate))
        .layer(DefaultBodyLimit::max(PUSH_REQUEST_BYTES_MAX))
        .with_state(push)
}

/// What a page says about itself in its address.
#[derive(Debug, Deserialize)]
struct Hello {
    protocol: Option<String>,
}

async fn connect(
    State(push): State<Push>,
    Path(key): Path<String>,
    Query(hello): Query<Hello>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let welcome = welcome(&push, &key, &hello, &headers);
    // A stop waits for this connection from here on.
    let running = push.sockets().token();
    bounded(upgrade).on_upgrade(async move |socket| {
        let _running = running;
        match welcome {
            Ok(_) if push.is_stopping() => socket::refuse(socket, ErrorCode::Reconnect).await,
            Ok(hub) => socket::serve(socket, hub).await,
            Err(code) => socket::refuse(socket, code).await,
        }
    })
}

async fn lost(upgrade: WebSocketUpgrade) -> Response {
    bounded(upgrade).on_upgrade(|socket| socket::refuse(socket, ErrorCode::UnknownPath))
}

/// Small buffers, because thousands of pages wait, and small frames, because pages say
/// little.
fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(PUSH_BUFFER_BYTES)
        .write_buffer_size(PUSH_BUFFER_BYTES)
        .max_frame_size(PUSH_FRAME_BYTES_MAX)
        .max_message_size(PUSH_FRAME_BYTES_MAX)
}

fn welcome(
    push: &Push,
    key: &str,
    hello: &Hello,
    headers: &HeaderMap,
) -> Result<Arc<Hub>, ErrorCode> {
    let hub = push.by_key(key).ok_or(ErrorCode::UnknownApp)?;
    let protocol = hello.protocol.as_deref().ok_or(ErrorCode::NoVersion)?;
    let version: u32 = protocol.parse().map_err(|_| ErrorCode::InvalidVersion)?;
    if !VERSIONS.contains(&version) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    if !hub.app.enabled {
        return Err(ErrorCode::AppDisabled);
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if hub.app.tls_only && header("x-forwarded-proto".to_owned()) != Some("https") {
        return Err(ErrorCode::TlsOnly);
    }
    if !may_come_from(&hub.app, header(header::ORIGIN.to_string())) {
        return Err(ErrorCode::Unauthorized);
    }
    Ok(Arc::clone(hub))
}

/// Programs that are no browsers say no origin, and have the key alone.
fn may_come_from(app: &App, origin: Option<&str>) -> bool {
    let known = |origin: &str| app.origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
    app.origins.is_empty() || origin.is_none_or(known)
}

/// Why a request of the API is refused.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("push app {0:?} does not exist")]
    UnknownApp(String),
    #[error("push app {0:?} is disabled")]
    Disabled(String),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Channel(#[from] NameError),
    #[error("{0}")]
    Invalid(String),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownApp(_) => StatusCode::NOT_FOUND,
            Self::Disabled(_) => StatusCode::FORBIDDEN,
            Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::Publish(PublishError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Publish(_) | Self::Channel(_) | Self::Invalid(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}

/// A request as it arrived, before anybody believes it.
#[derive(Debug)]
struct Asked {
    push: Push,
    method: Method,
    uri: Uri,
    body: Bytes,
}

impl<S> axum::extract::FromRequest<S> for Asked
where
    S: Send + Sync,
    Push: axum::extract::FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(
        request: axum::extract::Request,
        state: &S,
    ) -> Result<Self, Self::Rejection> {
        let method = request.method().clone();
        let nested = request.extensions().get::<OriginalUri>().map(|uri| uri.0.clone());
        let uri = nested.unwrap_or_else(|| request.uri().clone());
        let body =
            Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        Ok(Self { push: axum::extract::FromRef::from_ref(state), method, uri, body })
    }
}

impl Asked {
    /// The app, and the parameters, once the signature was found right.
    fn by(&self, id: &str) -> Result<(Arc<Hub>, Parameters), ApiError> {
        let hub = self.push.by_id(id).ok_or_else(|| ApiError::UnknownApp(id.into()))?;
        let parameters = parameters(self.uri.query().unwrap_or_default());
        let request = SignedRequest {
            method: self.method.as_str(),
            path: self.uri.path(),
            query: &parameters,
            body: &self.body,
        };
        check_request(&hub.app, request, hub.now_ms() / 1_000)?;
        if !hub.app.enabled {
            return Err(ApiError::Disabled(id.into()));
        }
        Ok((Arc::clone(hub), parameters))
    }
}

fn parameters(query: &str) -> Parameters {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// What a request wants to know of channels.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    subscription_count: bool,
    user_count: bool,
    cache: bool,
}

impl Wanted {
    fn parse(info: &str) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        for name in info.split(',').filter(|name| !name.is_empty()) {
            match name {
                "subscription_count" => wanted.subscription_count = true,
                "user_count" => wanted.user_count = true,
                "cache" => wanted.cache = true,
                _ => {
                    return Err(ApiError::Invalid(format!(
                        "info {name:?} is not known; expected subscription_count, user_count or cache"
                    )));
                }
            }
        }
        Ok(wanted)
    }
}
