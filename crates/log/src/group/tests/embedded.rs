//! Groups over the embedded log: what must hold on a real disk, across restarts.
//!
//! Time is real here, so nothing asserts how long anything takes; waiting is for a
//! change or a record.

use std::{collections::BTreeSet, path::Path, time::Duration};

use courant_model::{Positions, Record, Timestamp, TopicName, TopicPartition};

use super::doubles::{at, subscription, topic};
use crate::{
    Committed, EmbeddedLog, ErrorCode, GroupChange, GroupMember, Log, LogOptions, PartitionReader,
    TopicChange, TopicSettings, TopicSpec, group::OFFSETS_TOPIC,
};

async fn open(folder: &Path) -> EmbeddedLog {
    EmbeddedLog::open(folder, LogOptions::default()).await.unwrap().0
}

async fn with_topic(folder: &Path, partitions: i32) -> EmbeddedLog {
    let log = open(folder).await;
    let settings = TopicSettings::default();
    log.create_topic(&TopicSpec { name: topic("t"), partitions, settings }).await.unwrap();
    log
}

async fn append(log: &EmbeddedLog, partition: i32, values: &[&str]) {
    let record = |value: &&str| Record::new((*value).to_owned(), Timestamp::from_millis(1));
    let records = values.iter().map(record).collect();
    log.append(&topic("t"), Some(partition), records).await.unwrap();
}

/// Waits for the next change; hours would pass only if it never came.
async fn change(member: &mut Box<dyn GroupMember>) -> GroupChange {
    tokio::time::timeout(Duration::from_secs(60), member.next_change()).await.unwrap().unwrap()
}

async fn assigned(member: &mut Box<dyn GroupMember>) -> Vec<Box<dyn PartitionReader>> {
    match change(member).await {
        GroupChange::Assigned(readers) => readers,
        other => panic!("{other:?} instead of partitions"),
    }
}

async fn read(reader: &mut Box<dyn PartitionReader>) -> Vec<String> {
    let read = tokio::time::timeout(Duration::from_secs(60), reader.next(100, 1 << 20));
    let records = read.await.unwrap().unwrap().records;
    let value = |bytes: Option<bytes::Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    records.into_iter().map(|stored| value(stored.record.value)).collect()
}

fn names(readers: &[Box<dyn PartitionReader>]) -> BTreeSet<TopicPartition> {
    readers.iter().map(|reader| reader.partition().clone()).collect()
}

/// Keeps the book of one member.
fn apply(change: GroupChange, held: &mut BTreeSet<TopicPartition>) {
    match change {
        GroupChange::Assigned(readers) => held.extend(names(&readers)),
        GroupChange::Revoked(gone) | GroupChange::Lost(gone) => {
            held.retain(|partition| !gone.contains(partition));
        }
    }
}

#[tokio::test]
async fn offsets_survive_a_reopen_and_a_reset_reads_all_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_topic(folder.path(), 1).await;
    append(&log, 0, &["x", "y"]).await;
    let mut member = log.subscribe(subscription("g")).await.unwrap();
    let mut readers = assigned(&mut member).await;
    assert_eq!(read(&mut readers[0]).await, ["x", "y"]);
    let done = Positions::from([(at("t", 0), readers[0].position())]);
    member.committer().commit(&done, "two").await.unwrap();
    log.close().await.unwrap();
    drop((member, readers, log));

    let log = open(folder.path()).await;
    append(&log, 0, &["z"]).await;
    let mut member = log.subscribe(subscription("g")).await.unwrap();
    let mut readers = assigned(&mut member).await;
    let before = Committed { offset: 2, metadata: "two".into() };
    assert_eq!(readers[0].committed(), Some(&before));
    assert_eq!(read(&mut readers[0]).await, ["z"]);
    let refused = log.reset_group("g", &Positions::from([(at("t", 0), 0)])).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    member.leave().await.unwrap();

    log.reset_group("g", &Positions::from([(at("t", 0), 0)])).await.unwrap();
    let mut member = log.subscribe(subscription("g")).await.unwrap();
    let mut readers = assigned(&mut member).await;
    assert_eq!(read(&mut readers[0]).await, ["x", "y", "z"]);
}

