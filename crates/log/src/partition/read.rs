//! Reading a partition: raw batches for the network, records for the process.
//!
//! A read takes whole batches out of one segment by a single positioned read. The
//! position usually comes from a hint that the read before left behind, else from
//! the sparse index. Records are slices of what was read. Control batches and
//! aborted transactions are hidden from records, and listed for raw readers.
//! Waiting for new records is not done here.

use std::{collections::VecDeque, ops::Bound, sync::Arc};

use bytes::Bytes;
use courant_model::{Offset, StoredRecord, Timestamp, limits::READ_BYTES_MAX};

use super::{AbortedTransaction, Partition};
use crate::{
    LogError, Read, ReadLimit,
    batch::{self, BatchError, DecodedRecord, OpenBatch},
    segment::{ChunkLimit, Segment},
};

/// Reads that go on where another ended, remembered per partition: as many as
/// there are sequential readers on a busy one.
const HINTS_MAX: usize = 16;

/// Bytes that a search by time reads at once.
const SEARCH_BYTES: usize = 1024 * 1024;

/// Bytes at a segment's end that a reader who follows finds in memory.
const WARM_BYTES: u64 = 4 * 1024 * 1024;

/// Raw batches of a partition, as a consumer over the network gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Whole batches; the first may start before the offset asked for.
    pub batches: Bytes,
    /// The offset after the last batch; the one asked for if there is none.
    pub next: Offset,
    pub start: Offset,
    /// The high watermark.
    pub end: Offset,
    pub last_stable: Offset,
    /// Aborted transactions that reach into the batches; for readers of committed
    /// records, else empty.
    pub aborted: Vec<AbortedTransaction>,
}

/// Where the batch at an offset starts.
#[derive(Debug, Clone, Copy)]
struct Hint {
    offset: Offset,
    segment: u64,
    position: u64,
}

#[derive(Debug, Default)]
pub(super) struct Hints(VecDeque<Hint>);

impl Hints {
    fn peek(&self, offset: Offset, segment: u64) -> Option<u64> {
        let found = |hint: &&Hint| (hint.offset, hint.segment) == (offset, segment);
        self.0.iter().find(found).map(|hint| hint.position)
    }

    fn take(&mut self, offset: Offset, segment: u64) -> Option<u64> {
        let found =
            self.0.iter().position(|hint| (hint.offset, hint.segment) == (offset, segment))?;
        self.0.remove(found).map(|hint| hint.position)
    }

    fn put(&mut self, hint: Hint) {
        if self.0.len() >= HINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(hint);
    }
}

impl Partition {
    /// Whole batches from the one that holds `from`, none that starts at `before` or
    /// later, and the offset after them.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`]; [`LogError::CorruptBatch`] where a header is
    /// damaged; storage failures.
    pub(super) fn read_raw(
        &self,
        from: Offset,
        bytes: usize,
        before: Offset,
    ) -> Result<(Bytes, Offset), LogError> {
        self.check_range(from)?;
        let limit = ChunkLimit { bytes: bytes.min(READ_BYTES_MAX), before };
        let mut segment = self.segment_at(from);
        while let Some(found) = segment.filter(|found| found.base() < before) {
            let hint = self.hints.lock().take(from, found.id());
            let chunk = found.read(from, hint, limit).map_err(|error| self.segment_error(error))?;
            if let Some(chunk) = chunk {
                let (offset, position) = (chunk.next, chunk.end);
                self.hints.lock().put(Hint { offset, segment: found.id(), position });
                return Ok((chunk.bytes, chunk.next));
            }
            segment = self.segment_following(&found, from);
        }
        Ok((Bytes::new(), before.max(from)))
    }

