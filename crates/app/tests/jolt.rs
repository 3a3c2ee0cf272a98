//! `courant jolt` as people use it: files, pipes, places of what is wrong.

mod support;

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use support::{courant, courant_ok, root};
use tempfile::TempDir;

const SPEC: &str = r#"[
  // Users by their names.
  { "operation": "shift", "spec": { "user": { "*": "&" } } }
]"#;

/// A folder with files, and words to run the command in it.
struct Desk(TempDir);

impl Desk {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn jolt(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_courant"))
            .arg("jolt")
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that ends early closes its input; what it says is looked at below.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn ok(text: &str) -> (Option<i32>, String, String) {
    (Some(0), text.to_owned(), String::new())
}

#[test]
fn a_document_comes_from_a_file_or_standard_input() {
    let document = "\n{ \"user\":\n  { \"id\": 1.50, \"name\": \"Ada\" } }\n";
    let desk = Desk::with(&[("s.json", SPEC), ("in.json", document)]);
    let compact = "{\"id\":1.5,\"name\":\"Ada\"}\n";
    assert_eq!(said(&desk.jolt(&["--spec", "s.json", "in.json"], "")), ok(compact));
    assert_eq!(said(&desk.jolt(&["--spec", "s.json"], document)), ok(compact));
    let pretty = "{\n  \"id\": 1.5,\n  \"name\": \"Ada\"\n}\n";
    assert_eq!(said(&desk.jolt(&["--spec", "s.json", "-", "--pretty"], document)), ok(pretty));
}

#[test]
fn lines_are_documents_when_the_first_one_is() {
    let desk = Desk::with(&[("s.json", SPEC)]);
    let lines = "{\"user\":{\"id\":1}}\n\n{\"user\":{\"id\":2}}";
    let out = "{\"id\":1}\n{\"id\":2}\n";
    assert_eq!(said(&desk.jolt(&["--spec", "s.json"], lines)), ok(out));
    assert_eq!(said(&desk.jolt(&["--spec", "s.json", "--ndjson"], "")), ok(""));
}

#[test]
fn a_document_that_fails_is_told_with_its_place_and_the_others_go_on() {
    let deep = r#"[{ "operation": "shift", "spec": { "*": "[&]" } }]"#;
    let desk = Desk::with(&[("s.json", deep)]);
    let lines = "{\"0\":1}\n{\"0\":\n{\"2000000000\":1}\n{\"1\":2}\n";
    let (code, out, err) = said(&desk.jolt(&["--spec", "s.json"], lines));
    assert_eq!((code, out.as_str()), (Some(1), "[1]\n[null,2]\n"));
    let told: Vec<&str> = err.lines().collect();
    assert!(told[0].starts_with("standard input:2:6: input is no JSON: "), "{err}");
    assert!(told[1].starts_with("standard input:3: operation 0: "), "{err}");
    assert_eq!(told[2], "error: 2 of 4 documents failed");

    let (code, _, err) = said(&desk.jolt(&["--spec", "s.json"], "{\n\"a\" 1}"));
    assert_eq!(code, Some(1));
    assert!(err.starts_with("standard input:2:5: input is no JSON: "), "{err}");
    let (code, _, err) = said(&desk.jolt(&["--spec", "s.json"], " \n"));
    assert_eq!((code, err.as_str()), (Some(1), "error: standard input holds no document\n"));
}

#[test]
fn everything_wrong_with_a_specification_is_told_with_line_and_column() {
    let wrong = "[\n  { \"operation\": \"shift\", \"spec\": {\n    \"a\": \"x*\" } },\n  { \"operation\": \"shft\" }\n]";
    let desk = Desk::with(&[
        ("s.json", wrong),
        ("broken.json", "[\n  {]"),
        ("bare.json", "{\n \"a\": 5 }"),
    ]);
    let (code, _, err) = said(&desk.jolt(&["--spec", "s.json"], "{}"));
    assert_eq!(code, Some(2));
    let told: Vec<&str> = err.lines().collect();
    let path =
        "s.json:3:5: operation 0 > \"a\": path \"x*\" cannot contain '*'; it says where, not what";
    assert_eq!(told[0], path);
    assert!(told[1].starts_with("s.json:4:3: operation 1: unknown operation \"shft\""), "{err}");
    let (code, _, err) = said(&desk.jolt(&["--spec", "broken.json"], "{}"));
    assert_eq!(code, Some(2));
    assert!(err.starts_with("broken.json:2:4: file is no JSON: "), "{err}");
    let (code, _, err) = said(&desk.jolt(&["--spec", "bare.json", "--operation", "remove"], "{}"));
    assert_eq!(code, Some(2));
    assert!(err.starts_with("bare.json:2:2: \"a\": "), "{err}");
    assert_eq!(said(&desk.jolt(&["--spec", "missing.json"], "{}")).0, Some(2));
    assert_eq!(said(&desk.jolt(&[], "{}")).0, Some(2));
}

#[test]
fn a_bare_operation_and_a_context_are_taken() {
    let modify = r#"{ "who": "=concat(^tenant,'-',@(1,id))" }"#;
    let desk = Desk::with(&[("m.json", modify), ("c.json", r#"{ "tenant": "north" }"#)]);
    let arguments =
        ["--spec", "m.json", "--operation", "modify-overwrite-beta", "--context", "c.json"];
    let out = "{\"id\":\"7\",\"who\":\"north-7\"}\n";
    assert_eq!(said(&desk.jolt(&arguments, "{\"id\":\"7\"}")), ok(out));
    let sorted = desk.jolt(&["--operation", "sort"], "{\"b\":1,\"a\":2}");
    assert_eq!(said(&sorted), ok("{\"a\":2,\"b\":1}\n"));
}

#[test]
fn an_explanation_shows_which_key_met_which_place() {
    let desk = Desk::with(&[("s.json", SPEC)]);
    let input = "{\"user\":{\"id\":7}}";
    let (code, out, _) = said(&desk.jolt(&["--spec", "s.json", "--explain"], input));
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "SPEC                INPUT     DID      OUTPUT");
    let wrote = "0 shift > user > *  /user/id  wrote    /id";
    assert!(lines.contains(&wrote), "{out}");
    assert_eq!(lines.last(), Some(&"{\"id\":7}"));
    let (_, out, _) = said(&desk.jolt(&["--spec", "s.json", "--explain", "--json"], input));
    let explained: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(explained["output"], json!({ "id": 7 }));
    assert_eq!(explained["matches"][1]["key"], json!(["user", "*"]));
    assert_eq!(explained["matches"][1]["output"], json!(["/id"]));
}

#[test]
fn the_tests_of_every_example_pass_and_its_specifications_run() {
    let mut files = 0;
    for folder in fs::read_dir(root().join("examples")).unwrap() {
        let file = folder.unwrap().path().join("courant.yaml");
        if file.exists() {
            let out = courant_ok(&["test", file.to_str().unwrap()]);
            assert!(out.ends_with(" passed, 0 failed\n"), "{out}");
            files += 1;
        }
    }
    assert!(files >= 2);
    let spec = root().join("examples/orders/order.jolt.json");
    let missing = courant(&["jolt", "--spec", spec.to_str().unwrap(), "none.json"]);
    assert_eq!(missing.status.code(), Some(1));
}
