//! The classic group protocol: join, sync, heartbeat, leave.
//!
//! The log's coordinator decides; here requests of all versions become its inputs and
//! its refusals become codes. A join waits for the others and a sync for the leader:
//! their connection takes no other request meanwhile, as with Kafka, and a member that
//! goes away while it waits stays until its session ends. What members say to each
//! other are bytes; any protocol type works.

use bytes::Bytes;
use courant_log::{
    LogError,
    group::{JoinRequest, Joined, Membership, Protocol, SyncRequest},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
        join_group_response::JoinGroupResponseMember, leave_group_request::MemberIdentity,
        leave_group_response::MemberResponse,
    },
    protocol::StrBytes,
};

use crate::{
    context::Context,
    errors::{NONE, group_error_code},
    security::{Operation, Resource},
};

/// Answers JoinGroup 0 to 9, once the next generation begins.
pub(crate) async fn join_group(
    context: &Context,
    request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    if !may_join(context, &request.group_id) {
        let refused = ResponseError::GroupAuthorizationFailed.code();
        return join_refused(refused, StrBytes::new(), version);
    }
    let group = request.group_id.to_string();
    let member_id = request.member_id.clone();
    let joining = join_request(context, request, version);
    match context.log().coordinator().join(&group, joining).await {
        Ok(joined) => join_accepted(joined, version),
        Err(error) => {
            let member_id = match &error {
                LogError::MemberIdRequired { member, .. } => text(member.clone()),
                _ => member_id,
            };
            join_refused(group_error_code(&error), member_id, version)
        }
    }
}

/// Answers SyncGroup 0 to 5, once the leader has decided.
pub(crate) async fn sync_group(
    context: &Context,
    request: SyncGroupRequest,
    version: i16,
) -> SyncGroupResponse {
    let refused = |code| SyncGroupResponse::default().with_error_code(code);
    if !may_join(context, &request.group_id) {
        return refused(ResponseError::GroupAuthorizationFailed.code());
    }
    if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return refused(ResponseError::InconsistentGroupProtocol.code());
    }
    let share = |one: kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment| {
        (one.member_id.to_string(), kept(&one.assignment))
    };
    let syncing = SyncRequest {
        membership: membership(
            &request.member_id,
            request.group_instance_id.as_ref(),
            request.generation_id,
        ),
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: request.assignments.into_iter().map(share).collect(),
    };
    match context.log().coordinator().sync(&request.group_id, syncing).await {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(error) => refused(group_error_code(&error)),
    }
}

/// Answers Heartbeat 0 to 4.
pub(crate) fn heartbeat(context: &Context, request: &HeartbeatRequest) -> HeartbeatResponse {
    let code = if may_join(context, &request.group_id) {
        let instance_id = request.group_instance_id.as_ref();
        let membership = membership(&request.member_id, instance_id, request.generation_id);
        let alive = context.log().coordinator().heartbeat(&request.group_id, &membership);
        alive.map_or_else(|error| group_error_code(&error), |()| NONE)
    } else {
        ResponseError::GroupAuthorizationFailed.code()
    };
    HeartbeatResponse::default().with_throttle_time_ms(context.throttle_ms()).with_error_code(code)
}

/// Answers LeaveGroup 0 to 5; from version 3 on several members go at once.
pub(crate) fn leave_group(
    context: &Context,
    request: LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default().with_throttle_time_ms(context.throttle_ms());
    if !may_join(context, &request.group_id) {
        return response.with_error_code(ResponseError::GroupAuthorizationFailed.code());
    }
    let leave = |member_id: &str, instance_id: Option<&str>| {
        let left = context.log().coordinator().leave(&request.group_id, member_id, instance_id);
        left.map_or_else(|error| group_error_code(&error), |()| NONE)
    };
    if version < 3 {
        return response.with_error_code(leave(&request.member_id, None));
    }
    let one = |member: MemberIdentity| {
        let code = leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code)
    };
    response.with_members(request.members.into_iter().map(one).collect())
}

/// Who speaks, as the coordinator wants it.
pub(crate) fn membership(
    member_id: &str,
    instance_id: Option<&StrBytes>,
    generation: i32,
) -> Membership {
    Membership {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(ToString::to_string),
        generation,
    }
}

fn may_join(context: &Context, group: &str) -> bool {
    context.allows(Operation::Read, Resource::Group(group))
}

fn join_request(context: &Context, request: JoinGroupRequest, version: i16) -> JoinRequest {
    let millis = |ms: i32| u64::try_from(ms).unwrap_or(0);
    let session_timeout_ms = millis(request.session_timeout_ms);
    let protocol = |one: kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol| {
        Protocol { name: one.name.to_string(), metadata: kept(&one.metadata) }
    };
    JoinRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: context.client_id.to_string(),
        // As Kafka shows it.
        client_host: format!("/{}", context.connection.peer.ip().to_canonical()),
        session_timeout_ms,
        // Version 0 knows one time-out for both.
        rebalance_timeout_ms: match version {
            0 => session_timeout_ms,
            _ => millis(request.rebalance_timeout_ms),
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        member_id_required: version >= 4,
        can_skip_assignment: version >= 9,
    }
}

fn join_accepted(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance_id.map(text))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type((version >= 7).then(|| text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member_id))
        .with_members(members.collect())
}

fn join_refused(code: i16, member_id: StrBytes, version: i16) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(-1)
        .with_protocol_name((version < 7).then(StrBytes::new))
        .with_member_id(member_id)
}

/// A copy for as long as the group lives: a slice would keep the whole frame.
fn kept(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}
