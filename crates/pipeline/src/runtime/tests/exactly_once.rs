//! Topic to topic exactly once: whatever fails, and wherever the process ends, readers
//! see the output of each record once.

use std::{io, sync::Arc, time::Duration};

use courant_log::{GroupChange, Log, LogError, Subscription};
use courant_model::Record;
use serde_json::{Value, json};

use super::{
    faults::{Call, Fault, Faults, FaultyLog},
    world::{Answer, Probe, World, stop, until},
};
use crate::{
    connector::ConnectorError,
    plan::{Guarantee, PipelinePlan, Plan, StepPlan, TargetPlan},
    runtime::{Runtime, TaskState},
    testing::{N, history, name, numbers, pipeline, plan, record, sorted_numbers, sql, topic},
};

/// The calls of a transaction that is committed.
const CALLS: [Call; 5] = [Call::Producer, Call::Begin, Call::Append, Call::Offsets, Call::Commit];

fn to_topic(text: &str) -> TargetPlan {
    TargetPlan::Topic { topic: name(text) }
}

fn exactly_once(
    steps: impl IntoIterator<Item = StepPlan>,
    to: impl IntoIterator<Item = TargetPlan>,
) -> PipelinePlan {
    PipelinePlan { guarantee: Guarantee::ExactlyOnce, ..pipeline("in", steps, to) }
}

/// A pipeline from `in` to `out`, and their topics.
fn copying(steps: impl IntoIterator<Item = StepPlan>) -> Plan {
    let mut plan = plan([("p", exactly_once(steps, [to_topic("out")]))]);
    plan.topics.insert(name("in"), topic(1, Some(N.clone())));
    plan.topics.insert(name("out"), topic(2, None));
    plan
}

fn passing() -> LogError {
    LogError::storage("writing", io::Error::other("a passing fault"))
}

fn deduplicate() -> StepPlan {
    StepPlan::Deduplicate {
        by: vec!["n".parse().unwrap()],
        within: "1h".parse().unwrap(),
        keys_max: 1_000,
    }
}

async fn start_faulty(world: &World, plan: &Plan, faults: &Faults) -> Runtime {
    let log = FaultyLog { log: Arc::clone(&world.log) as _, faults: faults.clone() };
    world.start_on("here", Arc::new(log), plan).await
}

/// The documents of a topic, as a reader of committed records sees them.
async fn documents(world: &World, topic: &str) -> Vec<Value> {
    let document = |record: Record| serde_json::from_slice(&record.value.unwrap()).unwrap();
    world.records(topic).await.into_iter().map(|stored| document(stored.record)).collect()
}

async fn until_committed(world: &World, offset: i64) {
    until(&format!("offset {offset} is committed"), async || {
        world.committed("test.p").await == offset
    })
    .await;
}

#[tokio::test]
async fn what_goes_to_a_topic_is_seen_with_the_offset_that_it_comes_from() {
    let world = World::new().await;
    let plan = copying([sql("SELECT n FROM input WHERE n <> 3")]);
    let runtime = world.start(&plan).await;
    for first in [0, 5, 10] {
        world.give("in", numbers(first..first + 5)).await;
        until_committed(&world, first as i64 + 5).await;
        let expected: Vec<u64> = (0..first + 5).filter(|n| *n != 3).collect();
        assert_eq!(sorted_numbers(&documents(&world, "out").await), expected);
    }
    let status = runtime.pipeline("p").unwrap();
    assert_eq!((status.records_in, status.records_out, status.lag), (15, 14, 0));
    stop(runtime).await;
}

#[tokio::test]
async fn a_failure_at_any_call_repeats_nothing_and_loses_nothing() {
    for call in CALLS {
        for fault in [Fault::Refused(passing()), Fault::AnswerLost(passing())] {
            let world = World::new().await;
            let faults = Faults::of([(call, fault.clone())]);
            let runtime = start_faulty(&world, &copying([deduplicate()]), &faults).await;
            world.give("in", numbers(0..5)).await;
            until_committed(&world, 5).await;
            assert!(faults.are_over(), "{call:?} was never made");
            world.give("in", numbers(0..8)).await;
            until_committed(&world, 13).await;
            let found = sorted_numbers(&documents(&world, "out").await);
            assert_eq!(found, (0..8).collect::<Vec<_>>(), "{call:?} {fault:?}");
            stop(runtime).await;
        }
    }
}

