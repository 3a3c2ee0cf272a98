//! The consumer group of KIP-848 as a state machine: pure, synchronous, deterministic.
//!
//! The log itself shares the partitions out; members only send heartbeats. Whoever
//! joins, leaves, falls silent or changes its subscription, and every topic that
//! comes, goes or grows, gives the group a new epoch with a new target, and each
//! member steps there on its own ([`super::member`]). Nobody waits for anybody but
//! for the partitions that it is to get.
//!
//! Invariant: a partition is in the hands of at most one member, counting what is
//! still being given back. Time is milliseconds from any fixed start; no clock is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use courant_model::{TopicName, TopicPartition, limits};

use super::{
    member::{Member, compile},
    types::{
        ConsumerGroupSnapshot, ConsumerHeartbeat, ConsumerHeartbeatAnswer, LEAVE_EPOCH,
        STEP_OUT_EPOCH, ServerAssignor,
    },
};
use crate::{
    GroupState, LogError,
    group::assign::{Assignments, Candidate, TopicPartitions},
};

/// One consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    id: String,
    epoch: i32,
    members: BTreeMap<String, Member>,
    /// Static members: instance id to member id.
    instances: BTreeMap<String, String>,
    assignor: ServerAssignor,
    target: Assignments,
    topics: Arc<TopicPartitions>,
    /// The subscribed topics that the target was made for.
    shared_out: TopicPartitions,
    timing: Timing,
}

/// How members keep in touch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) session_timeout_ms: u64,
    pub(crate) heartbeat_interval_ms: u64,
}

impl ConsumerGroup {
    /// An empty group; `epoch` is the last one that is known.
    pub(crate) fn new(id: &str, epoch: i32, topics: Arc<TopicPartitions>, timing: Timing) -> Self {
        Self {
            id: id.to_owned(),
            epoch,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            assignor: ServerAssignor::default(),
            target: Assignments::new(),
            topics,
            shared_out: TopicPartitions::new(),
            timing,
        }
    }

