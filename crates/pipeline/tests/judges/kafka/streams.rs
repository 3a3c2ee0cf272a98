//! The process of Kafka Streams: cases in, what came out after each record back.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use courant_testing::skip;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cases::INPUTS;
use crate::support::Event;

/// A row that a topology gave out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Told {
    pub(crate) key: String,
    /// First and last instant of the window as Kafka Streams tells them, in milliseconds.
    #[serde(default)]
    pub(crate) start: Option<i64>,
    #[serde(default)]
    pub(crate) end: Option<i64>,
    /// Null: the row is gone.
    pub(crate) value: Value,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
}

/// What each case's topology gives out after each of its records; `None` where Kafka Streams
/// cannot be had.
///
/// # Panics
/// When it fails on a case.
pub(crate) fn judge(cases: &[(Value, Vec<Event>)]) -> Option<Vec<Vec<Vec<Told>>>> {
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
    java.arg("-cp").arg(class_path()?).arg("Judge").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = java.spawn().expect("java runs, for its compiler did");
    let mut input = process.stdin.take().expect("a pipe");
    let output = BufReader::new(process.stdout.take().expect("a pipe"));
    let lines: Vec<String> =
        cases.iter().map(|(topology, events)| line(topology, events)).collect();
    let writer = thread::spawn(move || lines.iter().try_for_each(|line| writeln!(input, "{line}")));
    let answers: Vec<_> = output.lines().map_while(Result::ok).map(|line| parse(&line)).collect();
    let (written, ended) = (writer.join().expect("it does not panic"), process.wait());
    assert!(written.is_ok() && ended.is_ok_and(|status| status.success()), "Kafka Streams failed");
    assert_eq!(answers.len(), cases.len());
    Some(answers)
}

fn line(topology: &Value, events: &[Event]) -> String {
    let mut case = topology.clone();
    let records = events.iter().map(|Event { input, key, value, timestamp }| {
        let input = INPUTS.iter().position(|name| name == input);
        json!({"input": input, "key": key, "value": value, "timestamp": timestamp})
    });
    case["records"] = records.collect();
    case.to_string()
}

fn parse(line: &str) -> Vec<Vec<Told>> {
    serde_json::from_str(line).expect("an array for each record")
}

/// Where the classes are, fetched and compiled by the first test that asks.
fn class_path() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/java-program");
    let output = Command::new(script).arg("streams").output().expect("the script runs");
    if !output.status.success() {
        skip(String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(String::from_utf8(output.stdout).expect("a path").trim().to_owned())
}
