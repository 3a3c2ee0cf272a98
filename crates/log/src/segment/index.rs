//! The two sparse indexes of a segment: offset to position, timestamp to offset.
//!
//! Both live in memory while the segment is in use (12 KiB for 64 MiB of log) and
//! are written beside it once, when everything in the segment is synced: sealing,
//! or a clean close. So a file that is whole and covers the segment's size proves
//! that the segment needs no check on start; one that covers less is where the
//! check begins. A file that is missing or damaged is only a slower start.

use courant_model::Offset;

use crate::batch::BatchHeader;

/// Log bytes between two entries. 64 KiB keeps 100 GiB of log at 32 MiB of index,
/// and a lookup reads at most that much.
pub(super) const INDEX_INTERVAL_BYTES: u64 = 64 * 1024;

const OFFSETS_MAGIC: &[u8; 8] = b"CRNTIDX1";
const TIMES_MAGIC: &[u8; 8] = b"CRNTTIM1";

/// Offset index: magic, bytes covered, next offset, number of entries.
const OFFSETS_HEADER_BYTES: usize = 28;
/// Time index: magic, bytes covered, largest timestamp, its batch, first timestamp,
/// number of entries.
const TIMES_HEADER_BYTES: usize = 44;
const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;

/// What is known about a segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    base: Offset,
    /// Bytes of the segment that this index covers.
    pub(super) bytes: u64,
    /// One past the last offset in the segment.
    pub(super) next: Offset,
    pub(super) largest: Option<Largest>,
    /// The largest timestamp of the first batch: the age of the segment.
    pub(super) first_timestamp: Option<i64>,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
}

/// The largest timestamp and the batch that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Largest {
    pub(crate) timestamp: i64,
    pub(crate) batch_offset: Offset,
}

/// A batch and where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OffsetEntry {
    relative: u32,
    position: u32,
}

/// All records before this batch have at most this timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeEntry {
    timestamp: i64,
    relative: u32,
}

impl SegmentIndex {
    pub(super) const fn new(base: Offset) -> Self {
        Self {
            base,
            bytes: 0,
            next: base,
            largest: None,
            first_timestamp: None,
            offsets: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Takes note of the batch that follows the covered bytes.
    pub(super) fn push(&mut self, header: &BatchHeader) {
        let indexed = self.offsets.last().map_or(0, |entry| u64::from(entry.position));
        if self.bytes >= indexed + INDEX_INTERVAL_BYTES {
            let relative = (header.base_offset - self.base) as u32;
            self.offsets.push(OffsetEntry { relative, position: self.bytes as u32 });
            if let Some(largest) = self.largest {
                self.times.push(TimeEntry { timestamp: largest.timestamp, relative });
            }
        }
        if self.largest.is_none_or(|largest| header.max_timestamp > largest.timestamp) {
            self.largest =
                Some(Largest { timestamp: header.max_timestamp, batch_offset: header.base_offset });
        }
        self.first_timestamp.get_or_insert(header.max_timestamp);
        self.bytes += header.size_bytes() as u64;
        self.next = header.last_offset() + 1;
    }

    /// Position of a batch at or before the one that holds `offset`.
    pub(super) fn position_before(&self, offset: Offset) -> u64 {
        let relative = offset - self.base;
        let after = self.offsets.partition_point(|entry| i64::from(entry.relative) <= relative);
        after.checked_sub(1).map_or(0, |index| u64::from(self.offsets[index].position))
    }

    /// An offset such that all records of the segment before it are older than `at`.
    pub(super) fn offset_before(&self, at: i64) -> Offset {
        let after = self.times.partition_point(|entry| entry.timestamp < at);
        let relative = after.checked_sub(1).map_or(0, |index| self.times[index].relative);
        self.base + i64::from(relative)
    }

    /// Bytes of the `.index` file.
    pub(super) fn offsets_file(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            OFFSETS_HEADER_BYTES + self.offsets.len() * OFFSET_ENTRY_BYTES + CHECKSUM_BYTES,
        );
        out.extend_from_slice(OFFSETS_MAGIC);
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.next.to_be_bytes());
        out.extend_from_slice(&(self.offsets.len() as u32).to_be_bytes());
        for entry in &self.offsets {
            out.extend_from_slice(&entry.relative.to_be_bytes());
            out.extend_from_slice(&entry.position.to_be_bytes());
        }
        with_checksum(out)
    }

