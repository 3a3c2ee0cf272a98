//! Files read and written: conformance, rotation, restarts, torn lines.

use std::{sync::Arc, time::Duration};

use courant_pipeline::connector::Sink;
use serde_json::json;

use super::*;
use crate::testing::{World, event, suite};

fn source(options: &Value) -> Arc<dyn SourceFactory> {
    parse_source(options).unwrap()
}

/// Looks often, so that tests are quick.
fn followed(path: &str) -> Arc<dyn SourceFactory> {
    source(&json!({ "path": path, "every": "1ms" }))
}

fn sink(world: &World, options: &Value) -> Box<dyn Sink> {
    parse_sink(options).unwrap().open(world.sink_context()).unwrap()
}

async fn feed(world: &World, lines: &[&str]) {
    lines.iter().for_each(|line| world.append("in.ndjson", &format!("{line}\n")));
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(Into::into).collect()
}

#[tokio::test]
async fn a_followed_file_passes_the_suite_of_sources() {
    suite::arrives_in_order(&World::new(), &*followed("in.ndjson"), feed).await;
    suite::resumes_where_it_stopped(&World::new(), &*followed("*.ndjson"), feed).await;
    suite::sets_bad_input_aside(&World::new(), &*followed("in.ndjson"), feed).await;
    suite::stops_promptly(&World::new(), &*followed("in.ndjson")).await;
    suite::stops_promptly(&World::new(), &*source(&json!({ "path": "x", "every": "1h" }))).await;
}

#[tokio::test]
async fn a_bad_line_is_told_with_its_place() {
    let world = World::new();
    world.write("in.ndjson", "{\"n\":1}\n{\"n\": x}\n\n{\"n\":2}");
    suite::runs_to_its_end(&world, &*source(&json!({ "path": "in.ndjson", "follow": false })))
        .await;
    assert_eq!(world.emit.values(), ["{\"n\":1}", "{\"n\":2}"]);
    let (original, why) = world.emit.rejected().remove(0);
    assert_eq!(original, "{\"n\": x}");
    assert!(why.starts_with("in.ndjson:2:7: line is not JSON: "), "{why}");
}

#[tokio::test]
async fn a_line_without_its_end_waits_for_it() {
    let world = World::new();
    world.write("in.ndjson", "{\"n\":1}\n{\"n\":");
    let running = suite::start(&world, &*followed("in.ndjson"));
    world.emit.wait_for(&["{\"n\":1}"]).await;
    world.append("in.ndjson", "2}\n");
    world.emit.wait_for(&["{\"n\":1}", "{\"n\":2}"]).await;
    running.stop().await;
    assert_eq!(world.emit.rejected(), []);
}

