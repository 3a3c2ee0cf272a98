//! Records of a topic: read, produce, follow, delete.
//!
//! Reading is bounded in records, bytes and in what it looks through for a filter;
//! an answer says where to go on. Following is in `stream::tail`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use courant_log::TopicDescription;
use courant_model::{PartitionId, TopicName, TopicPartition, limits};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    context::Shared,
    error::ApiError,
    extract::{self, Body, Params, Segments},
    record_json::RecordJson,
    start::{Start, token},
    stream::{Topic, tail},
    table::Route,
};

mod produce;
pub(crate) mod read;

const RECORDS: &str = "/api/v1/topics/{topic}/records";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(RECORDS, "reads records, or looks for some by a filter", list)
            .query::<ReadQuery>()
            .answers_json("`{\"records\": [record], \"next\": token}`; `latest` gives the newest, newest first; `next` as `from` goes on"),
        Route::post(RECORDS, "produces records; they are durable when this answers", produce)
            .query::<ProduceQuery>()
            .raw_body(
                produce::MEDIA_TYPES,
                "one JSON value, an array with one record for each item, or NDJSON with one for \
                 each line; with `envelope=true` each is `{\"key\", \"value\", \"headers\", \
                 \"timestamp\"}`, and bytes come as `key_base64` and `value_base64`. Text and \
                 bytes are one record",
            )
            .answers(StatusCode::CREATED, "`{\"count\": n, \"positions\": [{\"partition\", \"offset\"}]}` in the order of the records"),
        Route::delete(RECORDS, "deletes the records of a partition before an offset", delete)
            .query::<DeleteQuery>()
            .answers_json("`{\"topic\", \"partition\", \"start\"}`: the first record that is left"),
        Route::get("/api/v1/topics/{topic}/stream", "follows a topic, event by event", follow)
            .query::<TailQuery>()
            .answers_as(
                "text/event-stream",
                "events `record` with a record; each id is a resume token that `Last-Event-ID` continues after",
            ),
    ]
}

/// Which records to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadQuery {
    /// Only this partition.
    partition: Option<PartitionId>,
    /// `earliest` (default), `latest`, an offset, a time (RFC 3339, or `@` and
    /// milliseconds), or the token of an earlier answer.
    from: Option<String>,
    /// Records at most; 100 unless given, 1,000 at most.
    limit: Option<usize>,
    /// A filter on values that are JSON objects: `{"status": "Shipped"}`.
    filter: Option<String>,
}

/// How to take records in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProduceQuery {
    /// The partition of all; otherwise keys decide.
    partition: Option<PartitionId>,
    /// The key of all, as text; not with `envelope`.
    key: Option<String>,
    /// Whether each item is an envelope around key, value and headers.
    #[serde(default)]
    envelope: bool,
    /// `false` leaves the positions out of the answer.
    positions: Option<bool>,
}

/// Which records to delete.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    partition: PartitionId,
    /// An offset or time, or `latest` for all.
    before: String,
}

/// What to follow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TailQuery {
    /// Only this partition.
    partition: Option<PartitionId>,
    /// As for reading; `latest` unless given. `Last-Event-ID` goes first.
    from: Option<String>,
    /// A filter on values that are JSON objects.
    filter: Option<String>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Segments(topic): Segments<String>,
    Params(query): Params<ReadQuery>,
) -> Result<Json<Value>, ApiError> {
    let topic = shared.log().topic(&TopicName::new(&topic)?).await?;
    let partitions = partitions(&topic, query.partition)?;
    let start: Start = query.from.as_deref().unwrap_or("earliest").parse()?;
    start.check_partitions(partitions.len())?;
    let wanted = read::Wanted {
        limit: extract::limit(
            query.limit,
            limits::RECORDS_LIMIT_DEFAULT,
            limits::RECORDS_LIMIT_MAX,
        )?,
        filter: extract::filter(query.filter.as_deref())?,
    };
    let page = read::page(shared.log(), &topic, &partitions, &start, &wanted).await?;
    let records: Vec<_> = page.records.iter().map(RecordJson::new).collect();
    Ok(Json(json!({ "records": records, "next": token(&page.next) })))
}

async fn produce(
    State(shared): State<Arc<Shared>>,
    Segments(topic): Segments<String>,
    Params(query): Params<ProduceQuery>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let topic = TopicName::new(&topic)?;
    let (partition, positions) = (query.partition, query.positions.unwrap_or(true));
    let mut records =
        produce::records(&extract::media_type(&headers), &body, &query, &*shared.context.clock)?;
    let origin = shared.context.clock.now_origin();
    records.iter_mut().for_each(|record| record.stamp_origin(origin));
    let placed = shared.log().append(&topic, partition, records).await?;
    let mut answer = json!({ "count": placed.len() });
    if positions {
        answer["positions"] = placed
            .iter()
            .map(|at| json!({ "partition": at.partition.partition, "offset": at.offset }))
            .collect();
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    Segments(topic): Segments<String>,
    Params(query): Params<DeleteQuery>,
) -> Result<Json<Value>, ApiError> {
    let topic = shared.log().topic(&TopicName::new(&topic)?).await?;
    partitions(&topic, Some(query.partition))?;
    let partition = TopicPartition::new(topic.name, query.partition);
    let before: Start = query.before.parse()?;
    let offsets = shared.log().offsets(&partition).await?;
    let before = before.offset(shared.log(), &partition, &offsets).await?;
    let start = shared.log().delete_records(&partition, before).await?;
    Ok(Json(json!({
        "topic": partition.topic,
        "partition": partition.partition,
        "start": start,
    })))
}

async fn follow(
    State(shared): State<Arc<Shared>>,
    Segments(topic): Segments<String>,
    Params(query): Params<TailQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let topic = shared.log().topic(&TopicName::new(&topic)?).await?;
    let partitions = partitions(&topic, query.partition)?;
    let from = extract::last_event_id(&headers).or(query.from.as_deref()).unwrap_or("latest");
    let start: Start = from.parse()?;
    start.check_partitions(partitions.len())?;
    let filter = extract::filter(query.filter.as_deref())?;
    let whole = query.partition.is_none();
    tail::open(&shared, Topic { description: topic, partitions, whole }, &start, filter).await
}

/// The partitions that are meant: the one that is named, else all.
fn partitions(
    topic: &TopicDescription,
    asked: Option<PartitionId>,
) -> Result<Vec<PartitionId>, ApiError> {
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    match asked {
        None => Ok((0..count).collect()),
        Some(partition) if (0..count).contains(&partition) => Ok(vec![partition]),
        Some(partition) => Err(courant_log::LogError::UnknownPartition {
            topic: topic.name.clone(),
            partition,
            partitions: count,
        }
        .into()),
    }
}
