//! Consumer groups of Kafka's newer protocol (KIP-848): the log shares out itself.
//!
//! [`machine`] is the group, [`member`] one of its members, [`live`] puts time and
//! durability around them within the coordinator. What is kept is the group's epoch;
//! members join again after a restart, under their own ids. An id belongs to a
//! group of this kind or of the classic one; it changes its kind while it is empty.

mod live;
mod machine;
mod member;
#[cfg(test)]
mod tests;
mod types;

pub(super) use self::live::ConsumerLive;
pub use self::types::{
    ConsumerGroupSnapshot, ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerMemberSnapshot,
    LEAVE_EPOCH, STEP_OUT_EPOCH, ServerAssignor,
};
