//! Keeps one member of this process in its group: the other side of the protocol.
//!
//! Joins, shares out when it leads, syncs, sends heartbeats and joins again when the
//! group rebalances, when the owner has let go of partitions, or when it leads and a
//! topic has grown. Members of this process hear of a rebalance at once instead of
//! with the next heartbeat. With cooperative strategies the owner never waits for
//! any of it; with eager ones everything is given back before the next join.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use courant_model::{TopicName, TopicPartition};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{
    assign::{AssignmentStrategy, Candidate, TopicPartitions},
    coordinator::Joining,
    machine::{JoinRequest, Joined, Protocol, SyncRequest},
    protocol::{
        CONSUMER_PROTOCOL, CONSUMER_PROTOCOL_VERSION, MemberAssignment, MemberSubscription,
        StickyUserData, candidate, cooperative_user_data,
    },
    seat::{Seat, Standing},
    shared::millis,
};
use crate::LogError;

/// What people read as the host of a member of this process.
const CLIENT_HOST: &str = "in-process";

/// Heartbeats in one session; Kafka's default proportion.
const HEARTBEATS_PER_SESSION: u32 = 3;

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) seat: Arc<Seat>,
    pub(super) topics: Vec<TopicName>,
    pub(super) client_id: String,
    pub(super) session_timeout: Duration,
    /// The last share; what the eager sticky strategy starts from.
    pub(super) previous: BTreeSet<TopicPartition>,
    /// The partitions that were shared out, while this member leads.
    pub(super) led: Option<TopicPartitions>,
}

impl Driver {
    /// Asks for membership of the next generation.
    ///
    /// # Errors
    /// Why the membership is over; the coordinator's refusals.
    pub(super) fn join(&self) -> Result<Joining, LogError> {
        let seat = &self.seat;
        let options = seat.coordinator.options();
        seat.join(|standing| {
            standing.claimed =
                if self.is_cooperative() { standing.claims() } else { BTreeSet::new() };
            let protocol = |strategy: &AssignmentStrategy| Protocol {
                name: strategy.name().to_owned(),
                metadata: self.subscription(*strategy, standing).encode(CONSUMER_PROTOCOL_VERSION),
            };
            JoinRequest {
                member_id: standing.member_id.clone(),
                instance_id: seat.instance_id.clone(),
                client_id: self.client_id.clone(),
                client_host: CLIENT_HOST.to_owned(),
                session_timeout_ms: millis(self.session_timeout),
                rebalance_timeout_ms: millis(options.rebalance_timeout),
                protocol_type: CONSUMER_PROTOCOL.to_owned(),
                protocols: options.strategies.iter().map(protocol).collect(),
                member_id_required: false,
                can_skip_assignment: true,
            }
        })
    }

    /// What the member says about itself under a strategy.
    fn subscription(
        &self,
        strategy: AssignmentStrategy,
        standing: &Standing,
    ) -> MemberSubscription {
        let generation = standing.generation;
        let user_data = match strategy {
            AssignmentStrategy::Sticky => {
                Some(StickyUserData { previous: self.previous.clone(), generation }.encode())
            }
            AssignmentStrategy::CooperativeSticky => Some(cooperative_user_data(generation)),
            AssignmentStrategy::Range | AssignmentStrategy::RoundRobin => None,
        };
        MemberSubscription {
            topics: self.topics.clone(),
            user_data,
            owned: standing.claimed.clone(),
            generation,
            rack: None,
        }
    }

    /// Drives the membership until it ends; what ended it is left in the standing.
    pub(super) async fn run(mut self, mut joining: Joining) {
        loop {
            let end = match self.attend(joining).await {
                Ok(()) | Err(LogError::RebalanceInProgress { .. }) => None,
                Err(LogError::UnknownMember { .. } | LogError::IllegalGeneration { .. }) => {
                    self.seat.standing.send_modify(Standing::lose_all);
                    None
                }
                Err(error) => Some(error),
            };
            let next = match end {
                Some(error) => Err(error),
                None => self.join(),
            };
            joining = match next {
                Ok(next) => next,
                Err(error) => return self.seat.end(error),
            };
        }
    }

    /// Goes through one generation; returns when it is time to join again.
    async fn attend(&mut self, joining: Joining) -> Result<(), LogError> {
        let Joining { answer, mut rebalances, .. } = joining;
        self.settle(answer).await?;
        let outcome = self.stay(&mut rebalances).await;
        if !self.is_cooperative()
            && matches!(outcome, Ok(()) | Err(LogError::RebalanceInProgress { .. }))
        {
            self.give_everything_back().await?;
        }
        outcome
    }

