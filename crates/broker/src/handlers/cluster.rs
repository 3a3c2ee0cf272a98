//! The cluster as admin clients see it: one broker, its folder, its partitions.
//!
//! Sizes and offsets come from the log at the time of the question. There is one
//! replica of everything, so it is the leader, in sync and never behind.

use std::{collections::BTreeMap, ops::Range};

use courant_log::{LEADER_EPOCH, TopicDescription};
use courant_model::TopicName;
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest,
        DescribeLogDirsResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        describe_cluster_response::DescribeClusterBroker,
        describe_log_dirs_response::{
            DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
        },
        describe_topic_partitions_response::{
            Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
        },
    },
    protocol::StrBytes,
};

use crate::{
    context::{BROKER_ID, Context},
    errors::error_code,
    security::{Operation, Resource},
};

/// The kind of endpoint that brokers are; the other kind is a controller's.
const BROKERS: i8 = 1;

/// Kafka's bound for one answer (`max.request.partition.size.limit`).
const PARTITIONS_PER_ANSWER_MAX: i32 = 2_000;

/// Answers DescribeCluster 0 to 1.
pub(crate) fn describe_cluster(
    context: &Context,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    let mut response = DescribeClusterResponse::default()
        .with_cluster_id(context.broker.cluster_id())
        .with_controller_id(BROKER_ID);
    if version >= 1 {
        response.endpoint_type = BROKERS;
        if request.endpoint_type != BROKERS {
            let message = "The request was sent to an endpoint of type BROKER, but we wanted \
                an endpoint of another type";
            return response
                .with_error_code(ResponseError::MismatchedEndpointType.code())
                .with_error_message(Some(StrBytes::from_static_str(message)));
        }
    }
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = context.authorized_operations(Resource::Cluster);
    }
    let (host, port) = context.advertised();
    let broker =
        DescribeClusterBroker::default().with_broker_id(BROKER_ID).with_host(host).with_port(port);
    response.with_brokers(vec![broker])
}

/// Answers DescribeLogDirs 1 to 4.
pub(crate) fn describe_log_dirs(
    context: &Context,
    request: &DescribeLogDirsRequest,
    version: i16,
) -> DescribeLogDirsResponse {
    let all = if context.allows(Operation::Describe, Resource::Cluster) {
        context.log().all_topics().map_err(|error| error_code(&error))
    } else {
        Err(ResponseError::ClusterAuthorizationFailed.code())
    };
    let all = match all {
        Ok(all) => all,
        // Before version 3 there is no place for the error.
        Err(_) if version < 3 => return DescribeLogDirsResponse::default(),
        Err(code) => return DescribeLogDirsResponse::default().with_error_code(code),
    };
    let asked: Option<BTreeMap<&str, &[i32]>> = request.topics.as_ref().map(|topics| {
        topics.iter().map(|topic| (topic.topic.as_str(), topic.partitions.as_slice())).collect()
    });
    let describe = |topic: &TopicDescription| {
        let wanted = asked.as_ref().map(|asked| asked.get(topic.name.as_str()).copied());
        let is_wanted = |index: &i32| match wanted {
            None => true,
            Some(numbers) => numbers.is_some_and(|numbers| numbers.contains(index)),
        };
        let partitions: Vec<_> = (0..)
            .zip(&topic.partitions)
            .filter(|(index, _)| is_wanted(index))
            .map(|(index, found)| {
                DescribeLogDirsPartition::default()
                    .with_partition_index(index)
                    .with_partition_size(i64::try_from(found.size_bytes).unwrap_or(i64::MAX))
            })
            .collect();
        let name = StrBytes::from_string(topic.name.to_string()).into();
        let described = DescribeLogDirsTopic::default().with_name(name);
        (!partitions.is_empty()).then(|| described.with_partitions(partitions))
    };
    let folder = context.log().folder().display().to_string();
    let result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(folder))
        .with_topics(all.iter().filter_map(describe).collect());
    DescribeLogDirsResponse::default().with_results(vec![result])
}

/// Answers DescribeTopicPartitions 0: topics by name, so many partitions at a time.
pub(crate) fn describe_topic_partitions(
    context: &Context,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let all = context.log().all_topics().unwrap_or_default();
    let known: BTreeMap<&str, &TopicDescription> =
        all.iter().map(|topic| (topic.name.as_str(), topic)).collect();
    let may_describe = |name: &str| context.allows(Operation::Describe, Resource::Topic(name));
    let mut names: Vec<&str> = if request.topics.is_empty() {
        known.keys().copied().filter(|name| may_describe(name)).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.as_str()).collect()
    };
    names.sort_unstable();
    names.dedup();
    let (start_topic, start) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index.max(0)),
        None => ("", 0),
    };
    let mut room = request.response_partition_limit.clamp(1, PARTITIONS_PER_ANSWER_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| *name >= start_topic) {
        let Some(topic) = known.get(name).filter(|_| may_describe(name)) else {
            response.topics.push(refuse_topic(name, may_describe(name)));
            continue;
        };
        let count = topic.partitions.len() as i32;
        let from = if name == start_topic { start.min(count) } else { 0 };
        let to = count.min(from.saturating_add(room));
        if room > 0 {
            response.topics.push(describe_topic(context, topic, from..to));
            room -= to - from;
        }
        if room == 0 && to < count {
            let name = StrBytes::from_string(name.to_owned()).into();
            let cursor = Cursor::default().with_topic_name(name).with_partition_index(to);
            return response.with_next_cursor(Some(cursor));
        }
    }
    response
}

fn describe_topic(
    context: &Context,
    topic: &TopicDescription,
    partitions: Range<i32>,
) -> DescribeTopicPartitionsResponseTopic {
    let describe = |index| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BROKER_ID)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![BROKER_ID])
            .with_isr_nodes(vec![BROKER_ID])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(StrBytes::from_string(topic.name.to_string()).into()))
        .with_topic_id(topic.id)
        .with_is_internal(context.log().is_internal(&topic.name))
        .with_topic_authorized_operations(
            context.authorized_operations(Resource::Topic(topic.name.as_str())),
        )
        .with_partitions(partitions.map(describe).collect())
}

fn refuse_topic(name: &str, is_allowed: bool) -> DescribeTopicPartitionsResponseTopic {
    let error = match TopicName::new(name) {
        _ if !is_allowed => ResponseError::TopicAuthorizationFailed,
        Ok(_) => ResponseError::UnknownTopicOrPartition,
        Err(_) => ResponseError::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(StrBytes::from_string(name.to_owned()).into()))
}
