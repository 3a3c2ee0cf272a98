//! Walking the batches of a file in order, in windows of a megabyte.
//!
//! Recovery, compaction and lookups share it. It parses headers and finds whole
//! batches; checksums are the caller's to verify, because only some need them.

use std::io;

use bytes::Bytes;

use crate::{
    batch::{BatchError, BatchHeader, HEADER_BYTES},
    disk::{DiskFile, read_up_to},
};

/// Read ahead for a walk over much of a file; doubles from the least to the most,
/// so that a short lookup reads little.
const WINDOW_BYTES_MIN: usize = 64 * 1024;
const WINDOW_BYTES_MAX: usize = 1024 * 1024;

/// A walk over a file's batches.
#[derive(Debug)]
pub(crate) struct BatchScan<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    end: u64,
    window: Bytes,
    window_bytes: usize,
}

/// A whole batch and where it stands.
#[derive(Debug)]
pub(crate) struct ScannedBatch {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
}

impl<'a> BatchScan<'a> {
    pub(super) const fn new(file: &'a dyn DiskFile, at: u64, end: u64) -> Self {
        Self { file, at, end, window: Bytes::new(), window_bytes: WINDOW_BYTES_MIN }
    }

    /// The next batch; `None` at the end. After an error within the bytes the walk
    /// must not go on: nothing says where the next batch would start.
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<Result<ScannedBatch, BatchError>>> {
        if self.at >= self.end {
            return Ok(None);
        }
        self.fill(HEADER_BYTES)?;
        let header = match BatchHeader::parse(&self.window) {
            Ok(header) => header,
            Err(error) => return Ok(Some(Err(error))),
        };
        let size = header.size_bytes();
        self.fill(size)?;
        if self.window.len() < size {
            return Ok(Some(Err(BatchError::Torn { needed: size, found: self.window.len() })));
        }
        let position = self.at;
        self.at += size as u64;
        let bytes = self.window.split_to(size);
        Ok(Some(Ok(ScannedBatch { position, header, bytes })))
    }

    /// Where the walk stands.
    pub(crate) const fn position(&self) -> u64 {
        self.at
    }

    /// Sees to it that the window holds so many bytes, unless the file ends before.
    fn fill(&mut self, needed: usize) -> io::Result<()> {
        if self.window.len() >= needed {
            return Ok(());
        }
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = self.window_bytes.max(needed).min(left);
        self.window = Bytes::from(read_up_to(self.file, self.at, length)?);
        self.window_bytes = (self.window_bytes * 2).min(WINDOW_BYTES_MAX);
        Ok(())
    }
}
