//! Pipelines on virtual time: each step's meaning, the stores, and test files.

use std::{path::PathBuf, time::Duration};

use courant_model::{Operation, Place, Record, Span, Timestamp};
use serde_json::{Value, json};

use super::{Driver, run_tests};
use crate::{
    config::{
        Expectation, ExpectedDeadLetter, ExpectedRecord, GivenRecord, TestAction, TestCase,
        TestFile, TestStep,
    },
    plan::{Branch, Destination, PipelinePlan, Plan, StepPlan, TargetPlan},
    testing::{N, history, name, numbers, pipeline, plan, record, sql, topic},
};

pub(super) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn driver(pipeline: PipelinePlan) -> Driver {
    Driver::new(&plan([("p", pipeline)]), START).unwrap()
}

pub(super) fn to_topic(text: &str) -> TargetPlan {
    TargetPlan::Topic { topic: name(text) }
}

pub(super) fn give(driver: &mut Driver, values: impl IntoIterator<Item = Value>) {
    let records: Vec<Record> = values.into_iter().map(|value| record(&value)).collect();
    driver.give(&name("in"), records).unwrap();
}

pub(super) fn values(driver: &Driver, topic: &str) -> Vec<Value> {
    let value = |record: &Record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    driver.topic(&name(topic)).iter().map(|stored| value(&stored.record)).collect()
}

pub(super) fn errors(driver: &Driver) -> Vec<String> {
    let error = |record: &Record| {
        let header = record.header("courant-error").unwrap().value.clone().unwrap();
        String::from_utf8(header.to_vec()).unwrap()
    };
    driver.dead_letters("p").iter().map(error).collect()
}

#[test]
fn statements_that_follow_each_other_pass_columns_on() {
    let steps = [
        sql("SELECT n, n * 10 AS m FROM input WHERE n > 1"),
        sql("SELECT m + 1 AS m, 12 / (n - 3) AS d FROM input"),
    ];
    let mut driver = driver(pipeline("in", steps, [to_topic("out")]));
    give(&mut driver, numbers(0..5));
    assert_eq!(values(&driver, "out"), [json!({ "m": 21, "d": -12 }), json!({ "m": 41, "d": 12 })]);
    let dead = driver.dead_letters("p");
    assert_eq!(dead.len(), 1, "a division by zero concerns its record only");
    let step = dead[0].header("courant-error-step").unwrap().value.clone().unwrap();
    assert_eq!(step, "step 2 (sql)");
}

#[test]
fn a_statement_that_does_not_fit_yet_waits_for_records_that_it_fits() {
    let mut driver = driver(pipeline("in", [sql("SELECT late FROM input")], [to_topic("out")]));
    give(&mut driver, [json!({ "n": 1 })]);
    assert!(errors(&driver)[0].contains("late"), "{:?}", errors(&driver));
    give(&mut driver, [json!({ "n": 2, "late": true })]);
    assert_eq!(values(&driver, "out"), [json!({ "late": true })]);
}

#[test]
fn a_statement_that_does_not_fit_declared_columns_is_told_at_once() {
    let mut plan = plan([("p", pipeline("in", [sql("SELECT m FROM input")], []))]);
    plan.topics.insert(name("in"), topic(1, Some(N.clone())));
    let error = Driver::new(&plan, START).unwrap_err().to_string();
    assert!(error.starts_with("pipeline \"p\": step 1 (sql): "), "{error}");
}

#[test]
fn the_clock_of_a_statement_is_the_drivers() {
    let steps = [sql("SELECT now() AS at FROM input")];
    let mut driver = driver(pipeline("in", steps, [to_topic("out")]));
    driver.advance(Duration::from_secs(60)).unwrap();
    give(&mut driver, [json!({ "n": 1 })]);
    assert_eq!(values(&driver, "out"), [json!({ "at": "2026-01-01T00:01:00Z" })]);
}

#[test]
fn a_key_is_the_text_of_its_field_or_nothing() {
    let key = |field: Option<&str>| StepPlan::Key { field: field.map(|f| f.parse().unwrap()) };
    let mut keyed = driver(pipeline("in", [key(Some("a.b"))], [to_topic("out")]));
    give(&mut keyed, [json!({ "a": { "b": 7 } }), json!({ "a": {} }), json!({ "a": { "b": [] } })]);
    let keys: Vec<_> = keyed.topic(&name("out")).iter().map(|s| s.record.key.clone()).collect();
    assert_eq!(keys, [Some("7".into())]);
    let found = ["missing", "a list"]
        .map(|found| format!("field \"a.b\" is {found}; a key needs a text, number or boolean"));
    assert_eq!(errors(&keyed), found);
    let mut bare = driver(pipeline("in", [key(None)], [to_topic("out")]));
    bare.give(&name("in"), [record(&json!(1)).with_key("k")]).unwrap();
    assert_eq!(bare.topic(&name("out"))[0].record.key, None);
}

