//! Quotas over the wire: what is too much is done, and the answer says how long to wait.

use courant_log::Log;
use courant_model::{Record, Timestamp, TopicName};
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeClientQuotasRequest, FetchRequest, HeartbeatRequest, ProduceRequest,
        describe_client_quotas_request::ComponentData,
        fetch_request::{FetchPartition, FetchTopic},
    },
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
async fn the_quotas_of_the_file_are_told_to_admin_tools() {
    let broker = TestBroker::secured(
        r#"{"quotas": {"produce_bytes_per_second": "1KiB", "users": {
            "alice": {"fetch_bytes_per_second": "2KiB"}, "bob": {"requests_per_second": 9}}}}"#,
    )
    .await;
    let mut client = broker.client().await;
    let of = |kind: &str, match_type, name: Option<&str>| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match_type(match_type)
            .with_match(name.map(text))
    };
    let (alice, everybody) = (
        (Some("alice".to_owned()), "consumer_byte_rate".to_owned(), 2048.0),
        (None, "producer_byte_rate".to_owned(), 1024.0),
    );
    for (components, strict, wanted) in [
        (vec![], false, vec![everybody.clone(), alice.clone()]),
        (vec![], true, vec![]),
        (vec![of("user", 2, None)], true, vec![everybody.clone(), alice.clone()]),
        (vec![of("user", 1, None)], true, vec![everybody]),
        (vec![of("user", 0, Some("alice"))], false, vec![alice]),
        (vec![of("user", 0, Some("bob"))], false, vec![]),
        (vec![of("ip", 2, None)], false, vec![]),
    ] {
        let request =
            DescribeClientQuotasRequest::default().with_components(components).with_strict(strict);
        let response = client.call(&request, 1).await;
        let told = response.entries.iter().flatten().map(|entry| {
            let (entity, value) = (&entry.entity[0], &entry.values[0]);
            (
                entity.entity_name.as_ref().map(ToString::to_string),
                value.key.to_string(),
                value.value,
            )
        });
        assert_eq!(told.collect::<Vec<_>>(), wanted, "{request:?}");
    }
    let unknown = DescribeClientQuotasRequest::default().with_components(vec![of("x", 2, None)]);
    let refused = client.call(&unknown, 0).await;
    assert_eq!(refused.error_code, ResponseError::InvalidRequest.code());
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
