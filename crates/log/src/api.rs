//! The log as the rest of Courant sees it: topics, records, groups.
//!
//! Implementations: the embedded log in this crate, a Kafka cluster in `courant-kafka`. The
//! words and the guarantees are Kafka's. Every call may be dropped at any await:
//! an append that was dropped may still have happened, everything else has no
//! half-done effect.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use courant_model::{
    Offset, PartitionId, Position, Positions, Record, StoredRecord, Timestamp, TopicName,
    TopicPartition,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{LogError, TopicSettings};

/// A partitioned, append-only, durable log with consumer groups.
#[async_trait]
pub trait Log: Send + Sync + std::fmt::Debug + 'static {
    /// Creates a topic; its folders are synced before this answers.
    ///
    /// # Errors
    /// [`LogError::TopicExists`], [`LogError::InvalidTopic`], storage failures.
    async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicDescription, LogError>;

    /// All topics, by name.
    ///
    /// # Errors
    /// Storage or connection failures.
    async fn topics(&self) -> Result<Vec<TopicDescription>, LogError>;

    /// One topic.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`].
    async fn topic(&self, name: &TopicName) -> Result<TopicDescription, LogError>;

    /// Adds partitions or changes settings.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::InvalidTopic`] (partitions can only grow).
    async fn alter_topic(
        &self,
        name: &TopicName,
        change: &TopicChange,
    ) -> Result<TopicDescription, LogError>;

    /// Deletes a topic, its records and the offsets that groups keep on it.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`].
    async fn delete_topic(&self, name: &TopicName) -> Result<(), LogError>;

    /// Moves the start of a partition up to `before`; answers the new start.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`],
    /// [`LogError::OffsetOutOfRange`] when `before` lies above the end.
    async fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Offset,
    ) -> Result<Offset, LogError>;

    /// Appends records and answers when they are as durable as the log promises,
    /// with one position for each, in order.
    ///
    /// With `partition: None` each record's partition follows its key (Kafka's
    /// murmur2), and records without a key go together to one partition that
    /// changes from call to call. Records of one call that share a partition form
    /// one batch or several, in order; a call is not atomic across partitions.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`],
    /// [`LogError::RecordTooLarge`], [`LogError::InvalidRecord`] for a record without a
    /// key in a compacted topic (then nothing was appended), storage failures.
    async fn append(
        &self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<Vec<Position>, LogError>;

    /// Reads records from `from` on, waiting up to `limit.wait` for the first one.
    /// Control records and aborted transactions are left out; `next` steps over them.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] below the start or above the end.
    async fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError>;

    /// First, next and last stable offset of a partition.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`].
    async fn offsets(&self, partition: &TopicPartition) -> Result<PartitionOffsets, LogError>;

    /// The first offset whose record's timestamp is `at` or later; `None` past the end.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`].
    async fn offset_at(
        &self,
        partition: &TopicPartition,
        at: Timestamp,
    ) -> Result<Option<Offset>, LogError>;

    /// Joins a consumer group. The first [`GroupMember::next_change`] brings the
    /// partitions.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], or the group's own refusals.
    async fn subscribe(&self, subscription: Subscription)
    -> Result<Box<dyn GroupMember>, LogError>;

    /// All groups, by id.
    ///
    /// # Errors
    /// Storage or connection failures.
    async fn groups(&self) -> Result<Vec<GroupSummary>, LogError>;

    /// One group with members, offsets and lag.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`].
    async fn group(&self, id: &str) -> Result<GroupDescription, LogError>;

    /// Sets a group's offsets by hand; the group must have no members. Metadata of
    /// the changed offsets becomes empty, so that a pipeline sees the hand.
    ///
    /// # Errors
    /// [`LogError::GroupNotEmpty`].
    async fn reset_group(&self, id: &str, positions: &Positions) -> Result<(), LogError>;

    /// Forgets a group and its offsets; the group must have no members.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`], [`LogError::GroupNotEmpty`].
    async fn delete_group(&self, id: &str) -> Result<(), LogError>;

    /// Makes everything appended durable and stops. Later calls fail with
    /// [`LogError::Closed`].
    ///
    /// # Errors
    /// Storage failures.
    async fn close(&self) -> Result<(), LogError>;
}

