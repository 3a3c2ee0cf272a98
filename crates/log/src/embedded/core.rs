//! Topics and records of the embedded log; everything but groups.
//!
//! Finds partitions, builds batches from records, hands them to the workers, and
//! waits: for room in the queue, for durability, for records to read. What blocks
//! on a disk runs on blocking threads. Groups live above, in [`super::EmbeddedLog`],
//! and keep their offsets through this.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use courant_model::{Offset, TopicName, TopicPartition, limits};
use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};
use uuid::Uuid;

use super::{
    meta::{Layout, Meta, TopicMeta, create_partitions},
    topic::{self, Topic},
    workers::Workers,
};
use crate::{
    Appended, LogError, Read, ReadLimit, TopicChange, TopicDescription, TopicSettings, TopicSpec,
    batch::{BatchHeader, Compression, Marker},
    disk::doing,
    partition::{AppendRequest, Environment, Fetched, Partition, RecoveryReport, Stop},
};

/// Producer ids written ahead, so that giving one out seldom touches the disk.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// The storage of an embedded log.
#[derive(Debug)]
pub(super) struct Core {
    layout: Layout,
    pub(super) environment: Environment,
    topics: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
    /// One change of topics at a time.
    admin: tokio::sync::Mutex<()>,
    ids: Mutex<ProducerIds>,
    pub(super) cluster_id: Uuid,
    workers: Arc<Workers>,
    /// Bytes that may still be queued.
    room: Arc<Semaphore>,
    closed: AtomicBool,
    /// For batches built here.
    pub(super) compression: Compression,
    /// Keeps other processes out until the log is closed; `None` on a disk in memory.
    lock: Mutex<Option<File>>,
}

#[derive(Debug)]
struct ProducerIds {
    meta: Meta,
    next: i64,
}

/// How much a raw read may bring, and what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimit {
    /// At least one batch comes, even when it is larger.
    pub bytes: usize,
    /// Stop at the last stable offset and list aborted transactions.
    pub committed: bool,
    /// How long to wait for a batch when there is none.
    pub wait: Duration,
}

/// A batch that was handed over and is not durable yet.
#[derive(Debug)]
pub(super) struct Pending(oneshot::Receiver<Result<Appended, LogError>>);

impl Pending {
    /// Waits until the batch is as durable as the log promises.
    pub(super) async fn done(self) -> Result<Appended, LogError> {
        self.0.await.unwrap_or(Err(LogError::Closed))
    }
}

impl Core {
    /// Opens the folder's topics; blocks.
    pub(super) fn open(
        root: PathBuf,
        environment: Environment,
        lock: Option<File>,
        compression: Compression,
    ) -> Result<(Self, Vec<RecoveryReport>), LogError> {
        let layout = Layout { root };
        let disk = Arc::clone(&environment.disk);
        let failed = |error| LogError::storage(doing("opening log folder", &layout.root), error);
        layout.prepare(&*disk).map_err(failed)?;
        let meta = Meta::load_or_create(&*disk, &layout).map_err(failed)?;
        let (mut topics, mut all_reports) = (BTreeMap::new(), Vec::new());
        for name in disk.list(&layout.topics()).map_err(failed)? {
            let folder = layout.topics().join(name);
            let found = TopicMeta::load(&*disk, &folder)
                .map_err(|error| LogError::storage(doing("opening topic", &folder), error))?;
            let Some(topic_meta) = found else { continue };
            let (topic, reports) = Topic::open(&environment, &topic_meta, folder)?;
            topics.insert(topic.name.clone(), Arc::new(topic));
            all_reports.extend(reports);
        }
        let core = Self {
            layout,
            environment,
            topics: RwLock::new(topics),
            admin: tokio::sync::Mutex::default(),
            cluster_id: meta.cluster_id,
            ids: Mutex::new(ProducerIds { next: meta.next_producer_id, meta }),
            workers: Workers::new(Handle::current()),
            room: Arc::new(Semaphore::new(limits::APPEND_QUEUE_BYTES_MAX)),
            closed: AtomicBool::new(false),
            compression,
            lock: Mutex::new(lock),
        };
        Ok((core, all_reports))
    }

