//! What goes into a group's state machine and what comes out.
//!
//! The shapes follow Kafka's JoinGroup, SyncGroup and DescribeGroups messages.
//! Metadata and assignments are bytes that only the members understand.

use bytes::Bytes;

use crate::{GroupState, LogError};

/// Names one waiting call; the coordinator gives them out.
pub(crate) type Ticket = u64;

/// A wish to be a member of the next generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Empty for one that is new.
    pub member_id: String,
    /// Set: a static member, which a restart does not make another.
    pub instance_id: Option<String>,
    pub client_id: String,
    /// Where the member runs, for people to read.
    pub client_host: String,
    /// Without a heartbeat for this long the member is out.
    pub session_timeout_ms: u64,
    /// How long a rebalance waits for the member to join again.
    pub rebalance_timeout_ms: u64,
    /// The kind of group; see [`crate::group::CONSUMER_PROTOCOL`].
    pub protocol_type: String,
    /// What the member can do, the preferred first.
    pub protocols: Vec<Protocol>,
    /// A new member is sent back with an id first, so that one that gave up does not
    /// stay in the group (JoinGroup from version 4).
    pub member_id_required: bool,
    /// A static leader may be told to leave the assignment as it is (from version 9).
    pub can_skip_assignment: bool,
}

impl JoinRequest {
    /// Bytes that the group would hold of it.
    pub(crate) fn held_bytes(&self) -> usize {
        let protocols = self.protocols.iter().map(|one| one.name.len() + one.metadata.len());
        let instance = self.instance_id.as_ref().map_or(0, String::len);
        protocols.sum::<usize>() + self.client_id.len() + self.client_host.len() + instance
    }
}

/// A way to share, with what the member has to say about itself under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// A membership of a new generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    /// The leader must not assign: the group goes on as it is.
    pub skip_assignment: bool,
    pub member_id: String,
    /// Everybody, for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    pub id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

/// Asks for one's share; the leader brings everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    pub membership: Membership,
    /// Checked when given (SyncGroup from version 5).
    pub protocol_type: Option<String>,
    /// Checked when given.
    pub protocol: Option<String>,
    /// By member id; from anybody but the leader it is not looked at.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Bytes,
}

/// Who speaks, and for which generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub member_id: String,
    pub instance_id: Option<String>,
    /// -1 for one that is not a member.
    pub generation: i32,
}

impl Membership {
    /// Somebody outside the group: tools, and consumers that assign by hand.
    pub const fn none() -> Self {
        Self { member_id: String::new(), instance_id: None, generation: -1 }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.generation < 0 && self.member_id.is_empty() && self.instance_id.is_none()
    }
}

/// The answer to a waiting call.
#[derive(Debug)]
pub(crate) enum Answer {
    Join(Ticket, Result<Joined, LogError>),
    Sync(Ticket, Result<Synced, LogError>),
}

/// A group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSnapshot {
    pub state: GroupState,
    pub generation: i32,
    /// Empty for a group that never had members.
    pub protocol_type: String,
    /// Empty without members.
    pub protocol: String,
    pub members: Vec<MemberSnapshot>,
}

/// A member at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSnapshot {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// What it says about itself under the protocol in force.
    pub metadata: Bytes,
    pub assignment: Bytes,
}