#[test]
fn the_parts_of_a_list_have_ids_of_their_own() {
    let split = |field: &str, into: Option<&str>| StepPlan::Split {
        field: field.parse().unwrap(),
        into: into.map(|into| into.parse().unwrap()),
    };
    let steps = [split("lines", Some("line.item")), split("line.item.of", None)];
    let mut driver = driver(pipeline("in", steps, [history("out", None)]));
    let lines = json!({ "lines": [{ "of": [{ "n": 1 }, { "n": 2 }] }, { "of": [{ "n": 3 }] }] });
    give(&mut driver, [lines, json!({ "lines": [] }), json!({ "lines": 5 })]);
    let documents: Vec<Value> =
        driver.history("out").into_iter().map(|document| Value::Object(document.clone())).collect();
    let expected = [("in-0-0", 1), ("in-0-0-1", 2), ("in-0-0-2", 3)];
    assert_eq!(documents, expected.map(|(id, n)| json!({ "_id": id, "n": n })));
    assert_eq!(errors(&driver), ["field \"lines\" is a number, not a list"]);
}

#[test]
fn a_part_goes_into_what_is_left_of_its_document() {
    let split =
        StepPlan::Split { field: "lines".parse().unwrap(), into: Some("line".parse().unwrap()) };
    let mut driver = driver(pipeline("in", [split], [to_topic("out")]));
    give(&mut driver, [json!({ "order": 1, "lines": ["a", "b"] })]);
    let expected = ["a", "b"].map(|line| json!({ "order": 1, "line": line }));
    assert_eq!(values(&driver, "out"), expected);
}

#[test]
fn a_route_takes_the_first_branch_that_holds() {
    let branch = |when: &str, to: Destination| Branch { when: when.into(), to };
    let route = StepPlan::Route {
        branches: vec![
            branch("n = 0", Destination::Topic(name("zero"))),
            branch("10 / n > 4", Destination::Drop),
            branch("n = 1", Destination::Topic(name("never"))),
        ],
        otherwise: Destination::Next,
    };
    let mut driver = driver(pipeline("in", [route], [to_topic("out")]));
    give(&mut driver, numbers(0..5));
    assert_eq!(values(&driver, "zero"), [json!({ "n": 0 })]);
    assert_eq!(values(&driver, "out"), [json!({ "n": 3 }), json!({ "n": 4 })]);
    assert!(driver.topic(&name("never")).is_empty());
    assert!(driver.dead_letters("p").is_empty());
}

#[test]
fn a_duplicate_passes_again_once_its_time_is_over_or_its_place_is_taken() {
    let deduplicate = StepPlan::Deduplicate {
        by: vec!["n".parse().unwrap(), "m".parse().unwrap()],
        within: Span::from_millis(1_000),
        keys_max: 2,
    };
    let mut driver = driver(pipeline("in", [deduplicate], [to_topic("out")]));
    let passed = |driver: &mut Driver, n: u64| {
        let before = driver.topic(&name("out")).len();
        give(driver, [json!({ "n": n })]);
        driver.topic(&name("out")).len() > before
    };
    assert!(passed(&mut driver, 1));
    driver.advance(Duration::from_millis(999)).unwrap();
    assert!(!passed(&mut driver, 1));
    driver.advance(Duration::from_millis(1)).unwrap();
    assert!(passed(&mut driver, 1), "its time is over");
    assert!(passed(&mut driver, 2));
    assert!(passed(&mut driver, 3), "the oldest of two makes room");
    assert!(passed(&mut driver, 1));
    assert!(!passed(&mut driver, 3));
}

#[test]
fn a_tombstone_passes_the_steps_and_deletes() {
    let steps = [sql("SELECT n FROM input"), StepPlan::Key { field: Some("n".parse().unwrap()) }];
    let targets = [history("out", Some("n")), cache("n", None), to_topic("copy")];
    let mut driver = driver(pipeline("in", steps, targets));
    give(&mut driver, numbers(1..3));
    assert_eq!(driver.cache("t", "1"), Some(json!({ "n": 1 })));
    let mut tombstone = record(&json!(null)).with_key("1");
    tombstone.value = None;
    driver.give(&name("in"), [tombstone]).unwrap();
    assert_eq!(driver.history("out").len(), 1);
    assert_eq!(driver.cache("t", "1"), None);
    assert_eq!(driver.topic(&name("copy"))[2].record.value, None);
    assert!(driver.dead_letters("p").is_empty());
}