#[tokio::test]
async fn a_process_that_ends_at_any_call_repeats_nothing_and_loses_nothing() {
    for call in CALLS {
        for fault in [Fault::SilentBefore, Fault::SilentAfter] {
            let world = World::new().await;
            // It is gone in the middle of its second transaction.
            let plan = copying([deduplicate()]);
            let runtime = world.start(&plan).await;
            world.give("in", numbers(0..3)).await;
            until_committed(&world, 3).await;
            stop(runtime).await;
            let faults = Faults::of([(call, fault.clone())]);
            let runtime = start_faulty(&world, &plan, &faults).await;
            world.give("in", numbers(0..6)).await;
            until("the call is made", async || faults.are_over()).await;
            assert!(!runtime.stop(Duration::from_millis(10)).await.unwrap());
            drop(runtime);
            let runtime = world.start(&plan).await;
            world.give("in", numbers(3..9)).await;
            until_committed(&world, 15).await;
            let found = sorted_numbers(&documents(&world, "out").await);
            assert_eq!(found, (0..9).collect::<Vec<_>>(), "{call:?} {fault:?}");
            stop(runtime).await;
        }
    }
}

#[tokio::test]
async fn a_transaction_that_a_cluster_takes_back_is_sent_again() {
    let world = World::new().await;
    let taken_back = LogError::Cluster {
        action: "committing".into(),
        cluster: "kafka:9092".into(),
        why: "a record was not delivered in time".into(),
        retryable: false,
    };
    let faults = Faults::of([(Call::Commit, Fault::Refused(taken_back))]);
    let runtime = start_faulty(&world, &copying([]), &faults).await;
    world.give("in", numbers(0..5)).await;
    until_committed(&world, 5).await;
    assert!(faults.are_over());
    assert_eq!(sorted_numbers(&documents(&world, "out").await), [0, 1, 2, 3, 4]);
    stop(runtime).await;
}

#[tokio::test]
async fn a_transaction_that_cannot_even_be_aborted_is_left_to_a_new_producer() {
    let world = World::new().await;
    let state =
        LogError::InvalidTransactionState { producer_id: 1, action: "abort", state: "nonsense" };
    let faults = Faults::of([
        (Call::Append, Fault::AnswerLost(passing())),
        (Call::Abort, Fault::Refused(state)),
    ]);
    let runtime = start_faulty(&world, &copying([]), &faults).await;
    world.give("in", numbers(0..5)).await;
    until_committed(&world, 5).await;
    assert!(faults.are_over());
    assert_eq!(sorted_numbers(&documents(&world, "out").await), [0, 1, 2, 3, 4]);
    stop(runtime).await;
}

#[tokio::test]
async fn a_worker_that_was_fenced_begins_anew_from_what_is_committed() {
    let world = World::new().await;
    let runtime = world.start(&copying([])).await;
    world.give("in", numbers(0..5)).await;
    until_committed(&world, 5).await;
    // Somebody else takes its transactional id.
    let elsewhere = Subscription {
        group: "elsewhere".into(),
        topics: vec![name("in")],
        client_id: "test".into(),
        instance_id: None,
        session_timeout: Duration::from_secs(10),
        reset: courant_log::AutoOffsetReset::Earliest,
    };
    let mut member = world.log.subscribe(elsewhere).await.unwrap();
    assert!(matches!(member.next_change().await.unwrap(), GroupChange::Assigned(_)));
    let timeout = Duration::from_secs(10);
    let committer = member.committer();
    let _producer = committer.transactional_producer("test.p/in/0", timeout).await.unwrap();
    world.give("in", numbers(5..10)).await;
    until_committed(&world, 10).await;
    let found = sorted_numbers(&documents(&world, "out").await);
    assert_eq!(found, (0..10).collect::<Vec<_>>());
    assert!(runtime.pipeline("p").unwrap().last_error.is_some(), "it says what happened");
    stop(runtime).await;
}