#[tokio::test]
async fn two_members_share_and_the_survivor_takes_over_what_the_other_had() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_topic(folder.path(), 2).await;
    append(&log, 0, &["a"]).await;
    append(&log, 1, &["b"]).await;
    let mut first = log.subscribe(subscription("g")).await.unwrap();
    let mut second = log.subscribe(subscription("g")).await.unwrap();
    let (mut mine, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    while mine.len() != 1 || theirs.len() != 1 {
        tokio::select! {
            change = change(&mut first) => apply(change, &mut mine),
            change = change(&mut second) => apply(change, &mut theirs),
        }
        assert!(mine.is_disjoint(&theirs));
    }
    assert_eq!(log.group("g").await.unwrap().members.len(), 2);

    drop(second);
    let mut taken = assigned(&mut first).await;
    assert_eq!(names(&taken), theirs);
    assert_eq!(read(&mut taken[0]).await.len(), 1);
}

#[tokio::test]
async fn partitions_that_are_added_reach_the_members() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_topic(folder.path(), 1).await;
    let mut member = log.subscribe(subscription("g")).await.unwrap();
    assert_eq!(names(&assigned(&mut member).await), [at("t", 0)].into());
    let more = TopicChange { partitions: Some(3), settings: None };
    log.alter_topic(&topic("t"), &more).await.unwrap();
    assert_eq!(names(&assigned(&mut member).await), [at("t", 1), at("t", 2)].into());
}

#[tokio::test]
async fn a_topic_that_comes_again_finds_no_offsets_of_its_namesake() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_topic(folder.path(), 1).await;
    log.reset_group("g", &Positions::from([(at("t", 0), 7)])).await.unwrap();
    assert_eq!(log.group("g").await.unwrap().offsets[0].committed, 7);
    log.delete_topic(&topic("t")).await.unwrap();
    let settings = TopicSettings::default();
    log.create_topic(&TopicSpec { name: topic("t"), partitions: 1, settings }).await.unwrap();
    let mut member = log.subscribe(subscription("g")).await.unwrap();
    let readers = assigned(&mut member).await;
    assert_eq!((readers[0].position(), readers[0].committed()), (0, None));
}

#[tokio::test]
async fn a_deleted_topic_ends_its_readers_and_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_topic(folder.path(), 1).await;
    let mut member = log.subscribe(subscription("g")).await.unwrap();
    let mut readers = assigned(&mut member).await;
    let reading = readers[0].next(10, 1 << 20);
    let (read, deleted) = tokio::join!(reading, async { log.delete_topic(&topic("t")).await });
    deleted.unwrap();
    assert_eq!(read.unwrap_err().code(), ErrorCode::UnknownTopicOrPartition);
    let gone = change(&mut member).await;
    assert!(matches!(gone, GroupChange::Revoked(gone) if gone == [at("t", 0)]));
}

#[tokio::test]
async fn groups_are_listed_and_deleted_and_their_topic_stays_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_topic(folder.path(), 1).await;
    log.reset_group("b", &Positions::from([(at("t", 0), 0)])).await.unwrap();
    log.reset_group("a", &Positions::from([(at("t", 0), 0)])).await.unwrap();
    append(&log, 0, &["x", "y"]).await;
    let ids: Vec<String> = log.groups().await.unwrap().into_iter().map(|group| group.id).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(log.group("a").await.unwrap().offsets[0].lag, 2);
    let topics = log.topics().await.unwrap();
    assert!(topics.iter().all(|topic| topic.name.as_str() != OFFSETS_TOPIC));
    log.topic(&TopicName::new(OFFSETS_TOPIC).unwrap()).await.unwrap();

    log.delete_group("a").await.unwrap();
    assert_eq!(log.group("a").await.unwrap_err().code(), ErrorCode::GroupIdNotFound);
    log.close().await.unwrap();
    drop(log);
    let log = open(folder.path()).await;
    assert_eq!(log.groups().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_commit_at_once_and_a_kill_keeps_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let log = with_topic(folder.path(), 4).await;
    let mut member = log.subscribe(subscription("g")).await.unwrap();
    assert_eq!(assigned(&mut member).await.len(), 4);
    let tasks = (0..4).map(|partition| {
        let committer = member.committer();
        tokio::spawn(async move {
            for offset in 1..=25 {
                let positions = Positions::from([(at("t", partition), offset)]);
                committer.commit(&positions, "").await.unwrap();
            }
        })
    });
    futures::future::try_join_all(tasks).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), copy.path());
    let after_kill = open(copy.path()).await;
    let offsets = after_kill.group("g").await.unwrap().offsets;
    assert_eq!(offsets.iter().map(|offset| offset.committed).collect::<Vec<_>>(), [25; 4]);
}

/// What a kill leaves: the files as they are while the log is still open.
fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
