//! What can go wrong in the log, with Kafka's name for each.
//!
//! One enum for the role: an implementation adds no kinds of its own, so that
//! callers decide by [`LogError::code`] and [`LogError::retryable`] alone.

use std::{io, sync::Arc};

use courant_model::{Offset, PartitionId, TopicName, TopicPartition};

/// A failure of the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    #[error("topic \"{topic}\" does not exist; create it, or see `courant topic list`")]
    UnknownTopic { topic: TopicName },
    #[error("topic \"{topic}\" has {partitions} partitions; partition {partition} does not exist")]
    UnknownPartition { topic: TopicName, partition: PartitionId, partitions: i32 },
    #[error("topic \"{topic}\" exists already")]
    TopicExists { topic: TopicName },
    #[error("topic \"{topic}\" cannot be so: {why}")]
    InvalidTopic { topic: String, why: String },
    #[error("offset {offset} of partition {partition} is out of range; it holds {start} to {end}")]
    OffsetOutOfRange { partition: TopicPartition, offset: Offset, start: Offset, end: Offset },
    #[error(
        "record of {found_bytes} bytes for topic \"{topic}\" is larger than the {max_bytes} bytes allowed"
    )]
    RecordTooLarge { topic: TopicName, found_bytes: usize, max_bytes: usize },
    #[error("record for topic \"{topic}\" is refused: {why}")]
    InvalidRecord { topic: TopicName, why: &'static str },
    #[error("timestamp {found_ms} of a record for topic \"{topic}\" is refused: {why}")]
    InvalidTimestamp { topic: TopicName, found_ms: i64, why: String },
    #[error("record batch for partition {partition} is corrupt: {why}")]
    CorruptBatch { partition: TopicPartition, why: String },
    #[error("group \"{group}\" does not exist; see `courant group list`")]
    UnknownGroup { group: String },
    #[error(
        "group \"{group}\" has {members} members; stop them before its offsets are changed by hand"
    )]
    GroupNotEmpty { group: String, members: usize },
    #[error("group id {group:?} is invalid: {why}")]
    InvalidGroup { group: String, why: String },
    #[error(
        "session timeout of {found_ms} ms for group \"{group}\" is out of range; use {min_ms} to {max_ms} ms"
    )]
    InvalidSessionTimeout { group: String, found_ms: u64, min_ms: u64, max_ms: u64 },
    #[error(
        "offset metadata of {found_bytes} bytes for group \"{group}\" is larger than the {max_bytes} bytes allowed"
    )]
    OffsetMetadataTooLarge { group: String, found_bytes: usize, max_bytes: usize },
    #[error("group \"{group}\" is full: it has {members} members")]
    GroupFull { group: String, members: usize },
    #[error("group \"{group}\" knows no member \"{member}\"; join again")]
    UnknownMember { group: String, member: String },
    #[error("a new member of group \"{group}\" must join again as \"{member}\"")]
    MemberIdRequired { group: String, member: String },
    #[error("{}", stale_member(group, *found, *expected))]
    IllegalGeneration {
        group: String,
        /// -1 where the cluster's client does not tell the generations.
        found: i32,
        expected: i32,
    },
    #[error("group \"{group}\" is rebalancing; join again")]
    RebalanceInProgress { group: String },
    #[error("member of group \"{group}\" offers no assignment strategy that the others have")]
    InconsistentProtocol { group: String },
    #[error("instance \"{instance}\" of group \"{group}\" was taken over by a newer member")]
    FencedInstance { group: String, instance: String },
    #[error(
        "producer {producer_id} sent sequence {found} to partition {partition}, expected {expected}"
    )]
    OutOfOrderSequence { partition: TopicPartition, producer_id: i64, found: i32, expected: i32 },
    #[error("{}", fenced_producer(*producer_id, *found, *current))]
    ProducerFenced {
        /// -1 where the cluster's client does not tell ids and epochs.
        producer_id: i64,
        found: i16,
        current: i16,
    },
    #[error("producer {producer_id} cannot {action} in transaction state {state}")]
    InvalidTransactionState { producer_id: i64, action: &'static str, state: &'static str },
    #[error("transactional id {id:?} is invalid: {why}")]
    InvalidTransactionalId { id: String, why: String },
    #[error("transactional id {id:?} does not exist")]
    UnknownTransactionalId { id: String },
    #[error(
        "transaction timeout of {found_ms} ms for transactional id {id:?} is out of range; use 1 to {max_ms} ms"
    )]
    InvalidTransactionTimeout { id: String, found_ms: u64, max_ms: u64 },
    #[error(
        "producer {producer_id} is not the one of transactional id {id:?}; start a new producer"
    )]
    InvalidProducerIdMapping { id: String, producer_id: i64 },
    #[error("the transaction before of transactional id {id:?} is still ending; try again")]
    ConcurrentTransactions { id: String },
    #[error(
        "member \"{member}\" of group \"{group}\" speaks for epoch {found}, it is at {expected}; join again"
    )]
    FencedMemberEpoch { group: String, member: String, found: i32, expected: i32 },
    #[error(
        "member \"{member}\" of group \"{group}\" uses epoch {found}, it is at {expected}; send a heartbeat first"
    )]
    StaleMemberEpoch { group: String, member: String, found: i32, expected: i32 },
    #[error("instance \"{instance}\" of group \"{group}\" is still in use by another member")]
    UnreleasedInstance { group: String, instance: String },
    #[error("regular expression {pattern:?} is invalid: {why}")]
    InvalidRegex { pattern: String, why: String },
    #[error("group \"{group}\" is not a {asked} group")]
    WrongGroupKind { group: String, asked: &'static str },
    #[error(
        "group \"{group}\" is subscribed to topic \"{topic}\"; its offsets stay until it is not"
    )]
    GroupSubscribed { group: String, topic: TopicName },
    #[error("the disk is full: {action} needs space; free some, appends go on by themselves")]
    DiskFull { action: String },
    #[error("{action} failed: {source}")]
    Storage {
        /// What was attempted, with the object.
        action: String,
        source: Arc<io::Error>,
    },
    #[error("data folder {folder:?} is in use by another process; stop it or use another --data")]
    FolderInUse { folder: std::path::PathBuf },
    #[error("{action} at Kafka cluster {cluster} failed: {why}")]
    Cluster {
        /// What was attempted, with the object.
        action: String,
        /// The bootstrap servers, without credentials.
        cluster: Arc<str>,
        why: String,
        retryable: bool,
    },
    #[error("the log is closed")]
    Closed,
}