/// What a topic is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSpec {
    pub name: TopicName,
    /// 1 to [`courant_model::limits::PARTITIONS_PER_TOPIC_MAX`].
    pub partitions: i32,
    pub settings: TopicSettings,
}

/// A change to a topic; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// The new number of partitions; never smaller than today's.
    pub partitions: Option<i32>,
    pub settings: Option<TopicSettings>,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDescription {
    pub name: TopicName,
    /// Stays the same for the topic's life; a topic created again gets another.
    pub id: Uuid,
    pub settings: TopicSettings,
    /// By partition number, without holes.
    pub partitions: Vec<PartitionOffsets>,
}

/// The offsets of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionOffsets {
    /// The first record that is still there.
    pub start: Offset,
    /// One past the last durable record: Kafka's high watermark.
    pub end: Offset,
    /// First offset of an open transaction, else `end`.
    pub last_stable: Offset,
    /// Bytes on disk.
    pub size_bytes: u64,
}

/// How much one read may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    pub records: usize,
    /// At least one record comes, even when it is larger.
    pub bytes: usize,
    /// How long to wait for a record when there is none.
    pub wait: Duration,
}

/// What a read brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub records: Vec<StoredRecord>,
    /// Where to read on; above the last record's offset, also across gaps.
    pub next: Offset,
    /// The partition's end at the time of the read; lag is `end - next`.
    pub end: Offset,
}

/// What an append answered for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub append_time: Timestamp,
}

/// A member's wishes when it joins a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub group: String,
    pub topics: Vec<TopicName>,
    /// Who the member says it is, for people to read.
    pub client_id: String,
    /// Set: a static member; a restart within the session keeps its partitions.
    pub instance_id: Option<String>,
    /// Without a heartbeat for this long a member is out. Default 10 s.
    pub session_timeout: Duration,
    /// Where to begin on a partition without a committed offset.
    pub reset: AutoOffsetReset,
}

/// Where a group begins on a partition without a committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoOffsetReset {
    #[default]
    Earliest,
    Latest,
}

/// A membership in a consumer group. Heartbeats go on by themselves until the
/// member leaves or is dropped; a dropped member leaves its group at once.
#[async_trait]
pub trait GroupMember: Send + std::fmt::Debug {
    /// Waits for the next change of the assignment. After `Revoked` the caller
    /// finishes and commits what it has of these partitions, then calls again:
    /// that call tells the group that they are free.
    ///
    /// # Cancel safety
    /// Safe: a change is handed out once, when the future completes.
    ///
    /// # Errors
    /// [`LogError::Closed`]; storage and connection failures.
    async fn next_change(&mut self) -> Result<GroupChange, LogError>;

    /// A handle that commits for this member from any task.
    fn committer(&self) -> Box<dyn Committer>;

    /// Leaves the group and gives the partitions to the others at once.
    ///
    /// # Errors
    /// Storage and connection failures; the member is gone all the same.
    async fn leave(self: Box<Self>) -> Result<(), LogError>;
}

/// A change of a member's assignment.
#[derive(Debug)]
pub enum GroupChange {
    /// More partitions, each with its reader, positioned at the committed offset.
    Assigned(Vec<Box<dyn PartitionReader>>),
    /// These must be given back; commit for them still works until the next call.
    Revoked(Vec<TopicPartition>),
    /// These are already somebody else's; a commit for them fails.
    Lost(Vec<TopicPartition>),
}

/// Reads one assigned partition in order. Independent of the other partitions, so
/// that one slow partition holds back nobody else.
#[async_trait]
pub trait PartitionReader: Send + std::fmt::Debug {
    fn partition(&self) -> &TopicPartition;

    /// Offset of the next record.
    fn position(&self) -> Offset;

    /// What the group had committed on this partition before, if anything.
    fn committed(&self) -> Option<&Committed>;

    /// Reads on from another offset.
    fn seek(&mut self, to: Offset);

    /// Waits for records without end; never answers an empty read unless `next` moved.
    /// An offset that retention has removed is stepped over, with a warning.
    ///
    /// # Cancel safety
    /// Safe: nothing is skipped.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`] once the topic is deleted; storage failures.
    async fn next(&mut self, records_max: usize, bytes_max: usize) -> Result<Read, LogError>;
}

