//! The coordinator: all groups of one log, with time and durability around them.
//!
//! This is the side that callers see: every call checks its arguments, goes to the
//! group's state machine ([`super::shared`]), and waits where it has to for an answer
//! or for the disk ([`super::writer`]). The coordinator knows how many partitions
//! topics have, because the log tells it ([`Coordinator::topics_changed`]); it never
//! reads a record of a topic itself.

use std::{sync::Arc, time::Duration};

use courant_model::{Clock, Positions, Record, Timestamp, TopicName, TopicPartition, limits};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use uuid::Uuid;

use super::{
    assign::{AssignmentStrategy, TopicPartitions},
    machine::{JoinRequest, Joined, Membership, SyncRequest, Synced},
    records::{GroupRecord, StoredOffset},
    shared::{self, Shared, State, unknown_group},
    writer::{self, Change, Write},
};
use crate::{
    Committed, LogError,
    api::CommittedOffsets,
    state::{StateBatch, StateStore},
};

/// How groups behave; the names in brackets are Kafka's.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// How long the first rebalance of an empty group gathers members
    /// (`group.initial.rebalance.delay.ms`). Default 20 ms: the members of one
    /// process start together, and nobody should wait for Kafka's 3 s.
    pub initial_rebalance_delay: Duration,
    /// Shortest session (`group.min.session.timeout.ms`). Default 100 ms.
    pub session_timeout_min: Duration,
    /// Longest session (`group.max.session.timeout.ms`). Default 30 minutes.
    pub session_timeout_max: Duration,
    /// How long a rebalance waits for members of this process. Default 60 s; only the
    /// eager strategies ever come near it.
    pub rebalance_timeout: Duration,
    /// Without a heartbeat for this long a member of a consumer group (KIP-848) is out
    /// (`group.consumer.session.timeout.ms`). Default 45 s.
    pub consumer_session_timeout: Duration,
    /// How often members of consumer groups send heartbeats
    /// (`group.consumer.heartbeat.interval.ms`). Default 1 s, not Kafka's 5 s: they hear
    /// of a new target with the next one, and one costs next to nothing.
    pub consumer_heartbeat_interval: Duration,
    /// How long offsets outlive the last member (`offsets.retention.minutes`).
    /// Default 7 days.
    pub offsets_retention: Duration,
    /// What members of this process offer, the preferred first. Default
    /// cooperative-sticky, with which nobody stops who keeps their partitions.
    pub strategies: Vec<AssignmentStrategy>,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_millis(20),
            session_timeout_min: Duration::from_millis(100),
            session_timeout_max: Duration::from_secs(30 * 60),
            rebalance_timeout: Duration::from_secs(60),
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(1),
            offsets_retention: Duration::from_secs(7 * 86_400),
            strategies: vec![AssignmentStrategy::CooperativeSticky],
        }
    }
}

/// All consumer groups of one log. Cheap to clone; the last clone stops its tasks.
#[derive(Debug, Clone)]
pub struct Coordinator {
    pub(super) shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

/// A join that is under way.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) member_id: String,
    pub(super) answer: oneshot::Receiver<Result<Joined, LogError>>,
    /// Changes when the group begins to rebalance.
    pub(super) rebalances: watch::Receiver<u64>,
}

