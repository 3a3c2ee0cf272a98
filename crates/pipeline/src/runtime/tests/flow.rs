//! Records flow: through steps into targets, across restarts, paused and resumed.

use courant_log::Log;
use courant_model::{
    Column, ColumnType, Span,
    limits::{DEDUPLICATE_KEYS_DEFAULT, PIPELINE_BATCH_RECORDS_MAX},
};
use serde_json::{Value, json};

use super::world::{Probe, World, stop, until};
use crate::{
    plan::{StepPlan, TargetPlan},
    runtime::{TaskState, state::StateStore},
    steps::pins::PinKey,
    testing::{N, history, name, numbers, pipeline, plan, sorted_numbers, sql, topic},
};

fn deduplicate(field: &str) -> StepPlan {
    StepPlan::Deduplicate {
        by: vec![field.parse().unwrap()],
        within: Span::from_millis(3_600_000),
        keys_max: DEDUPLICATE_KEYS_DEFAULT,
    }
}

#[tokio::test]
async fn records_flow_through_a_statement_into_the_history() {
    let world = World::new().await;
    let steps = [sql("SELECT n * 2 AS doubled FROM input WHERE n > 0")];
    let mut plan = plan([("p", pipeline("in", steps, [history("out", None)]))]);
    plan.topics.insert(name("in"), topic(1, Some(N.clone())));
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..3)).await;
    world.until_documents("out", 2).await;
    let documents = world.documents("out").await;
    assert_eq!(Value::Object(documents[0].clone()), json!({ "_id": "in-0-1", "doubled": 2 }));
    until("all is committed", async || world.committed("test.p").await == 3).await;
    let status = runtime.pipeline("p").unwrap();
    assert_eq!((status.records_in, status.records_out, status.records_dead), (3, 2, 0));
    assert_eq!((status.state, status.lag), (TaskState::Running, 0));
    assert!(status.freshness.p99_ms.is_some());
    stop(runtime).await;
}

#[tokio::test]
async fn every_kind_of_target_takes_the_same_events() {
    let world = World::new().await;
    let probe = Probe::new();
    let cache = TargetPlan::Cache {
        table: "latest".into(),
        key: "n".parse().unwrap(),
        field: None,
        ttl: None,
        version: None,
    };
    let targets = [
        TargetPlan::Topic { topic: name("copy") },
        cache,
        history("out", Some("n")),
        probe.target(),
    ];
    let runtime = world.start(&plan([("p", pipeline("in", [], targets))])).await;
    world.give("in", numbers(0..10)).await;
    probe.until_taken(10).await;
    world.until_records("copy", 10).await;
    world.until_documents("out", 10).await;
    let roles = world.roles("here");
    let cached = async || roles.cache.get("latest", "7").await.unwrap().is_some();
    until("the cache has it", cached).await;
    stop(runtime).await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_ended() {
    let world = World::new().await;
    let probe = Probe::new();
    let plan = plan([("p", pipeline("in", [], [probe.target()]))]);
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..5)).await;
    probe.until_taken(5).await;
    stop(runtime).await;
    world.give("in", numbers(5..8)).await;
    let runtime = world.start(&plan).await;
    probe.until_taken(8).await;
    stop(runtime).await;
    assert_eq!(sorted_numbers(&probe.taken()), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stop_delivers_and_commits_what_was_read() {
    let world = World::new().await;
    let probe = Probe::new();
    probe.close();
    let plan = plan([("p", pipeline("in", [], [probe.target()]))]);
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..5)).await;
    until("a write waits", async || probe.calls() == 1).await;
    let opened = async {
        tokio::task::yield_now().await;
        probe.open();
    };
    tokio::join!(stop(runtime), opened);
    assert_eq!(probe.taken().len(), 5);
    assert_eq!(world.committed("test.p").await, 5);
}

#[tokio::test]
async fn duplicates_are_known_after_a_restart() {
    let world = World::new().await;
    let probe = Probe::new();
    let plan = plan([("p", pipeline("in", [deduplicate("n")], [probe.target()]))]);
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..5)).await;
    world.give("in", numbers(0..5)).await;
    until("all is committed", async || world.committed("test.p").await == 10).await;
    stop(runtime).await;
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..6)).await;
    until("all is committed", async || world.committed("test.p").await == 16).await;
    stop(runtime).await;
    assert_eq!(sorted_numbers(&probe.taken()), (0..6).collect::<Vec<_>>());
}

#[tokio::test]
async fn duplicates_of_a_batch_that_was_not_delivered_pass_the_next_time() {
    let world = World::new().await;
    let probe = Probe::new();
    probe.close();
    let plan = plan([("p", pipeline("in", [deduplicate("n")], [probe.target()]))]);
    let crashed = world.start(&plan).await;
    world.give("in", numbers(0..5)).await;
    until("a write waits", async || probe.calls() == 1).await;
    drop(crashed);
    probe.open();
    let runtime = world.start(&plan).await;
    until("all is committed", async || world.committed("test.p").await == 5).await;
    stop(runtime).await;
    assert_eq!(sorted_numbers(&probe.taken()), (0..5).collect::<Vec<_>>());
}

#[tokio::test]
async fn inferred_columns_are_pinned_and_survive_a_restart() {
    let world = World::new().await;
    let steps = [sql("SELECT n FROM input")];
    let plan = plan([("p", pipeline("in", steps, [history("out", None)]))]);
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..1)).await;
    world.until_documents("out", 1).await;
    stop(runtime).await;
    let runtime = world.start(&plan).await;
    // A text is no longer a number, as it was when the columns were found.
    world.give("in", [json!({ "n": "many" }), json!({ "n": 2 })]).await;
    world.until_documents("out", 2).await;
    world.until_records("dead", 1).await;
    stop(runtime).await;
    let folder = world.roles("here").data.join("state");
    let pins = StateStore::open(&folder).unwrap().pins("test.p").unwrap();
    let key = PinKey { topic: name("in"), step: 0 };
    assert_eq!(pins[&key], [Column::new("n", ColumnType::Int64)].into_iter().collect());
}

