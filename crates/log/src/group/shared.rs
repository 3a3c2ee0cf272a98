//! What the coordinator's handles and tasks share: the groups, and one lock.
//!
//! Every input goes to a group's machine under the lock and comes out with the
//! answers that it caused, the next deadline and, when a generation began, a record
//! to write. No I/O happens under the lock, and nothing awaits with it. One task
//! ([`watch_time`]) wakes at the earliest deadline of all groups, so that the number
//! of members costs no timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use courant_model::{Clock, Timestamp, TopicName, TopicPartition, limits};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::Instant,
};

use super::{
    assign::TopicPartitions,
    consumer::ConsumerLive,
    coordinator::GroupOptions,
    machine::{Answer, Group, Joined, MemberSnapshot, Membership, Synced, Ticket},
    protocol::{CONSUMER_PROTOCOL, MemberSubscription},
    records::{GroupRecord, StoredGroup},
    table::Table,
    writer::{Change, Write},
};
use crate::{GroupState, LogError, state::StateStore};

/// What the coordinator's handles and tasks have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) writes_waiting: Notify,
    pub(super) options: GroupOptions,
    started: Instant,
    pub(super) topics: watch::Sender<Arc<TopicPartitions>>,
    commits: Arc<Semaphore>,
    pub(super) deadline_moved: Notify,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) closed: bool,
    /// Classic groups; an id is in here or among the consumer groups.
    pub(super) live: BTreeMap<String, Live>,
    pub(super) consumers: BTreeMap<String, ConsumerLive>,
    pub(super) table: Table,
    /// Each group's deadline, the earliest first.
    pub(super) deadlines: BTreeSet<(u64, String)>,
    tickets: Ticket,
    pub(super) joins: BTreeMap<Ticket, oneshot::Sender<Result<Joined, LogError>>>,
    pub(super) syncs: BTreeMap<Ticket, oneshot::Sender<Result<Synced, LogError>>>,
    pub(super) writes: Vec<Write>,
    /// Bytes that the members of all groups have brought and been given.
    pub(super) held_bytes: usize,
}

/// A group that has, or lately had, members.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) machine: Group,
    deadline_ms: Option<u64>,
    held_bytes: usize,
    rebalances: watch::Sender<u64>,
}

