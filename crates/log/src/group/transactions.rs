//! The groups' side of transactions: offsets that wait for their marker.
//!
//! Offsets of a transaction are written as what they are, a batch of its producer, and
//! its end is a marker behind them, both by the hand that writes all offsets. So they
//! are in the order of decision with everything else, and a restart finds the same
//! answer. Whether the producer may do so is the transactions' coordinator's business.

use std::collections::BTreeSet;

use courant_model::TopicPartition;

use super::{coordinator::Coordinator, machine::Membership, writer::Change};
use crate::{Committed, LogError, ProducerIdentity, api::CommittedOffsets, batch::Marker};

/// A group's committed offsets, and where they are about to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StableOffsets {
    pub committed: CommittedOffsets,
    /// Partitions with an offset in an open transaction: who must not repeat what it
    /// may commit asks again later (KIP-447).
    pub unstable: BTreeSet<TopicPartition>,
}

impl Coordinator {
    /// All committed offsets of a group, with those that are not stable.
    pub fn committed_stable(&self, group: &str) -> StableOffsets {
        let state = self.shared.state.lock();
        let Some(kept) = state.table.get(group) else { return StableOffsets::default() };
        let offsets = kept.offsets.iter();
        StableOffsets {
            committed: offsets.map(|(at, value)| (at.clone(), value.to_committed())).collect(),
            unstable: kept.pending().cloned().collect(),
        }
    }

    /// Writes offsets that count once the producer's transaction commits.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) async fn commit_in_transaction(
        &self,
        group: &str,
        membership: &Membership,
        producer: ProducerIdentity,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), LogError> {
        let records = self.offset_records(group, offsets)?;
        let shared = &self.shared;
        let decide = |state: &mut _| {
            shared.check_commit(state, group, membership, true)?;
            Ok(Change::Pending(producer, records))
        };
        self.shared.write(decide).await
    }

    /// Writes the end of the producer's transaction; its offsets count now, or are gone.
    ///
    /// # Errors
    /// Storage failures; [`LogError::Closed`].
    pub(crate) async fn end_transaction(
        &self,
        producer: ProducerIdentity,
        marker: Marker,
    ) -> Result<(), LogError> {
        self.shared.write(|_| Ok(Change::End(producer, marker))).await
    }
}
