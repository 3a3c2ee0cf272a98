//! The event log: what every record passes through.
//!
//! [`Log`] is the role; [`EmbeddedLog`] keeps it in a folder of this machine. The
//! rest of Courant sees the trait and the types of [`api`] only.

pub mod api;
pub mod error;

pub use api::{
    Appended, AutoOffsetReset, Committed, Committer, GroupChange, GroupDescription, GroupMember,
    GroupOffset, GroupState, GroupSummary, Log, MemberDescription, PartitionOffsets,
    PartitionReader, Read, ReadLimit, Retention, Subscription, TopicChange, TopicDescription,
    TopicSettings, TopicSpec,
};
pub use error::{ErrorCode, LogError};
