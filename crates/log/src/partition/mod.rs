//! A partition: segments in a row, one writer, many readers.
//!
//! Appends queue up ([`Partition::enqueue`]); a worker takes what has gathered,
//! writes it, syncs once for all and answers (`append`). Readers look at segments
//! by position, up to the end that was published (`read`). Old records go by
//! `retention` and `compact`; `recovery` opens what a crash left.
//!
//! Invariant: the published end (Kafka's high watermark) lies at a batch boundary
//! and, with [`Durability::Fsync`], never above what is synced. Nothing here is
//! asynchronous: callers keep the blocking calls off the runtime's threads.

mod append;
mod compact;
mod files;
mod producers;
mod read;
mod recovery;
mod retention;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use courant_model::{Clock, Offset, TopicPartition};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub(crate) use self::append::AppendRequest;
pub use self::append::LEADER_EPOCH;
use self::{append::Queue, files::StateFile, producers::Producers, read::Hints};
pub use self::{producers::AbortedTransaction, read::Fetched, recovery::RecoveryReport};
use crate::{
    Durability, LogError, PartitionOffsets, ProducerDescription, ProducerIdentity, TopicSettings,
    disk::{Disk, doing},
    segment::{Segment, SegmentError},
};

/// What partitions share.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
}

/// One partition, open.
#[derive(Debug)]
pub(crate) struct Partition {
    name: TopicPartition,
    folder: PathBuf,
    environment: Environment,
    settings: RwLock<Arc<TopicSettings>>,
    queue: Mutex<Queue>,
    /// Held for a whole round of appends, its sync included. Taken before `state`
    /// and `segments`.
    writer: Mutex<Writer>,
    state: Mutex<StateFile>,
    /// The start that `state` holds, for readers, who must not wait for the disk.
    start: AtomicI64,
    segments: RwLock<BTreeMap<Offset, Arc<Segment>>>,
    ends: watch::Sender<Ends>,
    aborted: RwLock<Arc<Vec<AbortedTransaction>>>,
    /// The epoch of every producer whose transaction takes this partition in, until its
    /// marker comes. Looked at where a batch gets its place, so that none can come
    /// between the marker and the end of its transaction.
    admitted: Mutex<BTreeMap<i64, i16>>,
    hints: Mutex<Hints>,
    /// One removal or compaction at a time. Taken before all others.
    upkeep: Mutex<()>,
}

/// How far readers may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// One past the last durable record: Kafka's high watermark.
    pub end: Offset,
    /// First offset of an open transaction, else `end`.
    pub last_stable: Offset,
    /// The partition takes no more calls.
    pub stopped: Option<Stop>,
}

/// Why a partition stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The log was closed.
    Closed,
    /// The topic was deleted.
    Deleted,
}

#[derive(Debug)]
struct Writer {
    active: Arc<Segment>,
    /// Offset of the next record to be written.
    next: Offset,
    producers: Producers,
    /// Closed segments that are not yet synced and indexed.
    unsealed: Vec<Arc<Segment>>,
    /// The active segment holds bytes that were not synced.
    unsynced: bool,
    /// The active segment's name may not be durable yet. That is left to the first
    /// append, so that a topic of many partitions is created quickly.
    folder_unsynced: bool,
    /// Set once a sync failed: the kernel may have dropped what it could not write,
    /// so that a later sync that succeeds would prove nothing.
    failed: Option<Arc<io::Error>>,
}

impl Partition {
    pub(crate) const fn name(&self) -> &TopicPartition {
        &self.name
    }

    pub(crate) fn settings(&self) -> Arc<TopicSettings> {
        Arc::clone(&self.settings.read())
    }

    pub(crate) fn set_settings(&self, settings: Arc<TopicSettings>) {
        *self.settings.write() = settings;
    }

    /// Follows the ends; a receiver sees every later change.
    pub(crate) fn watch(&self) -> watch::Receiver<Ends> {
        self.ends.subscribe()
    }

    pub(crate) fn ends(&self) -> Ends {
        *self.ends.borrow()
    }

    /// The first offset that is still there.
    pub(crate) fn start(&self) -> Offset {
        self.start.load(Ordering::Acquire)
    }

    pub(crate) fn offsets(&self) -> PartitionOffsets {
        let Ends { end, last_stable, .. } = self.ends();
        let start = self.start().min(end);
        let size_bytes = self.segments.read().values().map(|segment| segment.bytes()).sum();
        PartitionOffsets { start, end, last_stable, size_bytes }
    }

    /// Lets a producer's transactional batches in until its next marker.
    pub(crate) fn admit(&self, producer: ProducerIdentity) {
        self.admitted.lock().insert(producer.id, producer.epoch);
    }

    /// The idempotent producers that are remembered. Waits for a round of appends.
    pub(crate) fn producers(&self) -> Vec<ProducerDescription> {
        self.writer.lock().producers.describe()
    }

    /// Who has an open transaction. Waits for a round of appends.
    pub(crate) fn open_transactions(&self) -> Vec<ProducerIdentity> {
        self.writer.lock().producers.open().collect()
    }

    /// Fails once the partition has stopped.
    pub(crate) fn check_running(&self) -> Result<(), LogError> {
        match self.ends().stopped {
            None => Ok(()),
            Some(stop) => Err(self.stopped(stop)),
        }
    }

    fn stopped(&self, stop: Stop) -> LogError {
        match stop {
            Stop::Closed => LogError::Closed,
            Stop::Deleted => LogError::UnknownTopic { topic: self.name.topic.clone() },
        }
    }

    /// Publishes the writer's state to readers and wakes them.
    fn publish(&self, writer: &Writer) {
        self.publish_aborted(writer);
        let end = writer.next;
        let last_stable = writer.producers.first_open().unwrap_or(end).min(end);
        self.ends.send_if_modified(|ends| {
            let changed = (ends.end, ends.last_stable) != (end, last_stable);
            (ends.end, ends.last_stable) = (end, last_stable);
            changed
        });
    }

    fn publish_aborted(&self, writer: &Writer) {
        if self.aborted.read().len() != writer.producers.aborted().len() {
            *self.aborted.write() = Arc::new(writer.producers.aborted().to_vec());
        }
    }

    fn storage_error(&self, verb: &str, error: io::Error) -> LogError {
        LogError::storage(doing(verb, &self.folder), error)
    }

    fn segment_error(&self, error: SegmentError) -> LogError {
        match error {
            SegmentError::Io(error) => self.storage_error("reading", error),
            SegmentError::Corrupt { position, error } => LogError::CorruptBatch {
                partition: self.name.clone(),
                why: format!("at byte {position} of its segment {error}"),
            },
        }
    }
}
