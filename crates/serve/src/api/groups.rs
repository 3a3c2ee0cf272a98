//! Consumer groups: list, describe with lag, reset, delete.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use courant_log::GroupDescription;
use courant_model::{Offset, PartitionId, Positions, TopicName, TopicPartition};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    context::Shared,
    error::ApiError,
    extract::{JsonBody, Segments},
    start::Start,
    table::Route,
};

pub(super) fn routes() -> Vec<Route> {
    let one = "/api/v1/groups/{group}";
    vec![
        Route::get("/api/v1/groups", "lists the consumer groups", list)
            .answers_json("`{\"groups\": [{\"id\", \"state\", \"members\"}]}`"),
        Route::get(one, "describes a group: members, offsets and lag", describe)
            .answers_json("`{\"id\", \"state\", \"generation\", \"strategy\", \"members\", \"offsets\": [{\"topic\", \"partition\", \"committed\", \"end\", \"lag\"}]}`"),
        Route::post("/api/v1/groups/{group}/reset", "sets a group's offsets; it must have no members", reset)
            .body::<Reset>("where the group is to read on")
            .answers_json("`{\"group\", \"positions\": [{\"topic\", \"partition\", \"before\", \"offset\"}]}`"),
        Route::delete(one, "forgets a group and its offsets; it must have no members", delete)
            .answers(StatusCode::NO_CONTENT, "deleted"),
    ]
}

/// Where a group is to read on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reset {
    /// `earliest`, `latest`, an offset, a time (RFC 3339, or `@` and milliseconds).
    to: To,
    /// Only this topic; also one on which the group has no offsets yet.
    topic: Option<String>,
    /// Only this partition of the topic.
    partition: Option<PartitionId>,
    /// Answers what would be set, and sets nothing.
    #[serde(default)]
    dry_run: bool,
}

/// A start as text, or an offset as a number.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum To {
    Offset(u32),
    Text(String),
}

impl To {
    fn start(&self) -> Result<Start, ApiError> {
        match self {
            Self::Offset(offset) => Ok(Start::Offset((*offset).into())),
            Self::Text(text) => text.parse(),
        }
    }
}

async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "groups": shared.log().groups().await? })))
}

async fn describe(
    State(shared): State<Arc<Shared>>,
    Segments(group): Segments<String>,
) -> Result<Json<GroupDescription>, ApiError> {
    Ok(Json(shared.log().group(&group).await?))
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    Segments(group): Segments<String>,
) -> Result<StatusCode, ApiError> {
    shared.log().delete_group(&group).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reset(
    State(shared): State<Arc<Shared>>,
    Segments(group): Segments<String>,
    JsonBody(reset): JsonBody<Reset>,
) -> Result<Json<Value>, ApiError> {
    let description = shared.log().group(&group).await?;
    let partitions = meant(&shared, &description, &reset).await?;
    let start = reset.to.start()?;
    start.check_partitions(partitions.len())?;
    let mut positions = Positions::new();
    for partition in partitions {
        let offsets = shared.log().offsets(&partition).await?;
        let offset = start.offset(shared.log(), &partition, &offsets).await?;
        // As Kafka's tool does: an offset beyond what is there becomes the nearest end.
        positions.insert(partition, offset.clamp(offsets.start, offsets.end));
    }
    if !reset.dry_run {
        shared.log().reset_group(&group, &positions).await?;
    }
    let shown: Vec<_> =
        positions.iter().map(|(at, offset)| shown(&description, at, *offset)).collect();
    Ok(Json(json!({ "group": group, "positions": shown })))
}

fn shown(group: &GroupDescription, at: &TopicPartition, offset: Offset) -> Value {
    let before =
        group.offsets.iter().find(|known| known.partition == *at).map(|known| known.committed);
    json!({ "topic": at.topic, "partition": at.partition, "before": before, "offset": offset })
}

/// The partitions that a reset means: those of its topic, else all that the group
/// has offsets on.
async fn meant(
    shared: &Shared,
    group: &GroupDescription,
    reset: &Reset,
) -> Result<Vec<TopicPartition>, ApiError> {
    let mut partitions: Vec<_> = match &reset.topic {
        Some(topic) => {
            let topic = shared.log().topic(&TopicName::new(topic)?).await?;
            (0..)
                .zip(&topic.partitions)
                .map(|(partition, _)| TopicPartition::new(topic.name.clone(), partition))
                .collect()
        }
        None => group.offsets.iter().map(|known| known.partition.clone()).collect(),
    };
    if let Some(partition) = reset.partition {
        partitions.retain(|at| at.partition == partition);
    }
    if partitions.is_empty() {
        return Err(ApiError::invalid_with(
            format!("group {:?} has no offsets there to reset", group.id),
            "name a topic and partition that exist",
        ));
    }
    Ok(partitions)
}
