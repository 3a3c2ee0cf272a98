//! What hostile specifications and documents end with: an error, while memory and work
//! are still small.
//!
//! Each case asks for gigabytes with a few kilobytes or megabytes of text. Memory is read
//! from the arena, which has taken all of it.

use courant_jolt::{Arena, Jolt, limits, parse};
use serde_json::{Value, json};

/// The most that a transform may have taken from the system when it ends: the bound and
/// one piece that goes beyond it, doubled as the arena doubles its pieces.
const TAKEN_BYTES_MAX: usize = 2 * limits::MEMORY_BYTES_MAX + 64 * 1024 * 1024;

#[track_caller]
fn ends(spec: &Value, input: &Value, why: &str) {
    let jolt = Jolt::compile(spec).unwrap();
    let (arena, input) = (Arena::new(), input.to_string());
    let document = parse(&arena, input.as_bytes()).unwrap();
    let before = arena.allocated_bytes();
    let outcome = jolt.apply(&arena, document, None);
    let error = outcome.map(|_| "an output").unwrap_err();
    assert!(error.what.contains(why), "{error}");
    let taken = arena.allocated_bytes() - before;
    assert!(taken <= TAKEN_BYTES_MAX + before, "{taken} bytes taken");
}

fn shift(spec: &Value) -> Value {
    json!([{"operation": "shift", "spec": spec}])
}

fn overwrite(spec: &Value) -> Value {
    json!([{"operation": "modify-overwrite-beta", "spec": spec}])
}

#[test]
fn many_small_objects_end_at_the_bound_on_memory() {
    let spec = shift(&json!({"*": ["a[&].b.c", "d[&].e.f", "g[&].h.i"]}));
    ends(&spec, &json!(vec![0; 400_000]), "bytes of memory");
}

#[test]
fn keys_made_to_be_compared_end_at_the_bound_on_memory() {
    let long = "x".repeat(10_000);
    let spec = shift(&json!({"a": {"*": {(format!("&{long}")): "b", "*": "c"}}}));
    ends(&spec, &json!({"a": vec![json!([1, 2]); 50_000]}), "bytes of memory");
}

#[test]
fn copies_of_what_is_changed_end_at_the_bound_on_memory() {
    let big: Value = (0..2_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let keys: Value = (0..3_000).map(|n| (format!("k{n}"), json!({}))).collect();
    let spec = json!([
        {"operation": "shift", "spec": {"keys": {"*": {"@(2,big)": "out.&1"}}}},
        {"operation": "default", "spec": {"out": {"*": {"new": 1}}}},
    ]);
    ends(&spec, &json!({"keys": keys, "big": big}), "bytes of memory");
}

#[test]
fn a_long_text_in_many_places_ends_at_the_bound_on_text() {
    let long = "x".repeat(1024 * 1024);
    let places: Vec<String> = (0..1_000).map(|n| format!("p{n}")).collect();
    ends(&shift(&json!({"a": places})), &json!({"a": long}), "bytes of text");
    let keys = json!({"a": vec![0; 1_000]});
    ends(&shift(&json!({"*": {"*": {(format!("#{long}")): "p[]"}}})), &keys, "bytes of text");
    let fill = json!([{"operation": "default", "spec": {"a[]": {"*": long}}}]);
    ends(&fill, &json!({"a": vec![Value::Null; 1_000]}), "bytes of text");
    ends(&overwrite(&json!({"a": {"*": long}})), &keys, "bytes of text");
    let lists = overwrite(&json!({"a": {"*": "=toList(@(2,b))"}}));
    ends(&lists, &json!({"a": vec![0; 1_000], "b": long}), "bytes of text");
}

#[test]
fn text_that_a_function_multiplies_ends_at_the_bound_on_text() {
    let twice =
        json!({"operation": "modify-overwrite-beta", "spec": {"a": "=concat(@(1,a),@(1,a))"}});
    ends(&json!(vec![twice; 60]), &json!({"a": "x"}), "bytes of text");
}

#[test]
fn a_document_that_doubles_ends_at_a_bound() {
    let one = json!({"operation": "shift", "spec": {"@": ["a", "b"]}});
    ends(&json!(vec![one; 100]), &json!({"x": 1}), "the result is");
}

#[test]
fn an_index_does_not_take_the_memory() {
    ends(&shift(&json!({"a": "x[2000000000]"})), &json!({"a": 1}), "too large");
    ends(&shift(&json!({"a": "x[@(1,a)]"})), &json!({"a": 2_000_000_000}), "too large");
    let lists: Vec<String> = (0..100).map(|n| format!("l{n}[999999]")).collect();
    ends(&shift(&json!({"a": lists})), &json!({"a": 1}), "too large");
}

#[test]
fn places_that_lead_nowhere_are_matches_tried() {
    let void = format!("[@(1,none)]{}", ".a".repeat(400));
    ends(&shift(&json!({"*": vec![void; 100]})), &json!(vec![0; 4_000]), "matches tried");
}

#[test]
fn expressions_that_a_document_brings_are_paid_for() {
    let spec = overwrite(&json!({"a": {"*": "=split(@(2,re),@(2,text))"}}));
    let input = json!({"re": "a{1,9}b{1,9}", "text": "aab", "a": vec![0; 20_000]});
    ends(&spec, &input, "matches tried");
}

#[test]
fn duplicates_among_many_are_found_without_comparing_all_with_all() {
    let spec = overwrite(&json!({"a": "=squashDuplicates(@(1,a))"}));
    let items: Vec<Value> = (0..100_000).map(|n| json!({"n": n / 2, "m": [n / 2]})).collect();
    let output = Jolt::compile(&spec).unwrap().transform(json!({ "a": items })).unwrap();
    assert_eq!(output["a"].as_array().map(Vec::len), Some(50_000));
}
