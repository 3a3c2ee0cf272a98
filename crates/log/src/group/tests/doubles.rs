//! Stand-ins for the log: a store and partitions in memory, and a counting owner.
//!
//! [`Owner`] drives a member the way a pipeline does and keeps, across all owners of
//! a test, who holds what: two holders of one partition fail the test at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use courant_model::{
    ManualClock, Offset, Positions, Record, StoredRecord, Timestamp, TopicName, TopicPartition,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    AutoOffsetReset, Committer, GroupChange, GroupMember, LogError, PartitionOffsets,
    PartitionReader, Read, ReadLimit, Subscription, TransactionalProducer,
    group::{Coordinator, GroupOptions, MemberOffsets, PartitionSource, TopicPartitions},
    state::{StateBatch, StateStore},
};

/// Batches in memory; fails on demand.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    pub(super) batches: Mutex<Vec<StateBatch>>,
    pub(super) fails: Mutex<Option<LogError>>,
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn append(&self, batches: Vec<StateBatch>) -> Result<(), LogError> {
        // As a disk would: others get a turn before it answers.
        tokio::task::yield_now().await;
        if let Some(error) = self.fails.lock().clone() {
            return Err(error);
        }
        self.batches.lock().extend(batches);
        Ok(())
    }

    async fn replay(&self, visit: &mut (dyn FnMut(StateBatch) + Send)) -> Result<(), LogError> {
        self.batches.lock().iter().cloned().for_each(visit);
        Ok(())
    }
}

/// Partitions in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryLog {
    partitions: Mutex<BTreeMap<TopicPartition, MemoryPartition>>,
    appended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct MemoryPartition {
    start: Offset,
    values: Vec<String>,
}

impl MemoryPartition {
    fn end(&self) -> Offset {
        self.start + self.values.len() as Offset
    }
}

impl MemoryLog {
    pub(super) fn append(&self, partition: &TopicPartition, value: &str) {
        let mut partitions = self.partitions.lock();
        partitions.entry(partition.clone()).or_default().values.push(value.to_owned());
        drop(partitions);
        self.appended.send_modify(|count| *count += 1);
    }

    /// Removes records from the front, as retention does.
    pub(super) fn trim(&self, partition: &TopicPartition, before: Offset) {
        let mut partitions = self.partitions.lock();
        let partition = partitions.get_mut(partition).unwrap();
        partition.values.drain(..(before - partition.start) as usize);
        partition.start = before;
    }

    fn try_read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        max: usize,
    ) -> Result<Read, LogError> {
        let partitions = self.partitions.lock();
        let none = MemoryPartition::default();
        let found = partitions.get(partition).unwrap_or(&none);
        let (start, end) = (found.start, found.end());
        if !(start..=end).contains(&from) {
            let partition = partition.clone();
            return Err(LogError::OffsetOutOfRange { partition, offset: from, start, end });
        }
        let values = found.values.iter().skip((from - start) as usize).take(max);
        let records: Vec<StoredRecord> = (from..)
            .zip(values)
            .map(|(offset, value)| StoredRecord {
                topic: partition.topic.clone(),
                partition: partition.partition,
                offset,
                record: Record::new(value.clone(), Timestamp::from_millis(0)),
            })
            .collect();
        let next = from + records.len() as Offset;
        Ok(Read { records, next, end })
    }
}

#[async_trait]
impl PartitionSource for MemoryLog {
    async fn partition_offsets(
        &self,
        partition: &TopicPartition,
    ) -> Result<PartitionOffsets, LogError> {
        let partitions = self.partitions.lock();
        let (start, end) = partitions.get(partition).map_or((0, 0), |one| (one.start, one.end()));
        Ok(PartitionOffsets { start, end, last_stable: end, size_bytes: 0 })
    }

    async fn read_partition(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError> {
        let mut appended = self.appended.subscribe();
        loop {
            appended.mark_unchanged();
            let read = self.try_read(partition, from, limit.records)?;
            if !read.records.is_empty() {
                return Ok(read);
            }
            if tokio::time::timeout(limit.wait, appended.changed()).await.is_err() {
                return Ok(read);
            }
        }
    }

    async fn transactional_producer(
        &self,
        _offsets: MemberOffsets,
        id: &str,
        _timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        let why = "records in memory have no transactions".to_owned();
        Err(LogError::InvalidTransactionalId { id: id.to_owned(), why })
    }
}

/// A coordinator with everything around it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) store: Arc<MemoryStore>,
    pub(super) log: Arc<MemoryLog>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) coordinator: Coordinator,
    pub(super) holders: Arc<Holders>,
}

