//! The partition's side of transactions: what readers see, and what is kept of it.

use super::*;
use crate::{Retention, batch::encode_marker};

fn sent(id: i64, sequence: i32, value: &str) -> Bytes {
    let producer = batch::Producer { id, epoch: 0, base_sequence: sequence };
    let spec =
        BatchSpec { producer, transactional: true, ..BatchSpec::plain(1, Compression::None) };
    encode(&spec, [(0, &record(value, value, 1))]).unwrap().into()
}

fn end(partition: &Partition, id: i64, marker: Marker) {
    let bytes = encode_marker(marker, id, 0, Timestamp::from_millis(1)).unwrap();
    append(partition, bytes).unwrap();
}

#[test]
fn an_open_transaction_holds_readers_of_committed_records_back() {
    let bench = Bench::new();
    let partition = bench.open();
    append_values(&partition, &["before"]);
    append(&partition, sent(1, 0, "in it")).unwrap();
    append_values(&partition, &["after"]);
    let ends = partition.ends();
    assert_eq!((ends.end, ends.last_stable), (3, 1));
    assert_eq!(values(&partition), ["before"]);
    assert_eq!(partition.fetch(0, 1 << 20, false).unwrap().next, 3);
    assert_eq!(partition.fetch(0, 1 << 20, true).unwrap().next, 1);
    end(&partition, 1, Marker::Commit);
    assert_eq!(partition.ends().last_stable, 4);
    assert_eq!(values(&partition), ["before", "in it", "after"]);
}

#[test]
fn an_aborted_transaction_is_hidden_and_listed() {
    let bench = Bench::new();
    let partition = bench.open();
    append(&partition, sent(1, 0, "aborted")).unwrap();
    append(&partition, sent(2, 0, "committed")).unwrap();
    append(&partition, sent(1, 1, "aborted too")).unwrap();
    end(&partition, 1, Marker::Abort);
    end(&partition, 2, Marker::Commit);
    append(&partition, sent(1, 2, "next one")).unwrap();
    end(&partition, 1, Marker::Commit);
    let aborted = AbortedTransaction { producer_id: 1, first_offset: 0, last_offset: 3 };
    for partition in [partition, bench.open()] {
        assert_eq!(values(&partition), ["committed", "next one"]);
        assert_eq!(partition.fetch(0, 1 << 20, true).unwrap().aborted, [aborted]);
        assert_eq!(partition.fetch(4, 1 << 20, true).unwrap().aborted, []);
        assert_eq!(partition.offset_at(Timestamp::from_millis(0)).unwrap(), Some(1));
    }
}

#[test]
fn an_open_transaction_is_still_open_after_a_restart() {
    let bench = Bench::with_segments_of(1_024);
    let partition = bench.open();
    append(&partition, sent(1, 0, "in it")).unwrap();
    for i in 0..30 {
        append_values(&partition, &[&format!("{i:0100}")]);
    }
    bench.disk.crash(0, false);
    let partition = bench.open();
    assert_eq!(partition.ends().last_stable, 0);
    end(&partition, 1, Marker::Abort);
    partition.close().unwrap();
    assert_eq!(values(&bench.open()).len(), 30);
}

#[test]
fn compaction_stops_at_open_transactions_and_drops_aborted_records() {
    let mut bench = Bench::with_segments_of(1_024);
    bench.settings.cleanup = Retention::Compact;
    bench.settings.segment_time = Span::from_millis(1_000);
    let partition = bench.open();
    append_values(&partition, &["a", "a"]);
    append(&partition, sent(1, 0, "a")).unwrap();
    let compact = || {
        partition.housekeep(bench.advance(Span::from_millis(1_001))).unwrap();
        partition.housekeep(bench.now()).unwrap();
    };
    compact();
    assert_eq!(read_all(&partition).len(), 2, "its segment waits for the end");
    end(&partition, 1, Marker::Abort);
    compact();
    let kept: Vec<i64> = read_all(&partition).iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(kept, [1], "the aborted record did not supersede the last one");
    let size = partition.offsets().size_bytes;
    append_values(&partition, &["b"]);
    bench.advance(bench.settings.tombstone_retention);
    compact();
    let grown = partition.offsets().size_bytes;
    assert!(grown < size + 80, "the marker went: {size} to {grown}");
    assert_eq!(values(&partition), ["a", "b"]);
}

#[test]
fn producers_long_silent_are_forgotten_but_for_open_transactions() {
    let bench = Bench::new();
    let partition = bench.open();
    let plain = |id, sequence| {
        let producer = batch::Producer { id, epoch: 0, base_sequence: sequence };
        let spec = BatchSpec { producer, ..BatchSpec::plain(1, Compression::None) };
        Bytes::from(encode(&spec, [(0, &record("k", "v", 1))]).unwrap())
    };
    append(&partition, plain(1, 0)).unwrap();
    append(&partition, sent(2, 0, "open")).unwrap();
    append(&partition, plain(1, 7)).unwrap_err();
    partition.housekeep(bench.advance(Span::from_millis(86_400_001))).unwrap();
    append(&partition, plain(1, 7)).unwrap();
    append(&partition, sent(2, 7, "open")).unwrap_err();
}
