//! Compaction: of every key the latest record stays.
//!
//! Works on closed segments below the last stable offset, in two passes. The first
//! reads the part not compacted yet and notes each key's latest offset; the second
//! rewrites all segments without what is superseded, what was aborted, and the
//! tombstones and markers whose time has come: the first compaction that meets a
//! tombstone writes into its batch when it may go (Kafka's delete horizon).
//!
//! A rewritten segment takes the place of its originals by one rename to
//! `{base}-{end}.swap`: before it nothing has changed, after it a start finishes the
//! exchange. Offsets never change; batches keep their producers and sequences.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use courant_model::{Offset, Span, Timestamp, limits::COMPACTION_KEYS_BYTES_MAX};

use super::{
    Partition,
    files::{StateFile, offset_of},
    producers::AbortedTransaction,
    read::between,
};
use crate::{
    LogError, TopicSettings,
    batch::{self, BatchHeader, BatchSpec, DecodedRecord, OpenBatch, TimestampType},
    disk::{self, Disk, DiskFile},
    segment::{self, Followed, INDEX, LOG, OpenedSegment, ScannedBatch, Segment, TIME_INDEX},
};

/// A segment being rewritten.
const CLEANED: &str = ".cleaned";
/// A rewritten segment that takes the place of those in its name.
const SWAP: &str = ".swap";
/// What a key costs in memory besides its bytes.
const KEY_OVERHEAD_BYTES: usize = 64;
/// Written at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// What a compaction decides by.
struct Rules {
    /// The latest offset of each key below `covered_to`.
    latest: HashMap<Box<[u8]>, Offset>,
    /// Keys were looked at below this offset.
    covered_to: Offset,
    start: Offset,
    aborted: Vec<AbortedTransaction>,
    /// Batches that keep their shell, by producer.
    last_batches: HashMap<i64, Offset>,
    now_ms: i64,
    /// For tombstones that are met for the first time.
    horizon_ms: i64,
    /// Producers of whose latest transaction, seen from where the rewriting is, records
    /// were kept: its marker has to stay, or it would be open for ever.
    unended: HashSet<i64>,
}

/// What becomes of a batch.
enum Fate {
    Same,
    Gone,
    Rewritten(Vec<u8>),
}

/// The outcome of rewriting a run of segments.
struct Rewritten {
    changed: bool,
    /// When the next tombstone or marker may go.
    next_horizon: Option<i64>,
}

impl Partition {
    /// Compacts if enough of the closed bytes is new since the last time, if a record
    /// has waited for as long as it may, or if tombstones may go.
    ///
    /// # Errors
    /// Storage failures; [`LogError::CorruptBatch`] for damaged batches, which are
    /// left as they are.
    pub(super) fn compact(&self, settings: &TopicSettings, now: Timestamp) -> Result<(), LogError> {
        let state = *self.state.lock();
        let closed = self.compactable(settings, now);
        let total: u64 = closed.iter().map(|segment| segment.bytes()).sum();
        let is_dirty = |segment: &&Arc<Segment>| segment.next() > state.compacted_to;
        let dirty: u64 = closed.iter().filter(is_dirty).map(|segment| segment.bytes()).sum();
        let waits_long = closed.iter().filter(is_dirty).any(|segment| {
            let lag = segment.first_timestamp().map(|first| now.as_millis().saturating_sub(first));
            lag.zip(settings.compaction_lag_max).is_some_and(|(lag, max)| lag >= max.as_millis())
        });
        let is_worth_it = dirty > 0 && settings.dirty_ratio_min.is_reached_by(dirty, total);
        let due = state.next_horizon.is_some_and(|horizon| horizon <= now.as_millis());
        if total == 0 || !(due || waits_long || is_worth_it) {
            return Ok(());
        }
        let mut rules = self.rules(&closed, state, settings, now)?;
        let mut next_horizon: Option<i64> = None;
        for run in runs(&closed, settings.segment_bytes.as_bytes()) {
            if self.check_running().is_err() {
                return Ok(());
            }
            let rewritten = self.rewrite(run, &mut rules)?;
            next_horizon = next_horizon.into_iter().chain(rewritten.next_horizon).min();
        }
        self.forget_aborted(closed.last().map_or(0, |segment| segment.next()));
        let mut state = self.state.lock();
        state.compacted_to = rules.covered_to;
        state.next_horizon = next_horizon;
        state
            .store(&*self.environment.disk, &self.folder)
            .map_err(|error| self.storage_error("compacting", error))
    }

