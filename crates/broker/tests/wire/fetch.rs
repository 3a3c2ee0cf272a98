//! Record batches on their way out: versions, waiting, limits, refusals.

use bytes::Bytes;
use courant_broker::BrokerOptions;
use courant_log::{
    Log,
    batch::{self, Compression},
};
use courant_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        FetchRequest, FetchResponse, MetadataRequest,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::PartitionData,
    },
};

use crate::{
    produce::{append, batch_of, produce},
    support::{TestBroker, text},
};

/// Longer than any test may take: a fetch that is answered did not wait for it.
const LONG_MS: i32 = 300_000;

fn from(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
}

fn fetch(topic: &str, max_wait_ms: i32, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = FetchTopic::default().with_topic(text(topic).into()).with_partitions(partitions);
    FetchRequest::default().with_max_wait_ms(max_wait_ms).with_min_bytes(1).with_topics(vec![topic])
}

fn partitions(response: &FetchResponse) -> Vec<&PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

fn values(data: &PartitionData) -> Vec<String> {
    let bytes = data.records.clone().unwrap();
    let text = |value: Option<Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    batch::split(&bytes)
        .flat_map(|(_, one)| batch::decode(&one).unwrap().1)
        .map(|decoded| text(decoded.record.value))
        .collect()
}

#[tokio::test]
async fn every_version_brings_what_was_appended() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let id = broker.log.topic(&TopicName::new("orders").unwrap()).await.unwrap().id;
    let mut client = broker.client().await;
    append(&mut client, "orders", &["a", "b"]).await;
    append(&mut client, "orders", &["c"]).await;
    for version in 4..=17 {
        for committed in [0, 1] {
            let mut request = fetch("orders", 0, vec![from(0, 0)]).with_isolation_level(committed);
            if version >= 13 {
                let topic = request.topics[0].clone().with_topic_id(id);
                request.topics = vec![topic.with_topic(text("").into())];
            }
            let response = client.call(&request, version).await;
            assert_eq!((response.error_code, response.session_id), (0, 0));
            let data = partitions(&response)[0];
            assert_eq!(values(data), ["a", "b", "c"], "version {version}");
            assert_eq!((data.high_watermark, data.last_stable_offset), (3, 3));
            assert_eq!(data.aborted_transactions.is_some(), committed == 1);
            if version >= 13 {
                assert_eq!(response.responses[0].topic_id, id);
            }
        }
    }
}

#[tokio::test]
async fn a_fetch_waits_for_the_first_record_of_any_of_its_partitions() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 50).await;
    let (mut reader, mut writer) = (broker.client().await, broker.client().await);
    let all = (0..50).map(|index| from(index, 0)).collect();
    reader.send(&fetch("orders", LONG_MS, all), 11).await.unwrap();
    let request = produce("orders", -1, vec![(37, batch_of(&["late"], Compression::None))]);
    writer.call(&request, 9).await;
    let response = reader.receive::<FetchRequest>(11).await.unwrap();
    let data = partitions(&response);
    assert_eq!(values(data[37]), ["late"]);
    assert!(values(data[36]).is_empty());
    assert_eq!(data[36].aborted_transactions, None);
}

#[tokio::test]
async fn a_fetch_waits_for_as_many_bytes_as_it_wants() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let (mut reader, mut writer) = (broker.client().await, broker.client().await);
    append(&mut writer, "orders", &["a"]).await;
    let bytes = batch_of(&["a"], Compression::None).len() as i32;
    let request = fetch("orders", LONG_MS, vec![from(0, 0)]).with_min_bytes(bytes + 1);
    reader.send(&request, 11).await.unwrap();
    append(&mut writer, "orders", &["b"]).await;
    let response = reader.receive::<FetchRequest>(11).await.unwrap();
    assert_eq!(values(partitions(&response)[0]), ["a", "b"]);
}

