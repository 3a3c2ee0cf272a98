//! The cache in the process itself: memory, with a copy on disk.
//!
//! Reads and writes touch memory only. A flush writes what changed since the last one
//! as a batch and syncs it; opening reads the copy back. So a restart finds what was
//! flushed, and a crash loses at most what came after. Over its size the cache gives up
//! what was not used lately, also from the copy. Expired keys are gone for readers at
//! once, and leave memory with the next write to their shard, flush or statistic.

use std::{
    collections::{BTreeMap, BinaryHeap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use courant_model::{
    ByteSize, Clock, SystemClock,
    limits::{
        CACHE_MEMORY_BYTES_DEFAULT, CACHE_UNFLUSHED_KEYS_MAX, FIND_LIMIT_MAX, MESSAGE_BYTES_MAX,
    },
};
use fjall::{Database, Keyspace, PersistMode};
use indexmap::IndexMap;
use parking_lot::{Mutex, RwLock};

use self::shard::{Body, KeyRef, Memory, Shard, Table, Terms, Unflushed, wrong_kind};
use super::{Cache, CacheTableStats, CacheWrite};
use crate::{
    StoreError, engine,
    jobs::Owner,
    names::{check_name, key_fault},
};

mod disk;
mod shard;
mod versions;

/// Locks over the keys; more than there are cores, so that writers seldom meet.
const SHARDS: usize = 16;

/// Memory for blocks of the copy on disk, which is read once, at the start.
const BLOCK_CACHE: ByteSize = ByteSize::from_bytes(4 * 1024 * 1024);

/// Bytes that one batch of a flush takes.
const FLUSH_BATCH_BYTES: usize = 8 * 1024 * 1024;

const ROLE: &str = "cache";

/// How an embedded cache is opened.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// Decides what has expired.
    pub clock: Arc<dyn Clock>,
    /// Bytes of keys, values and their bookkeeping that are held; 128 MiB by default.
    pub memory: ByteSize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            memory: ByteSize::from_bytes(CACHE_MEMORY_BYTES_DEFAULT),
        }
    }
}

/// The embedded cache.
#[derive(Debug)]
pub struct EmbeddedCache {
    store: Owner<Store>,
}

impl EmbeddedCache {
    /// Opens the folder, or creates it, and restores what was flushed. Blocks while it
    /// reads the copy.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::Damaged`]
    /// when its files cannot be trusted, storage failures.
    pub fn open(folder: impl AsRef<Path>, options: CacheOptions) -> Result<Self, StoreError> {
        let store = Store::open(folder.as_ref(), options)?;
        store.restore()?;
        Ok(Self { store: Owner::new(store) })
    }
}

impl Drop for EmbeddedCache {
    /// Flushes, so that a clean stop loses nothing.
    fn drop(&mut self) {
        if let Err(error) = self.store.flush() {
            tracing::error!(%error, "the cache was not flushed at its end; what came after the last flush is lost");
        }
    }
}

#[async_trait]
impl Cache for EmbeddedCache {
    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.store.read(table, key, |table, body| match body {
            Body::Value(value) => Ok(value.clone()),
            Body::Fields(_) => Err(wrong_kind(table, key, body, "a value")),
        })
    }

    async fn get_field(
        &self,
        table: &str,
        key: &str,
        field: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let found = self.store.read(table, key, |table, body| match body {
            Body::Fields(fields) => Ok(fields.get(field).cloned()),
            Body::Value(_) => Err(wrong_kind(table, key, body, "fields")),
        })?;
        Ok(found.flatten())
    }

    async fn fields(&self, table: &str, key: &str) -> Result<IndexMap<String, Bytes>, StoreError> {
        let found = self.store.read(table, key, |table, body| match body {
            Body::Fields(fields) => Ok(fields.clone()),
            Body::Value(_) => Err(wrong_kind(table, key, body, "fields")),
        })?;
        Ok(found.unwrap_or_default())
    }

    async fn apply(
        &self,
        table: &str,
        writes: Vec<CacheWrite>,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let results = self.store.apply(table, writes)?;
        if self.store.memory.unflushed.load(Relaxed) > CACHE_UNFLUSHED_KEYS_MAX as u64 {
            self.flush().await?;
        }
        Ok(results)
    }

    async fn keys(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let (table, after) = (table.to_owned(), after.map(str::to_owned));
        self.store
            .run("listing keys of the cache", move |store| {
                Ok(store.keys(&table, after.as_deref(), limit.min(FIND_LIMIT_MAX)))
            })
            .await
    }

    async fn tables(&self) -> Result<Vec<CacheTableStats>, StoreError> {
        Ok(self.store.stats())
    }

    /// # Cancel safety
    /// A flush that has begun is finished when the caller stops waiting.
    async fn flush(&self) -> Result<(), StoreError> {
        self.store.run("flushing the cache", Store::flush).await
    }
}