    /// No record of these is left; who reads now reads the rewritten segments.
    fn forget_aborted(&self, below: Offset) {
        let mut writer = self.writer.lock();
        writer.producers.forget_aborted(below);
        self.publish_aborted(&writer);
    }

    /// The closed and synced segments without open transactions whose records have
    /// stayed for as long as they must, from the first on.
    fn compactable(&self, settings: &TopicSettings, now: Timestamp) -> Vec<Arc<Segment>> {
        let stays_from = now.as_millis().saturating_sub(settings.compaction_lag_min.as_millis());
        let is_old = |segment: &Segment| {
            settings.compaction_lag_min == Span::default()
                || segment.largest().is_none_or(|largest| largest.timestamp <= stays_from)
        };
        let last_stable = self.ends().last_stable;
        let writer = self.writer.lock();
        let segments = self.segments.read();
        let closed = segments.values().take(segments.len().saturating_sub(1));
        let ready = closed.take_while(|segment| {
            let unsealed = writer.unsealed.iter().any(|other| other.id() == segment.id());
            segment.next() <= last_stable && !unsealed && is_old(segment)
        });
        ready.cloned().collect()
    }

    /// The first pass.
    fn rules(
        &self,
        closed: &[Arc<Segment>],
        state: StateFile,
        settings: &TopicSettings,
        now: Timestamp,
    ) -> Result<Rules, LogError> {
        let end = closed.last().map_or(0, |segment| segment.next());
        let now_ms = now.as_millis();
        let mut rules = Rules {
            latest: HashMap::new(),
            covered_to: end,
            start: state.start_offset,
            aborted: between(&self.aborted(), state.start_offset, end),
            last_batches: self.writer.lock().producers.last_batches().collect(),
            now_ms,
            horizon_ms: now_ms.saturating_add(settings.tombstone_retention.as_millis()),
            unended: HashSet::new(),
        };
        let mut bytes = 0;
        for segment in closed.iter().filter(|segment| segment.next() > state.compacted_to) {
            let mut scan = segment.scan(0);
            while let Some(found) = self.next_whole(&mut scan)? {
                if bytes >= COMPACTION_KEYS_BYTES_MAX {
                    rules.covered_to = found.header.base_offset;
                    return Ok(rules);
                }
                if found.header.last_offset() >= state.compacted_to && !rules.hides(&found.header) {
                    bytes += self.note_keys(&mut rules.latest, &found)?;
                }
            }
        }
        Ok(rules)
    }

    fn note_keys(
        &self,
        latest: &mut HashMap<Box<[u8]>, Offset>,
        found: &ScannedBatch,
    ) -> Result<usize, LogError> {
        let mut bytes = 0;
        let open = OpenBatch::open(&found.bytes).map_err(|error| self.corrupt(&error))?;
        for record in open.records() {
            let record = record.map_err(|error| self.corrupt(&error))?;
            let Some(key) = record.record.key else { continue };
            if let Some(known) = latest.get_mut(&*key) {
                *known = record.offset;
            } else {
                bytes += key.len() + KEY_OVERHEAD_BYTES;
                latest.insert(key.as_ref().into(), record.offset);
            }
        }
        Ok(bytes)
    }

    fn next_whole(
        &self,
        scan: &mut segment::BatchScan<'_>,
    ) -> Result<Option<ScannedBatch>, LogError> {
        let found = scan.next_batch().map_err(|error| self.storage_error("reading", error))?;
        let Some(found) = found else { return Ok(None) };
        let found = found.map_err(|error| self.corrupt(&error))?;
        batch::check(&found.bytes).map_err(|error| self.corrupt(&error))?;
        Ok(Some(found))
    }

