//! Record batches on their way in: versions, acknowledgements, order, refusals.

use bytes::{BufMut, Bytes, BytesMut};
use courant_broker::BrokerOptions;
use courant_log::{
    Log, Retention, TimestampSource, TopicSettings, TopicSpec,
    batch::{self, BatchSpec, Compression},
};
use courant_model::{Record, Timestamp, TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, MetadataRequest, ProduceRequest,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
};

use crate::support::{Client, TestBroker, text};

/// A batch of these values, made at one time after the other.
pub(crate) fn batch_of(values: &[&str], compression: Compression) -> Bytes {
    let record = |(at, value): (i64, &&str)| {
        Record::new(Bytes::copy_from_slice(value.as_bytes()), Timestamp::from_millis(1_000 + at))
    };
    let records: Vec<_> = (0..).zip(values).map(record).collect();
    let spec = BatchSpec::plain(records.len(), compression);
    batch::encode(&spec, (0..).zip(&records)).unwrap().into()
}

/// A request to append to partitions of one topic.
pub(crate) fn produce(topic: &str, acks: i16, batches: Vec<(i32, Bytes)>) -> ProduceRequest {
    let data = batches.into_iter().map(|(index, records)| {
        PartitionProduceData::default().with_index(index).with_records(Some(records))
    });
    let topic = TopicProduceData::default()
        .with_name(text(topic).into())
        .with_partition_data(data.collect());
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// Appends one batch to partition 0.
pub(crate) async fn append(client: &mut Client, topic: &str, values: &[&str]) -> i64 {
    let request = produce(topic, -1, vec![(0, batch_of(values, Compression::None))]);
    let answer = one(client, &request, 9).await;
    assert_eq!(answer.error_code, 0);
    answer.base_offset
}

async fn one(
    client: &mut Client,
    request: &ProduceRequest,
    version: i16,
) -> PartitionProduceResponse {
    let mut response = client.call(request, version).await;
    response.responses.remove(0).partition_responses.remove(0)
}

async fn end(broker: &TestBroker, topic: &str) -> i64 {
    let partition = TopicPartition::new(TopicName::new(topic).unwrap(), 0);
    broker.log.offsets(&partition).await.unwrap().end
}

#[tokio::test]
async fn every_version_appends_and_tells_the_offset() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 2).await;
    let mut client = broker.client().await;
    for (round, version) in (0..).zip(3..=12) {
        let batch = batch_of(&["a", "b"], Compression::Lz4);
        let request = produce("orders", -1, vec![(0, batch.clone()), (1, batch)]);
        let response = client.call(&request, version).await;
        let answers = &response.responses[0].partition_responses;
        assert_eq!(answers.len(), 2);
        for (index, answer) in (0..).zip(answers) {
            let found = (answer.index, answer.error_code, answer.base_offset);
            assert_eq!(found, (index, 0, round * 2), "version {version}");
            assert_eq!(answer.log_append_time_ms, -1);
        }
    }
}

#[tokio::test]
async fn versions_before_3_are_told_that_they_are_not_spoken() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    for version in 0..3_i16 {
        let mut frame = BytesMut::new();
        frame.put_i16(ApiKey::Produce as i16);
        frame.put_i16(version);
        frame.put_i32(7);
        frame.put_i16(-1); // client id
        frame.put_i16(-1); // acks
        frame.put_i32(1_000);
        frame.put_i32(1);
        frame.put_i16(1);
        frame.put_slice(b"t");
        frame.put_i32(1);
        frame.put_i32(5);
        frame.put_i32(3);
        frame.put_slice(b"old");
        client.send_frame(&frame).await.unwrap();
        let answer = client.receive_frame().await.unwrap();
        let mut expected = BytesMut::new();
        expected.put_i32(7);
        expected.put_i32(1);
        expected.put_i16(1);
        expected.put_slice(b"t");
        expected.put_i32(1);
        expected.put_i32(5);
        expected.put_i16(ResponseError::UnsupportedVersion.code());
        expected.put_i64(-1);
        if version == 2 {
            expected.put_i64(-1);
        }
        if version >= 1 {
            expected.put_i32(0);
        }
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn without_acknowledgement_nothing_is_answered_and_everything_appended() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    let request = produce("orders", 0, vec![(0, batch_of(&["a"], Compression::None))]);
    for _ in 0..10 {
        client.send(&request, 9).await.unwrap();
    }
    // What is asked next is answered next, and sees what was appended.
    client.call(&MetadataRequest::default(), 9).await;
    assert_eq!(end(&broker, "orders").await, 10);
}

