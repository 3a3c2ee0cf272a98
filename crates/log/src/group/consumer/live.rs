//! Consumer groups within the coordinator: calls, deadlines, and what is kept.
//!
//! Beside the classic groups and under the same lock. An id that changes its kind
//! takes its number along, so that epochs and generations only grow: a consumer
//! group goes on from the generation of the classic one that it was, and back.

use std::sync::Arc;

use courant_model::{TopicName, limits};
use uuid::Uuid;

use super::{
    machine::{ConsumerGroup, Timing},
    types::{ConsumerGroupSnapshot, ConsumerHeartbeat, ConsumerHeartbeatAnswer},
};
use crate::{
    GroupState, LogError,
    group::{
        Coordinator,
        coordinator::check_group_id,
        records::{GroupRecord, StoredEpoch},
        shared::{Shared, State, millis, unknown_group},
    },
};

/// A consumer group that has, or lately had, members.
#[derive(Debug)]
pub(in crate::group) struct ConsumerLive {
    pub(in crate::group) machine: ConsumerGroup,
    deadline_ms: Option<u64>,
    held_bytes: usize,
}

impl Coordinator {
    /// One heartbeat of a member of a consumer group (KIP-848): joins, stays, leaves. A
    /// regular expression finds topics that the member `may_see`.
    ///
    /// # Errors
    /// The group's refusals; [`LogError::UnknownGroup`] for a group that does not exist,
    /// [`LogError::WrongGroupKind`] for a classic one with members.
    pub fn consumer_heartbeat(
        &self,
        group: &str,
        request: &ConsumerHeartbeat,
        may_see: &dyn Fn(&TopicName) -> bool,
    ) -> Result<ConsumerHeartbeatAnswer, LogError> {
        check_group_id(group)?;
        check_size(group, request)?;
        let mut state = self.shared.state.lock();
        if request.topics.is_some() || request.regex.is_some() {
            state.check_held(group, said_bytes(request))?;
        }
        if request.member_epoch == 0 {
            self.shared.ensure_consumer(&mut state, group)?;
        } else {
            self.shared.wake_consumer(&mut state, group);
        }
        let new_id = Uuid::new_v4().to_string();
        let beat = |machine: &mut ConsumerGroup, now_ms| {
            machine.heartbeat(request, new_id, may_see, now_ms)
        };
        self.shared.act_consumer(&mut state, group, beat)?
    }

    /// A consumer group and its members.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`]; [`LogError::WrongGroupKind`] for a classic group.
    pub fn consumer_snapshot(&self, group: &str) -> Result<ConsumerGroupSnapshot, LogError> {
        let mut state = self.shared.state.lock();
        self.shared.wake_consumer(&mut state, group);
        match state.consumers.get(group) {
            Some(live) => Ok(live.machine.snapshot()),
            None if state.is_known(group) => Err(not_a_consumer_group(group)),
            None => Err(unknown_group(group)),
        }
    }

    /// Whether a member may read its group's offsets at this epoch; with a negative
    /// one, from outside the group, anybody may.
    ///
    /// # Errors
    /// [`LogError::UnknownMember`], [`LogError::StaleMemberEpoch`].
    pub fn check_offset_reader(
        &self,
        group: &str,
        member_id: &str,
        member_epoch: i32,
    ) -> Result<(), LogError> {
        if member_epoch < 0 {
            return Ok(());
        }
        let state = self.shared.state.lock();
        let live = state.consumers.get(group);
        live.map_or(Ok(()), |live| live.machine.check_member(member_id, member_epoch))
    }
}

impl Shared {
    /// Gives a consumer group's machine one input and carries out what follows.
    pub(in crate::group) fn act_consumer<T>(
        &self,
        state: &mut State,
        id: &str,
        input: impl FnOnce(&mut ConsumerGroup, u64) -> T,
    ) -> Result<T, LogError> {
        if state.closed {
            return Err(LogError::Closed);
        }
        let now_ms = self.now_ms();
        let Some(live) = state.consumers.get_mut(id) else { return Err(unknown_group(id)) };
        let before = live.machine.epoch();
        live.machine.tick(now_ms);
        let output = input(&mut live.machine, now_ms);
        let (epoch, deadline) = (live.machine.epoch(), live.machine.next_deadline_ms());
        let had = std::mem::replace(&mut live.deadline_ms, deadline);
        let held = live.machine.held_bytes();
        let held_before = std::mem::replace(&mut live.held_bytes, held);
        state.held_bytes = (state.held_bytes + held).saturating_sub(held_before);
        self.move_deadline(state, id, had, deadline);
        if epoch != before {
            let value = Some(StoredEpoch { epoch, since: self.clock.now() });
            self.note(state, vec![GroupRecord::Consumer { group: id.to_owned(), value }]);
        }
        Ok(output)
    }

    /// Tells all consumer groups of the topics that there are now.
    pub(in crate::group) fn tell_consumers(&self) {
        let mut state = self.state.lock();
        let ids: Vec<String> = state.consumers.keys().cloned().collect();
        for id in ids {
            // Read under the lock: of two changes the later one is told last.
            let topics = Arc::clone(&self.topics.borrow());
            // Closed or gone meanwhile: nobody is left to be told.
            let _ = self.act_consumer(&mut state, &id, |machine, _| machine.topics_changed(topics));
        }
    }

