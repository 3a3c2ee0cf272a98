//! The `pages` example as a process: producer, function, windows and what is asked of them,
//! with Kafka clients from outside on R1 to R4.

#![allow(clippy::print_stdout, reason = "says why it was skipped")]

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{
    Courant, courant_ok,
    kafka::{has_kcat, has_tools, kcat, tool},
    read_topic, root,
};
use tempfile::tempdir;

fn example() -> PathBuf {
    root().join("examples/pages/courant.yaml")
}

/// Starts the example; its supplier sends an event so often.
fn start(data: &Path, every: &str) -> Courant {
    let variables = [("PAGES_EVERY", every)];
    Courant::try_start_with(&example(), data, &["--kafka-port", "0"], &variables)
        .unwrap_or_else(|said| panic!("courant did not start: {said}"))
}

/// A time to the millisecond whose texts are in the order of time.
fn instant(text: &Value) -> String {
    let text = text.as_str().expect("a time").trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<3}")
}

/// Visits and summed durations of each page, of the events between two times.
fn recomputed(events: &[Value], from: &str, to: &str) -> BTreeMap<String, (i64, f64)> {
    let mut pages: BTreeMap<String, (i64, f64)> = BTreeMap::new();
    for event in events {
        if (from..to).contains(&instant(&event["date"]).as_str()) {
            let page = pages.entry(event["name"].as_str().unwrap().to_owned()).or_default();
            page.0 += 1;
            page.1 += event["duration"].as_f64().unwrap();
        }
    }
    pages
}

fn values(records: Vec<Value>) -> Vec<Value> {
    records.into_iter().map(|mut record| record["value"].take()).collect()
}

