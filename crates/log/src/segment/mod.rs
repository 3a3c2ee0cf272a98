//! A segment: a run of record batches in one file, with its indexes.
//!
//! The file `{base offset}.log` holds batches back to back and nothing else. One
//! writer appends at the end; any number of readers read by position. The index in
//! memory covers exactly the bytes that were written whole, so that a reader never
//! sees half a batch. It knows nothing of durability or visibility: the partition
//! decides when to sync and up to which offset readers may look.

mod index;
mod scan;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use courant_model::Offset;
use parking_lot::RwLock;

use self::index::SegmentIndex;
pub(crate) use self::{
    index::Largest,
    scan::{BatchScan, ScannedBatch},
};
use crate::{
    batch::{self, BatchError, BatchHeader},
    disk::{self, Disk, DiskFile, read_up_to},
};

/// Ending of a segment's batches.
pub(crate) const LOG: &str = ".log";
/// Ending of a segment's offset index.
pub(crate) const INDEX: &str = ".index";
/// Ending of a segment's time index.
pub(crate) const TIME_INDEX: &str = ".timeindex";

/// One segment. Shared by the writer and the readers.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Differs for every segment opened, also at the same base offset.
    id: u64,
    base: Offset,
    folder: PathBuf,
    file: Arc<dyn DiskFile>,
    index: RwLock<SegmentIndex>,
}

/// Why a segment could not be read.
#[derive(Debug)]
pub(crate) enum SegmentError {
    Io(io::Error),
    Corrupt { position: u64, error: BatchError },
}

/// A segment as it was found.
#[derive(Debug)]
pub(crate) struct OpenedSegment {
    pub(crate) segment: Segment,
    pub(crate) damage: Option<Damage>,
    /// The index files covered all of it, so that nothing was checked.
    pub(crate) vouched: bool,
}

/// Where a check found the first bytes that are no batch.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) position: u64,
    pub(crate) error: BatchError,
    pub(crate) file_bytes: u64,
}

/// What comes after a segment: where its offsets must end. The base offset of a
/// batch lies outside its checksum, so that this is all that tells a damaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It is the active one, which is never compacted: its offsets have no gaps.
    ByNothing,
    /// All offsets are below this one; compaction may have left gaps.
    By(Offset),
}

/// Whole batches out of a segment.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// The offset after the last batch.
    pub(crate) next: Offset,
    /// The position after the last batch.
    pub(crate) end: u64,
}

