//! The classic group as a state machine: pure, synchronous, deterministic.
//!
//! Inputs are calls of members and the passing of time; outputs are [`Answer`]s to
//! calls that wait, to be taken after every input. It follows Kafka's
//! `GroupCoordinator`:
//!
//! ```text
//!            join                 all joined, or time          leader's sync
//!   Empty ─────────▶ Preparing ───────────────▶ Completing ───────────────▶ Stable
//!     ▲                │  ▲                        │ join, leave, expiry      │
//!     └────────────────┘  └────────────────────────┴──────────────────────────┘
//!      nobody joined
//! ```
//!
//! Dead is a group that the coordinator has forgotten; it never is in here.
//! Invariant: every ticket is answered exactly once, by another event or by time.
//! Time is milliseconds from any fixed start; no clock is read.

mod member;
mod rebalance;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use courant_model::limits;

pub(crate) use self::types::{Answer, Ticket};
pub use self::types::{
    GroupSnapshot, JoinRequest, Joined, JoinedMember, MemberSnapshot, Membership, Protocol,
    SyncRequest, Synced,
};
use self::{member::Member, rebalance::Initial};
use crate::{GroupState, LogError};

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    id: String,
    state: GroupState,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Static members: instance id to member id.
    instances: BTreeMap<String, String>,
    /// Ids handed out with [`LogError::MemberIdRequired`], and until when they hold.
    pending: BTreeMap<String, u64>,
    /// Members of this generation that have not asked for their share yet.
    unsynced: BTreeSet<String>,
    initial_delay_ms: u64,
    /// Set while the very first rebalance gathers members.
    initial: Option<Initial>,
    rebalance_deadline_ms: Option<u64>,
    sync_deadline_ms: Option<u64>,
    answers: Vec<Answer>,
}

impl Group {
    /// An empty group; `generation` is the last one that is known.
    pub(crate) fn new(id: &str, generation: i32, initial_delay_ms: u64) -> Self {
        Self {
            id: id.to_owned(),
            state: GroupState::Empty,
            generation,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            initial_delay_ms,
            initial: None,
            rebalance_deadline_ms: None,
            sync_deadline_ms: None,
            answers: Vec::new(),
        }
    }