/// Stable names for programs: Kafka's, in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    UnknownTopicOrPartition,
    TopicAlreadyExists,
    InvalidTopic,
    OffsetOutOfRange,
    MessageTooLarge,
    InvalidRecord,
    CorruptMessage,
    InvalidTimestamp,
    GroupIdNotFound,
    NonEmptyGroup,
    InvalidGroupId,
    InvalidSessionTimeout,
    OffsetMetadataTooLarge,
    GroupMaxSizeReached,
    UnknownMemberId,
    MemberIdRequired,
    IllegalGeneration,
    RebalanceInProgress,
    InconsistentGroupProtocol,
    FencedInstanceId,
    FencedMemberEpoch,
    StaleMemberEpoch,
    UnreleasedInstanceId,
    InvalidRegularExpression,
    GroupSubscribedToTopic,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    InvalidTxnState,
    /// Kafka has no narrower name for a malformed transactional id.
    InvalidRequest,
    TransactionalIdNotFound,
    InvalidTransactionTimeout,
    InvalidProducerIdMapping,
    ConcurrentTransactions,
    StorageError,
    ClusterError,
    Closed,
}

impl ErrorCode {
    /// The name as it goes over the wire and into JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownTopicOrPartition => "unknown_topic_or_partition",
            Self::TopicAlreadyExists => "topic_already_exists",
            Self::InvalidTopic => "invalid_topic",
            Self::OffsetOutOfRange => "offset_out_of_range",
            Self::MessageTooLarge => "message_too_large",
            Self::InvalidRecord => "invalid_record",
            Self::CorruptMessage => "corrupt_message",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::GroupIdNotFound => "group_id_not_found",
            Self::NonEmptyGroup => "non_empty_group",
            Self::InvalidGroupId => "invalid_group_id",
            Self::InvalidSessionTimeout => "invalid_session_timeout",
            Self::OffsetMetadataTooLarge => "offset_metadata_too_large",
            Self::GroupMaxSizeReached => "group_max_size_reached",
            Self::UnknownMemberId => "unknown_member_id",
            Self::MemberIdRequired => "member_id_required",
            Self::IllegalGeneration => "illegal_generation",
            Self::RebalanceInProgress => "rebalance_in_progress",
            Self::InconsistentGroupProtocol => "inconsistent_group_protocol",
            Self::FencedInstanceId => "fenced_instance_id",
            Self::FencedMemberEpoch => "fenced_member_epoch",
            Self::StaleMemberEpoch => "stale_member_epoch",
            Self::UnreleasedInstanceId => "unreleased_instance_id",
            Self::InvalidRegularExpression => "invalid_regular_expression",
            Self::GroupSubscribedToTopic => "group_subscribed_to_topic",
            Self::OutOfOrderSequenceNumber => "out_of_order_sequence_number",
            Self::ProducerFenced => "producer_fenced",
            Self::InvalidTxnState => "invalid_txn_state",
            Self::InvalidRequest => "invalid_request",
            Self::TransactionalIdNotFound => "transactional_id_not_found",
            Self::InvalidTransactionTimeout => "invalid_transaction_timeout",
            Self::InvalidProducerIdMapping => "invalid_producer_id_mapping",
            Self::ConcurrentTransactions => "concurrent_transactions",
            Self::StorageError => "storage_error",
            Self::ClusterError => "cluster_error",
            Self::Closed => "closed",
        }
    }
}