#[tokio::test]
async fn a_field_that_appears_later_is_not_left_out() {
    let world = World::new().await;
    let steps = [sql("SELECT * FROM input")];
    let plan = plan([("p", pipeline("in", steps, [history("out", Some("n"))]))]);
    let runtime = world.start(&plan).await;
    world.give("in", [json!({ "n": 1 })]).await;
    world.until_documents("out", 1).await;
    world.give("in", [json!({ "n": 2, "more": { "a": true } })]).await;
    world.until_documents("out", 2).await;
    let documents = world.documents("out").await;
    assert_eq!(documents[1]["more"], json!({ "a": true }));
    stop(runtime).await;
}

#[tokio::test]
async fn a_batch_larger_than_the_budget_passes() {
    let world = World::new().await;
    let probe = Probe::new();
    let mut plan = plan([("p", pipeline("in", [], [probe.target()]))]);
    plan.memory = "4KiB".parse().unwrap();
    plan.topics.insert(name("in"), topic(4, None));
    let runtime = world.start(&plan).await;
    let text = "x".repeat(100_000);
    for n in 0..40 {
        world.give("in", [json!({ "n": n, "text": text })]).await;
    }
    probe.until_taken(40).await;
    stop(runtime).await;
}

#[tokio::test]
async fn a_paused_pipeline_reads_nothing_until_it_is_resumed() {
    let world = World::new().await;
    let (held, free) = (Probe::new(), Probe::new());
    let pipelines = [
        ("held", pipeline("in", [], [held.target()])),
        ("free", pipeline("in", [], [free.target()])),
    ];
    let runtime = world.start(&plan(pipelines)).await;
    world.give("in", numbers(0..1)).await;
    held.until_taken(1).await;
    runtime.pause("held").unwrap();
    assert_eq!(runtime.pipeline("held").unwrap().state, TaskState::Paused);
    world.give("in", numbers(1..5)).await;
    free.until_taken(5).await;
    assert_eq!(held.taken().len(), 1);
    runtime.resume("held").unwrap();
    held.until_taken(5).await;
    assert!(runtime.pause("nobody").is_err());
    stop(runtime).await;
}

#[tokio::test]
async fn routed_events_leave_the_pipeline_for_their_topic() {
    let world = World::new().await;
    let route = StepPlan::Route {
        branches: vec![
            crate::plan::Branch {
                when: "n < 3".into(),
                to: crate::plan::Destination::Topic(name("small")),
            },
            crate::plan::Branch { when: "n = 5".into(), to: crate::plan::Destination::Drop },
        ],
        otherwise: crate::plan::Destination::Next,
    };
    let plan = plan([("p", pipeline("in", [route], [history("out", Some("n"))]))]);
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..10)).await;
    world.until_documents("out", 6).await;
    world.until_records("small", 3).await;
    stop(runtime).await;
}

#[tokio::test]
async fn a_declared_topic_grows_to_its_partitions_and_never_shrinks() {
    let world = World::new().await;
    for (wished, found) in [(2, 2), (5, 5), (3, 5)] {
        let mut plan = plan([]);
        plan.topics.insert(name("in"), topic(wished, None));
        stop(world.start(&plan).await).await;
        assert_eq!(world.log.topic(&name("in")).await.unwrap().partitions.len(), found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_at_any_moment_lose_no_record_and_store_none_twice() {
    let world = World::new().await;
    let steps = [deduplicate("n"), sql("SELECT n FROM input WHERE n >= 0")];
    let mut plan = plan([("p", pipeline("in", steps, [history("out", Some("n"))]))]);
    plan.topics.insert(name("in"), topic(2, Some(N.clone())));
    plan.pipelines["p"].checkpoint = Span::from_millis(1);
    for round in 0..10 {
        let runtime = world.start(&plan).await;
        let read = async || runtime.pipeline("p").unwrap().records_in > round * 7;
        for n in 0..20 {
            world.give("in", numbers(round * 200 + n * 10..round * 200 + n * 10 + 10)).await;
        }
        until("it has read some", read).await;
        drop(runtime);
    }
    let runtime = world.start(&plan).await;
    world.until_documents("out", 2_000).await;
    until("all is committed", async || world.committed("test.p").await == 2_000).await;
    stop(runtime).await;
    let documents = world.documents("out").await.into_iter().map(Value::Object);
    assert_eq!(sorted_numbers(&documents.collect::<Vec<_>>()), (0..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_that_may_linger_waits_until_it_is_full() {
    let world = World::new().await;
    let probe = Probe::new();
    let mut lingering = pipeline("in", [], [probe.target()]);
    lingering.linger = Span::from_millis(3_600_000);
    let mut plan = plan([("p", lingering)]);
    plan.topics.insert(name("in"), topic(1, None));
    let runtime = world.start(&plan).await;
    let full = PIPELINE_BATCH_RECORDS_MAX as u64;
    for n in 0..8 {
        world.give("in", numbers(n * full / 8..(n + 1) * full / 8)).await;
    }
    probe.until_taken(PIPELINE_BATCH_RECORDS_MAX).await;
    assert_eq!(probe.calls(), 1);
    stop(runtime).await;
}