    /// The second pass over neighbouring segments, which become one.
    fn rewrite(&self, run: &[Arc<Segment>], rules: &mut Rules) -> Result<Rewritten, LogError> {
        let disk = &*self.environment.disk;
        let failed = |error| self.storage_error("compacting", error);
        let (first, end) = (&run[0], run.last().map_or(0, |segment| segment.next()));
        let cleaned = first.path(CLEANED);
        let mut output = Output::create(disk, &cleaned).map_err(failed)?;
        let mut outcome = Rewritten { changed: run.len() > 1, next_horizon: None };
        for segment in run {
            let mut scan = segment.scan(0);
            while let Some(found) = self.next_whole(&mut scan)? {
                let fate = self.fate(rules, &found)?;
                outcome.changed |= !matches!(fate, Fate::Same);
                let kept = match &fate {
                    Fate::Same => &found.bytes[..],
                    Fate::Gone => continue,
                    Fate::Rewritten(bytes) => bytes,
                };
                let horizon = BatchHeader::parse(kept).ok().and_then(|h| h.delete_horizon());
                let horizon = horizon.filter(|horizon| *horizon > rules.now_ms);
                outcome.next_horizon = outcome.next_horizon.into_iter().chain(horizon).min();
                output.write(kept).map_err(failed)?;
            }
        }
        if !outcome.changed {
            disk.remove_file(&cleaned).map_err(failed)?;
            return Ok(outcome);
        }
        output.finish().map_err(failed)?;
        self.exchange(run, &cleaned, end).map_err(failed)?;
        Ok(outcome)
    }

    /// Puts a rewritten segment in the place of its originals.
    fn exchange(&self, run: &[Arc<Segment>], cleaned: &Path, end: Offset) -> io::Result<()> {
        let disk = &*self.environment.disk;
        let base = run[0].base();
        let swap = self.folder.join(format!("{base:020}-{end:020}{SWAP}"));
        disk.rename(cleaned, &swap)?;
        disk.sync_folder(&self.folder)?;
        finish_swap(disk, &self.folder, &swap, base, end)?;
        let OpenedSegment { segment, .. } =
            Segment::open(disk, &self.folder, base, Followed::By(end))?;
        segment.write_index(disk)?;
        let mut segments = self.segments.write();
        for old in run {
            segments.remove(&old.base());
        }
        segments.insert(base, Arc::new(segment));
        Ok(())
    }

    fn fate(&self, rules: &mut Rules, found: &ScannedBatch) -> Result<Fate, LogError> {
        let header = &found.header;
        let passed = header.delete_horizon().is_some_and(|horizon| horizon <= rules.now_ms);
        let ends_what_is_kept = header.is_control() && rules.unended.remove(&header.producer.id);
        if ends_what_is_kept {
            return Ok(Fate::Same);
        }
        if header.last_offset() < rules.start || (header.is_control() && passed) {
            return Ok(Fate::Gone);
        }
        let open = OpenBatch::open(&found.bytes).map_err(|error| self.corrupt(&error))?;
        let (mut kept, mut tombstones) = (Vec::new(), header.is_control());
        for record in open.records() {
            let record = record.map_err(|error| self.corrupt(&error))?;
            if header.is_control() || rules.keeps(header, &record, passed) {
                tombstones |= record.record.value.is_none();
                kept.push(record);
            }
        }
        if header.is_transactional() && !header.is_control() && !kept.is_empty() {
            rules.unended.insert(header.producer.id);
        }
        let is_last = rules.last_batches.get(&header.producer.id) == Some(&header.base_offset);
        if kept.is_empty() && !is_last {
            return Ok(Fate::Gone);
        }
        let horizon = header.delete_horizon().or(tombstones.then_some(rules.horizon_ms));
        if kept.len() == header.count as usize && horizon == header.delete_horizon() {
            return Ok(Fate::Same);
        }
        let rewritten = rewrite_batch(header, horizon, &kept);
        rewritten.map(Fate::Rewritten).map_err(|error| self.corrupt(&error))
    }
}

