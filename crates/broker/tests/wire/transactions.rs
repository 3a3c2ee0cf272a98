//! Transactions over the wire: what readers see, stable offsets, fencing by version,
//! and what tools find.

use bytes::Bytes;
use courant_broker::BrokerOptions;
use courant_log::batch::{BatchSpec, Compression, Producer, encode};
use courant_model::{Record, Timestamp};
use kafka_protocol::{
    ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest,
        DescribeTransactionsRequest, EndTxnRequest, FetchRequest, InitProducerIdRequest,
        ListTransactionsRequest, OffsetFetchRequest, ProduceRequest, ProducerId,
        TxnOffsetCommitRequest,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        describe_producers_request::TopicRequest,
        fetch_request::{FetchPartition, FetchTopic},
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        produce_request::{PartitionProduceData, TopicProduceData},
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
};

use crate::support::{Client, TestBroker, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    id: i64,
    epoch: i16,
}

async fn init(client: &mut Client, id: &str, version: i16) -> Identity {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(text(id).into()))
        .with_transaction_timeout_ms(60_000);
    let response = client.call(&request, version).await;
    assert_eq!(response.error_code, 0);
    Identity { id: response.producer_id.0, epoch: response.producer_epoch }
}

async fn add(
    client: &mut Client,
    id: &str,
    producer: Identity,
    partitions: &[(&str, i32)],
    version: i16,
) -> Vec<i16> {
    let topic = |&(name, index): &(&str, i32)| {
        let name = text(name).into();
        AddPartitionsToTxnTopic::default().with_name(name).with_partitions(vec![index])
    };
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(text(id).into())
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(partitions.iter().map(topic).collect());
    let response = client.call(&request, version).await;
    let topics = response.results_by_topic_v3_and_below.iter();
    let codes = topics.flat_map(|topic| &topic.results_by_partition);
    codes.map(|one| one.partition_error_code).collect()
}

fn batch(producer: Identity, base_sequence: i32, value: &str) -> Bytes {
    let spec = BatchSpec {
        producer: Producer { id: producer.id, epoch: producer.epoch, base_sequence },
        transactional: true,
        ..BatchSpec::plain(1, Compression::None)
    };
    let record = Record::new(value.to_owned(), Timestamp::from_millis(1));
    encode(&spec, [(0, &record)]).unwrap().into()
}

async fn produce(client: &mut Client, id: Option<&str>, topic: &str, batch: Bytes) -> i16 {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let topic =
        TopicProduceData::default().with_name(text(topic).into()).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(id.map(|id| text(id).into()))
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    client.call(&request, 9).await.responses[0].partition_responses[0].error_code
}

async fn end(
    client: &mut Client,
    id: &str,
    producer: Identity,
    committed: bool,
    version: i16,
) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(text(id).into())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(committed);
    client.call(&request, version).await.error_code
}

/// Bytes and aborted producers that a reader of committed records gets.
async fn fetch_committed(client: &mut Client, topic: &str) -> (usize, Vec<i64>) {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let topic =
        FetchTopic::default().with_topic(text(topic).into()).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(0)
        .with_isolation_level(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let response = client.call(&request, 11).await;
    let partition = &response.responses[0].partitions[0];
    let aborted = partition.aborted_transactions.iter().flatten();
    let bytes = partition.records.as_ref().map_or(0, Bytes::len);
    (bytes, aborted.map(|one| one.producer_id.0).collect())
}

#[tokio::test]
async fn a_transaction_is_read_once_it_commits_and_an_aborted_one_is_listed() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    let producer = init(&mut client, "x", 4).await;
    let refused = produce(&mut client, Some("x"), "t", batch(producer, 0, "1")).await;
    assert_eq!(refused, ResponseError::InvalidTxnState.code(), "it was not added");
    assert_eq!(add(&mut client, "x", producer, &[("t", 0)], 3).await, [0]);
    assert_eq!(produce(&mut client, Some("x"), "t", batch(producer, 0, "1")).await, 0);
    let nameless = produce(&mut client, None, "t", batch(producer, 1, "2")).await;
    assert_eq!(nameless, ResponseError::TransactionalIdAuthorizationFailed.code());
    assert_eq!(fetch_committed(&mut client, "t").await, (0, vec![]));
    assert_eq!(end(&mut client, "x", producer, true, 3).await, 0);
    assert_eq!(end(&mut client, "x", producer, true, 3).await, 0, "the answer may be lost");
    let wrong = end(&mut client, "x", producer, false, 3).await;
    assert_eq!(wrong, ResponseError::InvalidTxnState.code());
    let (bytes, aborted) = fetch_committed(&mut client, "t").await;
    assert!(bytes > 0 && aborted.is_empty());

    assert_eq!(add(&mut client, "x", producer, &[("t", 0)], 0).await, [0]);
    assert_eq!(produce(&mut client, Some("x"), "t", batch(producer, 1, "2")).await, 0);
    assert_eq!(end(&mut client, "x", producer, false, 0).await, 0);
    let (_, aborted) = fetch_committed(&mut client, "t").await;
    assert_eq!(aborted, [producer.id]);
}

#[tokio::test]
async fn partitions_are_added_all_or_none() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    let producer = init(&mut client, "x", 2).await;
    let codes = add(&mut client, "x", producer, &[("t", 0), ("t", 7), ("none", 0)], 3).await;
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(codes, [ResponseError::OperationNotAttempted.code(), unknown, unknown]);
    assert_eq!(
        produce(&mut client, Some("x"), "t", batch(producer, 0, "1")).await,
        ResponseError::InvalidTxnState.code()
    );
    let stranger = Identity { id: producer.id + 1, epoch: 0 };
    let codes = add(&mut client, "x", stranger, &[("t", 0)], 3).await;
    assert_eq!(codes, [ResponseError::InvalidProducerIdMapping.code()]);
}

