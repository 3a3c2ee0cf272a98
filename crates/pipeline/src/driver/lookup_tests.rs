//! The step `lookup` on virtual time: what it asks, what becomes of the record.

use courant_model::{Record, Timestamp};
use serde_json::{Value, json};

use super::{
    Driver, GivenAnswer,
    tests::{START, errors, give, to_topic, values},
};
use crate::{
    plan::{LookupPlan, LookupSource, OnMissing, StepPlan, TargetPlan},
    testing::{Outside, history, lookup, name, pipeline, plan, record, sql},
};

fn step(on_missing: OnMissing) -> StepPlan {
    let plan = LookupPlan { on_missing, ..lookup(Outside::default().source(), "found") };
    StepPlan::Lookup(Box::new(plan))
}

/// A driver whose lookup, the first step, knows the numbers 1 and 2.
fn driver(steps: impl IntoIterator<Item = StepPlan>) -> Driver {
    let plan = plan([("p", pipeline("in", steps, [to_topic("out")]))]);
    let mut driver = Driver::new(&plan, START).unwrap();
    for n in [1, 2] {
        let when = json!({ "n": n }).as_object().cloned().unwrap();
        driver.answer("p", GivenAnswer { step: 1, when, give: json!({ "name": format!("n{n}") }) });
    }
    driver
}

fn documents(numbers: impl IntoIterator<Item = i64>) -> Vec<Value> {
    numbers.into_iter().map(|n| json!({ "n": n })).collect()
}

#[test]
fn an_answer_is_put_in_the_document_and_the_steps_go_on_behind_it() {
    let mut with_sql = driver([step(OnMissing::Skip), sql("SELECT n + 1 AS m FROM input")]);
    give(&mut with_sql, documents([1, 3, 2]));
    assert_eq!(values(&with_sql, "out"), [json!({ "m": 2 }), json!({ "m": 3 })]);
    let mut alone = driver([step(OnMissing::Skip)]);
    give(&mut alone, documents([2]));
    assert_eq!(values(&alone, "out"), [json!({ "n": 2, "found": { "name": "n2" } })]);
}

#[test]
fn what_is_missing_is_rejected_skipped_kept_or_null() {
    for (on_missing, expected) in [
        (OnMissing::Reject, vec![]),
        (OnMissing::Skip, vec![]),
        (OnMissing::Keep, vec![json!({ "n": 9 }), json!({ "m": 1 }), json!({ "n": null })]),
        (
            OnMissing::Null,
            vec![
                json!({ "n": 9, "found": null }),
                json!({ "m": 1, "found": null }),
                json!({ "n": null, "found": null }),
            ],
        ),
    ] {
        let mut driver = driver([step(on_missing)]);
        give(&mut driver, [json!({ "n": 9 }), json!({ "m": 1 }), json!({ "n": null })]);
        assert_eq!(values(&driver, "out"), expected);
        let rejected = if on_missing == OnMissing::Reject { 3 } else { 0 };
        assert_eq!(errors(&driver).len(), rejected);
    }
}

#[test]
fn records_that_cannot_ask_are_set_aside_and_tombstones_pass() {
    let mut driver = driver([step(OnMissing::Skip)]);
    give(&mut driver, [json!({ "n": [1] }), json!([1]), json!(5)]);
    let why = errors(&driver);
    assert!(why[0].contains("no text, number or boolean"), "{why:?}");
    assert_eq!(why.len(), 1, "what has no fields has nothing to ask with");
    let tombstone = Record { value: None, ..Record::new("", Timestamp::NONE).with_key("k") };
    driver.give(&name("in"), [tombstone]).unwrap();
    assert!(driver.topic(&name("out"))[0].record.value.is_none());
}

#[test]
fn stores_are_asked_for_what_other_pipelines_keep() {
    let field = |text: &str| text.parse().unwrap();
    let by_id = LookupSource::History { collection: "customers".into(), id: field("c") };
    let by_key =
        LookupSource::Cache { table: "orders".into(), key: field("c"), field: Some(field("o")) };
    let whole = LookupSource::Cache { table: "orders".into(), key: field("c"), field: None };
    let steps = [(by_id, "customer"), (by_key, "order"), (whole, "orders")]
        .map(|(source, into)| StepPlan::Lookup(Box::new(lookup(source, into))));
    let cache = TargetPlan::Cache {
        table: "orders".into(),
        key: field("c"),
        field: Some(field("o")),
        ttl: None,
        version: None,
    };
    let keep = pipeline("customers", [], [history("customers", Some("c"))]);
    let plan = plan([
        ("keep", keep),
        ("orders", pipeline("orders", [], [cache])),
        ("p", pipeline("in", steps, [to_topic("out")])),
    ]);
    let mut driver = Driver::new(&plan, START).unwrap();
    let give = |driver: &mut Driver, topic: &str, value: Value| {
        driver.give(&name(topic), [record(&value)]).unwrap();
    };
    give(&mut driver, "customers", json!({ "c": 5, "name": "Ada" }));
    give(&mut driver, "orders", json!({ "c": 5, "o": 7 }));
    give(&mut driver, "in", json!({ "c": 5, "o": 7 }));
    let order = json!({ "c": 5, "o": 7 });
    let expected = json!({
        "c": 5, "o": 7, "customer": { "_id": "5", "c": 5, "name": "Ada" },
        "order": order, "orders": { "7": order },
    });
    assert_eq!(values(&driver, "out"), [expected]);
}
