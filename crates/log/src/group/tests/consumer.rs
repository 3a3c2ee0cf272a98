//! Consumer groups (KIP-848) within the coordinator: offsets, kinds, restarts.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use courant_model::{ManualClock, Positions, Timestamp, TopicPartition};

use super::doubles::{MemoryStore, at, topic};
use crate::{
    Committed, ErrorCode, GroupState, LogError,
    group::{
        CONSUMER_PROTOCOL, ConsumerHeartbeat, ConsumerHeartbeatAnswer, Coordinator, GroupKind,
        GroupOptions, JoinRequest, Membership, Protocol, TopicPartitions,
    },
};

async fn open(store: &Arc<MemoryStore>) -> Coordinator {
    let topics = TopicPartitions::from([(topic("t"), 2), (topic("u"), 1)]);
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let store = Arc::clone(store);
    Coordinator::open(store, topics, clock, GroupOptions::default()).await.unwrap()
}

fn joining(id: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_id: id.to_owned(),
        rebalance_timeout_ms: Some(1_000),
        topics: Some(BTreeSet::from([topic("t")])),
        owned: Some(BTreeSet::new()),
        ..ConsumerHeartbeat::default()
    }
}

fn beat(
    groups: &Coordinator,
    group: &str,
    request: &ConsumerHeartbeat,
) -> Result<ConsumerHeartbeatAnswer, LogError> {
    groups.consumer_heartbeat(group, request, &|_| true)
}

fn leaving(id: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { member_id: id.to_owned(), member_epoch: -1, ..Default::default() }
}

fn member(id: &str, epoch: i32) -> Membership {
    Membership { member_id: id.to_owned(), instance_id: None, generation: epoch }
}

fn offset(partition: TopicPartition, offset: i64) -> Vec<(TopicPartition, Committed)> {
    vec![(partition, Committed { offset, metadata: String::new() })]
}

