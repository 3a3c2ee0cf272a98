//! The rules of the language, each with a case of its own.
//!
//! Specifications and documents are written as JSON text, so that a case can be pasted
//! into another Jolt. The cases are this repository's; the reference's run beside them in
//! `reference.rs`, where their folder is there.

use courant_jolt::{Custom, Error, Jolt, Registry};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Runs one operation; its spec and the document as text, the result as text.
fn run(operation: &str, spec: &str, input: &str) -> Result<String, String> {
    let text = format!("[{{\"operation\": {operation:?}, \"spec\": {spec}}}]");
    let jolt = Jolt::from_text(&text).map_err(|errors| errors.to_string())?;
    let output = jolt.transform_bytes(input.as_bytes()).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(output).expect("JSON is text"))
}

#[track_caller]
fn check(operation: &str, spec: &str, input: &str, expected: &str) {
    assert_eq!(run(operation, spec, input).as_deref(), Ok(expected), "{spec} on {input}");
}

#[track_caller]
fn refused(operation: &str, spec: &str, why: &str) {
    let error = run(operation, spec, "{}").expect_err(spec);
    assert!(error.starts_with("operation 0") && error.contains(why), "{spec}: {error}");
}

#[track_caller]
fn fails(operation: &str, spec: &str, input: &str) {
    let error = run(operation, spec, input).expect_err(spec);
    assert!(error.starts_with("operation 0: "), "{spec} on {input}: {error}");
}

#[track_caller]
fn shift(spec: &str, input: &str, expected: &str) {
    check("shift", spec, input, expected);
}

#[track_caller]
fn overwrite(spec: &str, input: &str, expected: &str) {
    check("modify-overwrite-beta", spec, input, expected);
}

// The chain.

