//! The storage engine under both stores: how a folder is opened, and how its
//! failures are told.
//!
//! `fjall` refuses a damaged folder with terse errors, or with a panic where one of
//! its own assumptions breaks. Here both become a [`StoreError`] that names the
//! folder and the way out. Nothing here knows a key or a document.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use courant_model::{
    ByteSize,
    limits::{STORE_JOURNAL_BYTES_MAX, STORE_MEMTABLE_BYTES_MAX},
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::StoreError;

/// Threads that flush and compact; two keep up with one writer.
const WORKER_THREADS: usize = 2;

/// Opens or creates the database of a store. `role` is `history` or `cache`.
///
/// # Errors
/// [`StoreError::InUse`], [`StoreError::Damaged`], or a storage failure.
pub(crate) fn open(
    folder: &Path,
    role: &'static str,
    block_cache: ByteSize,
) -> Result<Database, StoreError> {
    let attempt = || {
        std::fs::create_dir_all(folder)?;
        Database::builder(folder)
            .cache_size(block_cache.as_bytes())
            .max_journaling_size(STORE_JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .open()
    };
    match catch_unwind(AssertUnwindSafe(attempt)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(refused(folder, role, error)),
        Err(_) => Err(damaged(folder, role, "its files contradict each other")),
    }
}

/// Opens or creates a keyspace.
///
/// # Errors
/// Storage failures.
pub(crate) fn keyspace(database: &Database, name: &str) -> Result<Keyspace, StoreError> {
    database
        .keyspace(name, || {
            KeyspaceCreateOptions::default().max_memtable_size(STORE_MEMTABLE_BYTES_MAX)
        })
        .map_err(|error| StoreError::storage(format!("opening keyspace {name:?}"), error))
}

/// A store whose files cannot be trusted.
pub(crate) fn damaged(folder: &Path, role: &'static str, why: impl Into<String>) -> StoreError {
    StoreError::Damaged { store: format!("{role} in folder {folder:?}"), why: why.into() }
}

/// The answer while a store is opened again after a failed write.
pub(crate) fn not_open(role: &'static str) -> StoreError {
    let why = std::io::Error::other("it is opened again after a failed write; try again");
    StoreError::storage(format!("reaching the {role}"), why)
}

fn refused(folder: &Path, role: &'static str, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Locked => StoreError::InUse { store: format!("{role} in folder {folder:?}") },
        fjall::Error::Io(source) if !contents_are_bad(&source) => {
            StoreError::storage(format!("opening the {role} in folder {folder:?}"), source)
        }
        other => damaged(folder, role, other.to_string()),
    }
}

/// Whether an I/O error speaks of what the files hold, not of reaching them.
fn contents_are_bad(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}
