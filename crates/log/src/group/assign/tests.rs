//! What every strategy must keep, over random groups, topics and histories.
//!
//! The properties are those that members rely on: exactly one owner, balance, as
//! little movement as possible, and no cooperative move without a revocation first.
//! The examples beside them are Kafka's own.

use std::collections::{BTreeMap, BTreeSet};

use courant_model::{TopicName, TopicPartition};
use proptest::{collection, prelude::*};

use super::{AssignmentStrategy, Assignments, Candidate, TopicPartitions};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn partition(name: &str, number: i32) -> TopicPartition {
    TopicPartition::new(topic(name), number)
}

fn member(id: &str, topics: &[&str]) -> Candidate {
    Candidate {
        id: id.into(),
        instance_id: None,
        topics: topics.iter().map(|name| topic(name)).collect(),
        owned: BTreeSet::new(),
        generation: -1,
    }
}

fn topics(counts: &[(&str, i32)]) -> TopicPartitions {
    counts.iter().map(|&(name, count)| (topic(name), count)).collect()
}

fn shown(assignments: &Assignments, id: &str) -> Vec<String> {
    assignments[id].iter().map(ToString::to_string).collect()
}

/// Every partition with a subscriber, in one list.
fn assignable(candidates: &[Candidate], topics: &TopicPartitions) -> Vec<TopicPartition> {
    topics
        .iter()
        .filter(|(name, _)| candidates.iter().any(|one| one.topics.contains(*name)))
        .flat_map(|(name, &count)| (0..count).map(|at| TopicPartition::new(name.clone(), at)))
        .collect()
}

fn dealt_out(assignments: &Assignments) -> Vec<TopicPartition> {
    let mut all: Vec<_> = assignments.values().flatten().cloned().collect();
    all.sort();
    all
}

/// Up to 12 members over up to 4 topics, `equal` with the same subscription for all,
/// and claims of any generation on any partition, also on ones that do not exist.
fn groups(equal: bool) -> impl Strategy<Value = (Vec<Candidate>, TopicPartitions)> {
    let counts = collection::vec(0..9_i32, 1..5);
    let names = ["a", "b", "c", "d"];
    let one = (
        collection::vec(any::<bool>(), 4),
        collection::vec((0..4_usize, 0..10_i32), 0..12),
        0..3_i32,
    );
    (counts, collection::vec(one, 1..13)).prop_map(move |(counts, members)| {
        let topics: TopicPartitions =
            names.iter().zip(counts).map(|(name, count)| (topic(name), count)).collect();
        let candidates = members.into_iter().enumerate().map(|(at, (wants, owned, generation))| {
            let wanted = names.iter().zip(wants).filter(|(_, wants)| equal || *wants);
            Candidate {
                id: format!("m{at:02}"),
                instance_id: (at % 5 == 0).then(|| format!("i{}", 99 - at)),
                topics: wanted.map(|(name, _)| topic(name)).collect(),
                owned: owned.into_iter().map(|(name, at)| partition(names[name], at)).collect(),
                generation,
            }
        });
        (candidates.collect(), topics)
    })
}

/// The same with claims that cannot collide: what one round handed out.
fn with_history(candidates: &[Candidate], topics: &TopicPartitions) -> Vec<Candidate> {
    let last = AssignmentStrategy::RoundRobin.assign(candidates, topics);
    let mut after = candidates.to_vec();
    for candidate in &mut after {
        candidate.owned = last[&candidate.id].clone();
        candidate.generation = 7;
    }
    after
}

fn spread(assignments: &Assignments) -> usize {
    let counts = || assignments.values().map(BTreeSet::len);
    counts().max().unwrap_or(0) - counts().min().unwrap_or(0)
}