#[tokio::test]
async fn a_fetch_that_waits_makes_way_for_the_request_behind_it() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    client.send(&fetch("orders", LONG_MS, vec![from(0, 0)]), 11).await.unwrap();
    client.send(&MetadataRequest::default(), 9).await.unwrap();
    let response = client.receive_next::<FetchRequest>(1, 11).await.unwrap();
    assert!(values(partitions(&response)[0]).is_empty());
    client.receive_next::<MetadataRequest>(2, 9).await.unwrap();
}

#[tokio::test]
async fn a_stop_answers_a_fetch_that_waits() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    append(&mut client, "orders", &["a"]).await;
    let request = fetch("orders", LONG_MS, vec![from(0, 0)]).with_min_bytes(1 << 20);
    client.send(&request, 11).await.unwrap();
    // It has read what there is, and waits for more.
    let orders = TopicPartition::new(TopicName::new("orders").unwrap(), 0);
    let orders = broker.log.partition(&orders).unwrap();
    while !orders.is_warm(1) {
        tokio::task::yield_now().await;
    }
    broker.stop().await;
    let response = client.receive::<FetchRequest>(11).await.unwrap();
    assert_eq!(values(partitions(&response)[0]), ["a"]);
}

#[tokio::test]
async fn each_partition_has_its_own_error() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 4).await;
    let mut client = broker.client().await;
    append(&mut client, "orders", &["a"]).await;
    let asked = vec![
        from(0, 0),
        from(0, 2),
        from(0, -1),
        from(4, 0),
        from(1, 0).with_current_leader_epoch(1),
        from(2, 0).with_current_leader_epoch(0),
    ];
    let response = client.call(&fetch("orders", LONG_MS, asked), 11).await;
    let codes: Vec<_> = partitions(&response).iter().map(|data| data.error_code).collect();
    let out_of_range = ResponseError::OffsetOutOfRange.code();
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let epoch = ResponseError::UnknownLeaderEpoch.code();
    assert_eq!(codes, [0, out_of_range, out_of_range, unknown, epoch, 0]);

    let request = fetch("", LONG_MS, vec![from(0, 0)]);
    let response = client.call(&request, 13).await;
    assert_eq!(partitions(&response)[0].error_code, ResponseError::UnknownTopicId.code());
}

#[tokio::test]
async fn sessions_are_declined() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    let request = fetch("orders", LONG_MS, vec![]);
    let code = async |client: &mut crate::support::Client, id, epoch| {
        let request = request.clone().with_session_id(id).with_session_epoch(epoch);
        client.call(&request.with_max_wait_ms(0), 11).await.error_code
    };
    assert_eq!(code(&mut client, 0, 0).await, 0);
    assert_eq!(code(&mut client, 0, -1).await, 0);
    let unknown = ResponseError::FetchSessionIdNotFound.code();
    assert_eq!(code(&mut client, 5, 3).await, unknown);
}

#[tokio::test]
async fn limits_bind_but_the_first_batch_always_comes() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 3).await;
    let mut client = broker.client().await;
    let large = "x".repeat(10_000);
    for index in 0..3 {
        for _ in 0..3 {
            let batch = batch_of(&[&large], Compression::None);
            client.call(&produce("orders", -1, vec![(index, batch)]), 9).await;
        }
    }
    let all = || (0..3).map(|index| from(index, 0)).collect::<Vec<_>>();
    let lengths = |response: &FetchResponse| {
        partitions(response).iter().map(|data| values(data).len()).collect::<Vec<_>>()
    };
    let response = client.call(&fetch("orders", 0, all()).with_max_bytes(1), 11).await;
    assert_eq!(lengths(&response), [1, 0, 0]);
    let response = client.call(&fetch("orders", 0, all()).with_max_bytes(25_000), 11).await;
    assert_eq!(lengths(&response), [2, 1, 0]);
    let small = all().into_iter().map(|asked| asked.with_partition_max_bytes(1)).collect();
    let response = client.call(&fetch("orders", 0, small), 11).await;
    assert_eq!(lengths(&response), [1, 1, 1]);
}
