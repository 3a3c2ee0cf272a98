//! Appends: from records to acknowledgements.
//!
//! Records get their partition here, by Kafka's murmur2, so that every implementation
//! of the log agrees. One idempotent producer takes them in the order of the calls; a
//! bounded number of bytes is on its way, further calls wait. What can be refused is
//! refused before anything is sent. A topic whose largest batch is smaller than a
//! usual one has a producer that packs each record by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use courant_log::{LogError, partition_of};
use courant_model::{
    Offset, PartitionId, Position, Record, TopicName, TopicPartition,
    limits::{APPEND_QUEUE_BYTES_MAX, KAFKA_DELIVERY_MS_MAX, KAFKA_LINGER_MS, MESSAGE_BYTES_MAX},
};
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    ClusterOptions,
    cluster::{CALL, Core, blocking, bury, code_of, failure},
    context::Context,
    topics::{LOOKS, PAUSE, TopicFacts},
};

/// Bytes of a batch, headers included; Kafka's own default bound for a topic is larger.
const BATCH_BYTES: usize = 1_000_000;

/// What a batch adds to its records, and a record to its key, value and headers.
const BATCH_OVERHEAD: usize = 61;
const RECORD_OVERHEAD: usize = 32;

/// Records sent before other tasks of the thread have a turn.
const SENT_AT_ONCE: usize = 1_024;

pub(crate) type Sender = ThreadedProducer<Context>;

/// The producers of one log, opened when they are needed.
pub(crate) struct Producers {
    cluster: Arc<str>,
    batching: Mutex<Option<Arc<Sender>>>,
    /// For topics whose batches must be small.
    single: Mutex<Option<Arc<Sender>>>,
    /// Bytes that may be on their way.
    room: Arc<Semaphore>,
    /// Where the next records without a key go.
    turn: AtomicU32,
}

/// One record on its way.
#[derive(Debug)]
pub(crate) struct Delivery {
    call: Arc<Call>,
    index: usize,
}

/// One call whose records are on their way.
#[derive(Debug)]
struct Call {
    state: Mutex<CallState>,
    /// Holds the room until all are there, also when nobody waits any more.
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct CallState {
    left: usize,
    offsets: Vec<Offset>,
    error: Option<KafkaError>,
    answer: Option<oneshot::Sender<Result<Vec<Offset>, KafkaError>>>,
}

impl Delivery {
    /// The cluster has taken the record, or it never will.
    pub(crate) fn done(self, result: Result<Offset, KafkaError>) {
        let mut state = self.call.state.lock();
        match result {
            Ok(offset) => state.offsets[self.index] = offset,
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        state.finish(1);
    }
}

impl CallState {
    fn finish(&mut self, records: usize) {
        self.left -= records;
        if self.left > 0 {
            return;
        }
        let result = match self.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.offsets)),
        };
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(result);
        }
    }
}

/// Records with their partitions, in order.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) records: Vec<Record>,
    partitions: Vec<PartitionId>,
    single: bool,
}

impl Routed {
    /// Whether the records must reach the cluster before others are sent, lest they share
    /// a batch that is too large for the topic.
    pub(crate) fn is_alone(&self) -> bool {
        self.single
    }

    /// What one producer may send at a time: everything, but where batches must be small
    /// each record by itself.
    pub(crate) fn parts(self) -> Vec<Self> {
        if !self.single {
            return vec![self];
        }
        let alone = |(record, partition)| Self {
            records: vec![record],
            partitions: vec![partition],
            single: true,
        };
        self.records.into_iter().zip(self.partitions).map(alone).collect()
    }
}

impl Producers {
    pub(crate) fn new(cluster: Arc<str>) -> Self {
        Self {
            cluster,
            batching: Mutex::default(),
            single: Mutex::default(),
            room: Arc::new(Semaphore::new(APPEND_QUEUE_BYTES_MAX)),
            turn: AtomicU32::new(0),
        }
    }

