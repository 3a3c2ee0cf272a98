//! The file system as the log needs it: a dozen calls, replaceable in tests.
//!
//! [`LocalDisk`] passes each call to the operating system. The tests' fake loses
//! what was not synced, runs full and fails to sync, which no real disk does on
//! demand. Files are read and written by position only, so that nobody shares a
//! cursor. All calls block; callers keep them off the asynchronous threads.

#[cfg(test)]
pub(crate) mod fake;
mod local;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use local::LocalDisk;

/// A file system.
pub(crate) trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file for reading and writing; creates it when asked to.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Names in a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    fn create_folders(&self, folder: &Path) -> io::Result<()>;

    /// Renames a file or folder over what was there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes a folder's entries durable: files created, renamed and removed in it.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads what is there at a position, up to the buffer's length.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    fn set_size(&self, size: u64) -> io::Result<()>;

    fn size(&self) -> io::Result<u64>;

    /// Makes the contents and the size durable.
    fn sync(&self) -> io::Result<()>;
}

/// Replaces a small file as a whole: after a crash it is the old or the new one.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(TEMPORARY);
    let temporary = path.with_file_name(name);
    let file = disk.open(&temporary, true)?;
    file.set_size(0)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_folder(path.parent().unwrap_or(path))
}

/// Ending of a file that is being written to replace another.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Reads exactly `length` bytes at a position, or what there is before the end.
pub(crate) fn read_up_to(file: &dyn DiskFile, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// What was attempted on a path, for an error.
pub(crate) fn doing(verb: &str, path: &Path) -> String {
    format!("{verb} {:?}", PathBuf::from(path))
}
