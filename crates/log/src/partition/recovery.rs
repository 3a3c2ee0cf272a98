//! Opening a partition, whatever a crash left of it.
//!
//! Index files vouch for what was synced; the rest of each segment is checked batch
//! by batch. At the first damage the partition is cut: the bytes from there on, and
//! all later segments, are kept aside under another name and reported. Then an
//! interrupted compaction is finished or undone, and the producers are rebuilt from
//! the last snapshot and the headers after it.
//!
//! Acknowledged records are never cut by this unless the disk lost them.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicI64},
};

use courant_model::{Offset, Timestamp, TopicPartition, limits::CUT_FILES_KEPT};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    Ends, Environment, Hints, Partition, Producers, Queue, Writer, compact,
    files::{self, StateFile},
};
use crate::{
    LogError, TopicSettings,
    batch::{BatchError, Marker, OpenBatch},
    disk::{self, Disk, TEMPORARY, doing},
    segment::{self, Followed, INDEX, LOG, OpenedSegment, Segment, SegmentError, TIME_INDEX},
};

/// Stands between a cut file's old name and the first offset it holds.
const CUT: &str = ".cut-";

/// What opening a partition had to cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveryReport {
    pub partition: TopicPartition,
    /// The damaged segment.
    pub file: PathBuf,
    /// The first offset that is gone.
    pub from_offset: Offset,
    pub cut_bytes: u64,
    pub reason: String,
    /// Where the bytes were kept, unless that failed too.
    pub kept_as: Option<PathBuf>,
}

struct Opening<'a> {
    name: &'a TopicPartition,
    folder: &'a PathBuf,
    disk: &'a dyn Disk,
    segments: BTreeMap<Offset, Arc<Segment>>,
    reports: Vec<RecoveryReport>,
    folder_unsynced: bool,
}

impl Partition {
    /// Opens the partition in a folder, which is created if it is missing.
    ///
    /// # Errors
    /// Storage failures. Damage is no failure; it is reported.
    pub(crate) fn open(
        environment: Environment,
        name: TopicPartition,
        folder: PathBuf,
        settings: Arc<TopicSettings>,
    ) -> Result<(Self, Vec<RecoveryReport>), LogError> {
        let disk = Arc::clone(&environment.disk);
        let failed = |error| LogError::storage(doing("opening", &folder), error);
        let opened = open_files(&*disk, &name, &folder).map_err(failed)?;
        let OpenedFiles { segments, reports, state, producers, active, folder_unsynced, next } =
            opened;
        let aborted = Arc::new(producers.aborted().to_vec());
        let last_stable = producers.first_open().unwrap_or(next);
        let writer = Writer {
            active,
            next,
            producers,
            unsealed: Vec::new(),
            unsynced: false,
            folder_unsynced,
            failed: None,
        };
        let partition = Self {
            name,
            folder,
            environment,
            settings: RwLock::new(settings),
            queue: Mutex::new(Queue::default()),
            writer: Mutex::new(writer),
            start: AtomicI64::new(state.start_offset),
            state: Mutex::new(state),
            segments: RwLock::new(segments),
            ends: watch::Sender::new(Ends { end: next, last_stable, stopped: None }),
            aborted: RwLock::new(aborted),
            admitted: Mutex::default(),
            hints: Mutex::new(Hints::default()),
            upkeep: Mutex::new(()),
        };
        Ok((partition, reports))
    }
}

struct OpenedFiles {
    segments: BTreeMap<Offset, Arc<Segment>>,
    reports: Vec<RecoveryReport>,
    state: StateFile,
    producers: Producers,
    active: Arc<Segment>,
    /// Nothing vouches for the name of the active segment: it is new, or the log was
    /// not closed.
    folder_unsynced: bool,
    next: Offset,
}

fn open_files(disk: &dyn Disk, name: &TopicPartition, folder: &PathBuf) -> io::Result<OpenedFiles> {
    disk.create_folders(folder)?;
    compact::finish_swaps(disk, folder)?;
    let mut state = StateFile::load(disk, folder)?;
    let mut opening = Opening {
        name,
        folder,
        disk,
        segments: BTreeMap::new(),
        reports: Vec::new(),
        folder_unsynced: false,
    };
    opening.open_segments()?;
    let active = opening.active(state.start_offset)?;
    if opening.folder_unsynced && active.bytes() > 0 {
        disk.sync_folder(folder)?;
        opening.folder_unsynced = false;
    }
    opening.remove_strays()?;
    let Opening { segments, reports, folder_unsynced, .. } = opening;
    let next = active.next();
    let first = segments.keys().next().copied().unwrap_or(next);
    state.start_offset = state.start_offset.max(first);
    let producers = rebuild_producers(disk, folder, &segments, next)?;
    Ok(OpenedFiles { segments, reports, state, producers, active, folder_unsynced, next })
}