fn cache(key: &str, version: Option<&str>) -> TargetPlan {
    let path = |text: &str| text.parse().unwrap();
    let (key, version) = (path(key), version.map(path));
    TargetPlan::Cache { table: "t".into(), key, field: None, ttl: None, version }
}

/// A history of documents by `n`, with their versions at `v`.
fn versioned_history() -> TargetPlan {
    let path = |text: &str| Some(text.parse().unwrap());
    let collection = "out".into();
    TargetPlan::History { collection, id: path("n"), indexes: Vec::new(), version: path("v") }
}

fn deleted(document: &Value) -> Record {
    let mut deleted = record(document);
    deleted.headers.push(Operation::Delete.header());
    deleted
}

#[test]
fn a_record_that_tells_of_a_delete_deletes_what_its_document_names() {
    let field = TargetPlan::Cache {
        table: "fields".into(),
        key: "k".parse().unwrap(),
        field: Some("n".parse().unwrap()),
        ttl: None,
        version: None,
    };
    let targets = [history("out", Some("n")), cache("n", None), field, history("log", None)];
    let mut driver = driver(pipeline("in", [], targets));
    give(&mut driver, [json!({ "n": 1, "k": "a" }), json!({ "n": 2, "k": "a" })]);
    driver.give(&name("in"), [deleted(&json!({ "n": 1, "k": "a", "v": "old" }))]).unwrap();
    assert_eq!(driver.history("out").len(), 1);
    assert_eq!(driver.cache("t", "1"), None);
    assert_eq!(driver.cache("fields", "a"), Some(json!({ "2": { "n": 2, "k": "a" } })));
    let refused = errors(&driver);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("cannot delete"), "{refused:?}");
    assert_eq!(driver.history("log").len(), 2);
}

#[test]
fn a_record_of_a_lower_version_changes_nothing() {
    let mut driver = driver(pipeline("in", [], [versioned_history(), cache("n", Some("v"))]));
    let new = json!({ "n": 1, "v": 5, "text": "new" });
    give(&mut driver, [new.clone(), json!({ "n": 1, "v": 4, "text": "old" })]);
    assert_eq!(driver.history("out")[0]["text"], "new");
    assert_eq!(driver.cache("t", "1"), Some(new));
    driver.give(&name("in"), [deleted(&json!({ "n": 1, "v": 4 }))]).unwrap();
    assert_eq!(driver.history("out").len(), 1);
    driver.give(&name("in"), [deleted(&json!({ "n": 1, "v": "6" }))]).unwrap();
    give(&mut driver, [json!({ "n": 1, "v": 5 })]);
    assert_eq!(driver.history("out").len(), 0);
    assert_eq!(driver.cache("t", "1"), None);
    assert!(errors(&driver).is_empty());
}

#[test]
fn a_record_without_a_version_is_set_aside_with_the_remedy() {
    let mut driver = driver(pipeline("in", [], [versioned_history()]));
    give(
        &mut driver,
        [json!({ "n": 1 }), json!({ "n": 1, "v": 1.5 }), json!({ "n": 2, "v": "3" })],
    );
    let refused = errors(&driver);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].contains("field \"v\""), "{refused:?}");
    assert!(refused[1].contains("1.5"), "{refused:?}");
    assert_eq!(driver.history("out").len(), 1);
}

#[test]
fn cache_fields_gather_under_their_key_and_expire_with_it() {
    let cache = TargetPlan::Cache {
        table: "t".into(),
        key: "k".parse().unwrap(),
        field: Some("f".parse().unwrap()),
        ttl: Some(Span::from_millis(500)),
        version: None,
    };
    let mut driver = driver(pipeline("in", [], [cache]));
    give(
        &mut driver,
        [json!({ "k": "a", "f": 1 }), json!({ "k": "a", "f": 2 }), json!({ "k": "a" })],
    );
    let expected = json!({ "1": { "k": "a", "f": 1 }, "2": { "k": "a", "f": 2 } });
    assert_eq!(driver.cache("t", "a"), Some(expected));
    assert_eq!(errors(&driver).len(), 1);
    driver.advance(Duration::from_millis(500)).unwrap();
    assert_eq!(driver.cache("t", "a"), None);
}

#[test]
fn one_pipelines_output_is_the_next_ones_input_with_its_origin() {
    let pipelines = [
        ("first", pipeline("in", [], [to_topic("middle")])),
        ("second", pipeline("middle", [], [to_topic("out")])),
    ];
    let mut driver = Driver::new(&plan(pipelines), START).unwrap();
    give(&mut driver, numbers(0..2));
    let origins: Vec<_> =
        driver.topic(&name("out")).iter().map(|stored| stored.record.origin().unwrap()).collect();
    assert_eq!(origins.len(), 2);
    assert_eq!(origins[0].as_micros(), START.as_millis() * 1_000);
}