/// Who holds which partition, by group.
pub(super) type Holdings = BTreeMap<(String, TopicPartition), String>;

/// The book that all owners of a test keep together.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub(super) now: watch::Sender<Holdings>,
    /// Every time that a partition had two owners.
    faults: Mutex<Vec<String>>,
}

impl Holders {
    /// Waits until the holdings are as wanted; whether they ever were.
    pub(super) async fn become_so(&self, wanted: impl Fn(&Holdings) -> bool) -> bool {
        let mut now = self.now.subscribe();
        let found = tokio::time::timeout(Duration::from_secs(600), now.wait_for(|now| wanted(now)));
        let found = found.await.is_ok();
        assert_eq!(*self.faults.lock(), Vec::<String>::new());
        found
    }
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub(super) fn at(name: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic(name), partition)
}

pub(super) fn topics(counts: &[(&str, i32)]) -> TopicPartitions {
    counts.iter().map(|&(name, count)| (topic(name), count)).collect()
}

impl World {
    pub(super) async fn new(counts: &[(&str, i32)]) -> Self {
        Self::with(counts, GroupOptions::default()).await
    }

    pub(super) async fn with(counts: &[(&str, i32)], options: GroupOptions) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
        Self::over(Arc::default(), Arc::default(), clock, counts, options).await
    }

    /// The same disk and log after a restart.
    pub(super) async fn restart(self, counts: &[(&str, i32)]) -> Self {
        self.coordinator.close().await.unwrap();
        Self::over(self.store, self.log, self.clock, counts, GroupOptions::default()).await
    }

    async fn over(
        store: Arc<MemoryStore>,
        log: Arc<MemoryLog>,
        clock: Arc<ManualClock>,
        counts: &[(&str, i32)],
        options: GroupOptions,
    ) -> Self {
        let coordinator = Coordinator::open(
            Arc::clone(&store) as _,
            topics(counts),
            Arc::clone(&clock) as _,
            options,
        )
        .await
        .unwrap();
        Self { store, log, clock, coordinator, holders: Arc::default() }
    }

    pub(super) fn member(
        &self,
        subscription: Subscription,
    ) -> Result<Box<dyn GroupMember>, LogError> {
        self.coordinator.subscribe(Arc::clone(&self.log) as _, subscription)
    }

    /// An owner in group "g" that reads topic "t".
    pub(super) fn owner(&self, name: &str) -> Owner {
        self.owner_of(name, subscription("g"))
    }

    pub(super) fn owner_of(&self, name: &str, mut subscription: Subscription) -> Owner {
        name.clone_into(&mut subscription.client_id);
        let group = subscription.group.clone();
        let member = self.member(subscription).unwrap();
        Owner::start(name, &group, member, Arc::clone(&self.holders))
    }

    /// Waits until the group's partitions are held as told: name and partitions.
    pub(super) async fn held(&self, group: &str, wanted: &[(&str, usize)]) {
        let wanted: BTreeMap<&str, usize> = wanted.iter().copied().collect();
        let as_wanted = |holdings: &Holdings| {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for (_, name) in holdings.iter().filter(|((of, _), _)| of == group) {
                *counts.entry(name).or_default() += 1;
            }
            counts == wanted
        };
        let found = self.holders.become_so(as_wanted).await;
        assert!(found, "wanted {wanted:?}, held {:?}", self.holders.now.borrow());
    }

    pub(super) fn committed(&self, group: &str, partition: &TopicPartition) -> Option<Offset> {
        self.coordinator.committed(group).get(partition).map(|committed| committed.offset)
    }
}

pub(super) fn subscription(group: &str) -> Subscription {
    Subscription {
        group: group.into(),
        topics: vec![topic("t")],
        client_id: "client".into(),
        instance_id: None,
        session_timeout: Duration::from_secs(10),
        reset: AutoOffsetReset::Earliest,
    }
}

/// A task that owns a membership: it keeps book of what it holds, reads every record
/// and commits after each; what it read is there to see.
#[derive(Debug)]
pub(super) struct Owner {
    task: tokio::task::JoinHandle<()>,
    pub(super) committer: Box<dyn Committer>,
    pub(super) seen: Arc<watch::Sender<Vec<String>>>,
    pub(super) changes: Arc<Mutex<Vec<String>>>,
}

