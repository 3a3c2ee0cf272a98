//! `kill -9` at random moments of transfers between accounts: the sum stays.
//!
//! Each task owns one transactional id. A transfer takes from an account in one topic,
//! gives to one in another and moves the task's offset, in one transaction; now and then
//! one is made that is taken back. Half of the tasks are producers of this process, half
//! speak as the network does. A child is killed again and again; readers of committed
//! records must then find each transfer in both topics or in none, exactly once, none
//! that was taken back, all that were acknowledged, and as many as the offset says.

#![allow(clippy::print_stdout, reason = "the child tells its parent, the parent its user")]

mod child;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    time::Duration,
};

use child::{CHILD, moments, rounds, run_child};
use courant_log::{
    AutoOffsetReset, Committed, Committer, EmbeddedLog, GroupChange, Log, LogOptions,
    ProducerIdentity, ReadLimit, Subscription, TopicSettings, TopicSpec, TransactionalProducer,
    batch::{BatchSpec, Compression, Marker, Producer, encode},
    group::Membership,
};
use courant_model::{ByteSize, Record, Timestamp, TopicName, TopicPartition};

/// Producers of this process, and as many again that speak as the network does.
const TASKS: i32 = 2;
const PARTITIONS: i32 = 2;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Every so many transfers one is taken back before it is made.
const TAKEN_BACK: i64 = 5;
/// What a transfer moves that is taken back; no other moves as much.
const VOID: i64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if arguments.get(1).is_some_and(|argument| argument == CHILD) {
        runtime.block_on(transfer_forever(Path::new(&arguments[2])));
    } else {
        runtime.block_on(kill_again_and_again());
    }
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).expect("a good name")
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(name(topic), partition)
}

/// A transfer's half: the amount that an account gains or loses.
fn half(task: i32, number: i64, amount: i64) -> Record {
    Record::new(format!("{task} {number} {amount}"), Timestamp::from_millis(number))
}

const fn amount(number: i64) -> i64 {
    1 + number % 97
}

async fn open(folder: &Path) -> EmbeddedLog {
    let (log, _) = EmbeddedLog::open(folder, LogOptions::default()).await.expect("it opens");
    let settings =
        TopicSettings { segment_bytes: ByteSize::from_bytes(16 * 1024), ..Default::default() };
    for (topic, partitions) in [("turns", 2 * TASKS), ("from", PARTITIONS), ("to", PARTITIONS)] {
        let spec = TopicSpec { name: name(topic), partitions, settings: settings.clone() };
        if log.topic(&spec.name).await.is_err() {
            log.create_topic(&spec).await.expect("the topic is created");
        }
    }
    log
}

/// The child: transfers until it is killed.
async fn transfer_forever(folder: &Path) {
    let log = open(folder).await;
    let subscription = Subscription {
        group: "inside".to_owned(),
        topics: vec![name("turns")],
        client_id: "transfers".to_owned(),
        instance_id: None,
        session_timeout: Duration::from_secs(30),
        reset: AutoOffsetReset::Earliest,
    };
    let mut member = log.subscribe(subscription).await.expect("it joins");
    let Ok(GroupChange::Assigned(_)) = member.next_change().await else {
        panic!("the only member gets all partitions");
    };
    let inside = (0..TASKS).map(|task| tokio::spawn(transfer_inside(member.committer(), task)));
    let outside = (TASKS..2 * TASKS).map(|task| tokio::spawn(transfer_outside(log.clone(), task)));
    for task in inside.chain(outside).collect::<Vec<_>>() {
        task.await.expect("the task goes on");
    }
}

/// Transfers as a pipeline does.
async fn transfer_inside(committer: Box<dyn Committer>, task: i32) {
    let mut producer =
        committer.transactional_producer(&task.to_string(), TIMEOUT).await.expect("it starts");
    let turn = at("turns", task);
    let committed = committer.committed(&turn).await.expect("it is read");
    for number in committed.map_or(0, |committed| committed.offset).. {
        if number % TAKEN_BACK == 0 {
            make(&mut *producer, &turn, number, VOID).await;
            producer.abort().await.expect("it is taken back");
        }
        make(&mut *producer, &turn, number, amount(number)).await;
        producer.commit().await.expect("it is committed");
        println!("{task} {number}");
    }
}

async fn make(
    producer: &mut dyn TransactionalProducer,
    turn: &TopicPartition,
    number: i64,
    amount: i64,
) {
    let task = turn.partition;
    let partition = Some(number as i32 % PARTITIONS);
    producer.begin().await.expect("it begins");
    for (topic, amount) in [("from", -amount), ("to", amount)] {
        let records = vec![half(task, number, amount)];
        producer.append(&name(topic), partition, records).await.expect("it is appended");
    }
    let offsets = [(turn.clone(), number + 1)].into();
    producer.commit_offsets(&offsets, "").await.expect("the turn is part of it");
}

