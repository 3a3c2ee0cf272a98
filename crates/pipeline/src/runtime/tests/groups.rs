//! Pipelines as members of consumer groups: sharing, taking over, resetting.

use courant_log::Log;
use courant_model::{Positions, Record, Timestamp, TopicPartition};
use serde_json::json;

use super::world::{Probe, World, stop, until};
use crate::testing::{history, name, numbers, pipeline, plan, sorted_numbers, topic};

#[tokio::test]
async fn pipelines_of_different_groups_each_see_everything() {
    let world = World::new().await;
    let (one, two) = (Probe::new(), Probe::new());
    let pipelines =
        [("one", pipeline("in", [], [one.target()])), ("two", pipeline("in", [], [two.target()]))];
    let mut plan = plan(pipelines);
    plan.topics.insert(name("in"), topic(3, None));
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..50)).await;
    one.until_taken(50).await;
    two.until_taken(50).await;
    stop(runtime).await;
    assert_eq!(sorted_numbers(&one.taken()), sorted_numbers(&two.taken()));
}

#[tokio::test]
async fn workers_share_the_partitions_and_one_takes_over_from_the_other() {
    let world = World::new().await;
    let mut plan = plan([("p", pipeline("in", [], [history("out", Some("n"))]))]);
    plan.topics.insert(name("in"), topic(4, None));
    let one = world.start_worker("one", &plan).await;
    let two = world.start_worker("two", &plan).await;
    let partitions =
        |runtime: &crate::runtime::Runtime| runtime.pipeline("p").unwrap().partitions.len();
    until("each has two", async || (partitions(&one), partitions(&two)) == (2, 2)).await;
    let keyed = |n: u64| {
        let value = json!({ "n": n }).to_string();
        Record::new(value, Timestamp::from_millis(0)).with_key(n.to_string())
    };
    world.append("in", (0..100).map(keyed).collect()).await;
    world.until_documents("out", 100).await;
    let reads = |runtime: &crate::runtime::Runtime| runtime.pipeline("p").unwrap().records_in;
    until("both have read", async || reads(&one) > 0 && reads(&two) > 0).await;
    stop(one).await;
    until("the other has all", async || partitions(&two) == 4).await;
    world.append("in", (100..200).map(keyed).collect()).await;
    world.until_documents("out", 200).await;
    stop(two).await;
    assert_eq!(world.committed("test.p").await, 200);
}

#[tokio::test]
async fn a_reset_by_hand_reads_all_again_without_the_memory_of_the_steps() {
    let world = World::new().await;
    let probe = Probe::new();
    let deduplicate = crate::plan::StepPlan::Deduplicate {
        by: vec!["n".parse().unwrap()],
        within: "1h".parse().unwrap(),
        keys_max: 1_000,
    };
    let plan = plan([("p", pipeline("in", [deduplicate], [probe.target()]))]);
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..5)).await;
    probe.until_taken(5).await;
    stop(runtime).await;
    let start = Positions::from([(TopicPartition::new(name("in"), 0), 0)]);
    world.log.reset_group("test.p", &start).await.unwrap();
    let runtime = world.start(&plan).await;
    probe.until_taken(10).await;
    stop(runtime).await;
    assert_eq!(sorted_numbers(&probe.taken()), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
}

#[tokio::test]
async fn the_end_is_where_a_pipeline_of_the_latest_begins_and_goes_on() {
    let world = World::new().await;
    let probe = Probe::new();
    let mut latest = pipeline("in", [], [probe.target()]);
    latest.start = courant_log::AutoOffsetReset::Latest;
    let mut plan = plan([("p", latest)]);
    plan.topics.insert(name("in"), topic(1, None));
    stop(world.start(&crate::plan::Plan { pipelines: Default::default(), ..plan.clone() }).await)
        .await;
    world.give("in", numbers(0..5)).await;
    let runtime = world.start(&plan).await;
    until("its place is kept", async || world.committed("test.p").await == 5).await;
    stop(runtime).await;
    // What comes while it is away is not skipped, although it never read a record.
    world.give("in", numbers(5..7)).await;
    let runtime = world.start(&plan).await;
    probe.until_taken(2).await;
    stop(runtime).await;
    assert_eq!(sorted_numbers(&probe.taken()), [5, 6]);
}
