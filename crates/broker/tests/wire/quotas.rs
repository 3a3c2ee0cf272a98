//! Quotas over the wire: what is too much is done, and the answer says how long to wait.

use courant_log::Log;
use courant_model::{Record, Timestamp, TopicName};
use kafka_protocol::messages::{
    FetchRequest, HeartbeatRequest, ProduceRequest,
    fetch_request::{FetchPartition, FetchTopic},
};

use crate::{
    sasl::plain,
    support::{TestBroker, text},
};

#[tokio::test]
async fn producing_too_much_is_throttled_and_others_are_not() {
    let broker = TestBroker::secured(
        r#"{"sasl": {"mechanisms": ["PLAIN"], "users": {
                "alice": {"password": "a"}, "bob": {"password": "b"}}},
            "quotas": {"users": {"alice": {"produce_bytes_per_second": "1B"}}}}"#,
    )
    .await;
    let produce = ProduceRequest::default().with_acks(-1);
    for (user, throttled) in [("alice", true), ("bob", false), ("alice", true)] {
        let mut client = broker.client().await;
        plain(&mut client, user, &user[..1]).await;
        let response = client.call(&produce, 9).await;
        assert_eq!(response.throttle_time_ms > 0, throttled, "{user}");
    }
}

#[tokio::test]
async fn fetching_too_much_is_throttled() {
    let broker = TestBroker::secured(r#"{"quotas": {"fetch_bytes_per_second": "1B"}}"#).await;
    broker.topic("orders", 1).await;
    let records = vec![Record::new(vec![b'x'; 1_000], Timestamp::from_millis(0))];
    broker.log.append(&TopicName::new("orders").unwrap(), None, records).await.unwrap();
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let topic =
        FetchTopic::default().with_topic(text("orders").into()).with_partitions(vec![partition]);
    let fetch = FetchRequest::default().with_min_bytes(1).with_topics(vec![topic]);
    let mut client = broker.client().await;
    let response = client.call(&fetch, 11).await;
    assert!(response.responses[0].partitions[0].records.as_ref().unwrap().len() > 1_000);
    assert!(response.throttle_time_ms > 0);
}

#[tokio::test]
async fn asking_too_often_is_throttled() {
    let broker = TestBroker::secured(r#"{"quotas": {"requests_per_second": 2}}"#).await;
    let mut client = broker.client().await;
    let heartbeat = HeartbeatRequest::default().with_group_id(text("g").into());
    let mut throttled = Vec::new();
    for _ in 0..4 {
        throttled.push(client.call(&heartbeat, 4).await.throttle_time_ms > 0);
    }
    assert!(!throttled[0] && throttled.contains(&true), "{throttled:?}");
}
