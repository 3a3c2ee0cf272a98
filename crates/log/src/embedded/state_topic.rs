//! Where coordinators keep their records: compacted topics of the log itself.
//!
//! The bridge between the coordinators of groups and transactions, which ask for a
//! sequence of batches, and the storage, which has topics. Such a topic is created by
//! the first append, has one partition and is not listed. Its segments are small, so
//! that compaction, which leaves the active one alone, keeps start-up quick.

use std::sync::Arc;

use async_trait::async_trait;
use courant_model::{ByteSize, TopicName, TopicPartition, limits};

use super::{
    core::{Core, FetchLimit, Pending},
    produce, submit,
};
use crate::{
    LogError, Retention, TopicSettings, TopicSpec,
    batch::{self, Marker, OpenBatch},
    state::{StateBatch, StateStore},
};

/// A change is some 100 bytes: this is some 80,000 of them.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct StateTopic {
    core: Arc<Core>,
    partition: TopicPartition,
}

impl StateTopic {
    pub(super) fn new(core: Arc<Core>, name: &str) -> Result<Self, LogError> {
        let topic = TopicName::new(name).map_err(|error| LogError::InvalidTopic {
            topic: name.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self { core, partition: TopicPartition::new(topic, 0) })
    }

    pub(super) const fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Creates the topic if it is not there.
    pub(super) async fn ensure(&self) -> Result<(), LogError> {
        if self.core.topic(&self.partition.topic).is_ok() {
            return Ok(());
        }
        let settings = TopicSettings {
            cleanup: Retention::Compact,
            retention_time: None,
            segment_bytes: ByteSize::from_bytes(SEGMENT_BYTES),
            ..TopicSettings::default()
        };
        let name = self.partition.topic.clone();
        let spec = TopicSpec { name, partitions: 1, settings };
        match self.core.create_topic(&spec).await {
            Ok(_) | Err(LogError::TopicExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Hands one batch over; a large one is packed into several.
    async fn submit(&self, batch: StateBatch) -> Result<Vec<Pending>, LogError> {
        let (core, name) = (&*self.core, &self.partition.topic);
        let (producer, records) = match batch {
            StateBatch::Records(records) => (None, records),
            StateBatch::Transactional { producer, records } => (Some(producer), records),
            StateBatch::End { producer, marker } => {
                let found = core.partition(&self.partition)?;
                return Ok(vec![produce::submit_marker(core, found, producer, marker).await?]);
            }
        };
        let submitted = submit(core, name, Some(0), records, producer).await?;
        Ok(submitted.into_iter().map(|one| one.pending).collect())
    }
}

#[async_trait]
impl StateStore for StateTopic {
    async fn append(&self, batches: Vec<StateBatch>) -> Result<(), LogError> {
        self.ensure().await?;
        let mut pending = Vec::with_capacity(batches.len());
        for batch in batches {
            pending.extend(self.submit(batch).await?);
        }
        for one in pending {
            one.done().await?;
        }
        Ok(())
    }

    async fn replay(&self, visit: &mut (dyn FnMut(StateBatch) + Send)) -> Result<(), LogError> {
        let offsets = match self.core.partition(&self.partition) {
            Ok(found) => found.offsets(),
            Err(LogError::UnknownTopic { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = limits::PIPELINE_BATCH_BYTES_MAX;
        let limit = FetchLimit { bytes, committed: false, wait: std::time::Duration::ZERO };
        let mut next = offsets.start;
        while next < offsets.end {
            let fetched = self.core.fetch(&self.partition, next, limit).await?;
            for (_, bytes) in batch::split(&fetched.batches) {
                let found = open(&bytes).map_err(|error| LogError::CorruptBatch {
                    partition: self.partition.clone(),
                    why: error.to_string(),
                })?;
                found.into_iter().for_each(&mut *visit);
            }
            if fetched.next <= next {
                break;
            }
            next = fetched.next;
        }
        Ok(())
    }
}

/// What a batch of the topic says; nothing if it is a marker of another kind.
fn open(bytes: &bytes::Bytes) -> Result<Option<StateBatch>, batch::BatchError> {
    let open = OpenBatch::open(bytes)?;
    let header = open.header();
    let producer = header.producer.identity();
    if header.is_control() {
        return Ok(Marker::of(&open)?.map(|marker| StateBatch::End { producer, marker }));
    }
    let records =
        open.records().map(|found| found.map(|found| found.record)).collect::<Result<_, _>>()?;
    Ok(Some(match header.is_transactional() {
        true => StateBatch::Transactional { producer, records },
        false => StateBatch::Records(records),
    }))
}
