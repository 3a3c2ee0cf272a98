//! From the log's failures to Kafka's error codes. The one place that knows both.
//!
//! Where an API answers a failure otherwise than the rest, its handler says so.

use courant_log::{ConfigError, ErrorCode, LogError};
use kafka_protocol::{ResponseError, protocol::StrBytes};

/// No error.
pub(crate) const NONE: i16 = 0;

/// Kafka's error for a failure of the log.
pub(crate) fn response_error(error: &LogError) -> ResponseError {
    match error.code() {
        ErrorCode::UnknownTopicOrPartition => ResponseError::UnknownTopicOrPartition,
        ErrorCode::TopicAlreadyExists => ResponseError::TopicAlreadyExists,
        ErrorCode::InvalidTopic => ResponseError::InvalidTopicException,
        ErrorCode::OffsetOutOfRange => ResponseError::OffsetOutOfRange,
        ErrorCode::MessageTooLarge => ResponseError::MessageTooLarge,
        ErrorCode::InvalidRecord => ResponseError::InvalidRecord,
        ErrorCode::CorruptMessage => ResponseError::CorruptMessage,
        ErrorCode::InvalidTimestamp => ResponseError::InvalidTimestamp,
        ErrorCode::GroupIdNotFound => ResponseError::GroupIdNotFound,
        ErrorCode::NonEmptyGroup => ResponseError::NonEmptyGroup,
        ErrorCode::InvalidGroupId => ResponseError::InvalidGroupId,
        ErrorCode::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
        ErrorCode::OffsetMetadataTooLarge => ResponseError::OffsetMetadataTooLarge,
        ErrorCode::GroupMaxSizeReached => ResponseError::GroupMaxSizeReached,
        ErrorCode::UnknownMemberId => ResponseError::UnknownMemberId,
        ErrorCode::MemberIdRequired => ResponseError::MemberIdRequired,
        ErrorCode::IllegalGeneration => ResponseError::IllegalGeneration,
        ErrorCode::RebalanceInProgress => ResponseError::RebalanceInProgress,
        ErrorCode::InconsistentGroupProtocol => ResponseError::InconsistentGroupProtocol,
        ErrorCode::FencedInstanceId => ResponseError::FencedInstanceId,
        ErrorCode::FencedMemberEpoch => ResponseError::FencedMemberEpoch,
        ErrorCode::StaleMemberEpoch => ResponseError::StaleMemberEpoch,
        ErrorCode::UnreleasedInstanceId => ResponseError::UnreleasedInstanceId,
        ErrorCode::InvalidRegularExpression => ResponseError::InvalidRegularExpression,
        ErrorCode::GroupSubscribedToTopic => ResponseError::GroupSubscribedToTopic,
        ErrorCode::OutOfOrderSequenceNumber => ResponseError::OutOfOrderSequenceNumber,
        ErrorCode::ProducerFenced => ResponseError::InvalidProducerEpoch,
        ErrorCode::InvalidTxnState => ResponseError::InvalidTxnState,
        ErrorCode::InvalidRequest => ResponseError::InvalidRequest,
        ErrorCode::TransactionalIdNotFound => ResponseError::TransactionalIdNotFound,
        ErrorCode::InvalidTransactionTimeout => ResponseError::InvalidTransactionTimeout,
        ErrorCode::InvalidProducerIdMapping => ResponseError::InvalidProducerIdMapping,
        ErrorCode::ConcurrentTransactions => ResponseError::ConcurrentTransactions,
        ErrorCode::StorageError => ResponseError::KafkaStorageError,
        ErrorCode::ClusterError => ResponseError::UnknownServerError,
        // The client is to look for the leader again, and finds the broker that
        // starts next.
        ErrorCode::Closed => ResponseError::NotLeaderOrFollower,
    }
}

/// The code of [`response_error`].
pub(crate) fn error_code(error: &LogError) -> i16 {
    response_error(error).code()
}

/// The code as Kafka's group coordinator gives it: who cannot be served here is to ask
/// for the coordinator again.
pub(crate) fn group_error_code(error: &LogError) -> i16 {
    match error.code() {
        ErrorCode::Closed | ErrorCode::StorageError => ResponseError::NotCoordinator.code(),
        _ => error_code(error),
    }
}

/// The failure in words, for responses that have room for them.
pub(crate) fn error_message(error: &LogError) -> Option<StrBytes> {
    Some(StrBytes::from_string(error.to_string()))
}

/// Why a part of a request is refused: Kafka's error, and the words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    error: ResponseError,
    message: String,
}

impl Refusal {
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }

    /// Who asks may not.
    pub(crate) fn unauthorized(error: ResponseError) -> Self {
        Self::new(error, "Authorization failed.")
    }

    pub(crate) fn code(&self) -> i16 {
        self.error.code()
    }

    pub(crate) fn message(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message.clone()))
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        Self::new(response_error(&error), error.to_string())
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::new(ResponseError::InvalidConfig, error.to_string())
    }
}
