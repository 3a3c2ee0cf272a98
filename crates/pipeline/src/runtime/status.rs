//! How the pipelines and sources are doing: for the API, for people, for Prometheus.
//!
//! The tasks count into a meter as they go; a status is a copy of it. A meter holds a
//! fixed amount of memory for each partition, whatever passes through.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use courant_model::{Clock, Offset, Origin, Span, TopicName, TopicPartition};
use parking_lot::Mutex;
use serde::Serialize;

use super::freshness::{Freshness, Rate};

/// A pipeline's status.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineStatus {
    pub name: String,
    pub group: String,
    pub state: TaskState,
    pub from: Vec<TopicName>,
    pub partitions: Vec<PartitionStatus>,
    /// Records read since the start.
    pub records_in: u64,
    /// Events that all targets took, or a route sent away.
    pub records_out: u64,
    pub records_dead: u64,
    /// Records read per second, over the last seconds.
    pub rate_per_second: f64,
    /// Events out per second, over the last seconds.
    pub rate_out_per_second: f64,
    /// Records behind the ends of its partitions, as of the last reads.
    pub lag: i64,
    pub freshness: FreshnessStatus,
    pub dead_letters: TopicName,
    pub last_error: Option<ErrorStatus>,
}

/// A partition that a pipeline reads here.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionStatus {
    #[serde(flatten)]
    pub partition: TopicPartition,
    /// The next offset to read.
    pub position: Offset,
    pub committed: Offset,
    /// The partition's end at the last read.
    pub end: Offset,
}

/// Age of the records, from their origin until every target took them, over the last
/// half to full minute.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct FreshnessStatus {
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// What the file wishes for the 99th percentile.
    pub wished_p99_ms: Option<i64>,
}

/// A source's status.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    pub name: String,
    pub connector: &'static str,
    pub to: TopicName,
    pub state: TaskState,
    pub records: u64,
    pub rejected: u64,
    pub rate_per_second: f64,
    pub last_error: Option<ErrorStatus>,
}

/// What a pipeline or source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    #[default]
    Starting,
    Running,
    /// By hand, until it is resumed.
    Paused,
    /// A target, or a source's outside, fails; it is tried again.
    Retrying,
    /// It cannot go on until somebody changes something.
    Failed,
    /// The source's input ended.
    Finished,
    Stopped,
}

impl TaskState {
    /// The name as it goes into JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

/// The last thing that went wrong; it stays after it was overcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorStatus {
    /// Microseconds since the epoch.
    pub at_micros: i64,
    pub what: String,
}

/// Names of the metrics, with their units.
#[derive(Debug, Clone, Copy)]
enum Metric {
    PipelineRecordsIn,
    PipelineRecordsOut,
    PipelineDeadLetters,
    PipelineRetries,
    PipelineLag,
    PipelineFreshness,
    SourceRecords,
    SourceRejected,
    SourceRetries,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::PipelineRecordsIn => "courant_pipeline_records_in_total",
            Self::PipelineRecordsOut => "courant_pipeline_records_out_total",
            Self::PipelineDeadLetters => "courant_pipeline_dead_letters_total",
            Self::PipelineRetries => "courant_pipeline_retries_total",
            Self::PipelineLag => "courant_pipeline_lag_records",
            Self::PipelineFreshness => "courant_pipeline_freshness_seconds",
            Self::SourceRecords => "courant_source_records_total",
            Self::SourceRejected => "courant_source_rejected_total",
            Self::SourceRetries => "courant_source_retries_total",
        }
    }
}

/// What pipelines and sources have in common: a state, and the last error.
#[derive(Debug)]
pub(crate) struct Health {
    clock: Arc<dyn Clock>,
    state: Mutex<TaskState>,
    last_error: Mutex<Option<ErrorStatus>>,
    retries: metrics::Counter,
}

