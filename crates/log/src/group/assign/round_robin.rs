//! Kafka's round-robin strategy: all partitions of all topics, dealt out in turn.
//!
//! Topics go by name, partitions by number, members in their order; a member that
//! does not subscribe to a topic is passed over.

use courant_model::TopicPartition;

use super::{Assignments, Candidate, TopicPartitions, nothing};

pub(super) fn assign(candidates: &[&Candidate], topics: &TopicPartitions) -> Assignments {
    let mut assignments = nothing(candidates);
    let mut turn = candidates.iter().cycle();
    for (topic, &partitions) in topics {
        if !candidates.iter().any(|candidate| candidate.topics.contains(topic)) {
            continue;
        }
        for number in 0..partitions {
            if let Some(next) = turn.find(|candidate| candidate.topics.contains(topic)) {
                let partition = TopicPartition::new(topic.clone(), number);
                assignments.entry(next.id.clone()).or_default().insert(partition);
            }
        }
    }
    assignments
}
