//! Explanations: which key met which place, and what came of it.
//!
//! Each case is written as lines `key: input action output`; keys and places are JSON
//! pointers. That a transform and its explanation give the same is checked in all of them.

use courant_jolt::{Action, Jolt, Match, limits};
use serde_json::{Value, json};

fn line(found: &Match) -> String {
    let key: String = found.key.iter().map(|key| format!("/{key}")).collect();
    let action = serde_json::to_value(found.action).unwrap();
    let action = action.as_str().unwrap();
    let line = format!("{key}: {} {action} {}", found.input, found.output.join(" "));
    line.trim_end().to_owned()
}

/// Explains one operation; all lines but those of keys that only lead to others.
#[track_caller]
fn check(operation: &str, spec: &str, input: &str, expected: &[&str]) {
    let text = format!("[{{\"operation\": {operation:?}, \"spec\": {spec}}}]");
    let jolt = Jolt::from_text(&text).unwrap();
    let explained = jolt.explain_bytes(input.as_bytes(), None).unwrap();
    assert_eq!(explained.output, Ok(jolt.transform_bytes(input.as_bytes()).unwrap()));
    assert!(!explained.truncated);
    let matches = explained.matches.iter().filter(|found| found.action != Action::Entered);
    assert_eq!(matches.map(line).collect::<Vec<_>>(), expected, "{spec} on {input}");
    assert!(explained.matches.iter().all(|found| found.name == operation));
}

#[test]
fn a_shift_tells_where_each_value_came_from_and_went() {
    check(
        "shift",
        r#"{"user": {"id": "key", "tag-*": "tags.&(0,1)"}, "items": {"*": {"sku": "list[&1].sku"}}}"#,
        r#"{"user": {"id": 7, "tag-a": 1, "other": 2}, "items": [{"sku": "A"}, {}, {"sku": "B"}]}"#,
        &[
            "/user/id: /user/id wrote /key",
            "/user/tag-*: /user/tag-a wrote /tags/a",
            "/items/*/sku: /items/0/sku wrote /list/0/sku",
            "/items/*/sku: /items/2/sku wrote /list/2/sku",
        ],
    );
}

#[test]
fn keys_that_led_to_others_are_told_before_them() {
    let jolt = Jolt::compile(&json!([{"operation": "shift", "spec": {"a": {"*": {"c": "x"}}}}]));
    let explained = jolt.unwrap().explain(&json!({"a": {"b": {}}}), None);
    let lines: Vec<_> = explained.matches.iter().map(line).collect();
    assert_eq!(lines, ["/a: /a entered", "/a/*: /a/b entered"]);
    assert_eq!(explained.output, Ok(Value::Null));
}

