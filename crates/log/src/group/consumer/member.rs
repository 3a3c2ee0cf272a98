//! One member of a consumer group: what it said, what it holds, what it gives back.
//!
//! A member moves to the group's epoch by itself, in three steps: it is told to give
//! back what the target does not leave it; once its heartbeats no longer name that,
//! it takes the group's epoch and what is free of its target; and what others still
//! hold follows as they let go. Until a partition is given back it counts as held.

use std::{collections::BTreeSet, sync::Arc};

use courant_model::{TopicName, TopicPartition};
use regex::{Regex, RegexBuilder};

use super::types::{ConsumerHeartbeat, ConsumerMemberSnapshot, STEP_OUT_EPOCH, ServerAssignor};
use crate::{LogError, group::assign::TopicPartitions};

/// Bytes that a compiled expression may take; the regex crate's own default is ten
/// times as much. It is kept for as long as it takes to look at all topics.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// What a name costs in a set besides its bytes.
const NODE_BYTES: usize = 32;

/// How long a member that never said may take to give partitions back; the Java
/// client's `max.poll.interval.ms`.
const REBALANCE_TIMEOUT_MS: u64 = 300_000;

#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    rack_id: Option<String>,
    client_id: String,
    client_host: String,
    rebalance_timeout_ms: Option<u64>,
    topics: BTreeSet<TopicName>,
    /// The regular expression as the member wrote it; empty without one.
    pattern: String,
    /// The topics that matched it when these topics were there.
    matched: BTreeSet<TopicName>,
    matched_in: Option<Arc<TopicPartitions>>,
    pub(super) assignor: Option<ServerAssignor>,
    pub(super) epoch: i32,
    previous_epoch: i32,
    /// What it may hold under its epoch.
    pub(super) assigned: BTreeSet<TopicPartition>,
    /// What it was told to give back, and still holds as far as is known.
    pub(super) revoking: BTreeSet<TopicPartition>,
    /// Something that it held has gone, and it has not been told yet.
    pub(super) is_behind: bool,
    /// By when it must have given that back.
    revoked_by_ms: Option<u64>,
    /// Silent at this instant the member is out.
    silent_at_ms: u64,
}

/// Compiles what is to match a topic's whole name.
///
/// # Errors
/// [`LogError::InvalidRegex`].
pub(super) fn compile(pattern: &str) -> Result<Regex, LogError> {
    let mut builder = RegexBuilder::new(&format!("^(?:{pattern})$"));
    builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX);
    builder.build().map_err(|error| LogError::InvalidRegex {
        pattern: pattern.chars().take(200).collect(),
        why: error.to_string(),
    })
}

impl Member {
    /// Takes over what a heartbeat says; whether that changes what it is to get.
    pub(super) fn update(&mut self, request: &ConsumerHeartbeat) -> bool {
        let take = |mine: &mut Option<String>, said: &Option<String>| {
            if said.is_some() {
                mine.clone_from(said);
            }
        };
        take(&mut self.instance_id, &request.instance_id);
        take(&mut self.rack_id, &request.rack_id);
        self.client_id.clone_from(&request.client_id);
        self.client_host.clone_from(&request.client_host);
        self.rebalance_timeout_ms = request.rebalance_timeout_ms.or(self.rebalance_timeout_ms);
        let assignor = request.assignor.or(self.assignor);
        let mut changed = std::mem::replace(&mut self.assignor, assignor) != assignor;
        if let Some(topics) = request.topics.as_ref().filter(|topics| **topics != self.topics) {
            self.topics.clone_from(topics);
            changed = true;
        }
        if let Some(pattern) = request.regex.as_ref().filter(|one| **one != self.pattern) {
            self.pattern.clone_from(pattern);
            self.matched_in = None;
            changed = true;
        }
        changed
    }