    /// Bytes of the `.timeindex` file.
    pub(super) fn times_file(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            TIMES_HEADER_BYTES + self.times.len() * TIME_ENTRY_BYTES + CHECKSUM_BYTES,
        );
        let none = Largest { timestamp: i64::MIN, batch_offset: -1 };
        let largest = self.largest.unwrap_or(none);
        out.extend_from_slice(TIMES_MAGIC);
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&largest.timestamp.to_be_bytes());
        out.extend_from_slice(&largest.batch_offset.to_be_bytes());
        out.extend_from_slice(&self.first_timestamp.unwrap_or(i64::MIN).to_be_bytes());
        out.extend_from_slice(&(self.times.len() as u32).to_be_bytes());
        for entry in &self.times {
            out.extend_from_slice(&entry.timestamp.to_be_bytes());
            out.extend_from_slice(&entry.relative.to_be_bytes());
        }
        with_checksum(out)
    }

    /// Reads both files; `None` unless both are whole, in order and of one mind.
    pub(super) fn from_files(base: Offset, offsets: &[u8], times: &[u8]) -> Option<Self> {
        let mut offsets = checked(offsets, OFFSETS_MAGIC)?;
        let mut times = checked(times, TIMES_MAGIC)?;
        let bytes = u64::from_be_bytes(take(&mut offsets)?);
        let next = i64::from_be_bytes(take(&mut offsets)?);
        let offset_entries = entries::<OFFSET_ENTRY_BYTES>(offsets)?;
        let times_bytes = u64::from_be_bytes(take(&mut times)?);
        let timestamp = i64::from_be_bytes(take(&mut times)?);
        let batch_offset = i64::from_be_bytes(take(&mut times)?);
        let first_timestamp = i64::from_be_bytes(take(&mut times)?);
        let time_entries = entries::<TIME_ENTRY_BYTES>(times)?;
        let filled = batch_offset >= 0;
        let index = Self {
            base,
            bytes,
            next,
            largest: filled.then_some(Largest { timestamp, batch_offset }),
            first_timestamp: filled.then_some(first_timestamp),
            offsets: offset_entries.map(OffsetEntry::read).collect(),
            times: time_entries.map(TimeEntry::read).collect(),
        };
        (times_bytes == bytes && index.is_in_order()).then_some(index)
    }

    fn is_in_order(&self) -> bool {
        let inside = self.offsets.iter().all(|entry| {
            u64::from(entry.position) < self.bytes
                && self.base.saturating_add(i64::from(entry.relative)) < self.next
        });
        inside
            && self.next >= self.base
            && self.offsets.is_sorted_by(|a, b| a.relative < b.relative && a.position < b.position)
            && self.times.is_sorted_by(|a, b| a.timestamp <= b.timestamp && a.relative < b.relative)
    }
}

impl OffsetEntry {
    fn read(bytes: &[u8; OFFSET_ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self {
            relative: u32::from_be_bytes([a, b, c, d]),
            position: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

impl TimeEntry {
    fn read(bytes: &[u8; TIME_ENTRY_BYTES]) -> Self {
        let mut rest = bytes.as_slice();
        let timestamp = take(&mut rest).map_or(0, i64::from_be_bytes);
        let relative = take(&mut rest).map_or(0, u32::from_be_bytes);
        Self { timestamp, relative }
    }
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes
}

/// What lies between magic and checksum, if both are right.
fn checked<'a>(bytes: &'a [u8], magic: &[u8; 8]) -> Option<&'a [u8]> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    let whole = crc32c::crc32c(body) == u32::from_be_bytes(*checksum);
    body.strip_prefix(magic).filter(|_| whole)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

/// A count and exactly that many entries.
fn entries<const N: usize>(mut rest: &[u8]) -> Option<impl Iterator<Item = &[u8; N]>> {
    let count = u32::from_be_bytes(take(&mut rest)?) as usize;
    let (entries, left) = rest.as_chunks::<N>();
    (entries.len() == count && left.is_empty()).then(|| entries.iter())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{BatchSpec, Compression, encode};

    /// An index over batches of these lengths (in offsets) and timestamps.
    fn index(base: Offset, batches: &[(i32, i64)]) -> SegmentIndex {
        let bytes = encode(&BatchSpec::plain(0, Compression::None), []).unwrap();
        let mut header = BatchHeader::parse(&bytes).unwrap();
        let mut index = SegmentIndex::new(base);
        for &(count, timestamp) in batches {
            header.base_offset = index.next;
            header.last_offset_delta = count - 1;
            header.max_timestamp = timestamp;
            header.length = 40_000;
            index.push(&header);
        }
        index
    }

    fn batches() -> impl Strategy<Value = Vec<(i32, i64)>> {
        prop::collection::vec((1..5_000_i32, 0..1_000_i64), 0..40)
    }

    proptest! {
        #[test]
        fn indexes_survive_their_files(base in 0..i64::MAX / 2, batches in batches()) {
            let index = index(base, &batches);
            let read = SegmentIndex::from_files(base, &index.offsets_file(), &index.times_file());
            prop_assert_eq!(read, Some(index));
        }

        #[test]
        fn a_damaged_or_cut_file_is_refused(
            batches in batches(), at in 0_usize..99_999, flip in 1_u8.., cut: bool, times: bool,
        ) {
            let index = index(5, &batches);
            let mut files = [index.offsets_file(), index.times_file()];
            let file = &mut files[usize::from(times)];
            let at = at % file.len();
            if cut { file.truncate(at) } else { file[at] ^= flip }
            prop_assert_eq!(SegmentIndex::from_files(5, &files[0], &files[1]), None);
        }

        #[test]
        fn lookups_never_overshoot(batches in batches(), pick in 0_usize..40, at in 0..1_000_i64) {
            prop_assume!(!batches.is_empty());
            let index = index(7, &batches);
            let pick = pick % batches.len();
            let (mut base, mut position) = (7, 0);
            for (count, _) in &batches[..pick] {
                base += i64::from(*count);
                position += 40_012;
            }
            prop_assert!(index.position_before(base) <= position);
            prop_assert!(position - index.position_before(base) < 3 * 40_012);
            let from = index.offset_before(at);
            let mut offset = 7;
            for (count, timestamp) in &batches {
                prop_assert!(offset >= from || *timestamp < at);
                offset += i64::from(*count);
            }
        }
    }
}