/// The coordinator's tasks; they end with it.
#[derive(Debug)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Coordinator {
    /// Replays what is kept and starts the coordinator's tasks. `topics` are those
    /// that exist; offsets on any other are forgotten, a crash may have come between.
    ///
    /// # Errors
    /// Storage failures of the replay.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(
        store: Arc<dyn StateStore>,
        topics: TopicPartitions,
        clock: Arc<dyn Clock>,
        options: GroupOptions,
    ) -> Result<Self, LogError> {
        let mut state = State::default();
        store
            .replay(&mut |batch| match batch {
                StateBatch::Records(records) => {
                    decoded(&records).for_each(|record| state.table.apply(record));
                }
                StateBatch::Transactional { producer, records } => decoded(&records)
                    .for_each(|record| state.table.apply_pending(producer.id, record)),
                StateBatch::End { producer, marker } => {
                    state.table.end_transaction(producer.id, marker);
                }
            })
            .await?;
        let mut repairs = state.table.forget_topics(|topic| !topics.contains_key(topic));
        repairs.extend(state.table.bury_members(clock.now()));
        if !repairs.is_empty() {
            let change = Change::Records(repairs);
            state.writes.push(Write { change, done: None, _permit: None });
        }
        let shared = Arc::new(Shared::new(store, topics, clock, options, state));
        let tasks = vec![
            tokio::spawn(writer::run(Arc::clone(&shared))),
            tokio::spawn(shared::watch_time(Arc::clone(&shared))),
        ];
        Ok(Self { shared, _tasks: Arc::new(Tasks(tasks)) })
    }

    /// Asks how many partitions every topic has now. Members of this process that lead
    /// their group have it rebalance when theirs have changed. `count` runs under a
    /// lock, so that of two changes the later one is what stays known.
    ///
    /// # Errors
    /// Those of `count`; then what was known stays.
    pub fn topics_changed(
        &self,
        count: impl FnOnce() -> Result<TopicPartitions, LogError>,
    ) -> Result<(), LogError> {
        let mut outcome = Ok(());
        self.shared.topics.send_if_modified(|known| match count() {
            Ok(topics) => {
                let changed = **known != topics;
                *known = Arc::new(topics);
                changed
            }
            Err(error) => {
                outcome = Err(error);
                false
            }
        });
        self.shared.tell_consumers();
        outcome
    }

    /// Forgets all offsets on a topic that is being deleted, durably. The topic must
    /// already be missing from [`Coordinator::topics_changed`].
    ///
    /// # Errors
    /// Storage failures.
    pub async fn forget_topic(&self, topic: &TopicName) -> Result<(), LogError> {
        // Commits that were allowed before the topic went are still under way.
        self.shared.flush().await?;
        self.shared.write(|state| Ok(state.table.forget_topics(|name| name == topic))).await
    }

    /// Joins a group and waits for its next generation.
    ///
    /// # Cancel safety
    /// Dropped, the membership stays until its session or the rebalance ends.
    ///
    /// # Errors
    /// The group's refusals, Kafka's by name; [`LogError::Closed`].
    pub async fn join(&self, group: &str, request: JoinRequest) -> Result<Joined, LogError> {
        let joining = self.begin_join(group, request)?;
        joining.answer.await.unwrap_or(Err(LogError::Closed))
    }

    pub(super) fn begin_join(
        &self,
        group: &str,
        request: JoinRequest,
    ) -> Result<Joining, LogError> {
        check_group_id(group)?;
        self.shared.check_session(group, request.session_timeout_ms)?;
        let known = !request.member_id.is_empty();
        let prefix = request.instance_id.as_ref().unwrap_or(&request.client_id);
        let new_id = format!("{prefix}-{}", Uuid::new_v4());
        let member_id = if known { request.member_id.clone() } else { new_id.clone() };
        let (answer_to, answer) = oneshot::channel();
        let mut state = self.shared.state.lock();
        state.check_held(group, request.held_bytes() + member_id.len())?;
        let ticket = state.ticket();
        state.joins.insert(ticket, answer_to);
        let create = !known;
        let outcome = self.shared.act(&mut state, group, create, |turn| {
            turn.machine.join(request, new_id, ticket, turn.now_ms);
            turn.rebalances.clone()
        });
        match outcome {
            // Subscribed after the join: its own rebalance is no news to the member.
            Ok(rebalances) => Ok(Joining { member_id, answer, rebalances: rebalances.subscribe() }),
            Err(error) => {
                state.joins.remove(&ticket);
                Err(unknown_member_of(error, &member_id))
            }
        }
    }

    /// Brings the leader's assignment, or waits for it, and answers one's own share.
    ///
    /// # Cancel safety
    /// Dropped, what the leader brought still counts.
    ///
    /// # Errors
    /// The group's refusals; [`LogError::RebalanceInProgress`] asks to join again.
    pub async fn sync(&self, group: &str, request: SyncRequest) -> Result<Synced, LogError> {
        let (answer_to, answer) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            state.check_held(
                group,
                request.assignments.iter().map(|(_, share)| share.len()).sum(),
            )?;
            let ticket = state.ticket();
            state.syncs.insert(ticket, answer_to);
            let member_id = request.membership.member_id.clone();
            let outcome = self.shared.act(&mut state, group, false, |turn| {
                turn.machine.sync(request, ticket, turn.now_ms);
            });
            if let Err(error) = outcome {
                state.syncs.remove(&ticket);
                return Err(unknown_member_of(error, &member_id));
            }
        }
        answer.await.unwrap_or(Err(LogError::Closed))
    }

    /// Keeps a membership alive.
    ///
    /// # Errors
    /// [`LogError::RebalanceInProgress`] asks to join again; else the group's refusals.
    pub fn heartbeat(&self, group: &str, membership: &Membership) -> Result<(), LogError> {
        let mut state = self.shared.state.lock();
        self.shared
            .act(&mut state, group, false, |turn| turn.machine.heartbeat(membership, turn.now_ms))
            .unwrap_or_else(|error| Err(unknown_member_of(error, &membership.member_id)))
    }

    /// Takes a member out of its group at once. With an empty `member_id` a static
    /// member is found by its instance.
    ///
    /// # Errors
    /// [`LogError::UnknownMember`], [`LogError::FencedInstance`].
    pub fn leave(
        &self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), LogError> {
        let mut state = self.shared.state.lock();
        self.shared
            .act(&mut state, group, false, |turn| {
                turn.machine.leave(member_id, instance_id, turn.now_ms)
            })
            .unwrap_or_else(|error| Err(unknown_member_of(error, member_id)))
    }

    /// Commits offsets, fenced by the membership; with [`Membership::none`] from
    /// outside, while the group has no members. Durable when it answers.
    ///
    /// # Cancel safety
    /// Dropped, the commit may still happen.
    ///
    /// # Errors
    /// The group's refusals; [`LogError::UnknownTopic`], [`LogError::UnknownPartition`],
    /// [`LogError::OffsetMetadataTooLarge`]; storage failures. Then nothing counts as
    /// committed, though after a storage failure the disk may know better.
    pub async fn commit(
        &self,
        group: &str,
        membership: &Membership,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), LogError> {
        let records = self.offset_records(group, offsets)?;
        let shared = &self.shared;
        self.shared
            .write(|state| {
                shared.check_commit(state, group, membership, false)?;
                Ok(records)
            })
            .await
    }

    /// The records of a commit, if every offset in it could be committed.
    pub(super) fn offset_records(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<Vec<GroupRecord>, LogError> {
        check_group_id(group)?;
        let committed_at = self.shared.clock.now();
        for (partition, committed) in &offsets {
            self.check_offset(group, partition, committed)?;
        }
        let record = |(partition, Committed { offset, metadata })| GroupRecord::Offset {
            group: group.to_owned(),
            partition,
            value: Some(StoredOffset { offset, metadata, committed_at }),
        };
        Ok(offsets.into_iter().map(record).collect())
    }

    /// Whether one offset could be committed by what it is; who commits is not asked.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`],
    /// [`LogError::OffsetMetadataTooLarge`].
    pub fn check_offset(
        &self,
        group: &str,
        partition: &TopicPartition,
        committed: &Committed,
    ) -> Result<(), LogError> {
        self.shared.check_partition(partition)?;
        check_metadata(group, &committed.metadata)
    }

    /// All committed offsets of a group; empty for one that does not exist.
    pub fn committed(&self, group: &str) -> CommittedOffsets {
        let state = self.shared.state.lock();
        let offsets = state.table.get(group).into_iter().flat_map(|kept| &kept.offsets);
        offsets.map(|(partition, value)| (partition.clone(), value.to_committed())).collect()
    }

    pub(super) fn committed_on(
        &self,
        group: &str,
        partition: &TopicPartition,
    ) -> Option<Committed> {
        let state = self.shared.state.lock();
        Some(state.table.get(group)?.offsets.get(partition)?.to_committed())
    }

    /// Sets offsets by hand, with empty metadata; the group may be a new one.
    ///
    /// # Errors
    /// [`LogError::GroupNotEmpty`], [`LogError::InvalidGroup`],
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`]; storage failures.
    pub async fn reset(&self, group: &str, positions: &Positions) -> Result<(), LogError> {
        check_group_id(group)?;
        for partition in positions.keys() {
            self.shared.check_partition(partition)?;
        }
        let committed_at = self.shared.clock.now();
        let record = |(partition, offset): (&TopicPartition, &i64)| GroupRecord::Offset {
            group: group.to_owned(),
            partition: partition.clone(),
            value: Some(StoredOffset { offset: *offset, metadata: String::new(), committed_at }),
        };
        self.shared
            .write(|state| {
                state.check_empty(group)?;
                state.check_room(group)?;
                Ok(positions.iter().map(record).collect::<Vec<_>>())
            })
            .await
    }

    /// Forgets a group and its offsets.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`], [`LogError::GroupNotEmpty`]; storage failures.
    pub async fn delete(&self, group: &str) -> Result<(), LogError> {
        // What its members committed before they left may still be under way.
        self.shared.flush().await?;
        self.shared
            .write(|state| {
                state.check_empty(group)?;
                if !state.is_known(group) {
                    return Err(unknown_group(group));
                }
                state.drop_live(group);
                let mut records = state.table.forget_group(group);
                if state.drop_consumer(group) {
                    let group = group.to_owned();
                    records.push(GroupRecord::Consumer { group, value: None });
                }
                Ok(records)
            })
            .await
    }

    /// Forgets a group's offsets on some partitions; an answer for each, in order. A
    /// partition without one is no failure.
    ///
    /// # Errors
    /// [`LogError::UnknownGroup`]; [`LogError::GroupNotEmpty`] for a group that is not
    /// of consumers; storage failures. For single partitions:
    /// [`LogError::GroupSubscribed`], [`LogError::UnknownTopic`],
    /// [`LogError::UnknownPartition`].
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Result<(), LogError>>, LogError> {
        self.shared.flush().await?;
        let mut answers = Vec::with_capacity(partitions.len());
        let shared = &self.shared;
        let decide = |state: &mut State| {
            let subscribed = state.subscribed_topics(group)?;
            let mut records = Vec::new();
            for partition in partitions {
                let (group, topic) = (group.to_owned(), partition.topic.clone());
                let checked = if subscribed.contains(&topic) {
                    Err(LogError::GroupSubscribed { group, topic })
                } else {
                    shared.check_partition(partition).map(|()| {
                        records.push(GroupRecord::Offset {
                            group,
                            partition: partition.clone(),
                            value: None,
                        });
                    })
                };
                answers.push(checked);
            }
            Ok(records)
        };
        self.shared.write(decide).await?;
        Ok(answers)
    }

    /// Ends what groups without members have kept for longer than the retention.
    /// Runs by itself every ten minutes.
    ///
    /// # Errors
    /// Storage failures.
    pub async fn expire(&self, now: Timestamp) -> Result<(), LogError> {
        self.shared.expire(now).await
    }

    /// Refuses all further calls, answers who waits with [`LogError::Closed`] and
    /// makes durable what was allowed before.
    ///
    /// # Errors
    /// Storage failures.
    pub async fn close(&self) -> Result<(), LogError> {
        let (done_to, done) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            if state.closed {
                return Ok(());
            }
            state.closed = true;
            state.deadlines.clear();
            let ids: Vec<String> = state.live.keys().cloned().collect();
            for id in ids {
                state.drop_live(&id);
            }
            state.consumers.clear();
            let change = Change::Records(Vec::new());
            state.writes.push(Write { change, done: Some(done_to), _permit: None });
        }
        self.shared.writes_waiting.notify_one();
        self.shared.deadline_moved.notify_one();
        done.await.unwrap_or(Err(LogError::Closed))
    }

    pub(super) fn topics(&self) -> watch::Receiver<Arc<TopicPartitions>> {
        self.shared.topics.subscribe()
    }

    /// How its groups behave.
    pub fn options(&self) -> &GroupOptions {
        &self.shared.options
    }

    /// The group's generation, for errors that tell it.
    pub(super) fn generation(&self, group: &str) -> i32 {
        let state = self.shared.state.lock();
        state.live.get(group).map_or(-1, |live| live.machine.generation())
    }
}

