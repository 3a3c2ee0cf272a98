//! Groups as they are seen from outside: listed, and described with their lag.
//!
//! Nothing here changes a group. Both kinds of groups are shown in the same shape;
//! what only members of a classic group can read of each other stays bytes in its
//! snapshot.

use std::collections::BTreeSet;

use super::{
    consumer::{ConsumerGroupSnapshot, ConsumerMemberSnapshot},
    coordinator::Coordinator,
    machine::{GroupSnapshot, MemberSnapshot},
    protocol::{CONSUMER_PROTOCOL, MemberAssignment},
    reader::PartitionSource,
    shared::unknown_group,
};
use crate::{GroupDescription, GroupOffset, GroupState, GroupSummary, LogError, MemberDescription};

/// What kind of group an id belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupKind {
    /// Members share out among themselves.
    Classic {
        /// What they speak; empty for a group that never had members.
        protocol_type: String,
    },
    /// The log shares out (KIP-848).
    Consumer,
}

impl Coordinator {
    /// All groups, by id.
    pub fn groups(&self) -> Vec<GroupSummary> {
        let state = self.shared.state.lock();
        let kept = state.table.iter().map(|(id, _)| id);
        let ids: BTreeSet<&String> =
            state.live.keys().chain(state.consumers.keys()).chain(kept).collect();
        ids.into_iter()
            .map(|id| {
                let machine = state.live.get(id).map(|live| &live.machine);
                let (of, members) = state.consumer_state(id).unwrap_or_else(|| {
                    machine.map_or((GroupState::Empty, 0), |one| (one.state(), one.member_count()))
                });
                GroupSummary { id: id.clone(), state: of, members }
            })
            .collect()
    }

    /// The kind of a group and the protocol that its members speak; `None` for a group
    /// that does not exist.
    pub fn kind(&self, group: &str) -> Option<GroupKind> {
        let state = self.shared.state.lock();
        if state.consumer_state(group).is_some() {
            return Some(GroupKind::Consumer);
        }
        let live = state.live.get(group).and_then(|live| live.machine.protocol_type());
        let kept = state.table.get(group);
        let stored = kept.and_then(|kept| kept.group.as_ref());
        let protocol_type = live.or(stored.map(|stored| stored.protocol_type.as_str()));
        let is_known = kept.is_some() || state.live.contains_key(group);
        is_known.then(|| GroupKind::Classic {
            protocol_type: protocol_type.unwrap_or_default().to_owned(),
        })
    }

    /// A classic group and its members as the protocol sees them.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`]; [`LogError::WrongGroupKind`] for a consumer group.
    pub fn snapshot(&self, group: &str) -> Result<GroupSnapshot, LogError> {
        let state = self.shared.state.lock();
        if state.consumer_state(group).is_some() {
            return Err(LogError::WrongGroupKind { group: group.to_owned(), asked: "classic" });
        }
        if let Some(live) = state.live.get(group) {
            return Ok(live.machine.snapshot());
        }
        let kept = state.table.get(group).ok_or_else(|| unknown_group(group))?;
        let stored = kept.group.as_ref();
        Ok(GroupSnapshot {
            state: GroupState::Empty,
            generation: stored.map_or(0, |stored| stored.generation),
            protocol_type: stored.map(|stored| stored.protocol_type.clone()).unwrap_or_default(),
            protocol: String::new(),
            members: Vec::new(),
        })
    }

    /// A group with members, offsets and lag; `source` tells where partitions end.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`]; storage failures.
    pub async fn describe(
        &self,
        group: &str,
        source: &dyn PartitionSource,
    ) -> Result<GroupDescription, LogError> {
        let mut description = match self.snapshot(group) {
            Err(LogError::WrongGroupKind { .. }) => {
                describe_consumer(group, self.consumer_snapshot(group)?)
            }
            snapshot => describe_classic(group, snapshot?),
        };
        let mut offsets = Vec::new();
        for (partition, committed) in self.committed(group) {
            let end = match source.partition_offsets(&partition).await {
                Ok(offsets) => offsets.end,
                // Deleted since; its offsets go, too.
                Err(LogError::UnknownTopic { .. } | LogError::UnknownPartition { .. }) => continue,
                Err(error) => return Err(error),
            };
            let committed = committed.offset;
            offsets.push(GroupOffset { partition, committed, end, lag: (end - committed).max(0) });
        }
        description.offsets = offsets;
        Ok(description)
    }
}

fn describe_classic(group: &str, snapshot: GroupSnapshot) -> GroupDescription {
    let is_consumer = snapshot.protocol_type == CONSUMER_PROTOCOL;
    let member = |member: MemberSnapshot| {
        let assignment = MemberAssignment::decode(&member.assignment).unwrap_or_default();
        let partitions = if is_consumer { assignment.partitions } else { BTreeSet::new() };
        MemberDescription {
            id: member.id,
            instance_id: member.instance_id,
            client_id: member.client_id,
            partitions: partitions.into_iter().collect(),
        }
    };
    GroupDescription {
        id: group.to_owned(),
        state: snapshot.state,
        generation: snapshot.generation,
        strategy: snapshot.protocol,
        members: snapshot.members.into_iter().map(member).collect(),
        offsets: Vec::new(),
    }
}

fn describe_consumer(group: &str, snapshot: ConsumerGroupSnapshot) -> GroupDescription {
    let member = |member: ConsumerMemberSnapshot| MemberDescription {
        id: member.id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        partitions: member.assignment.into_iter().collect(),
    };
    GroupDescription {
        id: group.to_owned(),
        state: snapshot.state,
        generation: snapshot.epoch,
        strategy: snapshot.assignor.name().to_owned(),
        members: snapshot.members.into_iter().map(member).collect(),
        offsets: Vec::new(),
    }
}
