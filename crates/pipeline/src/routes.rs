//! HTTP routes that sources serve on the process's HTTP port.
//!
//! A source puts its route in the table while it runs; the HTTP server asks the
//! table about every path that it does not know itself. So connectors need no web
//! framework, and the server needs to know no connector.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

/// A request as a route sees it.
#[derive(Debug, Clone, Default)]
pub struct RouteRequest {
    pub method: String,
    pub path: String,
    /// Values of the path's `{names}`, percent-decoded.
    pub params: BTreeMap<String, String>,
    /// The query's pairs in order, percent-decoded.
    pub query: Vec<(String, String)>,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// At most [`courant_model::limits::HTTP_BODY_BYTES_MAX`]; the server checks.
    pub body: Bytes,
}

impl RouteRequest {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A route's answer.
#[derive(Debug, Clone)]
pub struct RouteResponse {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl RouteResponse {
    /// A JSON answer.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self { status, content_type: "application/json", body: value.to_string().into() }
    }
}

/// Answers requests of one route.
#[async_trait]
pub trait RouteHandler: Send + Sync + fmt::Debug {
    async fn handle(&self, request: RouteRequest) -> RouteResponse;
}

/// What the table knows of a request's path.
#[derive(Debug)]
pub enum RouteMatch {
    Found {
        handler: Arc<dyn RouteHandler>,
        params: BTreeMap<String, String>,
    },
    /// The path exists, with these other methods.
    OtherMethods(Vec<String>),
    Unknown,
}

/// The routes of all running sources.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: RwLock<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    method: String,
    path: String,
    matcher: matchit::Router<()>,
    handler: Arc<dyn RouteHandler>,
}

/// Why a route was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("route {method} {path:?} is taken already")]
    Taken { method: String, path: String },
    #[error("path {path:?} is no route: {why}")]
    Invalid { path: String, why: String },
}

impl RouteTable {
    /// Adds a route; it is removed when the guard is dropped.
    ///
    /// # Errors
    /// When the same method and path are there, or the path cannot be read.
    pub fn add(
        self: &Arc<Self>,
        method: &str,
        path: &str,
        handler: Arc<dyn RouteHandler>,
    ) -> Result<RouteGuard, RouteError> {
        let mut matcher = matchit::Router::new();
        matcher
            .insert(path, ())
            .map_err(|error| RouteError::Invalid { path: path.into(), why: error.to_string() })?;
        let mut routes = self.routes.write();
        if routes.iter().any(|entry| entry.method == method && entry.path == path) {
            return Err(RouteError::Taken { method: method.into(), path: path.into() });
        }
        routes.push(Entry { method: method.into(), path: path.into(), matcher, handler });
        Ok(RouteGuard { table: Arc::clone(self), method: method.into(), path: path.into() })
    }

    /// Finds the route of a request; a path without parameters wins over one with.
    pub fn find(&self, method: &str, path: &str) -> RouteMatch {
        let routes = self.routes.read();
        let matching = |entry: &&Entry| entry.matcher.at(path).is_ok();
        let best = routes
            .iter()
            .filter(|entry| entry.method == method)
            .filter(matching)
            .min_by_key(|entry| entry.path.matches('{').count());
        if let Some(entry) = best {
            let params = entry.matcher.at(path).map(|found| {
                found.params.iter().map(|(name, value)| (name.into(), value.into())).collect()
            });
            let handler = Arc::clone(&entry.handler);
            return RouteMatch::Found { handler, params: params.unwrap_or_default() };
        }
        let mut methods: Vec<String> =
            routes.iter().filter(matching).map(|entry| entry.method.clone()).collect();
        methods.sort();
        methods.dedup();
        if methods.is_empty() { RouteMatch::Unknown } else { RouteMatch::OtherMethods(methods) }
    }

    /// All routes as `(method, path)`, in the order they were added.
    pub fn list(&self) -> Vec<(String, String)> {
        self.routes.read().iter().map(|entry| (entry.method.clone(), entry.path.clone())).collect()
    }
}

/// Keeps a route in its table.
#[derive(Debug)]
pub struct RouteGuard {
    table: Arc<RouteTable>,
    method: String,
    path: String,
}

impl Drop for RouteGuard {
    fn drop(&mut self) {
        let mut routes = self.table.routes.write();
        routes.retain(|entry| entry.method != self.method || entry.path != self.path);
    }
}
