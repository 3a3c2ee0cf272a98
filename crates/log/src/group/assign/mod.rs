//! Who gets which partition: Kafka's four strategies as pure functions.
//!
//! The group's leader calls [`AssignmentStrategy::assign`] between join and sync.
//! Invariant: every partition of a topic that somebody subscribes to goes to
//! exactly one of its subscribers, except that the cooperative strategy holds a
//! partition back until its last owner has let go of it. The outcome
//! depends on the arguments alone; racks are not looked at.

mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use courant_model::{TopicName, TopicPartition};

/// How many partitions each topic has.
pub type TopicPartitions = BTreeMap<TopicName, i32>;

/// Each member's partitions, by member id; every candidate has an entry.
pub type Assignments = BTreeMap<String, BTreeSet<TopicPartition>>;

/// A way to share partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignmentStrategy {
    /// Per topic a run of neighbouring partitions each.
    Range,
    /// All partitions of all topics dealt out in turn.
    RoundRobin,
    /// Balanced, and as much as possible stays where it was.
    Sticky,
    /// As sticky; what stays is never interrupted.
    CooperativeSticky,
}

/// A member as the strategies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: String,
    /// Orders static members, so that a restart under another id moves nothing.
    pub instance_id: Option<String>,
    pub topics: BTreeSet<TopicName>,
    /// What the member still holds, or held last.
    pub owned: BTreeSet<TopicPartition>,
    /// The generation that `owned` is from; of two claims the newer one counts.
    pub generation: i32,
}

impl AssignmentStrategy {
    /// Every strategy, in the order in which they are described.
    pub const ALL: [Self; 4] =
        [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Kafka's name of the strategy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The strategy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// Whether members keep working through a rebalance.
    pub const fn is_cooperative(self) -> bool {
        matches!(self, Self::CooperativeSticky)
    }

    /// Shares the partitions among the candidates.
    pub fn assign(self, candidates: &[Candidate], topics: &TopicPartitions) -> Assignments {
        let mut sorted: Vec<&Candidate> = candidates.iter().collect();
        sorted.sort_by_key(|candidate| candidate.rank());
        match self {
            Self::Range => range::assign(&sorted, topics),
            Self::RoundRobin => round_robin::assign(&sorted, topics),
            Self::Sticky => sticky::assign(&sorted, topics),
            Self::CooperativeSticky => hold_back(sticky::assign(&sorted, topics), &sorted),
        }
    }
}

impl Candidate {
    /// Kafka's order: static members first, by instance, then the others by id.
    fn rank(&self) -> (bool, &str) {
        match &self.instance_id {
            Some(instance) => (false, instance),
            None => (true, &self.id),
        }
    }
}

/// Takes out what somebody else still claims; it is assigned in the next round,
/// which the claimant starts when it has let go.
fn hold_back(mut assignments: Assignments, candidates: &[&Candidate]) -> Assignments {
    let mut claimants: BTreeMap<&TopicPartition, Vec<&str>> = BTreeMap::new();
    for candidate in candidates {
        for partition in &candidate.owned {
            claimants.entry(partition).or_default().push(&candidate.id);
        }
    }
    for (member, partitions) in &mut assignments {
        partitions.retain(|partition| {
            claimants.get(partition).is_none_or(|claimants| claimants.iter().all(|id| id == member))
        });
    }
    assignments
}

/// An entry without partitions for every candidate.
fn nothing(candidates: &[&Candidate]) -> Assignments {
    candidates.iter().map(|candidate| (candidate.id.clone(), BTreeSet::new())).collect()
}
