//! Compaction: the latest of every key stays, whatever comes between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Retention;

const DAY: Span = Span::from_millis(86_400_000);

fn compacting(segment_bytes: u64) -> Bench {
    let mut bench = Bench::with_segments_of(segment_bytes);
    bench.settings.cleanup = Retention::Compact;
    bench.settings.segment_time = Span::from_millis(1_000);
    bench.settings.tombstone_retention = DAY;
    bench
}

fn tombstone(key: &str) -> Record {
    Record { value: None, ..record(key, "", 1_000) }
}

/// The latest value of each key, tombstones as `None`.
fn latest(partition: &Partition) -> BTreeMap<String, Option<String>> {
    read_all(partition).into_iter().map(|(_, key, value)| (key, value)).collect()
}

/// Closes the active segment by its age, then compacts what is closed.
fn housekeep(bench: &Bench, partition: &Partition) {
    partition.housekeep(bench.advance(Span::from_millis(1_001))).unwrap();
    partition.housekeep(bench.now()).unwrap();
}

#[test]
fn of_every_key_the_latest_stays_at_its_offset() {
    let bench = compacting(4_096);
    let partition = bench.open();
    for i in 0..50 {
        let key = format!("k{}", i % 5);
        append(&partition, batch_of(&[record(&key, &i.to_string(), 1), record("x", "x", 1)]))
            .unwrap();
    }
    housekeep(&bench, &partition);
    let kept = read_all(&partition);
    let offsets: Vec<i64> = kept.iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, [90, 92, 94, 96, 98, 99]);
    let values: Vec<_> = kept.iter().filter_map(|(_, _, value)| value.as_deref()).collect();
    assert_eq!(values, ["45", "46", "47", "48", "49", "x"]);
    assert_eq!((partition.start(), partition.ends().end), (0, 100));
    let read = partition.read(0, LIMIT).unwrap();
    assert_eq!(read.records[0].offset, 90, "a read from the start steps over the gap");
    drop(partition);
    assert_eq!(read_all(&bench.open()), kept);
}

#[test]
fn small_neighbours_become_one_segment() {
    let bench = compacting(2_048);
    let partition = bench.open();
    for i in 0..100 {
        append_values(&partition, &[if i % 2 == 0 { "a" } else { "b" }]);
    }
    let before = bench.files(".log").len();
    housekeep(&bench, &partition);
    assert!(before > 3);
    append_values(&partition, &["c", "c", "c", "c"]);
    housekeep(&bench, &partition);
    assert_eq!(values(&partition), ["a", "b", "c"]);
    assert_eq!(bench.open().start(), 0);
    assert!(bench.files(".log").len() <= 3, "{:?}", bench.files(".log"));
}

#[test]
fn a_tombstone_goes_after_its_time() {
    let bench = compacting(1 << 20);
    let partition = bench.open();
    append(&partition, batch_of(&[record("a", "1", 1), record("b", "1", 1)])).unwrap();
    append(&partition, batch_of(&[tombstone("a")])).unwrap();
    housekeep(&bench, &partition);
    assert_eq!(latest(&partition), [("a".into(), None), ("b".into(), Some("1".into()))].into());
    assert_eq!(read_all(&partition).len(), 2, "the value under the tombstone is gone");
    drop(partition);
    let partition = bench.open();
    bench.advance(DAY);
    housekeep(&bench, &partition);
    assert_eq!(latest(&partition), [("b".into(), Some("1".into()))].into());
}

#[test]
fn timestamps_survive_the_delete_horizon() {
    let bench = compacting(1 << 20);
    let partition = bench.open();
    let records = [record("a", "1", 111), tombstone("b"), record("c", "1", 333)];
    append(&partition, batch_of(&records)).unwrap();
    housekeep(&bench, &partition);
    let read = partition.read(0, LIMIT).unwrap();
    let times: Vec<i64> = read.records.iter().map(|s| s.record.timestamp.as_millis()).collect();
    assert_eq!(times, [111, 1_000, 333]);
}

#[test]
fn a_producer_s_last_batch_keeps_its_shell() {
    let bench = compacting(1 << 20);
    let partition = bench.open();
    let sent = |sequence, value: &str| {
        let producer = batch::Producer { id: 5, epoch: 0, base_sequence: sequence };
        let spec = BatchSpec { producer, ..BatchSpec::plain(1, Compression::None) };
        Bytes::from(encode(&spec, [(0, &record("k", value, 1))]).unwrap())
    };
    append(&partition, sent(0, "a")).unwrap();
    append(&partition, sent(1, "b")).unwrap();
    append_values(&partition, &["k"]);
    housekeep(&bench, &partition);
    assert_eq!(read_all(&partition).len(), 1);
    partition.close().unwrap();
    for name in bench.files(".producers") {
        bench.disk.remove_file(&folder().join(name)).unwrap();
    }
    let partition = bench.open();
    assert_eq!(append(&partition, sent(1, "b")).unwrap().base_offset, 1, "still a duplicate");
    assert_eq!(append(&partition, sent(2, "c")).unwrap().base_offset, 3);
}