    pub(super) fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, LogError> {
        self.check_open()?;
        let found = self.topics.read().get(name).cloned();
        found.ok_or_else(|| LogError::UnknownTopic { topic: name.clone() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.layout.root
    }

    pub(super) fn topics(&self) -> Result<Vec<Arc<Topic>>, LogError> {
        self.check_open()?;
        Ok(self.topics.read().values().cloned().collect())
    }

    pub(super) fn partition(&self, name: &TopicPartition) -> Result<Arc<Partition>, LogError> {
        self.topic(&name.topic)?.partition(name.partition)
    }

    pub(super) async fn create_topic(
        self: &Arc<Self>,
        spec: &TopicSpec,
    ) -> Result<TopicDescription, LogError> {
        topic::check(&spec.name, spec.partitions, &spec.settings)?;
        let _admin = self.admin.lock().await;
        self.check_open()?;
        if self.topics.read().contains_key(&spec.name) {
            return Err(LogError::TopicExists { topic: spec.name.clone() });
        }
        if self.topics.read().len() >= limits::TOPICS_MAX {
            let why = format!("the log has {} topics already", limits::TOPICS_MAX);
            return Err(LogError::InvalidTopic { topic: spec.name.to_string(), why });
        }
        let TopicSpec { name, partitions, settings } = spec.clone();
        let meta = TopicMeta::new(name, Uuid::new_v4(), partitions, settings);
        let core = Arc::clone(self);
        blocking(move || {
            let disk = &*core.environment.disk;
            core.layout.create_topic(disk, &meta).map_err(|error| {
                LogError::storage(format!("creating topic \"{}\"", meta.name), error)
            })?;
            let folder = core.layout.topic(&meta.name);
            let (topic, _) = Topic::open(&core.environment, &meta, folder)?;
            let description = topic.describe();
            core.topics.write().insert(meta.name, Arc::new(topic));
            Ok(description)
        })
        .await
    }

    pub(super) async fn alter_topic(
        self: &Arc<Self>,
        name: &TopicName,
        change: &TopicChange,
    ) -> Result<TopicDescription, LogError> {
        let _admin = self.admin.lock().await;
        self.alter_alone(name, change).await
    }

    /// Has `change` edit a topic's settings while nobody else alters it; with `dry`
    /// finds out whether it could be.
    pub(super) async fn edit_settings<E: From<LogError>>(
        self: &Arc<Self>,
        name: &TopicName,
        change: impl FnOnce(&mut TopicSettings) -> Result<(), E>,
        dry: bool,
    ) -> Result<(), E> {
        let _admin = self.admin.lock().await;
        let topic = self.topic(name)?;
        let mut settings = topic.settings().as_ref().clone();
        change(&mut settings)?;
        topic::check(name, topic.count(), &settings)?;
        if !dry {
            let change = TopicChange { partitions: None, settings: Some(settings) };
            self.alter_alone(name, &change).await?;
        }
        Ok(())
    }

    /// Alters a topic; `admin` is held.
    async fn alter_alone(
        self: &Arc<Self>,
        name: &TopicName,
        change: &TopicChange,
    ) -> Result<TopicDescription, LogError> {
        let topic = self.topic(name)?;
        let (had, meta) = (topic.count(), topic.meta());
        let partitions = change.partitions.unwrap_or(had);
        let settings = change.settings.clone().unwrap_or_else(|| meta.settings.clone());
        topic::check(name, partitions, &settings)?;
        if partitions < had {
            let why = format!("it has {had} partitions, which can only grow; not to {partitions}");
            return Err(LogError::InvalidTopic { topic: name.to_string(), why });
        }
        let meta = TopicMeta::new(name.clone(), topic.id, partitions, settings);
        let core = Arc::clone(self);
        blocking(move || {
            let disk = &*core.environment.disk;
            let folder = core.layout.topic(&meta.name);
            create_partitions(disk, &folder, had..partitions)
                .and_then(|()| meta.store(disk, &folder))
                .map_err(|error| {
                    LogError::storage(format!("altering topic \"{}\"", meta.name), error)
                })?;
            topic.set_settings(&meta.settings);
            topic.grow(&core.environment, partitions)?;
            Ok(topic.describe())
        })
        .await
    }

    pub(super) async fn delete_topic(self: &Arc<Self>, name: &TopicName) -> Result<(), LogError> {
        let _admin = self.admin.lock().await;
        let topic = self.topic(name)?;
        let core = Arc::clone(self);
        let (name, gone) = (name.clone(), Arc::clone(&topic));
        let folder = blocking(move || {
            let disk = &*core.environment.disk;
            let folder = core
                .layout
                .delete_topic(disk, &name, gone.id)
                .map_err(|error| LogError::storage(format!("deleting topic \"{name}\""), error))?;
            core.topics.write().remove(&name);
            gone.partitions().iter().for_each(|partition| partition.stop(Stop::Deleted));
            Ok(folder)
        })
        .await?;
        // The topic is gone; its files may take their time, and go at the next start if
        // this process ends before.
        let disk = Arc::clone(&self.environment.disk);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = disk.remove_folder(&folder) {
                tracing::warn!(?folder, %error, "a deleted topic's files go at the next start");
            }
        });
        Ok(())
    }

