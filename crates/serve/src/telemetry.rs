//! What is measured of HTTP.
//!
//! Labels are bounded: the route's pattern, never the path; the method; the class of
//! the status. Names carry their unit.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};

/// The metrics of this crate.
#[derive(Debug, Clone, Copy)]
enum Metric {
    RequestsTotal,
    RequestSeconds,
    StreamsOpen,
    PushedTotal,
    NotPushedTotal,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::RequestsTotal => "courant_http_requests_total",
            Self::RequestSeconds => "courant_http_request_duration_seconds",
            Self::StreamsOpen => "courant_http_streams_open",
            Self::PushedTotal => "courant_push_messages_total",
            Self::NotPushedTotal => "courant_push_failures_total",
        }
    }
}

/// The route of an answer that the router did not match: one of the file's.
#[derive(Debug, Clone)]
pub(crate) struct RouteLabel(Arc<str>);

impl RouteLabel {
    /// An endpoint, by its pattern.
    pub(crate) fn endpoint(path: &str) -> Self {
        Self(path.into())
    }

    /// Any source's route.
    pub(crate) fn source() -> Self {
        Self("source".into())
    }
}

/// Counts and times a request.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = method(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let label = response.extensions().get::<RouteLabel>();
    let route = match (&matched, label) {
        (Some(matched), _) => matched.as_str().to_owned(),
        (None, Some(label)) => label.0.to_string(),
        (None, None) => "none".to_owned(),
    };
    let status = match response.status().as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics::counter!(
        Metric::RequestsTotal.name(), "route" => route.clone(), "method" => method, "status" => status
    )
    .increment(1);
    metrics::histogram!(Metric::RequestSeconds.name(), "route" => route).record(began.elapsed());
    response
}

/// Methods are free text; those that nobody serves count together.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts messages of a channel of the file.
pub(crate) fn pushed(channel: &str, messages: usize) {
    metrics::counter!(Metric::PushedTotal.name(), "channel" => channel.to_owned())
        .increment(messages as u64);
}

/// Counts a change that could not be pushed.
pub(crate) fn not_pushed(channel: &str) {
    metrics::counter!(Metric::NotPushedTotal.name(), "channel" => channel.to_owned()).increment(1);
}

/// Counts a stream while it is open.
#[derive(Debug)]
pub(crate) struct StreamOpen(());

impl StreamOpen {
    pub(crate) fn begin() -> Self {
        metrics::gauge!(Metric::StreamsOpen.name()).increment(1.0);
        Self(())
    }
}

impl Drop for StreamOpen {
    fn drop(&mut self) {
        metrics::gauge!(Metric::StreamsOpen.name()).decrement(1.0);
    }
}
