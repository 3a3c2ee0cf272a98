//! The tree: what texts mean, where things stand, and what hostile files do.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> (Option<Node>, Vec<Fault>) {
    Node::parse(&Arc::new(SourceText { name: "f.yaml".into(), text: text.into() }))
}

fn tree(text: &str) -> Node {
    let (root, faults) = read(text);
    assert!(faults.is_empty(), "{faults:?}");
    root.expect("the file has a value")
}

fn only_fault(text: &str) -> String {
    let (_, faults) = read(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    let remedy = faults[0].remedy.as_ref().map_or_else(String::new, |text| format!("; {text}"));
    format!("{}: {}{remedy}", faults[0].place, faults[0].what)
}

#[test]
fn plain_texts_mean_what_the_core_schema_says() {
    let text = "[1, -2, +3, 0x1F, 0o17, 1.5, 1e3, true, ~, null, yes, .inf, 2026-01-01, 1.2.3, '1', !!str 1]";
    let expected = json!([
        1,
        -2,
        3,
        31,
        15,
        1.5,
        1000.0,
        true,
        null,
        null,
        "yes",
        ".inf",
        "2026-01-01",
        "1.2.3",
        "1",
        "1"
    ]);
    assert_eq!(tree(text).json(), expected);
}

#[test]
fn everything_knows_its_place() {
    let root = tree("a: 1\nb:\n  - x\n  - { c: y }\n");
    let b = root.entry("b").unwrap();
    assert_eq!(b.key_spot.place().to_string(), "f.yaml:2:1");
    let Yaml::List(items) = &b.node.yaml else { panic!("b is a list") };
    assert_eq!(items[0].spot.place().to_string(), "f.yaml:3:5");
    let c = items[1].entry("c").unwrap();
    assert_eq!(c.key_spot.place().to_string(), "f.yaml:4:7");
    assert_eq!(c.node.spot.place().to_string(), "f.yaml:4:10");
}

#[test]
fn places_within_texts_follow_the_way_they_are_written() {
    let place = |text: &str, line, column| {
        tree(text).entry("a").unwrap().node.place_within(line, column).to_string()
    };
    assert_eq!(place("a: |\n  SELECT\n    x\n", 2, 3), "f.yaml:3:5");
    assert_eq!(place("a: |\n\n  SELECT\n", 2, 1), "f.yaml:3:3");
    assert_eq!(place("a: SELECT x\n", 1, 8), "f.yaml:1:11");
    assert_eq!(place("a: 'SELECT x'\n", 1, 8), "f.yaml:1:12");
    assert_eq!(place("a: SELECT\n   x,\n   y\n", 1, 11), "f.yaml:3:4");
    assert_eq!(place("a: >\n  SELECT\n  x\n", 1, 8), "f.yaml:3:3");
    assert_eq!(place("a: x\n", 9, 9), "f.yaml:1:4");
}

#[test]
fn aliases_are_copied_in() {
    assert_eq!(tree("a: &x [1, {b: 2}]\nc: *x\n").json()["c"], json!([1, { "b": 2 }]));
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
    }
    assert!(only_fault(&text).contains("file has more than 250000 values, aliases included"));
}

#[test]
fn aliases_cannot_nest_deeper_than_the_bound() {
    let mut text = "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n".to_owned();
    for level in 1..20 {
        text += &format!("a{level}: &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1);
    }
    assert!(only_fault(&text).contains("file is nested deeper than 128 levels"));
}

#[test]
fn faults_of_the_text_have_a_place_and_a_remedy() {
    assert_eq!(
        only_fault("a: 1\nb: 2\na: 3\n"),
        "f.yaml:3:1: key \"a\" is repeated; it is there already at f.yaml:1:1"
    );
    assert_eq!(only_fault("[a]: 1\n"), "f.yaml:1:1: key is a list or map; write a text");
    assert_eq!(only_fault("a: &x [*x]\n"), "f.yaml:1:8: alias stands within its own anchor");
    assert!(only_fault("a: [1, 2\n").starts_with("f.yaml:1:4: file is not valid YAML: "));
    assert!(only_fault("a: *nobody\n").starts_with("f.yaml:1:4: file is not valid YAML: "));
    assert_eq!(
        only_fault("a: 1\n---\nb: 2\n"),
        "f.yaml:2:1: file holds a second document; remove the line \"---\""
    );
    assert_eq!(
        only_fault("a: !ruby/object x\n"),
        "f.yaml:1:4: unknown tag \"!ruby/object\"; leave it out: a file has plain YAML values only"
    );
    let deep = "[".repeat(100_000);
    assert_eq!(read(&deep).1.len(), 1);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-\\[\\]{}:,&*!|>'\"#%@`a-c0-9 \\n\\t\\\\]{0,60}", line in 0u32..6, column in 0u32..40) {
        if let (Some(node), _) = read(&text) {
            node.json();
            node.place_within(line, column);
        }
    }

    #[test]
    fn no_unicode_panics(text: String) {
        if let (Some(node), _) = read(&text) {
            node.json();
        }
    }

    #[test]
    fn integers_survive(number: i64) {
        prop_assert_eq!(tree(&format!("a: {number}")).json(), json!({ "a": number }));
    }
}
