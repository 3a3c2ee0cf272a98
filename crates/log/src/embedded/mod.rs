//! The embedded log: [`crate::Log`] in a folder of this machine.
//!
//! [`EmbeddedLog`] joins the storage ([`core`]) with the groups' coordinator and
//! offers both the trait that pipelines use and the raw calls that a broker needs:
//! producers' batches verbatim in, whole batches out. It also runs the upkeep.
//!
//! Groups and transactions have their coordinators elsewhere; here is what connects
//! them with the storage: where they keep their records, and how markers get into
//! partitions.

mod admit;
#[cfg(test)]
mod conformance;
mod core;
mod log;
mod meta;
mod produce;
mod producer;
mod raw;
mod state_topic;
#[cfg(test)]
mod tests;
mod topic;
#[cfg(test)]
mod transaction_tests;
mod transactions;
mod upkeep;
mod workers;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use courant_model::{Offset, PartitionId, Position, Record, Timestamp, TopicName, TopicPartition};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) use self::topic::SEGMENT_BYTES_MIN;
pub use self::{
    core::FetchLimit,
    raw::{PartitionHandle, PendingAppend},
};
use self::{
    core::{Core, Pending, blocking},
    state_topic::StateTopic,
    topic::Topic,
    transactions::Participants,
    upkeep::Upkeep,
};
pub use crate::partition::LEADER_EPOCH;
use crate::{
    Appended, LogError, LogOptions, ProducerDescription, ProducerIdentity, TRANSACTIONS_TOPIC,
    TopicDescription, TopicSettings, Transactions,
    disk::{Disk, LocalDisk, doing},
    group::{Coordinator, OFFSETS_TOPIC, TopicPartitions},
    partition::{Ends, Environment, Fetched, RecoveryReport},
};

/// A log in a folder. Cheap to clone; all clones are one log.
///
/// [`crate::Log::close`] leaves a folder that opens at once. A log that is dropped
/// instead is opened as after a crash: nothing acknowledged is lost.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    core: Arc<Core>,
    groups: Coordinator,
    transactions: Transactions,
    _upkeep: Arc<Upkeep>,
}

