//! Appends and reads: groups, segments, a full disk, a failing sync, searches.

use proptest::prelude::*;

use super::*;

#[test]
fn what_gathers_in_the_queue_shares_one_sync() {
    let bench = Bench::new();
    let partition = bench.open();
    let before = bench.disk.syncs();
    let answers: Vec<Answer> =
        (0..20).map(|i| queue(&partition, batch_of(&[record("k", &i.to_string(), 1)]))).collect();
    assert_eq!(partition.ends().end, 0, "nothing is visible before the round");
    assert!(!partition.run_round(&mut Vec::new()));
    assert_eq!(bench.disk.syncs(), before + 1);
    for (offset, answered) in (0..).zip(answers) {
        assert_eq!(answer(answered).unwrap().base_offset, offset);
    }
    assert_eq!(partition.ends().end, 20);
}

#[test]
fn only_the_first_appender_has_a_worker_called() {
    let bench = Bench::new();
    let partition = bench.open();
    let request = || {
        let bytes = batch_of(&[record("k", "v", 1)]);
        let header = batch::check(&bytes).unwrap();
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        AppendRequest { batch: bytes, header, marker: None, answer: oneshot::channel().0, room }
    };
    assert!(partition.enqueue(request()));
    assert!(!partition.enqueue(request()));
    assert!(!partition.run_round(&mut Vec::new()));
    assert!(partition.enqueue(request()));
}

#[test]
fn a_full_segment_is_followed_by_the_next() {
    let bench = Bench::with_segments_of(1_024);
    let partition = bench.open();
    let text: Vec<String> = (0..40).map(|i| format!("{i:0100}")).collect();
    let expected: Vec<&str> = text.iter().map(String::as_str).collect();
    append_values(&partition, &expected);
    assert!(bench.files(".log").len() > 5);
    assert_eq!(bench.files(".index").len(), bench.files(".log").len() - 1);
    assert_eq!(values(&partition), expected);
    for name in bench.files(".log") {
        assert!(bench.disk.read(&folder().join(name)).unwrap().len() <= 1_024);
    }
    assert_eq!(values(&bench.open()), expected);
}

#[test]
fn one_round_may_fill_several_segments() {
    let bench = Bench::with_segments_of(1_024);
    let partition = bench.open();
    let answers: Vec<Answer> = (0..40)
        .map(|i| queue(&partition, batch_of(&[record("k", &format!("{i:0100}"), 1)])))
        .collect();
    partition.run_round(&mut Vec::new());
    for (offset, answered) in (0..).zip(answers) {
        assert_eq!(answer(answered).unwrap().base_offset, offset);
    }
    bench.disk.crash(0, false);
    assert_eq!(values(&bench.open()).len(), 40);
}

#[test]
fn a_full_disk_is_survived_and_appends_go_on_when_there_is_room() {
    let bench = Bench::new();
    let partition = bench.open();
    append_values(&partition, &["a"]);
    bench.disk.leave_room(50);
    let refused = append(&partition, batch_of(&[record("b", "b", 1)])).unwrap_err();
    assert!(matches!(refused, LogError::DiskFull { .. }), "{refused}");
    assert_eq!(partition.ends().end, 1);
    bench.disk.leave_room(u64::MAX);
    append_values(&partition, &["c"]);
    assert_eq!(values(&partition), ["a", "c"]);
    bench.disk.crash(0, false);
    assert_eq!(values(&bench.open()), ["a", "c"], "no half batch was left behind");
}

#[test]
fn a_full_disk_takes_back_what_producers_sent() {
    let bench = Bench::new();
    let partition = bench.open();
    let sent = |sequence| {
        let producer = batch::Producer { id: 5, epoch: 0, base_sequence: sequence };
        let spec = BatchSpec { producer, ..BatchSpec::plain(1, Compression::None) };
        Bytes::from(encode(&spec, [(0, &record("k", "v", 1))]).unwrap())
    };
    append(&partition, sent(0)).unwrap();
    bench.disk.leave_room(10);
    append(&partition, sent(1)).unwrap_err();
    bench.disk.leave_room(u64::MAX);
    assert_eq!(append(&partition, sent(1)).unwrap().base_offset, 1, "it is no duplicate");
    assert_eq!(append(&partition, sent(1)).unwrap().base_offset, 1, "now it is");
    assert_eq!(partition.ends().end, 2);
}

