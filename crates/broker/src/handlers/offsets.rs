//! OffsetCommit and OffsetFetch: how far a group has come.
//!
//! Commits are fenced by the membership and durable when answered. One partition that
//! cannot be committed does not keep the others: it is sorted out here, and the rest
//! goes to the coordinator together. Leader epochs that clients commit are not kept;
//! one broker has one epoch, and it answers "unknown".

use std::collections::BTreeMap;

use courant_log::{Committed, LogError, group::StableOffsets};
use courant_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
        offset_commit_request::OffsetCommitRequestPartition,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
    protocol::StrBytes,
};

use super::groups::membership;
use crate::{
    context::Context,
    errors::{NONE, group_error_code, response_error},
    security::{Operation, Resource},
};

/// Answers OffsetCommit 2 to 9.
pub(crate) async fn offset_commit(
    context: &Context,
    request: OffsetCommitRequest,
    version: i16,
) -> OffsetCommitResponse {
    let group = request.group_id.0;
    let may_read_group = context.allows(Operation::Read, Resource::Group(&group));
    let mut commits = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let name = TopicName::new(&topic.name).ok();
        let may_read = context.allows(Operation::Read, Resource::Topic(&topic.name));
        let check = |partition: OffsetCommitRequestPartition| {
            let index = partition.partition_index;
            let code = match &name {
                _ if !may_read_group => ResponseError::GroupAuthorizationFailed.code(),
                _ if !may_read => ResponseError::TopicAuthorizationFailed.code(),
                None => ResponseError::UnknownTopicOrPartition.code(),
                Some(name) => {
                    let to = TopicPartition { topic: name.clone(), partition: index };
                    match checked(context, &group, to, partition) {
                        Ok(commit) => {
                            commits.push(commit);
                            NONE
                        }
                        Err(error) => group_error_code(&error),
                    }
                }
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
        };
        let partitions = topic.partitions.into_iter().map(check).collect();
        let topic = OffsetCommitResponseTopic::default().with_name(topic.name);
        topics.push(topic.with_partitions(partitions));
    }
    if !commits.is_empty() {
        let generation = request.generation_id_or_member_epoch;
        let instance_id = request.group_instance_id.as_ref();
        let membership = membership(&request.member_id, instance_id, generation);
        if let Err(error) = context.log().coordinator().commit(&group, &membership, commits).await {
            let code = commit_error_code(context, &group, generation, &error, version);
            let all = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            all.filter(|one| one.error_code == NONE).for_each(|one| one.error_code = code);
        }
    }
    OffsetCommitResponse::default().with_throttle_time_ms(context.throttle_ms()).with_topics(topics)
}

/// Answers OffsetFetch 1 to 9; from version 8 on for several groups.
pub(crate) fn offset_fetch(
    context: &Context,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default().with_throttle_time_ms(context.throttle_ms());
    if version >= 8 {
        let groups = request.groups.into_iter().map(|group| {
            let topics = group.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
            });
            let member = group.member_id.map(|id| (id, group.member_epoch));
            let stable = request.require_stable;
            let asked = Asked { group: group.group_id.0, member, topics, stable };
            group_response(fetch_group(context, &asked), asked.group)
        });
        return response.with_groups(groups.collect());
    }
    let topics = request.topics.map(|topics| {
        topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
    });
    let (group, stable) = (request.group_id.0, request.require_stable);
    let asked = Asked { group, member: None, topics, stable };
    match fetch_group(context, &asked) {
        Ok(fetched) => response.with_topics(fetched.into_iter().map(topic_response).collect()),
        Err(error) if version >= 2 => response.with_error_code(error.code()),
        // Version 1 has no place for the group's error but every partition.
        Err(error) => {
            let refused = |(name, partitions): (WireName, Vec<i32>)| {
                let refused = |index| (index, Err(error));
                topic_response((name, partitions.into_iter().map(refused).collect()))
            };
            let topics = asked.topics.unwrap_or_default();
            response.with_topics(topics.into_iter().map(refused).collect())
        }
    }
}

type WireName = kafka_protocol::messages::TopicName;
type Commit = (TopicPartition, Committed);
/// A topic's partitions, each with its committed offset if there is one.
type Fetched = (WireName, Vec<(i32, Result<Option<Committed>, ResponseError>)>);

/// What is asked of one group.
struct Asked {
    group: StrBytes,
    /// Who asks, as a member of a consumer group with its epoch (from version 9 on).
    member: Option<(StrBytes, i32)>,
    /// `None` for all that are committed.
    topics: Option<Vec<(WireName, Vec<i32>)>>,
    /// Offsets that a transaction may yet replace are an error.
    stable: bool,
}

