//! Where group offsets are kept: a compacted topic of the log itself.
//!
//! The bridge between [`crate::group`], which asks for a sequence of records, and
//! the storage, which has topics. The topic is created by the first commit, has one
//! partition and is not listed. Its segments are small, so that compaction, which
//! leaves the active one alone, keeps start-up quick.

use std::sync::Arc;

use async_trait::async_trait;
use courant_model::{ByteSize, Record, TopicName, TopicPartition, limits};

use super::core::Core;
use crate::{
    LogError, ReadLimit, Retention, TopicSettings, TopicSpec,
    group::{OFFSETS_TOPIC, OffsetStore},
};

/// A commit of a few partitions is some 100 bytes: this is some 80,000 of them.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct OffsetsTopic {
    core: Arc<Core>,
    name: TopicName,
}

impl OffsetsTopic {
    pub(super) fn new(core: Arc<Core>) -> Result<Self, LogError> {
        let name = TopicName::new(OFFSETS_TOPIC).map_err(|error| LogError::InvalidTopic {
            topic: OFFSETS_TOPIC.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self { core, name })
    }

    async fn ensure(&self) -> Result<(), LogError> {
        if self.core.topic(&self.name).is_ok() {
            return Ok(());
        }
        let settings = TopicSettings {
            cleanup: Retention::Compact,
            retention_time: None,
            segment_bytes: ByteSize::from_bytes(SEGMENT_BYTES),
            ..TopicSettings::default()
        };
        let spec = TopicSpec { name: self.name.clone(), partitions: 1, settings };
        match self.core.create_topic(&spec).await {
            Ok(_) | Err(LogError::TopicExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl OffsetStore for OffsetsTopic {
    async fn append(&self, records: Vec<Record>) -> Result<(), LogError> {
        self.ensure().await?;
        super::append(&self.core, &self.name, Some(0), records).await.map(|_| ())
    }

    async fn replay(&self, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        let partition = TopicPartition::new(self.name.clone(), 0);
        let offsets = match self.core.partition(&partition) {
            Ok(found) => found.offsets(),
            Err(LogError::UnknownTopic { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let limit = ReadLimit {
            records: limits::PIPELINE_BATCH_RECORDS_MAX,
            bytes: limits::PIPELINE_BATCH_BYTES_MAX,
            wait: std::time::Duration::ZERO,
        };
        let mut next = offsets.start;
        while next < offsets.end {
            let read = self.core.read(&partition, next, limit).await?;
            read.records.into_iter().for_each(|stored| visit(stored.record));
            if read.next <= next {
                break;
            }
            next = read.next;
        }
        Ok(())
    }
}