#[test]
fn alternatives_are_told_as_the_key_that_they_are_written_in() {
    check("shift", r#"{"a|b": "x"}"#, r#"{"b": 1}"#, &["/a|b: /b wrote /x"]);
}

#[test]
fn a_value_that_goes_to_several_places_tells_all_of_them() {
    check("shift", r#"{"a": ["x", "y.z"]}"#, r#"{"a": 1}"#, &["/a: /a wrote /x /y/z"]);
}

#[test]
fn values_that_meet_in_one_place_tell_the_item_that_each_became() {
    check(
        "shift",
        r#"{"*": "all", "a": "ends[]", "b": "ends[]"}"#,
        r#"{"c": 1, "d": 2, "e": 3, "a": 4, "b": 5}"#,
        &[
            "/*: /c wrote /all",
            "/*: /d wrote /all/1",
            "/*: /e wrote /all/2",
            "/a: /a wrote /ends/0",
            "/b: /b wrote /ends/1",
        ],
    );
}

#[test]
fn what_a_shift_takes_from_elsewhere_tells_where_it_was_found() {
    check(
        "shift",
        r##"{"a": {"*": {"@(2,name)": "n[]", "$": "keys[]", "$1": "above", "#x": "const", "@": "self[]"}}}"##,
        r#"{"name": "N", "a": {"k": 1}}"#,
        &[
            "/a/*/@(2,name): /name wrote /n/0",
            "/a/*/$: /a/k wrote /keys/0",
            "/a/*/$1: /a wrote /above",
            "/a/*/#x: /a/k wrote /const",
            "/a/*/@: /a/k wrote /self/0",
        ],
    );
}

#[test]
fn keys_below_a_value_from_elsewhere_tell_its_places() {
    check(
        "shift",
        r#"{"a": {"@(1,b)": {"c": "x"}}}"#,
        r#"{"a": {}, "b": {"c": 1}}"#,
        &["/a/@(1,b)/c: /b/c wrote /x"],
    );
}

#[test]
fn a_scalar_that_is_a_key_tells_its_own_place() {
    check(
        "shift",
        r#"{"a": {"yes": {"@1": "x"}}}"#,
        r#"{"a": "yes"}"#,
        &["/a/yes/@1: /a wrote /x"],
    );
}

#[test]
fn what_a_shift_cannot_write_is_told_as_dropped() {
    check(
        "shift",
        r#"{"a": "x", "b": "x.y", "c": null, "d": "[@(1,none)]"}"#,
        r#"{"a": 1, "b": 2, "c": 3, "d": 4}"#,
        &["/a: /a wrote /x", "/b: /b dropped", "/c: /c dropped", "/d: /d dropped"],
    );
}

#[test]
fn a_default_tells_what_it_filled_and_what_was_there() {
    check(
        "default",
        r#"{"a": 1, "b": {"c": 2}, "d[]": {"1": "x"}, "e|f": 3, "b|z": {"*": 4}}"#,
        r#"{"a": 0, "e": null, "b": {"n": null}}"#,
        &[
            "/a: /a kept",
            "/b/c: /b/c defaulted /b/c",
            "/d[]/1: /d/1 defaulted /d/1",
            "/b|z/*: /b/n defaulted /b/n",
            "/b|z/*: /b/c kept",
            "/e|f: /e defaulted /e",
        ],
    );
    check("default", r#"{"0": 1, "*": 2}"#, "[null]", &["/0: /0 defaulted /0", "/*: /0 kept"]);
    check("default", r#"{"a": {"b": 1}}"#, r#"{"a": 5}"#, &["/a: /a kept"]);
}

#[test]
fn a_remove_tells_what_went() {
    check(
        "remove",
        r#"{"a": {"x*": ""}, "l": {"*": {"z": ""}, "1": ""}, "none": ""}"#,
        r#"{"a": {"x1": 1, "y": 2, "x2": 3}, "l": [{"z": 1}, 5]}"#,
        &[
            "/a/x*: /a/x1 removed",
            "/a/x*: /a/x2 removed",
            "/l/*/z: /l/0/z removed",
            "/l/1: /l/1 removed",
        ],
    );
}

#[test]
fn a_modify_tells_what_it_changed_and_what_stayed() {
    check(
        "modify-overwrite-beta",
        r#"{"a": "=toUpper", "b": "=toInteger", "~c": 1, "new": {"x": "=concat(@(2,a),'!')"}, "l": {"*": "=abs"}, "gone?": 1}"#,
        r#"{"a": "x", "b": "text", "c": 0, "l": [-1, "no"]}"#,
        &[
            "/a: /a modified /a",
            "/b: /b kept",
            "/~c: /c kept",
            "/new/x: /new/x modified /new/x",
            "/l/*: /l/0 modified /l/0",
            "/l/*: /l/1 kept",
        ],
    );
    check(
        "modify-define-beta",
        r#"{"[1]": 1, "[0]": 2}"#,
        "[9]",
        &["/[1]: /1 modified /1", "/[0]: /0 kept"],
    );
}

#[test]
fn a_cardinality_tells_what_it_changed() {
    check(
        "cardinality",
        r#"{"a": "ONE", "b": "ONE", "m*": "MANY", "d": {"@": "MANY", "*": {"x": "ONE"}}}"#,
        r#"{"a": [1, 2], "b": 3, "m1": 4, "m2": [], "d": {"x": [5]}}"#,
        &[
            "/a: /a adjusted /a",
            "/b: /b kept",
            "/m*: /m1 adjusted /m1",
            "/m*: /m2 kept",
            "/d/@: /d adjusted /d",
            "/d/*/x: /d/0/x adjusted /d/0/x",
        ],
    );
}

#[test]
fn operations_are_told_apart_and_one_without_keys_is_told_once() {
    let spec = json!([
        {"operation": "sort"},
        {"operation": "shift", "spec": {"a": "b"}},
        {"operation": "modify-default-beta", "spec": {"c": 1}},
    ]);
    let explained = Jolt::compile(&spec).unwrap().explain(&json!({"a": 1}), None);
    let told = explained.matches.iter().map(|found| (found.operation, &*found.name, found.action));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (0, "sort", Action::Ran),
            (1, "shift", Action::Wrote),
            (2, "modify-default-beta", Action::Modified),
        ]
    );
}

#[test]
fn pointers_escape_what_is_special_in_them() {
    check("shift", r#"{"*": "&"}"#, r#"{"a/b~c": 1}"#, &["/*: /a~1b~0c wrote /a~1b~0c"]);
}

#[test]
fn values_are_told_as_json_and_long_ones_by_their_front() {
    let jolt = Jolt::compile(&json!([{"operation": "shift", "spec": {"*": "&"}}])).unwrap();
    let input = json!({"a": {"b": [1, "x"]}, "long": "é".repeat(100), "many": vec![7; 1000]});
    let explained = jolt.explain(&input, None);
    let values: Vec<_> = explained.matches.iter().map(|m| m.value.clone().unwrap()).collect();
    assert_eq!(values[0], r#"{"b":[1,"x"]}"#);
    assert!(values[1].starts_with("\"éé") && values[1].ends_with("é…"), "{}", values[1]);
    assert!(values[2].starts_with("[7,7,") && values[2].ends_with('…'), "{}", values[2]);
    assert!(values.iter().all(|value| value.len() <= limits::SHORT_BYTES_MAX + '…'.len_utf8()));
}

#[test]
fn after_an_error_the_matches_lead_to_it() {
    let spec = r#"[{"operation": "shift", "spec": {"a": "x", "b": {"c": "&9"}}}]"#;
    let explained = Jolt::from_text(spec).unwrap().explain(&json!({"a": 1, "b": {"c": 2}}), None);
    assert_eq!(explained.output.unwrap_err().operation, 0);
    let lines: Vec<_> = explained.matches.iter().map(line).collect();
    assert_eq!(lines, ["/a: /a wrote /x", "/b: /b entered"]);
}

#[test]
fn too_many_matches_are_cut_and_said_to_be() {
    let jolt = Jolt::compile(&json!([{"operation": "shift", "spec": {"*": "all[]"}}])).unwrap();
    let explained = jolt.explain(&json!(vec![1; limits::MATCHES_MAX + 1]), None);
    assert_eq!(explained.matches.len(), limits::MATCHES_MAX);
    assert!(explained.truncated && explained.output.is_ok());
    let long = Value::String("k".repeat(limits::EXPLAINED_BYTES_MAX / 4));
    let input = json!({ "list": vec![long; 8] });
    let spec = json!([{"operation": "shift", "spec": {"list": {"*": {"*": {"$": "all[]"}}}}},
                      {"operation": "shift", "spec": {"all": {"*": {"*": "&"}}}}]);
    let explained = Jolt::compile(&spec).unwrap().explain(&input, None);
    let bytes: usize = explained.matches.iter().flat_map(|m| &m.output).map(String::len).sum();
    assert!(explained.truncated && bytes < 2 * limits::EXPLAINED_BYTES_MAX, "{bytes}");
}

#[test]
fn input_that_is_no_json_is_refused() {
    let jolt = Jolt::compile(&json!([{"operation": "sort"}])).unwrap();
    assert_eq!(jolt.explain_bytes(b"{\n x", None).unwrap_err().line, 2);
}