impl LogError {
    /// Wraps a failure of the file system; a full disk becomes its own kind.
    pub fn storage(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { action },
            _ => Self::Storage { action, source: Arc::new(source) },
        }
    }

    /// The stable name of the kind.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic { .. } | Self::UnknownPartition { .. } => {
                ErrorCode::UnknownTopicOrPartition
            }
            Self::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
            Self::InvalidTopic { .. } => ErrorCode::InvalidTopic,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::RecordTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::InvalidRecord { .. } => ErrorCode::InvalidRecord,
            Self::CorruptBatch { .. } => ErrorCode::CorruptMessage,
            Self::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
            Self::UnknownGroup { .. } | Self::WrongGroupKind { .. } => ErrorCode::GroupIdNotFound,
            Self::GroupNotEmpty { .. } => ErrorCode::NonEmptyGroup,
            Self::InvalidGroup { .. } => ErrorCode::InvalidGroupId,
            Self::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            Self::OffsetMetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
            Self::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            Self::UnknownMember { .. } => ErrorCode::UnknownMemberId,
            Self::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            Self::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
            Self::RebalanceInProgress { .. } => ErrorCode::RebalanceInProgress,
            Self::InconsistentProtocol { .. } => ErrorCode::InconsistentGroupProtocol,
            Self::FencedInstance { .. } => ErrorCode::FencedInstanceId,
            Self::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
            Self::StaleMemberEpoch { .. } => ErrorCode::StaleMemberEpoch,
            Self::UnreleasedInstance { .. } => ErrorCode::UnreleasedInstanceId,
            Self::InvalidRegex { .. } => ErrorCode::InvalidRegularExpression,
            Self::GroupSubscribed { .. } => ErrorCode::GroupSubscribedToTopic,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::ProducerFenced { .. } => ErrorCode::ProducerFenced,
            Self::InvalidTransactionState { .. } => ErrorCode::InvalidTxnState,
            Self::InvalidTransactionalId { .. } => ErrorCode::InvalidRequest,
            Self::UnknownTransactionalId { .. } => ErrorCode::TransactionalIdNotFound,
            Self::InvalidTransactionTimeout { .. } => ErrorCode::InvalidTransactionTimeout,
            Self::InvalidProducerIdMapping { .. } => ErrorCode::InvalidProducerIdMapping,
            Self::ConcurrentTransactions { .. } => ErrorCode::ConcurrentTransactions,
            Self::DiskFull { .. } | Self::Storage { .. } | Self::FolderInUse { .. } => {
                ErrorCode::StorageError
            }
            Self::Cluster { .. } => ErrorCode::ClusterError,
            Self::Closed => ErrorCode::Closed,
        }
    }

    /// Whether the same call may succeed later without anybody changing it.
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::DiskFull { .. }
                | Self::Storage { .. }
                | Self::RebalanceInProgress { .. }
                | Self::ConcurrentTransactions { .. }
                | Self::Cluster { retryable: true, .. }
        )
    }
}

fn stale_member(group: &str, found: i32, expected: i32) -> String {
    if found < 0 {
        return format!("member of group \"{group}\" does not hold these partitions any more");
    }
    format!(
        "member of group \"{group}\" speaks for generation {found}, the group is at {expected}; join again"
    )
}

fn fenced_producer(producer_id: i64, found: i16, current: i16) -> String {
    if producer_id < 0 {
        return "producer is fenced by a newer one of the same transactional id".to_owned();
    }
    format!("producer {producer_id} of epoch {found} is fenced by epoch {current}")
}