    /// Hands a validated batch to its partition. Batches handed over one after the
    /// other are appended in this order.
    ///
    /// Waits only while the log's queue is full.
    pub(super) async fn submit(
        &self,
        partition: Arc<Partition>,
        batch: Bytes,
        header: BatchHeader,
        marker: Option<Marker>,
    ) -> Result<Pending, LogError> {
        let share = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room);
        let room = room.acquire_many_owned(share).await.map_err(|_| LogError::Closed)?;
        let (answer, answered) = oneshot::channel();
        if partition.enqueue(AppendRequest { batch, header, marker, answer, room }) {
            self.workers.schedule(partition);
        }
        Ok(Pending(answered))
    }

    /// As [`crate::Log::read`].
    pub(super) async fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError> {
        let partition = self.partition(partition)?;
        let mut ends = partition.watch();
        let mut next = from;
        let waited = tokio::time::sleep(limit.wait);
        tokio::pin!(waited);
        loop {
            ends.borrow_and_update();
            partition.check_readable(next)?;
            if next < partition.ends().last_stable {
                let reader = Arc::clone(&partition);
                let read = blocking(move || reader.read(next, limit)).await?;
                if !read.records.is_empty() {
                    return Ok(read);
                }
                next = read.next;
                continue;
            }
            tokio::select! {
                changed = ends.changed() => changed.map_err(|_| LogError::Closed)?,
                () = &mut waited => {
                    return Ok(Read { records: Vec::new(), next, end: partition.ends().end });
                }
            }
        }
    }

    /// Raw batches, waiting for the first one.
    pub(super) async fn fetch(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        let partition = self.partition(partition)?;
        let mut ends = partition.watch();
        let waited = tokio::time::sleep(limit.wait);
        tokio::pin!(waited);
        loop {
            ends.borrow_and_update();
            partition.check_readable(from)?;
            let reader = Arc::clone(&partition);
            let fetched =
                blocking(move || reader.fetch(from, limit.bytes, limit.committed)).await?;
            if !fetched.batches.is_empty() || waited.is_elapsed() || limit.wait.is_zero() {
                return Ok(fetched);
            }
            tokio::select! {
                changed = ends.changed() => changed.map_err(|_| LogError::Closed)?,
                () = &mut waited => {}
            }
        }
    }

    /// A producer id that was never given out before.
    pub(super) fn allocate_producer_id(&self) -> Result<i64, LogError> {
        let mut ids = self.ids.lock();
        if ids.next >= ids.meta.next_producer_id {
            let mut meta = ids.meta.clone();
            meta.next_producer_id = ids.next + PRODUCER_ID_BLOCK;
            meta.store(&*self.environment.disk, &self.layout)
                .map_err(|error| LogError::storage("keeping the producer ids given out", error))?;
            ids.meta = meta;
        }
        ids.next += 1;
        Ok(ids.next - 1)
    }

    /// Syncs what was written and not synced yet, everywhere.
    pub(super) fn flush(&self) {
        for topic in self.topics.read().values().cloned().collect::<Vec<_>>() {
            for partition in topic.partitions() {
                if let Err(error) = partition.flush() {
                    tracing::error!(partition = %partition.name(), %error, "flush failed");
                }
            }
        }
    }

    /// Refuses further calls and makes everything durable; blocks.
    pub(super) fn close(&self) -> Result<(), LogError> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.room.close();
        let topics: Vec<_> = self.topics.read().values().cloned().collect();
        let mut first_error = Ok(());
        for partition in topics.iter().flat_map(|topic| topic.partitions()) {
            first_error = first_error.and(partition.close());
        }
        self.release_folder();
        first_error
    }

    pub(super) fn release_folder(&self) {
        self.lock.lock().take();
    }

    fn check_open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::SeqCst) { Err(LogError::Closed) } else { Ok(()) }
    }
}

/// Runs what blocks on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(call).await.unwrap_or(Err(LogError::Closed))
}
