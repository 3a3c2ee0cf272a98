//! One transactional id: Kafka's states and what leads from one to the next.
//!
//! Pure: every function looks at the present and answers what is to come, or why
//! not; the coordinator makes it durable and puts it in place. Time comes from
//! outside. The protocol is the one in which a producer says which partitions it is
//! about to write to; epochs change only when a producer starts, or is fenced.
//!
//! ```text
//!        init                add                end            all markers are written
//! (none) ────▶ Empty ──────▶ Ongoing ──────▶ PrepareCommit ──▶ CompleteCommit ─┐
//!                ▲             ▲   └───────▶ PrepareAbort ───▶ CompleteAbort ──┤
//!                │ init        │ add    end, time-out, init                    │
//!                └─────────────┴───────────────────────────────────────────────┘
//! ```

use std::{collections::BTreeSet, sync::Arc};

use courant_model::{Timestamp, TopicPartition, limits::TRANSACTIONAL_ID_KEPT_MS};

use super::types::{ProducerIdentity, TransactionDescription, TransactionState};
use crate::{LogError, batch::Marker};

/// The last epoch that a producer is given; the one above is for fencing it.
const EPOCH_GIVEN_MAX: i16 = i16::MAX - 1;

/// A transactional id and its latest transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) id: Arc<str>,
    pub(super) producer: ProducerIdentity,
    /// Who the producer was before it asked for a new epoch itself: the answer may
    /// have been lost on the way, then it asks as this one again.
    pub(super) previous: Option<ProducerIdentity>,
    pub(super) timeout_ms: i32,
    pub(super) state: TransactionState,
    pub(super) partitions: BTreeSet<TopicPartition>,
    pub(super) updated_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
}

/// What becomes of a producer that starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It was told before.
    Known,
    Next(Transaction),
    /// Its id has no epochs left: it needs another.
    Exhausted,
    /// The open transaction is to be ended like this first.
    Abort(Transaction),
}