#[tokio::test]
async fn a_refused_batch_without_acknowledgement_ends_the_connection() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    let request = produce("nowhere", 0, vec![(0, batch_of(&["a"], Compression::None))]);
    client.send(&request, 9).await.unwrap();
    client.closed().await;
}

#[tokio::test]
async fn requests_in_flight_are_appended_and_answered_in_order() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    let requests = 100;
    for index in 0..requests {
        let value = index.to_string();
        let request = produce("orders", -1, vec![(0, batch_of(&[&value], Compression::None))]);
        client.send(&request, 9).await.unwrap();
    }
    for index in 0..requests {
        let response = client.receive_next::<ProduceRequest>(index + 1, 9).await.unwrap();
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.base_offset, i64::from(index));
    }
}

#[tokio::test]
async fn a_partition_that_is_refused_does_not_keep_the_others() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 3).await;
    let mut client = broker.client().await;
    let good = batch_of(&["a"], Compression::None);
    let mut damaged = good.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let doubled = [good.clone(), good.clone()].concat();
    let batches =
        vec![(0, damaged.into()), (1, good.clone()), (2, doubled.into()), (3, good.clone())];
    let response = client.call(&produce("orders", -1, batches), 9).await;
    let answers = &response.responses[0].partition_responses;
    let codes: Vec<_> = answers.iter().map(|answer| answer.error_code).collect();
    let expected = [
        ResponseError::CorruptMessage.code(),
        0,
        ResponseError::InvalidRecord.code(),
        ResponseError::UnknownTopicOrPartition.code(),
    ];
    assert_eq!(codes, expected);
    assert!(answers[0].error_message.as_ref().unwrap().contains("checksum"));
    assert_eq!(answers[0].base_offset, -1);
}

#[tokio::test]
async fn what_no_producer_should_send_has_its_error() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("orders", 1).await;
    let mut client = broker.client().await;
    let plain = || batch_of(&["a"], Compression::None);
    let zstd = batch_of(&["a"], Compression::Zstd);
    let cases = [
        (produce("orders", 2, vec![(0, plain())]), 9, ResponseError::InvalidRequiredAcks),
        (produce("no/name", -1, vec![(0, plain())]), 9, ResponseError::UnknownTopicOrPartition),
        (produce("orders", -1, vec![(0, Bytes::new())]), 9, ResponseError::InvalidRecord),
        (produce("orders", -1, vec![(0, zstd)]), 6, ResponseError::UnsupportedCompressionType),
    ];
    for (request, version, expected) in cases {
        assert_eq!(one(&mut client, &request, version).await.error_code, expected.code());
    }
    assert_eq!(end(&broker, "orders").await, 0);
}

#[tokio::test]
async fn a_record_without_a_key_is_pointed_out_in_a_compacted_topic() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let settings = TopicSettings { cleanup: Retention::Compact, ..TopicSettings::default() };
    let name = TopicName::new("states").unwrap();
    broker.log.create_topic(&TopicSpec { name, partitions: 1, settings }).await.unwrap();
    let records = [
        Record::new("a", Timestamp::from_millis(1)).with_key("k"),
        Record::new("b", Timestamp::from_millis(1)),
    ];
    let spec = BatchSpec::plain(2, Compression::None);
    let batch = batch::encode(&spec, (0..).zip(&records)).unwrap();
    let mut client = broker.client().await;
    let request = produce("states", -1, vec![(0, batch.into())]);
    let answer = one(&mut client, &request, 8).await;
    assert_eq!(answer.error_code, ResponseError::InvalidRecord.code());
    let at_fault: Vec<_> = answer.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(at_fault, [1]);
}

#[tokio::test]
async fn a_topic_with_the_logs_own_time_tells_it() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let settings = TopicSettings { timestamps: TimestampSource::Log, ..TopicSettings::default() };
    let name = TopicName::new("stamped").unwrap();
    broker.log.create_topic(&TopicSpec { name, partitions: 1, settings }).await.unwrap();
    let mut client = broker.client().await;
    let request = produce("stamped", 1, vec![(0, batch_of(&["a"], Compression::None))]);
    let answer = one(&mut client, &request, 9).await;
    assert_eq!(answer.error_code, 0);
    assert!(answer.log_append_time_ms > 1_000, "{}", answer.log_append_time_ms);
}