#[test]
fn pipelines_that_feed_each_other_are_found_out() {
    let pipelines = [
        ("there", pipeline("in", [], [to_topic("back")])),
        ("back", pipeline("back", [], [to_topic("in")])),
    ];
    let mut driver = Driver::new(&plan(pipelines), START).unwrap();
    let error = driver.give(&name("in"), [record(&json!(1))]).unwrap_err();
    assert_eq!(error, super::DriverError::Endless);
}

/// The plan and the tests of the next two.
fn tested() -> Plan {
    let steps = [sql("SELECT n, _timestamp AS at FROM input WHERE n > 0")];
    let mut plan = plan([("p", pipeline("in", steps, [history("out", Some("n")), to_topic("t")]))]);
    plan.topics.insert(name("in"), topic(1, Some(N.clone())));
    plan
}

fn at(line: u32) -> Place {
    Place { file: "a.test.yaml".into(), line, column: 5 }
}

fn case(expectations: impl IntoIterator<Item = Expectation>) -> TestFile {
    let given = |value: &str| GivenRecord {
        at: None,
        record: Record::new(value.to_owned(), Timestamp::NONE).with_key("k"),
    };
    let records = [r#"{"n": 0}"#, r#"{"n": 1}"#, r#"{"n": "x"}"#].map(given).to_vec();
    let steps = [
        TestAction::Advance(Span::from_millis(1_000)),
        TestAction::Give { topic: name("in"), records },
    ];
    let actions = steps.into_iter().chain(expectations.into_iter().map(TestAction::Expect));
    let steps = (1..).zip(actions).map(|(line, action)| TestStep { place: at(line), action });
    let steps = steps.collect();
    let (name, lookups) = ("it".into(), Vec::new());
    let case = TestCase { name, place: at(0), now: START, lookups, steps };
    TestFile { file: PathBuf::from("a.test.yaml"), cases: vec![case] }
}

fn dead(error: &str) -> Expectation {
    let letter = ExpectedDeadLetter { value: Some(json!({ "n": "x" })), error: Some(error.into()) };
    Expectation::DeadLetters { pipeline: "p".into(), records: vec![letter], partial: false }
}

fn documents(documents: Value, partial: bool) -> Expectation {
    let documents = serde_json::from_value(documents).unwrap();
    Expectation::History { collection: "out".into(), documents, partial }
}

fn in_topic(key: Option<Option<String>>) -> Expectation {
    let value = Some(json!({ "n": 1, "at": "2026-01-01T00:00:01Z" }));
    let records = vec![ExpectedRecord { value, key, headers: indexmap::IndexMap::new() }];
    Expectation::Topic { topic: name("t"), records, partial: false }
}

#[test]
fn a_case_whose_expectations_are_met_passes() {
    let report = run_tests(
        &tested(),
        &case([
            documents(json!([{ "n": 1 }]), true),
            documents(json!([{ "_id": "1", "n": 1.0, "at": "2026-01-01T00:00:01Z" }]), false),
            in_topic(Some(Some("k".into()))),
            dead("n"),
        ]),
    );
    assert!(report.passed(), "{report:?}");
}

#[test]
fn a_case_ends_with_its_first_mismatch_and_says_where_and_what() {
    let failure = |expectation| {
        let report = run_tests(&tested(), &case([expectation]));
        assert!(!report.passed());
        report.cases[0].failure.as_ref().unwrap().to_string()
    };
    assert_eq!(
        failure(documents(json!([]), true)),
        "a.test.yaml:3:5: collection \"out\" has 1 documents, expected 0: \
         {\"_id\":\"1\",\"n\":1,\"at\":\"2026-01-01T00:00:01Z\"}"
    );
    assert_eq!(
        failure(documents(json!([{ "n": 2 }]), true)),
        "a.test.yaml:3:5: collection \"out\", number 1 of its documents: field \"n\" is 1, expected 2"
    );
    assert_eq!(
        failure(in_topic(Some(None))),
        "a.test.yaml:3:5: topic \"t\", number 1 of its records: key is \"k\", expected none"
    );
    assert!(failure(dead("no such error")).contains("expected one with \"no such error\""));
    let cache =
        Expectation::Cache { table: "t".into(), key: "a".into(), value: json!(1), partial: false };
    assert_eq!(
        failure(cache),
        "a.test.yaml:3:5: key \"a\" of cache table \"t\": is null, expected 1"
    );
}