fn checked(
    context: &Context,
    group: &str,
    to: TopicPartition,
    partition: OffsetCommitRequestPartition,
) -> Result<Commit, LogError> {
    let committed = Committed {
        offset: partition.committed_offset,
        metadata: partition.committed_metadata.map(|word| word.to_string()).unwrap_or_default(),
    };
    context.log().coordinator().check_offset(group, &to, &committed)?;
    Ok((to, committed))
}

/// Somebody who speaks for a generation of a group that does not exist.
pub(super) fn commit_error_code(
    context: &Context,
    group: &str,
    generation: i32,
    error: &LogError,
    version: i16,
) -> i16 {
    let unknown = matches!(error, LogError::UnknownMember { .. })
        && generation >= 0
        && context.log().coordinator().kind(group).is_none();
    match unknown {
        true if version >= 9 => ResponseError::GroupIdNotFound.code(),
        true => ResponseError::IllegalGeneration.code(),
        false => group_error_code(error),
    }
}

fn fetch_group(context: &Context, asked: &Asked) -> Result<Vec<Fetched>, ResponseError> {
    let groups = context.log().coordinator();
    if !context.allows(Operation::Describe, Resource::Group(&asked.group)) {
        return Err(ResponseError::GroupAuthorizationFailed);
    }
    if let Some((member, epoch)) = &asked.member {
        let checked = groups.check_offset_reader(&asked.group, member, *epoch);
        checked.map_err(|error| response_error(&error))?;
    }
    let StableOffsets { committed, unstable } = groups.committed_stable(&asked.group);
    let is_open = |place: &TopicPartition| asked.stable && unstable.contains(place);
    let may_describe = |topic: &str| context.allows(Operation::Describe, Resource::Topic(topic));
    let Some(topics) = &asked.topics else {
        let mut all: BTreeMap<TopicName, Vec<_>> = BTreeMap::new();
        for (place, committed) in committed {
            if may_describe(place.topic.as_str()) {
                let answer = match is_open(&place) {
                    true => Err(ResponseError::UnstableOffsetCommit),
                    false => Ok(Some(committed)),
                };
                all.entry(place.topic).or_default().push((place.partition, answer));
            }
        }
        let named = |(topic, partitions): (TopicName, _)| {
            (StrBytes::from_string(topic.to_string()).into(), partitions)
        };
        return Ok(all.into_iter().map(named).collect());
    };
    let one = |(name, partitions): &(WireName, Vec<i32>)| {
        let may = may_describe(name);
        let topic = TopicName::new(name).ok();
        let one = |&partition: &i32| {
            if !may {
                return (partition, Err(ResponseError::TopicAuthorizationFailed));
            }
            let place = topic.clone().map(|topic| TopicPartition { topic, partition });
            if place.as_ref().is_some_and(is_open) {
                return (partition, Err(ResponseError::UnstableOffsetCommit));
            }
            (partition, Ok(place.and_then(|place| committed.get(&place).cloned())))
        };
        (name.clone(), partitions.iter().map(one).collect())
    };
    Ok(topics.iter().map(one).collect())
}

/// Offset, metadata and error of one partition, as they are answered.
fn answer(fetched: Result<Option<Committed>, ResponseError>) -> (i64, StrBytes, i16) {
    match fetched {
        Ok(Some(one)) => (one.offset, StrBytes::from_string(one.metadata), NONE),
        Ok(None) => (-1, StrBytes::new(), NONE),
        Err(error) => (-1, StrBytes::new(), error.code()),
    }
}

fn topic_response((name, partitions): Fetched) -> OffsetFetchResponseTopic {
    let partition = |(index, fetched)| {
        let (offset, metadata, code) = answer(fetched);
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_metadata(Some(metadata))
            .with_error_code(code)
    };
    let partitions = partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
}

fn group_response(
    fetched: Result<Vec<Fetched>, ResponseError>,
    group: StrBytes,
) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(group.into());
    let topic = |(name, partitions): Fetched| {
        let partition = |(index, fetched)| {
            let (offset, metadata, code) = answer(fetched);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_metadata(Some(metadata))
                .with_error_code(code)
        };
        let partitions = partitions.into_iter().map(partition).collect();
        OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
    };
    match fetched {
        Ok(fetched) => response.with_topics(fetched.into_iter().map(topic).collect()),
        Err(error) => response.with_error_code(error.code()),
    }
}