impl Health {
    fn new(clock: Arc<dyn Clock>, retries: metrics::Counter) -> Self {
        Self { clock, state: Mutex::default(), last_error: Mutex::default(), retries }
    }

    pub(crate) fn state(&self) -> TaskState {
        *self.state.lock()
    }

    /// Enters a state; what has failed stays so.
    pub(crate) fn enter(&self, state: TaskState) {
        let mut current = self.state.lock();
        if *current != TaskState::Failed {
            *current = state;
        }
    }

    /// Goes from one state to another, and from any other nowhere.
    pub(crate) fn change(&self, from: TaskState, to: TaskState) {
        let mut current = self.state.lock();
        if *current == from {
            *current = to;
        }
    }

    pub(crate) fn error(&self, what: impl Into<String>) {
        let error = ErrorStatus { at_micros: self.clock.now_micros(), what: what.into() };
        *self.last_error.lock() = Some(error);
    }

    pub(crate) fn retrying(&self, what: impl Into<String>) {
        self.retries.increment(1);
        self.error(what);
        self.change(TaskState::Running, TaskState::Retrying);
    }

    pub(crate) fn recovered(&self) {
        self.change(TaskState::Retrying, TaskState::Running);
    }

    pub(crate) fn failed(&self, what: impl Into<String>) {
        self.error(what);
        self.enter(TaskState::Failed);
    }

    fn last_error(&self) -> Option<ErrorStatus> {
        self.last_error.lock().clone()
    }
}

/// Counts what a pipeline does.
#[derive(Debug)]
pub(crate) struct PipelineMeter {
    pub(crate) health: Health,
    records: [AtomicU64; 3],
    counters: [metrics::Counter; 3],
    lag: metrics::Gauge,
    ages: metrics::Histogram,
    partitions: Mutex<BTreeMap<TopicPartition, PartitionStatus>>,
    freshness: Mutex<Freshness>,
    /// Of records read, and of events out.
    rates: Mutex<[Rate; 2]>,
}

/// What of a pipeline's status is its plan's.
#[derive(Debug)]
pub(crate) struct PipelineWords<'a> {
    pub(crate) name: &'a str,
    pub(crate) group: &'a str,
    pub(crate) from: &'a [TopicName],
    pub(crate) dead_letters: &'a TopicName,
    pub(crate) wished_p99: Option<Span>,
}

impl PipelineMeter {
    pub(crate) fn new(name: &str, clock: Arc<dyn Clock>) -> Self {
        let counter =
            |metric: Metric| metrics::counter!(metric.name(), "pipeline" => name.to_owned());
        Self {
            health: Health::new(clock, counter(Metric::PipelineRetries)),
            records: Default::default(),
            counters: [
                counter(Metric::PipelineRecordsIn),
                counter(Metric::PipelineRecordsOut),
                counter(Metric::PipelineDeadLetters),
            ],
            lag: metrics::gauge!(Metric::PipelineLag.name(), "pipeline" => name.to_owned()),
            ages: metrics::histogram!(Metric::PipelineFreshness.name(), "pipeline" => name.to_owned()),
            partitions: Mutex::default(),
            freshness: Mutex::default(),
            rates: Mutex::default(),
        }
    }

    /// Counts a batch that was delivered: records read, events out, records set aside.
    pub(crate) fn delivered(&self, read: usize, out: usize, dead: usize) {
        for (index, count) in [read, out, dead].into_iter().enumerate() {
            self.records[index].fetch_add(count as u64, Relaxed);
            self.counters[index].increment(count as u64);
        }
        let now = self.health.clock.now_micros();
        let mut rates = self.rates.lock();
        rates[0].count(read as u64, now);
        rates[1].count(out as u64, now);
    }

    /// Notes the age of events that every target took.
    pub(crate) fn fresh(&self, origins: impl Iterator<Item = Origin>) {
        let now = self.health.clock.now_origin();
        let mut freshness = self.freshness.lock();
        for origin in origins {
            let age = origin.age_micros(now);
            freshness.record(age, now.as_micros());
            self.ages.record(age as f64 / 1e6);
        }
    }

