//! Where the coordinator keeps its records: the side that the log implements.
//!
//! The coordinator is the only writer. It appends one batch at a time and replays
//! everything once, when it opens. Compaction by key is the store's own business.

use async_trait::async_trait;
use courant_model::Record;

use crate::LogError;

/// Name of the internal topic, Kafka's own; it is not listed among the topics.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A compacted sequence of records.
#[async_trait]
pub trait OffsetStore: Send + Sync + std::fmt::Debug + 'static {
    /// Appends records in order; they are durable when this answers. The store comes
    /// into being with the first append.
    ///
    /// # Errors
    /// Storage failures; then any part of the records may have been kept.
    async fn append(&self, records: Vec<Record>) -> Result<(), LogError>;

    /// Hands every record to `visit`, oldest first; none if nothing was ever appended.
    ///
    /// # Errors
    /// Storage failures.
    async fn replay(&self, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError>;
}