/// How often offsets are looked through for ones that have outlived their retention.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// What one input of a state machine may use.
pub(super) struct Turn<'a> {
    pub(super) machine: &'a mut Group,
    pub(super) rebalances: &'a watch::Sender<u64>,
    pub(super) now_ms: u64,
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn StateStore>,
        topics: TopicPartitions,
        clock: Arc<dyn Clock>,
        options: GroupOptions,
        state: State,
    ) -> Self {
        Self {
            store,
            clock,
            writes_waiting: Notify::new(),
            options,
            started: Instant::now(),
            topics: watch::Sender::new(Arc::new(topics)),
            commits: Arc::new(Semaphore::new(limits::GROUP_COMMITS_PENDING_MAX)),
            deadline_moved: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Gives a group's machine one input and carries out what follows from it.
    pub(super) fn act<T>(
        &self,
        state: &mut State,
        id: &str,
        create: bool,
        input: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> Result<T, LogError> {
        if state.closed {
            return Err(LogError::Closed);
        }
        if create {
            self.ensure_live(state, id)?;
        }
        let Some(live) = state.live.get_mut(id) else { return Err(unknown_group(id)) };
        let now_ms = self.now_ms();
        let before = (live.machine.state(), live.machine.generation());
        let rebalances = live.rebalances.clone();
        let mut turn = Turn { machine: &mut live.machine, rebalances: &rebalances, now_ms };
        let output = input(&mut turn);
        live.machine.tick(now_ms);
        self.settle(state, id, before);
        Ok(output)
    }

    /// Hands out answers, keeps the deadline, tells members of a rebalance, and
    /// queues the record of a new generation.
    fn settle(&self, state: &mut State, id: &str, before: (GroupState, i32)) {
        let Some(live) = state.live.get_mut(id) else { return };
        let answers = live.machine.take_answers();
        let deadline = live.machine.next_deadline_ms();
        let had = std::mem::replace(&mut live.deadline_ms, deadline);
        let held = live.machine.held_bytes();
        let held_before = std::mem::replace(&mut live.held_bytes, held);
        let (now_in, generation) = (live.machine.state(), live.machine.generation());
        let begins = now_in == GroupState::PreparingRebalance && now_in != before.0;
        if begins || generation != before.1 {
            live.rebalances.send_modify(|count| *count += 1);
        }
        if generation != before.1 {
            let value = StoredGroup {
                protocol_type: live.machine.protocol_type().unwrap_or_default().to_owned(),
                generation,
                protocol: live.machine.protocol().map(str::to_owned),
                since: self.clock.now(),
            };
            let record = GroupRecord::Group { group: id.to_owned(), value: Some(value) };
            self.note(state, vec![record]);
        }
        state.held_bytes = (state.held_bytes + held).saturating_sub(held_before);
        self.move_deadline(state, id, had, deadline);
        state.deliver(answers);
    }

    /// Queues records that nobody waits for.
    pub(super) fn note(&self, state: &mut State, records: Vec<GroupRecord>) {
        let change = Change::Records(records);
        state.writes.push(Write { change, done: None, _permit: None });
        self.writes_waiting.notify_one();
    }

    /// Puts a group's deadline in line, and wakes the task if it is the earliest.
    pub(super) fn move_deadline(
        &self,
        state: &mut State,
        id: &str,
        had: Option<u64>,
        deadline: Option<u64>,
    ) {
        let earliest = state.deadlines.first().map(|(at, _)| *at);
        if let Some(at) = had {
            state.deadlines.remove(&(at, id.to_owned()));
        }
        if let Some(at) = deadline {
            state.deadlines.insert((at, id.to_owned()));
            if earliest.is_none_or(|earliest| at < earliest) {
                self.deadline_moved.notify_one();
            }
        }
    }

    /// Whether these offsets may be committed, by a member of either kind of group
    /// or from outside. A transaction's offsets may come from somebody who knows of no
    /// members, and in the middle of a rebalance.
    pub(super) fn check_commit(
        &self,
        state: &mut State,
        group: &str,
        membership: &Membership,
        transactional: bool,
    ) -> Result<(), LogError> {
        let Membership { member_id, generation, .. } = membership;
        if transactional && membership.is_none() {
            return state.check_room(group);
        }
        if state.consumers.contains_key(group) {
            return self.act_consumer(state, group, |machine, _| {
                machine.check_member(member_id, *generation)
            })?;
        }
        let check = self.act(state, group, false, |turn| match transactional {
            true => turn.machine.check_transactional_commit(membership, turn.now_ms),
            false => turn.machine.check_commit(membership, turn.now_ms),
        });
        match check {
            Err(LogError::UnknownGroup { .. }) if *generation < 0 => state.check_room(group),
            Err(LogError::UnknownGroup { group }) => {
                // To a member, a group that does not exist is one that does not know it.
                Err(LogError::UnknownMember { group, member: member_id.clone() })
            }
            Err(error) => Err(error),
            Ok(allowed) => allowed,
        }
    }

    /// Gives time to every group that is due; answers when the next one is.
    fn tick(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let now_ms = self.now_ms();
        loop {
            let (at, id) = state.deadlines.first()?.clone();
            if at > now_ms {
                return Some(self.started + Duration::from_millis(at));
            }
            let ticked = if state.consumers.contains_key(&id) {
                self.act_consumer(&mut state, &id, |_, _| ())
            } else {
                self.act(&mut state, &id, false, |_| ())
            };
            if ticked.is_err() {
                state.deadlines.remove(&(at, id));
            }
        }
    }

    /// Queues what `decide` allows and waits until it is durable.
    pub(super) async fn write<C: Into<Change>>(
        &self,
        decide: impl FnOnce(&mut State) -> Result<C, LogError>,
    ) -> Result<(), LogError> {
        let permit = Arc::clone(&self.commits).acquire_owned().await.ok();
        let (done_to, done) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(LogError::Closed);
            }
            let change = decide(&mut state)?.into();
            state.writes.push(Write { change, done: Some(done_to), _permit: permit });
        }
        self.writes_waiting.notify_one();
        done.await.unwrap_or(Err(LogError::Closed))
    }

    /// Waits until everything that was allowed so far is in the table.
    pub(super) async fn flush(&self) -> Result<(), LogError> {
        self.write(|_| Ok(Change::Records(Vec::new()))).await
    }

    pub(super) async fn expire(&self, now: Timestamp) -> Result<(), LogError> {
        let retention_ms =
            i64::try_from(self.options.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        // That a group became empty just now may still be under way.
        self.flush().await?;
        self.write(|state| {
            let deserted = |id: &str| {
                state.live.get(id).is_none_or(|live| live.machine.is_deserted())
                    && state.consumer_state(id).is_none_or(|(_, members)| members == 0)
            };
            let records = state.table.expire(now, retention_ms, deserted);
            for id in state.idle_consumers() {
                state.drop_consumer(&id);
            }
            for id in state.idle() {
                state.drop_live(&id);
            }
            Ok(records)
        })
        .await
    }

    /// The next writes, as many as go together, and whether more may come.
    pub(super) fn take_writes(&self, records_max: usize) -> (Vec<Write>, bool) {
        let mut state = self.state.lock();
        let mut records = 0;
        let fit = state.writes.iter().take_while(|write| {
            let first = records == 0;
            records += write.change.len();
            first || records <= records_max
        });
        let fit = fit.count();
        (state.writes.drain(..fit).collect(), state.closed)
    }

    /// Takes durable writes over into the table and tells who waits.
    pub(super) fn finish(&self, batch: Vec<Write>, outcome: &Result<(), LogError>) {
        let mut state = self.state.lock();
        for write in batch {
            match outcome {
                Ok(()) => state.take_over(write.change),
                Err(error) if write.done.is_none() => {
                    tracing::warn!(%error, "a group's generation was not kept; members rejoin after a restart all the same");
                }
                Err(_) => {}
            }
            if let Some(done) = write.done {
                // Nobody may be waiting any more.
                let _ = done.send(outcome.clone());
            }
        }
    }

    pub(super) fn check_partition(&self, partition: &TopicPartition) -> Result<(), LogError> {
        let topics = self.topics.borrow();
        let topic = partition.topic.clone();
        match topics.get(&topic) {
            None => Err(LogError::UnknownTopic { topic }),
            Some(&partitions) if !(0..partitions).contains(&partition.partition) => {
                let partition = partition.partition;
                Err(LogError::UnknownPartition { topic, partition, partitions })
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn check_session(&self, group: &str, found_ms: u64) -> Result<(), LogError> {
        let min_ms = millis(self.options.session_timeout_min);
        let max_ms = millis(self.options.session_timeout_max);
        if !(min_ms..=max_ms).contains(&found_ms) {
            let group = group.to_owned();
            return Err(LogError::InvalidSessionTimeout { group, found_ms, min_ms, max_ms });
        }
        Ok(())
    }

    pub(super) fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn ensure_live(&self, state: &mut State, id: &str) -> Result<(), LogError> {
        if state.live.contains_key(id) {
            return Ok(());
        }
        state.check_room(id)?;
        let epoch = self.end_consumer(state, id)?;
        let kept = state.table.get(id).and_then(|kept| kept.group.as_ref());
        let generation = kept.map_or(0, |stored| stored.generation).max(epoch);
        let machine = Group::new(id, generation, millis(self.options.initial_rebalance_delay));
        let rebalances = watch::Sender::new(0);
        let live = Live { machine, deadline_ms: None, held_bytes: 0, rebalances };
        state.live.insert(id.to_owned(), live);
        Ok(())
    }
}

impl State {
    /// Takes a durable change over into the table.
    fn take_over(&mut self, change: Change) {
        let table = &mut self.table;
        match change {
            Change::Records(records) => records.into_iter().for_each(|one| table.apply(one)),
            Change::Pending(producer, records) => {
                records.into_iter().for_each(|one| table.apply_pending(producer.id, one));
            }
            Change::End(producer, marker) => table.end_transaction(producer.id, marker),
        }
    }

    pub(super) const fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    /// Refuses more bytes of members than the log keeps.
    pub(super) fn check_held(&self, id: &str, more: usize) -> Result<(), LogError> {
        let max = limits::GROUPS_HELD_BYTES_MAX;
        if self.held_bytes.saturating_add(more) > max {
            let held = self.held_bytes;
            let why = format!(
                "members of all groups have brought {held} bytes, {more} more exceed {max}"
            );
            return Err(LogError::InvalidGroup { group: id.to_owned(), why });
        }
        Ok(())
    }

    /// Refuses one group more than the log keeps.
    pub(super) fn check_room(&self, id: &str) -> Result<(), LogError> {
        let live = self.live.len() + self.consumers.len();
        if !self.is_known(id) && live.max(self.table.len()) >= limits::GROUPS_MAX {
            let why = format!("the log has {} groups, no more are kept", limits::GROUPS_MAX);
            return Err(LogError::InvalidGroup { group: id.to_owned(), why });
        }
        Ok(())
    }

    /// Groups whose machines may go: nobody is in them, and the table knows as much.
    fn idle(&self) -> Vec<String> {
        let is_kept = |id: &str, machine: &Group| {
            let kept = self.table.get(id).and_then(|kept| kept.group.as_ref());
            kept.map_or(0, |stored| stored.generation) == machine.generation()
        };
        let is_idle = |(id, live): &(&String, &Live)| {
            live.machine.is_deserted() && is_kept(id, &live.machine)
        };
        self.live.iter().filter(is_idle).map(|(id, _)| id.clone()).collect()
    }

    /// Drops a group's machine, answering who waits in it; whether there was one.
    pub(super) fn drop_live(&mut self, id: &str) -> bool {
        let Some(mut live) = self.live.remove(id) else { return false };
        if let Some(at) = live.deadline_ms {
            self.deadlines.remove(&(at, id.to_owned()));
        }
        self.held_bytes = self.held_bytes.saturating_sub(live.held_bytes);
        live.machine.close();
        self.deliver(live.machine.take_answers());
        true
    }

    pub(super) fn check_empty(&self, group: &str) -> Result<(), LogError> {
        let classic = self.live.get(group).map_or(0, |live| live.machine.member_count());
        let members = self.consumer_state(group).map_or(classic, |(_, members)| members);
        if members > 0 {
            return Err(LogError::GroupNotEmpty { group: group.to_owned(), members });
        }
        Ok(())
    }

    /// The topics that members of a group are subscribed to.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`]; [`LogError::GroupNotEmpty`] for members whose
    /// subscriptions nobody but they can read.
    pub(super) fn subscribed_topics(&self, id: &str) -> Result<BTreeSet<TopicName>, LogError> {
        if !self.is_known(id) {
            return Err(unknown_group(id));
        }
        if let Some(live) = self.consumers.get(id) {
            return Ok(live.machine.subscribed_topics());
        }
        let Some(live) = self.live.get(id) else { return Ok(BTreeSet::new()) };
        if live.machine.protocol_type() != Some(CONSUMER_PROTOCOL) {
            self.check_empty(id)?;
        }
        let members = live.machine.snapshot().members.into_iter();
        let read = |member: MemberSnapshot| MemberSubscription::decode(&member.metadata).ok();
        Ok(members.filter_map(read).flat_map(|subscription| subscription.topics).collect())
    }

    /// Wakes who waits; one that has gone away meanwhile misses nothing.
    fn deliver(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            match answer {
                Answer::Join(ticket, answer) => {
                    if let Some(waiting) = self.joins.remove(&ticket) {
                        let _ = waiting.send(answer);
                    }
                }
                Answer::Sync(ticket, answer) => {
                    if let Some(waiting) = self.syncs.remove(&ticket) {
                        let _ = waiting.send(answer);
                    }
                }
            }
        }
    }
}

/// Wakes groups at their deadlines and looks for expired offsets now and then.
pub(super) async fn watch_time(shared: Arc<Shared>) {
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let deadline = shared.tick();
        let far = Instant::now() + EXPIRY_INTERVAL;
        tokio::select! {
            () = shared.deadline_moved.notified() => {}
            () = tokio::time::sleep_until(deadline.unwrap_or(far)) => {}
            _ = expiry.tick() => {
                let now = shared.clock.now();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    match shared.expire(now).await {
                        Ok(()) | Err(LogError::Closed) => {}
                        Err(error) => tracing::warn!(%error, "old offsets stay for now"),
                    }
                });
            }
        }
    }
}

pub(super) fn unknown_group(group: &str) -> LogError {
    LogError::UnknownGroup { group: group.to_owned() }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
