//! ListOffsets: where a partition begins and ends, and where a time lies in it.
//!
//! Readers of committed records are told the last stable offset as the end.

use courant_log::{EmbeddedLog, LEADER_EPOCH, PartitionHandle};
use courant_model::{Timestamp, TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse,
        list_offsets_request::ListOffsetsPartition,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
};

use super::leader_epochs::check_leader_epoch;
use crate::{
    context::Context,
    errors::response_error,
    security::{Operation, Resource},
};

/// Times that are none: what they ask for.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LARGEST_TIMESTAMP: i64 = -3;
/// The first offset on this machine; all are on it.
const EARLIEST_LOCAL: i64 = -4;

/// Where a time lies.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// The record's timestamp; -1 where no record was asked for.
    timestamp: i64,
    offset: i64,
}

/// Answers ListOffsets 1 to 8.
pub(crate) async fn list_offsets(
    context: &Context,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let committed = request.isolation_level == 1;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let name = TopicName::new(&topic.name).ok();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let found = match &name {
                Some(name)
                    if !context.allows(Operation::Describe, Resource::Topic(name.as_str())) =>
                {
                    Err(ResponseError::TopicAuthorizationFailed)
                }
                Some(name) => find(context.log(), name, &asked, committed, version).await,
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            partitions.push(describe(asked.partition_index, found, version));
        }
        let answer = ListOffsetsTopicResponse::default().with_name(topic.name);
        topics.push(answer.with_partitions(partitions));
    }
    let response = ListOffsetsResponse::default().with_topics(topics);
    if version >= 2 { response.with_throttle_time_ms(context.throttle_ms()) } else { response }
}

async fn find(
    log: &EmbeddedLog,
    topic: &TopicName,
    asked: &ListOffsetsPartition,
    committed: bool,
    version: i16,
) -> Result<Option<Found>, ResponseError> {
    let refused = |error| response_error(&error);
    let partition = TopicPartition::new(topic.clone(), asked.partition_index);
    let handle = log.partition(&partition).map_err(refused)?;
    check_leader_epoch(asked.current_leader_epoch)?;
    let found = match asked.timestamp {
        LATEST => return Ok(Some(untimed(end(&handle, committed)))),
        EARLIEST => return Ok(Some(untimed(handle.start()))),
        EARLIEST_LOCAL if version >= 8 => return Ok(Some(untimed(handle.start()))),
        LARGEST_TIMESTAMP if version >= 7 => log.largest_timestamp(&partition).await,
        ..0 => return Err(ResponseError::UnsupportedVersion),
        at => log.record_at(&partition, Timestamp::from_millis(at)).await,
    };
    let found = found.map_err(refused)?;
    Ok(found.map(|(timestamp, offset)| Found { timestamp: timestamp.as_millis(), offset }))
}

fn end(handle: &PartitionHandle, committed: bool) -> i64 {
    let ends = handle.ends();
    if committed { ends.last_stable } else { ends.end }
}

const fn untimed(offset: i64) -> Found {
    Found { timestamp: -1, offset }
}

fn describe(
    index: i32,
    found: Result<Option<Found>, ResponseError>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse::default().with_partition_index(index);
    let Found { timestamp, offset } = match found {
        Ok(Some(found)) => found,
        Ok(None) => return answer,
        Err(error) => return answer.with_error_code(error.code()),
    };
    let answer = answer.with_timestamp(timestamp).with_offset(offset);
    if version >= 4 { answer.with_leader_epoch(LEADER_EPOCH) } else { answer }
}
