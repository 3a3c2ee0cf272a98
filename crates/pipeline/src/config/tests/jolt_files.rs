//! Specifications in files: judged while the file is read, each fault at its key.

use super::{Memory, load_from};
use crate::plan::{JoltPlan, StepPlan};

const HEAD: &str = "version: 1
name: x
topics:
  in:
pipelines:
  p:
    from: in
    to: out
    steps:
";

const SPEC: &str = r#"[
  // What the shop calls it.
  { "operation": "shift", "spec": { "id": "order.id" } },
  { "operation": "default",
    "spec": { "order": { "by": "${header:shop:-web}", "$${x": 1 } } }
]"#;

/// What is said about a step, with a specification in a file; lines of steps begin at 10.
fn problems_of(step: &str, spec: &str) -> String {
    let files = Memory::default()
        .with("app/courant.yaml", &format!("{HEAD}{step}"))
        .with("app/order.json", spec);
    match load_from(&files, None) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string().replace("app/courant.yaml:", ""),
    }
}

fn plan_of(step: &str) -> JoltPlan {
    let files = Memory::default()
        .with("app/courant.yaml", &format!("{HEAD}{step}"))
        .with("app/order.json", SPEC);
    let plan = load_from(&files, None).unwrap_or_else(|problems| panic!("{problems}"));
    let StepPlan::Jolt(jolt) = &plan.pipelines["p"].steps[0] else { panic!("a jolt step") };
    (**jolt).clone()
}

#[test]
fn a_specification_stands_in_the_file_or_in_its_own() {
    let from_file = plan_of("      - jolt: { file: order.json, field: a.b, split: true }\n");
    assert_eq!(from_file.file.as_deref(), Some("order.json".as_ref()));
    assert!(from_file.split && from_file.field == Some("a.b".parse().unwrap()));
    let listed = "      - jolt:
          - { operation: shift, spec: { id: order.id } }
          - { operation: default, spec: { order: { by: '${header:shop:-web}', '$${x': 1 } } }\n";
    assert_eq!(plan_of(listed).spec, from_file.spec);
    let options = listed.replace("jolt:\n", "jolt:\n         spec:\n");
    assert_eq!(plan_of(&options).spec, from_file.spec);
}

#[test]
fn every_fault_of_a_list_is_told_at_its_key() {
    let step = r#"      - jolt:
          - { operation: shift, spec: { a: { b: "x*" } } }
          - { operation: shft, spec: {} }
          - { operation: default, spec: { "a": "${topik}" } }
      - jolt: [ { operation: remove, spec: { a: 5 } } ]
"#;
    let told = problems_of(step, "");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "11:46: path \"x*\" cannot contain '*'; it says where, not what");
    assert!(lines[1].starts_with("12:13: unknown operation \"shft\"; known are shift"), "{told}");
    let unknown = "13:43: unknown placeholder \"topik\" of a record; did you mean \"topic\"?";
    assert_eq!(lines[2], unknown);
    assert_eq!(lines[3], "14:46: what is removed is marked with \"\", not with a number");
}

#[test]
fn every_fault_of_a_file_is_told_at_its_key_there() {
    let step = "      - jolt: { file: order.json }\n";
    assert_eq!(problems_of(step, SPEC), "");
    let wrong = SPEC.replace("\"order.id\"", "\"order.*\"");
    assert_eq!(
        problems_of(step, &wrong),
        "app/order.json:3:37: path \"order.*\" cannot contain '*'; it says where, not what"
    );
    assert_eq!(
        problems_of(step, &SPEC.replace("header:", "haeder:")),
        "app/order.json:5:26: unknown placeholder \"haeder:shop\" of a record; there are topic, \
         partition, offset, timestamp, key, header:NAME; write $${ for the text"
    );
    let told = problems_of(step, &SPEC.replace("[\n", "[\n,"));
    assert!(told.starts_with("app/order.json:2:1: specification is no JSON: "), "{told}");
    let told = problems_of("      - jolt: { file: none.json }\n", SPEC);
    assert_eq!(told, "10:17: file \"app/none.json\" cannot be read: no such file");
}

#[test]
fn only_operations_that_name_no_part_of_the_record_are_judged_ahead() {
    let step = |path: &str| {
        format!("      - jolt: [ {{ operation: shift, spec: {{ a: \"{path}\" }} }} ]\n")
    };
    assert_eq!(problems_of(&step("x.${header:to}"), ""), "");
    assert_eq!(problems_of(&step("*.${header:to}"), ""), "");
    assert_eq!(
        problems_of(&step("x.${offset}"), ""),
        "10:9: specification names the offset, which is another for each record; put it into \
         \"context\" and read it with ^"
    );
}

#[test]
fn variables_of_the_environment_have_a_prefix_where_the_record_has_placeholders() {
    let step = "      - jolt:
          spec: [ { operation: default, spec: { a: \"${env:PATH_OF_ORDERS}\", b: \"$${env:X}\" } } ]
          context: { secret: \"${env:SECRET}\", topic: \"${topic}\" }
";
    let plan = plan_of(step);
    let spec = &plan.spec.json()[0]["spec"];
    assert_eq!((&spec["a"], &spec["b"]), (&"/orders".into(), &"$${env:X}".into()));
    assert_eq!(plan.context.unwrap().json()["secret"], "s3cret-token");
    let field = "      - jolt: { file: order.json, field: \"${NOT_SET}\" }\n";
    assert!(problems_of(field, SPEC).contains("variable \"NOT_SET\" is not set"));
    let told = problems_of(&step.replace("SECRET", "NOT_SET"), SPEC);
    assert_eq!(
        told,
        "12:30: variable \"NOT_SET\" is not set; set it, or give a default: ${NOT_SET:-…}"
    );
}

#[test]
fn a_step_has_one_specification() {
    let both = "      - jolt: { file: order.json, spec: [ { operation: sort } ] }\n";
    assert_eq!(
        problems_of(both, SPEC),
        "10:17: jolt step has both \"spec\" and \"file\"; keep one"
    );
    let told = problems_of("      - jolt: { specs: [] }\n", SPEC);
    assert!(told.contains("unknown key \"specs\"; did you mean \"spec\"?"), "{told}");
    let told = problems_of("      - jolt: []\n", SPEC);
    assert_eq!(told, "10:9: a specification needs at least one operation");
}
