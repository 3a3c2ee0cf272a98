//! A member's seat: its standing in the group, shared by its three hands.
//!
//! The owner takes changes out ([`super::member`]), the driver keeps up with the
//! group ([`super::driver`]), committers write. The standing is levels, not events:
//! what the group assigned (`target`) and what the owner holds (`held`), so that any
//! number of rebalances between two looks collapse into one difference.
//!
//! Invariant: `held` only grows by what is in `target`, and what the group believes
//! this member to have is never less than what the owner has: see [`Standing::claims`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_model::{Positions, TopicPartition};
use tokio::sync::watch;

use super::{
    coordinator::{Coordinator, Joining},
    machine::{JoinRequest, Membership},
    reader::PartitionSource,
};
use crate::{Committed, Committer, LogError, TransactionalProducer};

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) coordinator: Coordinator,
    pub(super) source: Arc<dyn PartitionSource>,
    pub(super) group: String,
    pub(super) instance_id: Option<String>,
    pub(super) standing: watch::Sender<Standing>,
}

/// Where a member stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Empty until the first join.
    pub(super) member_id: String,
    pub(super) generation: i32,
    /// Whether the share of `generation` is known; commits wait for it.
    pub(super) synced: bool,
    /// What the group assigned last.
    pub(super) target: BTreeSet<TopicPartition>,
    /// What the owner was given and has not given back.
    pub(super) held: BTreeSet<TopicPartition>,
    /// The part of `held` that the owner was asked to give back.
    pub(super) revoking: BTreeSet<TopicPartition>,
    /// The part of `held` that is somebody else's, and the owner does not know yet.
    pub(super) lost: BTreeSet<TopicPartition>,
    /// What the last join claimed.
    pub(super) claimed: BTreeSet<TopicPartition>,
    /// Why the membership is over.
    pub(super) ended: Option<LogError>,
}

impl Standing {
    /// What the owner has, or could take at any moment.
    pub(super) fn claims(&self) -> BTreeSet<TopicPartition> {
        self.held.difference(&self.lost).chain(&self.target).cloned().collect()
    }

    /// Whether the group believes this member to have something that it has let go.
    pub(super) fn has_let_go(&self) -> bool {
        let has =
            |one| self.target.contains(one) || self.held.contains(one) && !self.lost.contains(one);
        !self.claimed.iter().all(has)
    }

    /// The owner is done with what it was asked to give back, if it was.
    pub(super) fn give_back(&mut self) -> bool {
        let revoked = std::mem::take(&mut self.revoking);
        self.held.retain(|partition| !revoked.contains(partition));
        !revoked.is_empty()
    }

    /// The group has gone on without this member.
    pub(super) fn lose_all(&mut self) {
        self.give_back();
        self.lost.clone_from(&self.held);
        self.target.clear();
        self.claimed.clear();
        self.synced = false;
        self.member_id.clear();
        self.generation = -1;
    }

    fn has(&self, partition: &TopicPartition) -> bool {
        self.held.contains(partition) && !self.lost.contains(partition)
    }
}

impl Seat {
    pub(super) fn membership(&self) -> Membership {
        let standing = self.standing.borrow();
        Membership {
            member_id: standing.member_id.clone(),
            instance_id: self.instance_id.clone(),
            generation: standing.generation,
        }
    }

    /// Joins the group with what `ask` makes of the standing; refused once ended, so
    /// that nobody comes back in who has left.
    pub(super) fn join(
        &self,
        ask: impl FnOnce(&mut Standing) -> JoinRequest,
    ) -> Result<Joining, LogError> {
        let mut outcome = Err(LogError::Closed);
        self.standing.send_modify(|standing| {
            outcome = match &standing.ended {
                Some(error) => Err(error.clone()),
                None => self.coordinator.begin_join(&self.group, ask(standing)),
            };
            if let Ok(joining) = &outcome {
                standing.member_id.clone_from(&joining.member_id);
            }
        });
        outcome
    }

    /// Ends the membership for good. Nobody takes anything over from a closed log, so
    /// there nothing counts as lost.
    pub(super) fn end(&self, why: LogError) {
        self.standing.send_modify(|standing| {
            if !matches!(why, LogError::Closed) {
                standing.lose_all();
            }
            standing.ended.get_or_insert(why);
        });
    }

