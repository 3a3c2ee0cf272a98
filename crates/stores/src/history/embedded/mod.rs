//! The history in the process itself, on `fjall`.
//!
//! The async face of a store that blocks: reads by id run in place (some
//! microseconds), everything else beside the runtime. Writes are acknowledged once they are synced.
//! Guarantees and layout are in `docs/stores.md`. One process at a time opens a
//! folder; dropping the history closes it, and ends its watches.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use courant_model::{
    ByteSize, Clock, SystemClock,
    limits::{HISTORY_WRITERS_MAX, STORE_CACHE_BYTES_DEFAULT},
};
use tokio::sync::Semaphore;

pub use self::changes::ChangeRetention;
use self::{seat::Seat, watch::EmbeddedChanges};
use super::{
    Changes, CollectionSpec, CollectionStats, Document, Filter, FindQuery, History, HistoryWrite,
    WatchFrom, Written,
};
use crate::StoreError;

mod changes;
mod ensure;
mod find;
mod index;
mod keys;
mod plan;
mod seat;
mod store;
mod tombstones;
mod watch;
mod write;

/// How an embedded history is opened.
#[derive(Debug, Clone)]
pub struct HistoryOptions {
    /// Stamps documents and changes, and ages the change log.
    pub clock: Arc<dyn Clock>,
    /// Memory for blocks read from disk; 64 MiB by default.
    pub block_cache: ByteSize,
    /// What watches may resume from.
    pub changes: ChangeRetention,
    /// Keeps with each change what the document was before; `false` by default, because it
    /// doubles the change log.
    pub pre_images: bool,
    /// Acknowledges a write only when it is synced to the disk; `true` by default.
    /// Else a crash of the machine, but not of the process, may take the last writes.
    pub sync: bool,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            block_cache: ByteSize::from_bytes(STORE_CACHE_BYTES_DEFAULT),
            changes: ChangeRetention::default(),
            pre_images: false,
            sync: true,
        }
    }
}

/// The embedded history.
#[derive(Debug)]
pub struct EmbeddedHistory {
    seat: Seat,
    writers: Arc<Semaphore>,
}

impl EmbeddedHistory {
    /// Opens the folder, or creates it. Blocks while a journal is replayed: about a
    /// second for 64 MiB after a crash, milliseconds else.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::Damaged`]
    /// when its files cannot be trusted, storage failures.
    pub fn open(folder: impl AsRef<Path>, options: HistoryOptions) -> Result<Self, StoreError> {
        Ok(Self {
            seat: Seat::open(folder.as_ref(), options)?,
            writers: Arc::new(Semaphore::new(HISTORY_WRITERS_MAX)),
        })
    }
}

#[async_trait]
impl History for EmbeddedHistory {
    async fn ensure_collection(&self, spec: &CollectionSpec) -> Result<(), StoreError> {
        let spec = spec.clone();
        let store = self.seat.writable().await?;
        store.run("creating a collection", move |store| store.ensure_collection(&spec)).await
    }

    async fn collections(&self) -> Result<Vec<CollectionSpec>, StoreError> {
        let store = self.seat.store()?;
        let collections = store.collections.read();
        Ok(collections.values().map(|collection| collection.spec()).collect())
    }

    /// # Cancel safety
    /// Writes that have begun are finished when the caller stops waiting.
    async fn write(
        &self,
        collection: &str,
        writes: Vec<HistoryWrite>,
    ) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        let permit = Arc::clone(&self.writers).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let name = collection.to_owned();
        let store = self.seat.writable().await?;
        store
            .run("writing to the history", move |store| {
                let _permit = permit;
                store.write(&name, writes)
            })
            .await
    }

    async fn get(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let store = self.seat.store()?;
        store.get(&*store.collection(collection)?, id)
    }

    async fn find(&self, collection: &str, query: &FindQuery) -> Result<Vec<Document>, StoreError> {
        let (name, query) = (collection.to_owned(), query.clone());
        let store = self.seat.store()?;
        store.run("searching the history", move |store| store.find(&name, &query)).await
    }

    async fn count(&self, collection: &str, filter: &Filter) -> Result<u64, StoreError> {
        let store = self.seat.store()?;
        if *filter == Filter::All {
            return store.count(collection, filter);
        }
        let (name, filter) = (collection.to_owned(), filter.clone());
        store.run("counting in the history", move |store| store.count(&name, &filter)).await
    }

    async fn watch(
        &self,
        collection: &str,
        from: WatchFrom,
    ) -> Result<Box<dyn Changes>, StoreError> {
        let store = self.seat.store()?;
        Ok(Box::new(EmbeddedChanges::begin(&store, store.handle(), collection, &from)?))
    }

    async fn stats(&self) -> Result<Vec<CollectionStats>, StoreError> {
        let store = self.seat.store()?;
        let collections = store.collections.read();
        Ok(collections
            .values()
            .map(|collection| {
                let totals = *collection.totals.lock();
                CollectionStats {
                    name: collection.name.clone(),
                    documents: totals.documents,
                    size_bytes: totals.size_bytes,
                    indexes: collection.indexes().len(),
                }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests;
