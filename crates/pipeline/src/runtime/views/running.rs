//! A view as its tasks and its readers share it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use courant_model::{Offset, Origin, PartitionId, TopicName, limits::VIEW_WATCH_CHANGES};
use courant_sql::stream::Change;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use super::state::ViewState;
use crate::{plan::ViewPlan, runtime::status::PipelineStatus};

/// A view, while the runtime runs.
#[derive(Debug)]
pub(crate) struct RunningView {
    pub(crate) name: String,
    pub(crate) plan: Arc<ViewPlan>,
    partitions: Mutex<BTreeMap<PartitionId, Running>>,
    changes: broadcast::Sender<ViewChange>,
    late: AtomicU64,
    late_counter: metrics::Counter,
}

/// A partition of it.
#[derive(Debug)]
struct Running {
    state: Arc<ViewState>,
    /// Microseconds; [`i64::MIN`]: unknown.
    watermark: i64,
    rebuild: Option<Rebuild>,
}

/// A change of a view's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewChange {
    /// The row's key: the text of a single text column, else a JSON object of the key
    /// columns; `None` where rows are only added.
    pub key: Option<Bytes>,
    /// The row as a JSON object; `None`: it is gone.
    pub row: Option<Bytes>,
    /// The largest event time that contributed, in microseconds.
    pub event_time_micros: i64,
    /// The oldest change that contributed.
    pub origin: Option<Origin>,
}

/// A view's status: what it has in common with pipelines, and its own.
#[derive(Debug, Clone, Serialize)]
pub struct ViewStatus {
    #[serde(flatten)]
    pub task: PipelineStatus,
    pub sql: String,
    /// The topic of the results.
    pub to: TopicName,
    /// Columns that identify a row of the store, a window's last; `None`: there is no store.
    pub key: Option<Vec<String>>,
    /// How far event time has come, in microseconds since the epoch: the least of the
    /// partitions here; `None` before it is known.
    pub watermark_micros: Option<i64>,
    /// Records since the start that came too late.
    pub late: u64,
    /// Why and from how many records the state is built anew since the start.
    pub rebuild: Option<Rebuild>,
}

/// A state that is built anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuild {
    pub why: &'static str,
    /// Records that are read for it.
    pub records: i64,
}

impl RunningView {
    pub(crate) fn new(name: &str, plan: &ViewPlan) -> Self {
        Self {
            name: name.to_owned(),
            plan: Arc::new(plan.clone()),
            partitions: Mutex::default(),
            changes: broadcast::Sender::new(VIEW_WATCH_CHANGES),
            late: AtomicU64::default(),
            late_counter: metrics::counter!("courant_view_late_total", "view" => name.to_owned()),
        }
    }

    pub(super) fn begins(&self, partition: PartitionId, state: &Arc<ViewState>) {
        let running = Running { state: Arc::clone(state), watermark: i64::MIN, rebuild: None };
        self.partitions.lock().insert(partition, running);
    }

    pub(super) fn ends(&self, partition: PartitionId) {
        self.partitions.lock().remove(&partition);
    }

    pub(super) fn rebuilds(&self, partition: PartitionId, why: &'static str, records: Offset) {
        if let Some(running) = self.partitions.lock().get_mut(&partition) {
            running.rebuild = Some(Rebuild { why, records });
        }
    }

    pub(super) fn progressed(&self, partition: PartitionId, watermark: i64, late: usize) {
        if let Some(running) = self.partitions.lock().get_mut(&partition) {
            running.watermark = watermark;
        }
        self.late.fetch_add(late as u64, Relaxed);
        self.late_counter.increment(late as u64);
    }

    /// Tells the watchers.
    pub(super) fn tell(&self, changes: Vec<Change>) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        for change in changes {
            // Nobody may be left to hear it.
            let _ = self.changes.send(ViewChange {
                key: change.record_key,
                row: change.value,
                event_time_micros: change.event_time_micros,
                origin: change.origin,
            });
        }
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<ViewChange> {
        self.changes.subscribe()
    }

    /// The states of the partitions that run here, by their numbers.
    pub(super) fn states(&self) -> Vec<(PartitionId, Arc<ViewState>)> {
        let partitions = self.partitions.lock();
        partitions.iter().map(|(number, one)| (*number, Arc::clone(&one.state))).collect()
    }

    pub(crate) fn status(&self, task: PipelineStatus) -> ViewStatus {
        let partitions = self.partitions.lock();
        let watermark = partitions.values().map(|running| running.watermark).min();
        let rebuilds = partitions.values().filter_map(|running| running.rebuild.clone());
        let rebuild = rebuilds
            .reduce(|one, other| Rebuild { why: one.why, records: one.records + other.records });
        ViewStatus {
            task,
            sql: self.plan.sql.clone(),
            to: self.plan.to.clone(),
            key: self.plan.key().map(|key| key.into_iter().map(Into::into).collect()),
            watermark_micros: watermark.filter(|watermark| *watermark != i64::MIN),
            late: self.late.load(Relaxed),
            rebuild,
        }
    }
}
