//! What the HTTP side is given, and what all requests share.
//!
//! [`ServeContext`] is filled in by the binary (or a test); [`Shared`] adds what one
//! router needs for itself. Neither decides anything.

use std::{collections::BTreeMap, sync::Arc};

use courant_log::Log;
use courant_model::{
    Clock,
    limits::{JOLT_TRIED_AT_ONCE_MAX, STREAM_SUBSCRIBERS_MAX},
};
use courant_pipeline::{plan::EndpointPlan, routes::RouteTable};
use courant_push::Push;
use courant_stores::{Cache, History};
use indexmap::IndexMap;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    endpoints::Endpoints,
    error::ApiError,
    guard::Security,
    pipelines::Pipelines,
    views::{ViewState, Views},
};

/// Everything that is served.
#[derive(Debug)]
pub struct ServeContext {
    pub about: About,
    pub log: Arc<dyn Log>,
    pub cache: Arc<dyn Cache>,
    pub history: Arc<dyn History>,
    pub pipelines: Arc<dyn Pipelines>,
    pub views: Arc<dyn Views>,
    /// The file's endpoints, by path.
    pub endpoints: IndexMap<String, EndpointPlan>,
    /// Routes that running sources serve.
    pub routes: Arc<RouteTable>,
    pub clock: Arc<dyn Clock>,
    /// Renders `/metrics`; `None`: there is nothing to render.
    pub metrics: Option<PrometheusHandle>,
    pub readiness: watch::Receiver<Readiness>,
    pub security: Security,
    /// The push server that pages of this port connect to; `None`: there is none here.
    pub push: Option<PushRoutes>,
    /// Cancelled when the process stops: every stream ends at once.
    pub stop: CancellationToken,
}

/// Who answers; told at `/api/v1/info`.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// `name:` of the file.
    pub name: String,
    pub version: String,
    pub profile: String,
    /// By protocol: `http`, `kafka`, …
    pub ports: BTreeMap<String, u16>,
    /// Where pages hear channels; `None`: nowhere.
    pub push: Option<PushAddress>,
}

/// A push server and who may listen to it.
#[derive(Debug, Clone)]
pub struct PushRoutes {
    pub push: Push,
    /// Origins whose pages may connect, beside this server's own and, on loopback, those
    /// of this machine; `*` for all.
    pub origins: Vec<String>,
}

/// What a page needs to connect to a push server; nothing of it is secret.
#[derive(Debug, Clone, Serialize)]
pub struct PushAddress {
    pub key: String,
    /// Another host than this server's, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
}

/// Whether requests will be served well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    Starting,
    Ready,
    Stopping,
}

/// What the requests of one router share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) context: ServeContext,
    pub(crate) endpoints: Endpoints,
    /// One redrive at a time, so that its record of what was sent back holds.
    pub(crate) redrive: Mutex<()>,
    /// The document of `/openapi.json` without what changes while it runs.
    pub(crate) openapi: serde_json::Value,
    pub(crate) started_micros: i64,
    subscribers: Arc<Semaphore>,
    trials: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(
        context: ServeContext,
        endpoints: Endpoints,
        openapi: serde_json::Value,
    ) -> Self {
        Self {
            endpoints,
            openapi,
            redrive: Mutex::new(()),
            started_micros: context.clock.now_micros(),
            subscribers: Arc::new(Semaphore::new(STREAM_SUBSCRIBERS_MAX)),
            trials: Arc::new(Semaphore::new(JOLT_TRIED_AT_ONCE_MAX)),
            context,
        }
    }

    pub(crate) fn log(&self) -> &dyn Log {
        &*self.context.log
    }

    pub(crate) fn history(&self) -> &dyn History {
        &*self.context.history
    }

    pub(crate) fn cache(&self) -> &dyn Cache {
        &*self.context.cache
    }

    /// The view of this name.
    ///
    /// # Errors
    /// [`ApiError::UnknownView`].
    pub(crate) fn view(&self, name: &str) -> Result<ViewState, ApiError> {
        let mut views = self.context.views.views().into_iter();
        let unknown = || ApiError::UnknownView { view: name.into() };
        views.find(|view| view.name == name).ok_or_else(unknown)
    }

    /// Takes one of the places for subscribers; it is free again with the permit.
    ///
    /// # Errors
    /// [`ApiError::TooManySubscribers`].
    pub(crate) fn subscribe(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.subscribers).try_acquire_owned().map_err(|_| ApiError::TooManySubscribers)
    }

    /// Takes one of the places for transformations that are tried out.
    ///
    /// # Errors
    /// [`ApiError::TooManyTrials`].
    pub(crate) fn begin_trial(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.trials).try_acquire_owned().map_err(|_| ApiError::TooManyTrials)
    }
}
