//! Debian's kcat against `courant run examples/messages`: what it produces is served, what
//! is produced elsewhere it consumes, and a restart keeps both.

#![allow(clippy::print_stdout, reason = "says why it was skipped")]

mod support;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{
    Courant, courant, courant_ok,
    kafka::{has_kcat, kcat, try_kcat},
    root,
};
use tempfile::tempdir;

fn has(text: &str) -> impl Fn(&Value) -> bool {
    move |body| {
        let data = body["data"].as_array().expect("data");
        data.iter().any(|document| document["content"] == text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kcat_produces_is_served_and_what_is_posted_kcat_consumes() {
    if !has_kcat() {
        return;
    }
    let folder = tempdir().unwrap();
    let (file, data) = (root().join("examples/messages/courant.yaml"), folder.path().join("data"));
    let running = Courant::start(&file, &data);
    let broker = running.kafka.clone();
    let line = json!({ "text": "from kcat", "source": "kcat" }).to_string();
    kcat(&["-P", "-b", &broker, "-t", "data-stream", "-X", "acks=all"], &format!("{line}\n"));
    running.get_until("/messages", has("from kcat")).await;
    let (status, _) =
        running.post("/messages", json!({ "text": "posted", "source": "test" }).to_string()).await;
    assert!(status.is_success(), "{status}");
    let consume = |broker: &str| {
        kcat(&["-C", "-b", broker, "-t", "data-stream", "-o", "beginning", "-e", "-q"], "")
    };
    let said = consume(&broker);
    assert!(said.contains("from kcat") && said.contains("posted"), "{said}");
    let (status, info) = running.get("/api/v1/info").await;
    assert_eq!(status, StatusCode::OK);
    assert!(broker.ends_with(&format!(":{}", info["ports"]["kafka"])), "{info}");
    assert_eq!(running.stop(), Some(0));

    let running = Courant::start(&file, &data);
    let again = consume(&running.kafka);
    assert!(said.lines().all(|line| again.contains(line)), "{again}");
    running.get_until("/messages", has("from kcat")).await;
    assert_eq!(running.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pipeline_sends_to_a_topic_kcat_consumes_once() {
    if !has_kcat() {
        return;
    }
    let folder = tempdir().unwrap();
    let (file, data) = (folder.path().join("courant.yaml"), folder.path().join("data"));
    let text = "
version: 1
name: relay
topics: { in: { partitions: 2 }, out: { partitions: 2 } }
pipelines:
  relay: { from: in, steps: [{ sql: SELECT n * 2 AS doubled FROM input }], to: out }
";
    std::fs::write(&file, text).unwrap();
    let running = Courant::start(&file, &data);
    let lines: String = (0..1_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    kcat(&["-P", "-b", &running.kafka, "-t", "in", "-z", "lz4"], &lines);
    running
        .get_until("/api/v1/groups/relay.relay", |group| {
            let offsets = group["offsets"].as_array().expect("offsets").iter();
            offsets.map(|at| at["committed"].as_i64().unwrap_or(0)).sum::<i64>() == 1_000
        })
        .await;
    let consume = ["-C", "-b", &running.kafka, "-t", "out", "-o", "beginning", "-e", "-q"];
    let said = kcat(&[&consume[..], &["-X", "isolation.level=read_committed"]].concat(), "");
    let mut found: Vec<u64> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["doubled"].as_u64().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, (0..1_000).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(running.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_a_client_names_is_created_as_the_flags_say() {
    if !has_kcat() {
        return;
    }
    let folder = tempdir().unwrap();
    let file = root().join("examples/messages/courant.yaml");
    let start = |name: &str, flags: &[&str]| {
        let flags = [&["--kafka-port", "0"], flags].concat();
        let data = folder.path().join(name);
        Courant::try_start_with(&file, &data, &flags, &[]).expect("it starts")
    };
    let running = start("three", &["--kafka-num-partitions", "3"]);
    kcat(&["-P", "-b", &running.kafka, "-t", "fresh"], "one\n");
    let said = kcat(&["-L", "-b", &running.kafka, "-t", "fresh"], "");
    assert!(said.contains("with 3 partitions"), "{said}");
    assert_eq!(running.stop(), Some(0));

    let running = start("none", &["--kafka-auto-create", "false"]);
    let produce = ["-P", "-b", &running.kafka, "-t", "fresh"];
    let soon = ["-X", "message.timeout.ms=3000", "-X", "topic.metadata.propagation.max.ms=500"];
    let refused = try_kcat(&[&produce[..], &soon].concat(), "one\n").unwrap_err();
    assert!(refused.contains("fresh") || refused.contains("Unknown topic"), "{refused}");
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_taken_kafka_port_names_its_flag() {
    let folder = tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let data = folder.path().join("data");
    let file = root().join("examples/messages/courant.yaml");
    let flags = ["--http-port", "0", "--kafka-port", &port, "--data", data.to_str().unwrap()];
    let output = courant(&[&["run"], &flags[..], &[file.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--kafka-port") && said.contains(&port), "{said}");
    assert!(!data.exists(), "nothing was begun");
}

#[test]
fn a_kafka_port_that_others_can_reach_needs_to_be_asked_for() {
    let output = courant(&["broker", "--http-port", "0", "--kafka-listen", "0.0.0.0"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--insecure"), "{said}");
    let help = courant_ok(&["broker", "--help"]);
    assert!(help.contains("--kafka-port") && help.contains("--durability"), "{help}");
}
