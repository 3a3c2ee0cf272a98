//! The sticky strategy: balanced first, then as little movement as possible.
//!
//! Three steps: everybody keeps what is theirs; what is free goes to the least
//! loaded subscriber; then partitions move, one chain at a time, from a loaded
//! member to one with at least two fewer. A chain passes through members whose
//! subscriptions overlap, so the balance is the best that the subscriptions allow
//! (no cost-reducing path is left: Harvey et al., "Semi-matchings for bipartite
//! graphs"), and with equal subscriptions everybody is within one of each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use courant_model::{PartitionId, TopicName, TopicPartition};

use super::{Assignments, Candidate, TopicPartitions};

pub(super) fn assign(candidates: &[&Candidate], topics: &TopicPartitions) -> Assignments {
    let mut plan = Plan::new(candidates, topics);
    plan.keep_owned();
    plan.place_free();
    while plan.move_one() {}
    plan.finish()
}

/// Members are known by their index in the sorted candidates.
struct Plan<'a> {
    candidates: &'a [&'a Candidate],
    topics: &'a TopicPartitions,
    subscribers: BTreeMap<&'a TopicName, Vec<usize>>,
    held: Vec<BTreeMap<&'a TopicName, BTreeSet<PartitionId>>>,
    load: Vec<usize>,
}

/// A hop of a chain: a partition of this topic left this member.
type Hop<'a> = (usize, &'a TopicName);

impl<'a> Plan<'a> {
    fn new(candidates: &'a [&'a Candidate], topics: &'a TopicPartitions) -> Self {
        let subscribers = topics
            .keys()
            .map(|topic| {
                let of = (0..candidates.len()).filter(|&at| candidates[at].topics.contains(topic));
                (topic, of.collect())
            })
            .collect();
        let held = vec![BTreeMap::new(); candidates.len()];
        Self { candidates, topics, subscribers, held, load: vec![0; candidates.len()] }
    }

    /// Leaves each partition with its last owner. Of two claims the one from the
    /// newer generation counts; of two equally new ones, neither does.
    fn keep_owned(&mut self) {
        let mut claims: BTreeMap<&TopicPartition, (i32, Option<usize>)> = BTreeMap::new();
        for (at, candidate) in self.candidates.iter().enumerate() {
            for partition in &candidate.owned {
                let claim = claims.entry(partition).or_insert((candidate.generation, Some(at)));
                if claim.1 == Some(at) {
                    continue;
                }
                if candidate.generation > claim.0 {
                    *claim = (candidate.generation, Some(at));
                } else if candidate.generation == claim.0 {
                    claim.1 = None;
                }
            }
        }
        for (partition, (_, owner)) in claims {
            let known = self.topics.get_key_value(&partition.topic);
            let (Some(at), Some((topic, &count))) = (owner, known) else { continue };
            let subscribed = self.candidates[at].topics.contains(topic);
            if subscribed && (0..count).contains(&partition.partition) {
                self.give(at, topic, partition.partition);
            }
        }
    }

    /// Hands what nobody holds to the least loaded subscriber.
    fn place_free(&mut self) {
        for (topic, &count) in self.topics {
            let subscribers = self.subscribers[topic].clone();
            let taken: BTreeSet<PartitionId> = subscribers
                .iter()
                .filter_map(|&at| self.held[at].get(topic))
                .flatten()
                .copied()
                .collect();
            for number in (0..count).filter(|number| !taken.contains(number)) {
                if let Some(&at) = subscribers.iter().min_by_key(|&&at| self.load[at]) {
                    self.give(at, topic, number);
                }
            }
        }
    }

    /// Moves one partition's worth of load down, from the most loaded member that
    /// can shed any; false when nothing can be improved.
    fn move_one(&mut self) -> bool {
        let Some(&least) = self.load.iter().min() else { return false };
        let mut sources: Vec<usize> = (0..self.load.len()).collect();
        sources.retain(|&at| self.load[at] >= least + 2);
        sources.sort_by_key(|&at| std::cmp::Reverse(self.load[at]));
        for source in sources {
            if let Some((target, hops)) = self.chain(source, least) {
                let mut to = target;
                for (from, topic) in hops {
                    let number = self.take(from, topic);
                    self.give(to, topic, number);
                    to = from;
                }
                return true;
            }
        }
        false
    }

    /// The least loaded member that can be reached from `source` with at least two
    /// partitions fewer, and the hops there, last one first.
    fn chain(&self, source: usize, least: usize) -> Option<(usize, Vec<Hop<'a>>)> {
        let mut came_by: Vec<Option<Hop<'a>>> = vec![None; self.load.len()];
        let mut seen_topics = BTreeSet::new();
        let mut queue = VecDeque::from([source]);
        let mut best: Option<usize> = None;
        while let Some(at) = queue.pop_front() {
            if best.is_some_and(|best| self.load[best] == least) {
                break;
            }
            for (&topic, numbers) in &self.held[at] {
                if numbers.is_empty() || !seen_topics.insert(topic) {
                    continue;
                }
                for &next in &self.subscribers[topic] {
                    if next == source || came_by[next].is_some() {
                        continue;
                    }
                    came_by[next] = Some((at, topic));
                    queue.push_back(next);
                    if best.is_none_or(|best| self.load[next] < self.load[best]) {
                        best = Some(next);
                    }
                }
            }
        }
        let target = best.filter(|&best| self.load[best] + 2 <= self.load[source])?;
        let hops = std::iter::successors(came_by[target], |&(from, _)| came_by[from]);
        Some((target, hops.collect()))
    }

    fn give(&mut self, at: usize, topic: &'a TopicName, number: PartitionId) {
        if self.held[at].entry(topic).or_default().insert(number) {
            self.load[at] += 1;
        }
    }

    /// Takes a partition away, one that the member never owned if there is such.
    fn take(&mut self, at: usize, topic: &'a TopicName) -> PartitionId {
        let owned = &self.candidates[at].owned;
        let numbers = self.held[at].entry(topic).or_default();
        let is_new =
            |number: &&PartitionId| !owned.contains(&TopicPartition::new(topic.clone(), **number));
        let number = numbers.iter().rev().find(is_new).or(numbers.last()).copied();
        let number = number.expect("a chain only leaves members by topics that they hold");
        numbers.remove(&number);
        self.load[at] -= 1;
        number
    }

    fn finish(self) -> Assignments {
        let partitions = |held: BTreeMap<&TopicName, BTreeSet<PartitionId>>| {
            let each = |(topic, numbers): (&TopicName, BTreeSet<PartitionId>)| {
                let topic = topic.clone();
                numbers.into_iter().map(move |number| TopicPartition::new(topic.clone(), number))
            };
            held.into_iter().flat_map(each).collect()
        };
        let ids = self.candidates.iter().map(|candidate| candidate.id.clone());
        ids.zip(self.held.into_iter().map(partitions)).collect()
    }
}