proptest! {
    #[test]
    fn every_partition_has_exactly_one_owner_who_subscribes_to_it(
        (candidates, topics) in groups(false),
    ) {
        for strategy in
            [AssignmentStrategy::Range, AssignmentStrategy::RoundRobin, AssignmentStrategy::Sticky]
        {
            let assignments = strategy.assign(&candidates, &topics);
            prop_assert_eq!(assignments.len(), candidates.len());
            prop_assert_eq!(dealt_out(&assignments), assignable(&candidates, &topics));
            for candidate in &candidates {
                for partition in &assignments[&candidate.id] {
                    prop_assert!(candidate.topics.contains(&partition.topic));
                }
            }
        }
    }

    #[test]
    fn equal_subscriptions_are_balanced_within_one((candidates, topics) in groups(true)) {
        prop_assert!(spread(&AssignmentStrategy::RoundRobin.assign(&candidates, &topics)) <= 1);
        prop_assert!(spread(&AssignmentStrategy::Sticky.assign(&candidates, &topics)) <= 1);
        for (name, &count) in &topics {
            let one = TopicPartitions::from([(name.clone(), count)]);
            prop_assert!(spread(&AssignmentStrategy::Range.assign(&candidates, &one)) <= 1);
        }
    }

    #[test]
    fn no_single_move_could_improve_a_sticky_assignment((candidates, topics) in groups(false)) {
        let assignments = AssignmentStrategy::Sticky.assign(&candidates, &topics);
        for from in &candidates {
            for to in &candidates {
                let movable = assignments[&from.id].iter().any(|one| to.topics.contains(&one.topic));
                let gap = assignments[&from.id].len().saturating_sub(assignments[&to.id].len());
                prop_assert!(!movable || gap <= 1, "{} could give to {}", from.id, to.id);
            }
        }
    }

    #[test]
    fn sticky_keeps_as_much_as_balance_allows(
        (before, topics) in groups(true),
        gone in collection::vec(any::<bool>(), 13),
        come in 0..4_usize,
    ) {
        let mut after: Vec<Candidate> = with_history(&before, &topics);
        let mut place = gone.iter();
        after.retain(|_| !place.next().unwrap());
        let names: Vec<&str> = topics.keys().map(TopicName::as_str).collect();
        after.extend((0..come).map(|at| member(&format!("n{at}"), &names)));
        prop_assume!(!after.is_empty());

        let assignments = AssignmentStrategy::Sticky.assign(&after, &topics);
        let kept: usize =
            after.iter().map(|one| assignments[&one.id].intersection(&one.owned).count()).sum();

        let total = assignable(&after, &topics).len();
        let (each, mut rest) = (total / after.len(), total % after.len());
        let mut owned: Vec<usize> = after.iter().map(|one| one.owned.len()).collect();
        owned.sort_unstable_by(|a, b| b.cmp(a));
        let mut possible = 0;
        for count in owned {
            let quota = each + usize::from(rest > 0);
            rest = rest.saturating_sub(1);
            possible += count.min(quota);
        }
        prop_assert_eq!(kept, possible);
    }

    #[test]
    fn sticky_moves_nothing_when_nothing_changed((candidates, topics) in groups(false)) {
        let strategy = AssignmentStrategy::Sticky;
        let first = strategy.assign(&candidates, &topics);
        let mut again = candidates;
        for candidate in &mut again {
            candidate.owned = first[&candidate.id].clone();
            candidate.generation = 9;
        }
        prop_assert_eq!(strategy.assign(&again, &topics), first);
    }

    #[test]
    fn cooperative_never_moves_a_partition_that_somebody_else_claims(
        (candidates, topics) in groups(false),
    ) {
        let strategy = AssignmentStrategy::CooperativeSticky;
        let assignments = strategy.assign(&candidates, &topics);
        for receiver in &candidates {
            for other in candidates.iter().filter(|other| other.id != receiver.id) {
                prop_assert!(assignments[&receiver.id].is_disjoint(&other.owned));
            }
        }
    }

    #[test]
    fn cooperative_rounds_end_with_everything_assigned((candidates, topics) in groups(false)) {
        let strategy = AssignmentStrategy::CooperativeSticky;
        let mut members = candidates;
        let mut rounds = 0;
        loop {
            let assignments = strategy.assign(&members, &topics);
            for member in &mut members {
                member.owned = assignments[&member.id].clone();
                member.generation = 9 + rounds;
            }
            rounds += 1;
            if dealt_out(&assignments) == assignable(&members, &topics) {
                break;
            }
            prop_assert!(rounds <= 4, "round {} holds something back", rounds);
        }
    }
}

#[test]
fn range_gives_the_first_members_the_rest_of_each_topic() {
    let members = [member("c1", &["t0", "t1"]), member("c0", &["t0", "t1"])];
    let assignments = AssignmentStrategy::Range.assign(&members, &topics(&[("t0", 3), ("t1", 3)]));
    assert_eq!(shown(&assignments, "c0"), ["t0-0", "t0-1", "t1-0", "t1-1"]);
    assert_eq!(shown(&assignments, "c1"), ["t0-2", "t1-2"]);
}

#[test]
fn round_robin_deals_across_topics() {
    let members = [member("c0", &["t0", "t1"]), member("c1", &["t0", "t1"])];
    let strategy = AssignmentStrategy::RoundRobin;
    let assignments = strategy.assign(&members, &topics(&[("t0", 3), ("t1", 3)]));
    assert_eq!(shown(&assignments, "c0"), ["t0-0", "t0-2", "t1-1"]);
    assert_eq!(shown(&assignments, "c1"), ["t0-1", "t1-0", "t1-2"]);
}

#[test]
fn sticky_balances_through_a_member_in_between() {
    // c shares no topic with a; only by way of b can a's load reach it.
    let mut members = [member("a", &["x"]), member("b", &["x", "y"]), member("c", &["y"])];
    members[0].owned = (0..3).map(|at| partition("x", at)).collect();
    members[1].owned = (0..2).map(|at| partition("y", at)).collect();
    members[2].owned = BTreeSet::from([partition("y", 2)]);
    let assignments = AssignmentStrategy::Sticky.assign(&members, &topics(&[("x", 3), ("y", 3)]));
    let loads: BTreeMap<&str, usize> =
        assignments.iter().map(|(id, of)| (id.as_str(), of.len())).collect();
    assert_eq!(loads, BTreeMap::from([("a", 2), ("b", 2), ("c", 2)]));
}

#[test]
fn of_two_claims_the_newer_generation_counts() {
    let mut members = [member("old", &["t"]), member("new", &["t"])];
    members[0].owned = BTreeSet::from([partition("t", 0)]);
    members[0].generation = 3;
    members[1].owned = BTreeSet::from([partition("t", 0)]);
    members[1].generation = 4;
    let assignments = AssignmentStrategy::Sticky.assign(&members, &topics(&[("t", 2)]));
    assert_eq!(shown(&assignments, "new"), ["t-0"]);
    assert_eq!(shown(&assignments, "old"), ["t-1"]);
}

#[test]
fn names_are_kafkas() {
    for strategy in AssignmentStrategy::ALL {
        assert_eq!(AssignmentStrategy::named(strategy.name()), Some(strategy));
    }
    assert_eq!(AssignmentStrategy::named("uniform"), None);
}
