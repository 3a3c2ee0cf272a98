//! The partition's side of transactions: what readers see, and what is kept of it.

use super::*;
use crate::{ErrorCode, Retention, batch::encode_marker};

fn sent(id: i64, sequence: i32, value: &str) -> Bytes {
    let producer = batch::Producer { id, epoch: 0, base_sequence: sequence };
    let spec =
        BatchSpec { producer, transactional: true, ..BatchSpec::plain(1, Compression::None) };
    encode(&spec, [(0, &record(value, value, 1))]).unwrap().into()
}

/// Lets the producer's transaction in and appends to it.
fn send(partition: &Partition, id: i64, sequence: i32, value: &str) {
    partition.admit(ProducerIdentity { id, epoch: 0 });
    append(partition, sent(id, sequence, value)).unwrap();
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
    send(&partition, 1, 0, "in it");
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
    send(&partition, 1, 0, "aborted");
    send(&partition, 2, 0, "committed");
    send(&partition, 1, 1, "aborted too");
    end(&partition, 1, Marker::Abort);
    end(&partition, 2, Marker::Commit);
    send(&partition, 1, 2, "next one");
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
    send(&partition, 1, 0, "in it");
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
    send(&partition, 1, 0, "a");
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
    send(&partition, 2, 0, "open");
    append(&partition, plain(1, 7)).unwrap_err();
    partition.housekeep(bench.advance(Span::from_millis(86_400_001))).unwrap();
    append(&partition, plain(1, 7)).unwrap();
    let refused = append(&partition, sent(2, 7, "open")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn only_a_transaction_that_took_the_partition_in_may_append() {
    let bench = Bench::new();
    let partition = bench.open();
    let code = |bytes| append(&partition, bytes).unwrap_err().code();
    assert_eq!(code(sent(1, 0, "never added")), ErrorCode::InvalidTxnState);
    partition.admit(ProducerIdentity { id: 1, epoch: 1 });
    assert_eq!(code(sent(1, 0, "of an older epoch")), ErrorCode::InvalidTxnState);
    send(&partition, 1, 0, "in it");
    let plain = batch::Producer { id: 1, epoch: 0, base_sequence: 1 };
    let spec = BatchSpec { producer: plain, ..BatchSpec::plain(1, Compression::None) };
    let outside = encode(&spec, [(0, &record("k", "v", 1))]).unwrap().into();
    assert_eq!(code(outside), ErrorCode::InvalidTxnState, "its transaction is open");
    end(&partition, 1, Marker::Commit);
    assert_eq!(code(sent(1, 1, "too late")), ErrorCode::InvalidTxnState);
    assert_eq!(append(&partition, sent(1, 0, "in it")).unwrap().base_offset, 0, "sent again");
    assert_eq!(values(&partition), ["in it"]);
}

#[test]
fn a_marker_without_a_transaction_changes_nothing() {
    let bench = Bench::new();
    let partition = bench.open();
    send(&partition, 1, 0, "in it");
    end(&partition, 1, Marker::Commit);
    end(&partition, 1, Marker::Commit);
    end(&partition, 1, Marker::Abort);
    end(&partition, 7, Marker::Abort);
    for partition in [partition, bench.open()] {
        assert_eq!(values(&partition), ["in it"]);
        assert_eq!(partition.ends().last_stable, 5);
        assert_eq!(partition.open_transactions(), []);
        let described = partition.producers();
        assert_eq!(described.iter().map(|one| one.producer.id).collect::<Vec<_>>(), [1, 7]);
        assert_eq!((described[0].last_sequence, described[0].open_from), (0, None));
    }
}

#[test]
fn batches_without_a_sequence_follow_one_another_and_are_fenced_by_epochs() {
    let bench = Bench::new();
    let partition = bench.open();
    let of = |epoch: i16| {
        let producer = ProducerIdentity { id: 1, epoch }.without_sequence();
        let spec =
            BatchSpec { producer, transactional: true, ..BatchSpec::plain(1, Compression::None) };
        Bytes::from(encode(&spec, [(0, &record("k", "v", 1))]).unwrap())
    };
    partition.admit(ProducerIdentity { id: 1, epoch: 1 });
    append(&partition, of(1)).unwrap();
    append(&partition, of(1)).unwrap();
    assert_eq!(append(&partition, of(0)).unwrap_err().code(), ErrorCode::ProducerFenced);
    assert_eq!(partition.producers()[0].last_sequence, -1);
}

#[test]
fn a_marker_stays_for_as_long_as_records_of_its_transaction_do() {
    let mut bench = Bench::with_segments_of(1_024);
    bench.settings.cleanup = Retention::Compact;
    bench.settings.segment_time = Span::from_millis(1_000);
    bench.settings.dirty_ratio_min = "0.01".parse().unwrap();
    let partition = bench.open();
    let compact = |partition: &Partition| {
        partition.housekeep(bench.advance(Span::from_millis(1_001))).unwrap();
        partition.housekeep(bench.now()).unwrap();
    };
    send(&partition, 1, 0, "a");
    end(&partition, 1, Marker::Commit);
    for _ in 0..3 {
        append_values(&partition, &["b"]);
        bench.advance(bench.settings.tombstone_retention);
        compact(&partition);
    }
    drop(partition);
    // From the batches alone: a marker that went too early would leave it open.
    for snapshot in bench.files(".producers") {
        bench.disk.remove_file(&folder().join(snapshot)).unwrap();
    }
    let partition = bench.open();
    assert_eq!(partition.ends().last_stable, partition.ends().end);
    assert_eq!(values(&partition), ["a", "b"]);
    append_values(&partition, &["a"]);
    let with_marker = partition.offsets().size_bytes;
    for _ in 0..3 {
        append_values(&partition, &["b"]);
        bench.advance(bench.settings.tombstone_retention);
        compact(&partition);
    }
    assert_eq!(values(&partition), ["a", "b"]);
    assert!(partition.offsets().size_bytes < with_marker, "the marker went with them");
}

#[test]
fn aborted_transactions_are_forgotten_once_their_records_are_gone() {
    let mut bench = Bench::with_segments_of(1_024);
    bench.settings.cleanup = Retention::Compact;
    bench.settings.segment_time = Span::from_millis(1_000);
    let partition = bench.open();
    send(&partition, 1, 0, "a");
    end(&partition, 1, Marker::Abort);
    assert_eq!(partition.aborted().len(), 1);
    append_values(&partition, &["a"]);
    partition.housekeep(bench.advance(Span::from_millis(1_001))).unwrap();
    partition.housekeep(bench.now()).unwrap();
    assert_eq!(*partition.aborted(), []);
    assert_eq!(values(&partition), ["a"]);
    drop(partition);
    assert_eq!(values(&bench.open()), ["a"]);
}

#[test]
fn retention_leaves_open_transactions_alone() {
    let mut bench = Bench::with_segments_of(1_024);
    bench.settings.retention_time = Some(Span::from_millis(10_000));
    let partition = bench.open();
    send(&partition, 1, 0, "in it");
    append_values(&partition, &[&"x".repeat(1_000), &"y".repeat(1_000)]);
    partition.housekeep(bench.advance(Span::from_millis(60_000))).unwrap();
    assert_eq!(partition.start(), 0);
    end(&partition, 1, Marker::Commit);
    partition.housekeep(bench.now()).unwrap();
    assert!(partition.start() > 0);
}
