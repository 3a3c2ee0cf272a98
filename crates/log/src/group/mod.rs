//! Consumer groups: who reads which partition, and how far they have come.
//!
//! One [`Coordinator`] per log decides for all its groups. Members inside the
//! process ([`Coordinator::subscribe`]) and members behind a network protocol
//! ([`Coordinator::join`], `sync`, `heartbeat`, `leave`) meet in the same state
//! machine, which is Kafka's classic one. Offsets are records of an internal,
//! compacted topic that the log keeps behind [`crate::state::StateStore`]; those of open
//! transactions wait there for their marker.
//!
//! Invariant: within one generation a partition has at most one owner, and an
//! offset is answered as committed only once it is durable. Groups of the newer protocol
//! (KIP-848) are [`consumer`]. Not here: who may write in a transaction, and when it ends.

mod assign;
mod consumer;
mod coordinator;
mod describe;
mod driver;
mod machine;
mod member;
mod protocol;
mod reader;
mod records;
mod seat;
mod shared;
mod table;
#[cfg(test)]
mod tests;
mod transactions;
mod writer;

pub use assign::{AssignmentStrategy, Assignments, Candidate, TopicPartitions};
pub use consumer::{
    ConsumerGroupSnapshot, ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerMemberSnapshot,
    LEAVE_EPOCH, STEP_OUT_EPOCH, ServerAssignor,
};
pub use coordinator::{Coordinator, GroupOptions};
pub use describe::GroupKind;
pub use machine::{
    GroupSnapshot, JoinRequest, Joined, JoinedMember, MemberSnapshot, Membership, Protocol,
    SyncRequest, Synced,
};
pub use protocol::{
    CONSUMER_PROTOCOL, CONSUMER_PROTOCOL_VERSION, MemberAssignment, MemberSubscription,
    StickyUserData, cooperative_generation, cooperative_user_data,
};
pub use reader::PartitionSource;
pub use seat::MemberOffsets;
pub use transactions::StableOffsets;

pub use crate::wire::Malformed;

/// Name of the internal topic, Kafka's own; it is not listed among the topics.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
