//! `kill -9` at random moments: no acknowledged record is lost, none comes twice.
//!
//! The test starts itself as a child that appends from several tasks and prints each
//! record once it is acknowledged; it kills the child after a random number of them,
//! opens the folder and compares. It has no test harness, because the child must be
//! this program and nothing else. Power cuts are tried elsewhere, on a disk that
//! forgets what was not synced.

#![allow(clippy::print_stdout, reason = "the child tells its parent, the parent its user")]

mod child;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    time::Duration,
};

use child::{CHILD, moments, rounds, run_child};
use courant_log::{EmbeddedLog, Log, LogOptions, ReadLimit, TopicSettings, TopicSpec};
use courant_model::{ByteSize, Record, Timestamp, TopicName, TopicPartition};

const TASKS: usize = 4;
const PARTITIONS: i32 = 2;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if arguments.get(1).is_some_and(|argument| argument == CHILD) {
        runtime.block_on(append_forever(Path::new(&arguments[2]), &arguments[3]));
    } else {
        runtime.block_on(kill_again_and_again());
    }
}

fn topic() -> TopicName {
    TopicName::new("orders").expect("a good name")
}

/// The child: appends numbered records until it is killed.
async fn append_forever(folder: &Path, round: &str) {
    let (log, _) = EmbeddedLog::open(folder, LogOptions::default()).await.expect("the log opens");
    let settings =
        TopicSettings { segment_bytes: ByteSize::from_bytes(16 * 1024), ..Default::default() };
    let spec = TopicSpec { name: topic(), partitions: PARTITIONS, settings };
    if log.topic(&spec.name).await.is_err() {
        log.create_topic(&spec).await.expect("the topic is created");
    }
    let tasks = (0..TASKS).map(|task| {
        let (log, round) = (log.clone(), round.to_owned());
        tokio::spawn(async move {
            for number in 0.. {
                let value = format!("{round} {task} {number}");
                let record = Record::new(value.clone(), Timestamp::from_millis(number));
                let partition = Some(task as i32 % PARTITIONS);
                log.append(&topic(), partition, vec![record]).await.expect("it is appended");
                println!("{value}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the task goes on");
    }
}

async fn kill_again_and_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = BTreeSet::new();
    let rounds = rounds();
    for (round, count) in (0..rounds).zip(moments(400)) {
        acknowledged.extend(run_child(folder.path(), round, count));
        check(folder.path(), &acknowledged).await;
    }
    println!("{rounds} kills, {} acknowledged records, none lost, none twice", acknowledged.len());
}

async fn check(folder: &Path, acknowledged: &BTreeSet<String>) {
    let (log, _) = EmbeddedLog::open(folder, LogOptions::default()).await.expect("the log opens");
    let mut found = BTreeSet::new();
    let mut last: BTreeMap<(String, String), i64> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let partition = TopicPartition::new(topic(), partition);
        let limit = ReadLimit { records: 10_000, bytes: 1 << 20, wait: Duration::ZERO };
        let mut next = 0;
        loop {
            let read = log.read(&partition, next, limit).await.expect("it is read");
            if read.records.is_empty() {
                assert_eq!(next, read.end, "records are missing before the end");
                break;
            }
            for stored in read.records {
                assert_eq!(stored.offset, next, "offsets have no gaps");
                next += 1;
                let value = stored.record.value.expect("a value");
                let value = String::from_utf8(value.to_vec()).expect("text");
                let parts: Vec<&str> = value.split(' ').collect();
                let number: i64 = parts[2].parse().expect("a number");
                let before = last.insert((parts[0].into(), parts[1].into()), number);
                assert_eq!(number, before.map_or(0, |before| before + 1), "in order, once");
                found.insert(value);
            }
        }
    }
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged records are lost: {lost:?}");
    log.close().await.expect("it closes");
}
