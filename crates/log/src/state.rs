//! Where coordinators keep their records: the side that the log implements.
//!
//! A coordinator is the only writer of its store. It appends batches in the order in
//! which it decided and replays all of them once, when it opens. Batches of a
//! transaction and the marker that ends it are handed over as what they are: what
//! they mean is the coordinator's business, compaction by key is the store's.

use async_trait::async_trait;
use courant_model::Record;

use crate::{LogError, ProducerIdentity, batch::Marker};

/// A compacted sequence of records.
#[async_trait]
pub trait StateStore: Send + Sync + std::fmt::Debug + 'static {
    /// Appends batches in order; they are durable when this answers. The store comes
    /// into being with the first append.
    ///
    /// # Errors
    /// Storage failures; then any part of the batches may have been kept.
    async fn append(&self, batches: Vec<StateBatch>) -> Result<(), LogError>;

    /// Hands everything to `visit`, oldest first; nothing if nothing was ever appended.
    ///
    /// # Errors
    /// Storage failures.
    async fn replay(&self, visit: &mut (dyn FnMut(StateBatch) + Send)) -> Result<(), LogError>;
}

/// Records that belong together, or the end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateBatch {
    /// They count at once.
    Records(Vec<Record>),
    /// They count once the producer's transaction is committed.
    Transactional { producer: ProducerIdentity, records: Vec<Record> },
    /// What the producer's transaction came to.
    End { producer: ProducerIdentity, marker: Marker },
}
