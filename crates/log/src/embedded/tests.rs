//! The embedded log as a whole: topics, records, reopening, many callers.

use std::{path::Path, sync::Arc, time::Duration};

use courant_model::{ByteSize, ManualClock, Record, Span, Timestamp, TopicName, TopicPartition};

use super::*;
use crate::{
    AutoOffsetReset, Durability, GroupChange, Log, Read, ReadLimit, Retention, Subscription,
    TopicChange, TopicSettings, TopicSpec,
    batch::{self, BatchSpec, Compression, Producer, encode},
    disk::fake::FakeDisk,
};

const LIMIT: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20, wait: Duration::ZERO };
const PATIENT: ReadLimit = ReadLimit { wait: Duration::from_secs(30), ..LIMIT };

pub(super) fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

pub(super) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(name(topic), partition)
}

pub(super) fn spec(topic: &str, partitions: i32) -> TopicSpec {
    TopicSpec { name: name(topic), partitions, settings: TopicSettings::default() }
}

pub(super) fn record(value: impl Into<Bytes>) -> Record {
    Record::new(value, Timestamp::from_millis(1_000))
}

pub(super) fn by_hand() -> LogOptions {
    LogOptions {
        clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000))),
        housekeeping: None,
        ..LogOptions::default()
    }
}

async fn open(folder: &Path) -> EmbeddedLog {
    let (log, reports) = EmbeddedLog::open(folder, by_hand()).await.unwrap();
    assert_eq!(reports, []);
    log
}

pub(super) async fn values(log: &EmbeddedLog, partition: &TopicPartition) -> Vec<String> {
    let (mut values, mut next) = (Vec::new(), log.offsets(partition).await.unwrap().start);
    loop {
        let read = log.read(partition, next, LIMIT).await.unwrap();
        if read.records.is_empty() && read.next == next {
            return values;
        }
        for stored in read.records {
            let value = stored.record.value.unwrap_or_default();
            values.push(String::from_utf8(value.to_vec()).unwrap());
        }
        next = read.next;
    }
}

#[tokio::test]
async fn what_was_appended_is_read_again_after_a_clean_close() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let created = log.create_topic(&spec("orders", 2)).await.unwrap();
    let records = vec![record("a").with_key("k").with_header("h", "x"), record("b").with_key("k")];
    let positions = log.append(&name("orders"), Some(1), records.clone()).await.unwrap();
    assert_eq!(positions.iter().map(|p| p.offset).collect::<Vec<_>>(), [0, 1]);
    let cluster = log.cluster_id();
    log.close().await.unwrap();
    assert!(matches!(log.offsets(&at("orders", 1)).await, Err(LogError::Closed)));

    let log = open(folder.path()).await;
    assert_eq!(log.cluster_id(), cluster);
    let found = log.topic(&name("orders")).await.unwrap();
    assert_eq!((found.id, found.settings), (created.id, created.settings));
    let Read { records: read, next, end } = log.read(&at("orders", 1), 0, LIMIT).await.unwrap();
    assert_eq!((next, end), (2, 2));
    assert_eq!(read.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), records);
    let again = log.append(&name("orders"), Some(1), vec![record("c")]).await.unwrap();
    assert_eq!(again[0].offset, 2);
}

#[tokio::test]
async fn what_was_acknowledged_is_read_again_without_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    for i in 0..50 {
        log.append(&name("orders"), None, vec![record(i.to_string())]).await.unwrap();
    }
    log.release_folder();
    let reopened = open(folder.path()).await;
    let expected: Vec<String> = (0..50).map(|i| i.to_string()).collect();
    assert_eq!(values(&reopened, &at("orders", 0)).await, expected);
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let refused = EmbeddedLog::open(folder.path(), by_hand()).await;
    assert!(matches!(refused, Err(LogError::FolderInUse { .. })));
    log.close().await.unwrap();
    open(folder.path()).await;
}

