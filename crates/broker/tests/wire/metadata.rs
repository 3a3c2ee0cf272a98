//! What clients ask first: versions, topics, offsets, epochs.

use courant_broker::{AutoCreation, BrokerOptions};
use courant_log::Log;
use courant_model::TopicName;
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, ListOffsetsRequest, MetadataRequest,
        OffsetForLeaderEpochRequest, TopicName as WireName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::Decodable,
};
use uuid::Uuid;

use crate::{
    produce::append,
    support::{Client, TestBroker, text},
};

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(WireName(text(name))))
}

fn about(topics: Vec<MetadataRequestTopic>) -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(true)
}

#[tokio::test]
async fn every_version_of_metadata_shows_broker_and_topics() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 3).await;
    let mut client = broker.client().await;
    for version in 0..=12 {
        let all = MetadataRequest::default().with_topics(if version > 0 {
            None
        } else {
            Some(Vec::new())
        });
        for request in [all, about(vec![named("orders")])] {
            let response = client.call(&request, version).await;
            let found = &response.brokers[0];
            assert_eq!(
                (found.host.as_str(), found.port),
                ("127.0.0.1", i32::from(broker.address.port()))
            );
            let orders = response
                .topics
                .iter()
                .find(|topic| topic.name.as_ref().is_some_and(|name| name.as_str() == "orders"));
            let orders = orders.unwrap();
            assert_eq!((orders.error_code, orders.partitions.len()), (0, 3), "version {version}");
            assert!(orders.partitions.iter().all(|partition| partition.leader_id == found.node_id));
            if version >= 2 {
                assert_eq!(response.cluster_id.as_ref().unwrap().len(), 22);
            }
        }
    }
}

#[tokio::test]
async fn a_topic_is_created_only_where_client_and_broker_both_wish_it() {
    let broker = TestBroker::start(BrokerOptions {
        auto_creation: AutoCreation { enabled: true, partitions: 4 },
        ..BrokerOptions::default()
    })
    .await;
    let mut client = broker.client().await;
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let refused = about(vec![named("orders")]).with_allow_auto_topic_creation(false);
    assert_eq!(client.call(&refused, 9).await.topics[0].error_code, unknown);
    let created = client.call(&about(vec![named("orders")]), 9).await;
    assert_eq!(created.topics[0].partitions.len(), 4);
    let invalid = client.call(&about(vec![named("no/name")]), 9).await;
    assert_eq!(invalid.topics[0].error_code, ResponseError::InvalidTopicException.code());
    let own = client.call(&about(vec![named("__consumer_offsets")]), 9).await;
    assert_eq!(own.topics[0].error_code, unknown);

    let auto_creation = AutoCreation { enabled: false, partitions: 1 };
    let broker =
        TestBroker::start(BrokerOptions { auto_creation, ..BrokerOptions::default() }).await;
    let mut client = broker.client().await;
    let answer = client.call(&about(vec![named("orders")]), 9).await;
    assert_eq!(answer.topics[0].error_code, unknown);
}

#[tokio::test]
async fn topics_are_found_by_id() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let id = broker.log.topic(&TopicName::new("orders").unwrap()).await.unwrap().id;
    let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let mut client = broker.client().await;
    let request = about(vec![by_id(id), by_id(Uuid::from_u128(7))]);
    let response = client.call(&request, 12).await;
    assert_eq!(response.topics[0].name.as_ref().unwrap().as_str(), "orders");
    assert_eq!(response.topics[0].topic_id, id);
    assert_eq!(response.topics[1].error_code, ResponseError::UnknownTopicId.code());
}

#[tokio::test]
async fn clients_are_sent_where_the_options_say() {
    let advertised = Some(("broker.example".to_owned(), 19_092));
    let broker = TestBroker::start(BrokerOptions { advertised, ..BrokerOptions::default() }).await;
    let mut client = broker.client().await;
    let response = client.call(&MetadataRequest::default(), 9).await;
    assert_eq!(response.brokers[0].host.as_str(), "broker.example");
    assert_eq!(response.brokers[0].port, 19_092);
}