/// How much of a segment to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimit {
    /// One batch comes even if it is larger.
    pub(crate) bytes: usize,
    /// No batch that starts here or later.
    pub(crate) before: Offset,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Segment {
    /// Creates an empty segment, over whatever a failed attempt left behind.
    pub(crate) fn create(disk: &dyn Disk, folder: &Path, base: Offset) -> io::Result<Self> {
        let file = disk.open(&path(folder, base, LOG), true)?;
        file.set_size(0)?;
        Ok(Self::with_index(folder, base, file, SegmentIndex::new(base)))
    }

    /// Opens a segment and checks what its index files do not vouch for. Damage is
    /// told, not repaired; the segment then ends before it.
    pub(crate) fn open(
        disk: &dyn Disk,
        folder: &Path,
        base: Offset,
        followed: Followed,
    ) -> io::Result<OpenedSegment> {
        let file = disk.open(&path(folder, base, LOG), false)?;
        let file_bytes = file.size()?;
        let vouched =
            Self::read_index(disk, folder, base).filter(|index| index.bytes <= file_bytes);
        let whole = vouched.as_ref().is_some_and(|index| index.bytes == file_bytes);
        let mut index = vouched.unwrap_or_else(|| SegmentIndex::new(base));
        let mut damage = None;
        let mut scan = BatchScan::new(&*file, index.bytes, file_bytes);
        while let Some(found) = scan.next_batch()? {
            let position = index.bytes;
            match found.and_then(|found| checked(&found, index.next, followed)) {
                Ok(header) => index.push(&header),
                Err(error) => {
                    damage = Some(Damage { position, error, file_bytes });
                    break;
                }
            }
        }
        if !whole {
            file.sync()?;
        }
        let segment = Self::with_index(folder, base, file, index);
        Ok(OpenedSegment { segment, damage, vouched: whole })
    }

    fn with_index(
        folder: &Path,
        base: Offset,
        file: Arc<dyn DiskFile>,
        index: SegmentIndex,
    ) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, base, folder: folder.to_owned(), file, index: RwLock::new(index) }
    }

    fn read_index(disk: &dyn Disk, folder: &Path, base: Offset) -> Option<SegmentIndex> {
        let offsets = disk.read(&path(folder, base, INDEX)).ok()?;
        let times = disk.read(&path(folder, base, TIME_INDEX)).ok()?;
        SegmentIndex::from_files(base, &offsets, &times)
    }

    /// Writes whole batches, whose headers these are, at the end. If that fails,
    /// what was written of them is taken away again.
    ///
    /// # Errors
    /// `(write, None)` when the segment is as before, `(write, Some(truncate))`
    /// when it could not be restored and must not be written any more.
    pub(crate) fn append(
        &self,
        bytes: &[u8],
        headers: &[BatchHeader],
    ) -> Result<(), (io::Error, Option<io::Error>)> {
        let end = self.bytes();
        if let Err(error) = self.file.write_all_at(bytes, end) {
            return Err((error, self.file.set_size(end).err()));
        }
        let mut index = self.index.write();
        for header in headers {
            index.push(header);
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Takes away the bytes from a position on, which the index does not cover.
    pub(crate) fn truncate(&self, position: u64) -> io::Result<()> {
        self.file.set_size(position)?;
        self.file.sync()
    }

    /// Writes the index files. Call it only when everything written is synced: they
    /// are what a later start trusts.
    pub(crate) fn write_index(&self, disk: &dyn Disk) -> io::Result<()> {
        let (offsets, times) = {
            let index = self.index.read();
            (index.offsets_file(), index.times_file())
        };
        for (ending, bytes) in [(INDEX, offsets), (TIME_INDEX, times)] {
            let file = disk.open(&self.path(ending), true)?;
            file.set_size(0)?;
            file.write_all_at(&bytes, 0)?;
        }
        Ok(())
    }

    /// Reads whole batches from the one that holds `from`, or the next one if
    /// compaction left a gap there. `None` if the segment has none below the limit.
    ///
    /// `hint` is the position of the batch that starts at `from`, where known.
    pub(crate) fn read(
        &self,
        from: Offset,
        hint: Option<u64>,
        limit: ChunkLimit,
    ) -> Result<Option<Chunk>, SegmentError> {
        let size = self.bytes();
        let Some(start) = hint.map_or_else(|| self.locate(from, size), |at| Ok(Some(at)))? else {
            return Ok(None);
        };
        let left = size.saturating_sub(start);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(limit.bytes.max(4_096));
        let mut bytes = Bytes::from(read_up_to(&*self.file, start, length)?);
        let corrupt = |error| SegmentError::Corrupt { position: start, error };
        if bytes.is_empty() {
            return Ok(None);
        }
        let first = BatchHeader::parse(&bytes).map_err(corrupt)?;
        if first.size_bytes() > bytes.len() {
            bytes = Bytes::from(read_up_to(&*self.file, start, first.size_bytes())?);
        }
        let (mut whole, mut next) = (0, from);
        for (header, batch) in batch::split(&bytes) {
            let over = whole > 0 && whole + batch.len() > limit.bytes;
            if header.base_offset >= limit.before || over {
                break;
            }
            whole += batch.len();
            next = header.last_offset() + 1;
        }
        if whole == 0 && first.base_offset < limit.before {
            let (needed, found) = (first.size_bytes(), bytes.len());
            return Err(corrupt(BatchError::Torn { needed, found }));
        }
        bytes.truncate(whole);
        Ok((whole > 0).then_some(Chunk { bytes, next, end: start + whole as u64 }))
    }

    /// The position of the first batch that ends at `from` or later.
    fn locate(&self, from: Offset, size: u64) -> Result<Option<u64>, SegmentError> {
        let start = self.index.read().position_before(from);
        let mut scan = BatchScan::new(&*self.file, start, size);
        while let Some(found) = scan.next_batch()? {
            let position = scan.position();
            let found = found.map_err(|error| SegmentError::Corrupt { position, error })?;
            if found.header.last_offset() >= from {
                return Ok(Some(found.position));
            }
        }
        Ok(None)
    }

    /// All batches from a position on, one after the other.
    pub(crate) fn scan(&self, from: u64) -> BatchScan<'_> {
        BatchScan::new(&*self.file, from, self.bytes())
    }

    /// Removes the segment's files, the batches first: an index alone is nothing.
    pub(crate) fn remove(&self, disk: &dyn Disk) -> io::Result<()> {
        for ending in [LOG, INDEX, TIME_INDEX] {
            disk::remove_if_there(disk, &self.path(ending))?;
        }
        Ok(())
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn base(&self) -> Offset {
        self.base
    }

    /// Bytes of whole batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.index.read().bytes
    }

    /// One past the last offset; the base offset while the segment is empty.
    pub(crate) fn next(&self) -> Offset {
        self.index.read().next
    }

    pub(crate) fn largest(&self) -> Option<Largest> {
        self.index.read().largest
    }

    /// Largest timestamp of the first batch, in milliseconds.
    pub(crate) fn first_timestamp(&self) -> Option<i64> {
        self.index.read().first_timestamp
    }

    /// An offset such that all records before it are older than `at`.
    pub(crate) fn offset_before(&self, at: i64) -> Offset {
        self.index.read().offset_before(at)
    }

    pub(crate) fn path(&self, ending: &str) -> PathBuf {
        path(&self.folder, self.base, ending)
    }
}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Path of a segment's file.
pub(crate) fn path(folder: &Path, base: Offset, ending: &str) -> PathBuf {
    folder.join(format!("{base:020}{ending}"))
}

fn checked(
    found: &ScannedBatch,
    next: Offset,
    followed: Followed,
) -> Result<BatchHeader, BatchError> {
    let header = batch::check(&found.bytes)?;
    let fits = match followed {
        Followed::ByNothing => header.base_offset == next,
        Followed::By(end) => header.base_offset >= next && header.last_offset() < end,
    };
    let (found, expected) = (header.base_offset, next);
    if fits { Ok(header) } else { Err(BatchError::OutOfOrder { found, expected }) }
}
