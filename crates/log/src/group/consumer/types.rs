//! What goes into a consumer group's state machine and what comes out.
//!
//! The shapes follow Kafka's ConsumerGroupHeartbeat and ConsumerGroupDescribe
//! messages, with topics by name. In a heartbeat `None` says "as I told you before".

use std::collections::BTreeSet;

use courant_model::{TopicName, TopicPartition};

use super::super::assign::AssignmentStrategy;
use crate::GroupState;

/// The epoch of a member that leaves.
pub const LEAVE_EPOCH: i32 = -1;

/// The epoch of a static member that will be back within its session.
pub const STEP_OUT_EPOCH: i32 = -2;

/// A heartbeat: joins, stays or leaves, and tells what the member holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerHeartbeat {
    /// Empty for a new member that wants to be given one.
    pub member_id: String,
    /// 0 joins, [`LEAVE_EPOCH`] leaves, [`STEP_OUT_EPOCH`] goes for a while; else the
    /// epoch that the last answer told.
    pub member_epoch: i32,
    /// Set: a static member, which a restart does not make another.
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    /// Where the member runs, for people to read.
    pub client_host: String,
    /// How long the member may take to give partitions back.
    pub rebalance_timeout_ms: Option<u64>,
    pub topics: Option<BTreeSet<TopicName>>,
    /// All topics whose whole name matches; empty for none.
    pub regex: Option<String>,
    pub assignor: Option<ServerAssignor>,
    /// What the member holds.
    pub owned: Option<BTreeSet<TopicPartition>>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHeartbeatAnswer {
    pub member_id: String,
    pub member_epoch: i32,
    /// When the next heartbeat is expected.
    pub heartbeat_interval_ms: u64,
    /// What the member is to hold from now on; `None`: as before.
    pub assignment: Option<BTreeSet<TopicPartition>>,
}

/// A way in which the log shares partitions for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ServerAssignor {
    /// Balanced, and as much as possible stays where it was.
    #[default]
    Uniform,
    /// Per topic a run of neighbouring partitions each.
    Range,
}

impl ServerAssignor {
    /// Every assignor, the default first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Kafka's name of the assignor.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    pub(super) const fn strategy(self) -> AssignmentStrategy {
        match self {
            Self::Uniform => AssignmentStrategy::Sticky,
            Self::Range => AssignmentStrategy::Range,
        }
    }
}

/// A consumer group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupSnapshot {
    pub state: GroupState,
    pub epoch: i32,
    /// The epoch of the target assignment, which is made with the group's own.
    pub assignment_epoch: i32,
    pub assignor: ServerAssignor,
    pub members: Vec<ConsumerMemberSnapshot>,
}

/// A member of a consumer group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerMemberSnapshot {
    pub id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<TopicName>,
    /// Empty without one.
    pub regex: String,
    /// What it holds or is about to.
    pub assignment: BTreeSet<TopicPartition>,
    /// What it is to hold once the others have let go.
    pub target: BTreeSet<TopicPartition>,
}
