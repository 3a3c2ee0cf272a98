//! Transactions: which producer may write, to which partitions, and how it ends.
//!
//! One [`Transactions`] per log decides for all transactional ids. Each id has a
//! `machine::Transaction`, pure, which says what follows from a call; the
//! coordinator keeps every decision as a record of a hidden, compacted topic before
//! it answers, and then carries it out: partitions let a producer in once they were
//! added, and get its marker when the transaction ends. Producers of this process and
//! those behind a network protocol meet in the same coordinator.
//!
//! Invariant: once a `PrepareCommit` is durable the transaction is committed, and a
//! start finishes what a crash left of it; everything else that is open is aborted in
//! the end. Not here: the records themselves, which go straight to their partitions,
//! and offsets, which wait for their marker in the groups' own topic.

mod coordinator;
mod machine;
mod records;
mod slots;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use coordinator::TransactionLog;
pub use coordinator::Transactions;
pub use types::{
    ProducerDescription, ProducerIdentity, TransactionDescription, TransactionFilter,
    TransactionState, TransactionSummary,
};

/// Name of the internal topic, Kafka's own; it is not listed among the topics.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
