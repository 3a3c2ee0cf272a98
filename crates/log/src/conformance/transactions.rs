//! The behaviours of transactions; see the traits for the words.

use std::time::Duration;

use courant_model::{ByteSize, TopicName};

use super::{
    AT_ONCE, LogHarness, PATIENT, World, assigned, eventually, fresh, fresh_topic, read_values,
    record, soon, text,
};
use crate::{
    Committed, Committer, ErrorCode, GroupMember, PartitionReader, TopicSettings, TopicSpec,
    TransactionalProducer,
};

/// Longer than any test takes.
const TIME_OUT: Duration = Duration::from_secs(60);

/// A member of the topic's group, and a producer of its own.
struct Party {
    world: World,
    id: String,
    member: Box<dyn GroupMember>,
    readers: Vec<Box<dyn PartitionReader>>,
    producer: Box<dyn TransactionalProducer>,
}

impl Party {
    async fn new(harness: &dyn LogHarness, partitions: i32) -> Self {
        let world = World::new(harness, partitions).await;
        let (member, readers) = world.join_for(partitions as usize).await;
        let id = fresh("transactions");
        let producer = producer(member.committer().as_ref(), &id).await;
        Self { world, id, member, readers, producer }
    }

    async fn append(&mut self, partition: i32, values: &[&str]) {
        let records = values.iter().map(|value| record(value)).collect();
        self.producer.append(&self.world.topic, Some(partition), records).await.unwrap();
    }

    /// A transaction that is committed.
    async fn committed(&mut self, partition: i32, values: &[&str]) {
        self.producer.begin().await.unwrap();
        self.append(partition, values).await;
        self.producer.commit().await.unwrap();
        self.has_settled(partition).await;
    }

    /// Waits until no transaction is open on a partition: a cluster writes the markers
    /// after it answered.
    async fn has_settled(&self, partition: i32) {
        eventually("the transaction has ended", async || {
            let offsets = self.world.log.offsets(&self.world.at(partition)).await.unwrap();
            offsets.end == offsets.last_stable
        })
        .await;
    }

    /// All values of a partition, once no transaction is open there.
    async fn values(&self, partition: i32) -> Vec<String> {
        self.has_settled(partition).await;
        self.world.values(partition).await
    }

    /// Waits until a partition ends with what a transaction has sent so far.
    async fn has_arrived(&self, partition: i32, records: i64) {
        eventually("the records arrive", async || {
            let offsets = self.world.log.offsets(&self.world.at(partition)).await.unwrap();
            offsets.end - offsets.last_stable >= records
        })
        .await;
    }
}

async fn producer(committer: &dyn Committer, id: &str) -> Box<dyn TransactionalProducer> {
    soon("a producer", committer.transactional_producer(id, TIME_OUT)).await.unwrap()
}

pub async fn a_committed_transaction_appears_as_a_whole(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 2).await;
    let other = fresh_topic();
    let spec = TopicSpec { name: other.clone(), partitions: 1, settings: TopicSettings::default() };
    party.world.log.create_topic(&spec).await.unwrap();
    party.producer.begin().await.unwrap();
    party.append(0, &["a", "b"]).await;
    party.append(1, &["c"]).await;
    party.append(0, &["d"]).await;
    party.producer.append(&other, None, vec![record("e")]).await.unwrap();
    party.has_arrived(0, 3).await;
    party.has_arrived(1, 1).await;
    assert_eq!(party.world.values(0).await, Vec::<String>::new());
    assert_eq!(party.world.values(1).await, Vec::<String>::new());
    party.producer.commit().await.unwrap();
    assert_eq!(party.values(0).await, ["a", "b", "d"]);
    assert_eq!(party.values(1).await, ["c"]);
    let (world, log) = (&party.world, &party.world.log);
    let at_other = courant_model::TopicPartition::new(other, 0);
    let read = log.read(&at_other, 0, PATIENT).await.unwrap();
    assert_eq!(read.records.iter().map(|s| text(&s.record)).collect::<Vec<_>>(), ["e"]);
    let offsets = log.offsets(&world.at(0)).await.unwrap();
    assert_eq!(offsets.last_stable, offsets.end);
}