#[tokio::test]
async fn keys_find_kafkas_partition_and_keyless_records_of_a_call_stay_together() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 3)).await.unwrap();
    let topic = name("orders");
    let records = (0..20).map(|i| record("x").with_key(format!("key {i}"))).collect();
    let positions = log.append(&topic, None, records).await.unwrap();
    for (i, position) in positions.iter().enumerate() {
        let expected = crate::partition_of(format!("key {i}").as_bytes(), 3);
        assert_eq!(position.partition.partition, expected);
    }
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let positions = log.append(&topic, None, vec![record("x"), record("y")]).await.unwrap();
        assert_eq!(positions[0].partition, positions[1].partition);
        assert_eq!(positions[0].offset + 1, positions[1].offset);
        used.insert(positions[0].partition.partition);
    }
    assert_eq!(used.len(), 3);
}

#[tokio::test]
async fn a_record_that_is_too_large_stops_the_whole_call() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let settings =
        TopicSettings { message_bytes_max: ByteSize::from_bytes(1_000), ..Default::default() };
    log.create_topic(&TopicSpec { settings, ..spec("small", 1) }).await.unwrap();
    let records = vec![record("fits"), record(vec![b'x'; 2_000])];
    let refused = log.append(&name("small"), None, records).await;
    assert!(matches!(refused, Err(LogError::RecordTooLarge { max_bytes: 1_000, .. })));
    assert_eq!(log.offsets(&at("small", 0)).await.unwrap().end, 0);
    let many = (0..100).map(|_| record(vec![b'x'; 300])).collect();
    log.append(&name("small"), None, many).await.unwrap();
    assert_eq!(log.offsets(&at("small", 0)).await.unwrap().end, 100);
}

#[tokio::test]
async fn a_large_call_becomes_several_batches_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let records: Vec<Record> = (0..20_000).map(|i| record(format!("{i:0100}"))).collect();
    let positions = log.append(&name("orders"), None, records.clone()).await.unwrap();
    assert!(positions.iter().map(|p| p.offset).eq(0..20_000));
    let (mut next, mut read_back) = (0, Vec::new());
    while next < 20_000 {
        let read = log.read(&at("orders", 0), next, LIMIT).await.unwrap();
        assert!(read.records.len() <= LIMIT.records);
        next = read.next;
        read_back.extend(read.records.into_iter().map(|stored| stored.record));
    }
    assert_eq!(read_back, records);
}

#[tokio::test]
async fn a_waiting_reader_wakes_on_append() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let reader = tokio::spawn({
        let log = log.clone();
        async move { log.read(&at("orders", 0), 0, PATIENT).await }
    });
    tokio::task::yield_now().await;
    log.append(&name("orders"), None, vec![record("a")]).await.unwrap();
    let read = reader.await.unwrap().unwrap();
    assert_eq!(read.records.len(), 1);
}

#[tokio::test]
async fn a_waiting_reader_hears_that_its_topic_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let reader = tokio::spawn({
        let log = log.clone();
        async move { log.read(&at("orders", 0), 0, PATIENT).await }
    });
    tokio::task::yield_now().await;
    log.delete_topic(&name("orders")).await.unwrap();
    assert!(matches!(reader.await.unwrap(), Err(LogError::UnknownTopic { .. })));
    assert_eq!(log.topics().await.unwrap(), []);
    assert!(!folder.path().join("topics/orders").exists());
    let again = log.create_topic(&spec("orders", 1)).await.unwrap();
    assert_eq!(again.partitions[0].end, 0);
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_is_finished_on_start() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    log.create_topic(&spec("others", 1)).await.unwrap();
    log.close().await.unwrap();
    let (topics, trash) = (folder.path().join("topics"), folder.path().join("trash"));
    std::fs::rename(topics.join("orders"), trash.join("some-id")).unwrap();
    std::fs::create_dir(folder.path().join("new/half-made")).unwrap();
    let log = open(folder.path()).await;
    let names: Vec<String> =
        log.topics().await.unwrap().iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["others"]);
    assert!(!trash.join("some-id").exists());
    assert!(!folder.path().join("new/half-made").exists());
}