#[tokio::test]
async fn a_fenced_producer_is_told_in_the_words_of_its_version() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    let old = init(&mut client, "x", 4).await;
    assert_eq!(add(&mut client, "x", old, &[("t", 0)], 3).await, [0]);
    assert_eq!(produce(&mut client, Some("x"), "t", batch(old, 0, "1")).await, 0);
    let new = init(&mut client, "x", 4).await;
    assert_eq!((new.id, new.epoch), (old.id, old.epoch + 2), "one epoch ended what was open");
    let (fenced, epoch) =
        (ResponseError::ProducerFenced.code(), ResponseError::InvalidProducerEpoch.code());
    for (version, code) in [(1, epoch), (2, fenced)] {
        assert_eq!(add(&mut client, "x", old, &[("t", 0)], version).await, [code]);
        assert_eq!(end(&mut client, "x", old, true, version).await, code);
    }
    assert_eq!(produce(&mut client, Some("x"), "t", batch(old, 1, "2")).await, epoch);
    for (version, code) in [(3, epoch), (4, fenced)] {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(text("x").into()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(old.id))
            .with_producer_epoch(old.epoch);
        assert_eq!(client.call(&request, version).await.error_code, code);
    }
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(text("x").into()))
        .with_transaction_timeout_ms(900_001);
    let code = client.call(&request, 4).await.error_code;
    assert_eq!(code, ResponseError::InvalidTransactionTimeout.code());
}

#[tokio::test]
async fn offsets_of_an_open_transaction_are_unstable_until_it_ends() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    let producer = init(&mut client, "x", 4).await;
    let partition =
        TxnOffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(5);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(text("t").into())
        .with_partitions(vec![partition]);
    let commit = TxnOffsetCommitRequest::default()
        .with_transactional_id(text("x").into())
        .with_group_id(text("g").into())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_topics(vec![topic]);
    let early = client.call(&commit, 0).await.topics[0].partitions[0].error_code;
    assert_eq!(early, ResponseError::InvalidTxnState.code());
    let add = AddOffsetsToTxnRequest::default()
        .with_transactional_id(text("x").into())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_group_id(text("g").into());
    assert_eq!(client.call(&add, 3).await.error_code, 0);
    let stale = commit.clone().with_generation_id(3).with_member_id(text("gone"));
    let code = client.call(&stale, 3).await.topics[0].partitions[0].error_code;
    assert_eq!(code, ResponseError::IllegalGeneration.code());
    assert_eq!(client.call(&commit, 2).await.topics[0].partitions[0].error_code, 0);
    let fetch = |stable: bool| {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(text("t").into())
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(text("g").into())
            .with_topics(Some(vec![topic]));
        OffsetFetchRequest::default().with_require_stable(stable).with_groups(vec![group])
    };
    let unstable = ResponseError::UnstableOffsetCommit.code();
    for (stable, code) in [(true, unstable), (false, 0)] {
        let response = client.call(&fetch(stable), 8).await;
        let found = &response.groups[0].topics[0].partitions[0];
        assert_eq!((found.committed_offset, found.error_code), (-1, code));
    }
    assert_eq!(end(&mut client, "x", producer, true, 3).await, 0);
    let response = client.call(&fetch(true), 8).await;
    let found = &response.groups[0].topics[0].partitions[0];
    assert_eq!((found.committed_offset, found.error_code), (5, 0));
}

#[tokio::test]
async fn tools_find_producers_and_transactions() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    broker.topic("t", 1).await;
    let mut client = broker.client().await;
    let producer = init(&mut client, "x", 4).await;
    init(&mut client, "idle", 4).await;
    assert_eq!(add(&mut client, "x", producer, &[("t", 0)], 3).await, [0]);
    assert_eq!(produce(&mut client, Some("x"), "t", batch(producer, 0, "1")).await, 0);

    let topic =
        TopicRequest::default().with_name(text("t").into()).with_partition_indexes(vec![0, 1]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let response = client.call(&request, 0).await;
    let [first, second] = &response.topics[0].partitions[..] else { panic!() };
    let found = &first.active_producers[0];
    assert_eq!((found.producer_id.0, found.current_txn_start_offset), (producer.id, 0));
    assert_eq!(second.error_code, ResponseError::UnknownTopicOrPartition.code());

    let ids = vec![text("x").into(), text("none").into()];
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let response = client.call(&request, 0).await;
    let [found, none] = &response.transaction_states[..] else { panic!() };
    assert_eq!((found.error_code, found.transaction_state.as_str()), (0, "Ongoing"));
    assert_eq!((found.producer_id.0, found.transaction_timeout_ms), (producer.id, 60_000));
    assert_eq!(found.topics[0].topic.0.as_str(), "t");
    assert_eq!(none.error_code, ResponseError::TransactionalIdNotFound.code());

    let mut list = async |states: &[&str], version: i16| {
        let states = states.iter().map(|state| text(state)).collect();
        let request = ListTransactionsRequest::default().with_state_filters(states);
        let response = client.call(&request, version).await;
        let ids = response.transaction_states.iter().map(|one| one.transactional_id.to_string());
        (ids.collect::<Vec<_>>(), response.unknown_state_filters.len())
    };
    assert_eq!(list(&[], 0).await, (vec!["idle".to_owned(), "x".to_owned()], 0));
    assert_eq!(list(&["Ongoing"], 1).await, (vec!["x".to_owned()], 0));
    assert_eq!(list(&["Ongoing", "Nonsense"], 1).await, (vec!["x".to_owned()], 1));
    assert_eq!(list(&["Dead"], 1).await, (vec![], 0));
}