    pub(crate) const fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn state(&self) -> GroupState {
        let nothing = BTreeSet::new();
        let target = |id| self.target.get(id).unwrap_or(&nothing);
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.members.iter().all(|(id, one)| one.is_stable(self.epoch, target(id))) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// Bytes that its members keep in memory because of what they said.
    pub(crate) fn held_bytes(&self) -> usize {
        self.members.values().map(Member::held_bytes).sum()
    }

    /// One heartbeat of a member. `new_id` becomes its id if it has none; a regular
    /// expression finds topics that it `may_see`.
    ///
    /// # Errors
    /// [`LogError::UnknownMember`], [`LogError::FencedMemberEpoch`],
    /// [`LogError::UnreleasedInstance`], [`LogError::FencedInstance`],
    /// [`LogError::InvalidRegex`], [`LogError::GroupFull`].
    pub(crate) fn heartbeat(
        &mut self,
        request: &ConsumerHeartbeat,
        new_id: String,
        may_see: &dyn Fn(&TopicName) -> bool,
        now_ms: u64,
    ) -> Result<ConsumerHeartbeatAnswer, LogError> {
        match request.member_epoch {
            LEAVE_EPOCH => {
                self.check_known(request)?;
                self.remove(&request.member_id);
                self.change(true);
                Ok(self.answer(&request.member_id, LEAVE_EPOCH, None))
            }
            STEP_OUT_EPOCH => {
                self.check_known(request)?;
                let session_timeout_ms = self.timing.session_timeout_ms;
                if let Some(member) = self.members.get_mut(&request.member_id) {
                    member.step_out();
                    member.touch(now_ms, session_timeout_ms);
                }
                Ok(self.answer(&request.member_id, STEP_OUT_EPOCH, None))
            }
            _ => self.attend(request, new_id, may_see, now_ms),
        }
    }

    /// A heartbeat of a member that joins or stays.
    fn attend(
        &mut self,
        request: &ConsumerHeartbeat,
        new_id: String,
        may_see: &dyn Fn(&TopicName) -> bool,
        now_ms: u64,
    ) -> Result<ConsumerHeartbeatAnswer, LogError> {
        if let Some(pattern) = &request.regex {
            // Before anything has changed.
            compile(pattern)?;
        }
        let joins = request.member_epoch == 0;
        let (id, is_new) =
            if joins { self.admit(request, new_id)? } else { (self.check_epoch(request)?, false) };
        let session_timeout_ms = self.timing.session_timeout_ms;
        let member = self.members.entry(id.clone()).or_default();
        member.touch(now_ms, session_timeout_ms);
        let wants_else = member.update(request);
        let sees_else = member.resolve(&self.topics, may_see)?;
        let held_before = member.assigned.clone();
        self.change(is_new || wants_else || sees_else);
        let target = self.target.get(&id).cloned().unwrap_or_default();
        let held = self.held_by_others(&id);
        let Some(member) = self.members.get_mut(&id) else { return Err(self.unknown(&id)) };
        let owned = request.owned.as_ref();
        member.reconcile(self.epoch, &target, owned, |partition| held.contains(partition), now_ms);
        let (epoch, assigned) = (member.epoch, member.assigned.clone());
        let tells_all = request.rebalance_timeout_ms.is_some()
            && (request.topics.is_some() || request.regex.is_some())
            && request.owned.is_some();
        let is_behind = std::mem::take(&mut member.is_behind);
        let is_news = joins || tells_all || is_behind || assigned != held_before;
        Ok(self.answer(&id, epoch, is_news.then_some(assigned)))
    }

    /// Finds or makes the place of a member that joins; whether it is a new one.
    fn admit(
        &mut self,
        request: &ConsumerHeartbeat,
        new_id: String,
    ) -> Result<(String, bool), LogError> {
        let id = if request.member_id.is_empty() { new_id } else { request.member_id.clone() };
        let holder = request.instance_id.as_ref().and_then(|one| self.instances.get(one)).cloned();
        if let Some(holder) = holder.filter(|holder| *holder != id) {
            self.take_place(&holder, &id)?;
            return Ok((id, false));
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.restart();
            return Ok((id, false));
        }
        if self.members.len() >= limits::GROUP_MEMBERS_MAX {
            let (group, members) = (self.id.clone(), self.members.len());
            return Err(LogError::GroupFull { group, members });
        }
        if let Some(instance) = &request.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        Ok((id, true))
    }

    /// A static member that is back takes over what it left.
    fn take_place(&mut self, old_id: &str, new_id: &str) -> Result<(), LogError> {
        let is_out = self.members.get(old_id).is_some_and(|old| old.epoch == STEP_OUT_EPOCH);
        let old = if is_out { self.members.remove(old_id) } else { None };
        let Some(mut member) = old else {
            let member = self.members.get(old_id);
            let instance = member.and_then(|old| old.instance_id.clone()).unwrap_or_default();
            return Err(LogError::UnreleasedInstance { group: self.id.clone(), instance });
        };
        member.epoch = 0;
        if let Some(instance) = member.instance_id.clone() {
            self.instances.insert(instance, new_id.to_owned());
        }
        if let Some(target) = self.target.remove(old_id) {
            self.target.insert(new_id.to_owned(), target);
        }
        self.members.insert(new_id.to_owned(), member);
        Ok(())
    }

    /// Takes members out who fell silent or kept what they had to give back.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let overdue = |(_, member): &(&String, &Member)| member.is_overdue(now_ms);
        let gone: Vec<String> =
            self.members.iter().filter(overdue).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.remove(id);
        }
        self.change(!gone.is_empty());
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.members.values().map(Member::deadline_ms).min()
    }

    /// Topics came, went or grew.
    pub(crate) fn topics_changed(&mut self, topics: Arc<TopicPartitions>) {
        self.topics = topics;
        for member in self.members.values_mut() {
            member.forget_gone(&self.topics);
        }
        self.change(false);
    }

    /// Whether these offsets may be committed or, by a member, read.
    ///
    /// # Errors
    /// [`LogError::UnknownMember`], [`LogError::StaleMemberEpoch`]. Somebody outside the
    /// group may commit only while the group has no members.
    pub(crate) fn check_member(&self, member_id: &str, found: i32) -> Result<(), LogError> {
        if found < 0 && self.members.is_empty() {
            return Ok(());
        }
        let expected = self.members.get(member_id).ok_or_else(|| self.unknown(member_id))?.epoch;
        if found != expected {
            let (group, member) = (self.id.clone(), member_id.to_owned());
            return Err(LogError::StaleMemberEpoch { group, member, found, expected });
        }
        Ok(())
    }

    /// The topics that its members are to have partitions of.
    pub(crate) fn subscribed_topics(&self) -> BTreeSet<TopicName> {
        self.members.values().flat_map(|member| member.subscribed(&self.topics)).collect()
    }

    pub(crate) fn snapshot(&self) -> ConsumerGroupSnapshot {
        let target = |id| self.target.get(id).cloned().unwrap_or_default();
        let members = self.members.iter();
        ConsumerGroupSnapshot {
            state: self.state(),
            epoch: self.epoch,
            assignment_epoch: self.epoch,
            assignor: self.assignor,
            members: members.map(|(id, member)| member.snapshot(id, target(id))).collect(),
        }
    }

    /// Gives the group a new epoch and target if a member `has` changed anything, or
    /// if the topics that its members want have.
    fn change(&mut self, has: bool) {
        let wanted: BTreeMap<&String, BTreeSet<TopicName>> =
            self.members.iter().map(|(id, member)| (id, member.subscribed(&self.topics))).collect();
        let all: BTreeSet<&TopicName> = wanted.values().flatten().collect();
        let topics: TopicPartitions = all
            .into_iter()
            .filter_map(|topic| Some((topic.clone(), *self.topics.get(topic)?)))
            .collect();
        if !has && topics == self.shared_out {
            return;
        }
        let candidate = |(id, topics): (&String, BTreeSet<TopicName>)| Candidate {
            id: id.clone(),
            instance_id: self.members[id].instance_id.clone(),
            topics,
            owned: self.target.get(id).cloned().unwrap_or_default(),
            generation: 0,
        };
        let candidates: Vec<Candidate> = wanted.into_iter().map(candidate).collect();
        self.assignor = self.preferred();
        self.target = self.assignor.strategy().assign(&candidates, &topics);
        self.shared_out = topics;
        self.epoch = self.epoch.saturating_add(1);
    }

    /// The assignor that most members ask for.
    fn preferred(&self) -> ServerAssignor {
        let votes = |one| self.members.values().filter(|m| m.assignor == Some(one)).count();
        let range_wins = votes(ServerAssignor::Range) > votes(ServerAssignor::Uniform);
        if range_wins { ServerAssignor::Range } else { ServerAssignor::Uniform }
    }

    fn held_by_others(&self, id: &str) -> BTreeSet<TopicPartition> {
        let others = self.members.iter().filter(|(other, _)| *other != id);
        others.flat_map(|(_, one)| one.assigned.iter().chain(&one.revoking)).cloned().collect()
    }

    fn remove(&mut self, id: &str) {
        self.target.remove(id);
        if let Some(instance) = self.members.remove(id).and_then(|gone| gone.instance_id) {
            self.instances.remove(&instance);
        }
    }

    /// The member that a heartbeat comes from.
    fn check_known(&self, request: &ConsumerHeartbeat) -> Result<(), LogError> {
        let id = &request.member_id;
        if let Some(instance) = &request.instance_id {
            let holder = self.instances.get(instance).ok_or_else(|| self.unknown(id))?;
            if holder != id {
                let (group, instance) = (self.id.clone(), instance.clone());
                return Err(LogError::FencedInstance { group, instance });
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(self.unknown(id)) }
    }

    fn check_epoch(&self, request: &ConsumerHeartbeat) -> Result<String, LogError> {
        self.check_known(request)?;
        let member = &self.members[&request.member_id];
        if !member.accepts(request) {
            return Err(LogError::FencedMemberEpoch {
                group: self.id.clone(),
                member: request.member_id.clone(),
                found: request.member_epoch,
                expected: member.epoch,
            });
        }
        Ok(request.member_id.clone())
    }

    fn answer(
        &self,
        member_id: &str,
        member_epoch: i32,
        assignment: Option<BTreeSet<TopicPartition>>,
    ) -> ConsumerHeartbeatAnswer {
        ConsumerHeartbeatAnswer {
            member_id: member_id.to_owned(),
            member_epoch,
            heartbeat_interval_ms: self.timing.heartbeat_interval_ms,
            assignment,
        }
    }

    fn unknown(&self, member: &str) -> LogError {
        LogError::UnknownMember { group: self.id.clone(), member: member.to_owned() }
    }
}
