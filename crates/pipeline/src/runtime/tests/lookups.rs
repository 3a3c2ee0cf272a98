//! Lookups at work: in order, asked once, asked again, remembered.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{Probe, World, stop, until};
use crate::{
    connector::Answer,
    plan::{LookupPlan, OnMissing, Plan, Remember, StepPlan},
    testing::{Outside, lookup, pipeline, plan},
};

fn plan_of(outside: &Outside, probe: &Probe, change: impl FnOnce(&mut LookupPlan)) -> Plan {
    let mut plan_of_step = lookup(outside.source(), "found");
    change(&mut plan_of_step);
    let steps = [StepPlan::Lookup(Box::new(plan_of_step))];
    plan([("p", pipeline("in", steps, [probe.target()]))])
}

fn document(n: u64, salt: u64) -> Value {
    json!({ "n": n, "salt": salt })
}

/// What the outside says to a number, where nobody told it otherwise.
fn with_answer(n: u64, salt: u64) -> Value {
    json!({ "n": n, "salt": salt, "found": { "of": n } })
}

#[tokio::test]
async fn answers_that_overtake_each_other_leave_the_order_as_it_was() {
    let world = World::new().await;
    let (outside, probe) = (Outside::default().reversing(), Probe::new());
    let plan = plan_of(&outside, &probe, |plan| plan.concurrency = 16);
    let runtime = world.start(&plan).await;
    world.give("in", (0..16).map(|n| document(n, 0))).await;
    probe.until_taken(16).await;
    let expected: Vec<Value> = (0..16).map(|n| with_answer(n, 0)).collect();
    assert_eq!(probe.taken(), expected);
    stop(runtime).await;
}

#[tokio::test]
async fn an_outside_that_is_away_is_asked_again_and_nothing_is_lost() {
    let world = World::new().await;
    let (outside, probe) = (Outside::default().failing(3), Probe::new());
    let runtime = world.start(&plan_of(&outside, &probe, |_| ())).await;
    world.give("in", (0..5).map(|n| document(n, 0))).await;
    probe.until_taken(5).await;
    assert_eq!(probe.taken(), (0..5).map(|n| with_answer(n, 0)).collect::<Vec<_>>());
    assert_eq!(outside.asked().len(), 5 + 3);
    stop(runtime).await;
}

#[tokio::test]
async fn an_outside_that_never_answers_does_not_hold_up_the_end() {
    let world = World::new().await;
    let (outside, probe) = (Outside::default().silent(), Probe::new());
    let runtime = world.start(&plan_of(&outside, &probe, |_| ())).await;
    world.give("in", [document(1, 0)]).await;
    until("it is asked", async || !outside.asked().is_empty()).await;
    stop(runtime).await;
    assert!(probe.taken().is_empty());
    let again = Outside::default();
    let runtime = world.start(&plan_of(&again, &probe, |_| ())).await;
    probe.until_taken(1).await;
    assert_eq!(probe.taken(), [with_answer(1, 0)]);
    stop(runtime).await;
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_remembered_ones_not_again() {
    let world = World::new().await;
    let (outside, probe) = (Outside::default(), Probe::new());
    outside.answer(3, Answer::Found(Vec::new()));
    let hour = courant_model::Span::from_millis(3_600_000);
    let plan = plan_of(&outside, &probe, |plan| {
        plan.remember = Some(Remember { ttl: hour, missing: hour, keys: 100 });
        plan.on_missing = OnMissing::Null;
    });
    let runtime = world.start(&plan).await;
    for round in 0..3 {
        world.give("in", [1, 2, 1, 3].map(|n| document(n, round))).await;
        probe.until_taken(4 * (round as usize + 1)).await;
    }
    let mut asked = outside.asked();
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 3]);
    assert_eq!(probe.taken()[3], json!({ "n": 3, "salt": 0, "found": null }));
    stop(runtime).await;
}

#[tokio::test]
async fn what_the_outside_refuses_is_set_aside_alone() {
    let world = World::new().await;
    let (outside, probe) = (Outside::default(), Probe::new());
    outside.answer(1, Answer::Refused("no such number".into()));
    let runtime = world.start(&plan_of(&outside, &probe, |_| ())).await;
    world.give("in", (0..3).map(|n| document(n, 0))).await;
    world.until_records("dead", 1).await;
    probe.until_taken(2).await;
    let letter = &world.records("dead").await[0].record;
    let why = letter.header("courant-error").unwrap().value.clone().unwrap();
    assert_eq!(why, "no such number");
    stop(runtime).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_concurrency_and_memory_give_what_asking_one_by_one_gives(
        numbers in prop::collection::vec(0_u64..12, 1..60),
        known in prop::collection::btree_map(0_u64..12, prop::option::of(0_u64..9), 0..12),
        concurrency in 1_usize..9,
        keys in prop::option::of(1_usize..4),
        reversing: bool,
    ) {
        let known: BTreeMap<u64, Vec<Value>> =
            known.into_iter().map(|(n, found)| (n, found.map(Value::from).into_iter().collect())).collect();
        let expected: Vec<Value> = (0..).zip(&numbers).filter_map(|(salt, n)| match known.get(n) {
            Some(items) => Some(json!({ "n": n, "salt": salt, "found": items.first()? })),
            None => Some(with_answer(*n, salt)),
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let outside = if reversing { Outside::default().reversing() } else { Outside::default() };
            known.iter().for_each(|(n, items)| outside.answer(*n, Answer::Found(items.clone())));
            let probe = Probe::new();
            let hour = courant_model::Span::from_millis(3_600_000);
            let plan = plan_of(&outside, &probe, |plan| {
                plan.concurrency = concurrency;
                plan.remember = keys.map(|keys| Remember { ttl: hour, missing: hour, keys });
                plan.on_missing = OnMissing::Skip;
            });
            let runtime = world.start(&plan).await;
            world.give("in", (0..).zip(&numbers).map(|(salt, n)| document(*n, salt))).await;
            probe.until_taken(expected.len()).await;
            assert_eq!(probe.taken(), expected);
            stop(runtime).await;
        });
    }
}