    /// Raw batches up to the end, or to the last stable offset where only committed
    /// records are asked for.
    ///
    /// # Errors
    /// As [`Self::read_raw`].
    pub(crate) fn fetch(
        &self,
        from: Offset,
        bytes: usize,
        committed: bool,
    ) -> Result<Fetched, LogError> {
        let ends = self.ends();
        let known = self.aborted();
        let before = if committed { ends.last_stable } else { ends.end };
        let (batches, next) = self.read_raw(from, bytes, before)?;
        let aborted = if committed { between(&known, from, next) } else { Vec::new() };
        let next = if batches.is_empty() { from } else { next };
        let (start, end, last_stable) = (self.start(), ends.end, ends.last_stable);
        Ok(Fetched { batches, next, start, end, last_stable, aborted })
    }

    /// All aborted transactions. Taken before their records are read: compaction takes
    /// the records away first, and forgets the transaction then.
    pub(super) fn aborted(&self) -> Arc<Vec<AbortedTransaction>> {
        Arc::clone(&self.aborted.read())
    }

    /// Committed records from `from` on, as many as there are and fit.
    ///
    /// # Errors
    /// As [`Self::read_raw`], and [`LogError::CorruptBatch`] for damaged records.
    pub(crate) fn read(&self, from: Offset, limit: ReadLimit) -> Result<Read, LogError> {
        let ends = self.ends();
        let known = self.aborted();
        let (batches, after) = self.read_raw(from, limit.bytes, ends.last_stable)?;
        let aborted = between(&known, from, after);
        let mut read = Read { records: Vec::new(), next: from, end: ends.end };
        let mut room = limit.bytes;
        for (header, bytes) in batch::split(&batches) {
            let hidden = header.is_control() || is_aborted(&aborted, &header);
            if !hidden && !self.take_records(&bytes, from, limit.records, &mut room, &mut read)? {
                return Ok(read);
            }
            read.next = header.last_offset() + 1;
        }
        read.next = after.max(read.next);
        Ok(read)
    }

    /// Adds a batch's records; false once the limit is reached.
    fn take_records(
        &self,
        bytes: &Bytes,
        from: Offset,
        records_max: usize,
        room: &mut usize,
        read: &mut Read,
    ) -> Result<bool, LogError> {
        let batch = OpenBatch::open(bytes).map_err(|error| self.corrupt(&error))?;
        let left = records_max.saturating_sub(read.records.len());
        read.records.reserve(left.min(batch.header().count as usize));
        for record in batch.records_from(from) {
            let DecodedRecord { offset, record } = record.map_err(|error| self.corrupt(&error))?;
            let size = record.size_bytes();
            let full = read.records.len() >= records_max.max(1) || size > *room;
            if full && !read.records.is_empty() {
                return Ok(false);
            }
            *room = room.saturating_sub(size);
            read.next = offset + 1;
            let (topic, partition) = (self.name.topic.clone(), self.name.partition);
            read.records.push(StoredRecord { topic, partition, offset, record });
        }
        Ok(true)
    }

    /// Whether a reader came up to an offset and the active segment holds little beyond.
    pub(crate) fn is_warm(&self, from: Offset) -> bool {
        let Some(segment) = self.segment_at(from) else { return false };
        let known = self.hints.lock().peek(from, segment.id());
        known.is_some_and(|position| segment.bytes() - position <= WARM_BYTES)
    }

    /// Offset of [`Self::record_at`].
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn offset_at(&self, at: Timestamp) -> Result<Option<Offset>, LogError> {
        Ok(self.record_at(at)?.map(|(_, offset)| offset))
    }

