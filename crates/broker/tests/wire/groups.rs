//! The classic group protocol over the wire: versions, rebalances, refusals.

use bytes::Bytes;
use courant_broker::BrokerOptions;
use kafka_protocol::{
    ResponseError,
    messages::{
        FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse,
        join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
        sync_group_request::SyncGroupRequestAssignment,
    },
};
use tokio::time::timeout;

use crate::support::{Client, PATIENCE, TestBroker, text};

fn code(error: ResponseError) -> i16 {
    error.code()
}

/// A wish to join that differs from test to test in few things.
pub(crate) fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_member_id(text(member_id))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![
            JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from_static(b"mine")),
        ])
}

/// Joins as a new member, coming back with the id if that is wished.
async fn join_new(
    client: &mut Client,
    request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    let first = client.call(&request, version).await;
    if first.error_code != code(ResponseError::MemberIdRequired) {
        return first;
    }
    client.call(&request.with_member_id(first.member_id), version).await
}

fn sync(
    group: &str,
    joined: &JoinGroupResponse,
    shares: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    let share = |(member, share): &(&str, &'static [u8])| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from_static(share))
    };
    SyncGroupRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(shares.iter().map(share).collect())
}

fn heartbeat(group: &str, joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

/// Heartbeats until the answer is another.
async fn heartbeat_until(client: &mut Client, request: &HeartbeatRequest, wanted: ResponseError) {
    let until = async {
        while client.call(request, 4).await.error_code != wanted.code() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until).await.unwrap();
}

#[tokio::test]
async fn every_version_leads_a_member_through_the_life_of_its_group() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    for version in 0..=9 {
        let group = format!("group-{version}");
        let request = if version == 0 {
            join(&group, "").with_rebalance_timeout_ms(-1)
        } else {
            join(&group, "")
        };
        let first = client.call(&request, version).await;
        let joined = if version >= 4 {
            assert_eq!(first.error_code, code(ResponseError::MemberIdRequired), "{version}");
            client.call(&request.with_member_id(first.member_id), version).await
        } else {
            first
        };
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "{version}");
        assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1));
        assert_eq!(joined.members[0].metadata, Bytes::from_static(b"mine"));
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.is_some(), version >= 7);

        let sync_version = version.min(5);
        let mut request = sync(&group, &joined, &[(&joined.member_id, b"share")]);
        if sync_version >= 5 {
            request = request
                .with_protocol_type(Some(text("consumer")))
                .with_protocol_name(Some(text("range")));
        }
        let synced = client.call(&request, sync_version).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"share"[..]), "{version}");

        let alive = client.call(&heartbeat(&group, &joined), version.min(4)).await;
        assert_eq!(alive.error_code, 0);

        let leave = LeaveGroupRequest::default().with_group_id(text(&group).into());
        let leave_version = version.min(5);
        let member = MemberIdentity::default().with_member_id(joined.member_id.clone());
        let leave = match leave_version {
            0..=2 => leave.with_member_id(joined.member_id.clone()),
            _ => leave.with_members(vec![member]),
        };
        let left = client.call(&leave, leave_version).await;
        assert_eq!(left.error_code, 0);
        assert!(left.members.iter().all(|member| member.error_code == 0));
        let gone = client.call(&heartbeat(&group, &joined), version.min(4)).await;
        assert_eq!(gone.error_code, code(ResponseError::UnknownMemberId));
    }
}

#[tokio::test]
async fn a_second_member_makes_the_first_one_join_again() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    let first = join_new(&mut one, join("g", ""), 9).await;
    one.call(&sync("g", &first, &[(&first.member_id, b"all")]), 3).await;

    let id = two.call(&join("g", ""), 9).await.member_id;
    two.send(&join("g", &id), 9).await.unwrap();
    heartbeat_until(&mut one, &heartbeat("g", &first), ResponseError::RebalanceInProgress).await;
    let again = one.call(&join("g", &first.member_id), 9).await;
    let second = two.receive::<JoinGroupRequest>(9).await.unwrap();
    assert_eq!((again.generation_id, second.generation_id), (2, 2));
    assert_eq!((again.members.len(), second.members.len()), (2, 0));
    assert_eq!((&again.leader, &second.leader), (&first.member_id, &first.member_id));

    // The follower waits for the leader.
    two.send(&sync("g", &second, &[]), 3).await.unwrap();
    let shares: [(&str, &[u8]); 2] = [(&again.member_id, b"a"), (&second.member_id, b"b")];
    let mine: SyncGroupResponse = one.call(&sync("g", &again, &shares), 3).await;
    let theirs = two.receive::<SyncGroupRequest>(3).await.unwrap();
    assert_eq!((&mine.assignment[..], &theirs.assignment[..]), (&b"a"[..], &b"b"[..]));

    let leave = MemberIdentity::default()
        .with_member_id(second.member_id.clone())
        .with_reason(Some(text("done")));
    let leave = LeaveGroupRequest::default()
        .with_group_id(text("g").into())
        .with_members(vec![leave, MemberIdentity::default().with_member_id(text("nobody"))]);
    let left = two.call(&leave, 5).await;
    let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [0, code(ResponseError::UnknownMemberId)]);
    heartbeat_until(&mut one, &heartbeat("g", &again), ResponseError::RebalanceInProgress).await;
}