impl Transaction {
    /// The first producer of an id.
    pub(super) fn new(id: Arc<str>, producer_id: i64, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            id,
            producer: ProducerIdentity { id: producer_id, epoch: 0 },
            previous: None,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            updated_at: now,
            started_at: None,
        }
    }

    /// A producer starts; `current` is who it says it is if it goes on after an error.
    pub(super) fn start(
        &self,
        timeout_ms: i32,
        current: Option<ProducerIdentity>,
        now: Timestamp,
    ) -> Result<Start, LogError> {
        let repeats = self.state == TransactionState::Empty && current == self.previous;
        match current {
            Some(_) if repeats => return Ok(Start::Known),
            Some(current) if current != self.producer => return Err(self.fenced(current)),
            _ => {}
        }
        match self.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                Err(self.concurrent())
            }
            TransactionState::Ongoing => Ok(Start::Abort(self.fence(now))),
            _ if self.producer.epoch >= EPOCH_GIVEN_MAX => Ok(Start::Exhausted),
            _ => {
                let ProducerIdentity { id, epoch } = self.producer;
                let next = ProducerIdentity { id, epoch: epoch + 1 };
                Ok(Start::Next(self.restarted(next, timeout_ms, current, now)))
            }
        }
    }

    /// The producer goes on with another id.
    pub(super) fn rotated(
        &self,
        producer_id: i64,
        timeout_ms: i32,
        current: Option<ProducerIdentity>,
        now: Timestamp,
    ) -> Self {
        let producer = ProducerIdentity { id: producer_id, epoch: 0 };
        self.restarted(producer, timeout_ms, current, now)
    }

    fn restarted(
        &self,
        producer: ProducerIdentity,
        timeout_ms: i32,
        previous: Option<ProducerIdentity>,
        now: Timestamp,
    ) -> Self {
        let fresh = Self::new(Arc::clone(&self.id), producer.id, timeout_ms, now);
        Self { producer, previous, ..fresh }
    }

    /// Partitions become part of the transaction, which begins with the first; `None`
    /// if they are already.
    pub(super) fn add(
        &self,
        producer: ProducerIdentity,
        partitions: &BTreeSet<TopicPartition>,
        now: Timestamp,
    ) -> Result<Option<Self>, LogError> {
        self.check(producer)?;
        match self.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                return Err(self.concurrent());
            }
            TransactionState::Ongoing if self.partitions.is_superset(partitions) => {
                return Ok(None);
            }
            _ => {}
        }
        let mut next = self.clone();
        if self.state != TransactionState::Ongoing {
            next.started_at = Some(now);
            next.partitions.clear();
        }
        next.state = TransactionState::Ongoing;
        next.partitions.extend(partitions.iter().cloned());
        next.updated_at = now;
        Ok(Some(next))
    }

    /// Fails unless a partition is part of the producer's open transaction.
    pub(super) fn check_holds(
        &self,
        producer: ProducerIdentity,
        partition: &TopicPartition,
    ) -> Result<(), LogError> {
        self.check(producer)?;
        if self.state == TransactionState::Ongoing && self.partitions.contains(partition) {
            return Ok(());
        }
        Err(self.refused("write where it was not added"))
    }

    /// The producer ends its transaction; `None` if that end is complete already.
    pub(super) fn end(
        &self,
        producer: ProducerIdentity,
        marker: Marker,
        now: Timestamp,
    ) -> Result<Option<Self>, LogError> {
        self.check(producer)?;
        match (self.state, marker) {
            (TransactionState::Ongoing, _) => Ok(Some(self.prepared(marker, now))),
            (TransactionState::CompleteCommit, Marker::Commit)
            | (TransactionState::CompleteAbort, Marker::Abort) => Ok(None),
            (TransactionState::PrepareCommit, Marker::Commit)
            | (TransactionState::PrepareAbort, Marker::Abort) => Err(self.concurrent()),
            (_, Marker::Commit) => Err(self.refused("commit")),
            (_, Marker::Abort) => Err(self.refused("abort")),
        }
    }

    /// Ends an open transaction in its producer's place, which is thereby fenced.
    pub(super) fn fence(&self, now: Timestamp) -> Self {
        let ProducerIdentity { id, epoch } = self.producer;
        let producer = ProducerIdentity { id, epoch: epoch.saturating_add(1) };
        Self { producer, previous: None, ..self.prepared(Marker::Abort, now) }
    }

    /// The marker that the partitions are to get, if the transaction is ending.
    pub(super) const fn marker(&self) -> Option<Marker> {
        match self.state {
            TransactionState::PrepareCommit => Some(Marker::Commit),
            TransactionState::PrepareAbort => Some(Marker::Abort),
            _ => None,
        }
    }

    /// All partitions have their marker.
    pub(super) fn complete(&self, now: Timestamp) -> Self {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        Self { state, partitions: BTreeSet::new(), updated_at: now, ..self.clone() }
    }

    /// Whether the transaction has been open for longer than its producer wanted.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        let until = self.started_at.map(|at| at.plus_millis(i64::from(self.timeout_ms)));
        self.state == TransactionState::Ongoing && until.is_some_and(|until| until < now)
    }

    /// Whether nobody has used the id for so long that it is forgotten.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        let idle = self.state != TransactionState::Ongoing && self.marker().is_none();
        idle && self.updated_at.plus_millis(TRANSACTIONAL_ID_KEPT_MS) <= now
    }

    /// Whether the transaction is what keeps a partition waiting for its marker.
    pub(super) fn accounts_for(&self, producer_id: i64, partition: &TopicPartition) -> bool {
        let is_open = self.state == TransactionState::Ongoing || self.marker().is_some();
        is_open && self.producer.id == producer_id && self.partitions.contains(partition)
    }

    pub(super) fn describe(&self) -> TransactionDescription {
        TransactionDescription {
            id: self.id.to_string(),
            producer: self.producer,
            state: self.state,
            timeout_ms: self.timeout_ms,
            started_at: self.started_at,
            partitions: self.partitions.clone(),
        }
    }

    /// It is about to end, or was when somebody asked.
    pub(super) fn concurrent(&self) -> LogError {
        LogError::ConcurrentTransactions { id: self.id.to_string() }
    }

    fn prepared(&self, marker: Marker, now: Timestamp) -> Self {
        let state = match marker {
            Marker::Commit => TransactionState::PrepareCommit,
            Marker::Abort => TransactionState::PrepareAbort,
        };
        Self { state, updated_at: now, ..self.clone() }
    }

    fn check(&self, producer: ProducerIdentity) -> Result<(), LogError> {
        if producer.id != self.producer.id {
            let (id, producer_id) = (self.id.to_string(), producer.id);
            return Err(LogError::InvalidProducerIdMapping { id, producer_id });
        }
        if producer.epoch != self.producer.epoch {
            return Err(self.fenced(producer));
        }
        Ok(())
    }

    const fn fenced(&self, found: ProducerIdentity) -> LogError {
        let ProducerIdentity { id: producer_id, epoch: found } = found;
        LogError::ProducerFenced { producer_id, found, current: self.producer.epoch }
    }

    const fn refused(&self, action: &'static str) -> LogError {
        let (producer_id, state) = (self.producer.id, self.state.as_str());
        LogError::InvalidTransactionState { producer_id, action, state }
    }
}
