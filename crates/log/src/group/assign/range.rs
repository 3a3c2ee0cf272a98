//! Kafka's range strategy: topic by topic, a run of neighbours for each member.
//!
//! Members are taken in their order; the first ones get one partition more where
//! the division leaves a rest. Topics with as many partitions as each other are cut
//! alike, so that records of one key in two topics meet at one member. Over many
//! topics the rests add up at the first members: that is the price.

use courant_model::{TopicName, TopicPartition};

use super::{Assignments, Candidate, TopicPartitions, nothing};

pub(super) fn assign(candidates: &[&Candidate], topics: &TopicPartitions) -> Assignments {
    let mut assignments = nothing(candidates);
    for (topic, &partitions) in topics {
        let subscribers = candidates.iter().filter(|candidate| candidate.topics.contains(topic));
        let ids: Vec<&str> = subscribers.map(|candidate| candidate.id.as_str()).collect();
        share(topic, partitions, &ids, &mut assignments);
    }
    assignments
}

fn share(topic: &TopicName, partitions: i32, members: &[&str], assignments: &mut Assignments) {
    let Ok(count) = i32::try_from(members.len()) else { return };
    if count == 0 {
        return;
    }
    let (each, rest) = (partitions / count, partitions % count);
    let mut next = 0;
    for (place, member) in (0..).zip(members) {
        let end = next + each + i32::from(place < rest);
        let run = (next..end).map(|number| TopicPartition::new(topic.clone(), number));
        assignments.entry((*member).to_owned()).or_default().extend(run);
        next = end;
    }
}
