//! Views on virtual time: windows, both ways to answer, late records, test files.

use std::time::Duration;

use courant_model::{Record, Timestamp};
use serde_json::{Value, json};

use super::{
    Driver,
    tests::{START, values},
};
use crate::{
    plan::{Plan, ViewEmit, ViewPlan},
    testing::{name, plan_with_views, view_plan, visit},
};

const BY_PAGE: &str = "SELECT name, count(*) AS visits FROM visits \
                       GROUP BY name, tumble(INTERVAL '10 seconds')";

fn driver(change: impl FnOnce(&mut ViewPlan)) -> Driver {
    let mut plan: Plan = view_plan(BY_PAGE);
    change(plan.views.get_mut("v").unwrap());
    Driver::new(&plan, START).unwrap()
}

fn give(driver: &mut Driver, visits: impl IntoIterator<Item = (i64, &'static str)>) {
    let records: Vec<Record> =
        visits.into_iter().map(|(second, page)| visit(second, page, 1)).collect();
    driver.give(&name("visits"), records).unwrap();
}

fn counts(rows: &[Value]) -> Vec<(&str, i64)> {
    rows.iter()
        .map(|row| (row["name"].as_str().unwrap(), row["visits"].as_i64().unwrap()))
        .collect()
}

#[test]
fn every_change_goes_to_the_topic_and_the_last_stays_in_the_store() {
    let mut driver = driver(|_| {});
    give(&mut driver, [(1, "a"), (2, "a"), (3, "b"), (11, "a")]);
    let told = values(&driver, "counted");
    assert_eq!(counts(&told), [("a", 1), ("a", 2), ("b", 1), ("a", 1)]);
    let stored = driver.view("v");
    assert_eq!(counts(&stored), [("a", 2), ("a", 1), ("b", 1)], "by page, then by window");
    assert!(stored[0]["window_start"].as_str() < stored[1]["window_start"].as_str());
}

#[test]
fn a_window_that_answers_once_does_so_when_it_is_closed() {
    let view = format!("  v: {{ sql: {BY_PAGE:?}, to: counted, emit: final }}");
    let mut driver = Driver::new(&plan_with_views(&view), START).unwrap();
    give(&mut driver, [(1, "a"), (2, "a"), (9, "b")]);
    assert!(values(&driver, "counted").is_empty());
    give(&mut driver, [(10, "c")]);
    assert_eq!(counts(&values(&driver, "counted")), [("a", 2), ("b", 1)]);
}

#[test]
fn late_records_are_counted_and_go_to_their_topic() {
    let mut driver = driver(|view| view.late = Some(name("late")));
    give(&mut driver, [(1, "a"), (25, "a"), (2, "b"), (21, "b")]);
    assert_eq!(driver.late("v"), 1);
    let late = driver.topic(&name("late"));
    assert_eq!(late.len(), 1);
    let (late, came) = (&late[0].record, visit(2, "b", 1));
    assert_eq!((&late.key, &late.value, late.timestamp), (&came.key, &came.value, came.timestamp));
}

#[test]
fn a_record_that_does_not_fit_is_set_aside() {
    let mut driver = driver(|_| {});
    driver.give(&name("visits"), [Record::new("{\"name\": 5}", START)]).unwrap();
    let dead = driver.dead_letters("v");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value.as_deref(), Some(b"{\"name\": 5}".as_slice()));
    assert_eq!(driver.topic(&name("v.dead")).len(), 1);
}

#[test]
fn a_limited_rate_tells_the_last_change_of_each_key() {
    let every = Some("1s".parse().unwrap());
    let mut driver = driver(|view| view.emit = ViewEmit::Changes { every });
    give(&mut driver, [(1, "a"), (2, "a"), (3, "b")]);
    assert!(values(&driver, "counted").is_empty());
    assert_eq!(counts(&driver.view("v")), [("a", 2), ("b", 1)], "the store is not held back");
    driver.advance(Duration::from_millis(999)).unwrap();
    assert!(values(&driver, "counted").is_empty());
    driver.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(counts(&values(&driver, "counted")), [("a", 2), ("b", 1)]);
    give(&mut driver, [(4, "a")]);
    driver.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(counts(&values(&driver, "counted"))[2..], [("a", 3)]);
}

#[test]
fn a_records_timestamp_is_the_largest_event_time_of_its_row() {
    let mut driver = driver(|_| {});
    give(&mut driver, [(5, "a"), (3, "a")]);
    let times: Vec<Timestamp> =
        driver.topic(&name("counted")).iter().map(|stored| stored.record.timestamp).collect();
    let five = Timestamp::from_millis(START.as_millis() + 5_000);
    assert_eq!(times, [five, five]);
}

#[test]
fn a_view_reads_the_results_of_another() {
    let views = "  total: { sql: \"SELECT name, count(*) AS visits FROM v GROUP BY name\" }
  v: { sql: \"SELECT name, duration FROM visits WHERE duration > 0\", to: counted }";
    let mut driver = Driver::new(&plan_with_views(views), START).unwrap();
    give(&mut driver, [(1, "a"), (2, "a"), (11, "a"), (12, "b")]);
    let rows = driver.view("total");
    assert_eq!(counts(&rows), [("a", 3), ("b", 1)]);
    assert_eq!(rows[0], json!({ "name": "a", "visits": 3 }));
}
