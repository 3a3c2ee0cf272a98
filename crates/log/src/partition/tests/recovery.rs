//! What a crash leaves: torn ends, damaged bytes, missing and stale indexes.

use proptest::prelude::*;

use super::*;

fn three_batches(bench: &Bench) -> usize {
    let partition = bench.open();
    append_values(&partition, &["a", "b", "c"]);
    bench.disk.read(&log_file(0)).unwrap().len() / 3
}

#[test]
fn a_torn_last_batch_is_cut_and_reported() {
    let bench = Bench::new();
    let size = three_batches(&bench);
    bench.disk.damage(&log_file(0), |bytes| bytes.truncate(3 * size - 7));
    let (partition, reports) = bench.try_open().unwrap();
    assert_eq!(values(&partition), ["a", "b"]);
    let [report] = &reports[..] else { panic!("one report, got {reports:?}") };
    assert_eq!((report.from_offset, report.cut_bytes), (2, size as u64 - 7));
    assert_eq!(report.file, log_file(0));
    let kept = bench.disk.read(report.kept_as.as_ref().unwrap()).unwrap();
    assert_eq!(kept.len(), size - 7);
    append_values(&partition, &["d"]);
    drop(partition);
    assert_eq!(values(&bench.open()), ["a", "b", "d"]);
}

#[test]
fn a_flipped_bit_cuts_from_its_batch_on() {
    let bench = Bench::new();
    let size = three_batches(&bench);
    bench.disk.damage(&log_file(0), |bytes| bytes[size + 65] ^= 4);
    let (partition, reports) = bench.try_open().unwrap();
    assert_eq!(values(&partition), ["a"]);
    assert!(reports[0].reason.contains("checksum"), "{}", reports[0].reason);
    assert_eq!((reports[0].from_offset, reports[0].cut_bytes), (1, 2 * size as u64));
}

#[test]
fn a_flipped_bit_outside_the_checksum_is_found_too() {
    let bench = Bench::new();
    let size = three_batches(&bench);
    bench.disk.damage(&log_file(0), |bytes| bytes[2 * size + 1] ^= 4);
    let (partition, reports) = bench.try_open().unwrap();
    assert_eq!(values(&partition), ["a", "b"]);
    assert!(reports[0].reason.contains("does not follow"), "{}", reports[0].reason);
}

#[test]
fn zeros_at_the_end_are_cut() {
    let bench = Bench::new();
    three_batches(&bench);
    bench.disk.damage(&log_file(0), |bytes| bytes.extend([0; 4_096]));
    let (partition, reports) = bench.try_open().unwrap();
    assert_eq!(values(&partition), ["a", "b", "c"]);
    assert_eq!((reports.len(), reports[0].cut_bytes), (1, 4_096));
}

#[test]
fn damage_sets_the_later_segments_aside() {
    let bench = Bench::with_segments_of(1_024);
    let partition = bench.open();
    for i in 0..30 {
        append_values(&partition, &[&format!("{i:0100}")]);
    }
    drop(partition);
    let second = bench.files(".log")[1].clone();
    let base: i64 = second.trim_end_matches(".log").parse().unwrap();
    bench.disk.damage(&folder().join(&second), |bytes| bytes[70] ^= 1);
    for index in bench.files("index") {
        bench.disk.remove_file(&folder().join(index)).unwrap();
    }
    let segments = bench.files(".log").len();
    let (partition, reports) = bench.try_open().unwrap();
    assert_eq!(partition.ends().end, base);
    assert_eq!(reports.len(), segments - 1);
    append_values(&partition, &["goes on"]);
    drop(partition);
    assert_eq!(values(&bench.open()).len() as i64, base + 1);
}

#[test]
fn kept_evidence_is_bounded() {
    let bench = Bench::new();
    let size = three_batches(&bench);
    for round in 0..10 {
        bench.disk.damage(&log_file(0), |bytes| bytes.truncate(bytes.len() - 1));
        let (partition, _) = bench.try_open().unwrap();
        append_values(&partition, &[&round.to_string(), &round.to_string()]);
    }
    let names = bench.disk.list(&folder()).unwrap();
    let kept = names.iter().filter(|name| name.contains(".cut-")).count();
    assert!((1..=courant_model::limits::CUT_FILES_KEPT).contains(&kept), "{names:?} {size}");
}