    fn get(&self, options: &ClusterOptions, single: bool) -> Result<Arc<Sender>, LogError> {
        let mut slot = if single { self.single.lock() } else { self.batching.lock() };
        if let Some(producer) = &*slot {
            return Ok(Arc::clone(producer));
        }
        let mut config = sending(options, single);
        config.set("message.timeout.ms", KAFKA_DELIVERY_MS_MAX.to_string());
        let context = Context { cluster: Arc::clone(&self.cluster) };
        let producer: Sender = config
            .create_with_context(context)
            .map_err(|error| failure(&self.cluster, "opening a producer", &error))?;
        let producer = Arc::new(producer);
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// A producer that failed for good is replaced by the next call's.
    fn give_up(&self, producer: &Arc<Sender>) {
        for slot in [&self.batching, &self.single] {
            let mut slot = slot.lock();
            if slot.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, producer)) {
                bury(slot.take());
            }
        }
    }

    /// Waits until everything sent is there, and ends the producers. Blocks.
    pub(crate) fn close(&self) -> Result<(), LogError> {
        let mut closed = Ok(());
        for slot in [&self.batching, &self.single] {
            let Some(producer) = slot.lock().take() else { continue };
            let flushed = producer.flush(Duration::from_millis(KAFKA_DELIVERY_MS_MAX));
            if let Err(error) = flushed {
                closed = Err(failure(&self.cluster, "flushing appended records", &error));
            }
        }
        closed
    }
}

/// The configuration of a producer, but for what a transactional one has of its own.
pub(crate) fn sending(options: &ClusterOptions, single: bool) -> ClientConfig {
    let mut config = options.client_config();
    config.set_log_level(RDKafkaLogLevel::Warning);
    config.set("acks", "all").set("enable.idempotence", "true");
    config.set("compression.type", options.compression.name());
    config.set("linger.ms", KAFKA_LINGER_MS.to_string());
    config.set("batch.size", BATCH_BYTES.to_string());
    config.set("message.max.bytes", (MESSAGE_BYTES_MAX + BATCH_BYTES).to_string());
    // The room is counted by us; librdkafka's own bounds must never be met first.
    config.set("queue.buffering.max.messages", "0");
    config.set("queue.buffering.max.kbytes", (APPEND_QUEUE_BYTES_MAX / 1024 * 4).to_string());
    config.set("retry.backoff.ms", "50");
    config.set("topic.metadata.propagation.max.ms", "5000");
    if single {
        config.set("batch.num.messages", "1");
    }
    config
}