#[tokio::test]
async fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    let request = join("g", "").with_group_instance_id(Some(text("machine-1")));
    let first = one.call(&request, 9).await;
    assert_eq!((first.error_code, first.generation_id), (0, 1));
    let own = sync("g", &first, &[(&first.member_id, b"kept")]);
    one.call(&own.with_group_instance_id(Some(text("machine-1"))), 3).await;

    let back = two.call(&request, 9).await;
    assert_eq!((back.error_code, back.generation_id, back.skip_assignment), (0, 1, true));
    assert_ne!(back.member_id, first.member_id);
    let share = sync("g", &back, &[]).with_group_instance_id(Some(text("machine-1")));
    assert_eq!(&two.call(&share, 3).await.assignment[..], b"kept");

    let stale = heartbeat("g", &first).with_group_instance_id(Some(text("machine-1")));
    let fenced = one.call(&stale, 4).await;
    assert_eq!(fenced.error_code, code(ResponseError::FencedInstanceId));

    // An administrator removes it by its instance alone.
    let by_instance = MemberIdentity::default().with_group_instance_id(Some(text("machine-1")));
    let leave = LeaveGroupRequest::default()
        .with_group_id(text("g").into())
        .with_members(vec![by_instance]);
    let left = one.call(&leave, 3).await;
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
}

#[tokio::test]
async fn a_member_whose_connection_dies_while_it_joins_is_out_after_its_session() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    let first = join_new(&mut one, join("g", ""), 9).await;
    one.call(&sync("g", &first, &[(&first.member_id, b"")]), 3).await;

    let short = join("g", "").with_session_timeout_ms(500);
    let id = two.call(&short, 9).await.member_id;
    two.send(&short.with_member_id(id), 9).await.unwrap();
    heartbeat_until(&mut one, &heartbeat("g", &first), ResponseError::RebalanceInProgress).await;
    drop(two);
    let both = one.call(&join("g", &first.member_id), 9).await;
    assert_eq!(both.error_code, 0);
    one.call(&sync("g", &both, &[]), 3).await;
    let rejoin = async {
        loop {
            let beat = one.call(&heartbeat("g", &both), 4).await;
            if beat.error_code == code(ResponseError::RebalanceInProgress) {
                return one.call(&join("g", &first.member_id), 9).await;
            }
            tokio::task::yield_now().await;
        }
    };
    // Before the rebalance, or by it: in the end the first is alone.
    let alone = if both.members.len() == 1 {
        both.clone()
    } else {
        timeout(PATIENCE, rejoin).await.unwrap()
    };
    assert_eq!(alone.members.len(), 1);
}

#[tokio::test]
async fn any_protocol_type_works_and_its_bytes_pass_as_they_are() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    let request = join("workers", "").with_protocol_type(text("connect"));
    let joined = join_new(&mut client, request, 7).await;
    assert_eq!(joined.protocol_type.as_deref(), Some("connect"));
    let share = client.call(&sync("workers", &joined, &[(&joined.member_id, b"\0\xff")]), 3).await;
    assert_eq!(&share.assignment[..], b"\0\xff");
    let mixed = join("workers", "").with_protocol_type(text("consumer"));
    let refused = client.call(&mixed, 7).await;
    assert_eq!(refused.error_code, code(ResponseError::InconsistentGroupProtocol));
    assert_eq!((refused.generation_id, refused.protocol_name), (-1, None));
}

#[tokio::test]
async fn refusals_have_kafkas_codes() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    let refused = |request: JoinGroupRequest| (request, 5);
    for ((request, version), wanted) in [
        (refused(join("", "")), ResponseError::InvalidGroupId),
        (refused(join("g", "").with_session_timeout_ms(1)), ResponseError::InvalidSessionTimeout),
        (refused(join("g", "").with_session_timeout_ms(-1)), ResponseError::InvalidSessionTimeout),
        (refused(join("g", "stranger")), ResponseError::UnknownMemberId),
        (refused(join("g", "").with_protocols(vec![])), ResponseError::InconsistentGroupProtocol),
    ] {
        let response = client.call(&request, version).await;
        assert_eq!(response.error_code, wanted.code(), "{request:?}");
        assert_eq!(response.protocol_name.as_deref(), Some(""));
    }
    let joined = join_new(&mut client, join("g", ""), 9).await;
    let other = client.call(&sync("g", &joined, &[]).with_generation_id(7), 3).await;
    assert_eq!(other.error_code, code(ResponseError::IllegalGeneration));
    // Version 5 must say which protocol it is about.
    let silent = client.call(&sync("g", &joined, &[]), 5).await;
    assert_eq!(silent.error_code, code(ResponseError::InconsistentGroupProtocol));
    let stranger = heartbeat("nowhere", &joined);
    let unknown = client.call(&stranger, 4).await;
    assert_eq!(unknown.error_code, code(ResponseError::UnknownMemberId));
    let stale = heartbeat("g", &joined).with_generation_id(0);
    assert_eq!(client.call(&stale, 4).await.error_code, code(ResponseError::IllegalGeneration));
}

#[tokio::test]
async fn the_coordinator_is_this_broker_in_every_version() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    for version in 0..=4 {
        let request = FindCoordinatorRequest::default();
        let (node, port, error) = if version >= 4 {
            let request = request.with_coordinator_keys(vec![text("a"), text("b")]);
            let found = client.call(&request, version).await;
            assert_eq!(found.coordinators.len(), 2);
            let one = &found.coordinators[1];
            assert_eq!(&*one.key, "b");
            (one.node_id, one.port, one.error_code)
        } else {
            let found = client.call(&request.with_key(text("a")), version).await;
            (found.node_id, found.port, found.error_code)
        };
        assert_eq!((node.0, port, error), (1, i32::from(broker.address.port()), 0), "{version}");
    }
    let transactions = FindCoordinatorRequest::default().with_key(text("t")).with_key_type(1);
    assert_eq!(client.call(&transactions, 3).await.error_code, 0);
    let unknown = FindCoordinatorRequest::default().with_key(text("t")).with_key_type(7);
    let refused = client.call(&unknown, 3).await;
    assert_eq!(refused.error_code, code(ResponseError::InvalidRequest));
    broker.stop().await;
}
