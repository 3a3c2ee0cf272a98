//! The small files beside a partition's segments.
//!
//! `partition.json` holds what the segments cannot tell: where the log starts
//! within the first one, and how far compaction came. `{offset}.producers` is a
//! snapshot of the producers just before that offset; a newer one replaces it, and
//! a missing or damaged one only makes the next start read more headers.

use std::{io, path::Path};

use courant_model::Offset;
use serde::{Deserialize, Serialize};

use super::producers::Producers;
use crate::disk::{self, Disk};

pub(super) const STATE: &str = "partition.json";
pub(super) const PRODUCERS: &str = ".producers";

/// Snapshots kept: the newest may lie above what a crash leaves of the log.
const SNAPSHOTS_KEPT: usize = 2;

/// Contents of `partition.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateFile {
    /// Records below it were deleted.
    pub(super) start_offset: Offset,
    /// Compaction has left at most one record a key below it.
    pub(super) compacted_to: Offset,
    /// When the next tombstone or marker below it may go, in milliseconds since the
    /// epoch.
    pub(super) next_horizon: Option<i64>,
}

impl StateFile {
    /// Reads the file; the default if it was never written.
    pub(super) fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Self> {
        match disk.read(&folder.join(STATE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn store(self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        disk::replace(disk, &folder.join(STATE), &serde_json::to_vec(&self)?)
    }
}

/// A snapshot of the producers: length-checked by its JSON, vouched for by a
/// checksum in front.
pub(super) fn store_producers(
    disk: &dyn Disk,
    folder: &Path,
    at: Offset,
    producers: &Producers,
) -> io::Result<()> {
    let json = serde_json::to_vec(producers)?;
    let mut bytes = crc32c::crc32c(&json).to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    let file = disk.open(&folder.join(format!("{at:020}{PRODUCERS}")), true)?;
    file.set_size(0)?;
    file.write_all_at(&bytes, 0)?;
    let mut offsets = snapshots(disk, folder)?;
    offsets.sort_unstable();
    let old = offsets.len().saturating_sub(SNAPSHOTS_KEPT);
    for offset in &offsets[..old] {
        remove_snapshot(disk, folder, *offset)?;
    }
    Ok(())
}

/// The newest whole snapshot at or below `end`; those above it are removed, because
/// they tell of batches that are gone.
pub(super) fn load_producers(
    disk: &dyn Disk,
    folder: &Path,
    end: Offset,
) -> io::Result<Option<(Offset, Producers)>> {
    let mut offsets = snapshots(disk, folder)?;
    offsets.sort_unstable();
    while let Some(offset) = offsets.pop() {
        if offset > end {
            remove_snapshot(disk, folder, offset)?;
            continue;
        }
        let bytes = disk.read(&folder.join(format!("{offset:020}{PRODUCERS}")))?;
        let whole = bytes
            .split_first_chunk::<4>()
            .filter(|(checksum, json)| crc32c::crc32c(json) == u32::from_be_bytes(**checksum));
        if let Some(producers) = whole.and_then(|(_, json)| serde_json::from_slice(json).ok()) {
            return Ok(Some((offset, producers)));
        }
    }
    Ok(None)
}

/// The offset in a name such as `00000000000000000042.log`.
pub(super) fn offset_of(name: &str, ending: &str) -> Option<Offset> {
    let digits = name.strip_suffix(ending)?;
    let plain = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn snapshots(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<Offset>> {
    Ok(disk.list(folder)?.iter().filter_map(|name| offset_of(name, PRODUCERS)).collect())
}

fn remove_snapshot(disk: &dyn Disk, folder: &Path, at: Offset) -> io::Result<()> {
    disk::remove_if_there(disk, &folder.join(format!("{at:020}{PRODUCERS}")))
}
