//! The examples of docs/jolt.md: each gives what the guide says it gives.
//!
//! A block of JSON that begins with `// spec`, `// input` or `// output` is a part of an
//! example; an output ends it.

use std::path::Path;

use courant_jolt::{Arena, Jolt, parse_with_comments, to_serde};
use serde_json::Value;

fn json(text: &str) -> Value {
    let arena = Arena::new();
    to_serde(parse_with_comments(&arena, text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}")))
}

#[test]
fn every_example_of_the_guide_gives_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/jolt.md");
    let guide = std::fs::read_to_string(path).expect("the guide");
    let blocks =
        guide.split("```json\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    let (mut jolt, mut input, mut examples) = (None, Value::Null, 0);
    for block in blocks {
        match block.lines().next() {
            Some("// spec") => {
                jolt = Some(Jolt::from_text(block).unwrap_or_else(|e| panic!("{e}\n{block}")));
            }
            Some("// input") => input = json(block),
            Some("// output") => {
                let jolt = jolt.take().expect("a spec stands before its output");
                assert_eq!(jolt.transform(input.take()), Ok(json(block)), "{block}");
                examples += 1;
            }
            _ => panic!("a block does not say what it is:\n{block}"),
        }
    }
    assert!(examples >= 4, "{examples} examples were found");
}
