//! For those who watch over the process: health, metrics, the API's description.
//!
//! `live` says that requests are answered at all; `ready` that they are answered
//! well, which is not so while it starts and once it stops.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    context::{Readiness, Shared},
    openapi,
    table::Route,
};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/health/live", "says whether requests are answered", live)
            .answers_json("`{\"status\": \"live\"}`"),
        Route::get("/health/ready", "says whether requests are answered well; 503 if not", ready)
            .answers_json("`{\"status\": \"ready\"}`"),
        Route::get("/metrics", "gives every metric in Prometheus's text form", metrics)
            .answers_as("text/plain", "the metrics"),
        Route::get("/openapi.json", "describes every route", description)
            .answers_json("an OpenAPI 3.1 document"),
    ]
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let stopping = shared.context.stop.is_cancelled();
    let readiness = *shared.context.readiness.borrow();
    let (status, word) = match readiness {
        _ if stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        Readiness::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Readiness::Ready => (StatusCode::OK, "ready"),
    };
    (status, Json(json!({ "status": word }))).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.context.metrics.as_ref().map(|handle| {
        handle.run_upkeep();
        handle.render()
    });
    ([(header::CONTENT_TYPE, PROMETHEUS)], text.unwrap_or_default()).into_response()
}

async fn description(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(openapi::with_the_file(&shared))
}
