//! Partitions on a disk that loses what was not synced.
//!
//! The helpers here drive a partition as the workers do, one round at a time, so
//! that a test decides what shares a sync. Grouped by what is tested: appends and
//! reads, recovery, retention and compaction, transactions.

mod append;
mod compact;
mod recovery;
mod retention;
mod transactions;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use courant_model::{ByteSize, Clock, ManualClock, Record, Span, Timestamp, TopicName};
use tokio::sync::{Semaphore, oneshot};

use super::*;
use crate::{
    Appended, Durability, ReadLimit,
    batch::{self, BatchSpec, Compression, Marker, OpenBatch, encode},
    disk::fake::FakeDisk,
};

const LIMIT: ReadLimit =
    ReadLimit { records: 10_000, bytes: 1 << 20, wait: std::time::Duration::ZERO };

/// A disk, a clock, and a partition on them that can be opened again.
struct Bench {
    disk: FakeDisk,
    clock: Arc<ManualClock>,
    durability: Durability,
    settings: TopicSettings,
}

type Answer = oneshot::Receiver<Result<Appended, LogError>>;

impl Bench {
    fn new() -> Self {
        let disk = FakeDisk::new();
        disk.create_folders(&folder()).unwrap();
        for parent in folder().ancestors() {
            disk.sync_folder(parent).unwrap();
        }
        Self {
            disk,
            clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_000))),
            durability: Durability::Fsync,
            settings: TopicSettings::default(),
        }
    }

    fn with_segments_of(bytes: u64) -> Self {
        let mut bench = Self::new();
        bench.settings.segment_bytes = ByteSize::from_bytes(bytes);
        bench
    }

    fn try_open(&self) -> Result<(Partition, Vec<RecoveryReport>), LogError> {
        let environment = Environment {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            durability: self.durability,
        };
        let name = TopicPartition::new(TopicName::new("orders").unwrap(), 0);
        Partition::open(environment, name, folder(), Arc::new(self.settings.clone()))
    }

    /// Opens the partition; nothing may have to be cut.
    fn open(&self) -> Partition {
        let (partition, reports) = self.try_open().unwrap();
        assert_eq!(reports, []);
        partition
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn advance(&self, span: Span) -> Timestamp {
        self.clock.advance(span.as_duration());
        self.now()
    }

    fn files(&self, ending: &str) -> Vec<String> {
        let mut names = self.disk.list(&folder()).unwrap();
        names.retain(|name| name.ends_with(ending));
        names
    }
}

fn folder() -> PathBuf {
    PathBuf::from("/data/topics/orders/0")
}

fn log_file(base: i64) -> PathBuf {
    folder().join(format!("{base:020}.log"))
}

fn record(key: &str, value: &str, millis: i64) -> Record {
    Record::new(value.to_owned(), Timestamp::from_millis(millis)).with_key(key.to_owned())
}

fn batch_of(records: &[Record]) -> Bytes {
    let spec = BatchSpec::plain(records.len(), Compression::None);
    encode(&spec, (0..).zip(records)).unwrap().into()
}

/// Queues a batch without running a round.
fn queue(partition: &Partition, bytes: Bytes) -> Answer {
    let header = batch::check(&bytes).unwrap();
    let marker = header
        .is_control()
        .then(|| Marker::of(&OpenBatch::open(&bytes).unwrap()).unwrap())
        .flatten();
    let (answer, answered) = oneshot::channel();
    let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let _ = partition.enqueue(AppendRequest { batch: bytes, header, marker, answer, room });
    answered
}

fn answer(mut answer: Answer) -> Result<Appended, LogError> {
    answer.try_recv().expect("an answer after the round")
}

/// Appends a batch in a round of its own.
fn append(partition: &Partition, bytes: Bytes) -> Result<Appended, LogError> {
    let answered = queue(partition, bytes);
    while partition.run_round(&mut Vec::new()) {}
    answer(answered)
}

/// Appends one record a batch, each with its value as key.
fn append_values(partition: &Partition, values: &[&str]) {
    for value in values {
        append(partition, batch_of(&[record(value, value, 1_000)])).unwrap();
    }
}

/// Every visible record from the start on: offset, key, value.
fn read_all(partition: &Partition) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let (mut found, mut next) = (Vec::new(), partition.start());
    while next < partition.ends().last_stable {
        let read = partition.read(next, LIMIT).unwrap();
        assert!(read.next > next);
        next = read.next;
        found.extend(read.records.into_iter().map(|stored| {
            let Record { key, value, .. } = stored.record;
            (stored.offset, text(key.unwrap_or_default()), value.map(text))
        }));
    }
    found
}

fn values(partition: &Partition) -> Vec<String> {
    read_all(partition).into_iter().filter_map(|(_, _, value)| value).collect()
}