#[tokio::test]
async fn many_appenders_keep_their_order_and_share_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut last = -1;
                for i in 0..50 {
                    let records = vec![record(format!("{task} {i}"))];
                    let positions = log.append(&name("orders"), None, records).await.unwrap();
                    assert!(positions[0].offset > last);
                    last = positions[0].offset;
                    assert!(log.offsets(&at("orders", 0)).await.unwrap().end > last);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let values = values(&log, &at("orders", 0)).await;
    assert_eq!(values.len(), 32 * 50);
    for task in 0..32 {
        let of_task = values.iter().filter_map(|value| value.strip_prefix(&format!("{task} ")));
        assert!(of_task.map(|i| i.parse::<i32>().unwrap()).eq(0..50));
    }
}

/// Segments roll, expire in favour of compacted ones and are read, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_key_while_compaction_swaps_segments() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
    let options = LogOptions {
        durability: Durability::Os,
        clock: Arc::clone(&clock) as Arc<dyn courant_model::Clock>,
        ..by_hand()
    };
    let (log, _) = EmbeddedLog::open(folder.path(), options).await.unwrap();
    let settings = TopicSettings {
        cleanup: Retention::Compact,
        segment_bytes: ByteSize::from_bytes(2_048),
        segment_time: Span::from_millis(10),
        ..Default::default()
    };
    log.create_topic(&TopicSpec { settings, ..spec("latest", 1) }).await.unwrap();
    let first: Vec<Record> = (0..9).map(|k| record("0").with_key(format!("{k}"))).collect();
    log.append(&name("latest"), None, first).await.unwrap();

    let writing = tokio::spawn({
        let log = log.clone();
        async move {
            for i in 1..2_000 {
                let record = record(format!("{i}")).with_key(format!("{}", i % 9));
                log.append(&name("latest"), None, vec![record]).await.unwrap();
            }
        }
    });
    let upkeep = tokio::spawn({
        let log = log.clone();
        async move {
            while !writing.is_finished() {
                clock.advance(Duration::from_millis(20));
                log.housekeep(courant_model::Clock::now(&*clock)).await.unwrap();
            }
            writing.await.unwrap();
        }
    });
    while !upkeep.is_finished() {
        let (mut next, mut keys) = (0, std::collections::BTreeSet::new());
        loop {
            let read = log.read(&at("latest", 0), next, LIMIT).await.unwrap();
            assert!(read.records.is_sorted_by_key(|stored| stored.offset));
            keys.extend(read.records.into_iter().filter_map(|stored| stored.record.key));
            next = read.next;
            if next == read.end {
                break;
            }
        }
        assert_eq!(keys.len(), 9, "a key was not there below {next}");
    }
    upkeep.await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_repeated_batch_is_answered_with_its_first_offset_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let id = log.allocate_producer_id().await.unwrap();
    let batch = |base_sequence| {
        let producer = Producer { id, epoch: 0, base_sequence };
        let spec = BatchSpec { producer, ..BatchSpec::plain(2, Compression::Lz4) };
        let records = [record("a"), record("b")];
        Bytes::from(encode(&spec, (0..).zip(&records)).unwrap())
    };
    let partition = at("orders", 0);
    let first = log.append_batch(&partition, batch(0)).await.unwrap();
    let second = log.append_batch(&partition, batch(2)).await.unwrap();
    assert_eq!((second.base_offset, second.last_offset), (2, 3));
    assert_eq!(log.append_batch(&partition, batch(0)).await.unwrap(), first);
    let lost = log.append_batch(&partition, batch(9)).await;
    assert!(matches!(lost, Err(LogError::OutOfOrderSequence { expected: 4, found: 9, .. })));
    log.close().await.unwrap();

    let log = open(folder.path()).await;
    let again = log.append_batch(&partition, batch(0)).await.unwrap();
    assert_eq!(again.base_offset, 0);
    assert_eq!(log.offsets(&partition).await.unwrap().end, 4);
    assert!(log.allocate_producer_id().await.unwrap() > id);
}