#[tokio::test]
async fn workers_that_come_and_go_repeat_nothing() {
    let world = World::new().await;
    let mut plan = copying([]);
    plan.topics.insert(name("in"), topic(4, Some(N.clone())));
    let keyed = |n: u64| record(&json!({ "n": n })).with_key(n.to_string());
    let one = world.start_worker("one", &plan).await;
    world.append("in", (0..100).map(keyed).collect()).await;
    let two = world.start_worker("two", &plan).await;
    world.append("in", (100..200).map(keyed).collect()).await;
    let has = |runtime: &Runtime| runtime.pipeline("p").unwrap().partitions.len();
    until("they share", async || (has(&one), has(&two)) == (2, 2)).await;
    world.append("in", (200..300).map(keyed).collect()).await;
    // One goes without a word.
    drop(one);
    world.append("in", (300..400).map(keyed).collect()).await;
    until_committed(&world, 400).await;
    stop(two).await;
    let found = sorted_numbers(&documents(&world, "out").await);
    assert_eq!(found, (0..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn other_targets_are_written_before_the_commit_and_repeat_by_their_ids() {
    let world = World::new().await;
    let probe = Probe::new().answering([Answer::Fail(ConnectorError::retryable("nobody answers"))]);
    let to = [history("kept", None), probe.target(), to_topic("out")];
    let runtime = world.start(&plan([("p", exactly_once([], to))])).await;
    world.give("in", numbers(0..5)).await;
    until_committed(&world, 5).await;
    assert_eq!(sorted_numbers(&probe.taken()), [0, 1, 2, 3, 4]);
    assert_eq!(world.documents("kept").await.len(), 5);
    assert_eq!(sorted_numbers(&documents(&world, "out").await), [0, 1, 2, 3, 4]);
    stop(runtime).await;
}

#[tokio::test]
async fn dead_letters_are_part_of_the_transaction() {
    let world = World::new().await;
    let plan = copying([sql("SELECT n FROM input")]);
    let faults = Faults::of([
        (Call::Append, Fault::AnswerLost(passing())),
        (Call::Commit, Fault::AnswerLost(passing())),
    ]);
    let runtime = start_faulty(&world, &plan, &faults).await;
    world.give("in", [json!({ "n": 1 }), json!({ "n": "one" }), json!({ "n": 2 })]).await;
    until_committed(&world, 3).await;
    assert!(faults.are_over());
    assert_eq!(sorted_numbers(&documents(&world, "out").await), [1, 2]);
    let dead = world.records("dead").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].record.value.as_deref(), Some(b"{\"n\":\"one\"}".as_slice()));
    stop(runtime).await;
}

#[tokio::test]
async fn a_record_too_large_for_its_topic_is_set_aside_with_its_original_bytes() {
    let world = World::new().await;
    let mut plan = copying([]);
    let mut small = topic(1, None);
    small.settings.message_bytes_max = "2KiB".parse().unwrap();
    plan.topics.insert(name("out"), small);
    let runtime = world.start(&plan).await;
    let large = json!({ "n": 2, "text": "x".repeat(5_000) });
    let larger = json!({ "n": 5, "text": "x".repeat(6_000) });
    let values = [json!({ "n": 1 }), large.clone(), json!({ "n": 3 }), larger.clone()];
    world.give("in", values).await;
    until_committed(&world, 4).await;
    assert_eq!(sorted_numbers(&documents(&world, "out").await), [1, 3]);
    let dead = documents(&world, "dead").await;
    assert_eq!(dead.len(), 2);
    assert!(dead.contains(&large) && dead.contains(&larger));
    stop(runtime).await;
}

#[tokio::test]
async fn a_pipeline_whose_topic_is_gone_fails_with_the_reason() {
    let world = World::new().await;
    let runtime = world.start(&copying([])).await;
    world.log.delete_topic(&name("out")).await.unwrap();
    world.give("in", numbers(0..3)).await;
    let failed = || runtime.pipeline("p").unwrap().state == TaskState::Failed;
    until("it failed", async || failed()).await;
    let error = runtime.pipeline("p").unwrap().last_error.unwrap().what;
    assert!(error.contains("topic \"out\" does not exist"), "{error}");
    assert_eq!(world.committed("test.p").await, 0);
    stop(runtime).await;
}