#[tokio::test]
async fn a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_beginning() {
    let world = World::new();
    world.write("app.log", "one\n");
    let options = json!({ "path": "app.log", "format": "text", "every": "1ms" });
    let running = suite::start(&world, &*source(&options));
    world.emit.wait_for(&["one"]).await;
    world.append("app.log", "two\n");
    std::fs::rename(world.folder.path().join("app.log"), world.folder.path().join("app.log.1"))
        .unwrap();
    world.write("app.log", "three\n");
    world.emit.wait_for(&["one", "two", "three"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_renamed_file_of_the_pattern_is_not_read_again() {
    let world = World::new();
    world.write("a.log", "one\n");
    let options = json!({ "path": "*.log", "format": "text", "every": "1ms" });
    let running = suite::start(&world, &*source(&options));
    world.emit.wait_for(&["one"]).await;
    running.stop().await;
    std::fs::rename(world.folder.path().join("a.log"), world.folder.path().join("b.log")).unwrap();
    world.append("b.log", "two\n");
    world.append("c.log", "three\n");
    let running = suite::start(&world, &*source(&options));
    world.emit.wait_for(&["one", "two", "three"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_with_other_content_is_read_from_its_beginning() {
    let world = World::new();
    world.write("in.log", "first\nsecond\n");
    let options = json!({ "path": "in.log", "format": "text", "follow": false });
    suite::runs_to_its_end(&world, &*source(&options)).await;
    world.write("in.log", "another\nfile of more bytes\n");
    suite::runs_to_its_end(&world, &*source(&options)).await;
    world.write("in.log", "short\n");
    suite::runs_to_its_end(&world, &*source(&options)).await;
    let expected = ["first", "second", "another", "file of more bytes", "short"];
    assert_eq!(world.emit.values(), expected);
}

#[tokio::test]
async fn rows_become_typed_objects_and_the_header_survives_a_restart() {
    let world = World::new();
    world.write("bets.csv", "bet_id;stake;note\n1;2.50;\"a;\nb\"\nx;much;n\n");
    let options = json!({
        "path": "bets.csv", "format": "csv", "delimiter": ";", "follow": false,
        "columns": { "bet_id": "string not null", "stake": "decimal(10,2)" },
    });
    suite::runs_to_its_end(&world, &*source(&options)).await;
    let first = "{\"bet_id\":\"1\",\"stake\":2.5,\"note\":\"a;\\nb\"}";
    assert_eq!(world.emit.values(), [first]);
    let (original, why) = world.emit.rejected().remove(0);
    assert_eq!(original, "x;much;n");
    assert_eq!(why, "bets.csv:4: field 2 (\"stake\") is \"much\"; expected decimal(10,2)");
    world.append("bets.csv", "2;3;c\n");
    suite::runs_to_its_end(&world, &*source(&options)).await;
    assert_eq!(world.emit.values()[1], "{\"bet_id\":\"2\",\"stake\":3.0,\"note\":\"c\"}");
}

#[tokio::test]
async fn a_json_document_gives_its_items_once() {
    let world = World::new();
    world.write("orders.json", "[{\"n\": 1},\n {\"n\": 2}]\n");
    let options = json!({ "path": "*.json", "format": "json", "every": "1ms" });
    let running = suite::start(&world, &*source(&options));
    world.emit.wait_for(&["{\"n\": 1}", "{\"n\": 2}"]).await;
    world.write("second.json", "{\"n\": 3} {\"n\": oops}");
    world.emit.wait_until("set aside", |emit| emit.rejected().len() == 1).await;
    running.stop().await;
    assert_eq!(world.emit.values(), ["{\"n\": 1}", "{\"n\": 2}", "{\"n\": 3}"]);
    assert!(world.emit.rejected()[0].1.starts_with("second.json:1:16: file is not JSON"));
}

#[tokio::test]
async fn a_missing_file_is_told_where_nothing_can_bring_it() {
    let world = World::new();
    let options = json!({ "path": "none.ndjson", "follow": false });
    let error = suite::start(&world, &*source(&options)).ended().await.unwrap_err();
    assert_eq!(error.what, "file \"none.ndjson\" does not exist");
    let error = suite::start(&world, &*followed(".")).ended().await.unwrap_err();
    assert!(!error.retryable, "{error}");
}

#[test]
fn all_problems_of_the_options_are_found() {
    let options = json!({ "path": "a/**/b", "columns": { "a": "int65" }, "every": "0" });
    let problems = parse_source(&options).unwrap_err();
    let paths: Vec<String> = problems.iter().map(|problem| problem.path.join(".")).collect();
    assert_eq!(paths, ["columns.a", "columns", "path", "every"]);
    let options = json!({ "path": "{day}", "columns": ["a"] });
    let problems = parse_sink(&options).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(parse_source(&json!({ "path": "x", "format": "csv", "header": false })).is_err());
}

#[tokio::test]
async fn a_file_passes_the_suite_of_sinks() {
    let world = World::new();
    let mut ndjson = sink(&world, &json!({ "path": "deep/out.ndjson" }));
    suite::writes_in_order(&mut *ndjson, async || lines(&world.read("deep/out.ndjson"))).await;
    let mut refusing = sink(&world, &json!({ "path": "refused.ndjson" }));
    let read = async || lines(&world.read("refused.ndjson"));
    suite::names_what_it_refuses(&mut *refusing, "{oops", read).await;
}

#[tokio::test]
async fn tasks_of_a_pipeline_share_one_header() {
    let world = World::new();
    let factory = parse_sink(&json!({ "path": "out.csv", "format": "csv" })).unwrap();
    let mut one = factory.open(world.sink_context()).unwrap();
    let mut two = factory.open(world.sink_context()).unwrap();
    one.write(&[event(0, "{\"a\":1,\"b\":\"x\"}")]).await.unwrap();
    let rejections = two.write(&[event(1, "{\"c\":1}"), event(2, "{\"b\":\"y\"}")]).await.unwrap();
    assert_eq!(rejections[0].index, 0);
    drop((one, two));
    let mut later = sink(&world, &json!({ "path": "out.csv", "format": "csv" }));
    later.write(&[event(3, "{\"b\":\"z\",\"a\":3}")]).await.unwrap();
    later.flush().await.unwrap();
    assert_eq!(world.read("out.csv"), "a,b\n1,x\n,y\n3,z\n");
    let other = json!({ "path": "out.csv", "format": "csv", "columns": ["b", "a"] });
    let error = sink(&world, &other).write(&[event(0, "{}")]).await.unwrap_err();
    assert!(!error.retryable && error.what.contains("its header is a, b"), "{error}");
}

#[tokio::test]
async fn a_torn_last_line_is_cut_at_the_next_start() {
    let world = World::new();
    world.write("out.ndjson", "{\"n\":1}\n{\"n\":");
    let mut sink = sink(&world, &json!({ "path": "out.ndjson" }));
    sink.write(&[event(1, "{\"n\":2}")]).await.unwrap();
    assert_eq!(world.read("out.ndjson"), "{\"n\":1}\n{\"n\":2}\n");
}

#[tokio::test]
async fn files_are_put_aside_by_size_and_by_age() {
    let world = World::new();
    let names = || {
        let entries = std::fs::read_dir(world.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let rotate = json!({ "bytes": "10B", "every": "1m" });
    let mut sink = sink(&world, &json!({ "path": "out.ndjson", "rotate": rotate }));
    sink.write(&[event(0, "{\"n\":10000}")]).await.unwrap();
    assert_eq!(names(), ["out.ndjson"]);
    sink.write(&[event(1, "{}")]).await.unwrap();
    assert_eq!(names(), ["out.20260101T000000.000Z.ndjson", "out.ndjson"]);
    world.clock.advance(Duration::from_secs(60));
    sink.write(&[event(2, "[]")]).await.unwrap();
    assert_eq!(names().len(), 3);
    assert_eq!(world.read("out.ndjson"), "[]\n");
    assert_eq!(world.read("out.20260101T000100.000Z.ndjson"), "{}\n");
}