impl Owner {
    fn start(name: &str, group: &str, member: Box<dyn GroupMember>, holders: Arc<Holders>) -> Self {
        let committer = member.committer();
        let seen: Arc<watch::Sender<Vec<String>>> = Arc::default();
        let changes: Arc<Mutex<Vec<String>>> = Arc::default();
        let book = Book {
            name: name.into(),
            group: group.into(),
            holders,
            seen: Arc::clone(&seen),
            changes: Arc::clone(&changes),
        };
        let task = tokio::spawn(book.keep(member));
        Self { task, committer, seen, changes }
    }

    /// Stops without another word: the membership is dropped where it is.
    pub(super) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Waits until this many records were read.
    pub(super) async fn has_seen(&self, count: usize) -> Vec<String> {
        let mut seen = self.seen.subscribe();
        let read = seen.wait_for(|seen| seen.len() >= count);
        let read = tokio::time::timeout(Duration::from_secs(600), read).await;
        read.expect("the records are read").unwrap().clone()
    }
}

struct Book {
    name: String,
    group: String,
    holders: Arc<Holders>,
    seen: Arc<watch::Sender<Vec<String>>>,
    changes: Arc<Mutex<Vec<String>>>,
}

impl Book {
    async fn keep(self, mut member: Box<dyn GroupMember>) {
        let mut readers: BTreeMap<TopicPartition, tokio::task::JoinHandle<()>> = BTreeMap::new();
        let _entries = Entries {
            group: self.group.clone(),
            name: self.name.clone(),
            holders: Arc::clone(&self.holders),
        };
        while let Ok(change) = member.next_change().await {
            match change {
                GroupChange::Assigned(assigned) => {
                    let names: BTreeSet<String> =
                        assigned.iter().map(|r| r.partition().to_string()).collect();
                    self.note("+", names);
                    for reader in assigned {
                        self.enter(reader.partition());
                        let partition = reader.partition().clone();
                        let reading = read_all(reader, member.committer(), Arc::clone(&self.seen));
                        readers.insert(partition, tokio::spawn(reading));
                    }
                }
                GroupChange::Revoked(gone) | GroupChange::Lost(gone) => {
                    self.note("-", gone.iter().map(ToString::to_string).collect());
                    for partition in gone {
                        if let Some(reading) = readers.remove(&partition) {
                            reading.abort();
                            let _ = reading.await;
                        }
                        self.strike(&partition);
                    }
                }
            }
        }
    }

    fn note(&self, sign: &str, partitions: BTreeSet<String>) {
        let all: Vec<String> = partitions.into_iter().collect();
        self.changes.lock().push(format!("{sign}{}", all.join(",")));
    }

    fn enter(&self, partition: &TopicPartition) {
        let key = (self.group.clone(), partition.clone());
        self.holders.now.send_modify(|holdings| {
            if let Some(other) = holdings.insert(key, self.name.clone()) {
                let fault = format!("{partition} belongs to {other} and to {}", self.name);
                self.holders.faults.lock().push(fault);
            }
        });
    }

    fn strike(&self, partition: &TopicPartition) {
        let key = (self.group.clone(), partition.clone());
        self.holders.now.send_modify(|holdings| drop(holdings.remove(&key)));
    }
}

/// Strikes an owner out when its task ends. Declared after the member, so dropped
/// before it: nobody can hold a partition before it is struck out here.
struct Entries {
    group: String,
    name: String,
    holders: Arc<Holders>,
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.holders.now.send_modify(|holdings| {
            holdings.retain(|(group, _), name| *group != self.group || *name != self.name);
        });
    }
}

async fn read_all(
    mut reader: Box<dyn PartitionReader>,
    committer: Box<dyn Committer>,
    seen: Arc<watch::Sender<Vec<String>>>,
) {
    while let Ok(read) = reader.next(100, 1 << 20).await {
        let values = read
            .records
            .iter()
            .map(|one| String::from_utf8(one.record.value.clone().unwrap().to_vec()).unwrap());
        let values: Vec<String> = values.collect();
        seen.send_modify(|seen| seen.extend(values));
        let positions = Positions::from([(reader.partition().clone(), read.next)]);
        if committer.commit(&positions, "").await.is_err() {
            return;
        }
    }
}