#[tokio::test]
async fn raw_batches_come_back_as_they_were_sent() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let partition = at("orders", 0);
    let records = [record("a"), record("b")];
    let bytes = encode(&BatchSpec::plain(2, Compression::Zstd), (0..).zip(&records)).unwrap();
    for _ in 0..3 {
        log.append_batch(&partition, Bytes::from(bytes.clone())).await.unwrap();
    }
    let limit = FetchLimit { bytes: 1, committed: true, wait: Duration::ZERO };
    let fetched = log.fetch(&partition, 3, limit).await.unwrap();
    assert_eq!((fetched.next, fetched.start, fetched.end), (4, 0, 6));
    assert_eq!(fetched.batches[..8], 2_i64.to_be_bytes());
    assert_eq!(fetched.batches[16..], bytes[16..]);
}

#[tokio::test]
async fn batches_handed_over_together_are_appended_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let partition = at("orders", 0);
    let batch = encode(&BatchSpec::plain(1, Compression::None), [(0, &record("a"))]).unwrap();
    let mut pending = Vec::new();
    for _ in 0..20 {
        pending.push(log.submit_batch(&partition, Bytes::from(batch.clone())).await.unwrap());
    }
    for (offset, pending) in (0..).zip(pending) {
        assert_eq!(pending.done().await.unwrap().base_offset, offset);
    }
}

#[tokio::test]
async fn a_reader_that_follows_is_warm_and_one_that_begins_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    log.append(&"orders".parse().unwrap(), Some(0), vec![record("a")]).await.unwrap();
    let handle = log.partition(&at("orders", 0)).unwrap();
    assert!(!handle.is_warm(0));
    let fetched = handle.fetch(0, 1_000, false).unwrap();
    assert!(handle.is_warm(fetched.next));
}

#[tokio::test]
async fn hostile_batches_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let partition = at("orders", 0);
    let good = encode(&BatchSpec::plain(1, Compression::None), [(0, &record("a"))]).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let twice = [good.clone(), good.clone()].concat();
    let spec = BatchSpec { transactional: true, ..BatchSpec::plain(1, Compression::None) };
    let transactional = encode(&spec, [(0, &record("a"))]).unwrap();
    for bytes in [flipped, good[..30].to_vec(), Vec::new()] {
        let refused = log.append_batch(&partition, Bytes::from(bytes)).await;
        assert!(matches!(refused, Err(LogError::CorruptBatch { .. })), "{refused:?}");
    }
    let now = Timestamp::from_millis(1);
    let marker = batch::encode_marker(batch::Marker::Commit, 1, 0, now).unwrap().to_vec();
    let producer = Producer { id: 1, epoch: 0, base_sequence: -1 };
    let spec = BatchSpec { producer, ..BatchSpec::plain(1, Compression::None) };
    let unnumbered = encode(&spec, [(0, &record("a"))]).unwrap();
    for bytes in [twice, transactional, marker, unnumbered] {
        let refused = log.append_batch(&partition, Bytes::from(bytes)).await;
        assert!(matches!(refused, Err(LogError::InvalidRecord { .. })), "{refused:?}");
    }
    assert_eq!(log.offsets(&partition).await.unwrap().end, 0);
}

#[tokio::test]
async fn partitions_can_grow_and_not_shrink() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let grow = |partitions| TopicChange { partitions: Some(partitions), settings: None };
    log.alter_topic(&name("orders"), &grow(3)).await.unwrap();
    let refused = log.alter_topic(&name("orders"), &grow(2)).await;
    assert!(matches!(refused, Err(LogError::InvalidTopic { .. })));
    log.append(&name("orders"), Some(2), vec![record("a")]).await.unwrap();
    log.close().await.unwrap();
    let log = open(folder.path()).await;
    assert_eq!(log.topic(&name("orders")).await.unwrap().partitions.len(), 3);
    assert_eq!(values(&log, &at("orders", 2)).await, ["a"]);
}

#[tokio::test]
async fn a_topic_that_cannot_be_is_refused_with_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let twice = log.create_topic(&spec("orders", 1)).await;
    assert!(matches!(twice, Err(LogError::TopicExists { .. })));
    for partitions in [0, -1, 1_001] {
        let refused = log.create_topic(&spec("others", partitions)).await;
        assert!(matches!(refused, Err(LogError::InvalidTopic { .. })));
    }
    let refused = log.offsets(&at("orders", 1)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "topic \"orders\" has 1 partitions; partition 1 does not exist"
    );
}

