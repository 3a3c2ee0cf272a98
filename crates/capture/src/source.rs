//! What every captured database offers: batches of changes, each with a position.
//!
//! The contract: positions only move forward; a source that is built from a batch's
//! position hands out exactly what came after that batch; a snapshot row is never older
//! than a change that came before it. What is done with a batch, and where its position
//! is kept, is the caller's business: keep both in one step, or accept repeats.

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::{change::Change, error::CaptureError};

/// Changes that belong together, and where to go on after them.
#[derive(Debug, Clone)]
pub struct Batch<P> {
    /// In the order of the log; empty when only the position moved.
    pub changes: Vec<Change>,
    /// Resumes after `changes`.
    pub position: P,
    /// Whether the snapshot is complete with this batch or was before it.
    pub snapshot_complete: bool,
}

/// A database whose tables are followed.
pub trait Source: Send {
    /// Where a source resumes; small, and written by whoever keeps the changes.
    type Position: Clone + Send + Sync + Serialize + DeserializeOwned + 'static;

    /// Waits for the next batch. An interrupted connection is made anew within, for as
    /// long as the options say.
    ///
    /// Cancel safe: nothing is lost when the future is dropped; a dropped snapshot read
    /// costs a new connection.
    ///
    /// # Errors
    /// When the database's settings or rights forbid the capture, when the position is
    /// no longer in the log, when a value cannot be read, and when the outage is longer
    /// than the options allow. After an error the next call connects again and goes on
    /// after the last batch.
    fn next(&mut self) -> impl Future<Output = Result<Batch<Self::Position>, CaptureError>> + Send;
}
