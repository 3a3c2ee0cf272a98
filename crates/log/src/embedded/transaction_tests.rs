//! Transactions over the real log: producers of this process and of the network, groups'
//! offsets, fencing, time-outs, and a crash at every single change of the disk.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use courant_model::{ManualClock, Timestamp};

use super::{
    tests::{assigned, at, by_hand, eventually, name, on, record, spec, values},
    *,
};
use crate::{
    AutoOffsetReset, Committed, ErrorCode, GroupMember, Log, Subscription, TransactionFilter,
    TransactionState, TransactionalProducer,
    batch::{BatchSpec, Compression, Marker, Producer, encode},
    disk::fake::FakeDisk,
    group::Membership,
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A log with the topics `in`, `a` and `b`, and a member that reads `in`.
struct World {
    disk: FakeDisk,
    clock: Arc<ManualClock>,
    log: EmbeddedLog,
    member: Box<dyn GroupMember>,
}

impl World {
    async fn new() -> Self {
        let disk = FakeDisk::new();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
        let (log, _) = on(&disk, options(&clock)).await.unwrap();
        for topic in ["in", "a", "b"] {
            log.create_topic(&spec(topic, 1)).await.unwrap();
        }
        let member = join(&log).await;
        Self { disk, clock, log, member }
    }

    /// Loses power and starts again; so many bytes of every unsynced end stay.
    async fn crash(self, tail_bytes: usize) -> Self {
        let Self { disk, clock, log, member } = self;
        drop(member);
        disk.stop_after(0);
        let _ = log.close().await;
        disk.crash(tail_bytes, false);
        let (log, reports) = on(&disk, options(&clock)).await.unwrap();
        assert_eq!(reports, []);
        let member = join(&log).await;
        Self { disk, clock, log, member }
    }

    async fn producer(&self, id: &str) -> Box<dyn TransactionalProducer> {
        self.member.committer().transactional_producer(id, TIMEOUT).await.unwrap()
    }

    async fn values(&self, topic: &str) -> Vec<String> {
        values(&self.log, &at(topic, 0)).await
    }

    fn committed(&self) -> Option<i64> {
        let offsets = self.log.coordinator().committed("g");
        offsets.get(&at("in", 0)).map(|committed| committed.offset)
    }

    fn unstable(&self) -> usize {
        self.log.coordinator().committed_stable("g").unstable.len()
    }

    /// Nothing is open anywhere, so readers reach the end.
    async fn assert_all_stable(&self) {
        for topic in ["in", "a", "b"] {
            let offsets = self.log.offsets(&at(topic, 0)).await.unwrap();
            assert_eq!(offsets.last_stable, offsets.end, "{topic}");
        }
        assert_eq!(self.unstable(), 0);
    }
}

fn options(clock: &Arc<ManualClock>) -> LogOptions {
    LogOptions { clock: Arc::clone(clock) as _, ..by_hand() }
}

async fn join(log: &EmbeddedLog) -> Box<dyn GroupMember> {
    let subscription = Subscription {
        group: "g".to_owned(),
        topics: vec![name("in")],
        client_id: "test".to_owned(),
        instance_id: None,
        session_timeout: Duration::from_secs(60),
        reset: AutoOffsetReset::Earliest,
    };
    let mut member = log.subscribe(subscription).await.unwrap();
    assert_eq!(assigned(&mut *member).await.len(), 1);
    member
}

/// Writes to both topics and moves the group's offset, without the end.
async fn transfer(
    producer: &mut Box<dyn TransactionalProducer>,
    value: &str,
    offset: i64,
) -> Result<(), LogError> {
    producer.begin().await?;
    producer.append(&name("a"), None, vec![record(value.to_owned())]).await?;
    producer.append(&name("b"), Some(0), vec![record(value.to_owned())]).await?;
    producer.commit_offsets(&[(at("in", 0), offset)].into(), "").await
}

fn sent(producer: ProducerIdentity, base_sequence: i32, value: &str) -> Bytes {
    let ProducerIdentity { id, epoch } = producer;
    let spec = BatchSpec {
        producer: Producer { id, epoch, base_sequence },
        transactional: true,
        ..BatchSpec::plain(1, Compression::None)
    };
    encode(&spec, [(0, &record(value.to_owned()))]).unwrap().into()
}

fn parts(topics: &[&str]) -> BTreeSet<TopicPartition> {
    topics.iter().map(|topic| at(topic, 0)).collect()
}

fn code<T: std::fmt::Debug>(outcome: Result<T, LogError>) -> ErrorCode {
    outcome.unwrap_err().code()
}

#[tokio::test]
async fn all_of_a_transaction_is_seen_once_it_commits_and_nothing_before() {
    let world = World::new().await;
    let mut producer = world.producer("x").await;
    transfer(&mut producer, "1", 5).await.unwrap();
    assert_eq!(world.values("a").await, [""; 0]);
    assert_eq!((world.committed(), world.unstable()), (None, 1));
    producer.commit().await.unwrap();
    assert_eq!(
        (world.values("a").await, world.values("b").await),
        (vec!["1".into()], vec!["1".into()])
    );
    assert_eq!((world.committed(), world.unstable()), (Some(5), 0));

    transfer(&mut producer, "2", 9).await.unwrap();
    producer.abort().await.unwrap();
    transfer(&mut producer, "3", 6).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(world.values("a").await, ["1", "3"]);
    assert_eq!(world.committed(), Some(6));
    world.assert_all_stable().await;
}

#[tokio::test]
async fn calls_out_of_order_are_refused() {
    let world = World::new().await;
    let mut producer = world.producer("x").await;
    assert_eq!(code(producer.commit().await), ErrorCode::InvalidTxnState);
    assert_eq!(code(producer.abort().await), ErrorCode::InvalidTxnState);
    let records = vec![record("1")];
    assert_eq!(
        code(producer.append(&name("a"), None, records.clone()).await),
        ErrorCode::InvalidTxnState
    );
    producer.begin().await.unwrap();
    assert_eq!(code(producer.begin().await), ErrorCode::InvalidTxnState);
    producer.commit().await.unwrap();
    producer.begin().await.unwrap();
    let missing = producer.append(&name("missing"), None, records).await;
    assert_eq!(code(missing), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(producer.commit().await), ErrorCode::InvalidTxnState, "it is in doubt");
    producer.abort().await.unwrap();
    transfer(&mut producer, "1", 1).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(world.values("a").await, ["1"]);
}

#[tokio::test]
async fn a_new_producer_ends_what_the_old_one_left_open_and_fences_it() {
    let world = World::new().await;
    let mut old = world.producer("x").await;
    transfer(&mut old, "old", 7).await.unwrap();
    let mut new = world.producer("x").await;
    world.assert_all_stable().await;
    old.append(&name("a"), None, vec![record("late")]).await.unwrap();
    assert_eq!(code(old.commit().await), ErrorCode::ProducerFenced, "it tells of the append");
    assert_eq!(code(old.abort().await), ErrorCode::ProducerFenced);
    transfer(&mut new, "new", 8).await.unwrap();
    new.commit().await.unwrap();
    assert_eq!(world.values("a").await, ["new"]);
    assert_eq!(world.committed(), Some(8));
}

#[tokio::test]
async fn a_member_that_lost_its_partitions_cannot_commit_them_in_a_transaction() {
    let world = World::new().await;
    let mut producer = world.producer("x").await;
    producer.begin().await.unwrap();
    producer.append(&name("a"), None, vec![record("1")]).await.unwrap();
    let World { log, member, .. } = world;
    member.leave().await.unwrap();
    let offsets = [(at("in", 0), 5)].into();
    assert_eq!(code(producer.commit_offsets(&offsets, "").await), ErrorCode::IllegalGeneration);
    producer.abort().await.unwrap();
    assert_eq!(values(&log, &at("a", 0)).await, [""; 0]);
}

#[tokio::test]
async fn a_crash_at_any_change_of_the_disk_leaves_all_of_a_transaction_or_nothing() {
    let (mut after_commit, mut committed, mut taken_back) = (0, 0, 0);
    for changes in 0.. {
        // Every byte of the unsynced ends, or none.
        let tail_bytes = if changes % 2 == 0 { 0 } else { 1 << 20 };
        let world = World::new().await;
        let mut producer = world.producer("x").await;
        transfer(&mut producer, "1", 1).await.unwrap();
        producer.commit().await.unwrap();
        world.disk.stop_after(changes / 2);
        let outcome = match transfer(&mut producer, "2", 2).await {
            Ok(()) => producer.commit().await,
            Err(error) => Err(error),
        };
        drop(producer);
        let world = world.crash(tail_bytes).await;
        world.assert_all_stable().await;
        let seen = (world.values("a").await, world.values("b").await, world.committed());
        let one = vec!["1".to_owned()];
        let both = vec!["1".to_owned(), "2".to_owned()];
        if seen == (both.clone(), both, Some(2)) {
            committed += 1;
        } else {
            assert_eq!(seen, (one.clone(), one, Some(1)), "after {changes} changes");
            assert!(outcome.is_err(), "{changes}: it was answered as committed");
            taken_back += 1;
        }
        let mut producer = world.producer("x").await;
        transfer(&mut producer, "3", 3).await.unwrap();
        producer.commit().await.unwrap();
        assert_eq!(world.values("a").await.last().unwrap(), "3");
        after_commit += u32::from(outcome.is_ok());
        if after_commit > 12 {
            assert!(committed > 12 && taken_back > 8, "{committed} {taken_back}");
            return;
        }
    }
}

#[tokio::test]
async fn a_transaction_of_the_network_goes_on_after_a_restart() {
    let world = World::new().await;
    let transactions = world.log.transactions();
    let producer = transactions.init_producer("x", TIMEOUT, None).await.unwrap();
    transactions.add_partitions("x", producer, &parts(&["a", "b"])).await.unwrap();
    transactions.add_offsets("x", producer).await.unwrap();
    world.log.append_batch(&at("a", 0), sent(producer, 0, "1")).await.unwrap();
    let offsets = vec![(at("in", 0), Committed { offset: 4, metadata: String::new() })];
    let outside = Membership::none();
    transactions.commit_offsets("x", producer, "g", &outside, offsets).await.unwrap();

    let world = world.crash(0).await;
    let transactions = world.log.transactions();
    assert_eq!((world.committed(), world.unstable()), (None, 1));
    let described = transactions.describe("x").unwrap();
    assert_eq!((described.state, described.producer), (TransactionState::Ongoing, producer));
    assert_eq!(described.partitions.len(), 3);
    world.log.append_batch(&at("a", 0), sent(producer, 1, "2")).await.unwrap();
    world.log.append_batch(&at("b", 0), sent(producer, 0, "3")).await.unwrap();
    transactions.end("x", producer, Marker::Commit).await.unwrap();
    transactions.end("x", producer, Marker::Commit).await.unwrap();
    assert_eq!(world.values("a").await, ["1", "2"]);
    assert_eq!(world.values("b").await, ["3"]);
    assert_eq!((world.committed(), world.unstable()), (Some(4), 0));
    let late = world.log.append_batch(&at("a", 0), sent(producer, 2, "late")).await;
    assert_eq!(code(late), ErrorCode::InvalidTxnState);
}

#[tokio::test]
async fn an_end_that_cannot_be_written_everywhere_is_finished_by_the_next_start() {
    for marker in [Marker::Commit, Marker::Abort] {
        let world = World::new().await;
        let transactions = world.log.transactions().clone();
        let producer = transactions.init_producer("x", TIMEOUT, None).await.unwrap();
        transactions.add_partitions("x", producer, &parts(&["a", "b"])).await.unwrap();
        for topic in ["a", "b"] {
            world.log.append_batch(&at(topic, 0), sent(producer, 0, "1")).await.unwrap();
        }
        // A write and a sync: the decision. No marker after it.
        world.disk.stop_after(2);
        assert_eq!(code(transactions.end("x", producer, marker).await), ErrorCode::StorageError);
        let state = transactions.describe("x").unwrap().state;
        let world = world.crash(0).await;
        let found = world.log.transactions().describe("x").unwrap();
        let (decided, complete) = match marker {
            Marker::Commit => (TransactionState::PrepareCommit, TransactionState::CompleteCommit),
            Marker::Abort => (TransactionState::PrepareAbort, TransactionState::CompleteAbort),
        };
        assert_eq!(state, decided);
        eventually(async || world.log.transactions().describe("x").unwrap().state == complete)
            .await;
        assert_eq!(found.producer, producer);
        world.assert_all_stable().await;
        let expected = if marker == Marker::Commit { vec!["1"] } else { vec![] };
        assert_eq!(
            (world.values("a").await, world.values("b").await.len()),
            (expected.iter().map(ToString::to_string).collect(), expected.len())
        );
    }
}

#[tokio::test]
async fn a_full_disk_delays_the_end_and_does_not_change_it() {
    let world = World::new().await;
    let mut producer = world.producer("x").await;
    transfer(&mut producer, "1", 1).await.unwrap();
    world.disk.leave_room(0);
    let refused = producer.commit().await.unwrap_err();
    assert!(refused.retryable(), "{refused}");
    assert_eq!(world.values("a").await, [""; 0]);
    world.disk.leave_room(u64::MAX);
    producer.commit().await.unwrap();
    assert_eq!(world.values("a").await, ["1"]);
    assert_eq!(world.committed(), Some(1));
}

#[tokio::test]
async fn a_transaction_that_is_open_for_too_long_is_aborted_and_its_producer_fenced() {
    let world = World::new().await;
    let transactions = world.log.transactions();
    let mut inside = world.producer("inside").await;
    transfer(&mut inside, "1", 1).await.unwrap();
    let outside = transactions.init_producer("outside", TIMEOUT, None).await.unwrap();
    transactions.add_partitions("outside", outside, &parts(&["a"])).await.unwrap();
    world.log.append_batch(&at("a", 0), sent(outside, 0, "2")).await.unwrap();
    world.clock.advance(TIMEOUT);
    let now = Timestamp::from_millis(1_000_000 + 10_001);
    transactions.expire(now).await.unwrap();
    world.assert_all_stable().await;
    assert_eq!(code(inside.commit().await), ErrorCode::ProducerFenced);
    let ended = transactions.end("outside", outside, Marker::Commit).await;
    assert_eq!(code(ended), ErrorCode::ProducerFenced);
    let late = world.log.append_batch(&at("a", 0), sent(outside, 1, "late")).await;
    assert_eq!(code(late), ErrorCode::ProducerFenced);
    assert_eq!(world.values("a").await, [""; 0]);
    assert_eq!(world.committed(), None);
    let again = transactions.init_producer("outside", TIMEOUT, None).await.unwrap();
    assert_eq!((again.id, again.epoch), (outside.id, outside.epoch + 2));
}

#[tokio::test]
async fn ids_that_nobody_uses_are_forgotten_after_a_week() {
    let world = World::new().await;
    let transactions = world.log.transactions();
    let producer = transactions.init_producer("x", TIMEOUT, None).await.unwrap();
    let week = Timestamp::from_millis(1_000_000 + 7 * 86_400_000);
    transactions.expire(week.plus_millis(-1)).await.unwrap();
    assert!(transactions.describe("x").is_ok());
    transactions.expire(week).await.unwrap();
    assert_eq!(code(transactions.describe("x")), ErrorCode::TransactionalIdNotFound);
    let added = transactions.add_partitions("x", producer, &parts(&["a"])).await;
    assert_eq!(code(added), ErrorCode::InvalidProducerIdMapping);
    let world = world.crash(0).await;
    let transactions = world.log.transactions();
    assert_eq!(transactions.list(&TransactionFilter::default()), []);
    let next = transactions.init_producer("x", TIMEOUT, None).await.unwrap();
    assert!(next.id > producer.id, "an id is never given out twice");
}

#[tokio::test]
async fn an_offset_committed_later_counts_whichever_transaction_ends_last() {
    let world = World::new().await;
    let transactions = world.log.transactions();
    let mut producers = Vec::new();
    for (id, offset) in [("x", 1), ("y", 2)] {
        let producer = transactions.init_producer(id, TIMEOUT, None).await.unwrap();
        transactions.add_offsets(id, producer).await.unwrap();
        let offsets = vec![(at("in", 0), Committed { offset, metadata: String::new() })];
        let outside = Membership::none();
        transactions.commit_offsets(id, producer, "g", &outside, offsets).await.unwrap();
        producers.push(producer);
    }
    transactions.end("y", producers[1], Marker::Commit).await.unwrap();
    assert_eq!(world.committed(), Some(2));
    transactions.end("x", producers[0], Marker::Commit).await.unwrap();
    assert_eq!((world.committed(), world.unstable()), (Some(2), 0));
    let world = world.crash(0).await;
    assert_eq!((world.committed(), world.unstable()), (Some(2), 0));
}

#[tokio::test]
async fn offsets_need_to_be_announced_and_ids_and_timeouts_to_be_in_bounds() {
    let world = World::new().await;
    let transactions = world.log.transactions();
    let producer = transactions.init_producer("x", TIMEOUT, None).await.unwrap();
    let offsets = vec![(at("in", 0), Committed { offset: 1, metadata: String::new() })];
    let outside = Membership::none();
    let early = transactions.commit_offsets("x", producer, "g", &outside, offsets);
    assert_eq!(code(early.await), ErrorCode::InvalidTxnState);
    let own = parts(&[OFFSETS_TOPIC]);
    let refused = transactions.add_partitions("x", producer, &own).await;
    assert_eq!(code(refused), ErrorCode::InvalidTopic);
    let missing = transactions.add_partitions("x", producer, &parts(&["a", "missing"])).await;
    assert_eq!(code(missing), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(transactions.describe("x").unwrap().state, TransactionState::Empty);
    for timeout in [Duration::ZERO, Duration::from_secs(901)] {
        let refused = transactions.init_producer("x", timeout, None).await;
        assert_eq!(code(refused), ErrorCode::InvalidTransactionTimeout);
    }
    for id in [String::new(), "x".repeat(1_025)] {
        let refused = transactions.init_producer(&id, TIMEOUT, None).await;
        assert_eq!(code(refused), ErrorCode::InvalidRequest);
    }
    transactions.init_producer(&"x".repeat(1_024), TIMEOUT, None).await.unwrap();
}

#[tokio::test]
async fn a_topic_deleted_in_the_middle_does_not_hold_the_end_up() {
    let world = World::new().await;
    let mut producer = world.producer("x").await;
    transfer(&mut producer, "1", 1).await.unwrap();
    world.log.delete_topic(&name("b")).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(world.values("a").await, ["1"]);
    assert_eq!(world.committed(), Some(1));
}

#[tokio::test]
async fn transactions_are_listed_by_state_producer_and_age() {
    let world = World::new().await;
    let transactions = world.log.transactions();
    let idle = transactions.init_producer("idle", TIMEOUT, None).await.unwrap();
    let open = transactions.init_producer("open", TIMEOUT, None).await.unwrap();
    transactions.add_partitions("open", open, &parts(&["a"])).await.unwrap();
    let ids = |filter: TransactionFilter| {
        transactions.list(&filter).into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    let all = TransactionFilter::default();
    assert_eq!(ids(all.clone()), ["idle", "open"]);
    assert_eq!(
        ids(TransactionFilter { states: vec![TransactionState::Ongoing], ..all.clone() }),
        ["open"]
    );
    assert_eq!(ids(TransactionFilter { producer_ids: vec![idle.id], ..all.clone() }), ["idle"]);
    let old = TransactionFilter { open_for: Some(Duration::from_secs(5)), ..all };
    assert_eq!(ids(old.clone()), [""; 0]);
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(ids(old), ["open"]);
    let producers = world.log.producers(&at("a", 0)).await.unwrap();
    assert_eq!(producers, [], "it has sent nothing yet");
    world.log.append_batch(&at("a", 0), sent(open, 0, "1")).await.unwrap();
    let producers = world.log.producers(&at("a", 0)).await.unwrap();
    assert_eq!((producers[0].producer, producers[0].open_from), (open, Some(0)));
}
