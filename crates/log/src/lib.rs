//! The event log: what every record passes through.
//!
//! [`Log`] is the role; [`EmbeddedLog`] keeps it in a folder of this machine. The
//! rest of Courant sees the trait and the types of [`api`] only; a broker and
//! measurements use the raw calls of [`EmbeddedLog`] and [`batch`] too.
//!
//! Inside, from the outside in: `embedded` (topics, groups, transactions, upkeep),
//! `group` and `transaction` (their coordinators), `partition`
//! (append, read, recovery, retention, compaction), `segment` (a file and its
//! indexes), `batch` (bytes), `disk` (the file system, replaceable in tests).

pub mod api;
pub mod batch;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod disk;
mod embedded;
pub mod error;
pub mod group;
mod options;
mod partition;
mod partitioner;
mod segment;
mod settings;
pub mod state;
mod transaction;
mod wire;

pub use api::{
    Appended, AutoOffsetReset, Committed, Committer, GroupChange, GroupDescription, GroupMember,
    GroupOffset, GroupState, GroupSummary, Log, MemberDescription, PartitionOffsets,
    PartitionReader, Read, ReadLimit, Subscription, TopicChange, TopicDescription, TopicSpec,
    TransactionalProducer,
};
pub use embedded::{EmbeddedLog, FetchLimit, LEADER_EPOCH, PartitionHandle, PendingAppend};
pub use error::{ErrorCode, LogError};
pub use options::{Durability, DurabilityError, LogOptions};
pub use partition::{AbortedTransaction, Ends, Fetched, RecoveryReport, Stop};
pub use partitioner::partition_of;
pub use settings::{
    ConfigEntry, ConfigError, ConfigKind, Ratio, RatioError, Retention, TimestampSource,
    TopicSettings,
};
pub use transaction::{
    ProducerDescription, ProducerIdentity, TRANSACTIONS_TOPIC, TransactionDescription,
    TransactionFilter, TransactionState, TransactionSummary, Transactions,
};