#[test]
fn a_clean_partition_is_left_as_it_is() {
    let bench = compacting(2_048);
    let partition = bench.open();
    for i in 0..60 {
        append_values(&partition, &[&format!("{i:030}")]);
    }
    housekeep(&bench, &partition);
    let before = bench.disk.syncs();
    partition.housekeep(bench.now()).unwrap();
    partition.housekeep(bench.now()).unwrap();
    assert_eq!(bench.disk.syncs(), before);
}

#[test]
fn a_crash_at_any_point_of_a_compaction_loses_no_key() {
    for changes in 0..200 {
        let bench = compacting(1_500);
        let partition = bench.open();
        for i in 0..60 {
            let key = format!("k{}", i % 7);
            append(&partition, batch_of(&[record(&key, &i.to_string(), 1)])).unwrap();
        }
        append(&partition, batch_of(&[tombstone("k3")])).unwrap();
        let expected = latest(&partition);
        partition.housekeep(bench.advance(Span::from_millis(1_001))).unwrap();
        append_values(&partition, &["later"]);
        bench.disk.stop_after(changes);
        let now = bench.advance(Span::from_millis(1_001));
        let finished = partition.housekeep(now).is_ok();
        bench.disk.crash(0, false);
        let partition = bench.open();
        let mut found = latest(&partition);
        assert_eq!(found.remove("later"), Some(Some("later".into())), "after {changes} changes");
        assert_eq!(found, expected, "after {changes} changes");
        assert_eq!(partition.ends().end, 62);
        housekeep(&bench, &partition);
        assert_eq!(read_all(&partition).len(), 8);
        for ending in [".swap", ".cleaned"] {
            assert_eq!(bench.files(ending), Vec::<String>::new());
        }
        if finished {
            return;
        }
    }
    panic!("the compaction never finished");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Compaction between any appends never changes what a reader of keys knows.
    #[test]
    fn compaction_never_changes_the_latest_values(
        steps in prop::collection::vec((0..8_u8, prop::option::of(0..100_u8), any::<bool>()), 1..80),
        segment_bytes in 1_024..6_000_u64,
    ) {
        let bench = compacting(segment_bytes);
        let mut partition = bench.open();
        let mut expected = BTreeMap::new();
        for (index, (key, value, compact)) in steps.into_iter().enumerate() {
            let key = format!("key {key}");
            let value = value.map(|value| value.to_string());
            let record = match &value {
                Some(value) => record(&key, value, 1),
                None => tombstone(&key),
            };
            append(&partition, batch_of(&[record])).unwrap();
            expected.insert(key, value);
            if compact {
                housekeep(&bench, &partition);
            }
            if index % 16 == 15 {
                drop(partition);
                bench.disk.crash(0, false);
                partition = bench.open();
            }
            prop_assert_eq!(&latest(&partition), &expected);
        }
    }
}

#[test]
fn a_record_stays_for_the_least_lag_before_it_is_compacted() {
    let mut bench = compacting(1 << 20);
    bench.settings.compaction_lag_min = DAY;
    let partition = bench.open();
    let now = bench.now().as_millis();
    append(&partition, batch_of(&[record("a", "1", now)])).unwrap();
    append(&partition, batch_of(&[record("a", "2", now)])).unwrap();
    housekeep(&bench, &partition);
    assert_eq!(values(&partition), ["1", "2"]);
    bench.advance(DAY);
    housekeep(&bench, &partition);
    assert_eq!(values(&partition), ["2"]);
}

#[test]
fn little_that_is_new_waits_for_its_share_or_for_the_longest_lag() {
    let mut bench = compacting(1 << 20);
    bench.settings.dirty_ratio_min = "0.9".parse().unwrap();
    bench.settings.compaction_lag_max = Some(DAY);
    let partition = bench.open();
    append(&partition, batch_of(&[record("a", "1", 1_000), record("b", "1", 1_000)])).unwrap();
    housekeep(&bench, &partition);
    let now = bench.now().as_millis();
    append(&partition, batch_of(&[record("a", "2", now)])).unwrap();
    housekeep(&bench, &partition);
    assert_eq!(values(&partition), ["1", "1", "2"], "a half of it is new, nine tenths are asked");
    bench.advance(DAY);
    housekeep(&bench, &partition);
    assert_eq!(values(&partition), ["1", "2"]);
}