#[tokio::test]
async fn offsets_outside_are_refused_and_times_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let partition = at("orders", 0);
    for millis in [10, 30, 20, 40] {
        let record = Record::new("x", Timestamp::from_millis(millis));
        log.append(&name("orders"), None, vec![record]).await.unwrap();
    }
    for (millis, offset) in [(0, Some(0)), (11, Some(1)), (31, Some(3)), (41, None)] {
        let found = log.offset_at(&partition, Timestamp::from_millis(millis)).await.unwrap();
        assert_eq!(found, offset, "{millis}");
    }
    let largest = log.largest_timestamp(&partition).await.unwrap();
    assert_eq!(largest, Some((Timestamp::from_millis(40), 3)));
    assert_eq!(log.delete_records(&partition, 2).await.unwrap(), 2);
    for offset in [1, 5] {
        let refused = log.read(&partition, offset, LIMIT).await;
        assert!(matches!(refused, Err(LogError::OffsetOutOfRange { start: 2, end: 4, .. })));
    }
    let refused = log.delete_records(&partition, 5).await;
    assert!(matches!(refused, Err(LogError::OffsetOutOfRange { .. })));
    log.close().await.unwrap();
    assert_eq!(open(folder.path()).await.offsets(&partition).await.unwrap().start, 2);
}

#[tokio::test]
async fn every_durability_keeps_what_a_clean_close_saw() {
    let interval = Durability::Interval(Span::from_millis(5));
    for durability in [Durability::Fsync, interval, Durability::Os] {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions { durability, ..by_hand() };
        let (log, _) = EmbeddedLog::open(folder.path(), options).await.unwrap();
        let settings =
            TopicSettings { segment_bytes: ByteSize::from_bytes(1_024), ..Default::default() };
        log.create_topic(&TopicSpec { settings, ..spec("orders", 1) }).await.unwrap();
        for i in 0..100 {
            log.append(&name("orders"), None, vec![record(format!("{i}"))]).await.unwrap();
        }
        log.close().await.unwrap();
        assert_eq!(values(&open(folder.path()).await, &at("orders", 0)).await.len(), 100);
    }
}

#[tokio::test]
async fn compacted_topics_take_no_record_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let settings = TopicSettings { cleanup: Retention::Compact, ..Default::default() };
    log.create_topic(&TopicSpec { settings, ..spec("latest", 1) }).await.unwrap();
    let records = vec![record("a").with_key("k"), record("b")];
    let refused = log.append(&name("latest"), None, records).await;
    assert!(matches!(refused, Err(LogError::InvalidRecord { .. })));
    let batch = encode(&BatchSpec::plain(1, Compression::None), [(0, &record("a"))]).unwrap();
    let refused = log.append_batch(&at("latest", 0), batch.into()).await;
    assert!(matches!(refused, Err(LogError::InvalidRecord { .. })));
    assert_eq!(log.offsets(&at("latest", 0)).await.unwrap().end, 0);
}

#[tokio::test]
async fn a_group_reads_commits_and_goes_on_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let records = (0..10).map(|i| record(format!("{i}"))).collect();
    log.append(&name("orders"), None, records).await.unwrap();
    let subscription = Subscription {
        group: "readers".to_owned(),
        topics: vec![name("orders")],
        client_id: "test".to_owned(),
        instance_id: None,
        session_timeout: Duration::from_secs(10),
        reset: AutoOffsetReset::Earliest,
    };
    let mut member = log.subscribe(subscription.clone()).await.unwrap();
    let mut readers = assigned(&mut *member).await;
    let read = readers[0].next(4, 1 << 20).await.unwrap();
    assert_eq!(read.next, 4);
    member.committer().commit(&[(at("orders", 0), 4)].into(), "so far").await.unwrap();
    drop(readers);
    member.leave().await.unwrap();
    let topics = log.topics().await.unwrap();
    assert_eq!(topics.len(), 1, "the offsets' own topic is hidden");
    assert_eq!(log.all_topics().unwrap().len(), 2);
    let own = name(OFFSETS_TOPIC);
    assert!(matches!(log.delete_topic(&own).await, Err(LogError::InvalidTopic { .. })));
    let refused = log.append(&own, Some(0), vec![record("x").with_key("k")]).await;
    assert!(matches!(refused, Err(LogError::InvalidTopic { .. })));
    log.close().await.unwrap();

    let log = open(folder.path()).await;
    let group = log.group("readers").await.unwrap();
    assert_eq!((group.offsets[0].committed, group.offsets[0].lag), (4, 6));
    let mut member = log.subscribe(subscription).await.unwrap();
    let readers = assigned(&mut *member).await;
    assert_eq!(readers[0].position(), 4);
    assert_eq!(readers[0].committed().unwrap().metadata, "so far");
}

