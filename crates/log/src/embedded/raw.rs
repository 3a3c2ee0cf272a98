//! A partition as a broker uses it: many times a second, without a look-up each time.
//!
//! Batches go in as producers encoded them and come out whole. Handing a batch over
//! and waiting for it are two steps, so that batches of one producer keep their order
//! while several are under way. Reading blocks on the disk; who reads what was just
//! written finds it in memory, and [`PartitionHandle::is_warm`] tells.

use std::sync::Arc;

use courant_model::{Offset, TopicPartition};
use tokio::sync::watch;

use super::core::Pending;
use crate::{
    Appended, LogError, TopicSettings,
    partition::{Ends, Fetched, Partition},
};

/// An open partition. A handle of a deleted topic answers
/// [`LogError::UnknownTopic`] for ever.
#[derive(Debug, Clone)]
pub struct PartitionHandle(pub(super) Arc<Partition>);

impl PartitionHandle {
    pub fn name(&self) -> &TopicPartition {
        self.0.name()
    }

    pub fn settings(&self) -> Arc<TopicSettings> {
        self.0.settings()
    }

    /// The first offset that is still there.
    pub fn start(&self) -> Offset {
        self.0.start()
    }

    /// How far readers may look.
    pub fn ends(&self) -> Ends {
        self.0.ends()
    }

    /// Follows the ends; a receiver sees every later change.
    pub fn watch(&self) -> watch::Receiver<Ends> {
        self.0.watch()
    }

    /// Fails unless the partition runs and holds the offset or ends there.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::UnknownTopic`], [`LogError::Closed`].
    pub fn check_readable(&self, offset: Offset) -> Result<(), LogError> {
        self.0.check_readable(offset)
    }

    /// Whether what follows an offset was read up to there and is near the end, so that
    /// it is most likely in memory and a read does not wait for the disk.
    pub fn is_warm(&self, from: Offset) -> bool {
        self.0.is_warm(from)
    }

    /// Whole batches from the one that holds `from`, those that are there; one at
    /// least, even when it is larger than `bytes`. With `committed` they stop at the
    /// last stable offset and aborted transactions are listed. Blocks.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`]; storage failures.
    pub fn fetch(&self, from: Offset, bytes: usize, committed: bool) -> Result<Fetched, LogError> {
        self.0.fetch(from, bytes, committed)
    }
}

/// A batch that was handed over and is not durable yet.
#[derive(Debug)]
pub struct PendingAppend(pub(super) Pending);

impl PendingAppend {
    /// Waits until the batch is as durable as the log promises.
    ///
    /// # Errors
    /// As [`super::EmbeddedLog::append_batch`].
    ///
    /// # Cancel safety
    /// Dropped, the batch may still be appended.
    pub async fn done(self) -> Result<Appended, LogError> {
        self.0.done().await
    }
}
