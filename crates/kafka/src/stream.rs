//! The records of one assigned partition, as librdkafka fetches them.
//!
//! Every partition has a queue of its own, so that whoever is slow holds up nobody
//! else. A stream never blocks: it hands out what is there, and its waker tells of
//! more.

use std::sync::Arc;

use bytes::Bytes;
use courant_log::LogError;
use courant_model::{Header, Record, StoredRecord, Timestamp, TopicName, TopicPartition};
use rdkafka::{
    consumer::{BaseConsumer, ConsumerContext, base_consumer::PartitionQueue},
    error::KafkaError,
    message::{BorrowedMessage, Headers, Message},
    types::RDKafkaErrorCode,
};
use tokio::sync::Notify;

use crate::cluster::code_of;

/// What a stream had to give.
#[derive(Debug)]
pub(crate) enum Polled {
    Record(StoredRecord),
    /// Everything up to the end, as far as it may be read, was handed out.
    End,
    Failed(KafkaError),
    Empty,
}

/// The queue of one partition.
pub(crate) struct Stream<C: ConsumerContext + 'static> {
    queue: PartitionQueue<C>,
    partition: TopicPartition,
    /// A record that did not fit into the read before.
    held: Option<StoredRecord>,
}

impl<C: ConsumerContext + 'static> Stream<C> {
    /// Takes the partition's queue out of the consumer's; before the assignment, so
    /// that no record goes elsewhere. `ready` is woken when there is something.
    pub(crate) fn split(
        consumer: &Arc<BaseConsumer<C>>,
        partition: &TopicPartition,
        ready: &Arc<Notify>,
    ) -> Option<Self> {
        let (topic, number) = (partition.topic.as_str(), partition.partition);
        let mut queue = consumer.split_partition_queue(topic, number)?;
        let ready = Arc::clone(ready);
        queue.set_nonempty_callback(move || ready.notify_one());
        Some(Self { queue, partition: partition.clone(), held: None })
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub(crate) fn poll(&mut self) -> Polled {
        if let Some(held) = self.held.take() {
            return Polled::Record(held);
        }
        match self.queue.poll(std::time::Duration::ZERO) {
            None => Polled::Empty,
            Some(Ok(message)) => Polled::Record(stored(&self.partition.topic, &message)),
            Some(Err(KafkaError::PartitionEOF(_))) => Polled::End,
            Some(Err(error)) => Polled::Failed(error),
        }
    }

    /// Takes a record back, for the next poll.
    pub(crate) fn hold(&mut self, record: StoredRecord) {
        self.held = Some(record);
    }

    /// Forgets what was held, since the reader goes elsewhere.
    pub(crate) fn release(&mut self) {
        self.held = None;
    }
}

impl<C: ConsumerContext + 'static> std::fmt::Debug for Stream<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("partition", &self.partition).finish_non_exhaustive()
    }
}

/// What a partition's failure means for its reader; `None` mends itself.
pub(crate) fn stream_failure(
    partition: &TopicPartition,
    error: &KafkaError,
    other: impl FnOnce(&KafkaError) -> LogError,
) -> Option<LogError> {
    use RDKafkaErrorCode as Code;
    match code_of(error) {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            Some(LogError::UnknownTopic { topic: partition.topic.clone() })
        }
        Some(code) if crate::cluster::is_retryable(code) => None,
        // Told while the reader goes on at the first offset that is there.
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => None,
        _ => Some(other(error)),
    }
}

fn stored(topic: &TopicName, message: &BorrowedMessage<'_>) -> StoredRecord {
    let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
            name: header.key.to_owned(),
            value: header.value.map(bytes),
        };
        headers.iter().map(header).collect()
    });
    StoredRecord {
        topic: topic.clone(),
        partition: message.partition(),
        offset: message.offset(),
        record: Record {
            key: message.key().map(bytes),
            value: message.payload().map(bytes),
            headers,
            timestamp: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(-1)),
        },
    }
}