#[tokio::test]
async fn upkeep_and_syncs_by_interval_happen_by_themselves() {
    let disk = FakeDisk::new();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
    let options = LogOptions {
        durability: Durability::Interval(Span::from_millis(1)),
        clock: Arc::clone(&clock) as Arc<dyn courant_model::Clock>,
        housekeeping: Some(Duration::from_millis(1)),
        ..by_hand()
    };
    let (log, _) = on(&disk, options).await.unwrap();
    log.create_topic(&spec("orders", 1)).await.unwrap();
    let before = disk.syncs();
    log.append(&name("orders"), None, vec![record("a")]).await.unwrap();
    eventually(async || disk.syncs() > before).await;
    clock.advance(Duration::from_secs(8 * 86_400));
    eventually(async || log.offsets(&at("orders", 0)).await.unwrap().start == 1).await;
}

#[tokio::test]
async fn a_crash_while_topics_change_leaves_each_as_it_was_or_as_it_is_to_be() {
    for changes in 0..200 {
        let disk = FakeDisk::new();
        let (log, _) = on(&disk, by_hand()).await.unwrap();
        log.create_topic(&spec("kept", 1)).await.unwrap();
        log.create_topic(&spec("gone", 1)).await.unwrap();
        log.append(&name("kept"), None, vec![record("a")]).await.unwrap();
        disk.stop_after(changes);
        let created = log.create_topic(&spec("new", 2)).await;
        let grow = TopicChange { partitions: Some(3), settings: None };
        let altered = log.alter_topic(&name("kept"), &grow).await;
        let deleted = log.delete_topic(&name("gone")).await;
        disk.crash(0, false);
        let (reopened, reports) = on(&disk, by_hand()).await.unwrap();
        assert_eq!(reports, []);
        let topics = reopened.topics().await.unwrap();
        let partitions =
            |topic: &str| topics.iter().find(|t| t.name == name(topic)).map(|t| t.partitions.len());
        let (kept, new, gone) = (partitions("kept"), partitions("new"), partitions("gone"));
        assert!(kept == Some(3) || (kept == Some(1) && altered.is_err()), "{changes} {kept:?}");
        assert!(new == Some(2) || (new.is_none() && created.is_err()), "{changes} {new:?}");
        assert!(gone.is_none() || deleted.is_err(), "{changes}");
        assert_eq!(values(&reopened, &at("kept", 0)).await, ["a"]);
        if deleted.is_ok() && altered.is_ok() && created.is_ok() {
            return;
        }
    }
    panic!("the changes never finished");
}

pub(super) async fn on(
    disk: &FakeDisk,
    options: LogOptions,
) -> Result<(EmbeddedLog, Vec<RecoveryReport>), LogError> {
    EmbeddedLog::open_on(Arc::new(disk.clone()), Path::new("/data"), None, options).await
}

/// Waits until a condition holds; minutes would pass only if it never did.
pub(super) async fn eventually(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes true");
}

pub(super) async fn assigned(
    member: &mut dyn crate::GroupMember,
) -> Vec<Box<dyn crate::PartitionReader>> {
    match member.next_change().await.unwrap() {
        GroupChange::Assigned(readers) => readers,
        other => panic!("expected partitions, got {other:?}"),
    }
}