    /// Has the machine of a consumer group that is kept, and nobody else's.
    fn wake_consumer(&self, state: &mut State, id: &str) {
        let kept = state.table.get(id).and_then(|kept| kept.consumer.as_ref());
        if let Some(epoch) = kept.map(|stored| stored.epoch)
            && !state.consumers.contains_key(id)
            && !state.live.contains_key(id)
        {
            self.insert_consumer(state, id, epoch);
        }
    }

    /// Has the machine of a consumer group that somebody joins.
    fn ensure_consumer(&self, state: &mut State, id: &str) -> Result<(), LogError> {
        self.wake_consumer(state, id);
        if state.closed || state.consumers.contains_key(id) {
            return Ok(());
        }
        state.check_room(id)?;
        if state.live.get(id).is_some_and(|live| !live.machine.is_deserted()) {
            return Err(not_a_consumer_group(id));
        }
        let kept = state.table.get(id).and_then(|kept| kept.group.as_ref());
        let kept = kept.map(|stored| stored.generation);
        let live = state.live.get(id).map(|live| live.machine.generation());
        if let Some(generation) = kept.max(live) {
            state.drop_live(id);
            self.note(state, vec![GroupRecord::Group { group: id.to_owned(), value: None }]);
            self.insert_consumer(state, id, generation);
        } else {
            self.insert_consumer(state, id, 0);
        }
        Ok(())
    }

    fn insert_consumer(&self, state: &mut State, id: &str, epoch: i32) {
        let timing = Timing {
            session_timeout_ms: millis(self.options.consumer_session_timeout),
            heartbeat_interval_ms: millis(self.options.consumer_heartbeat_interval),
        };
        let topics = Arc::clone(&self.topics.borrow());
        let machine = ConsumerGroup::new(id, epoch, topics, timing);
        state
            .consumers
            .insert(id.to_owned(), ConsumerLive { machine, deadline_ms: None, held_bytes: 0 });
    }

    /// Makes an id free for a classic group; answers the generation to go on from.
    ///
    /// # Errors
    /// [`LogError::InconsistentProtocol`] while a consumer group of this id has members.
    pub(in crate::group) fn end_consumer(
        &self,
        state: &mut State,
        id: &str,
    ) -> Result<i32, LogError> {
        let kept = state.table.get(id).and_then(|kept| kept.consumer.as_ref());
        let kept = kept.map(|stored| stored.epoch);
        let live = state.consumers.get(id).map(|live| &live.machine);
        if live.is_some_and(|machine| machine.member_count() > 0) {
            return Err(LogError::InconsistentProtocol { group: id.to_owned() });
        }
        let epoch = kept.max(live.map(ConsumerGroup::epoch));
        if epoch.is_some() {
            state.drop_consumer(id);
            self.note(state, vec![GroupRecord::Consumer { group: id.to_owned(), value: None }]);
        }
        Ok(epoch.unwrap_or(0))
    }
}

impl State {
    /// Whether there is such a group, of either kind.
    pub(in crate::group) fn is_known(&self, id: &str) -> bool {
        let is_kept = self.table.get(id).is_some();
        is_kept || self.live.contains_key(id) || self.consumers.contains_key(id)
    }

    /// The state of a consumer group; `None` for a group of the other kind.
    pub(in crate::group) fn consumer_state(&self, id: &str) -> Option<(GroupState, usize)> {
        if let Some(live) = self.consumers.get(id) {
            return Some((live.machine.state(), live.machine.member_count()));
        }
        let is_kept = self.table.get(id).is_some_and(|kept| kept.consumer.is_some());
        (is_kept && !self.live.contains_key(id)).then_some((GroupState::Empty, 0))
    }

    /// Drops a consumer group's machine; whether there was one.
    pub(in crate::group) fn drop_consumer(&mut self, id: &str) -> bool {
        let Some(live) = self.consumers.remove(id) else { return false };
        self.held_bytes = self.held_bytes.saturating_sub(live.held_bytes);
        if let Some(at) = live.deadline_ms {
            self.deadlines.remove(&(at, id.to_owned()));
        }
        true
    }

    /// Consumer groups whose machines may go: nobody is in them, and the table knows
    /// as much.
    pub(in crate::group) fn idle_consumers(&self) -> Vec<String> {
        let is_idle = |(id, live): &(&String, &ConsumerLive)| {
            let kept = self.table.get(id).and_then(|kept| kept.consumer.as_ref());
            let is_kept = kept.map_or(0, |stored| stored.epoch) == live.machine.epoch();
            live.machine.member_count() == 0 && is_kept
        };
        self.consumers.iter().filter(is_idle).map(|(id, _)| id.clone()).collect()
    }
}

/// Bytes that a heartbeat has the log keep.
fn said_bytes(request: &ConsumerHeartbeat) -> usize {
    let topics = request.topics.iter().flatten().map(|topic| topic.as_str().len());
    let texts = [&request.instance_id, &request.rack_id, &request.regex];
    let texts = texts.into_iter().flatten().map(String::len);
    topics.sum::<usize>() + texts.sum::<usize>() + request.client_id.len()
}

fn check_size(group: &str, request: &ConsumerHeartbeat) -> Result<(), LogError> {
    let (found, max) = (said_bytes(request), limits::GROUP_MEMBER_METADATA_BYTES_MAX);
    if found > max {
        let why = format!("a member subscribes with {found} bytes, {max} are allowed");
        return Err(LogError::InvalidGroup { group: group.to_owned(), why });
    }
    Ok(())
}

fn not_a_consumer_group(group: &str) -> LogError {
    LogError::WrongGroupKind { group: group.to_owned(), asked: "consumer" }
}