    /// Ends the membership by the member's own will, telling the group if `leave`.
    pub(super) fn quit(&self, leave: bool) -> Result<(), LogError> {
        let (mut over, mut member_id) = (false, String::new());
        self.standing.send_modify(|standing| {
            over = standing.ended.is_some();
            member_id.clone_from(&standing.member_id);
            standing.ended.get_or_insert(LogError::Closed);
            standing.target.clear();
            standing.held.clear();
        });
        if over || !leave || member_id.is_empty() {
            return Ok(());
        }
        match self.coordinator.leave(&self.group, &member_id, self.instance_id.as_deref()) {
            // Somebody was quicker: out is out.
            Err(LogError::UnknownMember { .. } | LogError::FencedInstance { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

/// A member's right to commit, for as long as it has its partitions, from any task.
#[derive(Debug, Clone)]
pub struct MemberOffsets(pub(super) Arc<Seat>);

impl MemberOffsets {
    pub(crate) fn group(&self) -> &str {
        &self.0.group
    }

    /// Commits offsets by `commit`, which is called again when the group was between
    /// two generations.
    pub(crate) async fn commit_with<F>(
        &self,
        positions: &Positions,
        metadata: &str,
        commit: impl Fn(Membership, Vec<(TopicPartition, Committed)>) -> F + Send + Sync,
    ) -> Result<(), LogError>
    where
        F: Future<Output = Result<(), LogError>> + Send,
    {
        loop {
            let mut news = self.0.standing.subscribe();
            let membership = self.allowed(positions).await?;
            let generation = membership.generation;
            let committed =
                |offset: &i64| Committed { offset: *offset, metadata: metadata.to_owned() };
            let offsets = positions.iter().map(|(at, offset)| (at.clone(), committed(offset)));
            match commit(membership, offsets.collect()).await {
                // The group is between two generations and the driver is about to learn
                // of it; what then still is the owner's may be committed.
                Err(
                    LogError::RebalanceInProgress { .. }
                    | LogError::IllegalGeneration { .. }
                    | LogError::UnknownMember { .. },
                ) => {
                    let moved_on = |standing: &Standing| {
                        standing.ended.is_some()
                            || !standing.synced
                            || standing.generation != generation
                    };
                    news.wait_for(moved_on).await.map_err(|_| LogError::Closed)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits until commits are possible and answers for whom they are; refuses what
    /// the owner does not have.
    async fn allowed(&self, positions: &Positions) -> Result<Membership, LogError> {
        let mut news = self.0.standing.subscribe();
        loop {
            {
                let standing = news.borrow_and_update();
                if positions.keys().any(|partition| !standing.has(partition)) {
                    return Err(LogError::IllegalGeneration {
                        group: self.0.group.clone(),
                        found: standing.generation,
                        expected: self.0.coordinator.generation(&self.0.group),
                    });
                }
                if let Some(error) = &standing.ended {
                    return Err(error.clone());
                }
                if standing.synced {
                    return Ok(Membership {
                        member_id: standing.member_id.clone(),
                        instance_id: self.0.instance_id.clone(),
                        generation: standing.generation,
                    });
                }
            }
            news.changed().await.map_err(|_| LogError::Closed)?;
        }
    }
}

#[async_trait]
impl Committer for MemberOffsets {
    async fn commit(&self, positions: &Positions, metadata: &str) -> Result<(), LogError> {
        let seat = &self.0;
        self.commit_with(positions, metadata, |membership, offsets| async move {
            seat.coordinator.commit(&seat.group, &membership, offsets).await
        })
        .await
    }

    async fn committed(&self, partition: &TopicPartition) -> Result<Option<Committed>, LogError> {
        Ok(self.0.coordinator.committed_on(&self.0.group, partition))
    }

    async fn transactional_producer(
        &self,
        id: &str,
        timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        self.0.source.transactional_producer(self.clone(), id, timeout).await
    }

    fn clone_box(&self) -> Box<dyn Committer> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use courant_model::TopicName;

    use super::*;

    fn partitions(numbers: &[i32]) -> BTreeSet<TopicPartition> {
        let topic = TopicName::new("t").unwrap();
        numbers.iter().map(|&number| TopicPartition::new(topic.clone(), number)).collect()
    }

    #[test]
    fn what_could_be_taken_at_any_moment_is_claimed_and_what_is_lost_is_not() {
        let standing = Standing {
            target: partitions(&[1, 2]),
            held: partitions(&[2, 3, 4]),
            lost: partitions(&[4]),
            ..Standing::default()
        };
        assert_eq!(standing.claims(), partitions(&[1, 2, 3]));
    }

    #[test]
    fn a_new_round_is_due_once_something_claimed_is_neither_held_nor_assigned() {
        let mut standing = Standing {
            claimed: partitions(&[1, 2]),
            target: partitions(&[1]),
            held: partitions(&[1, 2]),
            revoking: partitions(&[2]),
            ..Standing::default()
        };
        assert!(!standing.has_let_go(), "the owner still works on it");
        assert!(standing.give_back());
        assert!(standing.has_let_go());
        assert_eq!(standing.held, partitions(&[1]));
        assert!(!standing.give_back(), "there is nothing more to give back");
    }
}
