//! What the tests of this crate share: records, and plans built by hand.
//!
//! Documents are `{"n": 0}` and so on, so that what arrived can be counted and
//! compared. Compiled for tests only.

use std::sync::LazyLock;

use courant_log::{AutoOffsetReset, Durability, TopicSettings};
use courant_model::{
    ByteSize, Column, Columns, Record, Span, Timestamp, TopicName, limits::CHECKPOINT_MS_DEFAULT,
};
use serde_json::{Value, json};

use crate::plan::{ErrorPlan, Guarantee, PipelinePlan, Plan, StepPlan, TargetPlan, TopicPlan};

pub(crate) fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

pub(crate) fn record(value: &Value) -> Record {
    Record::new(value.to_string(), Timestamp::from_millis(1_767_225_600_000))
}

/// Documents `{"n": 0}` and so on.
pub(crate) fn numbers(range: std::ops::Range<u64>) -> impl Iterator<Item = Value> {
    range.map(|n| json!({ "n": n }))
}

/// The field `n` of documents, sorted.
pub(crate) fn sorted_numbers<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        documents.into_iter().map(|document| document["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

pub(crate) fn sql(text: &str) -> StepPlan {
    StepPlan::Sql { text: text.into() }
}

pub(crate) fn history(collection: &str, id: Option<&str>) -> TargetPlan {
    let id = id.map(|id| id.parse().unwrap());
    TargetPlan::History { collection: collection.into(), id, indexes: Vec::new() }
}

pub(crate) fn topic(partitions: i32, columns: Option<Columns>) -> TopicPlan {
    let settings = TopicSettings::default();
    TopicPlan { partitions, settings, columns, event_time: None, declared: true }
}

pub(crate) fn pipeline(
    from: &str,
    steps: impl IntoIterator<Item = StepPlan>,
    to: impl IntoIterator<Item = TargetPlan>,
) -> PipelinePlan {
    PipelinePlan {
        from: vec![name(from)],
        group: String::new(),
        start: AutoOffsetReset::Earliest,
        guarantee: Guarantee::AtLeastOnce,
        steps: steps.into_iter().collect(),
        to: to.into_iter().collect(),
        on_error: ErrorPlan { retries: 2, dead_letters: name("dead") },
        freshness_p99: None,
        linger: Span::default(),
        checkpoint: Span::from_millis(CHECKPOINT_MS_DEFAULT),
    }
}

/// A plan with these pipelines; each is its own group, and reads a topic of one
/// partition unless the test says otherwise.
pub(crate) fn plan<'a>(pipelines: impl IntoIterator<Item = (&'a str, PipelinePlan)>) -> Plan {
    let mut plan = Plan::without_pipelines("test", Durability::Os);
    plan.memory = ByteSize::from_bytes(64 << 20);
    for (name, mut pipeline) in pipelines {
        if pipeline.group.is_empty() {
            pipeline.group = format!("test.{name}");
        }
        plan.pipelines.insert(name.into(), pipeline);
    }
    plan
}

/// Columns of the documents of [`numbers`].
pub(crate) static N: LazyLock<Columns> =
    LazyLock::new(|| [Column::parse("n", "int64 not null").unwrap()].into_iter().collect());