/// What may happen to index files, all of which leaves the records alone.
#[test]
fn a_missing_cut_or_foreign_index_is_rebuilt() {
    let bench = Bench::with_segments_of(1_024);
    let partition = bench.open();
    for i in 0..30 {
        append_values(&partition, &[&format!("{i:0100}")]);
    }
    let expected = values(&partition);
    partition.close().unwrap();
    let indexes = || bench.files("index");
    let whole: Vec<Vec<u8>> =
        indexes().iter().map(|name| bench.disk.read(&folder().join(name)).unwrap()).collect();
    let changes: [fn(&mut Vec<u8>); 4] =
        [Vec::clear, |bytes| bytes.truncate(20), |bytes| bytes[9] ^= 1, |bytes| bytes.push(0)];
    for change in changes {
        for name in indexes() {
            bench.disk.damage(&folder().join(name), change);
        }
        let partition = bench.open();
        assert_eq!(values(&partition), expected);
        partition.close().unwrap();
        for (name, whole) in indexes().iter().zip(&whole) {
            assert_eq!(&bench.disk.read(&folder().join(name)).unwrap(), whole, "{name}");
        }
    }
    for name in indexes() {
        bench.disk.remove_file(&folder().join(name)).unwrap();
    }
    assert_eq!(values(&bench.open()), expected);
}

#[test]
fn an_empty_segment_is_no_damage() {
    let bench = Bench::new();
    drop(bench.open());
    bench.disk.crash(0, false);
    let partition = bench.open();
    append_values(&partition, &["a"]);
    assert_eq!(values(&partition), ["a"]);
}

#[test]
fn a_stale_index_vouches_only_for_what_it_covers() {
    let bench = Bench::new();
    let partition = bench.open();
    append_values(&partition, &["a", "b"]);
    partition.close().unwrap();
    let partition = bench.open();
    append_values(&partition, &["c"]);
    drop(partition);
    bench.disk.damage(&log_file(0), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (partition, reports) = bench.try_open().unwrap();
    assert_eq!(values(&partition), ["a", "b"]);
    assert_eq!(reports.len(), 1);
}

#[test]
fn strays_of_interrupted_work_are_removed() {
    let bench = Bench::new();
    three_batches(&bench);
    for name in ["partition.json.tmp", "00000000000000000007.index", "00000000000000000000.cleaned"]
    {
        bench.disk.open(&folder().join(name), true).unwrap();
    }
    assert_eq!(values(&bench.open()), ["a", "b", "c"]);
    for ending in [".tmp", ".index", ".cleaned"] {
        assert_eq!(bench.files(ending), Vec::<String>::new());
    }
}

#[test]
fn unsynced_records_may_go_only_without_fsync_and_only_from_the_end() {
    let mut bench = Bench::with_segments_of(1_024);
    bench.durability = Durability::Os;
    let partition = bench.open();
    let text: Vec<String> = (0..30).map(|i| format!("{i:0100}")).collect();
    for value in &text {
        append_values(&partition, &[value]);
    }
    assert_eq!(values(&partition), text, "written is visible");
    partition.flush().unwrap();
    append_values(&partition, &["lost"]);
    bench.disk.crash(0, false);
    let (partition, _) = bench.try_open().unwrap();
    assert_eq!(values(&partition), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Power fails again and again at any change to the disk, with any part of the
    /// unsynced bytes kept or damaged. What was acknowledged is there, in order, and
    /// what is there was sent.
    #[test]
    fn no_crash_loses_an_acknowledged_record(
        rounds in prop::collection::vec((1..60_u64, 0..300_usize, any::<bool>()), 1..6),
        segment_bytes in 1_024..3_000_u64,
    ) {
        let bench = Bench::with_segments_of(segment_bytes);
        let (mut acknowledged, mut sent) = (Vec::<String>::new(), 0);
        for (changes, tail_bytes, damage) in rounds {
            if let Ok((partition, _)) = bench.try_open() {
                bench.disk.stop_after(changes);
                loop {
                    sent += 1;
                    let value = format!("{sent:060}");
                    let bytes = batch_of(&[record("k", &value, 1)]);
                    match append(&partition, bytes) {
                        Ok(_) => acknowledged.push(value),
                        Err(_) => break,
                    }
                }
            }
            bench.disk.crash(tail_bytes, damage);
            let (partition, _) = bench.try_open().unwrap();
            let found = values(&partition);
            prop_assert!(found.len() >= acknowledged.len());
            prop_assert_eq!(&found[..acknowledged.len()], &acknowledged[..]);
            prop_assert!(found.is_sorted() && found.len() <= sent);
            acknowledged = found;
        }
    }
}