/// The inside: shards in memory, and the copy on disk.
struct Store {
    clock: Arc<dyn Clock>,
    memory_bytes_max: u64,
    memory: Arc<Memory>,
    tables: RwLock<BTreeMap<String, Arc<Table>>>,
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// The shard that gives up an entry next.
    victim: AtomicUsize,
    /// Held by the flush that is under way. `None` after a flush failed: the engine
    /// takes no more then, and the next flush opens the folder again.
    copy: Mutex<Option<Copy>>,
    folder: PathBuf,
}

/// The copy on disk.
struct Copy {
    database: Database,
    entries: Keyspace,
}

impl Store {
    fn open(folder: &Path, options: CacheOptions) -> Result<Self, StoreError> {
        let CacheOptions { clock, memory } = options;
        let copy = Copy::open(folder)?;
        let memory_bytes_max = memory.as_bytes();
        let memory = Arc::new(Memory {
            used_bytes: AtomicU64::new(0),
            unflushed: AtomicU64::new(0),
            entry_bytes_max: MESSAGE_BYTES_MAX.min(memory.as_usize()),
        });
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new(Arc::clone(&memory)))).collect();
        Ok(Self {
            clock,
            memory_bytes_max,
            memory,
            tables: RwLock::default(),
            shards,
            hasher: RandomState::new(),
            victim: AtomicUsize::new(0),
            copy: Mutex::new(Some(copy)),
            folder: folder.to_owned(),
        })
    }

    /// Reads the copy into memory.
    fn restore(&self) -> Result<(), StoreError> {
        let entries = self.copy.lock().as_ref().map(|copy| copy.entries.iter());
        for item in entries.into_iter().flatten() {
            let (key, value) = item
                .into_inner()
                .map_err(|error| StoreError::storage("restoring the cache", error))?;
            let (Some((table, key)), Some(held)) =
                (disk::decode_key(&key), disk::decode_value(&value))
            else {
                return Err(engine::damaged(&self.folder, ROLE, "an entry cannot be read"));
            };
            let table = self.table_or_new(table);
            self.shard(KeyRef { table: table.number, key }).lock().restore(&table, key, held);
            self.make_room();
        }
        self.sweep();
        Ok(())
    }

    fn read<T>(
        &self,
        table: &str,
        key: &str,
        read: impl FnOnce(&Table, &Body) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let Some(table) = self.table(table) else { return Ok(None) };
        let key = KeyRef { table: table.number, key };
        let now = self.clock.now_micros();
        self.shard(key).lock().get(key, now).map(|body| read(&table, body)).transpose()
    }

    fn apply(
        &self,
        table: &str,
        writes: Vec<CacheWrite>,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        check_name("cache table", table)?;
        let table = self.table_or_new(table);
        let now = self.clock.now_micros();
        Ok(writes.into_iter().map(|write| self.write(&table, write, now)).collect())
    }

    fn write(&self, table: &Arc<Table>, write: CacheWrite, now: i64) -> Result<(), StoreError> {
        if let Some(why) = key_fault(write.key()) {
            let name = write.key().chars().take(100).collect();
            return Err(StoreError::InvalidName { kind: "cache key", name, why });
        }
        let key = KeyRef { table: table.number, key: write.key() };
        let mut shard = self.shard(key).lock();
        shard.sweep(now);
        let terms = |version, ttl| Terms { version, expires_micros: expiry(now, ttl), now };
        let result = match write {
            CacheWrite::Set { key, value, ttl, version } => {
                shard.set(table, &key, value, terms(version, ttl))
            }
            CacheWrite::SetField { key, field, value, ttl, version } => {
                shard.set_field(table, &key, (field, value), terms(version, ttl))
            }
            CacheWrite::Delete { key, version } => {
                shard.delete(table, &key, terms(version, None));
                Ok(())
            }
            CacheWrite::DeleteField { key, field, version } => {
                shard.delete_field(table, &key, &field, terms(version, None))
            }
        };
        drop(shard);
        self.make_room();
        result
    }

    /// Evicts, going round the shards, until the cache is within its size.
    fn make_room(&self) {
        let mut empty = 0;
        while self.memory.used_bytes.load(Relaxed) > self.memory_bytes_max && empty < SHARDS {
            let victim = self.victim.fetch_add(1, Relaxed) % SHARDS;
            empty = if self.shards[victim].lock().evict() { 0 } else { empty + 1 };
        }
    }

    /// The first keys in byte order, found with memory for `limit` of them.
    fn keys(&self, table: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let Some(table) = self.table(table) else { return Vec::new() };
        let now = self.clock.now_micros();
        let mut first: BinaryHeap<String> = BinaryHeap::new();
        for shard in &self.shards {
            let shard = shard.lock();
            for key in shard.keys(table.number, now) {
                let full = first.len() >= limit;
                if after.is_some_and(|after| key <= after)
                    || full && first.peek().is_none_or(|last| key >= last.as_str())
                {
                    continue;
                }
                first.push(key.to_owned());
                if full {
                    first.pop();
                }
            }
        }
        first.into_sorted_vec()
    }

    fn stats(&self) -> Vec<CacheTableStats> {
        self.sweep();
        let tables = self.tables.read();
        tables
            .values()
            .map(|table| CacheTableStats {
                table: table.name.clone(),
                keys: table.keys.load(Relaxed),
                size_bytes: table.size_bytes.load(Relaxed),
                evicted: table.evicted.load(Relaxed),
            })
            .collect()
    }

    fn sweep(&self) {
        let now = self.clock.now_micros();
        self.shards.iter().for_each(|shard| shard.lock().sweep(now));
    }

    /// Brings the copy up to memory; what fails is tried again by the next flush.
    fn flush(&self) -> Result<(), StoreError> {
        let mut copy = self.copy.lock();
        let open = match copy.take() {
            Some(open) => open,
            None => Copy::open(&self.folder)?,
        };
        let open = copy.insert(open);
        self.sweep();
        let taken: Vec<Unflushed> =
            self.shards.iter().flat_map(|shard| shard.lock().take_unflushed()).collect();
        if taken.is_empty() {
            return Ok(());
        }
        open.write(&taken).map_err(|error| {
            *copy = None;
            for (table, key, _) in taken {
                let place = KeyRef { table: table.number, key: key.text() };
                self.shard(place).lock().mark_unflushed(Arc::clone(&table), key);
            }
            StoreError::storage(format!("flushing the cache in folder {:?}", self.folder), error)
        })
    }

    fn table(&self, name: &str) -> Option<Arc<Table>> {
        self.tables.read().get(name).cloned()
    }

    fn table_or_new(&self, name: &str) -> Arc<Table> {
        if let Some(table) = self.table(name) {
            return table;
        }
        let mut tables = self.tables.write();
        let number = u32::try_from(tables.len()).unwrap_or(u32::MAX);
        let table = tables.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Table {
                number,
                name: name.to_owned(),
                keys: AtomicU64::new(0),
                size_bytes: AtomicU64::new(0),
                evicted: AtomicU64::new(0),
            })
        });
        Arc::clone(table)
    }

    fn shard(&self, key: KeyRef<'_>) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

impl Copy {
    fn open(folder: &Path) -> Result<Self, StoreError> {
        let database = engine::open(folder, ROLE, BLOCK_CACHE)?;
        let entries = engine::keyspace(&database, "entries")?;
        Ok(Self { database, entries })
    }

    fn write(&self, changed: &[Unflushed]) -> Result<(), fjall::Error> {
        let mut batch = self.database.batch();
        let mut size_bytes = 0;
        for (table, key, held) in changed {
            let key = disk::encode_key(&table.name, key.text());
            size_bytes += key.len();
            match held {
                Some(held) => {
                    let value = disk::encode_value(held);
                    size_bytes += value.len();
                    batch.insert(&self.entries, key, value);
                }
                None => batch.remove(&self.entries, key),
            }
            if size_bytes >= FLUSH_BATCH_BYTES {
                std::mem::replace(&mut batch, self.database.batch()).commit()?;
                size_bytes = 0;
            }
        }
        batch.commit()?;
        self.database.persist(PersistMode::SyncData)
    }
}

/// When a key ends that lives this long from now.
fn expiry(now: i64, ttl: Option<Duration>) -> Option<i64> {
    let ttl_micros = i64::try_from(ttl?.as_micros()).unwrap_or(i64::MAX);
    Some(now.saturating_add(ttl_micros))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("folder", &self.folder)
            .field("memory", &self.memory)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
