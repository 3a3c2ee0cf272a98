//! Groups of the newer protocol (KIP-848) over the wire, with offsets between.

use courant_broker::BrokerOptions;
use courant_log::Log;
use courant_model::TopicName;
use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest,
        ConsumerGroupHeartbeatResponse, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
        consumer_group_heartbeat_request::TopicPartitions,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::OffsetFetchRequestGroup,
    },
};
use uuid::Uuid;

use crate::{
    groups::join,
    support::{Client, TestBroker, text},
};

fn code(error: ResponseError) -> i16 {
    error.code()
}

fn joining(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text(group).into())
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![text("t").into()]))
        .with_topic_partitions(Some(Vec::new()))
}

/// A later heartbeat, with what is held of one topic.
fn beat(member: &str, epoch: i32, held: (Uuid, &[i32])) -> ConsumerGroupHeartbeatRequest {
    let (id, partitions) = held;
    let held = TopicPartitions::default().with_topic_id(id).with_partitions(partitions.to_vec());
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text("g").into())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(Some(vec![held]))
}

/// The partitions of the one topic in an answer; `None` if it says nothing of them.
fn given(response: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    let topics = &response.assignment.as_ref()?.topic_partitions;
    Some(topics.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

async fn started(partitions: i32) -> (TestBroker, Client, Uuid) {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", partitions).await;
    let id = broker.log.topic_id(&TopicName::new("t").unwrap()).unwrap();
    let client = broker.client().await;
    (broker, client, id)
}

#[tokio::test]
async fn two_members_share_by_heartbeats_alone() {
    let (_broker, mut client, id) = started(2).await;
    let first = client.call(&joining("g", "a"), 1).await;
    assert_eq!((given(&first), first.member_epoch), (Some(vec![0, 1]), 1));
    assert!(first.heartbeat_interval_ms > 0);
    let second = client.call(&joining("g", "b"), 1).await;
    assert_eq!((given(&second), second.member_epoch), (Some(vec![]), 2));
    let told = client.call(&beat("a", 1, (id, &[0, 1])), 1).await;
    let keeps = given(&told).unwrap();
    assert_eq!((keeps.len(), told.member_epoch), (1, 1));
    let moved = client.call(&beat("a", 1, (id, &keeps)), 1).await;
    assert_eq!(moved.member_epoch, 2);
    let rest = client.call(&beat("b", 2, (id, &[])), 1).await;
    let rest = given(&rest).unwrap();
    assert_eq!([keeps.clone(), rest.clone()].concat().len(), 2);
    assert_ne!(keeps, rest);

    let leaving = joining("g", "b").with_member_epoch(-1);
    assert_eq!(client.call(&leaving, 1).await.member_epoch, -1);
    let alone = client.call(&beat("a", 2, (id, &keeps)), 1).await;
    assert_eq!(given(&alone), Some(vec![0, 1]));
}

#[tokio::test]
async fn a_first_version_member_is_given_an_id() {
    let (_broker, mut client, _) = started(1).await;
    let joined = client.call(&joining("g", ""), 0).await;
    assert_eq!(given(&joined), Some(vec![0]));
    assert!(!joined.member_id.unwrap().is_empty());
}

#[tokio::test]
async fn heartbeats_of_a_wrong_shape_are_refused() {
    let (_broker, mut client, id) = started(1).await;
    client.call(&joining("g", "a"), 1).await;
    let base = || joining("g", "b");
    let cases = [
        (joining("", "b"), ResponseError::InvalidRequest, "GroupId can't be empty."),
        (joining("g", ""), ResponseError::InvalidRequest, "MemberId can't be empty."),
        (
            base().with_rebalance_timeout_ms(-1),
            ResponseError::InvalidRequest,
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (
            base().with_topic_partitions(None),
            ResponseError::InvalidRequest,
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (base().with_member_epoch(-2), ResponseError::InvalidRequest, "InstanceId can't be null."),
        (base().with_member_epoch(-3), ResponseError::InvalidRequest, "MemberEpoch is invalid."),
        (
            base().with_server_assignor(Some(text("magic"))),
            ResponseError::UnsupportedAssignor,
            "Supported assignors: uniform, range.",
        ),
        (
            base().with_subscribed_topic_regex(Some(text("("))),
            ResponseError::InvalidRegularExpression,
            "\"(\"",
        ),
        (beat("a", 9, (id, &[0])), ResponseError::FencedMemberEpoch, "epoch 9"),
        (beat("x", 1, (id, &[0])), ResponseError::UnknownMemberId, "\"x\""),
    ];
    for (request, error, words) in cases {
        let response = client.call(&request, 1).await;
        let message = response.error_message.unwrap();
        assert_eq!(response.error_code, code(error), "{message}");
        assert!(message.contains(words), "{message}");
    }
    let nobody = beat("a", 1, (id, &[])).with_group_id(text("none").into());
    let unknown = client.call(&nobody, 1).await.error_code;
    assert_eq!(unknown, code(ResponseError::GroupIdNotFound));
}

#[tokio::test]
async fn offsets_are_committed_and_read_at_the_members_epoch() {
    let (_broker, mut client, _) = started(1).await;
    client.call(&joining("g", "a"), 1).await;
    let commit = |member: &str, epoch| {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(7);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(text("t").into())
            .with_partitions(vec![partition]);
        OffsetCommitRequest::default()
            .with_group_id(text("g").into())
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(vec![topic])
    };
    let cases = [
        (commit("a", 1), 0),
        (commit("a", 4), code(ResponseError::StaleMemberEpoch)),
        (commit("x", 1), code(ResponseError::UnknownMemberId)),
    ];
    for (request, expected) in cases {
        let response = client.call(&request, 9).await;
        assert_eq!(response.topics[0].partitions[0].error_code, expected);
    }
    let fetch = |epoch| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(text("g").into())
            .with_member_id(Some(text("a")))
            .with_member_epoch(epoch)
            .with_topics(None);
        OffsetFetchRequest::default().with_groups(vec![group])
    };
    let read = client.call(&fetch(1), 9).await.groups.remove(0);
    assert_eq!(read.topics[0].partitions[0].committed_offset, 7);
    let stale = client.call(&fetch(4), 9).await.groups.remove(0);
    assert_eq!(stale.error_code, code(ResponseError::StaleMemberEpoch));
}

#[tokio::test]
async fn a_group_is_described_and_listed_by_its_kind() {
    let (broker, mut client, id) = started(2).await;
    let request = joining("g", "a").with_subscribed_topic_regex(Some(text("t.*")));
    client.call(&request, 1).await;
    let both = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![text("g").into(), text("none").into()])
        .with_include_authorized_operations(true);
    for version in 0..=1 {
        let groups = client.call(&both, version).await.groups;
        let group = &groups[0];
        assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
        assert_eq!((group.group_epoch, group.assignor_name.as_str()), (1, "uniform"));
        let member = &group.members[0];
        assert_eq!(member.client_id.as_str(), "test");
        assert_eq!(member.subscribed_topic_regex, Some(text("t.*")));
        for assignment in [&member.assignment, &member.target_assignment] {
            let topic = &assignment.topic_partitions[0];
            assert_eq!((topic.topic_id, topic.topic_name.as_str()), (id, "t"));
            assert_eq!(topic.partitions, [0, 1]);
        }
        assert_eq!(groups[1].error_code, code(ResponseError::GroupIdNotFound));
    }
    let listed = client.call(&ListGroupsRequest::default(), 5).await.groups.remove(0);
    assert_eq!((listed.group_type.as_str(), listed.group_state.as_str()), ("consumer", "Stable"));
    assert_eq!(broker.log.group("g").await.unwrap().members[0].partitions.len(), 2);
    let classic = client.call(&join("g", ""), 3).await;
    assert_eq!(classic.error_code, code(ResponseError::InconsistentGroupProtocol));
}

#[tokio::test]
async fn a_topic_made_again_is_another_one() {
    let (broker, mut client, id) = started(1).await;
    client.call(&joining("g", "a"), 1).await;
    broker.log.delete_topic(&TopicName::new("t").unwrap()).await.unwrap();
    broker.topic("t", 1).await;
    let again = broker.log.topic_id(&TopicName::new("t").unwrap()).unwrap();
    assert_ne!(id, again);
    let mut epoch = 1;
    let mut held = Vec::new();
    // The old partition is nobody's any more; the new one comes with a heartbeat or two.
    for _ in 0..3 {
        let response = client.call(&beat("a", epoch, (again, &held)), 1).await;
        epoch = response.member_epoch;
        if let Some(assignment) = &response.assignment {
            let topics = &assignment.topic_partitions;
            assert!(topics.iter().all(|topic| topic.topic_id == again));
            held = topics.iter().flat_map(|topic| topic.partitions.clone()).collect();
        }
    }
    assert_eq!(held, [0]);
}
