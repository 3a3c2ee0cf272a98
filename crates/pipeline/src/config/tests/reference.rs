//! The JSON Schema and the reference: they agree with what is read.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Memory, WHOLE, connectors, load_from};
use crate::{
    config::{
        examples,
        node::{Node, SourceText},
        reference, schema,
    },
    connector::Connectors,
};

fn json_of(text: &str) -> Value {
    let source = SourceText { name: "f.yaml".into(), text: text.into() };
    Node::parse(&Arc::new(source)).0.expect("a tree").json()
}

/// What the schema with these connectors finds wrong with a file.
pub(super) fn faults_under(connectors: &Connectors, text: &str) -> Vec<String> {
    faults_of(&schema(connectors), &json_of(text))
}

fn faults(file: &Value) -> Vec<String> {
    faults_of(&schema(&connectors()), file)
}

fn faults_of(schema: &Value, file: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(schema).expect("the schema is one");
    validator.iter_errors(file).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_takes_right_files() {
    let file = json_of(
        &WHOLE.replace("mysql: { url: \"${MYSQL_URL}\" }", "web: { method: GET, path: /x }"),
    );
    assert_eq!(faults(&file), Vec::<String>::new());
    assert_eq!(faults(&json_of(examples::WHOLE)), Vec::<String>::new());
}

#[test]
fn the_schema_refuses_wrong_files() {
    let wrong = [
        json!({ "version": 1 }),
        json!({ "version": 2, "name": "x" }),
        json!({ "version": 1, "name": "x", "topic": {} }),
        json!({ "version": 1, "name": "x", "topics": { "t": { "partitions": 0 } } }),
        json!({ "version": 1, "name": "x", "topics": { "a/b": null } }),
        json!({ "version": 1, "name": "x", "sources": { "s": { "to": "t" } } }),
        json!({ "version": 1, "name": "x", "sources": { "s": { "to": "t", "web": { "path": 5 } } } }),
        json!({ "version": 1, "name": "x", "pipelines": { "p": { "from": "t", "steps": [{ "sq": "" }] } } }),
        json!({ "version": 1, "name": "x", "pipelines": { "p": { "from": "t", "to": [{ "hook": 5 }] } } }),
        json!({ "version": 1, "name": "x", "endpoints": { "/x": { "history": "a", "cache": "b" } } }),
    ];
    for file in wrong {
        assert!(!faults(&file).is_empty(), "{file}");
    }
}

#[test]
fn every_example_of_the_reference_loads() {
    let head = "version: 1\nname: x\n";
    let pipeline = |steps: &str, to: &str| {
        let indent = |text: &str| text.replace('\n', "\n      ");
        format!(
            "{head}topics: {{ t: }}\npipelines:\n  p:\n    from: t\n    steps:\n      {}\n    to:\n      {}\n",
            indent(steps),
            indent(to)
        )
    };
    let mut files: Vec<String> = [examples::PROFILES, examples::TOPICS, examples::PIPELINES]
        .iter()
        .map(|example| format!("{head}{example}"))
        .collect();
    files.push(examples::WHOLE.into());
    let (before, _) = examples::WHOLE.split_once("endpoints:").expect("it has endpoints");
    files.push(format!("{before}{}", examples::ENDPOINTS));
    files.extend(examples::STEPS.iter().map(|(_, _, step)| pipeline(step, "- out")));
    files.extend(examples::TARGETS.iter().map(|(_, _, to)| pipeline("- key: a", to)));
    for file in files {
        if let Err(problems) = load_from(&Memory::default().with("app/courant.yaml", &file), None) {
            panic!("{file}\n{problems}");
        }
    }
    let files =
        Memory::default().with("app/courant.yaml", examples::WHOLE).with("t", examples::TESTS);
    let plan = load_from(&files, None).unwrap_or_else(|problems| panic!("{problems}"));
    let tests = crate::config::load_test_file(std::path::Path::new("t"), &plan, &files);
    assert_eq!(tests.unwrap_or_else(|problems| panic!("{problems}")).cases.len(), 1);
}

#[test]
fn the_reference_names_every_key_with_type_default_and_meaning() {
    let text = reference(&connectors());
    for row in [
        "| `memory` | size | `512MiB` | Budget over prefetch, buffers and caches of the whole process. |",
        "| `cleanup` | `delete`, `compact`, `compact_and_delete` | `delete` |",
        "| `retention` | duration or `forever` | `1w` |",
        "| `to` | topic | required | The topic that takes the records. |",
        "| `from` | topic or list of topic | required |",
        "| `on_error.retries` | whole number | `5` |",
        "| `by` | field or list of field | required |",
        "| `indexes` | list of field or list of field |",
        "| `method` | text | required | The HTTP method. |",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
    assert!(text.contains("### `web`\n\nServes a route of these tests.\n\n```yaml\nweb: {"));
}