/// Transfers as a client over the network does.
async fn transfer_outside(log: EmbeddedLog, task: i32) {
    let (id, transactions) = (task.to_string(), log.transactions());
    let producer = transactions.init_producer(&id, TIMEOUT, None).await.expect("it starts");
    let mut client = Outside { log: log.clone(), task, producer, sequences: BTreeMap::new() };
    let committed = log.coordinator().committed("outside");
    let first = committed.get(&at("turns", task)).map_or(0, |committed| committed.offset);
    for number in first.. {
        if number % TAKEN_BACK == 0 {
            client.make(number, VOID).await;
            transactions.end(&id, producer, Marker::Abort).await.expect("it is taken back");
        }
        client.make(number, amount(number)).await;
        transactions.end(&id, producer, Marker::Commit).await.expect("it is committed");
        println!("{task} {number}");
    }
}

struct Outside {
    log: EmbeddedLog,
    task: i32,
    producer: ProducerIdentity,
    sequences: BTreeMap<TopicPartition, i32>,
}

impl Outside {
    async fn make(&mut self, number: i64, amount: i64) {
        let (id, task) = (self.task.to_string(), self.task);
        let partition = number as i32 % PARTITIONS;
        let partitions = [at("from", partition), at("to", partition)].into();
        let transactions = self.log.transactions().clone();
        let added = transactions.add_partitions(&id, self.producer, &partitions).await;
        added.expect("they are added");
        for (topic, amount) in [("from", -amount), ("to", amount)] {
            self.send(at(topic, partition), &half(task, number, amount)).await;
        }
        transactions.add_offsets(&id, self.producer).await.expect("they are added");
        let committed = Committed { offset: number + 1, metadata: String::new() };
        let offsets = vec![(at("turns", task), committed)];
        let outside = Membership::none();
        let moved = transactions.commit_offsets(&id, self.producer, "outside", &outside, offsets);
        moved.await.expect("the turn is part of it");
    }

    async fn send(&mut self, to: TopicPartition, record: &Record) {
        let sequence = self.sequences.entry(to.clone()).or_default();
        let ProducerIdentity { id, epoch } = self.producer;
        let spec = BatchSpec {
            producer: Producer { id, epoch, base_sequence: *sequence },
            transactional: true,
            ..BatchSpec::plain(1, Compression::None)
        };
        *sequence += 1;
        let batch = encode(&spec, [(0, record)]).expect("it is encoded");
        self.log.append_batch(&to, batch.into()).await.expect("it is appended");
    }
}

async fn kill_again_and_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = BTreeSet::new();
    let rounds = rounds();
    for (round, count) in (0..rounds).zip(moments(200)) {
        acknowledged.extend(run_child(folder.path(), round, count));
        check(folder.path(), &acknowledged).await;
    }
    println!("{rounds} kills, {} acknowledged transfers, the sum stayed", acknowledged.len());
}

async fn check(folder: &Path, acknowledged: &BTreeSet<String>) {
    let log = open(folder).await;
    for task in 0..2 * TASKS {
        // What a client over the network left open ends with its successor; until then
        // it holds readers back.
        let id = task.to_string();
        log.transactions().init_producer(&id, TIMEOUT, None).await.expect("it starts");
    }
    let (from, to) = (halves(&log, "from").await, halves(&log, "to").await);
    let taken: BTreeMap<_, _> =
        to.iter().map(|(transfer, amount)| (transfer.clone(), -amount)).collect();
    let torn: Vec<_> = from.iter().filter(|(one, moved)| taken.get(*one) != Some(moved)).collect();
    assert!(torn.is_empty() && from.len() == taken.len(), "transfers are torn: {torn:?}");
    let found: BTreeSet<String> = to.into_keys().collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged transfers are lost: {lost:?}");
    for task in 0..2 * TASKS {
        let group = if task < TASKS { "inside" } else { "outside" };
        let committed = log.coordinator().committed(group);
        let turns = committed.get(&at("turns", task)).map_or(0, |committed| committed.offset);
        let own = found.iter().filter(|one| one.starts_with(&format!("{task} "))).count();
        assert_eq!(own as i64, turns, "task {task}: the offset is part of the transfer");
    }
    for partition in 0..PARTITIONS {
        for topic in ["from", "to"] {
            let offsets = log.offsets(&at(topic, partition)).await.expect("it is there");
            assert_eq!(offsets.last_stable, offsets.end, "{topic} {partition} is held back");
        }
    }
    log.close().await.expect("it closes");
}

/// All committed halves of a topic: the transfer, and what it moves.
async fn halves(log: &EmbeddedLog, topic: &str) -> BTreeMap<String, i64> {
    let mut halves = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let partition = at(topic, partition);
        let limit = ReadLimit { records: 10_000, bytes: 1 << 20, wait: Duration::ZERO };
        let mut next = 0;
        loop {
            let read = log.read(&partition, next, limit).await.expect("it is read");
            if read.records.is_empty() && read.next == next {
                break;
            }
            next = read.next;
            for stored in read.records {
                let value = stored.record.value.expect("a value");
                let value = std::str::from_utf8(&value).expect("text");
                let (transfer, moved) = value.rsplit_once(' ').expect("three words");
                let moved: i64 = moved.parse().expect("a number");
                assert!(moved.abs() < VOID, "{value} was taken back");
                let before = halves.insert(transfer.to_owned(), moved);
                assert_eq!(before, None, "{transfer} comes twice");
            }
        }
    }
    halves
}