pub async fn an_aborted_transaction_leaves_nothing(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 1).await;
    party.producer.begin().await.unwrap();
    party.append(0, &["never"]).await;
    party.has_arrived(0, 1).await;
    let positions = party.world.positions(&[(0, 1)]);
    party.producer.commit_offsets(&positions, "never").await.unwrap();
    party.producer.abort().await.unwrap();
    party.has_settled(0).await;
    let at = party.world.at(0);
    let read = party.world.log.read(&at, 0, AT_ONCE).await.unwrap();
    assert_eq!(read.records, []);
    assert_eq!(read.next, party.world.log.offsets(&at).await.unwrap().end);
    assert_eq!(party.member.committer().committed(&at).await.unwrap(), None);
    party.committed(0, &["kept"]).await;
    assert_eq!(party.values(0).await, ["kept"]);
}

pub async fn transactions_follow_each_other_at_once(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 1).await;
    let mut kept = Vec::new();
    for round in 0..10 {
        party.producer.begin().await.unwrap();
        let value = round.to_string();
        party.append(0, &[&value]).await;
        if round % 3 == 2 {
            party.producer.abort().await.unwrap();
        } else {
            party.producer.commit().await.unwrap();
            kept.push(value);
        }
    }
    assert_eq!(party.values(0).await, kept);
}

pub async fn offsets_are_committed_with_the_records(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 1).await;
    let (at, committer) = (party.world.at(0), party.member.committer());
    committer.commit(&party.world.positions(&[(0, 0)]), "before").await.unwrap();
    party.producer.begin().await.unwrap();
    party.append(0, &["a"]).await;
    let positions = party.world.positions(&[(0, 7)]);
    party.producer.commit_offsets(&positions, "within").await.unwrap();
    party.producer.commit().await.unwrap();
    let within = Some(Committed { offset: 7, metadata: "within".into() });
    assert_eq!(committer.committed(&at).await.unwrap(), within);
    assert_eq!(party.values(0).await, ["a"]);
}

pub async fn a_reader_steps_over_what_was_aborted(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 1).await;
    party.committed(0, &["a", "b"]).await;
    party.producer.begin().await.unwrap();
    party.append(0, &["never"]).await;
    party.has_arrived(0, 1).await;
    party.producer.abort().await.unwrap();
    party.committed(0, &["c"]).await;
    let reader = party.readers[0].as_mut();
    assert_eq!(read_values(reader, 3).await, ["a", "b", "c"]);
    party.has_settled(0).await;
    let reader = party.readers[0].as_mut();
    // The last marker is stepped over as well, so that no lag stays.
    let end = party.world.log.offsets(&party.world.at(0)).await.unwrap().end;
    while reader.position() < end {
        let read = soon("the end", reader.next(100, 1 << 20)).await.unwrap();
        assert_eq!(read.records, []);
        assert_eq!(read.next, reader.position());
    }
    assert_eq!(reader.position(), end);
    party.world.append(0, &["d"]).await;
    assert_eq!(read_values(party.readers[0].as_mut(), 1).await, ["d"]);
}

pub async fn a_newer_producer_fences_the_older_and_ends_what_it_left_open(
    harness: &dyn LogHarness,
) {
    let mut party = Party::new(harness, 1).await;
    party.producer.begin().await.unwrap();
    party.append(0, &["never"]).await;
    party.has_arrived(0, 1).await;
    let mut newer = producer(party.member.committer().as_ref(), &party.id).await;
    party.has_settled(0).await;
    let late = vec![record("late")];
    let appended = party.producer.append(&party.world.topic, Some(0), late).await;
    let refused = match appended {
        Err(error) => error,
        Ok(()) => party.producer.commit().await.unwrap_err(),
    };
    assert_eq!(refused.code(), ErrorCode::ProducerFenced);
    assert!(!refused.retryable());
    newer.begin().await.unwrap();
    newer.append(&party.world.topic, Some(0), vec![record("kept")]).await.unwrap();
    newer.commit().await.unwrap();
    assert_eq!(party.values(0).await, ["kept"]);
}

