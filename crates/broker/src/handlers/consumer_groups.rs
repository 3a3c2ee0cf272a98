//! Groups of Kafka's newer protocol (KIP-848): one heartbeat does everything.
//!
//! Checks the shape of a heartbeat as Kafka does, and translates between topic ids,
//! which the wire has, and names, which the log's groups have. An id that is unknown
//! here is a topic that is gone, and so nothing that anybody could hold.

use std::collections::{BTreeMap, BTreeSet};

use courant_log::{
    GroupState, LogError,
    group::{
        ConsumerGroupSnapshot, ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerMemberSnapshot,
        LEAVE_EPOCH, STEP_OUT_EPOCH, ServerAssignor,
    },
};
use courant_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
        ConsumerGroupHeartbeatResponse, GroupId,
        consumer_group_describe_response::{self as describe, DescribedGroup, Member},
        consumer_group_heartbeat_response as heartbeat,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::groups_admin::state_name;
use crate::{
    context::Context,
    errors::{NONE, Refusal},
    security::{Operation, Resource},
};

/// A member that speaks the newer protocol, in a description.
const CONSUMER_MEMBER: i8 = 1;

/// Answers ConsumerGroupHeartbeat 0 to 1.
pub(crate) fn consumer_group_heartbeat(
    context: &Context,
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
) -> ConsumerGroupHeartbeatResponse {
    let answered = check(request, version)
        .and_then(|assignor| check_allowed(context, request).map(|()| assignor))
        .and_then(|assignor| read(context, request, assignor))
        .and_then(|beat| {
            let groups = context.log().coordinator();
            let may_see = |topic: &TopicName| {
                context.allows(Operation::Describe, Resource::Topic(topic.as_str()))
            };
            let answer = groups.consumer_heartbeat(&request.group_id, &beat, &may_see);
            answer.map_err(|error| refuse(&request.group_id, error))
        })
        .and_then(|answer| write(context, answer));
    answered.unwrap_or_else(|refusal| {
        ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refusal.code())
            .with_error_message(refusal.message())
    })
}

/// Checks the shape of a heartbeat; answers the assignor that it asks for.
fn check(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
) -> Result<Option<ServerAssignor>, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ResponseError::InvalidRequest, message));
    let is_empty = |text: &Option<StrBytes>| text.as_ref().is_some_and(|text| text.is_empty());
    let epoch = request.member_epoch;
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    if request.member_id.is_empty() && (version >= 1 || epoch != 0) {
        return invalid("MemberId can't be empty.");
    }
    if epoch < STEP_OUT_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    if epoch == STEP_OUT_EPOCH && request.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    }
    if epoch == 0 {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.",
            );
        }
    }
    let Some(name) = &request.server_assignor else { return Ok(None) };
    match ServerAssignor::named(name) {
        Some(assignor) => Ok(Some(assignor)),
        None => {
            let names = ServerAssignor::ALL.map(ServerAssignor::name).join(", ");
            let message =
                format!("ServerAssignor {name} is not supported. Supported assignors: {names}.");
            Err(Refusal::new(ResponseError::UnsupportedAssignor, message))
        }
    }
}

fn check_allowed(
    context: &Context,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), Refusal> {
    if !context.allows(Operation::Read, Resource::Group(&request.group_id)) {
        return Err(Refusal::unauthorized(ResponseError::GroupAuthorizationFailed));
    }
    let may_describe = |topic: &str| context.allows(Operation::Describe, Resource::Topic(topic));
    let names = request.subscribed_topic_names.iter().flatten();
    if !names.into_iter().all(|name| may_describe(name)) {
        return Err(Refusal::unauthorized(ResponseError::TopicAuthorizationFailed));
    }
    Ok(())
}

/// The heartbeat in the log's terms.
fn read(
    context: &Context,
    request: &ConsumerGroupHeartbeatRequest,
    assignor: Option<ServerAssignor>,
) -> Result<ConsumerHeartbeat, Refusal> {
    let text = |text: &Option<StrBytes>| text.as_ref().map(ToString::to_string);
    let mut owned = None;
    if let Some(topics) = &request.topic_partitions {
        let mut partitions = BTreeSet::new();
        for topic in topics {
            if let Some(name) = context.log().topic_of(topic.topic_id)? {
                let each = topic.partitions.iter();
                partitions.extend(each.map(|number| TopicPartition::new(name.clone(), *number)));
            }
        }
        owned = Some(partitions);
    }
    // A name that no topic can have is one that is not there.
    let names = |names: &Vec<kafka_protocol::messages::TopicName>| {
        names.iter().filter_map(|name| TopicName::new(name).ok()).collect()
    };
    Ok(ConsumerHeartbeat {
        member_id: request.member_id.to_string(),
        member_epoch: request.member_epoch,
        instance_id: text(&request.instance_id),
        rack_id: text(&request.rack_id),
        client_id: context.client_id.to_string(),
        client_host: format!("/{}", context.connection.peer.ip().to_canonical()),
        rebalance_timeout_ms: u64::try_from(request.rebalance_timeout_ms).ok(),
        topics: request.subscribed_topic_names.as_ref().map(names),
        regex: text(&request.subscribed_topic_regex),
        assignor,
        owned,
    })
}

