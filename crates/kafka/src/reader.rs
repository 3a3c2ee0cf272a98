//! Reads one assigned partition for a member.
//!
//! The [`Slot`] joins reader and member: the member takes the stream out of it when the
//! partition is given back, and the reader then waits for ever, since nothing comes any
//! more. librdkafka hands out neither control records nor aborted transactions; its
//! snapshots tell where the partition's end was seen, and that is stepped to once
//! everything before it has been handed out.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use courant_log::{Committed, LogError, PartitionReader, Read};
use courant_model::{Offset, TopicName, TopicPartition};
use parking_lot::Mutex;
use rdkafka::{Offset as KafkaOffset, consumer::Consumer};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::{
    cluster::CALL,
    events::GroupContext,
    membership::Shared,
    stream::{Polled, Stream, stream_failure},
};

/// What librdkafka knew of a partition a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Snapshot {
    /// Where the end was met, as far as it may be read; negative before.
    eof_offset: Offset,
    /// High watermark; negative before the first fetch.
    hi_offset: Offset,
}

impl Snapshot {
    /// Reads librdkafka's statistics; what is not in their form is left out.
    pub(crate) fn read(json: &[u8]) -> Vec<(TopicPartition, Self)> {
        #[derive(Deserialize)]
        struct Statistics {
            #[serde(default)]
            topics: HashMap<String, Topic>,
        }
        #[derive(Deserialize)]
        struct Topic {
            #[serde(default)]
            partitions: HashMap<String, Snapshot>,
        }
        let Ok(statistics) = serde_json::from_slice::<Statistics>(json) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (topic, found) in statistics.topics {
            let Ok(topic) = TopicName::new(&topic) else { continue };
            for (number, snapshot) in found.partitions {
                // -1 is librdkafka's name for "no partition yet".
                if let Some(number) = number.parse().ok().filter(|number| *number >= 0) {
                    all.push((TopicPartition::new(topic.clone(), number), snapshot));
                }
            }
        }
        all
    }
}

/// Where a partition stands when it is taken over.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) partition: TopicPartition,
    pub(crate) committed: Option<Committed>,
    /// The next record's offset.
    pub(crate) begin: Offset,
    /// High watermark.
    pub(crate) end: Offset,
}

/// What a member and the reader of one of its partitions share.
#[derive(Debug)]
pub(crate) struct Slot {
    start: Start,
    /// `None` once the partition was given back.
    stream: Mutex<Option<Stream<GroupContext>>>,
    ready: Arc<Notify>,
    ends: Mutex<Snapshot>,
    gone: AtomicBool,
}

impl Slot {
    pub(crate) fn new(stream: Stream<GroupContext>, start: Start, ready: Arc<Notify>) -> Self {
        Self {
            stream: Mutex::new(Some(stream)),
            ready,
            ends: Mutex::new(Snapshot { eof_offset: -1, hi_offset: start.end }),
            gone: AtomicBool::new(false),
            start,
        }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.start.partition
    }

    /// Takes the stream from the reader.
    pub(crate) fn end(&self) -> Option<Stream<GroupContext>> {
        self.stream.lock().take()
    }

    pub(crate) fn topic_is_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.ready.notify_one();
    }

    pub(crate) fn update(&self, snapshot: Snapshot) {
        let mut ends = self.ends.lock();
        if *ends != snapshot {
            *ends = snapshot;
            self.ready.notify_one();
        }
    }
}