impl Core {
    /// Appends, and waits for the acknowledgements of all in-sync replicas.
    pub(crate) async fn append(
        self: &Arc<Self>,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<Vec<Position>, LogError> {
        let routed = self.route(topic, partition, records).await?;
        if routed.records.is_empty() {
            return Ok(Vec::new());
        }
        let (core, single) = (Arc::clone(self), routed.single);
        let producer =
            blocking(&self.cluster, move || core.producers.get(&core.options, single)).await?;
        let answer = self.send(&producer, topic, &routed).await?;
        // Every delivery is reported, at the latest when the producer ends.
        let answered = answer.await.unwrap_or(Err(KafkaError::Canceled));
        let offsets = answered.map_err(|error| {
            if producer.client().fatal_error().is_some() {
                self.producers.give_up(&producer);
            }
            self.append_failure(topic, &routed, &error)
        })?;
        let place = |(partition, offset)| Position {
            partition: TopicPartition::new(topic.clone(), partition),
            offset,
        };
        Ok(routed.partitions.into_iter().zip(offsets).map(place).collect())
    }

    /// Gives every record its partition, and refuses what the topic would refuse.
    pub(crate) async fn route(
        self: &Arc<Self>,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<Routed, LogError> {
        self.check_open()?;
        let facts = self.facts(topic).await?;
        if let Some(partition) = partition.filter(|p| !(0..facts.partitions).contains(p)) {
            let (topic, partitions) = (topic.clone(), facts.partitions);
            return Err(LogError::UnknownPartition { topic, partition, partitions });
        }
        for record in &records {
            check_record(topic, &facts, record)?;
        }
        let turn = self.producers.turn.fetch_add(1, Ordering::Relaxed);
        let turn = (turn % facts.partitions.max(1) as u32) as PartitionId;
        let place = |record: &Record| match (partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, facts.partitions),
            (None, None) => turn,
        };
        let partitions = records.iter().map(place).collect();
        let single = facts.message_bytes_max < BATCH_BYTES + BATCH_OVERHEAD;
        Ok(Routed { records, partitions, single })
    }

    /// Hands records over in order, once there is room for them.
    pub(crate) async fn send(
        &self,
        producer: &Arc<Sender>,
        topic: &TopicName,
        routed: &Routed,
    ) -> Result<oneshot::Receiver<Result<Vec<Offset>, KafkaError>>, LogError> {
        let count = routed.records.len();
        let bytes: usize =
            routed.records.iter().map(|record| record.size_bytes() + RECORD_OVERHEAD).sum();
        let wanted = bytes.min(APPEND_QUEUE_BYTES_MAX) as u32;
        let room = Arc::clone(&self.producers.room).acquire_many_owned(wanted).await;
        let room = room.map_err(|_| LogError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let state =
            CallState { left: count, offsets: vec![0; count], error: None, answer: Some(answer) };
        let call = Arc::new(Call { state: Mutex::new(state), _room: room });
        for (index, (record, partition)) in
            routed.records.iter().zip(&routed.partitions).enumerate()
        {
            if index % SENT_AT_ONCE == SENT_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let delivery = Box::new(Delivery { call: Arc::clone(&call), index });
            let mut message = message_of(topic, *partition, record, delivery);
            let mut looks = LOOKS;
            while let Err((error, back)) = producer.send(message) {
                match code_of(&error) {
                    Some(RDKafkaErrorCode::QueueFull) => {
                        message = back;
                        tokio::time::sleep(Duration::from_millis(KAFKA_LINGER_MS)).await;
                        continue;
                    }
                    // The producer has not heard yet of what is there.
                    Some(RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopic)
                        if looks > 0 =>
                    {
                        looks -= 1;
                        message = back;
                        self.look_again(producer, topic).await?;
                        continue;
                    }
                    _ => {}
                }
                let mut state = call.state.lock();
                state.error.get_or_insert(error);
                state.finish(count - index);
                drop(state);
                return Ok(answered);
            }
        }
        Ok(answered)
    }

    /// Has a producer ask the cluster for a topic.
    async fn look_again(&self, producer: &Arc<Sender>, topic: &TopicName) -> Result<(), LogError> {
        let (producer, name) = (Arc::clone(producer), topic.clone());
        let asked = blocking(&self.cluster, move || {
            Ok(producer.client().fetch_metadata(Some(name.as_str()), CALL).map(drop))
        });
        asked
            .await?
            .map_err(|error| self.failure(&format!("looking for topic \"{topic}\""), &error))?;
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    pub(crate) fn append_failure(
        &self,
        topic: &TopicName,
        routed: &Routed,
        error: &KafkaError,
    ) -> LogError {
        use RDKafkaErrorCode as Code;
        match code_of(error) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                self.topics.forget(topic);
                LogError::UnknownTopic { topic: topic.clone() }
            }
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => {
                self.topics.forget(topic);
                let found = routed.records.iter().map(Record::size_bytes).max();
                LogError::RecordTooLarge {
                    topic: topic.clone(),
                    found_bytes: found.unwrap_or_default(),
                    max_bytes: MESSAGE_BYTES_MAX,
                }
            }
            Some(Code::InvalidRecord) => {
                self.topics.forget(topic);
                let why = "the cluster takes no such record there; a compacted topic needs keys";
                LogError::InvalidRecord { topic: topic.clone(), why }
            }
            _ => self.failure(&format!("appending to topic \"{topic}\""), error),
        }
    }
}

fn message_of<'a>(
    topic: &'a TopicName,
    partition: PartitionId,
    record: &'a Record,
    delivery: Box<Delivery>,
) -> BaseRecord<'a, [u8], [u8], Box<Delivery>> {
    let mut headers =
        (!record.headers.is_empty()).then(|| OwnedHeaders::new_with_capacity(record.headers.len()));
    for header in &record.headers {
        let (key, value) = (header.name.as_str(), header.value.as_deref());
        headers = headers.map(|headers| headers.insert(Header { key, value }));
    }
    BaseRecord {
        topic: topic.as_str(),
        partition: Some(partition),
        payload: record.value.as_deref(),
        key: record.key.as_deref(),
        // librdkafka takes 0 for "now": the first millisecond of 1970 becomes the second.
        timestamp: Some(record.timestamp.as_millis().max(1)),
        headers,
        delivery_opaque: delivery,
    }
}

fn check_record(topic: &TopicName, facts: &TopicFacts, record: &Record) -> Result<(), LogError> {
    if facts.compacted && record.key.is_none() {
        let why = "a compacted topic keeps the last record of each key, so it needs one";
        return Err(LogError::InvalidRecord { topic: topic.clone(), why });
    }
    let found_bytes =
        record.size_bytes() + BATCH_OVERHEAD + RECORD_OVERHEAD + 10 * record.headers.len();
    let max_bytes = facts.message_bytes_max.min(MESSAGE_BYTES_MAX + BATCH_OVERHEAD);
    if found_bytes > max_bytes {
        return Err(LogError::RecordTooLarge { topic: topic.clone(), found_bytes, max_bytes });
    }
    Ok(())
}
