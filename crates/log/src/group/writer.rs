//! The one hand that writes group records: in the order of decision, many at a time.
//!
//! A commit is checked and queued under the same lock, so what is on disk has the
//! order in which the group allowed it: a member that lost its partitions cannot
//! slip in behind its successor. While one append is on its way to the disk, the
//! next ones gather and go together. Only what is durable reaches the table.

use std::sync::Arc;

use courant_model::Record;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{records::GroupRecord, shared::Shared};
use crate::LogError;

/// Records that go to the disk together, at most; a commit is never split.
const BATCH_RECORDS_MAX: usize = 10_000;

/// Records that belong together, and who waits for them.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) records: Vec<GroupRecord>,
    pub(super) done: Option<oneshot::Sender<Result<(), LogError>>>,
    /// Holds a place among the commits that may wait.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// Writes until the coordinator is closed and nothing is left.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let (batch, closed) = shared.take_writes(BATCH_RECORDS_MAX);
        if batch.is_empty() {
            if closed {
                return;
            }
            shared.writes_waiting.notified().await;
            continue;
        }
        let now = shared.clock.now();
        let records: Vec<Record> = batch
            .iter()
            .flat_map(|write| &write.records)
            .map(|record| record.encode(now))
            .collect();
        let outcome = if records.is_empty() { Ok(()) } else { shared.store.append(records).await };
        shared.finish(batch, &outcome);
    }
}
