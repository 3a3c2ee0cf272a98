//! Pipelines and sources: states, numbers, the graph; pause and resume.

use std::sync::Arc;

use axum::{Json, extract::State};
use courant_pipeline::{plan::Graph, runtime::UnknownPipeline};
use serde_json::{Value, json};

use crate::{
    context::Shared, error::ApiError, extract::Segments, pipelines::PipelineView, table::Route,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/pipelines", "lists the pipelines with rates, lag and freshness", list)
            .answers_json("`{\"pipelines\": [pipeline]}`"),
        Route::get("/api/v1/pipelines/graph", "tells what feeds what", graph).answers_json(
            "`{\"nodes\": [{\"id\", \"kind\", \"name\"}], \"edges\": [{\"from\", \"to\"}]}`",
        ),
        Route::get("/api/v1/pipelines/{pipeline}", "describes a pipeline", describe)
            .answers_json("the pipeline"),
        Route::post(
            "/api/v1/pipelines/{pipeline}/pause",
            "stops reading; what was read is finished",
            pause,
        )
        .answers_json("the pipeline"),
        Route::post("/api/v1/pipelines/{pipeline}/resume", "reads on after a pause", resume)
            .answers_json("the pipeline"),
        Route::get("/api/v1/sources", "lists the sources", sources)
            .answers_json("`{\"sources\": [source]}`"),
    ]
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "pipelines": shared.context.pipelines.pipelines() }))
}

async fn sources(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "sources": shared.context.pipelines.sources() }))
}

async fn graph(State(shared): State<Arc<Shared>>) -> Json<Graph> {
    Json(shared.context.pipelines.graph())
}

async fn describe(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
) -> Result<Json<PipelineView>, ApiError> {
    find(&shared, &name).map(Json)
}

async fn pause(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
) -> Result<Json<PipelineView>, ApiError> {
    shared.context.pipelines.pause(&name)?;
    find(&shared, &name).map(Json)
}

async fn resume(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
) -> Result<Json<PipelineView>, ApiError> {
    shared.context.pipelines.resume(&name)?;
    find(&shared, &name).map(Json)
}

/// The pipeline of this name.
pub(super) fn find(shared: &Shared, name: &str) -> Result<PipelineView, ApiError> {
    let mut pipelines = shared.context.pipelines.pipelines().into_iter();
    pipelines
        .find(|pipeline| pipeline.name == name)
        .ok_or_else(|| UnknownPipeline { name: name.into() }.into())
}
