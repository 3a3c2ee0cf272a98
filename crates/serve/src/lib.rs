//! The HTTP side: the file's endpoints, the API, streams, pages, metrics, health.
//!
//! [`router`] builds everything from a [`ServeContext`]; [`serve`] runs it on a
//! listener. A request goes through `guard` to a route of the table (`table`), to
//! a page (`pages`), or to what the file brings (`endpoints`). This crate decides
//! nothing about data: it asks the roles and the running pipelines, and translates.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, Method, header},
    middleware,
    response::Response,
};
use courant_model::limits::HTTP_BODY_BYTES_MAX;
use tower_http::{compression::CompressionLayer, cors::CorsLayer};

mod api;
mod cached;
mod channels;
mod context;
mod endpoints;
mod error;
mod extract;
mod find;
mod guard;
mod health;
mod listen;
mod openapi;
mod pages;
mod pipelines;
mod record_json;
mod start;
mod stream;
mod table;
mod telemetry;
mod views;

pub use channels::{Channels, JournalError, Outlet};
pub use context::{About, PushAddress, PushRoutes, Readiness, ServeContext};
pub use endpoints::EndpointError;
pub use error::ApiError;
pub use guard::{Role, Security, Token};
pub use listen::serve;
pub use pipelines::{PipelineView, Pipelines, SourceView};
pub use record_json::RecordJson;
pub use views::{ViewColumn, ViewOperator, ViewRebuild, ViewState, ViewWindow, Views};

use crate::{context::Shared, endpoints::Endpoints};

/// Builds everything that is served.
///
/// # Errors
/// When two of the file's endpoints cannot be told apart, or one is no path.
pub fn router(context: ServeContext) -> Result<Router, EndpointError> {
    let endpoints = Endpoints::new(&context.endpoints)?;
    let routes: Vec<_> = api::routes().into_iter().chain(health::routes()).collect();
    let description = openapi::document(&routes, &context.about.version);
    let cors = cors(&context.security);
    let push = context.push.clone();
    let shared = Arc::new(Shared::new(context, endpoints, description));
    let router = table::router(routes)
        .merge(pages::router())
        .fallback(endpoints::fallback)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(HTTP_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard::check));
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    let router = router.layer(CompressionLayer::new()).with_state(Arc::clone(&shared));
    let router = match push {
        Some(routes) => router.merge(pushed(&routes, shared)),
        None => router,
    };
    Ok(router.layer(middleware::from_fn(telemetry::record)))
}

/// The push server's routes, which have signatures and bounds of their own; only where
/// pages come from is looked at here.
fn pushed(routes: &PushRoutes, shared: Arc<Shared>) -> Router {
    let check = middleware::from_fn_with_state(shared, guard::check_page);
    routes.push.router().layer(check)
}

/// The router adds the header `Allow`.
async fn method_not_allowed(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().to_string();
    ApiError::MethodNotAllowed { method, path: path.clone(), allowed: Vec::new() }
        .into_response_at(&path)
}

/// What the pages of allowed origins may do; without any, nothing.
fn cors(security: &Security) -> Option<CorsLayer> {
    let named = security.origins.iter().filter(|origin| *origin != "*");
    let origins: Vec<_> = named.filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([HeaderName::from_static("x-total-count")]);
    Some(layer)
}
