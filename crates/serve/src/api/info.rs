//! Who answers: `/api/v1/info`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{context::Shared, table::Route};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/info", "who answers: name, version, profile, uptime, ports, push server", info)
            .answers_json("`{\"name\", \"version\", \"profile\", \"uptime_seconds\", \"now_micros\", \"ports\", \"push\": {\"key\"} or null}`"),
    ]
}

async fn info(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let about = &shared.context.about;
    let now_micros = shared.context.clock.now_micros();
    let uptime_micros = now_micros.saturating_sub(shared.started_micros).max(0);
    Json(json!({
        "name": about.name,
        "version": about.version,
        "profile": about.profile,
        "uptime_seconds": uptime_micros / 1_000_000,
        "now_micros": now_micros,
        "ports": about.ports,
        "push": about.push,
    }))
}
