//! Which store is open now, and its replacement after a write failed.
//!
//! The engine takes no write after one failed (a full disk, say), because it cannot
//! know what reached the disk; opening the folder again finds out. So the next write
//! opens it again, and a history recovers without a restart once the disk is mended.
//! Nothing acknowledged is lost on the way; watches end and resume from their tokens.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::Mutex;

use super::{
    HistoryOptions,
    store::{ROLE, Store},
};
use crate::{StoreError, engine, jobs::Owner};

#[derive(Debug)]
pub(super) struct Seat {
    folder: PathBuf,
    options: HistoryOptions,
    /// `None` while the folder is opened again, and after that failed.
    store: RwLock<Option<Arc<Owner<Store>>>>,
    /// Held by the write that opens the folder again.
    mending: Mutex<()>,
}

impl Seat {
    pub(super) fn open(folder: &Path, options: HistoryOptions) -> Result<Self, StoreError> {
        let store = Owner::new(Store::open(folder, options.clone())?);
        Ok(Self {
            folder: folder.to_owned(),
            options,
            store: RwLock::new(Some(Arc::new(store))),
            mending: Mutex::new(()),
        })
    }

    /// The store, for a question.
    ///
    /// # Errors
    /// A retryable failure while there is none.
    pub(super) fn store(&self) -> Result<Arc<Owner<Store>>, StoreError> {
        self.store.read().clone().ok_or_else(|| engine::not_open(ROLE))
    }

    /// The store, for a write; opened again when an earlier write failed.
    ///
    /// # Cancel safety
    /// Safe: the next write goes on with it.
    ///
    /// # Errors
    /// As opening; a folder that questions still hold is a retryable failure.
    pub(super) async fn writable(&self) -> Result<Arc<Owner<Store>>, StoreError> {
        if let Some(store) = self.sound() {
            return Ok(store);
        }
        let _one_at_a_time = self.mending.lock().await;
        if let Some(store) = self.sound() {
            return Ok(store);
        }
        let failed = self.store.write().take();
        let (folder, options) = (self.folder.clone(), self.options.clone());
        let opening = tokio::task::spawn_blocking(move || {
            drop(failed);
            Store::open(&folder, options)
        });
        let opened = match opening.await.map_err(|_| StoreError::Closed)? {
            Err(StoreError::InUse { .. }) => Err(engine::not_open(ROLE)),
            other => other,
        }?;
        tracing::warn!(folder = ?self.folder, "the history was opened again after a failed write");
        let store = Arc::new(Owner::new(opened));
        *self.store.write() = Some(Arc::clone(&store));
        Ok(store)
    }

    fn sound(&self) -> Option<Arc<Owner<Store>>> {
        self.store.read().clone().filter(|store| !store.failed())
    }
}
