//! The one hand that writes group records: in the order of decision, many at a time.
//!
//! A commit is checked and queued under the same lock, so what is on disk has the
//! order in which the group allowed it: a member that lost its partitions cannot
//! slip in behind its successor. While one append is on its way to the disk, the
//! next ones gather and go together. Only what is durable reaches the table.

use std::sync::Arc;

use courant_model::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{records::GroupRecord, shared::Shared};
use crate::{LogError, ProducerIdentity, batch::Marker, state::StateBatch};

/// Records that go to the disk together, at most; a commit is never split.
const BATCH_RECORDS_MAX: usize = 10_000;

/// A change that belongs together, and who waits for it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) change: Change,
    pub(super) done: Option<oneshot::Sender<Result<(), LogError>>>,
    /// Holds a place among the commits that may wait.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Change {
    Records(Vec<GroupRecord>),
    /// Offsets that count once the producer's transaction commits.
    Pending(ProducerIdentity, Vec<GroupRecord>),
    /// The producer's transaction ends.
    End(ProducerIdentity, Marker),
}

impl Change {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Records(records) | Self::Pending(_, records) => records.len(),
            Self::End(..) => 1,
        }
    }
}

impl From<Vec<GroupRecord>> for Change {
    fn from(records: Vec<GroupRecord>) -> Self {
        Self::Records(records)
    }
}

/// Writes until the coordinator is closed and nothing is left.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let (writes, closed) = shared.take_writes(BATCH_RECORDS_MAX);
        if writes.is_empty() {
            if closed {
                return;
            }
            shared.writes_waiting.notified().await;
            continue;
        }
        let batches = batches(&writes, shared.clock.now());
        let outcome = if batches.is_empty() { Ok(()) } else { shared.store.append(batches).await };
        shared.finish(writes, &outcome);
    }
}

/// The writes in order; plain records that follow one another go together.
fn batches(writes: &[Write], now: Timestamp) -> Vec<StateBatch> {
    let mut batches = Vec::new();
    for write in writes {
        let encode =
            |records: &[GroupRecord]| records.iter().map(|record| record.encode(now)).collect();
        match (&write.change, batches.last_mut()) {
            (Change::Records(records), _) if records.is_empty() => {}
            (Change::Records(records), Some(StateBatch::Records(last))) => {
                last.extend(records.iter().map(|record| record.encode(now)));
            }
            (Change::Records(records), _) => batches.push(StateBatch::Records(encode(records))),
            (Change::Pending(producer, records), _) => {
                let (producer, records) = (*producer, encode(records));
                batches.push(StateBatch::Transactional { producer, records });
            }
            (Change::End(producer, marker), _) => {
                batches.push(StateBatch::End { producer: *producer, marker: *marker });
            }
        }
    }
    batches
}
