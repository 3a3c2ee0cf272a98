//! What fails: records, targets, pipelines; and what the others notice of it.

use courant_model::{ORIGIN_HEADER, Record, Timestamp};
use serde_json::json;

use super::world::{Answer, Probe, World, stop, until};
use crate::{
    connector::ConnectorError,
    plan::TargetPlan,
    runtime::TaskState,
    testing::{N, history, name, numbers, pipeline, plan, record, sorted_numbers, sql, topic},
};

fn away() -> Answer {
    Answer::Fail(ConnectorError::retryable("nobody answers"))
}

#[tokio::test]
async fn a_poison_record_becomes_a_dead_letter_with_its_original_bytes() {
    let world = World::new().await;
    let steps = [sql("SELECT n FROM input")];
    let mut plan = plan([("p", pipeline("in", steps, [history("out", None)]))]);
    plan.topics.insert(name("in"), topic(1, Some(N.clone())));
    let runtime = world.start(&plan).await;
    let poison = Record::new("{\"n\": \"one\"", Timestamp::from_millis(77))
        .with_key("k")
        .with_header("h", "v");
    world.append("in", vec![record(&json!({ "n": 1 })), poison, record(&json!({ "n": 2 }))]).await;
    world.until_documents("out", 2).await;
    world.until_records("dead", 1).await;
    let dead = &world.records("dead").await[0].record;
    assert_eq!(dead.key.as_deref(), Some(b"k".as_slice()));
    assert_eq!(dead.value.as_deref(), Some(b"{\"n\": \"one\"".as_slice()));
    let header = |name: &str| {
        let value = dead.header(name).unwrap().value.clone().unwrap();
        String::from_utf8(value.to_vec()).unwrap()
    };
    assert_eq!(header("h"), "v");
    assert_eq!(header("courant-error-step"), "step 1 (sql)");
    assert_eq!(header("courant-error-source"), "in-0@1");
    assert_eq!(header("courant-error-pipeline"), "p");
    assert_eq!(header("courant-error-timestamp"), "77");
    assert_eq!(header(ORIGIN_HEADER), "77000");
    assert!(header("courant-error-time").ends_with('Z'));
    assert!(!header("courant-error").is_empty());
    until("it is counted", async || runtime.pipeline("p").unwrap().records_dead == 1).await;
    let status = runtime.pipeline("p").unwrap();
    assert!(status.last_error.unwrap().what.starts_with("step 1 (sql): "));
    stop(runtime).await;
}

#[tokio::test]
async fn a_record_without_its_id_is_set_aside_and_the_others_are_stored() {
    let world = World::new().await;
    let plan = plan([("p", pipeline("in", [], [history("out", Some("n"))]))]);
    let runtime = world.start(&plan).await;
    world.give("in", [json!({ "n": 1 }), json!({ "m": 2 }), json!([3]), json!({ "n": 4 })]).await;
    world.until_documents("out", 2).await;
    world.until_records("dead", 2).await;
    stop(runtime).await;
}

#[tokio::test]
async fn a_target_that_was_away_gets_every_record_once_it_is_back() {
    let world = World::new().await;
    let probe = Probe::new().answering([away(), away()]);
    let runtime = world.start(&plan([("p", pipeline("in", [], [probe.target()]))])).await;
    world.give("in", numbers(0..3)).await;
    let retrying = || runtime.pipeline("p").unwrap().state == TaskState::Retrying;
    until("it is tried again", async || retrying()).await;
    assert_eq!(world.committed("test.p").await, 0);
    probe.until_taken(3).await;
    until("all is committed", async || world.committed("test.p").await == 3).await;
    let status = runtime.pipeline("p").unwrap();
    assert_eq!((status.state, status.records_dead), (TaskState::Running, 0));
    assert!(status.last_error.unwrap().what.contains("nobody answers"));
    assert_eq!(sorted_numbers(&probe.taken()), [0, 1, 2]);
    stop(runtime).await;
}