#[tokio::test]
async fn versions_are_told_in_every_version_and_to_those_from_the_future() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1.0"));
    let asked = |version| {
        if version >= 3 { request.clone() } else { ApiVersionsRequest::default() }
    };
    for version in 0..=4 {
        let response = client.call(&asked(version), version).await;
        assert_eq!(response.error_code, 0);
        let metadata =
            response.api_keys.iter().find(|api| api.api_key == ApiKey::Metadata as i16).unwrap();
        assert_eq!((metadata.min_version, metadata.max_version), (0, 12));
    }
    let nameless = ApiVersionsRequest::default().with_client_software_name(text("-"));
    let refused = client.call(&nameless, 3).await;
    assert_eq!(refused.error_code, ResponseError::InvalidRequest.code());

    // Key, version 99, correlation id 1, no client id, no tags, and what nobody knows.
    client.send_frame(&[0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 2, 3]).await.unwrap();
    let mut answer = client.receive_frame().await.unwrap().split_off(4);
    let response = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!(response.error_code, ResponseError::UnsupportedVersion.code());
    assert!(!response.api_keys.is_empty());
}

/// Timestamp and offset that ListOffsets answers.
async fn listed(client: &mut Client, at: i64, version: i16) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(at);
    let topic = ListOffsetsTopic::default()
        .with_name(text("orders").into())
        .with_partitions(vec![partition]);
    let response =
        client.call(&ListOffsetsRequest::default().with_topics(vec![topic]), version).await;
    let answer = &response.topics[0].partitions[0];
    if version >= 4 {
        assert_eq!(answer.leader_epoch, if answer.offset < 0 { -1 } else { 0 });
    }
    (answer.error_code, answer.timestamp, answer.offset)
}

#[tokio::test]
async fn offsets_are_listed_by_place_and_by_time() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    // Made at 1,000, 1,001 and 1,002.
    append(&mut client, "orders", &["a", "b", "c"]).await;
    for version in 1..=8 {
        assert_eq!(listed(&mut client, -2, version).await, (0, -1, 0));
        assert_eq!(listed(&mut client, -1, version).await, (0, -1, 3));
        assert_eq!(listed(&mut client, 1_001, version).await, (0, 1_001, 1));
        assert_eq!(listed(&mut client, 0, version).await, (0, 1_000, 0));
        assert_eq!(listed(&mut client, 5_000, version).await, (0, -1, -1));
    }
    assert_eq!(listed(&mut client, -3, 7).await, (0, 1_002, 2));
    assert_eq!(listed(&mut client, -4, 8).await, (0, -1, 0));
    let unspoken = ResponseError::UnsupportedVersion.code();
    assert_eq!(listed(&mut client, -3, 6).await.0, unspoken);
    assert_eq!(listed(&mut client, -5, 8).await.0, unspoken);
}

#[tokio::test]
async fn the_only_leader_ends_where_the_partition_ends() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    append(&mut client, "orders", &["a", "b"]).await;
    for version in 2..=4 {
        let asked = |partition, epoch| {
            OffsetForLeaderPartition::default().with_partition(partition).with_leader_epoch(epoch)
        };
        let topic = OffsetForLeaderTopic::default()
            .with_topic(text("orders").into())
            .with_partitions(vec![asked(0, 0), asked(0, 7), asked(9, 0)]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let response = client.call(&request, version).await;
        let answers = &response.topics[0].partitions;
        let told =
            |at: usize| (answers[at].error_code, answers[at].leader_epoch, answers[at].end_offset);
        assert_eq!(told(0), (0, 0, 2));
        assert_eq!(told(1), (0, -1, -1));
        assert_eq!(told(2).0, ResponseError::UnknownTopicOrPartition.code());
    }
}
