//! Committed offsets over the wire: versions, partial commits, fencing.

use courant_broker::BrokerOptions;
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetCommitRequest, OffsetFetchRequest,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::{
            OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        },
    },
};

use crate::{
    groups::join,
    support::{Client, TestBroker, text},
};

/// A commit from outside of any membership.
fn commit(group: &str, topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partition = |&(index, offset): &(i32, i64)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("word")))
    };
    OffsetCommitRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(text(topic).into())
                .with_partitions(offsets.iter().map(partition).collect()),
        ])
}

async fn commit_codes(
    client: &mut Client,
    request: &OffsetCommitRequest,
    version: i16,
) -> Vec<i16> {
    let response = client.call(request, version).await;
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

/// Offset, metadata and error of each partition of one topic.
async fn fetch(
    client: &mut Client,
    group: &str,
    topic: &str,
    partitions: &[i32],
    version: i16,
) -> Vec<(i64, String, i16)> {
    let request = OffsetFetchRequest::default();
    if version >= 8 {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(text(topic).into())
            .with_partition_indexes(partitions.to_vec());
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(text(group).into())
            .with_member_epoch(-1)
            .with_topics(Some(vec![topic]));
        let response = client.call(&request.with_groups(vec![group]), version).await;
        let group = &response.groups[0];
        assert_eq!(group.error_code, 0);
        let all = group.topics.iter().flat_map(|topic| &topic.partitions);
        return all
            .map(|one| {
                (one.committed_offset, one.metadata.as_ref().unwrap().to_string(), one.error_code)
            })
            .collect();
    }
    let topic = OffsetFetchRequestTopic::default()
        .with_name(text(topic).into())
        .with_partition_indexes(partitions.to_vec());
    let request = request.with_group_id(text(group).into()).with_topics(Some(vec![topic]));
    let response = client.call(&request, version).await;
    assert_eq!(response.error_code, 0);
    let all = response.topics.iter().flat_map(|topic| &topic.partitions);
    all.map(|one| {
        (one.committed_offset, one.metadata.as_ref().unwrap().to_string(), one.error_code)
    })
    .collect()
}

#[tokio::test]
async fn every_version_commits_and_fetches() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 3).await;
    let mut client = broker.client().await;
    for version in 2..=9 {
        let offset = i64::from(version) * 100;
        let request = commit("g", "orders", &[(0, offset), (2, offset + 1)]);
        assert_eq!(commit_codes(&mut client, &request, version).await, [0, 0], "{version}");
        for read in 1..=9 {
            let found = fetch(&mut client, "g", "orders", &[0, 1, 2, 7], read).await;
            let at = |offset| (offset, "word".to_owned(), 0);
            let none = (-1, String::new(), 0);
            assert_eq!(found, [at(offset), none.clone(), at(offset + 1), none], "{version} {read}");
        }
    }
}

#[tokio::test]
async fn null_asks_for_everything_that_is_committed() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("a", 1).await;
    broker.topic("b", 2).await;
    let mut client = broker.client().await;
    commit_codes(&mut client, &commit("g", "b", &[(1, 5)]), 9).await;
    commit_codes(&mut client, &commit("g", "a", &[(0, 4)]), 9).await;
    for version in 2..=7 {
        let request =
            OffsetFetchRequest::default().with_group_id(text("g").into()).with_topics(None);
        let response = client.call(&request, version).await;
        let topics: Vec<_> = response
            .topics
            .iter()
            .map(|topic| (topic.name.as_str(), topic.partitions[0].committed_offset))
            .collect();
        assert_eq!(topics, [("a", 4), ("b", 5)], "{version}");
    }
    let group = |name| {
        OffsetFetchRequestGroup::default()
            .with_group_id(text(name).into())
            .with_member_epoch(-1)
            .with_topics(None)
    };
    let request = OffsetFetchRequest::default().with_groups(vec![group("nobody"), group("g")]);
    let response = client.call(&request, 9).await;
    let counts: Vec<_> =
        response.groups.iter().map(|one| (one.group_id.as_str(), one.topics.len())).collect();
    assert_eq!(counts, [("nobody", 0), ("g", 2)]);
}

#[tokio::test]
async fn a_partition_that_cannot_be_committed_does_not_keep_the_others() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    let mut request = commit("g", "orders", &[(0, 7), (9, 7)]);
    request.topics.extend(commit("g", "missing", &[(0, 1)]).topics);
    request.topics.extend(commit("g", "not/a/name", &[(0, 1)]).topics);
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let codes = commit_codes(&mut client, &request, 8).await;
    assert_eq!(codes, [0, unknown, unknown, unknown]);
    assert_eq!(fetch(&mut client, "g", "orders", &[0], 5).await[0].0, 7);

    let mut wordy = commit("g", "orders", &[(0, 8)]);
    wordy.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(5_000)));
    let codes = commit_codes(&mut client, &wordy, 8).await;
    assert_eq!(codes, [ResponseError::OffsetMetadataTooLarge.code()]);
    assert_eq!(fetch(&mut client, "g", "orders", &[0], 5).await[0].0, 7);
}

#[tokio::test]
async fn commits_are_fenced_by_the_membership() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    let of = |generation| {
        commit("g", "orders", &[(0, 1)])
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text("somebody"))
    };
    let illegal = ResponseError::IllegalGeneration.code();
    assert_eq!(commit_codes(&mut client, &of(3), 8).await, [illegal]);
    let missing = ResponseError::GroupIdNotFound.code();
    assert_eq!(commit_codes(&mut client, &of(3), 9).await, [missing]);

    let joined = client.call(&join("g", ""), 3).await;
    let unknown = ResponseError::UnknownMemberId.code();
    assert_eq!(commit_codes(&mut client, &of(1), 8).await, [unknown]);
    assert_eq!(commit_codes(&mut client, &commit("g", "orders", &[(0, 1)]), 8).await, [unknown]);
    let own = of(joined.generation_id).with_member_id(joined.member_id.clone());
    let rebalancing = ResponseError::RebalanceInProgress.code();
    assert_eq!(commit_codes(&mut client, &own, 8).await, [rebalancing]);
    let stale = own.with_generation_id_or_member_epoch(joined.generation_id + 1);
    assert_eq!(commit_codes(&mut client, &stale, 8).await, [illegal]);
}
