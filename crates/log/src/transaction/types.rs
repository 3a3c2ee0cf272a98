//! What callers see of transactions: identities, states, lists and descriptions.
//!
//! Names and meanings are Kafka's, so that its tools show what they show elsewhere.
//! Nothing is decided here.

use std::{collections::BTreeSet, time::Duration};

use courant_model::{Offset, Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::batch::Producer;

/// A producer's id with its epoch. The higher epoch fences the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProducerIdentity {
    pub id: i64,
    pub epoch: i16,
}

impl ProducerIdentity {
    /// The producer of batches that were built in this process: nobody sends them
    /// twice, so they have no sequence.
    pub(crate) const fn without_sequence(self) -> Producer {
        Producer { id: self.id, epoch: self.epoch, base_sequence: -1 }
    }
}

/// Where the transaction of a transactional id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionState {
    /// The producer has begun none.
    Empty,
    Ongoing,
    /// It is committed; not every partition knows yet.
    PrepareCommit,
    /// It is aborted; not every partition knows yet.
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl TransactionState {
    /// Kafka's name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// The state of that name, if it is one.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Empty,
            Self::Ongoing,
            Self::PrepareCommit,
            Self::PrepareAbort,
            Self::CompleteCommit,
            Self::CompleteAbort,
        ];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

/// Which transactions a list is to hold; the default holds all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Any of these states; empty: any at all.
    pub states: Vec<TransactionState>,
    /// Any of these producers; empty: any at all.
    pub producer_ids: Vec<i64>,
    /// Only those that began longer ago.
    pub open_for: Option<Duration>,
}

/// A transactional id in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSummary {
    pub id: String,
    pub producer_id: i64,
    pub state: TransactionState,
}

/// The transaction of a transactional id as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionDescription {
    pub id: String,
    pub producer: ProducerIdentity,
    pub state: TransactionState,
    /// Open for longer than this it is aborted, in milliseconds.
    pub timeout_ms: i32,
    /// `None` before the producer's first one.
    pub started_at: Option<Timestamp>,
    /// What it takes in, the groups' own topic among them; empty once it is complete.
    pub partitions: BTreeSet<TopicPartition>,
}

/// An idempotent producer as a partition knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerDescription {
    pub producer: ProducerIdentity,
    /// Of its last record; -1 where none is known.
    pub last_sequence: i32,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// First offset of its open transaction.
    pub open_from: Option<Offset>,
}