/// Reads one assigned partition.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    position: Offset,
    /// Where to go before the next record.
    seek: Option<Offset>,
    /// Whether the end was met since the last seek: from then on a snapshot's end
    /// belongs to records that were all handed out or are in the stream.
    met_end: bool,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, slot: Arc<Slot>) -> Self {
        let position = slot.start.begin;
        Self { shared, slot, position, seek: None, met_end: false }
    }

    /// Takes what is there; `None` when there is nothing.
    fn take(&mut self, records_max: usize, bytes_max: usize) -> Result<Option<Read>, LogError> {
        // The snapshot before the stream: what lies below its end is in there by then.
        let ends = *self.slot.ends.lock();
        let mut slot = self.slot.stream.lock();
        let Some(stream) = slot.as_mut() else { return Ok(None) };
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < records_max.max(1) {
            match stream.poll() {
                Polled::Record(stored) if stored.offset < self.position => {}
                Polled::Record(stored) => {
                    let size = stored.record.size_bytes();
                    if !records.is_empty() && bytes + size > bytes_max {
                        stream.hold(stored);
                        break;
                    }
                    bytes += size;
                    self.position = stored.offset + 1;
                    records.push(stored);
                }
                Polled::End => self.met_end = true,
                Polled::Failed(error) => {
                    let action = format!("reading partition {}", self.slot.partition());
                    let other = |error: &_| self.shared.core.failure(&action, error);
                    match stream_failure(self.slot.partition(), &error, other) {
                        Some(failed) if records.is_empty() => return Err(failed),
                        Some(failed) => tracing::warn!(%failed, "read ended early"),
                        None => {}
                    }
                }
                Polled::Empty => break,
            }
        }
        let hidden = records.is_empty() && self.met_end && ends.eof_offset > self.position;
        if hidden {
            self.position = ends.eof_offset;
        }
        if records.is_empty() && !hidden {
            return Ok(None);
        }
        let next = self.position;
        Ok(Some(Read { records, next, end: ends.hi_offset.max(next) }))
    }

    async fn go(&mut self, to: Offset) -> Result<(), LogError> {
        let Some(consumer) = self.shared.consumer().await else { return Ok(()) };
        let (core, slot) = (Arc::clone(&self.shared.core), Arc::clone(&self.slot));
        crate::cluster::blocking(&self.shared.core.cluster, move || {
            let (topic, number) = (slot.partition().topic.as_str(), slot.partition().partition);
            let done = consumer.seek(topic, number, KafkaOffset::Offset(to), CALL);
            let action = format!("seeking in partition {}", slot.partition());
            done.map_err(|error| core.failure(&action, &error))
        })
        .await?;
        if let Some(stream) = self.slot.stream.lock().as_mut() {
            stream.release();
        }
        self.met_end = false;
        Ok(())
    }
}

#[async_trait]
impl PartitionReader for Reader {
    fn partition(&self) -> &TopicPartition {
        self.slot.partition()
    }

    fn position(&self) -> Offset {
        self.position
    }

    fn committed(&self) -> Option<&Committed> {
        self.slot.start.committed.as_ref()
    }

    fn seek(&mut self, to: Offset) {
        self.position = to;
        self.seek = Some(to);
    }

    async fn next(&mut self, records_max: usize, bytes_max: usize) -> Result<Read, LogError> {
        let core = Arc::clone(&self.shared.core);
        if let Some(to) = self.seek {
            self.go(to).await?;
            self.seek = None;
        }
        loop {
            core.check_open()?;
            if let Some(read) = self.take(records_max, bytes_max)? {
                return Ok(read);
            }
            if self.slot.gone.load(Ordering::Acquire) {
                return Err(LogError::UnknownTopic { topic: self.slot.partition().topic.clone() });
            }
            tokio::select! {
                () = self.slot.ready.notified() => {}
                () = core.closed.cancelled() => return Err(LogError::Closed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_tell_the_ends_of_partitions() {
        let json = br#"{"name":"x","topics":{"t":{"topic":"t","partitions":{
            "0":{"partition":0,"eof_offset":7,"hi_offset":9,"ls_offset":7},
            "-1":{"partition":-1,"eof_offset":-1001,"hi_offset":-1001}}}}}"#;
        let partition = TopicPartition::new(TopicName::new("t").unwrap(), 0);
        assert_eq!(Snapshot::read(json), [(partition, Snapshot { eof_offset: 7, hi_offset: 9 })]);
        assert_eq!(Snapshot::read(b"{}"), []);
        assert_eq!(Snapshot::read(b"no"), []);
    }
}
