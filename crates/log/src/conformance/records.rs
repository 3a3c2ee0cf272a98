//! The behaviours of records, appended and read; see the trait for the words.

use bytes::Bytes;
use courant_model::{ByteSize, Header, Record, Timestamp};
use futures::future::join_all;

use super::{AT_ONCE, LogHarness, PATIENT, World, lately, record, soon, text};
use crate::{ErrorCode, LogError, ReadLimit, Retention, TopicSettings, partition_of};

pub async fn records_come_back_as_they_were_appended(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let at = |plus| Timestamp::from_millis(lately().as_millis() + plus);
    let headers = vec![
        Header::new("name", "one"),
        Header::new("name", "two"),
        Header { name: "null".into(), value: None },
        Header::new("", ""),
    ];
    let records = vec![
        Record { key: None, value: Some("plain".into()), headers: Vec::new(), timestamp: at(0) },
        Record { key: Some("key".into()), value: Some("v".into()), headers, timestamp: at(5) },
        Record { key: Some("gone".into()), value: None, headers: Vec::new(), timestamp: at(3) },
        Record {
            key: Some(Bytes::new()),
            value: Some(Bytes::new()),
            headers: Vec::new(),
            timestamp: at(7),
        },
        Record {
            key: Some(Bytes::from_static(&[0, 255, 128])),
            value: Some(Bytes::from_static(&[0, 159, 146, 150])),
            headers: vec![Header::new("bytes", vec![0_u8, 255])],
            timestamp: at(6),
        },
    ];
    let positions = world.log.append(&world.topic, Some(0), records.clone()).await.unwrap();
    assert_eq!(positions.iter().map(|p| p.offset).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(positions.iter().all(|position| position.partition == world.at(0)));
    let read = world.log.read(&world.at(0), 0, PATIENT).await.unwrap();
    assert_eq!((read.next, read.end), (5, 5));
    assert_eq!(
        read.records.iter().map(|stored| stored.offset).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(read.records.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), records);
}

pub async fn records_keep_their_order_over_many_calls(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let mut expected = Vec::new();
    for call in 0..20 {
        let values: Vec<String> = (0..25).map(|n| format!("{call}-{n}")).collect();
        world.append(0, &values.iter().map(String::as_str).collect::<Vec<_>>()).await;
        expected.extend(values);
    }
    assert_eq!(world.values(0).await, expected);
}

pub async fn keys_find_kafkas_partition_and_keyless_records_of_a_call_stay_together(
    harness: &dyn LogHarness,
) {
    let world = World::new(harness, 3).await;
    let keyed = (0..20).map(|i| record("x").with_key(format!("key {i}"))).collect();
    let positions = world.log.append(&world.topic, None, keyed).await.unwrap();
    for (i, position) in positions.iter().enumerate() {
        let expected = partition_of(format!("key {i}").as_bytes(), 3);
        assert_eq!(position.partition.partition, expected);
    }
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..6 {
        let two = vec![record("x"), record("y")];
        let positions = world.log.append(&world.topic, None, two).await.unwrap();
        assert_eq!(positions[0].partition, positions[1].partition);
        assert_eq!(positions[0].offset + 1, positions[1].offset);
        used.insert(positions[0].partition.partition);
    }
    assert!(used.len() > 1, "{used:?}");
}

pub async fn an_empty_append_changes_nothing(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    assert_eq!(world.log.append(&world.topic, None, Vec::new()).await.unwrap(), []);
    assert_eq!(world.log.offsets(&world.at(0)).await.unwrap().end, 0);
}

pub async fn a_record_that_is_too_large_stops_the_whole_call(harness: &dyn LogHarness) {
    let message_bytes_max = ByteSize::from_bytes(1_000);
    let settings = TopicSettings { message_bytes_max, ..TopicSettings::default() };
    let world = World::with(harness, 1, settings).await;
    let two = vec![record("fits"), record(&"x".repeat(2_000))];
    let refused = world.log.append(&world.topic, None, two).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MessageTooLarge);
    assert!(!refused.retryable());
    assert_eq!(world.log.offsets(&world.at(0)).await.unwrap().end, 0);
    world.append(0, &["fits"]).await;
    assert_eq!(world.values(0).await, ["fits"]);
}

