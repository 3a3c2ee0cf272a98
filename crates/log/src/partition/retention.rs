//! How old records leave a partition: by age, by size, by hand.
//!
//! Only whole closed segments are removed, the oldest first, and the new start is on
//! disk before the first file goes. Deleting by hand moves the start at once and
//! leaves the files to this. Nothing here reads a clock: the caller says what time
//! it is.

use std::sync::{Arc, atomic::Ordering};

use courant_model::{Offset, Timestamp};

use super::{Partition, Writer};
use crate::{Durability, LogError, Retention, TopicSettings, segment::Segment};

/// An idempotent producer that was silent for so long is forgotten; Kafka's
/// `producer.id.expiration.ms`.
const PRODUCER_SILENCE_MS_MAX: i64 = 86_400_000;

impl Partition {
    /// Closes an aged segment, removes and compacts what the settings say, as of
    /// `now`. A partition that has stopped is left alone.
    ///
    /// # Errors
    /// Storage failures.
    pub(crate) fn housekeep(&self, now: Timestamp) -> Result<(), LogError> {
        let _upkeep = self.upkeep.lock();
        if self.check_running().is_err() {
            return Ok(());
        }
        let settings = self.settings();
        self.roll_aged(&settings, now)?;
        if self.environment.durability != Durability::Fsync {
            self.flush()?;
        }
        self.remove_expired(&settings, now)?;
        if settings.cleanup != Retention::Delete {
            self.compact(&settings, now)?;
        }
        let start = self.start();
        let mut writer = self.writer.lock();
        writer.producers.forget(start, now.plus_millis(-PRODUCER_SILENCE_MS_MAX));
        self.publish_aborted(&writer);
        Ok(())
    }

    /// Moves the start of the partition up; answers where it then is.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] above the end; storage failures.
    pub(crate) fn delete_records(&self, before: Offset) -> Result<Offset, LogError> {
        self.check_running()?;
        let (start, end) = (self.start(), self.ends().end);
        if before > end || before < 0 {
            let partition = self.name.clone();
            return Err(LogError::OffsetOutOfRange { partition, offset: before, start, end });
        }
        self.advance_start(before)?;
        if let Some(_upkeep) = self.upkeep.try_lock() {
            self.remove_below(before)?;
        }
        Ok(self.start())
    }

    /// Closes the active segment if it is old, or if all it holds may go.
    fn roll_aged(&self, settings: &TopicSettings, now: Timestamp) -> Result<(), LogError> {
        let start = self.start();
        let mut writer = self.writer.lock();
        let Writer { active, failed: None, .. } = &*writer else { return Ok(()) };
        let Some(first) = active.first_timestamp() else { return Ok(()) };
        let deletes = settings.cleanup != Retention::Compact;
        let compacts = settings.cleanup != Retention::Delete;
        let lag = settings.compaction_lag_max.filter(|_| compacts);
        let age_max = settings.segment_time.min(lag.unwrap_or(settings.segment_time));
        let aged = now.as_millis().saturating_sub(first) >= age_max.as_millis();
        let removable = active.next() <= start || (deletes && is_expired(active, settings, now));
        if aged || removable {
            self.roll(&mut writer)?;
        }
        Ok(())
    }

    fn remove_expired(&self, settings: &TopicSettings, now: Timestamp) -> Result<(), LogError> {
        let segments: Vec<Arc<Segment>> = self.segments.read().values().cloned().collect();
        let start = self.start();
        let deletes = settings.cleanup != Retention::Compact;
        let bytes_max = settings.retention_bytes.filter(|_| deletes).map(|max| max.as_bytes());
        let mut total: u64 = segments.iter().map(|segment| segment.bytes()).sum();
        let last_stable = self.ends().last_stable;
        let closed = segments.iter().take(segments.len().saturating_sub(1));
        let mut remove_to = None;
        for segment in closed.take_while(|segment| segment.next() <= last_stable) {
            let too_large = bytes_max.is_some_and(|max| total > max);
            let expired = deletes && is_expired(segment, settings, now);
            let below = segment.next() <= start && segment.bytes() > 0;
            if !(too_large || expired || below) {
                break;
            }
            total -= segment.bytes();
            remove_to = Some(segment.next());
        }
        let Some(remove_to) = remove_to else { return Ok(()) };
        self.advance_start(remove_to)?;
        self.remove_below(remove_to)
    }

    /// Puts a higher start on disk.
    fn advance_start(&self, to: Offset) -> Result<(), LogError> {
        let mut state = self.state.lock();
        if to <= state.start_offset {
            return Ok(());
        }
        let mut moved = *state;
        moved.start_offset = to;
        moved
            .store(&*self.environment.disk, &self.folder)
            .map_err(|error| self.storage_error("moving the start of", error))?;
        *state = moved;
        self.start.store(to, Ordering::Release);
        Ok(())
    }

    /// Removes the closed segments that end at or below an offset.
    fn remove_below(&self, offset: Offset) -> Result<(), LogError> {
        let removed = {
            let mut segments = self.segments.write();
            let closed = segments.len().saturating_sub(1);
            let below = segments
                .values()
                .take(closed)
                .take_while(|s| s.next() <= offset && s.base() < offset);
            let bases: Vec<Offset> = below.map(|segment| segment.base()).collect();
            bases.iter().filter_map(|base| segments.remove(base)).collect::<Vec<_>>()
        };
        for segment in removed {
            segment
                .remove(&*self.environment.disk)
                .map_err(|error| self.storage_error("removing old segments of", error))?;
        }
        Ok(())
    }
}

/// Whether all records of a segment are older than the topic keeps them. Records
/// without a timestamp have no age.
fn is_expired(segment: &Segment, settings: &TopicSettings, now: Timestamp) -> bool {
    let (Some(keep), Some(largest)) = (settings.retention_time, segment.largest()) else {
        return false;
    };
    let age = now.as_millis().saturating_sub(largest.timestamp);
    largest.timestamp >= 0 && age > keep.as_millis()
}
