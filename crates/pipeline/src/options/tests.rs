//! What the reader of options says about wrong ones.
//!
//! Each test gives options with several faults and compares all that is found;
//! the last ones throw arbitrary JSON at it.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sample {
    /// How often. Not more often than once a millisecond.
    every: Span,
    #[serde(default)]
    format: Format,
    #[schemars(range(min = 1, max = 10))]
    copies: Option<u8>,
    #[serde(default)]
    body: Option<Body>,
    #[serde(default)]
    nested: Vec<Nested>,
    template: Option<Value>,
}

#[derive(Debug, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Json,
    Csv,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Body {
    Inline(String),
    File { path: String },
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nested {
    field: FieldPath,
    size: Option<ByteSize>,
}

fn faults(value: &Value) -> Vec<String> {
    let found = parse::<Sample>(value).expect_err("these options are wrong");
    let line = |problem: &OptionProblem| {
        let remedy = problem.remedy.as_ref().map_or_else(String::new, |text| format!("; {text}"));
        format!("{}: {}{remedy}", problem.path.join("."), problem.what)
    };
    found.iter().map(line).collect()
}

#[test]
fn right_options_are_read() {
    let value = json!({ "every": "1s", "format": "csv", "body": { "file": { "path": "x" } },
        "nested": [{ "field": "a.b", "size": "1MiB" }], "template": { "any": ["thing"] } });
    let sample: Sample = parse(&value).unwrap();
    assert_eq!(sample.every, Span::from_millis(1_000));
    assert_eq!(sample.format, Format::Csv);
    assert_eq!(sample.nested[0].size, Some(ByteSize::from_bytes(1 << 20)));
}

#[test]
fn every_fault_is_found_at_once() {
    let value = json!({ "evry": "1s", "format": "cvs", "copies": 11, "copie": 1,
        "nested": [{ "field": "a..b" }, { "size": 7 }, 3] });
    let expected = [
        r#"evry: unknown key "evry"; did you mean "every"?"#,
        r#"format: unknown value "cvs"; use one of json, csv"#,
        "copies: expected a number of at most 10, found 11",
        r#"copie: unknown key "copie"; did you mean "copies"?"#,
        r#"nested.0.field: field path "a..b" has an empty segment; write names joined by dots"#,
        "nested.1.size: expected a text, found 7; a number of bytes with its unit, such as 64MiB",
        r#"nested.1: missing key "field""#,
        "nested.2: expected a map, found 3",
        r#": missing key "every"; add it: how often"#,
    ];
    assert_eq!(faults(&value), expected);
}

#[test]
fn no_options_are_an_empty_map() {
    assert_eq!(faults(&Value::Null), [r#": missing key "every"; add it: how often"#]);
    assert_eq!(faults(&json!([1])), [": expected a map, found a list"]);
}

#[test]
fn of_several_forms_the_one_that_was_meant_is_explained() {
    let body = |value: Value| faults(&json!({ "every": "1s", "body": value })).join("\n");
    assert_eq!(body(json!({ "fil": {} })), r#"body.fil: unknown key "fil"; did you mean "file"?"#);
    assert_eq!(body(json!({ "file": {} })), r#"body.file: missing key "path""#);
    assert_eq!(body(json!({ "inline": 5 })), "body.inline: expected a text, found 5");
    assert_eq!(body(json!(5)), "body: 5 does not fit here; write exactly one of inline, file");
}

#[test]
fn a_span_without_a_unit_is_explained() {
    let found = faults(&json!({ "every": "100" }));
    assert_eq!(
        found,
        [r#"every: duration "100" has no unit; write one of us, ms, s, m, h, d, w, such as 500ms"#]
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z.0-9]{0,6}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("every".to_owned()),
        Just("body".to_owned()),
        Just("file".to_owned()),
        Just("nested".to_owned()),
        "[a-z]{0,5}",
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_options_panic(value in any_json()) {
        if let Err(found) = parse::<Sample>(&value) {
            prop_assert!(!found.is_empty());
        }
    }
}