/// Commits offsets for one member; fenced by the group's generation.
#[async_trait]
pub trait Committer: Send + Sync + std::fmt::Debug {
    /// Commits the next offsets to read, with a word of the committer's own.
    /// Durable when it answers.
    ///
    /// # Errors
    /// [`LogError::IllegalGeneration`] once the partitions are somebody else's.
    async fn commit(&self, positions: &Positions, metadata: &str) -> Result<(), LogError>;

    /// What the group has committed on a partition by now. Offsets of an open
    /// transaction do not count; once [`Self::transactional_producer`] answered, those
    /// of the id's earlier producers are either here or will never be.
    ///
    /// # Errors
    /// [`LogError::Closed`]; storage and connection failures.
    async fn committed(&self, partition: &TopicPartition) -> Result<Option<Committed>, LogError>;

    /// A producer whose transactions can also commit offsets of this membership. It
    /// fences every earlier producer of the same transactional id and ends what that
    /// one left open. A transaction open for longer than `timeout` is aborted.
    ///
    /// # Errors
    /// [`LogError::Closed`]; storage and connection failures.
    async fn transactional_producer(
        &self,
        id: &str,
        timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError>;

    fn clone_box(&self) -> Box<dyn Committer>;
}

/// Appends to several partitions and commits offsets, all of it or nothing.
///
/// Calls go in this order: `begin`; any number of `append` and `commit_offsets`; then
/// `commit` or `abort`. Readers see nothing of it before the commit and nothing at all
/// after an abort. After any error but a retryable one of `commit` the transaction is
/// to be aborted; dropped, it is aborted by whoever takes the id next, or in time.
#[async_trait]
pub trait TransactionalProducer: Send + std::fmt::Debug {
    /// Begins a transaction; cheap, nothing is written yet.
    ///
    /// # Errors
    /// [`LogError::InvalidTransactionState`] while another one is open.
    async fn begin(&mut self) -> Result<(), LogError>;

    /// Appends records as [`Log::append`] does; answers when they are accepted. With
    /// a Kafka cluster what goes wrong later is told by [`Self::commit`].
    ///
    /// # Errors
    /// Those of [`Log::append`]; [`LogError::ProducerFenced`].
    async fn append(
        &mut self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<(), LogError>;

    /// Makes the membership's next offsets part of the transaction.
    ///
    /// # Errors
    /// [`LogError::IllegalGeneration`] once the partitions are somebody else's;
    /// [`LogError::ProducerFenced`].
    async fn commit_offsets(
        &mut self,
        positions: &Positions,
        metadata: &str,
    ) -> Result<(), LogError>;

    /// Makes all of it visible; durable when it answers, and decided for good: readers of
    /// a Kafka cluster see it some moments later, in each partition at once. After a retryable error the
    /// same call may be made again, and the outcome is not in doubt once it answers.
    ///
    /// # Errors
    /// [`LogError::ProducerFenced`]; storage and connection failures.
    async fn commit(&mut self) -> Result<(), LogError>;

    /// Takes all of it back.
    ///
    /// # Errors
    /// [`LogError::ProducerFenced`]; storage and connection failures.
    async fn abort(&mut self) -> Result<(), LogError>;
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The next offset to read.
    pub offset: Offset,
    /// The committer's own word; empty after a reset by hand.
    pub metadata: String,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSummary {
    pub id: String,
    pub state: GroupState,
    pub members: usize,
}

/// Kafka's states of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    /// Members of a consumer group (KIP-848) are on their way to what they are to hold.
    Reconciling,
    Stable,
    Dead,
}

/// A group as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescription {
    pub id: String,
    pub state: GroupState,
    pub generation: i32,
    /// The assignment strategy in force; empty without members.
    pub strategy: String,
    pub members: Vec<MemberDescription>,
    pub offsets: Vec<GroupOffset>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDescription {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub partitions: Vec<TopicPartition>,
}

/// A group's place on one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffset {
    #[serde(flatten)]
    pub partition: TopicPartition,
    pub committed: Offset,
    pub end: Offset,
    /// `end - committed`, never negative.
    pub lag: i64,
}

/// Committed offsets of a group, by partition.
pub type CommittedOffsets = BTreeMap<TopicPartition, Committed>;