impl Opening<'_> {
    fn open_segments(&mut self) -> io::Result<()> {
        let names = self.disk.list(self.folder)?;
        let mut bases: Vec<Offset> =
            names.iter().filter_map(|name| files::offset_of(name, LOG)).collect();
        bases.sort_unstable();
        let mut next = None;
        for (index, &base) in bases.iter().enumerate() {
            if let Some(expected) = next.filter(|next| base < *next) {
                let error = BatchError::OutOfOrder { found: base, expected };
                return self.set_aside(&bases[index..], &error.to_string());
            }
            let followed =
                bases.get(index + 1).map_or(Followed::ByNothing, |next| Followed::By(*next));
            let OpenedSegment { segment, damage, vouched } =
                Segment::open(self.disk, self.folder, base, followed)?;
            next = Some(segment.next());
            self.folder_unsynced = !vouched;
            let segment = Arc::new(segment);
            self.segments.insert(base, Arc::clone(&segment));
            if let Some(damage) = damage {
                let reason = damage.error.to_string();
                self.cut(&segment, damage.position, damage.file_bytes, reason)?;
                let why = format!("it follows the damage at offset {}", segment.next());
                return self.set_aside(&bases[index + 1..], &why);
            }
            if !vouched && index + 1 < bases.len() {
                segment.write_index(self.disk)?;
            }
        }
        Ok(())
    }

    /// Cuts a segment at a position and keeps the bytes behind it.
    fn cut(&mut self, segment: &Segment, at: u64, size: u64, reason: String) -> io::Result<()> {
        let file = segment.path(LOG);
        let aside = aside(&file, segment.next());
        let kept = self.disk.read(&file).and_then(|bytes| {
            let tail = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
            disk::replace(self.disk, &aside, tail)
        });
        segment.truncate(at)?;
        self.report(file, segment.next(), size - at, reason, kept.is_ok().then_some(aside));
        Ok(())
    }

    /// Takes whole segments out of the log, under another name.
    fn set_aside(&mut self, bases: &[Offset], reason: &str) -> io::Result<()> {
        for &base in bases {
            let file = segment::path(self.folder, base, LOG);
            let aside = aside(&file, base);
            let size = self.disk.open(&file, false)?.size()?;
            self.disk.rename(&file, &aside)?;
            for ending in [INDEX, TIME_INDEX] {
                disk::remove_if_there(self.disk, &segment::path(self.folder, base, ending))?;
            }
            if size == 0 {
                disk::remove_if_there(self.disk, &aside)?;
                continue;
            }
            self.report(file, base, size, reason.to_owned(), Some(aside));
        }
        self.disk.sync_folder(self.folder)
    }

    fn report(
        &mut self,
        file: PathBuf,
        from_offset: Offset,
        cut_bytes: u64,
        reason: String,
        kept_as: Option<PathBuf>,
    ) {
        tracing::warn!(partition = %self.name, ?file, from_offset, cut_bytes, reason, ?kept_as,
            "the end of a partition was damaged and has been cut off");
        let partition = self.name.clone();
        self.reports.push(RecoveryReport {
            partition,
            file,
            from_offset,
            cut_bytes,
            reason,
            kept_as,
        });
    }

    /// The segment to append to: the last one, or a new one where the log is to start
    /// if there is none that reaches it.
    fn active(&mut self, start: Offset) -> io::Result<Arc<Segment>> {
        let last = self.segments.values().next_back().cloned();
        if let Some(last) = last.filter(|last| last.next() >= start) {
            return Ok(last);
        }
        let below: Vec<Offset> = self.segments.keys().copied().collect();
        self.segments.clear();
        if !below.is_empty() {
            self.set_aside(&below, "the log was said to start above it")?;
        }
        let created = Arc::new(Segment::create(self.disk, self.folder, start)?);
        self.segments.insert(start, Arc::clone(&created));
        self.folder_unsynced = true;
        Ok(created)
    }

    /// Removes half-written files, indexes without a segment, and all but the newest
    /// of what was kept aside.
    fn remove_strays(&self) -> io::Result<()> {
        let mut kept_aside = Vec::new();
        for name in self.disk.list(self.folder)? {
            let orphan = |ending| {
                files::offset_of(&name, ending)
                    .is_some_and(|base| !self.segments.contains_key(&base))
            };
            if name.ends_with(TEMPORARY) || orphan(INDEX) || orphan(TIME_INDEX) {
                disk::remove_if_there(self.disk, &self.folder.join(&name))?;
            } else if name.contains(CUT) {
                kept_aside.push(name);
            }
        }
        kept_aside.sort_unstable();
        let surplus = kept_aside.len().saturating_sub(CUT_FILES_KEPT);
        for name in &kept_aside[..surplus] {
            disk::remove_if_there(self.disk, &self.folder.join(name))?;
        }
        Ok(())
    }
}

fn aside(file: &std::path::Path, from: Offset) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!("{CUT}{from}"));
    file.with_file_name(name)
}

/// The producers as of the log's end: a snapshot, and the headers after it.
fn rebuild_producers(
    disk: &dyn Disk,
    folder: &std::path::Path,
    segments: &BTreeMap<Offset, Arc<Segment>>,
    end: Offset,
) -> io::Result<Producers> {
    let (from, mut producers) =
        files::load_producers(disk, folder, end)?.unwrap_or((0, Producers::default()));
    let behind = segments.values().filter(|segment| segment.next() > from);
    for segment in behind {
        let mut scan = segment.scan(0);
        while let Some(found) = scan.next_batch()? {
            let found = found.map_err(io::Error::other)?;
            if found.header.base_offset < from || !found.header.producer.is_idempotent() {
                continue;
            }
            let marker = if found.header.is_control() {
                let batch = OpenBatch::open(&found.bytes).map_err(io::Error::other)?;
                Marker::of(&batch).map_err(io::Error::other)?
            } else {
                None
            };
            let at = Timestamp::from_millis(found.header.max_timestamp);
            producers.note(&found.header, marker, at);
            producers.keep();
        }
    }
    Ok(producers)
}

impl From<SegmentError> for io::Error {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Io(error) => error,
            SegmentError::Corrupt { error, .. } => Self::other(error),
        }
    }
}
