//! The generator as a source, and what is said of wrong options.

use std::sync::Arc;

use courant_model::{ManualClock, Timestamp};
use serde_json::json;

use super::*;
use crate::testing::{World, suite};

fn factory(options: &Value) -> Arc<dyn SourceFactory> {
    parse(options).unwrap()
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let run = async |seed: u64| {
        let world = World::new();
        let options = json!({ "rate": "1000000/s", "template": "bet", "count": 300, "seed": seed });
        suite::runs_to_its_end(&world, &*factory(&options)).await;
        world.emit.values()
    };
    let first = run(5).await;
    assert_eq!(first.len(), 300);
    assert_eq!(first, run(5).await);
    assert_ne!(first, run(6).await);
}

#[tokio::test]
async fn a_message_is_exactly_its_two_fields() {
    let world = World::new();
    let options = json!({ "every": "1ms", "template": "message", "count": 2 });
    suite::runs_to_its_end(&world, &*factory(&options)).await;
    for value in world.emit.values() {
        assert!(value.starts_with("{\"text\":\""), "{value}");
        assert!(value.ends_with("\",\"source\":\"system-generator\"}"), "{value}");
    }
}

#[tokio::test]
async fn order_numbers_are_not_used_twice_after_a_restart() {
    let world = World::new();
    let options = json!({ "rate": "100000/s", "template": { "n": "{{sequence}}" }, "count": 20 });
    for _ in 0..2 {
        suite::runs_to_its_end(&world, &*factory(&options)).await;
    }
    let mut numbers = world.emit.values();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 40);
}

#[tokio::test]
async fn it_stops_promptly_however_long_the_delay() {
    let options = json!({ "every": "7d", "template": "message" });
    suite::stops_promptly(&World::new(), &*factory(&options)).await;
}

#[test]
fn a_generator_of_the_command_line_gives_what_the_source_gives() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
    for name in template_names() {
        let mut one = Generator::built_in(name, Some(1), clock.clone()).unwrap();
        let mut two = Generator::built_in(name, Some(1), clock.clone()).unwrap();
        let documents: Vec<Value> = (0..3).map(|_| one.next_document()).collect();
        assert_eq!(documents, (0..3).map(|_| two.next_document()).collect::<Vec<_>>());
        assert_ne!(documents[0], documents[1], "{name}");
    }
    assert!(Generator::built_in("nope", None, clock).is_none());
}

#[test]
fn all_problems_are_found_at_once() {
    let options = json!({ "every": "0", "rate": "5/s", "template": { "a": "{{nope}}" } });
    let problems = parse(&options).unwrap_err();
    let paths: Vec<String> = problems.iter().map(|problem| problem.path.join(".")).collect();
    assert_eq!(paths, ["rate", "every", "template.a"]);
    let problems = parse(&json!({ "rate": "5", "template": "message" })).unwrap_err();
    assert_eq!(problems[0].path, ["rate"]);
    assert!(problems[0].what.starts_with("rate \"5\" cannot be read"), "{problems:?}");
}
