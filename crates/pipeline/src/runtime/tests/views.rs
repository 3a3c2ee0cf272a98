//! Views at work: their store, their topic, and what a stop or a crash leaves of both.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use courant_log::{Log, LogError};
use courant_model::{Record, TopicName};
use serde_json::{Map, Value, json};

use super::{
    faults::{Call, Fault, Faults, FaultyLog},
    world::{World, stop, until},
};
use crate::{
    plan::Plan,
    runtime::{Runtime, TaskState, ViewError, ViewScan},
    testing::{name, plan_with_views, view_plan, visit},
};

const BY_PAGE: &str = "SELECT name, count(*) AS visits, sum(duration) AS total FROM visits \
                       GROUP BY name, tumble(INTERVAL '10 seconds')";

/// The calls of a transaction that is committed.
const CALLS: [Call; 5] = [Call::Producer, Call::Begin, Call::Append, Call::Offsets, Call::Commit];

/// Visits of three pages, ten a second, with durations of 1.
fn visits(range: std::ops::Range<i64>) -> Vec<Record> {
    let page = |n: i64| ["a", "b", "c"][usize::try_from(n % 3).unwrap()];
    range.map(|n| visit(n / 10, page(n), 1)).collect()
}

fn pages(value: &Value) -> (String, String) {
    let text = |column: &str| value[column].as_str().unwrap().to_owned();
    (text("name"), text("window_start"))
}

/// Visits by page and window, as many as there are visits in the range.
fn expected(range: std::ops::Range<i64>) -> BTreeMap<(String, i64), i64> {
    let mut counts = BTreeMap::new();
    for n in range {
        let page = ["a", "b", "c"][usize::try_from(n % 3).unwrap()];
        *counts.entry((page.to_owned(), n / 100)).or_default() += 1;
    }
    counts
}

/// What rows say: visits by page and number of the window.
fn counted<'a>(rows: impl IntoIterator<Item = &'a Value>) -> BTreeMap<(String, i64), i64> {
    let counted = rows.into_iter().map(|row| {
        let (page, start) = pages(row);
        let start: jiff::Timestamp = start.parse().unwrap();
        let window = (start.as_second() - 1_767_225_600) / 10;
        assert_eq!(row["visits"], row["total"], "both aggregates have seen the same");
        ((page, window), row["visits"].as_i64().unwrap())
    });
    counted.collect()
}

async fn rows(runtime: &Runtime, scan: &ViewScan) -> Vec<Value> {
    let page = runtime.view("v").unwrap().scan(scan).await.unwrap();
    page.rows.iter().map(|row| serde_json::from_slice(&row.row).unwrap()).collect()
}

async fn store(runtime: &Runtime) -> BTreeMap<(String, i64), i64> {
    counted(&rows(runtime, &ViewScan::default()).await)
}

/// Values of a topic in order, as a reader of committed records sees them.
async fn told(world: &World, topic: &str) -> Vec<Value> {
    let records = world.records(topic).await;
    let value = |record: &Record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    records.iter().map(|stored| value(&stored.record)).collect()
}