impl EmbeddedLog {
    /// Opens the log in a folder, creating it if it is not there, and tells what a
    /// crash made it cut off. Its blocking work runs on the current runtime.
    ///
    /// # Errors
    /// [`LogError::FolderInUse`]; storage failures.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(
        folder: &Path,
        options: LogOptions,
    ) -> Result<(Self, Vec<RecoveryReport>), LogError> {
        let root = folder.to_owned();
        let lock = blocking(move || lock(&root)).await?;
        Self::open_on(Arc::new(LocalDisk), folder, Some(lock), options).await
    }

    async fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        lock: Option<File>,
        options: LogOptions,
    ) -> Result<(Self, Vec<RecoveryReport>), LogError> {
        let LogOptions { durability, clock, compression, groups, .. } = options.clone();
        let environment = Environment { disk, clock: Arc::clone(&clock), durability };
        let root = folder.to_owned();
        let (core, reports) =
            blocking(move || Core::open(root, environment, lock, compression)).await?;
        let core = Arc::new(core);
        let offsets = Arc::new(StateTopic::new(Arc::clone(&core), OFFSETS_TOPIC)?);
        let topics = partition_counts(&core)?;
        let store = Arc::clone(&offsets) as _;
        let groups = Coordinator::open(store, topics, Arc::clone(&clock), groups).await?;
        let store = Arc::new(StateTopic::new(Arc::clone(&core), TRANSACTIONS_TOPIC)?);
        let participants = Participants::new(Arc::clone(&core), offsets, groups.clone());
        let transactions =
            Transactions::open(store, Arc::new(participants), groups.clone(), clock).await?;
        let upkeep = Arc::new(Upkeep::start(&core, &options));
        Ok((Self { core, groups, transactions, _upkeep: upkeep }, reports))
    }

    /// The groups' coordinator, for members that come over the network.
    pub const fn coordinator(&self) -> &Coordinator {
        &self.groups
    }

    /// The transactions' coordinator, for producers that come over the network.
    pub const fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// The idempotent producers that a partition remembers, by id.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`].
    pub async fn producers(
        &self,
        partition: &TopicPartition,
    ) -> Result<Vec<ProducerDescription>, LogError> {
        let partition = self.core.partition(partition)?;
        blocking(move || Ok(partition.producers())).await
    }

    /// Stays the same for the life of the folder.
    pub fn cluster_id(&self) -> Uuid {
        self.core.cluster_id
    }

    /// The folder that holds everything.
    pub fn folder(&self) -> &Path {
        self.core.folder()
    }

    /// Whether a topic is the log's own: anybody may read it, and only the log writes.
    pub fn is_internal(&self, topic: &TopicName) -> bool {
        is_internal(topic)
    }

    /// The id of a topic.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::Closed`].
    pub fn topic_id(&self, name: &TopicName) -> Result<Uuid, LogError> {
        Ok(self.core.topic(name)?.id)
    }

    /// The topic of an id.
    ///
    /// # Errors
    /// [`LogError::Closed`].
    pub fn topic_of(&self, id: Uuid) -> Result<Option<TopicName>, LogError> {
        let found = self.core.topics()?.into_iter().find(|topic| topic.id == id);
        Ok(found.map(|topic| topic.name.clone()))
    }

    /// Has `change` edit a topic's settings while nobody else alters the topic; with
    /// `dry` only finds out whether that is allowed.
    ///
    /// # Errors
    /// Those of `change`; [`LogError::UnknownTopic`], [`LogError::InvalidTopic`]; storage
    /// failures.
    pub async fn edit_settings<E: From<LogError>>(
        &self,
        name: &TopicName,
        change: impl FnOnce(&mut TopicSettings) -> Result<(), E>,
        dry: bool,
    ) -> Result<(), E> {
        check_public(name)?;
        self.core.edit_settings(name, change, dry).await
    }

    /// All topics by name, the log's own among them.
    ///
    /// # Errors
    /// [`LogError::Closed`].
    pub fn all_topics(&self) -> Result<Vec<TopicDescription>, LogError> {
        Ok(self.core.topics()?.iter().map(|topic| topic.describe()).collect())
    }

    /// The names of topics with these ids; those that do not exist are left out.
    ///
    /// # Errors
    /// [`LogError::Closed`].
    pub fn topic_names(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, TopicName>, LogError> {
        let (topics, ids) = (self.core.topics()?, ids.iter().collect::<HashSet<_>>());
        let asked = topics.iter().filter(|topic| ids.contains(&topic.id));
        Ok(asked.map(|topic| (topic.id, topic.name.clone())).collect())
    }

    /// Appends one batch as a producer encoded it; only its place is written into it,
    /// unless the topic has a compression or timestamps of its own. Answers when it is
    /// as durable as the log promises. A repeated batch of an idempotent producer is
    /// answered with its first offsets.
    ///
    /// # Errors
    /// As [`Self::submit_batch`]; [`LogError::OutOfOrderSequence`];
    /// [`LogError::ProducerFenced`]; [`LogError::InvalidTransactionState`] for a batch of a
    /// transaction that did not take the partition in, or one outside of the transaction
    /// that its producer has open there; storage failures.
    ///
    /// # Cancel safety
    /// Dropped, the batch may still be appended.
    pub async fn append_batch(
        &self,
        partition: &TopicPartition,
        bytes: Bytes,
    ) -> Result<Appended, LogError> {
        self.submit_batch(partition, bytes).await?.done().await
    }

    /// Hands a batch over as [`Self::append_batch`] does; the answer comes from
    /// [`PendingAppend::done`]. Batches handed over one after the other are appended in
    /// this order. Waits only while the log's queue is full.
    ///
    /// # Errors
    /// [`LogError::CorruptBatch`] for a damaged batch; [`LogError::InvalidRecord`] for one
    /// that was never well formed, and for control batches, which only the log itself
    /// writes; [`LogError::InvalidRecord`], [`LogError::InvalidTimestamp`] by the topic's
    /// settings; [`LogError::RecordTooLarge`]; [`LogError::InvalidTopic`] for the log's own
    /// topics; unknown topics and partitions.
    pub async fn submit_batch(
        &self,
        partition: &TopicPartition,
        bytes: Bytes,
    ) -> Result<PendingAppend, LogError> {
        check_public(&partition.topic)?;
        let topic = self.core.topic(&partition.topic)?;
        let found = topic.partition(partition.partition)?;
        let now = self.core.environment.clock.now();
        let settings = topic.settings();
        let (bytes, header) = if admit::takes_long(&settings, &bytes) {
            let partition = partition.clone();
            blocking(move || admit::admit(&partition, &settings, bytes, now)).await?
        } else {
            admit::admit(partition, &settings, bytes, now)?
        };
        Ok(PendingAppend(self.core.submit(found, bytes, header, None).await?))
    }

    /// Whole batches from the one that holds `from`, waiting for the first.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] below the start or above the end; unknown topics
    /// and partitions; storage failures.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn fetch(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        self.core.fetch(partition, from, limit).await
    }

    /// A partition to be used often.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`].
    pub fn partition(&self, partition: &TopicPartition) -> Result<PartitionHandle, LogError> {
        Ok(PartitionHandle(self.core.partition(partition)?))
    }

    /// Follows how far a partition may be read, for readers that wait for several.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`].
    pub fn watch(&self, partition: &TopicPartition) -> Result<watch::Receiver<Ends>, LogError> {
        Ok(self.core.partition(partition)?.watch())
    }

    /// The first record whose timestamp is `at` or later; `None` past the end.
    ///
    /// # Errors
    /// Unknown topics and partitions; storage failures.
    pub async fn record_at(
        &self,
        partition: &TopicPartition,
        at: Timestamp,
    ) -> Result<Option<(Timestamp, Offset)>, LogError> {
        let partition = self.core.partition(partition)?;
        blocking(move || partition.record_at(at)).await
    }

    /// The largest timestamp of a partition and the first record that has it.
    ///
    /// # Errors
    /// Unknown topics and partitions; storage failures.
    pub async fn largest_timestamp(
        &self,
        partition: &TopicPartition,
    ) -> Result<Option<(Timestamp, Offset)>, LogError> {
        let partition = self.core.partition(partition)?;
        blocking(move || partition.largest_timestamp()).await
    }

    /// A producer id that no producer of this folder ever had.
    ///
    /// # Errors
    /// Storage failures.
    pub async fn allocate_producer_id(&self) -> Result<i64, LogError> {
        let core = Arc::clone(&self.core);
        blocking(move || core.allocate_producer_id()).await
    }

    /// Removes old records and compacts, everywhere, as of `now`. Runs by itself
    /// every [`LogOptions::housekeeping`].
    ///
    /// # Errors
    /// The first storage failure; the other partitions were kept all the same.
    pub async fn housekeep(&self, now: Timestamp) -> Result<(), LogError> {
        let core = Arc::clone(&self.core);
        blocking(move || core.housekeep(now)).await
    }

    /// Lets another log open the folder, as the end of this process would.
    #[cfg(test)]
    fn release_folder(&self) {
        self.core.release_folder();
    }

    fn tell_groups(&self) -> Result<(), LogError> {
        self.groups.topics_changed(|| partition_counts(&self.core))
    }
}

