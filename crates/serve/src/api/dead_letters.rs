//! Dead letters: what was set aside, why, and the way back.
//!
//! A dead letter is a record of a pipeline's dead-letter topic: the original bytes,
//! with headers that say what went wrong where. Sending one back appends the original
//! to the topic that it came from and writes down in the history that this was done,
//! so that nobody does it twice unaware. A crash between the two leaves the letter
//! sent and not written down: it is never lost, it may be sent again.

use std::sync::Arc;

use axum::{Json, extract::State};
use courant_log::{LogError, ReadLimit};
use courant_model::{
    Offset, PartitionId, Position, Record, StoredRecord, Timestamp, TopicName, TopicPartition,
    limits,
};
use courant_stores::{CollectionSpec, Filter, HistoryWrite};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{pipelines, records::read};
use crate::{
    context::Shared,
    error::ApiError,
    extract::{self, JsonBody, Params, Segments},
    record_json::RecordJson,
    start::{Start, token},
    table::Route,
};

/// Headers of a dead letter begin so; they stay behind when it is sent back.
const ERROR_HEADERS: &str = "courant-error";
const WHY: &str = "courant-error";
const STEP: &str = "courant-error-step";
const SOURCE: &str = "courant-error-source";
const TIME: &str = "courant-error-time";
/// The original's own timestamp, in milliseconds.
const TIMESTAMP: &str = "courant-error-timestamp";
/// Header of a record that was sent back: the dead letter's place.
const REDRIVEN_FROM: &str = "courant-redriven-from";
/// The collection that says what was sent back; ids are places of dead letters.
const REDRIVEN: &str = "courant.redriven";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/dead-letters", "lists the pipelines' dead-letter topics", list)
            .answers_json("`{\"dead_letters\": [{\"pipeline\", \"topic\", \"records\"}]}`"),
        Route::get("/api/v1/dead-letters/{pipeline}", "reads dead letters", letters)
            .query::<LettersQuery>()
            .answers_json("`{\"records\": [{\"error\", \"step\", \"source\", \"time\", \"redriven\", \"record\"}], \"next\": token}`"),
        Route::post("/api/v1/dead-letters/{pipeline}/redrive", "sends dead letters back to their topic", redrive)
            .body::<Redrive>("which ones")
            .answers_json("`{\"redriven\": [{\"from\", \"to\"}]}`"),
    ]
}

/// Which dead letters to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LettersQuery {
    /// `earliest`, `latest` (default: the newest, newest first), a time, or a token.
    from: Option<String>,
    /// Records at most; 100 unless given, 1,000 at most.
    limit: Option<usize>,
}

/// Which dead letters to send back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Redrive {
    /// Places within the dead-letter topic, 1,000 at most.
    records: Vec<Place>,
    /// Sends also what was sent back before.
    #[serde(default)]
    again: bool,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Place {
    partition: PartitionId,
    offset: Offset,
}

/// A dead letter as it is shown.
#[derive(Debug, Serialize)]
struct Letter {
    error: Option<String>,
    step: Option<String>,
    /// Place of the original, `orders-3@1042`; or the source that refused an input.
    source: Option<String>,
    time: Option<String>,
    redriven: bool,
    record: RecordJson,
}