#[test]
fn a_chain_is_a_list_of_operations_each_with_a_spec() {
    for (spec, why) in [
        ("{}", "list of operations"),
        ("[]", "at least one"),
        ("[1]", "an operation is an object"),
        (r#"[{"spec": {}}]"#, "missing"),
        (r#"[{"operation": " "}]"#, "blank"),
        (r#"[{"operation": 1}]"#, "must be a string"),
        (r#"[{"operation": "shift"}]"#, "needs a \"spec\""),
        (r#"[{"operation": "com.acme.Mine", "spec": {}}]"#, "unknown operation"),
        (r#"[[{"operation": "sort"}]]"#, "an operation is an object"),
    ] {
        let errors = Jolt::from_text(spec).expect_err(spec).to_string();
        assert!(errors.contains(why), "{spec}: {errors}");
    }
}

#[test]
fn everything_wrong_is_told_with_the_operation_and_the_path_of_its_key() {
    let spec = r#"[{"operation": "shift", "spec": {"a": {"b": "x*"}, "c": {}}},
                   {"operation": "remove", "spec": 1}]"#;
    let errors = Jolt::from_text(spec).unwrap_err();
    let places: Vec<_> = errors.0.iter().map(|e| (e.operation, e.path.join("/"))).collect();
    let place = |operation, path: &str| (Some(operation), path.to_owned());
    assert_eq!(places, [place(0, "a/b"), place(0, "c"), place(1, "")]);
}

#[test]
fn a_specification_may_have_comments_and_a_document_not() {
    let jolt = Jolt::from_text("[ // one\n {\"operation\": /* two */ \"sort\"} ]").unwrap();
    assert!(matches!(jolt.transform_bytes(b"{} // no"), Err(Error::Input(_))));
}

#[test]
fn a_single_operation_takes_a_bare_spec() {
    let jolt = Jolt::operation("shift", Some(&json!({"a": "b"}))).unwrap();
    assert_eq!(jolt.transform(json!({"a": 1})).unwrap(), json!({"b": 1}));
    assert!(Jolt::operation("sort", None).is_ok());
    assert!(Jolt::operation("shift", None).is_err());
}

#[derive(Debug)]
struct Wrap(String);

impl Custom for Wrap {
    fn transform(&self, input: Value, context: Option<&Value>) -> Result<Value, String> {
        if input.is_null() {
            return Err("nothing to wrap".to_owned());
        }
        Ok(json!({ &self.0: input, "context": context }))
    }
}

#[test]
fn an_operation_of_ones_own_runs_by_its_name_and_sees_the_context() {
    let mut registry = Registry::default();
    registry.register("wrap", |spec| match spec.and_then(Value::as_str) {
        Some(key) => Ok(Box::new(Wrap(key.to_owned())) as Box<dyn Custom>),
        None => Err("wrap needs a key".to_owned()),
    });
    let spec = json!([{"operation": "wrap", "spec": "in"}, {"operation": "sort"}]);
    let jolt = Jolt::compile_with(&spec, &registry).unwrap();
    let output = jolt.transform_with(json!([1.0]), Some(&json!(7))).unwrap();
    assert_eq!(output.to_string(), r#"{"context":7,"in":[1.0]}"#);
    let error = jolt.transform(Value::Null).unwrap_err();
    assert_eq!((error.operation, error.what.as_str()), (0, "nothing to wrap"));
    let wrong = Jolt::compile_with(&json!([{"operation": "wrap"}]), &registry);
    assert!(wrong.unwrap_err().to_string().contains("wrap needs a key"));
}

#[test]
fn a_batch_goes_on_after_a_document_that_fails() {
    let jolt = Jolt::from_text(r#"[{"operation": "sort"}]"#).unwrap();
    let outcomes = jolt.transform_batch([&b"[1]"[..], b"{", b"2"]);
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

// Shift: the left side.

#[test]
fn shift_alternatives_share_what_is_on_their_right() {
    shift(r#"{"a|b": "x"}"#, r#"{"b": 2, "a": 1}"#, r#"{"x":[1,2]}"#);
}

#[test]
fn shift_keys_are_read_by_kind() {
    for (key, why) in [
        ("a@b", "at its front"),
        ("a$", "at its front"),
        ("a[0]", "must begin"),
        ("a*&", "cannot mix"),
        ("\\^*", "nothing but escaped"),
        ("[x]", "no index"),
        ("&(a)", "no reference"),
        ("#", "no constant"),
    ] {
        refused("shift", &format!("{{{key:?}: \"x\"}}"), why);
    }
}

#[test]
fn shift_refuses_keys_that_mean_the_same_and_what_cannot_have_children() {
    refused("shift", r#"{"$1": "a", "$(1,0)": "b"}"#, "twice");
    refused("shift", "{}", "says nothing");
    refused("shift", r#"{"@": {"a": "b"}}"#, "below");
    refused("shift", r#"{"$": {"a": "b"}}"#, "below");
    refused("shift", r#"{"a": 1}"#, "a place is a string");
}

#[test]
fn shift_specials_run_first_and_block_nothing() {
    shift(
        r##"{"a": "x", "#k": "y", "$": "z", "@": "w"}"##,
        r#"{"a": 1}"#,
        r#"{"y":"k","z":"root","w":{"a":1},"x":1}"#,
    );
}

#[test]
fn shift_takes_literals_in_the_specs_order_and_stars_in_the_documents() {
    shift(r#"{"b": "x", "a": "x"}"#, r#"{"a": 1, "b": 2}"#, r#"{"x":[2,1]}"#);
    shift(r#"{"*": "x"}"#, r#"{"b": 1, "a": 2}"#, r#"{"x":[1,2]}"#);
    shift(r#"{"a": "x", "*b": "x"}"#, r#"{"cb": 1, "a": 2}"#, r#"{"x":[2,1]}"#);
    shift(r#"{"a": "x", "*": "x"}"#, r#"{"c": 1, "a": 2}"#, r#"{"x":[1,2]}"#);
}

#[test]
fn shift_tries_the_more_special_of_several_stars_first() {
    shift(
        r#"{"*": "all.&", "a*": "one.&", "a*c*": "two.&", "a*c*e*": "three.&"}"#,
        r#"{"axcyez": 1, "axcy": 2, "ax": 3, "x": 4}"#,
        r#"{"three":{"axcyez":1},"two":{"axcy":2},"one":{"ax":3},"all":{"x":4}}"#,
    );
    shift(
        r#"{"a*": "x.&", "ab*": "y.&"}"#,
        r#"{"abc": 1, "acc": 2}"#,
        r#"{"y":{"abc":1},"x":{"acc":2}}"#,
    );
}

#[test]
fn shift_stars_capture_a_character_at_least_and_as_few_as_they_can() {
    shift(r#"{"a-*": "x"}"#, r#"{"a-": 1}"#, "null");
    shift(r#"{"*-*": "&(0,1).&(0,2)"}"#, r#"{"a-b-c": 1}"#, r#"{"a":{"b-c":1}}"#);
    shift(r#"{"*.*.*": "x"}"#, r#"{"a.b\n.c": 1}"#, "null");
}

#[test]
fn shift_reads_keys_of_arrays_as_integers() {
    shift(r#"{"01": "a", "+2": "b"}"#, "[7, 8, 9]", r#"{"a":8,"b":9}"#);
    shift(r#"{"[0]": "a"}"#, "[7]", "null");
    fails("shift", r#"{"-1": "a"}"#, "[7]");
}

#[test]
fn shift_takes_a_scalar_for_a_key_without_a_value() {
    shift(r#"{"a": {"yes": "x", "no": "y"}}"#, r#"{"a": "yes"}"#, r#"{"x":null}"#);
    shift(r#"{"a": {"1.0": {"$": "x"}}}"#, r#"{"a": 1.0}"#, r#"{"x":"1.0"}"#);
    shift(r##"{"a": {"true": {"#T": "x"}}}"##, r#"{"a": true}"#, r#"{"x":"T"}"#);
}

#[test]
fn shift_runs_only_the_specials_on_null() {
    shift(r##"{"a": {"#n": "x", "*": "y"}}"##, r#"{"a": null}"#, r#"{"x":"n"}"#);
}

// Shift: levels.

#[test]
fn shift_counts_levels_from_the_leaf_on_the_right_and_from_the_object_on_the_left() {
    shift(r#"{"a": {"b": "&1.&"}}"#, r#"{"a": {"b": 1}}"#, r#"{"a":{"b":1}}"#);
    shift(r#"{"a": {"$": "k", "$1": "r"}}"#, r#"{"a": {}}"#, r#"{"k":"a","r":"root"}"#);
    shift(r#"{"a": {"@(0,b)": "x"}}"#, r#"{"a": {"b": 1}}"#, r#"{"x":1}"#);
    shift(r#"{"a": {"@": "x.&0.&1"}}"#, r#"{"a": 1}"#, r#"{"x":{"a":{"a":1}}}"#);
    fails("shift", r#"{"a": "&9"}"#, r#"{"a": 1}"#);
    fails("shift", r#"{"a": "&(0,1)"}"#, r#"{"a": 1}"#);
    fails("shift", r#"{"a": "&(0,1).[&1].x"}"#, r#"{"a": 1}"#);
}

#[test]
fn shift_counts_the_children_that_matched() {
    shift(
        r#"{"*": {"keep": {"true": {"@2": "x[#4]"}}}}"#,
        r#"[{"keep": false}, {"keep": true, "n": 1}]"#,
        r#"{"x":[null,{"keep":true,"n":1}]}"#,
    );
    shift(
        r#"{"*": {"a": "x[#2].v"}}"#,
        r#"{"p": {"a": 1}, "q": {"a": 2}}"#,
        r#"{"x":[{"v":1},{"v":2}]}"#,
    );
}

// Shift: the right side.

#[test]
fn shift_writes_to_paths_with_keys_and_indices() {
    shift(r#"{"a": "x[1].y"}"#, r#"{"a": 1}"#, r#"{"x":[null,{"y":1}]}"#);
    shift(r#"{"a": "x.[1]"}"#, r#"{"a": 1}"#, r#"{"x":[null,1]}"#);
    shift(r#"{"*": "x[]"}"#, r#"{"a": 1, "b": 2}"#, r#"{"x":[1,2]}"#);
    shift(r#"{"a": ""}"#, r#"{"a": [1]}"#, "[1]");
    shift(r#"{"a": "x..y."}"#, r#"{"a": 1}"#, r#"{"x":{"y":1}}"#);
    shift(r#"{"a": ["x", "y"], "b": null}"#, r#"{"a": 1, "b": 2}"#, r#"{"x":1,"y":1}"#);
    shift(r#"{"*": {"v": "x[&1]"}}"#, r#"[{"v": 1}, {"v": 2}]"#, r#"{"x":[1,2]}"#);
    shift(
        r#"{"*": {"v": "x[&1]"}}"#,
        r#"{"k": {"v": 1}, "3": {"v": 2}}"#,
        r#"{"x":[null,null,null,2]}"#,
    );
    refused("shift", r#"{"a": "x*"}"#, "cannot contain");
    refused("shift", r#"{"a": "x$"}"#, "cannot contain");
}

#[test]
fn shift_takes_values_of_the_document_for_keys() {
    shift(r#"{"v": "@(1,k)"}"#, r#"{"k": "a", "v": 1}"#, r#"{"a":1}"#);
    shift(r#"{"v": "@(1,k)"}"#, r#"{"k": 2.9, "v": 1}"#, r#"{"2":1}"#);
    shift(r#"{"v": "x.@(1,k)"}"#, r#"{"k": [1], "v": 1}"#, "null");
    shift(r#"{"v": "x[@(1,k)]"}"#, r#"{"k": "1", "v": 1}"#, r#"{"x":[null,1]}"#);
}

#[test]
fn shift_makes_a_list_of_a_second_value_and_drops_what_does_not_fit() {
    shift(r#"{"a": "x", "b": "x"}"#, r#"{"a": null, "b": 1}"#, r#"{"x":1}"#);
    shift(r#"{"a": "x", "b": "x"}"#, r#"{"a": 1, "b": null}"#, r#"{"x":[1,null]}"#);
    shift(r#"{"a": "x", "b": "x"}"#, r#"{"a": [1], "b": 2}"#, r#"{"x":[1,2]}"#);
    shift(r#"{"a": "x", "b": "x.y", "c": "x[0]"}"#, r#"{"a": 1, "b": 2, "c": 3}"#, r#"{"x":1}"#);
}

#[test]
fn shift_tells_a_reference_out_of_range_also_where_nothing_would_be_written() {
    fails("shift", r#"{"1": "0.&(0,1)", "*": "[].a"}"#, r#"["x", "y"]"#);
}

#[test]
fn shift_matches_no_key_in_brackets() {
    shift(r#"{"[0]": "x"}"#, r#"["a"]"#, "null");
    shift(r#"{"[0]": "x", "0": "y"}"#, r#"["a"]"#, r#"{"y":"a"}"#);
    refused("shift", r#"{"[0]": "x", "*": "y"}"#, "cannot stand beside");
    fails("shift", r#"{"[&1]": "x"}"#, r#"{"a": 1}"#);
}

#[test]
fn shift_refuses_a_key_of_alternatives_without_a_name() {
    refused("shift", r#"{"||": "x"}"#, "names nothing");
    shift(r#"{"||": 1, "a": "x"}"#, r#"{"a": 1}"#, r#"{"x":1}"#);
}

#[test]
fn shift_escapes_brackets_but_not_empty_ones() {
    shift(r#"{"a": "\\[0]"}"#, r#"{"a": 1}"#, r#"{"[0]":1}"#);
    shift(r#"{"a": "\\[]"}"#, r#"{"a": 1}"#, "[1]");
}

#[test]
fn shift_escapes_give_special_characters() {
    shift(r#"{"\\@a": "x"}"#, r#"{"@a": 1}"#, r#"{"x":1}"#);
    shift(r#"{"a": "x\\.y"}"#, r#"{"a": 1}"#, r#"{"x.y":1}"#);
    shift(r#"{"a": "\\@x"}"#, r#"{"a": 1}"#, r#"{"@x":1}"#);
}

#[test]
fn what_shift_sends_to_two_places_changes_in_one_alone() {
    let spec = r#"[{"operation": "shift", "spec": {"a": ["x", "y"]}},
                   {"operation": "shift", "spec": {"x": "x", "y": ["y", "z"]}},
                   {"operation": "default", "spec": {"x": {"new": 1}}},
                   {"operation": "remove", "spec": {"z": {"k": ""}}}]"#;
    let jolt = Jolt::from_text(spec).unwrap();
    let output = jolt.transform_bytes(br#"{"a": {"k": {"d": 1}}}"#).unwrap();
    let expected = r#"{"x":{"k":{"d":1},"new":1},"y":{"k":{"d":1}},"z":{}}"#;
    assert_eq!(String::from_utf8(output).unwrap(), expected);
}

// Default, remove, cardinality, sort.

#[test]
fn default_fills_what_is_missing_or_null() {
    check(
        "default",
        r#"{"a": 1, "b": {"c": 2}}"#,
        r#"{"a": null, "d": 3}"#,
        r#"{"a":1,"d":3,"b":{"c":2}}"#,
    );
    check("default", r#"{"a": 1}"#, "null", r#"{"a":1}"#);
    check("default", r#"{"a": {"b": 1}}"#, r#"{"a": 5}"#, r#"{"a":5}"#);
}

#[test]
fn default_alternatives_and_stars_touch_only_what_is_there() {
    check(
        "default",
        r#"{"a|b": {"x": 1}, "*": {"y": 2}}"#,
        r#"{"a": {}, "c": {}}"#,
        r#"{"a":{"x":1,"y":2},"c":{"y":2}}"#,
    );
    refused("default", r#"{"a*": 1}"#, "alone");
}

#[test]
fn default_makes_arrays_of_keys_with_brackets() {
    check("default", r#"{"a[]": {"2": "x", "0": "y"}}"#, "{}", r#"{"a":["y",null,"x"]}"#);
    check("default", r#"{"0|1": {"x": 1}}"#, "[{}, {}, {}]", r#"[{"x":1},{"x":1},{}]"#);
    fails("default", r#"{"a": 1}"#, "[]");
    refused("default", r#"{"a[]": {"x": 1}}"#, "no index");
    refused("default", r#"{"a[]": {"2000000000": 1}}"#, "too large");
}

#[test]
fn remove_takes_out_keys_indices_and_stars() {
    check(
        "remove",
        r#"{"a": "", "b": {"c|d": ""}}"#,
        r#"{"a": 1, "b": {"c": 1, "d": 2, "e": 3}}"#,
        r#"{"b":{"e":3}}"#,
    );
    check("remove", r#"{"*": {"x*": ""}}"#, r#"[{"x1": 1, "y": 2}]"#, r#"[{"y":2}]"#);
    check("remove", r#"{"0": "", "2": ""}"#, "[1, 2, 3]", "[2]");
    check("remove", r#"{"1*": ""}"#, "[1, 2]", "[1,2]");
    check("remove", r#"{"@": "", "&": ""}"#, r#"{"@": 1, "&": 2, "a": 3}"#, r#"{"a":3}"#);
    refused("remove", r#"{"a": "x"}"#, "marked with");
}

#[test]
fn cardinality_makes_one_of_many_and_many_of_one() {
    check(
        "cardinality",
        r#"{"a": "ONE", "b": "ONE", "c": "ONE"}"#,
        r#"{"a": [1, 2], "b": [], "c": 3}"#,
        r#"{"a":1,"b":null,"c":3}"#,
    );
    check(
        "cardinality",
        r#"{"a": "MANY", "b": "MANY", "d": "MANY"}"#,
        r#"{"a": 1, "b": null, "c": 0}"#,
        r#"{"b":[],"c":0,"a":[1]}"#,
    );
    check(
        "cardinality",
        r#"{"a": "MANY", "*": "ONE"}"#,
        r#"{"a": [1], "b": [2]}"#,
        r#"{"a":[1],"b":2}"#,
    );
    check(
        "cardinality",
        r#"{"a": {"@": "ONE", "x": "MANY"}}"#,
        r#"{"a": [{"x": 1}]}"#,
        r#"{"a":{"x":[1]}}"#,
    );
    check(
        "cardinality",
        r#"{"a": {"@": "ONE", "x": "MANY"}}"#,
        r#"{"a": {"x": 1}}"#,
        r#"{"a":{"x":1}}"#,
    );
    fails("cardinality", r#"{"0": "ONE"}"#, "[1]");
    fails("cardinality", r#"{"0": {"@": "ONE"}}"#, "0");
    check("cardinality", r#"{"a**": "MANY"}"#, r#"{"abc": 1, "ab": 2}"#, r#"{"ab":2,"abc":[1]}"#);
    check(
        "cardinality",
        r#"{"a": {"@": "ONE"}}"#,
        r#"{"a": {"@": [1, 2]}}"#,
        r#"{"a":{"@":[1,2]}}"#,
    );
    check("cardinality", r#"{"a": {"@": "ONE"}}"#, r#"{"a": [{"@": [1, 2]}]}"#, r#"{"a":{"@":1}}"#);
    fails("cardinality", r#"{"a": {"x": "ONE"}}"#, r#"{"a": "x"}"#);
    refused("cardinality", r#"{"a": "TWO"}"#, "ONE or MANY");
    refused("cardinality", "{}", "says nothing");
}

#[test]
fn sort_orders_keys_everywhere_tildes_first_and_lists_not() {
    let jolt = Jolt::from_text(r#"[{"operation": "sort"}]"#).unwrap();
    let output =
        jolt.transform_bytes(r#"{"b":1,"~z":2,"a":[{"d":3,"c":4}],"ﬁ":5,"😀":6}"#.as_bytes());
    let expected = r#"{"~z":2,"a":[{"c":4,"d":3}],"b":1,"😀":6,"ﬁ":5}"#;
    assert_eq!(String::from_utf8(output.unwrap()).unwrap(), expected);
}

// Modify.

#[test]
fn modify_writes_by_its_mode_or_by_a_keys_prefix() {
    let input = r#"{"a": 1, "b": null}"#;
    let spec = r#"{"a": 9, "b": 9, "c": 9}"#;
    check("modify-overwrite-beta", spec, input, r#"{"a":9,"b":9,"c":9}"#);
    check("modify-default-beta", spec, input, r#"{"a":1,"b":9,"c":9}"#);
    check("modify-define-beta", spec, input, r#"{"a":1,"b":null,"c":9}"#);
    overwrite(r#"{"~a": 9, "~b": 9, "_c": 9}"#, input, r#"{"a":1,"b":9,"c":9}"#);
    check("modify-define-beta", r#"{"+a": 9}"#, input, r#"{"a":9,"b":null}"#);
    overwrite(r#"{"a?": 9, "x?": 9, "y\\?": 9}"#, input, r#"{"a":9,"b":null,"y?":9}"#);
}

#[test]
fn modify_makes_containers_and_lengthens_lists() {
    overwrite(
        r#"{"a": {"b": {"c": 1}}, "l": {"[1]": 2}, "s": {"*": 3}}"#,
        "{}",
        r#"{"a":{"b":{"c":1}},"l":[null,2]}"#,
    );
    overwrite(r#"{"l": {"[1]": 9, "[3]?": 9}}"#, r#"{"l": [1]}"#, r#"{"l":[1,9]}"#);
    overwrite(r#"{"[0]": 8, "[1]": 9, "[00]": 7}"#, "[]", "[7,9]");
    refused("modify-overwrite-beta", r#"{"[0]": 1, "a": 2}"#, "beside each other");
    refused("modify-overwrite-beta", r#"{"": 1}"#, "empty key");
    refused("modify-overwrite-beta", r#"{"[1000000000]": 1}"#, "too large");
}

#[test]
fn modify_runs_literals_then_stars_which_win_but_on_defined_lists() {
    overwrite(r#"{"a": 1, "*": 2}"#, r#"{"a": 0, "b": 0}"#, r#"{"a":2,"b":2}"#);
    overwrite(r#"{"*": 2, "b*": 3}"#, r#"{"a": 0, "bc": 0}"#, r#"{"a":2,"bc":3}"#);
    check(
        "modify-define-beta",
        r#"{"l": {"[2]": 1, "*": 2}}"#,
        r#"{"l": [0]}"#,
        r#"{"l":[0,2,1]}"#,
    );
}

#[test]
fn modify_reads_the_document_the_context_and_the_first_of_a_list() {
    overwrite(r#"{"b": "@(1,a)", "c": "@(1,b)"}"#, r#"{"a": 1}"#, r#"{"a":1,"b":1,"c":1}"#);
    overwrite(
        r#"{"b": ["@(1,x)", "@(1,a)", 9], "c": ["@(1,x)", 9]}"#,
        r#"{"a": 1}"#,
        r#"{"a":1,"b":1,"c":9}"#,
    );
    overwrite(r#"{"b": "@(9,a)"}"#, r#"{"a": 1}"#, r#"{"a":1}"#);
    let spec = json!([{"operation": "modify-overwrite-beta", "spec": {"x": "^a.b", "y": "^"}}]);
    let context = json!({"a": {"b": [1]}});
    let output = Jolt::compile(&spec).unwrap().transform_with(json!({}), Some(&context)).unwrap();
    assert_eq!(output["x"], json!([1]));
}

#[test]
fn modify_puts_a_container_into_itself_as_it_was() {
    overwrite(
        r#"{"a": {"b": "@1", "c": 1}}"#,
        r#"{"a": {"d": 0}}"#,
        r#"{"a":{"d":0,"b":{"d":0},"c":1}}"#,
    );
    overwrite(
        r#"{"a": {"b": "=toList(@(3,a))"}}"#,
        r#"{"a": {"d": 0}}"#,
        r#"{"a":{"d":0,"b":[{"d":0}]}}"#,
    );
}

#[test]
fn modify_functions_that_fail_or_that_nobody_knows_leave_things_alone() {
    overwrite(
        r#"{"a": "=toInteger", "b": "=nothing", "c": "=nothing(5)"}"#,
        r#"{"a": "x", "b": 1}"#,
        r#"{"a":"x","b":1,"c":5}"#,
    );
    refused("modify-overwrite-beta", r#"{"a": "=f)"}"#, "lacks");
    refused("modify-overwrite-beta", r#"{"a": "=size("}"#, "lacks");
    refused("modify-overwrite-beta", r#"{"a": "=size(')"}"#, "single quote");
    refused("modify-overwrite-beta", r#"{"a": "@(1, )"}"#, "blanks or dots");
}

#[test]
fn modify_arguments_are_split_outside_quotes_and_trimmed() {
    overwrite(r#"{"x": "=concat('a,b', ' ', c ,'',1)"}"#, "{}", r#"{"x":"a,b c1"}"#);
    overwrite(r#"{"x": "=concat(a,null,b)", "y": "=size('')"}"#, "{}", r#"{"x":"anullb","y":0}"#);
}

/// A function's result for `v`, or `-` where it gives none.
fn function(call: &str, v: &str) -> String {
    let spec = format!("{{\"r\": {call:?}}}");
    let output = run("modify-overwrite-beta", &spec, &format!("{{\"v\":{v}}}")).expect(call);
    let output: Value = serde_json::from_str(&output).unwrap();
    output.get("r").map_or("-".to_owned(), Value::to_string)
}

#[test]
fn each_function_does_what_its_name_says() {
    for (call, v, expected) in [
        ("=toLower(@(1,v))", r#""ÄB""#, r#""äb""#),
        ("=toUpper(@(1,v))", r#"["a",1]"#, r#"["A",1]"#),
        ("=trim(@(1,v))", r#"" a b ""#, r#""a b""#),
        ("=abs(@(1,v))", r#"[-1,-2.5,"-3"]"#, "[1,2.5,3]"),
        ("=toInteger(@(1,v))", "4294967297", "1"),
        ("=toInteger(@(1,v))", r#"["1","2.9",true]"#, "[1,2,true]"),
        ("=toLong(@(1,v))", "2.9", "2"),
        ("=toDouble(@(1,v))", "3", "3.0"),
        ("=toBoolean(@(1,v))", r#"["TRUE","false",1]"#, "[true,false,1]"),
        ("=toString(@(1,v))", r#"{"a":1,"b":[true,null]}"#, r#""{a=1, b=[true, null]}""#),
        ("=concat(@(1,v),'-',1)", "1.0", r#""1.0-1""#),
        ("=concat(@(1,v))", r#""a""#, "-"),
        ("=substring(@(1,v),1,3)", r#""abcd""#, r#""bc""#),
        ("=substring(@(1,v),1,9)", r#""abcd""#, "-"),
        ("=join(',',@(1,v))", r#"["a",null,"b"]"#, r#""a,b""#),
        ("=join(',',@(1,v))", r#"["a","b",null]"#, r#""a,b,""#),
        ("=split(',',@(1,v))", r#""a,b,,""#, r#"["a","b"]"#),
        ("=split('[0-9]',@(1,v))", r#""a1b2c""#, r#"["a","b","c"]"#),
        ("=split(@(1,v),,)", r#""(""#, "[null,null]"),
        ("=split(@(1,v),a,)", r#""(""#, "-"),
        ("=leftPad(@(1,v),5,'0')", r#""42""#, r#""00042""#),
        ("=rightPad(@(1,v),4,'.')", r#""ab""#, r#""ab..""#),
        ("=leftPad(@(1,v),501,'0')", r#""42""#, "-"),
        ("=min(@(1,v))", "[3,1,2]", "1"),
        ("=max(2,2.5)", "0", "2"),
        ("=max(2,3.5)", "0", "3.5"),
        ("=avg(@(1,v))", "[1,2]", "1.5"),
        ("=intSum(@(1,v))", "[1,2.9]", "3"),
        ("=longSum(@(1,v))", "[2147483647,1]", "2147483648"),
        ("=doubleSum(@(1,v))", r#"[1,"2.5"]"#, "3.5"),
        ("=intSubtract(@(1,v))", "[5,3]", "2"),
        ("=intSubtract(@(1,v))", "[5.0,3]", "-"),
        ("=longSubtract(@(1,v))", "[5,3]", "-"),
        ("=doubleSubtract(@(1,v))", "[5.5,3.0]", "2.5"),
        ("=divide(@(1,v))", "[1,4]", "0.25"),
        ("=divide(@(1,v))", "[1,0]", "-"),
        ("=divideAndRound(2,@(1,v))", "[2,3]", "0.67"),
        ("=firstElement(@(1,v))", "[7,8]", "7"),
        ("=lastElement(@(1,v))", "[7,8]", "8"),
        ("=elementAt(1,@(1,v))", "[7,8]", "8"),
        ("=elementAt(5,@(1,v))", "[7,8]", "-"),
        ("=toList(@(1,v))", "1", "[1]"),
        ("=sort(@(1,v))", "[3,1,2]", "[1,2,3]"),
        ("=sort(@(1,v))", r#"[3,"a"]"#, "-"),
        ("=size(@(1,v))", r#""a😀""#, "3"),
        ("=squashNulls(@(1,v))", r#"{"a":null,"b":[null]}"#, r#"{"b":[null]}"#),
        ("=recursivelySquashNulls(@(1,v))", r#"{"a":null,"b":[null]}"#, r#"{"b":[]}"#),
        ("=squashDuplicates(@(1,v))", "[1,1.0,1,2]", "[1,1.0,2]"),
        ("=noop(@(1,v))", "1", "-"),
        ("=isPresent(@(1,v))", "null", "null"),
        ("=notNull(@(1,v))", "null", "-"),
        ("=isNull(@(1,v))", "1", "-"),
    ] {
        assert_eq!(function(call, v), expected, "{call} of {v}");
    }
}

#[test]
fn the_current_value_is_squashed_whatever_the_mode() {
    for (operation, spec) in [
        ("modify-default-beta", r#"{"v": "=squashNulls"}"#),
        ("modify-define-beta", r#"{"*": "=recursivelySquashNulls"}"#),
        ("modify-overwrite-beta", r#"{"_v": "=squashNulls"}"#),
    ] {
        check(operation, spec, r#"{"v": [1, null]}"#, r#"{"v":[1]}"#);
        check(operation, spec, r#"{"v": null}"#, r#"{"v":null}"#);
    }
}

#[test]
fn squashing_a_copy_leaves_the_original() {
    overwrite(
        r#"{"r": "=squashNulls(@(1,v))"}"#,
        r#"{"v": [1, null]}"#,
        r#"{"v":[1,null],"r":[1]}"#,
    );
}

// Anything.

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]",
        "[01]",
        Just("*".to_owned()),
        "[a-b*&@$#|.\\[\\]()0-2,\\\\?+~_]{1,6}",
        "(@|\\$|&)\\([0-2],[a-b0-1]\\)",
    ]
}

fn leaves() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[ab]{0,2}".prop_map(Value::from),
        "([ab]|&|&1|\\[\\]|\\[&1\\]|\\[#2\\]|@\\(1,a\\)|\\.){0,4}".prop_map(Value::from),
        "=(size|toList|concat|join|split|squashNulls|sort|max|toString|abs)(\\((@\\([1-3],[ab]\\)|[a-b0-1,']){0,3}\\))?"
            .prop_map(Value::from),
        Just(json!("ONE")),
        Just(json!("MANY")),
        Just(json!("")),
        Just(Value::Null),
        (-2i64..3).prop_map(Value::from),
    ]
}

fn specs() -> impl Strategy<Value = Value> {
    let tree = leaves().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec((keys(), inner.clone()), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    });
    let operation = prop::sample::select(vec![
        "shift",
        "default",
        "remove",
        "sort",
        "cardinality",
        "modify-overwrite-beta",
        "modify-default-beta",
        "modify-define-beta",
    ]);
    prop::collection::vec((operation, tree), 1..4).prop_map(|operations| {
        operations
            .into_iter()
            .map(|(name, spec)| json!({"operation": name, "spec": spec}))
            .collect()
    })
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        (-3.0..3.0f64).prop_map(Value::from),
        "[ab01]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[ab01]{1,2}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_specification_and_no_document_break_it(spec in specs(), document in documents()) {
        if let Ok(jolt) = Jolt::compile(&spec) {
            let bytes = serde_json::to_vec(&document).unwrap();
            let tree = jolt.transform(document);
            let text = jolt.transform_bytes(&bytes);
            prop_assert_eq!(tree.is_ok(), text.is_ok());
            if let (Ok(tree), Ok(text)) = (tree, text) {
                let again: Value = serde_json::from_slice(&text).unwrap();
                prop_assert_eq!(again, tree);
            }
        }
    }

    /// A chain gives what its operations give one after the other, with the document
    /// written and read again in between: nothing is shared behind anybody's back.
    #[test]
    fn a_chain_is_its_operations_one_after_the_other(spec in specs(), document in documents()) {
        let Ok(jolt) = Jolt::compile(&spec) else { return Ok(()) };
        let whole = jolt.transform_bytes(&serde_json::to_vec(&document).unwrap());
        let mut step = Ok(serde_json::to_vec(&document).unwrap());
        for operation in spec.as_array().unwrap() {
            let one = Jolt::compile(&json!([operation])).unwrap();
            step = step.and_then(|bytes| one.transform_bytes(&bytes));
        }
        prop_assert_eq!(whole.is_ok(), step.is_ok());
        if let (Ok(whole), Ok(step)) = (whole, step) {
            prop_assert_eq!(String::from_utf8(whole).unwrap(), String::from_utf8(step).unwrap());
        }
    }
}
