//! The inside of the embedded history: its keyspaces, its collections, its opening.
//!
//! Everything here blocks; `mod.rs` runs it beside the async runtime. One writer at a
//! time changes anything ([`Store::writer`]); readers take snapshots. Invariant: what
//! memory holds of a collection is what `meta` holds of it, once the writer is idle.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use courant_model::Clock;
use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Readable, Slice, Snapshot};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    HistoryOptions,
    changes::{ChangeLog, reading, unreadable},
    index::Index,
    keys::{
        CollectionEntry, FORMAT, FORMAT_WITHOUT_VERSIONS, INDEX_KEYSPACE, IdEntry, MetaKey, Number,
        Stamp, Totals, id_key, index_keyspace, stamped,
    },
    tombstones::Tombstones,
    write::Queue,
};
use crate::{CollectionSpec, Document, StoreError, engine};

pub(super) struct Store {
    pub(super) database: Database,
    pub(super) meta: Keyspace,
    pub(super) documents: Keyspace,
    pub(super) ids: Keyspace,
    pub(super) tombstones: Tombstones,
    pub(super) changes: ChangeLog,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pre_images: bool,
    /// How far a commit goes before it is acknowledged.
    persist: PersistMode,
    pub(super) collections: RwLock<BTreeMap<String, Arc<Collection>>>,
    pub(super) queue: Queue,
    pub(super) writer: Mutex<Writer>,
    /// A commit failed; the engine takes no more.
    failed: AtomicBool,
    folder: PathBuf,
}

/// What only the one writer knows.
#[derive(Debug)]
pub(super) struct Writer {
    /// The last stamp that was given out.
    pub(super) last: Stamp,
    /// Tombstones from before are gone.
    pub(super) tombstones_from: Stamp,
    /// The next number for a collection or index.
    pub(super) next_number: Number,
}

/// A collection in memory.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) name: String,
    pub(super) number: Number,
    pub(super) identity: u64,
    /// Swapped under the write lock; a reader takes its snapshot under the read lock,
    /// so that its indexes and its documents are of one moment.
    pub(super) indexes: RwLock<Arc<[Arc<Index>]>>,
    pub(super) totals: Mutex<Totals>,
    /// Stamp of the last durable change; wakes watches.
    pub(super) durable: watch::Sender<Stamp>,
}

impl Store {
    /// Opens or creates the folder.
    pub(super) fn open(folder: &Path, options: HistoryOptions) -> Result<Self, StoreError> {
        let HistoryOptions { clock, block_cache, changes, pre_images, sync } = options;
        let database = engine::open(folder, ROLE, block_cache)?;
        let meta = engine::keyspace(&database, "meta")?;
        check_format(folder, &meta)?;
        let documents = engine::keyspace(&database, "documents")?;
        let ids = engine::keyspace(&database, "ids")?;
        let tombstones = Tombstones::open(&database)?;
        let changes = ChangeLog::open(&database, &meta, changes)?;
        let collections = load(&database, &meta)?;
        let numbers = collections.values().flat_map(|collection| {
            let indexes = collection.indexes.read();
            let numbers: Vec<_> = indexes.iter().map(|index| index.number).collect();
            numbers.into_iter().chain([collection.number])
        });
        let writer = Writer {
            next_number: numbers.max().unwrap_or(0) + 1,
            last: collections.values().map(|c| c.totals.lock().last).max().unwrap_or(0),
            tombstones_from: 0,
        };
        Ok(Self {
            database,
            meta,
            documents,
            ids,
            tombstones,
            changes,
            clock,
            pre_images,
            persist: if sync { PersistMode::SyncData } else { PersistMode::Buffer },
            collections: RwLock::new(collections),
            queue: Queue::default(),
            writer: Mutex::new(writer),
            failed: AtomicBool::new(false),
            folder: folder.to_owned(),
        })
    }

    /// A batch that is atomic, and durable when its commit answers.
    pub(super) fn durable_batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(self.persist))
    }

    /// Commits a batch.
    ///
    /// # Errors
    /// A storage failure, after which the folder must be opened again.
    pub(super) fn commit(&self, batch: OwnedWriteBatch, action: &str) -> Result<(), StoreError> {
        batch.commit().map_err(|error| {
            self.fail();
            StoreError::storage(action, error)
        })
    }

    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// # Errors
    /// [`StoreError::UnknownCollection`].
    pub(super) fn collection(&self, name: &str) -> Result<Arc<Collection>, StoreError> {
        self.collections
            .read()
            .get(name)
            .cloned()
            .ok_or_else(|| StoreError::UnknownCollection { collection: name.to_owned() })
    }

    /// One document by id, as of now.
    pub(super) fn get(
        &self,
        collection: &Collection,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        // Both reads are of one snapshot: between two, the document may be replaced.
        let snapshot = self.database.snapshot();
        let Some(stamp) = self.stamp_of(&snapshot, collection, id)? else { return Ok(None) };
        self.document(&snapshot, collection, stamp).map(Some)
    }

    pub(super) fn stamp_of(
        &self,
        snapshot: &Snapshot,
        collection: &Collection,
        id: &str,
    ) -> Result<Option<Stamp>, StoreError> {
        let found = snapshot.get(&self.ids, id_key(collection.number, id)).map_err(reading)?;
        let entry = found.map(|bytes| IdEntry::decode(&bytes).ok_or_else(broken_id));
        entry.transpose().map(|entry| entry.map(|entry| entry.stamp))
    }

    /// The document at a stamp that an id or index named.
    pub(super) fn document(
        &self,
        snapshot: &Snapshot,
        collection: &Collection,
        stamp: Stamp,
    ) -> Result<Document, StoreError> {
        let body =
            snapshot.get(&self.documents, stamped(collection.number, stamp)).map_err(reading)?;
        body.as_ref().and_then(parse).ok_or_else(|| self.broken_document(collection, stamp))
    }

    pub(super) fn broken_document(&self, collection: &Collection, stamp: Stamp) -> StoreError {
        engine::damaged(
            &self.folder,
            ROLE,
            format!("document {stamp:#x} of collection {:?} cannot be read", collection.name),
        )
    }
}

