//! Reads of single partitions, outside of any group.
//!
//! A read borrows a consumer, assigns it the one partition and gives it back without
//! an assignment, so that nothing is fetched in vain. Control records and aborted
//! transactions are not handed out by librdkafka; the last stable offset that was
//! asked for before tells how far they reach. A read that is dropped gives its
//! consumer up.

use std::sync::Arc;

use courant_log::{LogError, Read, ReadLimit};
use courant_model::{
    Offset, TopicPartition,
    limits::{KAFKA_PREFETCH_BYTES_MAX, KAFKA_READERS_IDLE_MAX, KAFKA_READERS_MAX},
};
use parking_lot::Mutex;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList, consumer::Consumer, error::KafkaError};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use crate::{
    cluster::{CALL, Core, Reader, blocking, bury, drain, reading},
    context::Context,
    stream::{Polled, Stream, stream_failure},
};

/// The id that librdkafka wants of a consumer; nothing ever joins or commits with it.
const NO_GROUP: &str = "courant-reads";

/// Consumers for reads.
#[derive(Debug)]
pub(crate) struct Readers {
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle(Arc<Reader>);

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(KAFKA_READERS_MAX)), idle: Mutex::default() }
    }
}

impl Readers {
    /// Ends the consumers that wait. Blocks.
    pub(crate) fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }
}

/// A consumer with its one partition; buried when the read is dropped.
struct Lent {
    parts: Option<(Arc<Reader>, Stream<Context>)>,
    ready: Arc<Notify>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            bury(parts);
        }
    }
}

impl Core {
    /// Reads from one place on, see `Log::read`.
    pub(crate) async fn read(
        self: &Arc<Self>,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError> {
        self.check_open()?;
        let deadline = Instant::now() + limit.wait;
        let (core, asked) = (Arc::clone(self), partition.clone());
        let found = blocking(&self.cluster, move || {
            core.check_partition(&asked)?;
            let found = core.partition_offsets(std::slice::from_ref(&asked))?;
            Ok(found.get(&asked).copied().unwrap_or_default())
        })
        .await?;
        if from < found.start || from > found.end {
            let (partition, offset) = (partition.clone(), from);
            let (start, end) = (found.start, found.end);
            return Err(LogError::OffsetOutOfRange { partition, offset, start, end });
        }
        let mut read = Read { records: Vec::new(), next: from, end: found.end };
        if from >= found.last_stable && limit.wait.is_zero() {
            return Ok(read);
        }
        let turns = Arc::clone(&self.readers.turns);
        let _turn = turns.acquire_owned().await.map_err(|_| LogError::Closed)?;
        let mut lent = self.lend(partition, from).await?;
        let done = self.fill(&mut lent, &mut read, found.last_stable, limit, deadline).await;
        if let Some(parts) = lent.parts.take() {
            self.take_back(parts).await;
        }
        done?;
        read.end = read.end.max(read.next);
        Ok(read)
    }

    async fn fill(
        &self,
        lent: &mut Lent,
        read: &mut Read,
        stable: Offset,
        limit: ReadLimit,
        deadline: Instant,
    ) -> Result<(), LogError> {
        // Below the last stable offset something comes, be it only the end; beyond, it may.
        let sure = Instant::now() + CALL;
        let mut bytes = 0;
        let ready = Arc::clone(&lent.ready);
        loop {
            let Some((consumer, stream)) = &mut lent.parts else { return Ok(()) };
            match stream.poll() {
                Polled::Record(stored) => {
                    let size = stored.record.size_bytes();
                    if !read.records.is_empty() && bytes + size > limit.bytes {
                        return Ok(());
                    }
                    bytes += size;
                    read.next = stored.offset + 1;
                    read.records.push(stored);
                    if read.records.len() >= limit.records.max(1) {
                        return Ok(());
                    }
                }
                Polled::End => read.next = read.next.max(stable),
                Polled::Failed(error) => {
                    drain(consumer);
                    self.read_failure(stream.partition(), &error)?;
                }
                Polled::Empty if !read.records.is_empty() => return Ok(()),
                Polled::Empty => {
                    let until = if read.next < stable { deadline.max(sure) } else { deadline };
                    tokio::select! {
                        () = ready.notified() => {}
                        () = self.closed.cancelled() => return Err(LogError::Closed),
                        () = tokio::time::sleep_until(until) => return Ok(()),
                    }
                }
            }
        }
    }

    fn read_failure(&self, partition: &TopicPartition, error: &KafkaError) -> Result<(), LogError> {
        let action = format!("reading partition {partition}");
        let failed = stream_failure(partition, error, |error| self.failure(&action, error));
        failed.map_or(Ok(()), Err)
    }

    async fn lend(
        self: &Arc<Self>,
        partition: &TopicPartition,
        from: Offset,
    ) -> Result<Lent, LogError> {
        let ready = Arc::new(Notify::new());
        let (core, partition, wake) = (Arc::clone(self), partition.clone(), Arc::clone(&ready));
        let parts = blocking(&self.cluster, move || {
            let action = format!("reading partition {partition}");
            let failed = |error: KafkaError| core.failure(&action, &error);
            let idle = core.readers.idle.lock().pop();
            let consumer = match idle {
                Some(Idle(consumer)) => consumer,
                None => Arc::new(core.open_reader()?),
            };
            let stream = Stream::split(&consumer, &partition, &wake)
                .ok_or_else(|| core.refusal(&action, "the client has no queue for it"))?;
            let mut list = TopicPartitionList::with_capacity(1);
            let (topic, number) = (partition.topic.as_str(), partition.partition);
            list.add_partition_offset(topic, number, KafkaOffset::Offset(from)).map_err(failed)?;
            consumer.assign(&list).map_err(failed)?;
            Ok((consumer, stream))
        });
        Ok(Lent { parts: Some(parts.await?), ready })
    }

    fn open_reader(&self) -> Result<Reader, LogError> {
        let mut config = reading(&self.options);
        fetching(&mut config);
        config.set("group.id", NO_GROUP);
        config.set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true");
        // A partition's start that moved in the meantime is stepped over.
        config.set("auto.offset.reset", "earliest");
        let context = Context { cluster: Arc::clone(&self.cluster) };
        let opened = config.create_with_context(context);
        opened.map_err(|error| self.failure("opening a reader", &error))
    }

    async fn take_back(self: &Arc<Self>, (consumer, stream): (Arc<Reader>, Stream<Context>)) {
        let core = Arc::clone(self);
        let taken = blocking(&self.cluster, move || {
            drop(stream);
            let unassigned = consumer.unassign();
            drain(&consumer);
            let mut idle = core.readers.idle.lock();
            let keep = unassigned.is_ok()
                && idle.len() < KAFKA_READERS_IDLE_MAX
                && !core.closed.is_cancelled();
            if keep {
                idle.push(Idle(consumer));
            }
            Ok(())
        });
        if let Err(error) = taken.await {
            tracing::debug!(%error, "reader was not kept");
        }
    }
}

/// How much is fetched ahead.
pub(crate) fn fetching(config: &mut rdkafka::ClientConfig) {
    let kbytes = (KAFKA_PREFETCH_BYTES_MAX / 1024).to_string();
    config.set("queued.max.messages.kbytes", kbytes);
    config.set("fetch.wait.max.ms", "500");
    // After an empty fetch the next one goes out at once.
    config.set("fetch.error.backoff.ms", "50");
    config.set("fetch.queue.backoff.ms", "10");
}