#[tokio::test]
async fn the_producer_builds_an_event_sends_it_and_answers_it() {
    let folder = tempdir().unwrap();
    let courant = start(&folder.path().join("data"), "1h");
    let (status, event) = courant.get("/publish/R1/p7").await;
    assert_eq!(status, StatusCode::OK);
    let fields: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["name", "user", "date", "duration"]);
    assert_eq!(event["name"], "p7");
    assert!(["U1", "U2"].contains(&event["user"].as_str().unwrap()), "{event}");
    assert_eq!(event["date"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
    let place = ["--url", courant.url.as_str()];
    assert_eq!(values(read_topic("R1", &place)), std::slice::from_ref(&event));

    let doubled = courant
        .get_until("/api/v1/topics/R3/records", |body| body["records"][0]["value"].is_object())
        .await;
    let doubled = &doubled["records"][0]["value"];
    assert_eq!(doubled["name"], "P7");
    assert_eq!(doubled["duration"], json!(event["duration"].as_i64().unwrap() * 2));
    assert_eq!(doubled["date"], event["date"]);
    let (status, error) = courant.get("/publish/a%20b/p7").await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_topic"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_window_is_what_the_records_of_the_topic_say() {
    let folder = tempdir().unwrap();
    let courant = start(&folder.path().join("data"), "20ms");
    let store = "/api/v1/views/count-store/store?limit=1000";
    let enough = |body: &Value| body["rows"].as_array().is_some_and(|rows| rows.len() >= 24);
    courant.get_until(store, enough).await;
    let rows = courant.get(store).await.1["rows"].take();
    let place = ["--url", courant.url.as_str()];
    let events = values(read_topic("R2", &place));
    // Events come in order: a window that ends where a later one has begun is whole.
    let rows = rows.as_array().unwrap();
    let begun = rows.iter().map(|row| instant(&row["window_start"])).max().unwrap();
    let mut compared = 0;
    for row in rows {
        let (from, to) = (instant(&row["window_start"]), instant(&row["window_end"]));
        if to > begun {
            continue;
        }
        let (visits, sum) = recomputed(&events, &from, &to)[row["name"].as_str().unwrap()];
        assert_eq!(row["visits"], json!(visits), "{row}");
        let average = row["average"].as_f64().unwrap();
        assert!((average - sum / visits as f64).abs() < 1e-6, "{row}");
        compared += 1;
    }
    assert!(compared >= 4, "{compared} windows were compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_come_once_a_second_and_are_of_a_whole_window() {
    let folder = tempdir().unwrap();
    let courant = start(&folder.path().join("data"), "50ms");
    let store = "/api/v1/views/count-store/store?limit=1000";
    let enough = |body: &Value| body["rows"].as_array().is_some_and(|rows| rows.len() >= 16);
    courant.get_until(store, enough).await;
    let mut answer = courant.client.get(courant.at("/analytics")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while text.matches("data: {").count() < 4 {
        let chunk = answer.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned)
    };
    let told: Vec<(i64, Value)> = text
        .split("\n\n")
        .filter_map(|event| {
            let data = field(event, "data:")?;
            let id = field(event, "id:")?.parse().ok()?;
            Some((id, serde_json::from_str(&data).ok()?))
        })
        .collect();
    let ends: Vec<i64> = told.iter().map(|(end, _)| *end).collect();
    assert!(ends.iter().all(|end| end % 1_000 == 0), "{ends:?}");
    assert!(ends.windows(2).all(|pair| (0..=2_000).contains(&(pair[1] - pair[0]))), "{ends:?}");
    let (_, numbers) = told.last().unwrap();
    let total: i64 = numbers.as_object().unwrap().values().map(|n| n.as_i64().unwrap()).sum();
    // 5 s at 20 a second, and as many fewer as a slow machine makes of them.
    assert!((10..=110).contains(&total), "{numbers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_lists_explains_reads_and_watches_a_view() {
    let folder = tempdir().unwrap();
    let courant = start(&folder.path().join("data"), "50ms");
    let url = ["--url", courant.url.as_str(), "--log-level", "warn"];
    let said = |arguments: &[&str]| courant_ok(&[&["view"], arguments, &url].concat());
    let store = "/api/v1/views/count-store/store";
    let enough = |body: &Value| body["rows"].as_array().is_some_and(|rows| rows.len() >= 12);
    courant.get_until(store, enough).await;

    let list = said(&["list"]);
    assert!(list.contains("count-store") && list.contains("average-store"), "{list}");
    let explained = said(&["explain", "count-store"]);
    assert!(explained.contains("R2 → R4") && explained.contains("hop(1s, 5s)"), "{explained}");
    let rows = said(&["get", "count-store", "P1"]);
    assert!(!rows.is_empty());
    for line in rows.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(row["name"], "P1");
    }
    let scanned = said(&["scan", "count-store", "--from", "P2", "--limit", "3"]);
    assert_eq!(scanned.lines().count(), 3, "{scanned}");
    assert!(scanned.lines().all(|line| line.contains("\"P2\"")), "{scanned}");
    let refused = support::courant(&[&["view", "get", "nope", "P1"], &url[..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("view \"nope\" does not exist"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_windows_and_the_results_go_out_once() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let courant = start(&data, "1h");
    let visit = |second: u32, duration: u32| {
        // Later than what the supplier sends, so that it is late for nothing.
        let date = format!("2099-01-01T00:00:{second:02}.500Z");
        json!({ "name": "P9", "user": "U1", "date": date, "duration": duration }).to_string()
    };
    courant.post("/api/v1/topics/R2/records", visit(1, 100)).await;
    // An event is in five windows.
    let visits = |visits: i64| {
        move |body: &Value| {
            let rows = body["rows"].as_array().expect("rows");
            rows.len() == 5 && rows.iter().all(|row| row["visits"] == json!(visits))
        }
    };
    let store = "/api/v1/views/count-store/store?key=P9";
    courant.get_until(store, visits(1)).await;
    courant.kill();

    let courant = start(&data, "1h");
    courant.get_until(store, visits(1)).await;
    courant.post("/api/v1/topics/R2/records", visit(1, 300)).await;
    let body = courant.get_until(store, visits(2)).await;
    for row in body["rows"].as_array().unwrap() {
        assert_eq!((&row["visits"], &row["average"]), (&json!(2), &json!(200.0)), "{row}");
    }
    // The topic tells each window once with one visit and once with two.
    let records = courant
        .get_until("/api/v1/topics/R4/records?limit=1000", |body| {
            let rows = body["records"].as_array().unwrap();
            rows.iter().filter(|record| record["value"]["visits"] == json!(2)).count() >= 5
        })
        .await;
    let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let values = records["records"].as_array().unwrap().iter().map(|record| &record["value"]);
    for value in values.filter(|value| value["name"] == "P9") {
        let window = told.entry(instant(&value["window_start"])).or_default();
        window.push(value["visits"].as_i64().unwrap());
    }
    for (window, visits) in told {
        assert_eq!(visits, [1, 2], "the window that starts at {window}");
    }
    assert_eq!(courant.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_produces_to_r2_and_consumes_r4() {
    if !has_kcat() {
        return;
    }
    let folder = tempdir().unwrap();
    let courant = start(&folder.path().join("data"), "1h");
    outside(&courant, |topic, lines| {
        kcat(&["-P", "-b", &courant.kafka, "-t", topic], lines);
    })
    .await;
    let r4 = kcat(&["-C", "-b", &courant.kafka, "-t", "R4", "-o", "beginning", "-e", "-q"], "");
    assert!(r4.contains("\"name\":\"P8\""), "{r4}");
    let r1 = kcat(&["-C", "-b", &courant.kafka, "-t", "R3", "-o", "beginning", "-e", "-q"], "");
    assert!(r1.contains("\"name\":\"P8\"") && r1.contains("\"duration\":1400"), "{r1}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consoles_of_kafka_produce_to_r1_and_consume_from_the_beginning() {
    let folder = tempdir().unwrap();
    let courant = start(&folder.path().join("data"), "1h");
    let server = ["--bootstrap-server", courant.kafka.as_str()];
    let produce = |topic: &str, lines: &str| {
        tool("kafka-console-producer", &[&server[..], &["--topic", topic]].concat(), lines)
    };
    if !has_tools() {
        return;
    }
    outside(&courant, |topic, lines| {
        produce(topic, lines);
    })
    .await;
    let consume = |topic: &str, count: &str| {
        let options = ["--topic", topic, "--from-beginning", "--max-messages", count];
        tool("kafka-console-consumer", &[&server[..], &options].concat(), "")
    };
    assert!(consume("R1", "1").contains("\"name\":\"p8\""));
    assert!(consume("R3", "1").contains("\"duration\":1400"));
    assert!(consume("R4", "5").contains("\"visits\":1"));
}

/// Produces one event to R1 and one to R2 by a client from outside, and waits for what comes
/// of them. Their date is later than what the supplier sends, so that they are late for nothing.
async fn outside(courant: &Courant, produce: impl Fn(&str, &str)) {
    let event = json!({
        "name": "p8", "user": "u1", "date": "2099-01-01T00:00:01.500Z", "duration": 700,
    });
    produce("R1", &format!("{event}\n"));
    let event = json!({
        "name": "P8", "user": "U1", "date": "2099-01-01T00:00:01.500Z", "duration": 700,
    });
    produce("R2", &format!("{event}\n"));
    let some = |body: &Value| !body["records"].as_array().unwrap().is_empty();
    courant.get_until("/api/v1/topics/R3/records", some).await;
    let enough = |body: &Value| {
        let records = body["records"].as_array().unwrap();
        records.iter().filter(|record| record["value"]["name"] == "P8").count() >= 5
    };
    courant.get_until("/api/v1/topics/R4/records?limit=1000", enough).await;
}