async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    let mut all = Vec::new();
    for pipeline in shared.context.pipelines.pipelines() {
        let topic = pipeline.dead_letter_topic;
        let records: i64 = match shared.log().topic(&topic).await {
            Ok(topic) => topic.partitions.iter().map(|at| at.end - at.start).sum(),
            // The topic comes with the first dead letter.
            Err(LogError::UnknownTopic { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        all.push(json!({ "pipeline": pipeline.name, "topic": topic, "records": records }));
    }
    Ok(Json(json!({ "dead_letters": all })))
}

async fn letters(
    State(shared): State<Arc<Shared>>,
    Segments(pipeline): Segments<String>,
    Params(query): Params<LettersQuery>,
) -> Result<Json<Value>, ApiError> {
    let start: Start = query.from.as_deref().unwrap_or("latest").parse()?;
    let limit =
        extract::limit(query.limit, limits::RECORDS_LIMIT_DEFAULT, limits::RECORDS_LIMIT_MAX)?;
    let topic = pipelines::find(&shared, &pipeline)?.dead_letter_topic;
    let topic = match shared.log().topic(&topic).await {
        Err(LogError::UnknownTopic { .. }) => {
            return Ok(Json(json!({ "records": [], "next": null })));
        }
        topic => topic?,
    };
    let partitions: Vec<_> = (0..).zip(&topic.partitions).map(|(partition, _)| partition).collect();
    start.check_partitions(partitions.len())?;
    let wanted = read::Wanted { limit, filter: Filter::All };
    let page = read::page(shared.log(), &topic, &partitions, &start, &wanted).await?;
    let mut letters = Vec::with_capacity(page.records.len());
    for record in &page.records {
        letters.push(Letter {
            error: header(&record.record, WHY),
            step: header(&record.record, STEP),
            source: header(&record.record, SOURCE),
            time: header(&record.record, TIME),
            redriven: was_redriven(&shared, &record.position()).await?,
            record: RecordJson::new(record),
        });
    }
    Ok(Json(json!({ "records": letters, "next": token(&page.next) })))
}

async fn redrive(
    State(shared): State<Arc<Shared>>,
    Segments(pipeline): Segments<String>,
    JsonBody(redrive): JsonBody<Redrive>,
) -> Result<Json<Value>, ApiError> {
    if redrive.records.len() > limits::REDRIVE_RECORDS_MAX {
        return Err(ApiError::invalid_with(
            format!(
                "{} records are more than {}",
                redrive.records.len(),
                limits::REDRIVE_RECORDS_MAX
            ),
            "send them back in several requests",
        ));
    }
    let topic = pipelines::find(&shared, &pipeline)?.dead_letter_topic;
    let _one_at_a_time = shared.redrive.lock().await;
    shared
        .history()
        .ensure_collection(&CollectionSpec { name: REDRIVEN.into(), indexes: Vec::new() })
        .await?;
    // All are looked at before the first is sent, so that a refusal sends none.
    let mut letters = Vec::with_capacity(redrive.records.len());
    for place in &redrive.records {
        let letter = letter_at(&shared, &topic, *place).await?;
        if !redrive.again && was_redriven(&shared, &letter.position()).await? {
            return Err(ApiError::AlreadyRedriven { position: letter.position().to_string() });
        }
        letters.push((home(&letter)?, letter));
    }
    let mut sent = Vec::with_capacity(letters.len());
    for (home, letter) in letters {
        let from = letter.position();
        let to = send_back(&shared, &pipeline, home, letter).await?;
        sent.push(json!({ "from": from, "to": to }));
    }
    Ok(Json(json!({ "redriven": sent })))
}

/// Appends the original to its topic, then writes down that this was done.
async fn send_back(
    shared: &Shared,
    pipeline: &str,
    home: TopicName,
    letter: StoredRecord,
) -> Result<Position, ApiError> {
    let from = letter.position();
    let mut record = letter.record;
    if let Some(millis) = header(&record, TIMESTAMP).and_then(|text| text.parse().ok()) {
        record.timestamp = Timestamp::from_millis(millis);
    }
    record
        .headers
        .retain(|header| !header.name.starts_with(ERROR_HEADERS) && header.name != REDRIVEN_FROM);
    let record = record.with_header(REDRIVEN_FROM, from.to_string());
    let placed = shared.log().append(&home, None, vec![record]).await?;
    let to = placed
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::invalid(format!("dead letter {from} has no record to send")))?;
    let note = json!({
        "pipeline": pipeline,
        "from": from,
        "to": to,
        "at_micros": shared.context.clock.now_micros(),
    });
    let document = note.as_object().cloned().unwrap_or_default();
    let write = HistoryWrite::Upsert { id: from.to_string(), document, version: None };
    for written in shared.history().write(REDRIVEN, vec![write]).await? {
        written?;
    }
    Ok(to)
}

async fn letter_at(
    shared: &Shared,
    topic: &TopicName,
    place: Place,
) -> Result<StoredRecord, ApiError> {
    let partition = TopicPartition::new(topic.clone(), place.partition);
    let limit = ReadLimit { records: 1, bytes: 1, wait: std::time::Duration::ZERO };
    let read = shared.log().read(&partition, place.offset, limit).await?;
    read.records.into_iter().next().filter(|record| record.offset == place.offset).ok_or_else(
        || ApiError::invalid(format!("there is no dead letter at {partition}@{}", place.offset)),
    )
}

/// The topic that a dead letter came from: the beginning of `orders-3@1042`. What a
/// source refused was never in a topic.
fn home(letter: &StoredRecord) -> Result<TopicName, ApiError> {
    let source = header(&letter.record, SOURCE);
    let topic = source.as_deref().and_then(|source| {
        let (partition, offset) = source.rsplit_once('@')?;
        let (topic, partition) = partition.rsplit_once('-')?;
        let numbers = offset.parse::<Offset>().is_ok() && partition.parse::<PartitionId>().is_ok();
        TopicName::new(topic).ok().filter(|_| numbers)
    });
    topic.ok_or_else(|| {
        ApiError::invalid(format!(
            "dead letter {} does not say which topic it came from",
            letter.position()
        ))
    })
}

async fn was_redriven(shared: &Shared, position: &Position) -> Result<bool, ApiError> {
    match shared.history().get(REDRIVEN, &position.to_string()).await {
        Ok(note) => Ok(note.is_some()),
        Err(courant_stores::StoreError::UnknownCollection { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn header(record: &Record, name: &str) -> Option<String> {
    let value = record.header(name)?.value.as_ref()?;
    Some(String::from_utf8_lossy(value).into_owned())
}