    /// Looks for the topics that match its expression, if there are others than the
    /// last time; whether that changes what it is to get.
    ///
    /// # Errors
    /// [`LogError::InvalidRegex`].
    pub(super) fn resolve(
        &mut self,
        known: &Arc<TopicPartitions>,
        may_see: &dyn Fn(&TopicName) -> bool,
    ) -> Result<bool, LogError> {
        if self.matched_in.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, known)) {
            return Ok(false);
        }
        self.matched_in = Some(Arc::clone(known));
        let mut matched = BTreeSet::new();
        if !self.pattern.is_empty() {
            let regex = compile(&self.pattern)?;
            let found = known.keys().filter(|topic| regex.is_match(topic.as_str()));
            matched.extend(found.filter(|topic| may_see(topic)).cloned());
        }
        let changed = matched != self.matched;
        self.matched = matched;
        Ok(changed)
    }

    /// The topics that it is to have partitions of.
    pub(super) fn subscribed(&self, known: &TopicPartitions) -> BTreeSet<TopicName> {
        let all = self.topics.iter().chain(&self.matched);
        all.filter(|topic| known.contains_key(*topic)).cloned().collect()
    }

    /// Bytes that it keeps in memory because of what it said.
    pub(super) fn held_bytes(&self) -> usize {
        let names: usize = self.topics.iter().map(|topic| topic.as_str().len()).sum();
        let texts = [&self.instance_id, &self.rack_id].into_iter().flatten().map(String::len);
        let nodes = self.topics.len() + self.matched.len() + self.assigned.len();
        let texts: usize = texts.sum::<usize>() + self.client_id.len() + self.pattern.len();
        names + texts + nodes * NODE_BYTES
    }

    /// A heartbeat came.
    pub(super) fn touch(&mut self, now_ms: u64, session_timeout_ms: u64) {
        self.silent_at_ms = now_ms.saturating_add(session_timeout_ms);
    }

    /// Forgets partitions that are no more: nobody can hold them.
    pub(super) fn forget_gone(&mut self, known: &TopicPartitions) {
        let is_there = |partition: &TopicPartition| {
            known.get(&partition.topic).is_some_and(|count| partition.partition < *count)
        };
        let before = self.assigned.len() + self.revoking.len();
        self.assigned.retain(is_there);
        self.revoking.retain(is_there);
        if self.revoking.is_empty() {
            self.stop_revoking();
        }
        self.is_behind |= self.assigned.len() + self.revoking.len() < before;
    }

    /// Begins again with nothing in its hands.
    pub(super) fn restart(&mut self) {
        self.epoch = 0;
        self.assigned.clear();
        self.stop_revoking();
    }

    /// Goes for a while; what it holds waits for whoever comes under its instance.
    pub(super) fn step_out(&mut self) {
        self.epoch = STEP_OUT_EPOCH;
        self.stop_revoking();
    }

    /// Whether it speaks for its own epoch, or for the last one because the answer
    /// that told the new one was lost.
    pub(super) fn accepts(&self, request: &ConsumerHeartbeat) -> bool {
        let lost_answer = || {
            request.member_epoch == self.previous_epoch
                && request.owned.as_ref().is_some_and(|owned| owned.is_subset(&self.assigned))
        };
        request.member_epoch == self.epoch || (request.member_epoch < self.epoch && lost_answer())
    }

    /// Steps towards the target of the group's epoch; `is_held` tells what others hold.
    pub(super) fn reconcile(
        &mut self,
        group_epoch: i32,
        target: &BTreeSet<TopicPartition>,
        owned: Option<&BTreeSet<TopicPartition>>,
        is_held: impl Fn(&TopicPartition) -> bool,
        now_ms: u64,
    ) {
        // A heartbeat that does not say what the member holds proves nothing.
        let still_owns = |gone: &BTreeSet<TopicPartition>| {
            owned.is_none_or(|owned| gone.iter().any(|partition| owned.contains(partition)))
        };
        if !self.revoking.is_empty() {
            if still_owns(&self.revoking) {
                return;
            }
            self.stop_revoking();
        }
        let gone: BTreeSet<_> = self.assigned.difference(target).cloned().collect();
        self.assigned.retain(|partition| target.contains(partition));
        if !gone.is_empty() && still_owns(&gone) {
            self.revoking = gone;
            let timeout_ms = self.rebalance_timeout_ms.unwrap_or(REBALANCE_TIMEOUT_MS);
            self.revoked_by_ms = Some(now_ms.saturating_add(timeout_ms));
            return;
        }
        let free = target.iter().filter(|partition| !is_held(partition)).cloned();
        self.assigned.extend(free);
        if self.epoch != group_epoch {
            self.previous_epoch = self.epoch;
            self.epoch = group_epoch;
        }
    }

    /// Whether it has all of its target and nothing else.
    pub(super) fn is_stable(&self, group_epoch: i32, target: &BTreeSet<TopicPartition>) -> bool {
        self.revoking.is_empty() && self.epoch == group_epoch && self.assigned == *target
    }

    pub(super) fn is_overdue(&self, now_ms: u64) -> bool {
        self.deadline_ms() <= now_ms
    }

    /// When it is out unless something happens.
    pub(super) fn deadline_ms(&self) -> u64 {
        self.revoked_by_ms.unwrap_or(u64::MAX).min(self.silent_at_ms)
    }

    pub(super) fn snapshot(
        &self,
        id: &str,
        target: BTreeSet<TopicPartition>,
    ) -> ConsumerMemberSnapshot {
        ConsumerMemberSnapshot {
            id: id.to_owned(),
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            epoch: self.epoch,
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            topics: self.topics.clone(),
            regex: self.pattern.clone(),
            assignment: self.assigned.clone(),
            target,
        }
    }

    fn stop_revoking(&mut self) {
        self.revoking.clear();
        self.revoked_by_ms = None;
    }
}