    /// Waits for the generation, shares out if it leads, and takes its own share.
    async fn settle(
        &mut self,
        answer: oneshot::Receiver<Result<Joined, LogError>>,
    ) -> Result<(), LogError> {
        let joined = answer.await.unwrap_or(Err(LogError::Closed))?;
        let seat = Arc::clone(&self.seat);
        seat.standing.send_modify(|standing| {
            standing.member_id.clone_from(&joined.member_id);
            standing.generation = joined.generation;
            standing.synced = false;
        });
        let candidates = self.candidates(&joined);
        let assignments = self.lead(&joined, &candidates);
        let request = SyncRequest {
            membership: seat.membership(),
            protocol_type: Some(joined.protocol_type),
            protocol: Some(joined.protocol),
            assignments,
        };
        let synced = seat.coordinator.sync(&seat.group, request).await?;
        let assignment = MemberAssignment::decode(&synced.assignment).unwrap_or_else(|error| {
            tracing::error!(group = seat.group, %error, "the leader's assignment is taken as empty");
            MemberAssignment::default()
        });
        self.previous.clone_from(&assignment.partitions);
        seat.standing.send_modify(|standing| {
            standing.target = assignment.partitions;
            standing.synced = true;
        });
        Ok(())
    }

    /// Everybody in the group, as far as their bytes can be read.
    fn candidates(&self, joined: &Joined) -> Vec<Candidate> {
        let Some(strategy) = AssignmentStrategy::named(&joined.protocol) else {
            return Vec::new();
        };
        let read = |member| match candidate(strategy, member) {
            Ok(candidate) => Some(candidate),
            Err(error) => {
                tracing::error!(group = self.seat.group, member = member.id, %error, "member gets nothing");
                None
            }
        };
        joined.members.iter().filter_map(read).collect()
    }

    /// Shares out if this member leads and must; remembers by which partitions.
    fn lead(&mut self, joined: &Joined, candidates: &[Candidate]) -> Vec<(String, Bytes)> {
        self.led = None;
        let strategy = AssignmentStrategy::named(&joined.protocol);
        let (true, Some(strategy)) = (joined.leader == joined.member_id, strategy) else {
            return Vec::new();
        };
        let wanted = candidates.iter().flat_map(|one| one.topics.iter().cloned());
        let known = Arc::clone(&self.seat.coordinator.topics().borrow());
        let count = |topic: &TopicName| known.get(topic).copied().unwrap_or(0);
        let topics: TopicPartitions = wanted.map(|topic| (topic.clone(), count(&topic))).collect();
        let assignments = if joined.skip_assignment {
            BTreeMap::new()
        } else {
            strategy.assign(candidates, &topics)
        };
        self.led = Some(topics);
        let encode = |(id, partitions)| {
            let assignment = MemberAssignment { partitions, user_data: None };
            (id, assignment.encode(CONSUMER_PROTOCOL_VERSION))
        };
        assignments.into_iter().map(encode).collect()
    }

    /// Keeps the membership alive until there is a reason to join again.
    async fn stay(&self, rebalances: &mut watch::Receiver<u64>) -> Result<(), LogError> {
        let seat = &self.seat;
        let mut news = seat.standing.subscribe();
        let mut topics = seat.coordinator.topics();
        let mut beat = self.beat();
        loop {
            let let_go = news.borrow_and_update().has_let_go();
            if let_go || self.topics_differ(&topics.borrow_and_update()) {
                return Ok(());
            }
            tokio::select! {
                _ = beat.tick() => {}
                changed = rebalances.changed() => changed.map_err(|_| LogError::Closed)?,
                _ = news.changed() => continue,
                _ = topics.changed() => continue,
            }
            seat.coordinator.heartbeat(&seat.group, &seat.membership())?;
        }
    }

    /// Waits until the owner holds nothing more, as the eager strategies demand.
    async fn give_everything_back(&self) -> Result<(), LogError> {
        let seat = &self.seat;
        seat.standing.send_modify(|standing| standing.target.clear());
        let mut news = seat.standing.subscribe();
        let mut beat = self.beat();
        while !news.borrow_and_update().held.is_empty() {
            tokio::select! {
                _ = news.changed() => continue,
                _ = beat.tick() => {}
            }
            match seat.coordinator.heartbeat(&seat.group, &seat.membership()) {
                Ok(()) | Err(LogError::RebalanceInProgress { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn topics_differ(&self, known: &TopicPartitions) -> bool {
        self.led.as_ref().is_some_and(|led| {
            led.iter().any(|(topic, count)| known.get(topic).copied().unwrap_or(0) != *count)
        })
    }

    fn is_cooperative(&self) -> bool {
        let strategies = &self.seat.coordinator.options().strategies;
        strategies.iter().all(|strategy| strategy.is_cooperative())
    }

    fn beat(&self) -> Interval {
        let period = self.session_timeout / HEARTBEATS_PER_SESSION;
        let mut beat = interval_at(Instant::now() + period, period);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat
    }
}
