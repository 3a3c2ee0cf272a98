//! OffsetForLeaderEpoch, and what epochs mean here: there is one leader, for ever.
//!
//! A client that follows leaders by their epochs finds that the only one ends where
//! its partition ends.

use courant_log::LEADER_EPOCH;
use courant_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        offset_for_leader_epoch_request::OffsetForLeaderPartition,
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use crate::{
    context::Context,
    errors::response_error,
    security::{Operation, Resource},
};

/// What a client says that knows no epoch.
const UNKNOWN: i32 = -1;

/// Answers OffsetForLeaderEpoch 2 to 4.
pub(crate) fn offset_for_leader_epoch(
    context: &Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let name = TopicName::new(&topic.topic).ok();
        let partitions = topic.partitions.iter().map(|asked| {
            let end = epoch_end(context, name.as_ref(), asked);
            let answer = match end {
                Ok(Some(end)) => {
                    EpochEndOffset::default().with_leader_epoch(LEADER_EPOCH).with_end_offset(end)
                }
                // Of an epoch that never was, nothing can be said.
                Ok(None) => EpochEndOffset::default(),
                Err(error) => EpochEndOffset::default().with_error_code(error.code()),
            };
            answer.with_partition(asked.partition)
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_topics(topics.collect())
}

fn epoch_end(
    context: &Context,
    topic: Option<&TopicName>,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<i64>, ResponseError> {
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if !context.allows(Operation::Describe, Resource::Topic(topic.as_str())) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let partition = TopicPartition::new(topic.clone(), asked.partition);
    let handle = context.log().partition(&partition).map_err(|error| response_error(&error))?;
    check_leader_epoch(asked.current_leader_epoch)?;
    Ok((asked.leader_epoch == LEADER_EPOCH).then(|| handle.ends().end))
}

/// Checks the epoch that a client believes to be the leader's.
///
/// # Errors
/// For an epoch that is past, or that is to come.
pub(crate) const fn check_leader_epoch(epoch: i32) -> Result<(), ResponseError> {
    if epoch == UNKNOWN || epoch == LEADER_EPOCH {
        Ok(())
    } else if epoch < LEADER_EPOCH {
        Err(ResponseError::FencedLeaderEpoch)
    } else {
        Err(ResponseError::UnknownLeaderEpoch)
    }
}