fn classic_join() -> JoinRequest {
    JoinRequest {
        member_id: String::new(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "h".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: CONSUMER_PROTOCOL.into(),
        protocols: vec![Protocol { name: "range".into(), metadata: bytes::Bytes::new() }],
        member_id_required: false,
        can_skip_assignment: false,
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, LogError>) -> ErrorCode {
    outcome.unwrap_err().code()
}

#[tokio::test(start_paused = true)]
async fn commits_and_reads_are_fenced_by_the_members_epoch() {
    let groups = open(&Arc::default()).await;
    let joined = beat(&groups, "g", &joining("a")).unwrap();
    assert_eq!(joined.assignment, Some(BTreeSet::from([at("t", 0), at("t", 1)])));
    groups.commit("g", &member("a", 1), offset(at("t", 0), 5)).await.unwrap();
    let stale = groups.commit("g", &member("a", 0), offset(at("t", 0), 6)).await;
    assert_eq!(code(stale), ErrorCode::StaleMemberEpoch);
    let stranger = groups.commit("g", &member("b", 1), offset(at("t", 0), 6)).await;
    assert_eq!(code(stranger), ErrorCode::UnknownMemberId);
    let outside = groups.commit("g", &Membership::none(), offset(at("t", 0), 6)).await;
    assert_eq!(code(outside), ErrorCode::UnknownMemberId);
    assert_eq!(groups.committed("g")[&at("t", 0)].offset, 5);
    groups.check_offset_reader("g", "a", 1).unwrap();
    groups.check_offset_reader("g", "", -1).unwrap();
    assert_eq!(code(groups.check_offset_reader("g", "a", 3)), ErrorCode::StaleMemberEpoch);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_out_by_itself() {
    let groups = open(&Arc::default()).await;
    beat(&groups, "g", &joining("a")).unwrap();
    tokio::time::sleep(Duration::from_secs(46)).await;
    let snapshot = groups.consumer_snapshot("g").unwrap();
    assert_eq!((snapshot.state, snapshot.members.len()), (GroupState::Empty, 0));
    let late = ConsumerHeartbeat { member_epoch: 1, ..joining("a") };
    assert_eq!(code(beat(&groups, "g", &late)), ErrorCode::UnknownMemberId);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_offsets_and_epoch_stand_and_members_join_again() {
    let store = Arc::new(MemoryStore::default());
    let groups = open(&store).await;
    beat(&groups, "g", &joining("a")).unwrap();
    groups.commit("g", &member("a", 1), offset(at("t", 0), 5)).await.unwrap();
    groups.close().await.unwrap();

    let groups = open(&store).await;
    assert_eq!(groups.kind("g"), Some(GroupKind::Consumer));
    let late = ConsumerHeartbeat { member_epoch: 1, ..joining("a") };
    assert_eq!(code(beat(&groups, "g", &late)), ErrorCode::UnknownMemberId);
    let joined = beat(&groups, "g", &joining("a")).unwrap();
    assert_eq!(joined.member_epoch, 2, "an epoch is never used twice");
    assert_eq!(groups.committed("g")[&at("t", 0)].offset, 5);
    let nobody = ConsumerHeartbeat { member_epoch: 1, ..joining("a") };
    assert_eq!(code(beat(&groups, "never", &nobody)), ErrorCode::GroupIdNotFound);
}

#[tokio::test(start_paused = true)]
async fn an_id_changes_its_kind_only_while_nobody_is_in_it() {
    let store = Arc::new(MemoryStore::default());
    let groups = open(&store).await;
    beat(&groups, "g", &joining("a")).unwrap();
    assert_eq!(code(groups.join("g", classic_join()).await), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(code(groups.snapshot("g")), ErrorCode::GroupIdNotFound);
    beat(&groups, "g", &leaving("a")).unwrap();
    let epoch = groups.consumer_snapshot("g").unwrap().epoch;

    let joined = groups.join("g", classic_join()).await.unwrap();
    assert!(joined.generation > epoch, "{} after {epoch}", joined.generation);
    assert_eq!(code(beat(&groups, "g", &joining("a"))), ErrorCode::GroupIdNotFound);
    groups.leave("g", &joined.member_id, None).unwrap();
    let generation = groups.snapshot("g").unwrap().generation;

    let again = beat(&groups, "g", &joining("a")).unwrap();
    assert!(again.member_epoch > generation);
    groups.close().await.unwrap();
    assert_eq!(open(&store).await.kind("g"), Some(GroupKind::Consumer));
}

#[tokio::test(start_paused = true)]
async fn offsets_of_topics_that_nobody_reads_can_be_deleted() {
    let groups = open(&Arc::default()).await;
    beat(&groups, "g", &joining("a")).unwrap();
    let mine = member("a", 1);
    groups.commit("g", &mine, offset(at("t", 0), 5)).await.unwrap();
    groups.commit("g", &mine, offset(at("u", 0), 5)).await.unwrap();
    let asked = [at("t", 0), at("u", 0), at("gone", 0), at("u", 7)];
    let answers = groups.delete_offsets("g", &asked).await.unwrap();
    let codes: Vec<_> = answers.iter().map(|one| one.as_ref().err().map(LogError::code)).collect();
    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(codes, [Some(ErrorCode::GroupSubscribedToTopic), None, unknown, unknown]);
    assert_eq!(groups.committed("g").into_keys().collect::<Vec<_>>(), [at("t", 0)]);
    assert_eq!(code(groups.delete_offsets("none", &asked).await), ErrorCode::GroupIdNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_or_reset_group_has_no_members() {
    let store = Arc::new(MemoryStore::default());
    let groups = open(&store).await;
    beat(&groups, "g", &joining("a")).unwrap();
    let positions = Positions::from([(at("t", 0), 3)]);
    assert_eq!(code(groups.delete("g").await), ErrorCode::NonEmptyGroup);
    assert_eq!(code(groups.reset("g", &positions).await), ErrorCode::NonEmptyGroup);
    beat(&groups, "g", &leaving("a")).unwrap();
    groups.reset("g", &positions).await.unwrap();
    groups.delete("g").await.unwrap();
    assert_eq!((groups.kind("g"), groups.groups().len()), (None, 0));
    groups.close().await.unwrap();
    assert_eq!(open(&store).await.kind("g"), None);
}

#[tokio::test(start_paused = true)]
async fn members_that_say_too_much_are_refused() {
    let groups = open(&Arc::default()).await;
    let much = ConsumerHeartbeat { regex: Some("x".repeat(2 << 20)), ..joining("a") };
    assert_eq!(code(beat(&groups, "g", &much)), ErrorCode::InvalidGroupId);
    assert_eq!(groups.kind("g"), None, "no group was made for it");
}