    /// The first visible record whose timestamp is `at` or later.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn record_at(&self, at: Timestamp) -> Result<Option<(Timestamp, Offset)>, LogError> {
        let (start, ends) = (self.start(), self.ends());
        let late = |segment: &Arc<Segment>| {
            segment.largest().is_some_and(|largest| largest.timestamp >= at.as_millis())
        };
        let Some(segment) = self.segments.read().values().find(|s| late(s)).cloned() else {
            return Ok(None);
        };
        let mut from = segment.offset_before(at.as_millis()).max(start);
        while from < ends.last_stable {
            from = from.max(self.start());
            let known = self.aborted();
            let (batches, next) = self.read_raw(from, SEARCH_BYTES, ends.last_stable)?;
            let aborted = between(&known, from, next);
            for (header, bytes) in batch::split(&batches) {
                let older = header.max_timestamp < at.as_millis();
                if older || header.is_control() || is_aborted(&aborted, &header) {
                    continue;
                }
                let found = self.find(&bytes, |r| r.offset >= start && r.record.timestamp >= at)?;
                if let Some(found) = found {
                    return Ok(Some((found.record.timestamp, found.offset)));
                }
            }
            from = next;
        }
        Ok(None)
    }

    /// The largest timestamp and the first record that has it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn largest_timestamp(&self) -> Result<Option<(Timestamp, Offset)>, LogError> {
        let segments = self.segments.read();
        let largest = segments.values().filter_map(|segment| segment.largest());
        let largest = largest.rev().max_by_key(|largest| largest.timestamp);
        drop(segments);
        let Some(largest) = largest.filter(|largest| largest.batch_offset < self.ends().end) else {
            return Ok(None);
        };
        let at = Timestamp::from_millis(largest.timestamp);
        Ok(self.offset_at(at)?.map(|offset| (at, offset)))
    }

    fn find(
        &self,
        bytes: &Bytes,
        wanted: impl Fn(&DecodedRecord) -> bool,
    ) -> Result<Option<DecodedRecord>, LogError> {
        let batch = OpenBatch::open(bytes).map_err(|error| self.corrupt(&error))?;
        let mut found = batch.records().filter(|record| record.as_ref().map_or(true, &wanted));
        found.next().transpose().map_err(|error| self.corrupt(&error))
    }

    /// The segment that holds an offset; the first one if compaction or retention
    /// moved the base above it.
    pub(super) fn segment_at(&self, offset: Offset) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let before = segments.range(..=offset).next_back();
        before.or_else(|| segments.iter().next()).map(|(_, segment)| Arc::clone(segment))
    }

    /// Where to go on after a segment that held nothing from `from` on: the next one,
    /// or what compaction has put in its place meanwhile.
    fn segment_following(&self, found: &Segment, from: Offset) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let place = segments.range(..=from.max(found.base())).next_back();
        let replaced = place.filter(|(_, segment)| segment.id() != found.id());
        let after = (Bound::Excluded(found.base()), Bound::Unbounded);
        let next = replaced.or_else(|| segments.range(after).next());
        next.map(|(_, segment)| Arc::clone(segment))
    }

    /// Fails unless the partition runs and holds the offset or ends there.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::UnknownTopic`], [`LogError::Closed`].
    pub(crate) fn check_readable(&self, offset: Offset) -> Result<(), LogError> {
        self.check_running()?;
        self.check_range(offset)
    }

    fn check_range(&self, offset: Offset) -> Result<(), LogError> {
        let (start, end) = (self.start(), self.ends().end);
        if (start..=end).contains(&offset) {
            return Ok(());
        }
        Err(LogError::OffsetOutOfRange { partition: self.name.clone(), offset, start, end })
    }

    pub(super) fn corrupt(&self, error: &BatchError) -> LogError {
        LogError::CorruptBatch { partition: self.name.clone(), why: error.to_string() }
    }
}

/// Those with records in the range.
pub(super) fn between(
    aborted: &[AbortedTransaction],
    from: Offset,
    to: Offset,
) -> Vec<AbortedTransaction> {
    let reaches = |t: &&AbortedTransaction| t.first_offset < to && t.last_offset >= from;
    aborted.iter().filter(reaches).copied().collect()
}

fn is_aborted(aborted: &[AbortedTransaction], header: &batch::BatchHeader) -> bool {
    header.is_transactional()
        && aborted.iter().any(|t| t.covers(header.producer.id, header.base_offset))
}