pub async fn records_for_a_topic_of_small_batches_are_told_apart(harness: &dyn LogHarness) {
    let message_bytes_max = ByteSize::from_bytes(1_000);
    let settings = TopicSettings { message_bytes_max, ..TopicSettings::default() };
    let world = World::with(harness, 1, settings).await;
    let values: Vec<String> = (0..50).map(|n| format!("{n}-{}", "x".repeat(500))).collect();
    world.append(0, &values.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(world.values(0).await, values);
}

pub async fn a_message_of_ten_megabytes_comes_back(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let value: Vec<u8> =
        (0..10_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let large = Record::new(value, lately());
    world.log.append(&world.topic, Some(0), vec![record("a"), large.clone()]).await.unwrap();
    world.append(0, &["b"]).await;
    let read = world.log.read(&world.at(0), 1, PATIENT).await.unwrap();
    assert_eq!(read.records[0].offset, 1);
    assert!(read.records[0].record == large);
    let read = world.log.read(&world.at(0), 2, PATIENT).await.unwrap();
    assert_eq!(text(&read.records[0].record), "b");
}

pub async fn a_compacted_topic_takes_no_record_without_a_key(harness: &dyn LogHarness) {
    let settings = TopicSettings { cleanup: Retention::Compact, ..TopicSettings::default() };
    let world = World::with(harness, 1, settings).await;
    let two = vec![record("a").with_key("k"), record("b")];
    let refused = world.log.append(&world.topic, None, two).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidRecord);
    assert_eq!(world.log.offsets(&world.at(0)).await.unwrap().end, 0);
    let keyed = vec![record("a").with_key("k")];
    world.log.append(&world.topic, None, keyed).await.unwrap();
    assert_eq!(world.values(0).await, ["a"]);
}

pub async fn a_read_takes_no_more_than_asked_and_at_least_one(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let values: Vec<String> = (0..10).map(|n| format!("{n}{}", "x".repeat(99))).collect();
    world.append(0, &values.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let three = ReadLimit { records: 3, ..PATIENT };
    let read = world.log.read(&world.at(0), 4, three).await.unwrap();
    assert!((1..=3).contains(&read.records.len()), "{}", read.records.len());
    assert_eq!(read.next, 4 + read.records.len() as i64);
    assert_eq!(text(&read.records[0].record), values[4]);
    let small = ReadLimit { bytes: 10, ..PATIENT };
    let read = world.log.read(&world.at(0), 0, small).await.unwrap();
    assert_eq!((read.records.len(), read.next, read.end), (1, 1, 10));
}

pub async fn offsets_outside_are_refused(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["a", "b"]).await;
    for outside in [-1, 3] {
        let refused = world.log.read(&world.at(0), outside, AT_ONCE).await.unwrap_err();
        match refused {
            LogError::OffsetOutOfRange { offset, start, end, .. } => {
                assert_eq!((offset, start, end), (outside, 0, 2));
            }
            other => panic!("{other}"),
        }
    }
}

pub async fn a_waiting_read_wakes_on_append(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let waiting = {
        let (log, at) = (world.log.clone(), world.at(0));
        tokio::spawn(async move { log.read(&at, 0, PATIENT).await })
    };
    world.append(0, &["a"]).await;
    let read = soon("the read", waiting).await.unwrap().unwrap();
    assert_eq!(read.records.iter().map(|s| text(&s.record)).collect::<Vec<_>>(), ["a"]);
}

pub async fn a_read_at_the_end_answers_nothing(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["a"]).await;
    let read = world.log.read(&world.at(0), 1, AT_ONCE).await.unwrap();
    assert_eq!((read.records.len(), read.next, read.end), (0, 1, 1));
}

pub async fn the_offsets_of_times_are_found(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let start = lately().as_millis();
    let at = |plus| Timestamp::from_millis(start + plus);
    for plus in [0, 100, 200] {
        let one = vec![Record::new(plus.to_string(), at(plus))];
        world.log.append(&world.topic, Some(0), one).await.unwrap();
    }
    let partition = world.at(0);
    for (plus, offset) in [(-50, Some(0)), (0, Some(0)), (1, Some(1)), (200, Some(2)), (201, None)]
    {
        let found = world.log.offset_at(&partition, at(plus)).await.unwrap();
        assert_eq!(found, offset, "{plus}");
    }
}

pub async fn records_are_deleted_up_to_an_offset(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["a", "b", "c"]).await;
    let at = world.at(0);
    assert_eq!(world.log.delete_records(&at, 2).await.unwrap(), 2);
    let offsets = world.log.offsets(&at).await.unwrap();
    assert_eq!((offsets.start, offsets.end), (2, 3));
    assert_eq!(world.values(0).await, ["c"]);
    assert_eq!(world.log.delete_records(&at, 1).await.unwrap(), 2);
    let refused = world.log.delete_records(&at, 4).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OffsetOutOfRange);
    assert_eq!(world.log.delete_records(&at, 3).await.unwrap(), 3);
    assert_eq!(world.values(0).await, Vec::<String>::new());
}

pub async fn appenders_at_once_lose_and_reorder_nothing(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    let appender = |name: usize| {
        let world = &world;
        async move {
            for n in 0..40 {
                let value = format!("{name}:{n}");
                world.append((name % 2) as i32, &[&value]).await;
            }
        }
    };
    join_all((0..8).map(appender)).await;
    for partition in 0..2 {
        let values = world.values(partition).await;
        assert_eq!(values.len(), 160);
        for name in (0..8).filter(|name| name % 2 == partition as usize) {
            let prefix = format!("{name}:");
            let mine: Vec<_> = values.iter().filter_map(|v| v.strip_prefix(&prefix)).collect();
            let expected: Vec<_> = (0..40).map(|n| n.to_string()).collect();
            assert_eq!(mine, expected);
        }
    }
}

pub async fn a_closed_log_answers_nobody(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["a"]).await;
    world.log.close().await.unwrap();
    let all = [
        world.log.append(&world.topic, None, vec![record("b")]).await.err(),
        world.log.read(&world.at(0), 0, AT_ONCE).await.err(),
        world.log.offsets(&world.at(0)).await.err(),
        world.log.subscribe(world.subscription()).await.err(),
    ];
    for refused in all {
        assert_eq!(refused.map(|error| error.code()), Some(ErrorCode::Closed));
    }
}
