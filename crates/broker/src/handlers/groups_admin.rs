//! Groups as admin clients see them: listed, described, deleted, offsets forgotten.
//!
//! Both kinds of groups are listed and deleted here; described are the classic ones,
//! consumer groups have their own API ([`super::consumer_groups`]).

use courant_log::{
    GroupState, GroupSummary, Log, LogError,
    group::{GroupKind, GroupSnapshot, MemberSnapshot},
};
use courant_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
        GroupId, ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
        delete_groups_response::DeletableGroupResult,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
        list_groups_response::ListedGroup,
        offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
    },
    protocol::StrBytes,
};

use crate::{
    context::Context,
    errors::{NONE, error_message, group_error_code},
    security::{Operation, Resource},
};

/// Kafka's name for a group's state.
pub(super) const fn state_name(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "Empty",
        GroupState::PreparingRebalance => "PreparingRebalance",
        GroupState::CompletingRebalance => "CompletingRebalance",
        GroupState::Reconciling => "Reconciling",
        GroupState::Stable => "Stable",
        GroupState::Dead => "Dead",
    }
}

/// Answers ListGroups 0 to 5.
pub(crate) fn list_groups(
    context: &Context,
    request: &ListGroupsRequest,
    version: i16,
) -> ListGroupsResponse {
    let groups = context.log().coordinator();
    let passes = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(name))
    };
    let may_see = |id: &str| {
        context.allows(Operation::Describe, Resource::Cluster)
            || context.allows(Operation::Describe, Resource::Group(id))
    };
    let list = |summary: GroupSummary| {
        if !may_see(&summary.id) {
            return None;
        }
        let (kind, protocol_type) = match groups.kind(&summary.id)? {
            GroupKind::Classic { protocol_type } => ("classic", protocol_type),
            GroupKind::Consumer => ("consumer", "consumer".to_owned()),
        };
        let state = state_name(summary.state);
        if !passes(&request.states_filter, state) || !passes(&request.types_filter, kind) {
            return None;
        }
        let mut listed = ListedGroup::default()
            .with_group_id(StrBytes::from_string(summary.id).into())
            .with_protocol_type(StrBytes::from_string(protocol_type));
        if version >= 4 {
            listed.group_state = StrBytes::from_static_str(state);
        }
        if version >= 5 {
            listed.group_type = StrBytes::from_static_str(kind);
        }
        Some(listed)
    };
    let listed = groups.groups().into_iter().filter_map(list);
    ListGroupsResponse::default().with_groups(listed.collect())
}

/// Answers DescribeGroups 0 to 6.
pub(crate) fn describe_groups(
    context: &Context,
    request: &DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let groups = context.log().coordinator();
    let describe = |id: &GroupId| {
        let mut described = DescribedGroup::default().with_group_id(id.clone());
        if !context.allows(Operation::Describe, Resource::Group(id)) {
            let code = ResponseError::GroupAuthorizationFailed.code();
            return described.with_error_code(code);
        }
        match groups.snapshot(id) {
            Ok(snapshot) => describe_group(&mut described, snapshot, version),
            Err(error) => refuse_group(&mut described, id, &error, version),
        }
        if version >= 3 && request.include_authorized_operations {
            described.authorized_operations = context.authorized_operations(Resource::Group(id));
        }
        described
    };
    DescribeGroupsResponse::default().with_groups(request.groups.iter().map(describe).collect())
}

fn describe_group(to: &mut DescribedGroup, snapshot: GroupSnapshot, version: i16) {
    let is_stable = snapshot.state == GroupState::Stable;
    let member = |member: MemberSnapshot| {
        let text = StrBytes::from_string;
        let mut described = DescribedGroupMember::default()
            .with_member_id(text(member.id))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host));
        if version >= 4 {
            described.group_instance_id = member.instance_id.map(text);
        }
        if is_stable {
            described.member_metadata = member.metadata;
            described.member_assignment = member.assignment;
        }
        described
    };
    to.group_state = StrBytes::from_static_str(state_name(snapshot.state));
    to.protocol_type = StrBytes::from_string(snapshot.protocol_type);
    if is_stable {
        to.protocol_data = StrBytes::from_string(snapshot.protocol);
    }
    to.members = snapshot.members.into_iter().map(member).collect();
}

/// A group that does not exist is a dead one, until version 6 says so.
fn refuse_group(to: &mut DescribedGroup, id: &str, error: &LogError, version: i16) {
    to.group_state = StrBytes::from_static_str(state_name(GroupState::Dead));
    if version < 6 {
        return;
    }
    to.error_code = group_error_code(error);
    to.error_message = match error {
        LogError::UnknownGroup { .. } => {
            Some(StrBytes::from_string(format!("Group {id} not found.")))
        }
        LogError::WrongGroupKind { .. } => {
            Some(StrBytes::from_string(format!("Group {id} is not a classic group.")))
        }
        other => error_message(other),
    };
}

/// Answers DeleteGroups 0 to 2.
pub(crate) async fn delete_groups(
    context: &Context,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::new();
    for id in request.groups_names {
        let code = if id.is_empty() {
            ResponseError::InvalidGroupId.code()
        } else if !context.allows(Operation::Delete, Resource::Group(&id)) {
            ResponseError::GroupAuthorizationFailed.code()
        } else {
            let deleted = context.log().delete_group(&id).await;
            deleted.map_or_else(|error| group_error_code(&error), |()| NONE)
        };
        results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code));
    }
    DeleteGroupsResponse::default().with_results(results)
}

/// Answers OffsetDelete 0.
pub(crate) async fn offset_delete(
    context: &Context,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    if !context.allows(Operation::Delete, Resource::Group(&request.group_id)) {
        let code = ResponseError::GroupAuthorizationFailed.code();
        return OffsetDeleteResponse::default().with_error_code(code);
    }
    let may_read = |topic: &str| context.allows(Operation::Read, Resource::Topic(topic));
    let mut partitions = Vec::new();
    for topic in request.topics.iter().filter(|topic| may_read(&topic.name)) {
        // A name that no topic can have is left out, and answered as unknown below.
        let Ok(name) = TopicName::new(&topic.name) else { continue };
        let numbers = topic.partitions.iter().map(|partition| partition.partition_index);
        partitions.extend(numbers.map(|number| TopicPartition::new(name.clone(), number)));
    }
    let groups = context.log().coordinator();
    let answers = match groups.delete_offsets(&request.group_id, &partitions).await {
        Ok(answers) => answers,
        Err(error) => {
            let code = group_error_code(&error);
            return OffsetDeleteResponse::default().with_error_code(code);
        }
    };
    let code_of = |topic: &str, number: i32| {
        let found = partitions.iter().zip(&answers).find(|(partition, _)| {
            partition.topic.as_str() == topic && partition.partition == number
        });
        match found {
            Some((_, Ok(()))) => NONE,
            Some((_, Err(error))) => group_error_code(error),
            None if !may_read(topic) => ResponseError::TopicAuthorizationFailed.code(),
            None => ResponseError::UnknownTopicOrPartition.code(),
        }
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let number = partition.partition_index;
            OffsetDeleteResponsePartition::default()
                .with_partition_index(number)
                .with_error_code(code_of(&topic.name, number))
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
