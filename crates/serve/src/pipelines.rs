//! What the HTTP side asks of the running pipelines.
//!
//! A narrow view: states and numbers to show, and two switches. The binary puts
//! the runtime behind it; tests put a fake. Nothing here knows how a pipeline runs.

use std::fmt;

use courant_model::TopicName;
use serde::Serialize;

/// The pipelines and sources of a running file.
pub trait Pipelines: Send + Sync + fmt::Debug {
    /// Every pipeline, in the order of the file.
    fn pipelines(&self) -> Vec<PipelineView>;

    /// Every source, in the order of the file.
    fn sources(&self) -> Vec<SourceView>;

    /// What feeds what.
    fn graph(&self) -> Graph;

    /// Stops reading; what was read is finished. A paused pipeline stays so.
    ///
    /// # Errors
    /// When there is no such pipeline.
    fn pause(&self, pipeline: &str) -> Result<(), UnknownPipeline>;

    /// Reads on after a pause; a running pipeline stays so.
    ///
    /// # Errors
    /// As [`Pipelines::pause`].
    fn resume(&self, pipeline: &str) -> Result<(), UnknownPipeline>;
}

/// A pipeline as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineView {
    pub name: String,
    /// `starting`, `running`, `paused`, `retrying`, `failed` or `stopped`.
    pub state: String,
    pub group: String,
    pub from: Vec<TopicName>,
    /// Partitions that it reads here.
    pub partitions: usize,
    pub records_in: u64,
    pub records_out: u64,
    pub dead_letters: u64,
    pub dead_letter_topic: TopicName,
    /// Records read a second, over the last seconds.
    pub rate_per_second: f64,
    /// Records that wait in its topics.
    pub lag: i64,
    /// The latest failure, also one that a retry has mended since.
    pub last_error: Option<String>,
    /// Age of records when they were stored, median; `None` before the first one.
    pub freshness_p50_micros: Option<u64>,
    /// The same at the 99th percentile.
    pub freshness_p99_micros: Option<u64>,
}

/// A source as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceView {
    pub name: String,
    pub connector: String,
    pub to: TopicName,
    /// `running`, `retrying`, `finished`, `failed` or `stopped`.
    pub state: String,
    pub records: u64,
    pub rejected: u64,
    /// Records emitted a second, over the last seconds.
    pub rate_per_second: f64,
    pub last_error: Option<String>,
}

/// What feeds what, for a picture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Graph {
    pub nodes: Vec<GraphNode>,
    pub edges: Vec<GraphEdge>,
}

/// A source, topic, pipeline, table, collection or endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphNode {
    /// Unique within the graph: `topic:orders`.
    pub id: String,
    pub kind: String,
    pub name: String,
}

/// Records go from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphEdge {
    pub from: String,
    pub to: String,
}

/// There is no such pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pipeline {name:?} does not exist")]
pub struct UnknownPipeline {
    pub name: String,
}