/// An id whose entry is no entry.
pub(super) fn broken_id() -> StoreError {
    unreadable("entry of an id")
}

/// Reads a document's stored form.
pub(super) fn parse(body: &Slice) -> Option<Document> {
    serde_json::from_slice(body).ok()
}

impl Collection {
    pub(super) fn new(name: String, entry: &CollectionEntry, totals: Totals) -> Self {
        Self {
            name,
            number: entry.number,
            identity: entry.identity,
            indexes: RwLock::new(Arc::default()),
            totals: Mutex::new(totals),
            durable: watch::Sender::new(totals.last),
        }
    }

    pub(super) fn indexes(&self) -> Arc<[Arc<Index>]> {
        Arc::clone(&self.indexes.read())
    }

    pub(super) fn spec(&self) -> CollectionSpec {
        let indexes = self.indexes().iter().map(|index| index.fields.clone()).collect();
        CollectionSpec { name: self.name.clone(), indexes }
    }

    /// What `meta` keeps of the collection, with these indexes.
    pub(super) fn entry(&self, indexes: &[Arc<Index>]) -> Vec<u8> {
        let entry = CollectionEntry {
            number: self.number,
            identity: self.identity,
            indexes: indexes.iter().map(|index| index.entry()).collect(),
        };
        serde_json::to_vec(&entry).expect("numbers and paths are always JSON")
    }
}

fn check_format(folder: &Path, meta: &Keyspace) -> Result<(), StoreError> {
    let key = MetaKey::Format.encode();
    match meta.get(&key).map_err(reading)?.as_deref() {
        Some([FORMAT]) => return Ok(()),
        None | Some([FORMAT_WITHOUT_VERSIONS]) => {}
        Some(other) => {
            return Err(engine::damaged(
                folder,
                ROLE,
                format!("its format is {other:?}; this version reads formats up to [{FORMAT}]"),
            ));
        }
    }
    meta.insert(key, [FORMAT])
        .map_err(|error| StoreError::storage("writing the format of the history", error))
}

/// Reads the collections, and deletes indexes that a crash left without an entry.
fn load(
    database: &Database,
    meta: &Keyspace,
) -> Result<BTreeMap<String, Arc<Collection>>, StoreError> {
    let broken = || unreadable("entry of a collection");
    let mut collections = BTreeMap::new();
    let mut known = Vec::new();
    for item in meta.prefix(MetaKey::COLLECTIONS) {
        let (key, value) = item.into_inner().map_err(reading)?;
        let name = std::str::from_utf8(&key[1..]).map_err(|_| broken())?.to_owned();
        let entry: CollectionEntry = serde_json::from_slice(&value).map_err(|_| broken())?;
        let totals = meta.get(MetaKey::Totals(entry.number).encode()).map_err(reading)?;
        let totals = match totals {
            Some(bytes) => Totals::decode(&bytes).ok_or_else(broken)?,
            None => Totals::default(),
        };
        let collection = Collection::new(name.clone(), &entry, totals);
        let mut indexes = Vec::with_capacity(entry.indexes.len());
        for index in entry.indexes {
            let keyspace_name = index_keyspace(index.number);
            let keyspace = engine::keyspace(database, &keyspace_name)?;
            known.push(keyspace_name);
            indexes.push(Arc::new(Index::new(index, keyspace)));
        }
        *collection.indexes.write() = indexes.into();
        collections.insert(name, Arc::new(collection));
    }
    for name in database.list_keyspace_names() {
        if name.starts_with(INDEX_KEYSPACE) && !known.iter().any(|known| *known == *name) {
            let orphan = engine::keyspace(database, &name)?;
            database.delete_keyspace(orphan).map_err(|error| {
                StoreError::storage(format!("deleting keyspace {name:?}"), error)
            })?;
        }
    }
    Ok(collections)
}

pub(super) const ROLE: &str = "history";

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("folder", &self.folder)
            .field("collections", &self.collections.read().keys())
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}