    pub(crate) fn partition(&self, status: PartitionStatus) {
        let mut partitions = self.partitions.lock();
        partitions.insert(status.partition.clone(), status);
        self.lag.set(lag_of(partitions.values()) as f64);
    }

    pub(crate) fn gone(&self, partition: &TopicPartition) {
        let mut partitions = self.partitions.lock();
        partitions.remove(partition);
        self.lag.set(lag_of(partitions.values()) as f64);
    }

    pub(crate) fn status(&self, words: &PipelineWords<'_>, paused: bool) -> PipelineStatus {
        let now = self.health.clock.now_micros();
        let partitions: Vec<_> = self.partitions.lock().values().cloned().collect();
        let [records_in, records_out, records_dead] =
            [0, 1, 2].map(|index| self.records[index].load(Relaxed));
        let rates = {
            let rates = self.rates.lock();
            [rates[0].per_second(now), rates[1].per_second(now)]
        };
        let mut freshness = self.freshness.lock();
        let mut quantile =
            |share| freshness.quantile(share, now).map(|micros| micros as f64 / 1_000.0);
        let state = match self.health.state() {
            TaskState::Starting | TaskState::Running | TaskState::Retrying if paused => {
                TaskState::Paused
            }
            state => state,
        };
        PipelineStatus {
            name: words.name.to_owned(),
            group: words.group.to_owned(),
            state,
            from: words.from.to_vec(),
            lag: lag_of(partitions.iter()),
            partitions,
            records_in,
            records_out,
            records_dead,
            rate_per_second: rates[0],
            rate_out_per_second: rates[1],
            freshness: FreshnessStatus {
                p50_ms: quantile(0.5),
                p99_ms: quantile(0.99),
                wished_p99_ms: words.wished_p99.map(Span::as_millis),
            },
            dead_letters: words.dead_letters.clone(),
            last_error: self.health.last_error(),
        }
    }
}

fn lag_of<'a>(partitions: impl Iterator<Item = &'a PartitionStatus>) -> i64 {
    partitions.map(|status| (status.end - status.position).max(0)).sum()
}

/// Counts what a source does.
#[derive(Debug)]
pub(crate) struct SourceMeter {
    pub(crate) health: Health,
    records: AtomicU64,
    rejected: AtomicU64,
    counters: [metrics::Counter; 2],
    rate: Mutex<Rate>,
}

impl SourceMeter {
    pub(crate) fn new(name: &str, clock: Arc<dyn Clock>) -> Self {
        let counter =
            |metric: Metric| metrics::counter!(metric.name(), "source" => name.to_owned());
        Self {
            health: Health::new(clock, counter(Metric::SourceRetries)),
            records: AtomicU64::default(),
            rejected: AtomicU64::default(),
            counters: [counter(Metric::SourceRecords), counter(Metric::SourceRejected)],
            rate: Mutex::default(),
        }
    }

    pub(crate) fn emitted(&self, records: usize) {
        self.records.fetch_add(records as u64, Relaxed);
        self.counters[0].increment(records as u64);
        self.rate.lock().count(records as u64, self.health.clock.now_micros());
    }

    pub(crate) fn rejected(&self, why: &str) {
        self.rejected.fetch_add(1, Relaxed);
        self.counters[1].increment(1);
        self.health.error(why);
    }

    pub(crate) fn status(
        &self,
        name: &str,
        connector: &'static str,
        to: &TopicName,
    ) -> SourceStatus {
        SourceStatus {
            name: name.to_owned(),
            connector,
            to: to.clone(),
            state: self.health.state(),
            records: self.records.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            rate_per_second: self.rate.lock().per_second(self.health.clock.now_micros()),
            last_error: self.health.last_error(),
        }
    }
}
