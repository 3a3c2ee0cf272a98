//! How a group comes from one generation to the next.
//!
//! Preparing: everybody has to join again; it ends when all have, or when the
//! longest rebalance timeout of the members is over, without those that have not.
//! The first rebalance of an empty group waits a short while instead, so that
//! members that start together share one generation. Completing: the leader brings
//! the shares; who does not ask for theirs in time is taken out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    Group,
    member::Member,
    types::{Answer, JoinRequest, Joined, JoinedMember, Synced, Ticket},
};
use crate::GroupState;

/// The gathering of the first members.
#[derive(Debug)]
pub(super) struct Initial {
    /// Somebody came since the wait began: it is worth another one …
    newcomers: bool,
    /// … as long as this much is left.
    remaining_ms: u64,
}

impl Group {
    /// Takes in a new member, which waits for the next generation.
    pub(super) fn add(&mut self, request: JoinRequest, id: String, ticket: Ticket, now_ms: u64) {
        if let Some(initial) = &mut self.initial {
            initial.newcomers = true;
        }
        self.protocol_type = Some(request.protocol_type.clone());
        if let Some(instance) = &request.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, Member::new(request, ticket, now_ms));
        self.prepare_rebalance(now_ms);
    }

    /// Takes over what a member says now; it waits for the next generation.
    pub(super) fn update(&mut self, id: &str, request: JoinRequest, ticket: Ticket, now_ms: u64) {
        let superseded = self.rebalancing();
        self.protocol_type = Some(request.protocol_type.clone());
        let Some(member) = self.members.get_mut(id) else { return };
        member.refuse(&superseded, &mut self.answers);
        member.update(request);
        member.joining = Some(ticket);
        member.touch(now_ms);
    }

    /// A static member is back under another id: whoever had the old one is fenced,
    /// and in a stable group that goes on with the same protocol nothing moves.
    pub(super) fn replace_static(
        &mut self,
        request: JoinRequest,
        old_id: &str,
        new_id: &str,
        ticket: Ticket,
        now_ms: u64,
    ) {
        let Some(mut member) = self.members.remove(old_id) else { return };
        let instance = member.instance_id.clone().unwrap_or_default();
        member.refuse(&self.fenced(&instance), &mut self.answers);
        let can_skip = request.can_skip_assignment;
        self.protocol_type = Some(request.protocol_type.clone());
        member.update(request);
        member.joining = Some(ticket);
        member.touch(now_ms);
        self.members.insert(new_id.to_owned(), member);
        self.instances.insert(instance, new_id.to_owned());
        if self.unsynced.remove(old_id) {
            self.unsynced.insert(new_id.to_owned());
        }
        let was_leader = self.leader.as_deref() == Some(old_id);
        if was_leader {
            self.leader = Some(new_id.to_owned());
        }
        if self.state == GroupState::Stable && self.select_protocol() == self.protocol {
            self.answer_replaced(new_id, was_leader.then_some(old_id), can_skip, now_ms);
        } else {
            self.prepare_rebalance(now_ms);
        }
    }

    /// Answers a static member that came back into a stable group. A leader must not
    /// assign again: newer clients are told so, older ones see their former id lead.
    fn answer_replaced(&mut self, id: &str, led_as: Option<&str>, can_skip: bool, now_ms: u64) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.is_new = false;
        member.touch(now_ms);
        let Some(ticket) = member.joining.take() else { return };
        let mut joined = self.joined(id);
        match led_as {
            Some(_) if can_skip => joined.skip_assignment = true,
            Some(former) => {
                joined.members.clear();
                former.clone_into(&mut joined.leader);
            }
            None => {}
        }
        self.answers.push(Answer::Join(ticket, Ok(joined)));
    }

    /// Takes a member out; what it waits for is answered.
    pub(super) fn remove(&mut self, id: &str, now_ms: u64) {
        let Some(mut member) = self.members.remove(id) else { return };
        member.refuse(&self.unknown_member(id), &mut self.answers);
        self.forget(id, &member);
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(now_ms),
            GroupState::PreparingRebalance => self.complete_join_if_all_are_here(now_ms),
            GroupState::Empty | GroupState::Reconciling | GroupState::Dead => {}
        }
        self.complete_join_if_all_are_here(now_ms);
    }

    fn forget(&mut self, id: &str, member: &Member) {
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        self.unsynced.remove(id);
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Begins a rebalance, unless one is being prepared already.
    pub(super) fn prepare_rebalance(&mut self, now_ms: u64) {
        let from = self.state;
        if from == GroupState::PreparingRebalance {
            return;
        }
        let refusal = self.rebalancing();
        for member in self.members.values_mut() {
            if from == GroupState::CompletingRebalance {
                member.assignment = Bytes::new();
            }
            if let Some(ticket) = member.syncing.take() {
                self.answers.push(Answer::Sync(ticket, Err(refusal.clone())));
            }
        }
        self.sync_deadline_ms = None;
        self.unsynced.clear();
        let wait_ms = if from == GroupState::Empty {
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(self.initial_delay_ms);
            self.initial = Some(Initial { newcomers: false, remaining_ms });
            self.initial_delay_ms
        } else {
            self.rebalance_timeout_ms()
        };
        self.rebalance_deadline_ms = Some(now_ms.saturating_add(wait_ms));
        self.state = GroupState::PreparingRebalance;
    }

    /// Ends the joining early when nobody is missing.
    pub(super) fn complete_join_if_all_are_here(&mut self, now_ms: u64) {
        let all = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        if self.state == GroupState::PreparingRebalance && self.initial.is_none() && all {
            self.complete_join(now_ms);
        }
    }

    /// The joining has lasted long enough.
    pub(super) fn end_of_joining(&mut self, now_ms: u64) {
        if let Some(initial) = &mut self.initial
            && initial.newcomers
            && initial.remaining_ms > 0
        {
            let wait_ms = self.initial_delay_ms.min(initial.remaining_ms);
            initial.newcomers = false;
            initial.remaining_ms -= wait_ms;
            self.rebalance_deadline_ms = Some(now_ms.saturating_add(wait_ms));
            return;
        }
        self.complete_join(now_ms);
    }

    fn complete_join(&mut self, now_ms: u64) {
        self.initial = None;
        self.rebalance_deadline_ms = None;
        self.drop_missing();
        if !self.members.is_empty() && !self.elect_leader() {
            // Only static members, and none is here: wait until one is, or all expire.
            let wait_ms = self.rebalance_timeout_ms();
            self.rebalance_deadline_ms = Some(now_ms.saturating_add(wait_ms));
            return;
        }
        // Kafka's generations stay positive as well.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.select_protocol();
        self.unsynced = self.members.keys().cloned().collect();
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            return;
        }
        self.state = GroupState::CompletingRebalance;
        self.sync_deadline_ms = Some(now_ms.saturating_add(self.rebalance_timeout_ms()));
        let waiting: Vec<(String, Ticket)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.joining.take()?)))
            .collect();
        for (id, ticket) in waiting {
            self.answer_current(&id, ticket, now_ms);
        }
    }

    /// Dynamic members that did not join again are out; static ones stay until their
    /// session ends.
    fn drop_missing(&mut self) {
        let is_missing = |member: &Member| member.joining.is_none() && member.instance_id.is_none();
        let missing: Vec<String> = self
            .members
            .iter()
            .filter(|(_, one)| is_missing(one))
            .map(|(id, _)| id.clone())
            .collect();
        for id in missing {
            if let Some(member) = self.members.remove(&id) {
                self.forget(&id, &member);
            }
        }
    }

    /// Makes sure that the leader is somebody who is here.
    fn elect_leader(&mut self) -> bool {
        let is_here = |id: &String| self.members.get(id).is_some_and(|one| one.joining.is_some());
        if !self.leader.as_ref().is_some_and(is_here) {
            match self.members.keys().find(|id| is_here(id)).cloned() {
                Some(id) => self.leader = Some(id),
                None => return false,
            }
        }
        true
    }

    /// Answers a join with the generation as it is.
    pub(super) fn answer_current(&mut self, id: &str, ticket: Ticket, now_ms: u64) {
        let joined = self.joined(id);
        if let Some(member) = self.members.get_mut(id) {
            member.is_new = false;
            member.touch(now_ms);
        }
        self.answers.push(Answer::Join(ticket, Ok(joined)));
    }

    fn joined(&self, id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = |(id, member): (&String, &Member)| JoinedMember {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        };
        let members =
            if leader == id { self.members.iter().map(member).collect() } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            leader,
            skip_assignment: false,
            member_id: id.to_owned(),
            members,
        }
    }

    pub(super) fn wait_for_share(&mut self, id: &str, ticket: Ticket) {
        let superseded = self.rebalancing();
        if let Some(member) = self.members.get_mut(id)
            && let Some(earlier) = member.syncing.replace(ticket)
        {
            self.answers.push(Answer::Sync(earlier, Err(superseded)));
        }
    }

    /// The leader has decided: everybody who asked gets their share. Who the leader
    /// left out gets nothing, and whom nobody knows is not looked at.
    pub(super) fn hand_out(&mut self, assignments: Vec<(String, Bytes)>, now_ms: u64) {
        let mut shares: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            member.assignment = shares.remove(id).unwrap_or_default();
        }
        self.state = GroupState::Stable;
        let waiting: Vec<(String, Ticket)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.syncing.take()?)))
            .collect();
        for (id, ticket) in waiting {
            self.answer_share(&id, ticket, now_ms);
        }
    }

    pub(super) fn answer_share(&mut self, id: &str, ticket: Ticket, now_ms: u64) {
        if self.unsynced.is_empty() {
            self.sync_deadline_ms = None;
        }
        self.touch(id, now_ms);
        let Some(member) = self.members.get(id) else { return };
        let synced = Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: member.assignment.clone(),
        };
        self.answers.push(Answer::Sync(ticket, Ok(synced)));
    }

    /// The time to ask for shares is over: who has not is out.
    pub(super) fn drop_unsynced(&mut self, now_ms: u64) {
        self.sync_deadline_ms = None;
        let unsynced = std::mem::take(&mut self.unsynced);
        for id in unsynced {
            self.remove(&id, now_ms);
        }
    }

    pub(super) fn touch(&mut self, id: &str, now_ms: u64) {
        if let Some(member) = self.members.get_mut(id) {
            member.touch(now_ms);
        }
    }

    /// The longest wait that any member asks for.
    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Whether the newcomer has a protocol that all the others have, too.
    pub(super) fn shares_a_protocol(&self, request: &JoinRequest) -> bool {
        let others: Vec<&Member> = self
            .members
            .iter()
            .filter(|(id, member)| {
                **id != request.member_id
                    && (member.instance_id.is_none() || member.instance_id != request.instance_id)
            })
            .map(|(_, member)| member)
            .collect();
        if request.protocols.is_empty() || request.protocol_type.is_empty() {
            return false;
        }
        let same_kind =
            others.is_empty() || self.protocol_type.as_ref() == Some(&request.protocol_type);
        let common = |name: &str| others.iter().all(|member| member.supports(name));
        same_kind && request.protocols.iter().any(|one| common(&one.name))
    }

    /// The vote: each member is for the first of its protocols that all have; of
    /// equally many votes the first name by alphabet wins.
    fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let common: BTreeSet<&str> = self
            .members
            .values()
            .next()?
            .protocols
            .iter()
            .map(|one| one.name.as_str())
            .filter(|name| self.members.values().all(|member| member.supports(name)))
            .collect();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|one| common.contains(one.name.as_str()));
            *votes.entry(vote?.name.as_str()).or_default() += 1;
        }
        let best = votes.into_iter().rev().max_by_key(|&(_, count)| count);
        best.map(|(name, _)| name.to_owned())
    }
}