/// What of the records is known and whole.
fn decoded(records: &[Record]) -> impl Iterator<Item = GroupRecord> {
    records.iter().filter_map(|record| match GroupRecord::decode(record) {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(%error, "a group's record is skipped");
            None
        }
    })
}

pub(super) fn check_group_id(group: &str) -> Result<(), LogError> {
    let max = limits::GROUP_ID_BYTES_MAX;
    let why = if group.is_empty() {
        format!("it is empty; give it 1 to {max} bytes")
    } else if group.len() > max {
        format!("it has {} bytes, {max} are allowed", group.len())
    } else if group.chars().any(char::is_control) {
        "it contains a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(LogError::InvalidGroup { group: group.chars().take(max).collect(), why })
}

fn check_metadata(group: &str, metadata: &str) -> Result<(), LogError> {
    let max_bytes = limits::OFFSET_METADATA_BYTES_MAX;
    if metadata.len() > max_bytes {
        let (group, found_bytes) = (group.to_owned(), metadata.len());
        return Err(LogError::OffsetMetadataTooLarge { group, found_bytes, max_bytes });
    }
    Ok(())
}

/// To a member, a group that does not exist is one that does not know it.
fn unknown_member_of(error: LogError, member_id: &str) -> LogError {
    match error {
        LogError::UnknownGroup { group } => {
            LogError::UnknownMember { group, member: member_id.to_owned() }
        }
        error => error,
    }
}
