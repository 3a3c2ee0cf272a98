//! Segments alone: what reads bring, and where they stop.

use std::path::PathBuf;

use courant_model::{Record, Timestamp};

use super::*;
use crate::{
    batch::{BatchSpec, Compression, encode, rewrite_place},
    disk::fake::FakeDisk,
};

fn filled(batches: i64) -> (FakeDisk, Segment, usize) {
    let (disk, folder) = (FakeDisk::new(), PathBuf::from("/p"));
    disk.create_folders(&folder).unwrap();
    let segment = Segment::create(&disk, &folder, 100).unwrap();
    let mut size = 0;
    for i in 0..batches {
        let records = [0, 1].map(|j| Record::new("x", Timestamp::from_millis(i * 10 + j)));
        let mut bytes =
            encode(&BatchSpec::plain(2, Compression::None), (0..).zip(&records)).unwrap();
        rewrite_place(&mut bytes, 100 + 2 * i, 0);
        size = bytes.len();
        segment.append(&bytes, &[BatchHeader::parse(&bytes).unwrap()]).unwrap();
    }
    (disk, segment, size)
}

#[test]
fn a_read_starts_at_the_batch_that_holds_the_offset() {
    let (_, segment, size) = filled(5);
    let limit = ChunkLimit { bytes: 1 << 20, before: i64::MAX };
    let chunk = segment.read(103, None, limit).unwrap().unwrap();
    assert_eq!((chunk.bytes.len(), chunk.next), (4 * size, 110));
    assert_eq!(chunk.end, segment.bytes());
    assert!(segment.read(110, None, limit).unwrap().is_none());
}

#[test]
fn a_read_stops_before_the_offset_that_is_not_visible() {
    let (_, segment, size) = filled(5);
    let limit = ChunkLimit { bytes: 1 << 20, before: 104 };
    let chunk = segment.read(100, None, limit).unwrap().unwrap();
    assert_eq!((chunk.bytes.len(), chunk.next), (2 * size, 104));
    assert!(segment.read(104, None, limit).unwrap().is_none());
}

#[test]
fn a_hint_brings_what_a_search_brings() {
    let (_, segment, size) = filled(5);
    let limit = ChunkLimit { bytes: size, before: i64::MAX };
    let searched = segment.read(104, None, limit).unwrap().unwrap();
    let hinted = segment.read(104, Some(2 * size as u64), limit).unwrap().unwrap();
    assert_eq!((searched.bytes, searched.next), (hinted.bytes, hinted.next));
    assert_eq!(searched.next, 106, "one batch, the limit says");
}

#[test]
fn an_opened_segment_is_the_one_that_was_written() {
    let (disk, segment, _) = filled(5);
    segment.sync().unwrap();
    for with_index in [false, true] {
        if with_index {
            segment.write_index(&disk).unwrap();
        }
        let found = Segment::open(&disk, &PathBuf::from("/p"), 100, Followed::ByNothing).unwrap();
        assert!(found.damage.is_none());
        assert_eq!(found.vouched, with_index);
        let opened = found.segment;
        assert_eq!((opened.next(), opened.bytes()), (segment.next(), segment.bytes()));
        assert_eq!(opened.largest(), segment.largest());
        assert_ne!(opened.id(), segment.id());
    }
}

#[test]
fn removal_takes_all_three_files() {
    let (disk, segment, _) = filled(1);
    segment.write_index(&disk).unwrap();
    assert_eq!(disk.list(&PathBuf::from("/p")).unwrap().len(), 3);
    segment.remove(&disk).unwrap();
    assert_eq!(disk.list(&PathBuf::from("/p")).unwrap(), Vec::<String>::new());
}