    pub(crate) const fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) const fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub(crate) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Bytes that members have brought and been given, and those on their way in.
    pub(crate) fn held_bytes(&self) -> usize {
        let members = self.members.iter().map(|(id, member)| id.len() + member.held_bytes());
        members.chain(self.pending.keys().map(String::len)).sum()
    }

    /// Whether nobody is in the group or on the way into it.
    pub(crate) fn is_deserted(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// The answers since the last time.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Asks for membership of the next generation. `new_id` becomes the member's id
    /// if it has none yet.
    pub(crate) fn join(
        &mut self,
        request: JoinRequest,
        new_id: String,
        ticket: Ticket,
        now_ms: u64,
    ) {
        if let Err(refusal) = self.try_join(request, new_id, ticket, now_ms) {
            self.answers.push(Answer::Join(ticket, Err(refusal)));
        }
    }

    fn try_join(
        &mut self,
        request: JoinRequest,
        new_id: String,
        ticket: Ticket,
        now_ms: u64,
    ) -> Result<(), LogError> {
        self.check_metadata_size(&request)?;
        self.check_room(&request.member_id)?;
        if !self.shares_a_protocol(&request) {
            return Err(LogError::InconsistentProtocol { group: self.id.clone() });
        }
        if request.member_id.is_empty() {
            self.join_new(request, new_id, ticket, now_ms)?;
        } else {
            self.join_known(request, ticket, now_ms)?;
        }
        self.complete_join_if_all_are_here(now_ms);
        Ok(())
    }

    fn join_new(
        &mut self,
        request: JoinRequest,
        new_id: String,
        ticket: Ticket,
        now_ms: u64,
    ) -> Result<(), LogError> {
        let known = request.instance_id.as_ref().and_then(|id| self.instances.get(id)).cloned();
        if let Some(old_id) = known {
            self.replace_static(request, &old_id, &new_id, ticket, now_ms);
        } else if request.instance_id.is_none() && request.member_id_required {
            let until = now_ms.saturating_add(request.session_timeout_ms);
            self.pending.insert(new_id.clone(), until);
            return Err(LogError::MemberIdRequired { group: self.id.clone(), member: new_id });
        } else {
            self.add(request, new_id, ticket, now_ms);
        }
        Ok(())
    }

    fn join_known(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        now_ms: u64,
    ) -> Result<(), LogError> {
        let id = request.member_id.clone();
        if request.instance_id.is_none() && self.pending.remove(&id).is_some() {
            self.add(request, id, ticket, now_ms);
            return Ok(());
        }
        self.check_known(&id, request.instance_id.as_deref())?;
        let says_the_same = self.members[&id].says_the_same(&request.protocols);
        let is_leader = self.leader.as_ref() == Some(&id);
        match self.state {
            GroupState::CompletingRebalance if says_the_same => {
                self.answer_current(&id, ticket, now_ms);
            }
            GroupState::Stable if says_the_same && !is_leader => {
                self.answer_current(&id, ticket, now_ms);
            }
            GroupState::Empty | GroupState::Dead => return Err(self.unknown_member(&id)),
            _ => {
                self.update(&id, request, ticket, now_ms);
                self.prepare_rebalance(now_ms);
            }
        }
        Ok(())
    }

    /// Asks for one's share of this generation; the leader's call brings the shares.
    pub(crate) fn sync(&mut self, request: SyncRequest, ticket: Ticket, now_ms: u64) {
        if let Err(refusal) = self.try_sync(request, ticket, now_ms) {
            self.answers.push(Answer::Sync(ticket, Err(refusal)));
        }
    }

    fn try_sync(
        &mut self,
        request: SyncRequest,
        ticket: Ticket,
        now_ms: u64,
    ) -> Result<(), LogError> {
        let id = request.membership.member_id.clone();
        self.check_known(&id, request.membership.instance_id.as_deref())?;
        self.check_generation(request.membership.generation)?;
        let differs = |asked: &Option<String>, ours: &Option<String>| {
            asked.is_some() && asked.as_ref() != ours.as_ref()
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(LogError::InconsistentProtocol { group: self.id.clone() });
        }
        match self.state {
            GroupState::CompletingRebalance => {
                self.unsynced.remove(&id);
                self.wait_for_share(&id, ticket);
                if self.leader.as_ref() == Some(&id) {
                    self.hand_out(request.assignments, now_ms);
                }
                Ok(())
            }
            GroupState::Stable => {
                self.unsynced.remove(&id);
                self.answer_share(&id, ticket, now_ms);
                Ok(())
            }
            _ => Err(self.rebalancing()),
        }
    }

    /// Keeps a membership alive.
    ///
    /// # Errors
    /// [`LogError::RebalanceInProgress`] when the member has to join again,
    /// [`LogError::UnknownMember`], [`LogError::IllegalGeneration`],
    /// [`LogError::FencedInstance`].
    pub(crate) fn heartbeat(
        &mut self,
        membership: &Membership,
        now_ms: u64,
    ) -> Result<(), LogError> {
        self.check_membership(membership)?;
        self.touch(&membership.member_id, now_ms);
        match self.state {
            GroupState::PreparingRebalance => Err(self.rebalancing()),
            _ => Ok(()),
        }
    }

    /// Takes a member out at once. A static member is found by its instance alone
    /// when `member_id` is empty.
    ///
    /// # Errors
    /// [`LogError::UnknownMember`], [`LogError::FencedInstance`].
    pub(crate) fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        now_ms: u64,
    ) -> Result<(), LogError> {
        if instance_id.is_none() && self.pending.remove(member_id).is_some() {
            self.complete_join_if_all_are_here(now_ms);
            return Ok(());
        }
        let by_instance = instance_id.and_then(|id| self.instances.get(id)).cloned();
        let id = match by_instance {
            Some(current) if member_id.is_empty() => current,
            _ => member_id.to_owned(),
        };
        self.check_known(&id, instance_id)?;
        self.remove(&id, now_ms);
        Ok(())
    }

    /// Whether these offsets may be committed; counts as a heartbeat.
    ///
    /// # Errors
    /// As [`Group::heartbeat`]. Somebody outside the group may commit only while the
    /// group has no members. During the first half of a rebalance members still may.
    pub(crate) fn check_commit(
        &mut self,
        membership: &Membership,
        now_ms: u64,
    ) -> Result<(), LogError> {
        if membership.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if membership.is_none() {
            return Err(self.unknown_member(""));
        }
        self.check_membership(membership)?;
        self.touch(&membership.member_id, now_ms);
        match self.state {
            GroupState::CompletingRebalance => Err(self.rebalancing()),
            _ => Ok(()),
        }
    }

    /// Whether a member may commit offsets within a transaction: as Kafka does, also
    /// while shares are being given out, for producers take a refusal there for good.
    pub(crate) fn check_transactional_commit(
        &mut self,
        membership: &Membership,
        now_ms: u64,
    ) -> Result<(), LogError> {
        self.check_membership(membership)?;
        self.touch(&membership.member_id, now_ms);
        Ok(())
    }

    /// Lets time pass: expires members, and ends what has waited long enough.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let due = |deadline: Option<u64>| deadline.is_some_and(|deadline| deadline <= now_ms);
        let pending_before = self.pending.len();
        self.pending.retain(|_, until| *until > now_ms);
        if self.pending.len() != pending_before {
            self.complete_join_if_all_are_here(now_ms);
        }
        let silent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, one)| one.is_silent(now_ms))
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            self.remove(&id, now_ms);
        }
        if due(self.rebalance_deadline_ms) {
            self.end_of_joining(now_ms);
        }
        if due(self.sync_deadline_ms) {
            self.drop_unsynced(now_ms);
        }
    }

    /// When [`Group::tick`] has something to do.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let members = self.members.values().filter_map(Member::deadline_ms);
        let pending = self.pending.values().copied();
        members.chain(pending).chain(self.rebalance_deadline_ms).chain(self.sync_deadline_ms).min()
    }

    /// Answers everybody who waits; the group is about to be dropped.
    pub(crate) fn close(&mut self) {
        for member in self.members.values_mut() {
            member.refuse(&LogError::Closed, &mut self.answers);
        }
    }

    pub(crate) fn snapshot(&self) -> GroupSnapshot {
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = |(id, member): (&String, &Member)| MemberSnapshot {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&protocol),
            assignment: member.assignment.clone(),
        };
        GroupSnapshot {
            state: self.state,
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self.members.iter().map(member).collect(),
            protocol,
        }
    }

    fn check_metadata_size(&self, request: &JoinRequest) -> Result<(), LogError> {
        let found: usize =
            request.protocols.iter().map(|one| one.name.len() + one.metadata.len()).sum();
        let max = limits::GROUP_MEMBER_METADATA_BYTES_MAX;
        if found > max {
            let why = format!("a member joins with {found} bytes of metadata, {max} are allowed");
            return Err(LogError::InvalidGroup { group: self.id.clone(), why });
        }
        Ok(())
    }

    fn check_room(&self, member_id: &str) -> Result<(), LogError> {
        let others = self.members.len() + self.pending.len();
        let is_in = self.members.contains_key(member_id) || self.pending.contains_key(member_id);
        if !is_in && others >= limits::GROUP_MEMBERS_MAX {
            return Err(LogError::GroupFull { group: self.id.clone(), members: others });
        }
        Ok(())
    }

    fn check_membership(&self, membership: &Membership) -> Result<(), LogError> {
        self.check_known(&membership.member_id, membership.instance_id.as_deref())?;
        self.check_generation(membership.generation)
    }

    fn check_known(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), LogError> {
        if let Some(instance) = instance_id {
            return match self.instances.get(instance) {
                Some(current) if current == member_id => Ok(()),
                Some(_) => Err(self.fenced(instance)),
                None => Err(self.unknown_member(member_id)),
            };
        }
        if !self.members.contains_key(member_id) {
            return Err(self.unknown_member(member_id));
        }
        Ok(())
    }

    fn check_generation(&self, found: i32) -> Result<(), LogError> {
        if found != self.generation {
            let expected = self.generation;
            return Err(LogError::IllegalGeneration { group: self.id.clone(), found, expected });
        }
        Ok(())
    }

    fn unknown_member(&self, member: &str) -> LogError {
        LogError::UnknownMember { group: self.id.clone(), member: member.to_owned() }
    }

    fn rebalancing(&self) -> LogError {
        LogError::RebalanceInProgress { group: self.id.clone() }
    }

    fn fenced(&self, instance: &str) -> LogError {
        LogError::FencedInstance { group: self.id.clone(), instance: instance.to_owned() }
    }
}
