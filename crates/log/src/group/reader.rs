//! Reads one assigned partition for a member, from the committed offset on.
//!
//! It waits in long reads that an append ends, steps over what retention has
//! removed, and never skips a record because a call was dropped. Whether the
//! partition is still the member's is not asked here: commits are what is fenced.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_model::{Offset, TopicPartition};

use super::seat::MemberOffsets;
use crate::{
    AutoOffsetReset, Committed, LogError, PartitionOffsets, PartitionReader, Read, ReadLimit,
    TransactionalProducer,
};

/// What members need of a log: where partitions begin and end, their records, and a
/// way to write together with what they commit.
#[async_trait]
pub trait PartitionSource: Send + Sync + std::fmt::Debug + 'static {
    /// First and next offset of a partition.
    ///
    /// # Errors
    /// As [`crate::Log::offsets`].
    async fn partition_offsets(
        &self,
        partition: &TopicPartition,
    ) -> Result<PartitionOffsets, LogError>;

    /// Reads records, waiting for the first one.
    ///
    /// # Errors
    /// As [`crate::Log::read`].
    async fn read_partition(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError>;

    /// A producer whose transactions also take in what a member commits.
    ///
    /// # Errors
    /// As [`crate::Committer::transactional_producer`].
    async fn transactional_producer(
        &self,
        offsets: MemberOffsets,
        id: &str,
        timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError>;
}

/// How long one read waits before it asks again; an append ends it at once.
const READ_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct GroupReader {
    source: Arc<dyn PartitionSource>,
    partition: TopicPartition,
    position: Offset,
    committed: Option<Committed>,
}

impl GroupReader {
    /// Stands at the committed offset, or where `reset` says when there is none.
    pub(super) async fn open(
        source: Arc<dyn PartitionSource>,
        partition: TopicPartition,
        committed: Option<Committed>,
        reset: AutoOffsetReset,
    ) -> Result<Self, LogError> {
        let position = match &committed {
            Some(committed) => committed.offset,
            None => {
                let offsets = source.partition_offsets(&partition).await?;
                match reset {
                    AutoOffsetReset::Earliest => offsets.start,
                    AutoOffsetReset::Latest => offsets.end,
                }
            }
        };
        Ok(Self { source, partition, position, committed })
    }
}

#[async_trait]
impl PartitionReader for GroupReader {
    fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn position(&self) -> Offset {
        self.position
    }

    fn committed(&self) -> Option<&Committed> {
        self.committed.as_ref()
    }

    fn seek(&mut self, to: Offset) {
        self.position = to;
    }

    async fn next(&mut self, records_max: usize, bytes_max: usize) -> Result<Read, LogError> {
        let limit = ReadLimit { records: records_max, bytes: bytes_max, wait: READ_WAIT };
        loop {
            match self.source.read_partition(&self.partition, self.position, limit).await {
                Ok(read) if read.records.is_empty() && read.next <= self.position => {}
                Ok(read) => {
                    self.position = read.next;
                    return Ok(read);
                }
                Err(LogError::OffsetOutOfRange { offset, start, end, .. }) => {
                    // Below: retention was faster. Above: a crash without `fsync` took
                    // the end; what comes there next has never been read.
                    let to = if offset < start { start } else { end };
                    tracing::warn!(partition = %self.partition, from = offset, to, "offset is gone");
                    self.position = to;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
