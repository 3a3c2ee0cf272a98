//! What the HTTP side asks of the running pipelines.
//!
//! A narrow view: states and numbers to show, and two switches. The runtime is behind
//! it; tests put a fake. The views are the API's shapes and stay when the runtime's
//! own change.

use std::fmt;

use courant_model::TopicName;
use courant_pipeline::{
    plan::{self, Graph},
    runtime::{PipelineStatus, Runtime, SourceStatus, TaskState, UnknownPipeline},
};
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
    pub state: TaskState,
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
    pub connector: &'static str,
    pub to: TopicName,
    pub state: TaskState,
    pub records: u64,
    pub rejected: u64,
    /// Records emitted a second, over the last seconds.
    pub rate_per_second: f64,
    /// The latest failure, also one that a retry has mended since.
    pub last_error: Option<String>,
}

impl Pipelines for Runtime {
    fn pipelines(&self) -> Vec<PipelineView> {
        Self::pipelines(self).into_iter().map(Into::into).collect()
    }

    fn sources(&self) -> Vec<SourceView> {
        Self::sources(self).into_iter().map(Into::into).collect()
    }

    fn graph(&self) -> Graph {
        plan::graph(self.plan())
    }

    fn pause(&self, pipeline: &str) -> Result<(), UnknownPipeline> {
        Self::pause(self, pipeline)
    }

    fn resume(&self, pipeline: &str) -> Result<(), UnknownPipeline> {
        Self::resume(self, pipeline)
    }
}

impl From<PipelineStatus> for PipelineView {
    fn from(status: PipelineStatus) -> Self {
        Self {
            name: status.name,
            state: status.state,
            group: status.group,
            from: status.from,
            partitions: status.partitions.len(),
            records_in: status.records_in,
            records_out: status.records_out,
            dead_letters: status.records_dead,
            dead_letter_topic: status.dead_letters,
            rate_per_second: status.rate_per_second,
            lag: status.lag,
            last_error: status.last_error.map(|error| error.what),
            freshness_p50_micros: status.freshness.p50_ms.map(micros),
            freshness_p99_micros: status.freshness.p99_ms.map(micros),
        }
    }
}

impl From<SourceStatus> for SourceView {
    fn from(status: SourceStatus) -> Self {
        Self {
            name: status.name,
            connector: status.connector,
            to: status.to,
            state: status.state,
            records: status.records,
            rejected: status.rejected,
            rate_per_second: status.rate_per_second,
            last_error: status.last_error.map(|error| error.what),
        }
    }
}

/// Whole microseconds; a conversion of floats saturates.
fn micros(millis: f64) -> u64 {
    (millis * 1_000.0).round() as u64
}
