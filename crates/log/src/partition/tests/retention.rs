//! Old records go, by age, by size and by hand, also if a crash comes between.

use super::*;

const HOUR: Span = Span::from_millis(3_600_000);

fn filled(bench: &Bench, count: usize) -> Partition {
    let partition = bench.open();
    for i in 0..count {
        let bytes = batch_of(&[record("k", &format!("{i:0100}"), bench.now().as_millis())]);
        append(&partition, bytes).unwrap();
    }
    partition
}

#[test]
fn records_older_than_the_topic_keeps_them_go() {
    let mut bench = Bench::with_segments_of(1_024);
    bench.settings.retention_time = Some(Span::from_millis(5_400_000));
    let partition = filled(&bench, 20);
    bench.advance(HOUR);
    append_values(&partition, &["middle"]);
    partition.housekeep(bench.now()).unwrap();
    assert_eq!(partition.start(), 0);
    bench.advance(HOUR);
    partition.housekeep(bench.now()).unwrap();
    let start = partition.start();
    assert!(start > 10, "{start}");
    assert!(matches!(partition.read(0, LIMIT), Err(LogError::OffsetOutOfRange { .. })));
    assert_eq!(partition.offsets().end, 21);
    drop(partition);
    let partition = bench.open();
    assert_eq!((partition.start(), partition.ends().end), (start, 21));
}

#[test]
fn a_quiet_partition_empties_and_keeps_its_offsets() {
    let mut bench = Bench::new();
    bench.settings.retention_time = Some(HOUR);
    let partition = filled(&bench, 5);
    bench.advance(Span::from_millis(3_600_001));
    partition.housekeep(bench.now()).unwrap();
    assert_eq!((partition.start(), partition.ends().end), (5, 5));
    drop(partition);
    let partition = bench.open();
    assert_eq!(append(&partition, batch_of(&[record("k", "v", 1)])).unwrap().base_offset, 5);
}

#[test]
fn a_partition_larger_than_allowed_loses_its_oldest_segments() {
    let mut bench = Bench::with_segments_of(1_024);
    bench.settings.retention_bytes = Some(ByteSize::from_bytes(3_000));
    let partition = filled(&bench, 60);
    partition.housekeep(bench.now()).unwrap();
    let size = partition.offsets().size_bytes;
    assert!((1_024..=3_000).contains(&size), "{size}");
    assert_eq!(values(&partition).len() as i64, 60 - partition.start());
}

#[test]
fn deleted_records_stay_deleted_after_a_crash() {
    let bench = Bench::with_segments_of(1_024);
    let partition = filled(&bench, 30);
    let segments = bench.files(".log").len();
    assert_eq!(partition.delete_records(17).unwrap(), 17);
    assert_eq!(partition.delete_records(3).unwrap(), 17, "the start never moves back");
    assert!(bench.files(".log").len() < segments);
    bench.disk.crash(0, false);
    let partition = bench.open();
    assert_eq!((partition.start(), values(&partition).len()), (17, 13));
}

#[test]
fn an_old_segment_is_closed_by_its_age() {
    let mut bench = Bench::new();
    bench.settings.segment_time = HOUR;
    let partition = filled(&bench, 3);
    bench.advance(HOUR);
    partition.housekeep(bench.now()).unwrap();
    assert_eq!(bench.files(".log").len(), 2);
    partition.housekeep(bench.advance(HOUR)).unwrap();
    assert_eq!(bench.files(".log").len(), 2, "an empty segment has no age");
}

#[test]
fn a_crash_during_removal_leaves_a_partition_that_goes_on() {
    for changes in 0..40 {
        let mut bench = Bench::with_segments_of(1_024);
        bench.settings.retention_bytes = Some(ByteSize::from_bytes(2_000));
        let partition = filled(&bench, 40);
        let all = values(&partition);
        bench.disk.stop_after(changes);
        let finished = partition.housekeep(bench.now()).is_ok();
        bench.disk.crash(0, false);
        let partition = bench.open();
        let left = values(&partition);
        assert_eq!(partition.ends().end, 40);
        assert_eq!(left[..], all[all.len() - left.len()..]);
        partition.housekeep(bench.now()).unwrap();
        assert!(partition.offsets().size_bytes <= 2_000);
        if finished {
            return;
        }
    }
    panic!("the removal never finished");
}

#[test]
fn a_stopped_partition_is_left_alone() {
    let mut bench = Bench::new();
    bench.settings.retention_time = Some(HOUR);
    let partition = filled(&bench, 5);
    partition.stop(Stop::Deleted);
    partition.housekeep(bench.advance(Span::from_millis(7_200_000))).unwrap();
    assert_eq!(partition.start(), 0);
}