#[test]
fn a_failed_sync_ends_appends_and_shows_nothing() {
    let bench = Bench::new();
    let partition = bench.open();
    append_values(&partition, &["a"]);
    bench.disk.fail_syncs(true);
    append(&partition, batch_of(&[record("b", "b", 1)])).unwrap_err();
    bench.disk.fail_syncs(false);
    let refused = append(&partition, batch_of(&[record("c", "c", 1)])).unwrap_err().to_string();
    assert!(refused.contains("until the log is started again"), "{refused}");
    assert_eq!((partition.ends().end, values(&partition).len()), (1, 1));
    bench.disk.crash(0, false);
    let partition = bench.open();
    append_values(&partition, &["d"]);
    assert_eq!(values(&partition), ["a", "d"]);
}

#[test]
fn a_stopped_partition_answers_everybody() {
    let bench = Bench::new();
    let partition = bench.open();
    let waiting = queue(&partition, batch_of(&[record("a", "a", 1)]));
    partition.stop(Stop::Deleted);
    assert!(matches!(answer(waiting), Err(LogError::UnknownTopic { .. })));
    let late = append(&partition, batch_of(&[record("a", "a", 1)]));
    assert!(matches!(late, Err(LogError::UnknownTopic { .. })));
    assert_eq!(partition.watch().borrow().stopped, Some(Stop::Deleted));
}

#[test]
fn a_read_brings_one_record_even_if_it_is_larger_than_the_limit() {
    let bench = Bench::new();
    let partition = bench.open();
    append(&partition, batch_of(&[record("a", &"x".repeat(9_000), 1), record("b", "b", 1)]))
        .unwrap();
    let limit = ReadLimit { bytes: 10, ..LIMIT };
    let read = partition.read(0, limit).unwrap();
    assert_eq!((read.records.len(), read.next), (1, 1));
    assert_eq!(partition.read(1, limit).unwrap().next, 2);
}

#[test]
fn a_flipped_bit_is_an_error_for_readers_and_never_a_wrong_record() {
    let bench = Bench::new();
    let partition = bench.open();
    append_values(&partition, &["a", "b"]);
    bench.disk.damage(&log_file(0), |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert!(matches!(partition.read(1, LIMIT), Err(LogError::CorruptBatch { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any batches, any segments: from every offset the rest is read, and every
    /// search by time finds what a plain scan finds.
    #[test]
    fn reads_and_searches_agree_with_a_plain_list(
        batches in prop::collection::vec(prop::collection::vec(0..100_i64, 1..30), 1..40),
        segment_bytes in 1_024..20_000_u64,
        limit_records in 1..50_usize,
        limit_bytes in 1..5_000_usize,
        reopen: bool,
    ) {
        let bench = Bench::with_segments_of(segment_bytes);
        let mut partition = bench.open();
        let times: Vec<i64> = batches.concat();
        for batch in &batches {
            let records: Vec<Record> = batch.iter().map(|t| record("k", "value", *t)).collect();
            append(&partition, batch_of(&records)).unwrap();
        }
        if reopen {
            partition.close().unwrap();
            partition = bench.open();
        }
        let limit = ReadLimit { records: limit_records, bytes: limit_bytes, ..LIMIT };
        let end = times.len() as i64;
        for from in [0, end / 3, end / 2, end - 1] {
            let mut next = from;
            while next < end {
                let read = partition.read(next, limit).unwrap();
                for stored in &read.records {
                    prop_assert_eq!(stored.offset, next);
                    prop_assert_eq!(stored.record.timestamp.as_millis(), times[next as usize]);
                    next += 1;
                }
                prop_assert_eq!(read.next, next);
                prop_assert!((1..=limit_records).contains(&read.records.len()));
            }
        }
        for at in [0, 1, 17, 50, 99, 100] {
            let expected = times.iter().position(|time| *time >= at).map(|p| p as i64);
            let found = partition.offset_at(Timestamp::from_millis(at)).unwrap();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_topic_with_the_logs_own_time_stamps_every_batch() {
    let mut bench = Bench::new();
    bench.settings.timestamps = crate::TimestampSource::Log;
    let partition = bench.open();
    append(&partition, batch_of(&[record("a", "1", 5), record("b", "2", 6)])).unwrap();
    bench.advance(Span::from_millis(10));
    append(&partition, batch_of(&[record("c", "3", 7)])).unwrap();
    let times = |partition: &Partition| -> Vec<i64> {
        let read = partition.read(0, LIMIT).unwrap().records;
        read.iter().map(|stored| stored.record.timestamp.as_millis()).collect()
    };
    assert_eq!(times(&partition), [1_000, 1_000, 1_010]);
    let found = partition.offset_at(Timestamp::from_millis(1_001)).unwrap();
    assert_eq!(found, Some(2));
    drop(partition);
    assert_eq!(times(&bench.open()), [1_000, 1_000, 1_010], "the checksum is that of the stamp");
}
