//! Topics: list, describe, create, alter, delete.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use courant_log::{TopicChange, TopicDescription, TopicSettings, TopicSpec};
use courant_model::TopicName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    context::Shared,
    error::ApiError,
    extract::{JsonBody, Segments},
    table::Route,
};

pub(super) fn routes() -> Vec<Route> {
    let one = "/api/v1/topics/{topic}";
    vec![
        Route::get("/api/v1/topics", "lists the topics with their partitions' offsets", list)
            .answers_json("`{\"topics\": [topic]}`, by name"),
        Route::post("/api/v1/topics", "creates a topic", create)
            .body::<NewTopic>("the topic; settings that are not named have their defaults")
            .answers(StatusCode::CREATED, "the topic"),
        Route::get(one, "describes a topic", describe)
            .answers_json("`{\"name\", \"id\", \"settings\", \"partitions\": [{\"start\", \"end\", \"last_stable\", \"size_bytes\"}]}`"),
        Route::patch(one, "adds partitions or changes settings", alter)
            .body::<TopicPatch>("what changes; the rest stays")
            .answers_json("the topic"),
        Route::delete(one, "deletes a topic, its records and the offsets of groups on it", delete)
            .answers(StatusCode::NO_CONTENT, "deleted"),
    ]
}

/// A topic to create.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewTopic {
    name: String,
    /// Default 1.
    #[serde(default = "one_partition")]
    partitions: i32,
    /// Settings by name, such as `{"retention_time": "7d"}`.
    #[serde(default)]
    settings: Map<String, Value>,
}

/// A change to a topic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TopicPatch {
    /// The new number of partitions; it can only grow.
    partitions: Option<i32>,
    /// Settings by name; those that are not named stay.
    #[serde(default)]
    settings: Map<String, Value>,
}

const fn one_partition() -> i32 {
    1
}

async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "topics": shared.log().topics().await? })))
}

async fn create(
    State(shared): State<Arc<Shared>>,
    JsonBody(new): JsonBody<NewTopic>,
) -> Result<Response, ApiError> {
    let spec = TopicSpec {
        name: TopicName::new(&new.name)?,
        partitions: new.partitions,
        settings: with_settings(&TopicSettings::default(), new.settings)?,
    };
    let topic = shared.log().create_topic(&spec).await?;
    let location = format!("/api/v1/topics/{}", topic.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(topic)).into_response())
}

async fn describe(
    State(shared): State<Arc<Shared>>,
    Segments(topic): Segments<String>,
) -> Result<Json<TopicDescription>, ApiError> {
    Ok(Json(shared.log().topic(&TopicName::new(&topic)?).await?))
}

async fn alter(
    State(shared): State<Arc<Shared>>,
    Segments(topic): Segments<String>,
    JsonBody(patch): JsonBody<TopicPatch>,
) -> Result<Json<TopicDescription>, ApiError> {
    let topic = TopicName::new(&topic)?;
    let settings = if patch.settings.is_empty() {
        None
    } else {
        let today = shared.log().topic(&topic).await?.settings;
        Some(with_settings(&today, patch.settings)?)
    };
    let change = TopicChange { partitions: patch.partitions, settings };
    Ok(Json(shared.log().alter_topic(&topic, &change).await?))
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    Segments(topic): Segments<String>,
) -> Result<StatusCode, ApiError> {
    shared.log().delete_topic(&TopicName::new(&topic)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Settings with the named ones replaced.
fn with_settings(
    settings: &TopicSettings,
    named: Map<String, Value>,
) -> Result<TopicSettings, ApiError> {
    let fault =
        |error: serde_json::Error| ApiError::invalid(format!("topic settings do not fit: {error}"));
    let mut all = serde_json::to_value(settings).map_err(fault)?;
    if let Some(all) = all.as_object_mut() {
        all.extend(named);
    }
    serde_json::from_value(all).map_err(fault)
}