async fn until_committed(world: &World, offset: i64) {
    until(&format!("offset {offset} is committed"), async || {
        world.committed("test.v").await == offset
    })
    .await;
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn a_views_store_answers_while_it_runs_and_its_topic_has_the_changes() {
    let world = World::new().await;
    let runtime = world.start(&view_plan(BY_PAGE)).await;
    let mut watch = runtime.view("v").unwrap().watch();
    world.append("visits", visits(0..250)).await;
    until_committed(&world, 250).await;
    assert_eq!(store(&runtime).await, expected(0..250));
    // The topic's last record of each key is the store's row.
    assert_eq!(counted(&told(&world, "counted").await), expected(0..250));
    let change = watch.recv().await.unwrap();
    assert!(change.row.is_some() && change.key.is_some());
    let status = &runtime.views()[0];
    assert_eq!((status.task.records_in, status.task.lag, status.late), (250, 0, 0));
    assert_eq!(status.watermark_micros, Some(1_767_225_624_000_000));
    stop(runtime).await;
}

#[tokio::test]
async fn rows_are_found_by_key_by_window_and_page_by_page() {
    let world = World::new().await;
    let runtime = world.start(&view_plan(BY_PAGE)).await;
    world.append("visits", visits(0..500)).await;
    until_committed(&world, 500).await;
    let view = runtime.view("v").unwrap();
    assert_eq!(view.key().unwrap(), ["name", "window_start", "window_end"]);
    assert_eq!(view.count().await.unwrap(), 15);
    let of_b = ViewScan { prefix: object(&json!({ "name": "b" })), ..ViewScan::default() };
    assert_eq!(rows(&runtime, &of_b).await.len(), 5);
    let second = 1_767_225_600_000_000 + 10_000_000;
    let some = ViewScan {
        window_from_micros: Some(second),
        window_to_micros: Some(second + 20_000_000),
        ..ViewScan::default()
    };
    let found = counted(&rows(&runtime, &some).await);
    assert!(found.len() == 6 && found.keys().all(|(_, window)| (1..3).contains(window)));
    let range = ViewScan {
        prefix: object(&json!({ "name": "a" })),
        from: Some(json!("2026-01-01T00:00:20Z")),
        to: Some(json!("2026-01-01T00:00:40Z")),
        ..ViewScan::default()
    };
    assert_eq!(rows(&runtime, &range).await.len(), 2);
    let (mut pages, mut scan) = (Vec::new(), ViewScan { limit: Some(4), ..ViewScan::default() });
    loop {
        let page = view.scan(&scan).await.unwrap();
        pages.push(page.rows.len());
        scan.after = page.next;
        if scan.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [4, 4, 4, 3]);
    let key = json!({ "name": "c", "window_start": "2026-01-01T00:00:00Z",
        "window_end": "2026-01-01T00:00:10Z" });
    let row = view.get(&object(&key)).await.unwrap().expect("it is there");
    let row: Value = serde_json::from_slice(&row.row).unwrap();
    assert_eq!(row["visits"], 33);
    let error = view.get(&object(&json!({ "name": "c" }))).await.unwrap_err();
    assert!(matches!(error, ViewError::WrongKey { .. }), "{error}");
    stop(runtime).await;
}

#[tokio::test]
async fn a_restart_goes_on_from_the_state_and_repeats_nothing() {
    let world = World::new().await;
    let plan = view_plan(BY_PAGE);
    for part in 0..4 {
        let runtime = world.start(&plan).await;
        world.append("visits", visits(part * 70..(part + 1) * 70)).await;
        until_committed(&world, (part + 1) * 70).await;
        assert_eq!(store(&runtime).await, expected(0..(part + 1) * 70));
        stop(runtime).await;
    }
    assert_eq!(counted(&told(&world, "counted").await), expected(0..280));
}

#[tokio::test]
async fn a_process_that_ends_at_any_call_counts_each_record_once() {
    for call in CALLS {
        for fault in [Fault::SilentBefore, Fault::SilentAfter] {
            let world = World::new().await;
            let plan = final_plan();
            let runtime = world.start(&plan).await;
            world.append("visits", visits(0..150)).await;
            until_committed(&world, 150).await;
            stop(runtime).await;
            let faults = Faults::of([(call, fault.clone())]);
            let runtime = start_faulty(&world, &plan, &faults).await;
            world.append("visits", visits(150..350)).await;
            until("the call is made", async || faults.are_over()).await;
            assert!(!runtime.stop(Duration::from_millis(10)).await.unwrap());
            drop(runtime);
            let runtime = world.start(&plan).await;
            world.append("visits", visits(350..510)).await;
            until_committed(&world, 510).await;
            let case = format!("{call:?} {fault:?}");
            assert_eq!(store_until(&runtime, 500).await, expected(0..500), "{case}");
            let told = told(&world, "counted").await;
            assert_eq!(told.len(), 15, "{case}: each closed window is told once");
            assert_eq!(counted(&told), expected(0..500), "{case}");
            stop(runtime).await;
        }
    }
}

#[tokio::test]
async fn a_failure_at_any_call_counts_each_record_once() {
    for call in CALLS {
        let error = LogError::storage("writing", io::Error::other("a passing fault"));
        for fault in [Fault::Refused(error.clone()), Fault::AnswerLost(error.clone())] {
            let world = World::new().await;
            let faults = Faults::of([(call, fault.clone())]);
            let runtime = start_faulty(&world, &final_plan(), &faults).await;
            world.append("visits", visits(0..350)).await;
            until_committed(&world, 350).await;
            assert!(faults.are_over(), "{call:?} was never made");
            assert_eq!(told(&world, "counted").await.len(), 9, "{call:?} {fault:?}");
            stop(runtime).await;
        }
    }
}

#[tokio::test]
async fn a_state_that_is_gone_is_built_again_and_nothing_is_told_twice() {
    let world = World::new().await;
    let plan = final_plan();
    let runtime = world.start(&plan).await;
    world.append("visits", visits(0..250)).await;
    until_committed(&world, 250).await;
    stop(runtime).await;
    // On another machine, where nothing is known.
    let runtime = world.start_worker("elsewhere", &plan).await;
    world.append("visits", visits(250..410)).await;
    until_committed(&world, 410).await;
    let rebuild = runtime.views()[0].rebuild.clone().unwrap();
    assert_eq!((rebuild.why, rebuild.records), ("the state is missing", 250));
    let told_there = told(&world, "counted").await;
    assert_eq!(told_there.len(), 12);
    assert_eq!(counted(&told_there), expected(0..400));
    stop(runtime).await;
    // And back, where the state is older than what is committed.
    let runtime = world.start(&plan).await;
    world.append("visits", visits(410..510)).await;
    until_committed(&world, 510).await;
    let told = told(&world, "counted").await;
    assert_eq!(told.len(), 15);
    assert_eq!(counted(&told), expected(0..500));
    stop(runtime).await;
}

#[tokio::test]
async fn a_query_that_was_changed_is_built_anew_from_the_topic() {
    let world = World::new().await;
    let runtime = world.start(&view_plan(BY_PAGE)).await;
    world.append("visits", visits(0..120)).await;
    until_committed(&world, 120).await;
    stop(runtime).await;
    let other = BY_PAGE.replace("10 seconds", "20 seconds");
    let runtime = world.start(&view_plan(&other)).await;
    until("it is built", async || {
        runtime.view("v").unwrap().count().await.unwrap() == 3
            && world.committed("test.v").await == 120
    })
    .await;
    let rebuild = runtime.views()[0].rebuild.clone().unwrap();
    assert_eq!((rebuild.why, rebuild.records), ("the query was changed", 120));
    let total: i64 = store(&runtime).await.values().sum();
    assert_eq!(total, 120);
    stop(runtime).await;
}

#[tokio::test]
async fn late_records_and_what_does_not_fit_have_topics_of_their_own() {
    let world = World::new().await;
    let plan = plan_with_views(&format!("  v: {{ sql: {BY_PAGE:?}, to: counted, late: late }}"));
    let runtime = world.start(&plan).await;
    let wrong = Record::new("{\"name\": 5}", visit(0, "a", 1).timestamp);
    world
        .append("visits", vec![visit(1, "a", 1), visit(30, "b", 1), visit(2, "c", 1), wrong])
        .await;
    until_committed(&world, 4).await;
    assert_eq!(runtime.views()[0].late, 1);
    let late = told(&world, "late").await;
    assert_eq!(late, [json!({ "name": "c", "duration": 1 })]);
    assert_eq!(told(&world, "v.dead").await, [json!({ "name": 5 })]);
    stop(runtime).await;
}

#[tokio::test]
async fn windows_leave_the_store_when_their_time_is_over() {
    let world = World::new().await;
    let view = format!("  v: {{ sql: {BY_PAGE:?}, to: counted, grace: 5s, keep: 15s }}");
    let runtime = world.start(&plan_with_views(&view)).await;
    world.append("visits", visits(0..1_000)).await;
    until_committed(&world, 1_000).await;
    world.append("visits", visits(1_000..1_001)).await;
    until_committed(&world, 1_001).await;
    // The watermark is 100; windows that ended by 80 are gone at the next checkpoint.
    world.append("visits", visits(1_001..1_002)).await;
    until_committed(&world, 1_002).await;
    let windows: Vec<i64> = store(&runtime).await.keys().map(|(_, window)| *window).collect();
    assert_eq!(windows.iter().min(), Some(&8), "{windows:?}");
    stop(runtime).await;
}

#[tokio::test]
async fn partitions_are_counted_each_by_itself_and_asked_together() {
    let world = World::new().await;
    let mut plan = view_plan(BY_PAGE);
    plan.topics.get_mut(&name("visits")).unwrap().partitions = 3;
    let runtime = world.start(&plan).await;
    world.append("visits", visits(0..300)).await;
    until_committed(&world, 300).await;
    assert_eq!(store(&runtime).await, expected(0..300));
    assert_eq!(runtime.views()[0].task.partitions.len(), 3);
    stop(runtime).await;
}

#[tokio::test]
async fn records_that_are_spread_by_another_key_are_brought_together() {
    let world = World::new().await;
    let text = format!(
        "version: 1
name: test
memory: 64MiB
durability: os
topics:
  visits:
    partitions: 3
    columns: {{ name: string, duration: int64 }}
    # They come in from several partitions at once.
    lateness: 1h
views:
  v: {{ sql: {BY_PAGE:?}, to: counted }}"
    );
    let runtime = world.start(&crate::config::tests::plan_of(&text)).await;
    let mut records = visits(0..300);
    for (n, record) in records.iter_mut().enumerate() {
        record.key = Some(n.to_string().into());
    }
    world.append("visits", records).await;
    until("all are counted", async || store(&runtime).await == expected(0..300)).await;
    stop(runtime).await;
}

#[tokio::test]
async fn a_limited_rate_tells_what_it_held_back_also_after_a_restart() {
    let world = World::new().await;
    let limited = |every: &str| {
        let view =
            format!("  v: {{ sql: {BY_PAGE:?}, to: counted, emit: {{ changes: {every} }} }}");
        plan_with_views(&view)
    };
    let runtime = world.start(&limited("1h")).await;
    world.append("visits", visits(0..100)).await;
    until_committed(&world, 100).await;
    assert!(told(&world, "counted").await.is_empty());
    assert_eq!(store(&runtime).await, expected(0..100));
    stop(runtime).await;
    let runtime = world.start(&limited("1h")).await;
    until("it is told", async || told(&world, "counted").await.len() == 3).await;
    assert_eq!(counted(&told(&world, "counted").await), expected(0..100));
    stop(runtime).await;
}

#[tokio::test]
async fn a_paused_view_waits_and_then_goes_on() {
    let world = World::new().await;
    let runtime = world.start(&view_plan(BY_PAGE)).await;
    runtime.pause("v").unwrap();
    until("it is paused", async || runtime.views()[0].task.state == TaskState::Paused).await;
    runtime.resume("v").unwrap();
    world.append("visits", visits(0..30)).await;
    until_committed(&world, 30).await;
    stop(runtime).await;
}

/// A query over two topics, whose windows answer once.
fn both_plan(idle: &str) -> Plan {
    let text = format!(
        "version: 1
name: test
memory: 64MiB
durability: os
topics:
  visits: {{ columns: {{ name: string, duration: int64 }} }}
  others: {{ columns: {{ name: string, duration: int64 }} }}
views:
  v:
    sql: |
      SELECT name, count(*) AS visits, sum(duration) AS total
      FROM (SELECT name, duration FROM visits UNION ALL SELECT name, duration FROM others) AS b
      GROUP BY name, tumble(INTERVAL '10 seconds')
    to: counted
    emit: final
    idle: {idle}"
    );
    crate::config::tests::plan_of(&text)
}

#[tokio::test]
async fn a_topic_that_is_silent_is_waited_for_only_so_long() {
    let world = World::new().await;
    let runtime = world.start(&both_plan("100ms")).await;
    world.append("visits", visits(0..250)).await;
    until("two windows are told", async || told(&world, "counted").await.len() == 6).await;
    assert_eq!(counted(&told(&world, "counted").await), expected(0..200));
    // It speaks again, and what it says is late.
    world.append("others", visits(100..101)).await;
    until("it is late", async || runtime.views()[0].late == 1).await;
    stop(runtime).await;
}

#[tokio::test]
async fn records_of_several_topics_are_taken_in_their_order_also_after_a_restart() {
    let world = World::new().await;
    let plan = both_plan("0s");
    let split = |range: std::ops::Range<i64>, odd: i64| {
        let mine = range.filter(move |n| n % 2 == odd);
        mine.flat_map(|n| visits(n..n + 1)).collect::<Vec<_>>()
    };
    // One is far ahead of the other; nothing is late all the same.
    for (first, last) in [(0, 200), (200, 450), (450, 510)] {
        world_ready(&world, &plan).await;
        world.append("visits", split(first..last, 0)).await;
        world.append("others", split(first..last, 1)).await;
        let runtime = world.start(&plan).await;
        until_committed(&world, last).await;
        assert_eq!(runtime.views()[0].late, 0);
        stop(runtime).await;
    }
    let told = told(&world, "counted").await;
    assert_eq!(told.len(), 15, "each closed window is told once");
    assert_eq!(counted(&told), expected(0..500));
}

/// Makes the topics, before a view reads them.
async fn world_ready(world: &World, plan: &Plan) {
    if world.log.topic(&name("visits")).await.is_err() {
        stop(world.start(plan).await).await;
    }
}

fn final_plan() -> Plan {
    plan_with_views(&format!("  v: {{ sql: {BY_PAGE:?}, to: counted, emit: final }}"))
}

async fn start_faulty(world: &World, plan: &Plan, faults: &Faults) -> Runtime {
    let log = FaultyLog { log: Arc::clone(&world.log) as _, faults: faults.clone() };
    world.start_on("here", Arc::new(log), plan).await
}

/// The store without the windows from this visit on.
async fn store_until(runtime: &Runtime, visit: i64) -> BTreeMap<(String, i64), i64> {
    let mut all = store(runtime).await;
    all.retain(|(_, window), _| *window < visit / 100);
    all
}

/// The topic that a view has where the file names none.
#[tokio::test]
async fn a_view_without_a_topic_has_its_own() {
    let world = World::new().await;
    let runtime = world.start(&plan_with_views(&format!("  v: {{ sql: {BY_PAGE:?} }}"))).await;
    world.append("visits", visits(0..10)).await;
    until_committed(&world, 10).await;
    let own: TopicName = name("test.v");
    assert_eq!(counted(&told(&world, own.as_str()).await), expected(0..10));
    let settings = world.log.topic(&own).await.unwrap().settings;
    assert_eq!(settings.cleanup, courant_log::Retention::CompactAndDelete);
    stop(runtime).await;
}
