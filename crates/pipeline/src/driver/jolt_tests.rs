//! The `jolt` step on virtual time: documents, fields, lists, and what a record names.

use courant_model::{Record, Timestamp};
use serde_json::{Value, json};

use super::{
    Driver,
    tests::{START, errors, give, to_topic, values},
};
use crate::{
    plan::{JoltPlan, StepPlan},
    template::Template,
    testing::{name, pipeline, plan, record, sql},
};

fn jolt(spec: Value) -> JoltPlan {
    let spec = Template::new(spec).unwrap();
    JoltPlan { spec, file: None, field: None, split: false, context: None }
}

fn driver(steps: impl IntoIterator<Item = StepPlan>) -> Driver {
    let steps: Vec<StepPlan> = steps.into_iter().collect();
    Driver::new(&plan([("p", pipeline("in", steps, [to_topic("out")]))]), START).unwrap()
}

fn step(plan: JoltPlan) -> StepPlan {
    StepPlan::Jolt(Box::new(plan))
}

#[test]
fn documents_are_transformed_between_other_steps() {
    let spec = json!([{ "operation": "shift", "spec": { "n": "order.id" } }]);
    let last = sql("SELECT \"order\".id * 2 AS double FROM input");
    let mut driver = driver([sql("SELECT n + 1 AS n FROM input"), step(jolt(spec)), last]);
    give(&mut driver, [json!({ "n": 1 }), json!({ "n": 20 })]);
    assert_eq!(values(&driver, "out"), [json!({ "double": 4 }), json!({ "double": 42 })]);
}

#[test]
fn numbers_are_passed_on_as_they_came() {
    let mut driver = driver([step(jolt(json!([{ "operation": "sort" }])))]);
    let value = r#"{"b":123456789012345678901234567890,"a":1.50}"#;
    driver.give(&name("in"), [Record::new(value, Timestamp::NONE)]).unwrap();
    let out = driver.topic(&name("out"))[0].record.value.clone().unwrap();
    assert_eq!(out, r#"{"a":1.5,"b":123456789012345678901234567890}"#);
}

#[test]
fn what_cannot_be_transformed_is_set_aside_with_the_operation() {
    let sparse = json!([{ "operation": "shift", "spec": { "*": "[&]" } }]);
    let mut one = driver([step(jolt(sparse))]);
    give(&mut one, [json!({ "2000000000": 1 }), json!({ "1": 1 })]);
    assert_eq!(values(&one, "out"), [json!([null, 1])]);
    assert!(errors(&one)[0].starts_with("operation 0: "), "{:?}", errors(&one));
    let listed = json!([{ "operation": "shift", "spec": { "list": { "*": "out.&" } } }]);
    let mut two = driver([step(jolt(listed))]);
    let text = Record::new("{\n\"n\" 5}", Timestamp::NONE);
    two.give(&name("in"), [text, record(&json!({ "other": 1 }))]).unwrap();
    let told = errors(&two);
    assert!(told[0].starts_with("input is no JSON: line 2, column 5: "), "{told:?}");
    assert_eq!(told[1], "nothing of the document was matched");
    let step = two.dead_letters("p")[0].header("courant-error-step").unwrap().value.clone();
    assert_eq!(step.unwrap(), "step 1 (jolt)");
}

#[test]
fn a_tombstone_passes_untouched() {
    let mut driver = driver([step(jolt(json!([{ "operation": "sort" }])))]);
    let tombstone = Record { value: None, ..record(&json!(1)).with_key("k") };
    driver.give(&name("in"), [tombstone]).unwrap();
    assert_eq!(driver.topic(&name("out"))[0].record.value, None);
}

#[test]
fn only_one_field_is_replaced() {
    let spec = json!([{ "operation": "shift", "spec": { "x": "y" } }]);
    let plan = JoltPlan { field: Some("a.0".parse().unwrap()), ..jolt(spec) };
    let mut driver = driver([step(plan)]);
    give(
        &mut driver,
        [json!({ "a": [{ "x": 1 }], "b": 2 }), json!({ "b": 2 }), json!({ "a": [{}] })],
    );
    assert_eq!(values(&driver, "out"), [json!({ "a": [{ "y": 1 }], "b": 2 })]);
    let expected = ["field \"a.0\" is missing", "nothing of field \"a.0\" was matched"];
    assert_eq!(errors(&driver), expected);
}

#[test]
fn a_list_becomes_one_record_for_each_item() {
    let spec = json!([{ "operation": "shift", "spec": { "lines": { "*": "[&]" }, "one": "x" } }]);
    let whole = JoltPlan { split: true, ..jolt(spec) };
    let mut parts = driver([step(whole)]);
    let lines = json!({ "lines": [{ "n": 1 }, { "n": 2 }] });
    give(&mut parts, [lines, json!({ "lines": [] }), json!({ "one": 3 })]);
    let expected = [json!({ "n": 1 }), json!({ "n": 2 }), json!({ "x": 3 })];
    assert_eq!(values(&parts, "out"), expected);

    let spec = json!([{ "operation": "shift", "spec": { "*": "[&].v" } }]);
    let field = JoltPlan { split: true, field: Some("l".parse().unwrap()), ..jolt(spec) };
    let mut parts = driver([step(field)]);
    give(&mut parts, [json!({ "l": [7, 8], "k": 1 })]);
    let expected = [json!({ "l": { "v": 7 }, "k": 1 }), json!({ "l": { "v": 8 }, "k": 1 })];
    assert_eq!(values(&parts, "out"), expected);
}

#[test]
fn a_record_names_parts_of_the_specification_and_of_the_context() {
    let spec = json!([
        { "operation": "shift", "spec": { "id": "${header:kind}.id" } },
        { "operation": "modify-overwrite-beta", "spec": { "from": "^place", "topic": "${topic}" } },
    ]);
    let context = Template::new(json!({ "place": "${partition}@${offset}" })).unwrap();
    let mut driver = driver([step(JoltPlan { context: Some(context), ..jolt(spec) })]);
    let given = |kind: &str| record(&json!({ "id": 1 })).with_header("kind", kind.to_owned());
    let records = [given("order"), given("offer"), given("*"), record(&json!({ "id": 1 }))];
    driver.give(&name("in"), records).unwrap();
    let expected = [
        json!({ "order": { "id": 1 }, "from": "0@0", "topic": "in" }),
        json!({ "offer": { "id": 1 }, "from": "0@1", "topic": "in" }),
    ];
    assert_eq!(values(&driver, "out"), expected);
    let told = errors(&driver);
    assert!(
        told[0].starts_with("specification cannot be used: operation 0 > \"id\": "),
        "{told:?}"
    );
    assert!(told[1].starts_with("the record's header \"kind\" is missing"), "{told:?}");
}