pub async fn a_producer_that_is_dropped_leaves_nothing_behind(harness: &dyn LogHarness) {
    let Party { world, id, member, mut producer, .. } = Party::new(harness, 1).await;
    producer.begin().await.unwrap();
    producer.append(&world.topic, Some(0), vec![record("never")]).await.unwrap();
    drop(producer);
    let mut next = self::producer(member.committer().as_ref(), &id).await;
    next.begin().await.unwrap();
    next.append(&world.topic, Some(0), vec![record("kept")]).await.unwrap();
    next.commit().await.unwrap();
    eventually("the transaction is visible", async || world.values(0).await == ["kept"]).await;
}

pub async fn calls_out_of_order_are_refused(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 1).await;
    let topic = party.world.topic.clone();
    let code = ErrorCode::InvalidTxnState;
    let early = party.producer.append(&topic, Some(0), vec![record("x")]).await.unwrap_err();
    assert_eq!(early.code(), code);
    assert_eq!(party.producer.commit().await.unwrap_err().code(), code);
    party.producer.begin().await.unwrap();
    assert_eq!(party.producer.begin().await.unwrap_err().code(), code);
    party.append(0, &["a"]).await;
    party.producer.commit().await.unwrap();
    assert_eq!(party.producer.commit().await.unwrap_err().code(), code);
    assert_eq!(party.values(0).await, ["a"]);
}

pub async fn what_the_log_refuses_is_refused_within_a_transaction(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 1).await;
    let message_bytes_max = ByteSize::from_bytes(1_000);
    let settings = TopicSettings { message_bytes_max, ..TopicSettings::default() };
    let small = TopicSpec { name: fresh_topic(), partitions: 1, settings };
    party.world.log.create_topic(&small).await.unwrap();
    let unknown = fresh_topic();
    let large = "x".repeat(2_000);
    let cases: [(&TopicName, i32, &str, ErrorCode); 3] = [
        (&unknown, 0, "x", ErrorCode::UnknownTopicOrPartition),
        (&small.name, 1, "x", ErrorCode::UnknownTopicOrPartition),
        (&small.name, 0, &large, ErrorCode::MessageTooLarge),
    ];
    for (topic, partition, value, code) in cases {
        party.producer.begin().await.unwrap();
        party.append(0, &["never"]).await;
        let records = vec![record(value)];
        let refused = party.producer.append(topic, Some(partition), records).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        party.producer.abort().await.unwrap();
    }
    let values: Vec<String> = (0..9).map(|n| format!("{n}-{}", "x".repeat(500))).collect();
    party.producer.begin().await.unwrap();
    let records = values.iter().map(|value| record(value)).collect();
    party.producer.append(&small.name, Some(0), records).await.unwrap();
    party.producer.commit().await.unwrap();
    let at = courant_model::TopicPartition::new(small.name, 0);
    let read = party.world.log.read(&at, 0, PATIENT).await.unwrap();
    assert_eq!(text(&read.records[0].record), values[0]);
    assert_eq!(party.values(0).await, Vec::<String>::new());
}

pub async fn offsets_of_partitions_that_are_not_held_are_refused(harness: &dyn LogHarness) {
    let mut party = Party::new(harness, 1).await;
    let stranger = party.world.beside(1).await;
    party.producer.begin().await.unwrap();
    let positions = stranger.positions(&[(0, 1)]);
    let refused = party.producer.commit_offsets(&positions, "").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::IllegalGeneration);
    party.producer.abort().await.unwrap();
    let mut other = stranger.join().await;
    let readers = assigned(other.as_mut(), 1).await;
    assert_eq!(readers[0].committed(), None);
}