#[tokio::test]
async fn a_slow_target_stops_the_reading() {
    let world = World::new().await;
    let probe = Probe::new();
    probe.close();
    let mut plan = plan([("p", pipeline("in", [], [probe.target()]))]);
    plan.topics.insert(name("in"), topic(1, None));
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..1)).await;
    until("a write waits", async || probe.calls() == 1).await;
    world.give("in", numbers(1..100)).await;
    // Nothing else is asked of the target, and nothing counts as read, while it waits.
    let status = runtime.pipeline("p").unwrap();
    assert_eq!((probe.calls(), status.records_in), (1, 0));
    probe.open();
    probe.until_taken(100).await;
    stop(runtime).await;
}

#[tokio::test]
async fn a_refused_record_is_offered_again_before_it_is_given_up() {
    let world = World::new().await;
    let probe = Probe::new().answering(vec![Answer::Refuse(1); 3]);
    let runtime = world.start(&plan([("p", pipeline("in", [], [probe.target()]))])).await;
    world.give("in", numbers(0..3)).await;
    world.until_records("dead", 1).await;
    assert_eq!(probe.calls(), 3, "once, and twice again");
    assert_eq!(sorted_numbers(&probe.taken()), [0, 2]);
    let again = Probe::new().answering([Answer::Refuse(1)]);
    let other = plan([("q", pipeline("in", [], [again.target()]))]);
    let second = world.start_worker("second", &other).await;
    again.until_taken(3).await;
    stop(second).await;
    assert_eq!(world.records("dead").await.len(), 1);
    stop(runtime).await;
}

#[tokio::test]
async fn a_failure_that_waiting_does_not_mend_ends_its_pipeline_only() {
    let world = World::new().await;
    let broken = Probe::new().answering([Answer::Fail(ConnectorError::fatal("wrong password"))]);
    let fine = Probe::new();
    let pipelines = [
        ("broken", pipeline("in", [], [broken.target()])),
        ("fine", pipeline("in", [], [fine.target()])),
    ];
    let runtime = world.start(&plan(pipelines)).await;
    world.give("in", numbers(0..3)).await;
    let failed = || runtime.pipeline("broken").unwrap().state == TaskState::Failed;
    until("it failed", async || failed()).await;
    fine.until_taken(3).await;
    let status = runtime.pipeline("broken").unwrap();
    assert!(status.last_error.unwrap().what.contains("wrong password"));
    assert_eq!(world.committed("test.broken").await, 0);
    stop(runtime).await;
}

#[tokio::test]
async fn a_record_too_large_for_its_topic_is_set_aside_and_the_others_pass() {
    let world = World::new().await;
    let copy = TargetPlan::Topic { topic: name("copy") };
    let mut plan = plan([("p", pipeline("in", [], [copy]))]);
    let mut small = topic(1, None);
    small.settings.message_bytes_max = "2KiB".parse().unwrap();
    plan.topics.insert(name("copy"), small);
    plan.topics.insert(name("in"), topic(1, None));
    let runtime = world.start(&plan).await;
    let large = json!({ "n": 2, "text": "x".repeat(5_000) });
    let values = [json!({ "n": 1 }), large.clone(), json!({ "n": 3 }), json!({ "n": 4 })];
    world.give("in", values).await;
    world.until_records("copy", 3).await;
    world.until_records("dead", 1).await;
    let dead = &world.records("dead").await[0].record;
    assert_eq!(dead.value.as_deref(), Some(large.to_string().as_bytes()));
    stop(runtime).await;
}

#[tokio::test]
async fn what_a_stop_had_to_cut_off_is_done_by_the_next_start() {
    let world = World::new().await;
    let probe = Probe::new();
    probe.close();
    let plan = plan([("p", pipeline("in", [], [probe.target()]))]);
    let runtime = world.start(&plan).await;
    world.give("in", numbers(0..5)).await;
    until("a write waits", async || probe.calls() == 1).await;
    assert!(!runtime.stop(std::time::Duration::from_millis(10)).await.unwrap());
    drop(runtime);
    probe.open();
    let runtime = world.start(&plan).await;
    probe.until_taken(5).await;
    stop(runtime).await;
}