impl Rules {
    /// Whether the batch holds no data for anybody: a marker, or aborted.
    fn hides(&self, header: &BatchHeader) -> bool {
        header.is_control() || self.is_aborted(header)
    }

    fn is_aborted(&self, header: &BatchHeader) -> bool {
        header.is_transactional()
            && self.aborted.iter().any(|t| t.covers(header.producer.id, header.base_offset))
    }

    fn keeps(&self, header: &BatchHeader, record: &DecodedRecord, horizon_passed: bool) -> bool {
        let Some(key) = &record.record.key else { return false };
        let superseded = self.latest.get(&**key).is_some_and(|latest| *latest > record.offset);
        let is_due = record.record.value.is_none() && horizon_passed;
        record.offset >= self.start && !superseded && !is_due && !self.is_aborted(header)
    }
}

/// Neighbouring segments that together make at most one.
fn runs(closed: &[Arc<Segment>], bytes_max: u64) -> Vec<&[Arc<Segment>]> {
    let (mut runs, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, segment) in closed.iter().enumerate() {
        let span = segment.next() - closed[start].base();
        if index > start && (bytes + segment.bytes() > bytes_max || span > i64::from(i32::MAX)) {
            runs.push(&closed[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += segment.bytes();
    }
    if start < closed.len() {
        runs.push(&closed[start..]);
    }
    runs
}

fn rewrite_batch(
    header: &BatchHeader,
    delete_horizon: Option<i64>,
    kept: &[DecodedRecord],
) -> Result<Vec<u8>, batch::BatchError> {
    let by_producer = header.timestamp_type() == TimestampType::Create && !kept.is_empty();
    let spec = BatchSpec {
        base_offset: header.base_offset,
        last_offset_delta: header.last_offset_delta,
        compression: header.compression()?,
        timestamp_type: header.timestamp_type(),
        transactional: header.is_transactional(),
        control: header.is_control(),
        producer: header.producer,
        delete_horizon,
        max_timestamp: (!by_producer).then_some(header.max_timestamp),
    };
    let delta = |record: &DecodedRecord| (record.offset - header.base_offset) as i32;
    batch::encode(&spec, kept.iter().map(|record| (delta(record), &record.record)))
}

/// A file that grows in large writes.
struct Output {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    written: u64,
}

impl Output {
    fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.open(path, true)?;
        file.set_size(0)?;
        Ok(Self { file, buffer: Vec::with_capacity(WRITE_BYTES), written: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync()
    }
}

/// Finishes the exchanges that a crash interrupted, and removes rewritten segments
/// that never got so far.
pub(super) fn finish_swaps(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    for name in disk.list(folder)? {
        let path: PathBuf = folder.join(&name);
        if name.ends_with(CLEANED) {
            disk.remove_file(&path)?;
        } else if let Some((base, end)) = name.strip_suffix(SWAP).and_then(|n| n.split_once('-'))
            && let (Some(base), Some(end)) = (offset_of(base, ""), offset_of(end, ""))
        {
            finish_swap(disk, folder, &path, base, end)?;
        }
    }
    Ok(())
}

/// Removes the segments from `base` to before `end` and gives the swap file its name.
fn finish_swap(
    disk: &dyn Disk,
    folder: &Path,
    swap: &Path,
    base: Offset,
    end: Offset,
) -> io::Result<()> {
    for name in disk.list(folder)? {
        let of_segment = |ending| offset_of(&name, ending);
        let found = of_segment(LOG).or(of_segment(INDEX)).or(of_segment(TIME_INDEX));
        if found.is_some_and(|found| (base..end).contains(&found) || found == base) {
            disk::remove_if_there(disk, &folder.join(&name))?;
        }
    }
    disk.rename(swap, &segment::path(folder, base, LOG))?;
    disk.sync_folder(folder)
}