/// Appends records and waits; one position for each, in order.
async fn append(
    core: &Core,
    topic: &TopicName,
    partition: Option<PartitionId>,
    records: Vec<Record>,
) -> Result<Vec<Position>, LogError> {
    let mut positions = vec![None; records.len()];
    for Submitted { partition, places, pending } in
        submit(core, topic, partition, records, None).await?
    {
        let appended = pending.done().await?;
        for (offset, place) in (appended.base_offset..).zip(places) {
            positions[place] = Some(Position { partition: partition.clone(), offset });
        }
    }
    Ok(positions.into_iter().flatten().collect())
}

/// A batch of records that was handed over.
#[derive(Debug)]
struct Submitted {
    partition: TopicPartition,
    /// Indexes into the caller's records, in order.
    places: Vec<usize>,
    pending: Pending,
}

/// Packs records and hands them over, in order; as part of a transaction if it has a
/// producer.
async fn submit(
    core: &Core,
    topic: &TopicName,
    partition: Option<PartitionId>,
    records: Vec<Record>,
    producer: Option<ProducerIdentity>,
) -> Result<Vec<Submitted>, LogError> {
    let topic = core.topic(topic)?;
    let packed = pack(core, &topic, partition, records, producer).await?;
    submit_packed(core, &topic, packed).await
}

async fn submit_packed(
    core: &Core,
    topic: &Topic,
    packed: Vec<produce::Packed>,
) -> Result<Vec<Submitted>, LogError> {
    let mut submitted = Vec::with_capacity(packed.len());
    for batch in packed {
        let to = topic.partition(batch.partition)?;
        let partition = to.name().clone();
        let pending = core.submit(to, batch.batch, batch.header, None).await?;
        submitted.push(Submitted { partition, places: batch.places, pending });
    }
    Ok(submitted)
}

/// Packs on the caller's thread what is quickly packed, the rest on a blocking one.
async fn pack(
    core: &Core,
    topic: &Arc<Topic>,
    partition: Option<PartitionId>,
    records: Vec<Record>,
    producer: Option<ProducerIdentity>,
) -> Result<Vec<produce::Packed>, LogError> {
    let now = core.environment.clock.now();
    let compression = topic.settings().compression.unwrap_or(core.compression);
    let packing = produce::Packing { compression, now, producer };
    let bytes: usize = records.iter().map(Record::size_bytes).sum();
    if bytes <= courant_model::limits::APPEND_BATCH_BYTES {
        return produce::pack(topic, partition, records, packing);
    }
    let topic = Arc::clone(topic);
    blocking(move || produce::pack(&topic, partition, records, packing)).await
}

fn partition_counts(core: &Core) -> Result<TopicPartitions, LogError> {
    Ok(core.topics()?.iter().map(|topic| (topic.name.clone(), topic.count())).collect())
}

/// Takes the folder for this process, for as long as the file is open.
fn lock(folder: &Path) -> Result<File, LogError> {
    let failed = |error| LogError::storage(doing("locking data folder", folder), error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(LogError::FolderInUse { folder: folder.to_owned() })
        }
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Whether a topic is the log's own.
fn is_internal(topic: &TopicName) -> bool {
    matches!(topic.as_str(), OFFSETS_TOPIC | TRANSACTIONS_TOPIC)
}

/// Keeps hands off the log's own topics; reading them is free.
fn check_public(topic: &TopicName) -> Result<(), LogError> {
    if is_internal(topic) {
        let why = "it is the log's own, and kept by it alone".to_owned();
        return Err(LogError::InvalidTopic { topic: topic.to_string(), why });
    }
    Ok(())
}