/// The answer in the wire's terms.
fn write(
    context: &Context,
    answer: ConsumerHeartbeatAnswer,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let mut response = ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(StrBytes::from_string(answer.member_id)))
        .with_member_epoch(answer.member_epoch)
        .with_heartbeat_interval_ms(
            i32::try_from(answer.heartbeat_interval_ms).unwrap_or(i32::MAX),
        );
    if answer.member_epoch == LEAVE_EPOCH || answer.member_epoch == STEP_OUT_EPOCH {
        response.heartbeat_interval_ms = 0;
    }
    if let Some(assignment) = answer.assignment {
        let topics = by_topic(context, &assignment)?;
        let topic = |(_, id, partitions)| {
            heartbeat::TopicPartitions::default().with_topic_id(id).with_partitions(partitions)
        };
        let topics = topics.into_iter().map(topic).collect();
        response.assignment = Some(heartbeat::Assignment::default().with_topic_partitions(topics));
    }
    Ok(response)
}

/// Partitions by topic, with the topics' ids; topics that are gone are left out.
fn by_topic(
    context: &Context,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<Vec<(TopicName, Uuid, Vec<i32>)>, Refusal> {
    let mut numbers: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        numbers.entry(&partition.topic).or_default().push(partition.partition);
    }
    let mut topics = Vec::new();
    for (name, numbers) in numbers {
        match context.log().topic_id(name) {
            Ok(id) => topics.push((name.clone(), id, numbers)),
            Err(LogError::UnknownTopic { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(topics)
}

/// Answers ConsumerGroupDescribe 0 to 1.
pub(crate) fn consumer_group_describe(
    context: &Context,
    request: &ConsumerGroupDescribeRequest,
    version: i16,
) -> ConsumerGroupDescribeResponse {
    let one = |id: &GroupId| {
        let may_describe = context.allows(Operation::Describe, Resource::Group(id));
        let found = if may_describe {
            context.log().coordinator().consumer_snapshot(id).map_err(|error| refuse(id, error))
        } else {
            Err(Refusal::unauthorized(ResponseError::GroupAuthorizationFailed))
        };
        let described = found.and_then(|snapshot| describe_group(context, snapshot, version));
        let mut group = match described {
            Ok(group) => group,
            Err(refusal) => DescribedGroup::default()
                .with_error_code(refusal.code())
                .with_error_message(refusal.message())
                .with_group_state(StrBytes::from_static_str(state_name(GroupState::Dead))),
        };
        if group.error_code == NONE && request.include_authorized_operations {
            group.authorized_operations = context.authorized_operations(Resource::Group(id));
        }
        group.with_group_id(id.clone())
    };
    ConsumerGroupDescribeResponse::default()
        .with_groups(request.group_ids.iter().map(one).collect())
}

/// The refusal in Kafka's words, where it has any.
fn refuse(id: &str, error: LogError) -> Refusal {
    let unknown = |message| Refusal::new(ResponseError::GroupIdNotFound, message);
    match error {
        LogError::UnknownGroup { .. } => unknown(format!("Group {id} not found.")),
        LogError::WrongGroupKind { .. } => unknown(format!("Group {id} is not a consumer group.")),
        other => other.into(),
    }
}

fn describe_group(
    context: &Context,
    snapshot: ConsumerGroupSnapshot,
    version: i16,
) -> Result<DescribedGroup, Refusal> {
    let mut topics = snapshot.members.iter().flat_map(|member| &member.topics);
    if !topics.all(|name| context.allows(Operation::Describe, Resource::Topic(name.as_str()))) {
        let message = "The group has described topic(s) that the client is not authorized to \
            describe.";
        return Err(Refusal::new(ResponseError::TopicAuthorizationFailed, message));
    }
    let members = snapshot.members.into_iter();
    let members: Result<Vec<Member>, Refusal> =
        members.map(|member| describe_member(context, member, version)).collect();
    Ok(DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(state_name(snapshot.state)))
        .with_group_epoch(snapshot.epoch)
        .with_assignment_epoch(snapshot.assignment_epoch)
        .with_assignor_name(StrBytes::from_static_str(snapshot.assignor.name()))
        .with_members(members?))
}

fn describe_member(
    context: &Context,
    member: ConsumerMemberSnapshot,
    version: i16,
) -> Result<Member, Refusal> {
    let text = StrBytes::from_string;
    let topics = member.topics.iter().map(|topic| text(topic.to_string()).into());
    let described = Member::default()
        .with_member_id(text(member.id))
        .with_instance_id(member.instance_id.map(text))
        .with_rack_id(member.rack_id.map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_subscribed_topic_names(topics.collect())
        .with_subscribed_topic_regex(Some(text(member.regex)).filter(|regex| !regex.is_empty()))
        .with_assignment(describe_assignment(context, &member.assignment)?)
        .with_target_assignment(describe_assignment(context, &member.target)?);
    Ok(if version >= 1 { described.with_member_type(CONSUMER_MEMBER) } else { described })
}

fn describe_assignment(
    context: &Context,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<describe::Assignment, Refusal> {
    let topic = |(name, id, partitions): (TopicName, Uuid, Vec<i32>)| {
        describe::TopicPartitions::default()
            .with_topic_name(StrBytes::from_string(name.to_string()).into())
            .with_topic_id(id)
            .with_partitions(partitions)
    };
    let topics = by_topic(context, partitions)?.into_iter().map(topic).collect();
    Ok(describe::Assignment::default().with_topic_partitions(topics))
}
