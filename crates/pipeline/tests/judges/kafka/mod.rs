//! Kafka Streams, by its TopologyTestDriver, beside the engine: record by record the same
//! changes.
//!
//! `COURANT_STREAMS_CASES` cases of each kind (default 20) from `COURANT_STREAMS_SEED`.

mod cases;
mod known;
mod streams;

use std::collections::BTreeMap;

use courant_sql::stream::Emit;
use serde_json::{Value, json};

use crate::support::{Engine, Event, Random, Row, setting};
use cases::{Case, Window};
use streams::{Told, judge};

/// A change as both tell it.
#[derive(Debug, Clone, PartialEq)]
struct Change {
    key: String,
    /// Milliseconds, both ends as Kafka Streams counts them.
    window: Option<(i64, i64)>,
    /// `None`: the row is gone.
    value: Option<Value>,
    timestamp: i64,
}

#[test]
fn tumbling_windows_change_as_in_kafka_streams() {
    compare(1, |random| cases::windowed(random, Window::Tumbling, Emit::Changes));
}

#[test]
fn tumbling_windows_close_as_in_kafka_streams() {
    compare(2, |random| cases::windowed(random, Window::Tumbling, Emit::Final));
}

#[test]
fn hopping_windows_change_as_in_kafka_streams() {
    compare(3, |random| cases::windowed(random, Window::Hopping, Emit::Changes));
}

#[test]
fn hopping_windows_close_as_in_kafka_streams() {
    compare(4, |random| cases::windowed(random, Window::Hopping, Emit::Final));
}

#[test]
fn sliding_windows_change_as_in_kafka_streams() {
    compare(5, |random| cases::windowed(random, Window::Sliding, Emit::Changes));
}

#[test]
fn sliding_windows_close_as_in_kafka_streams() {
    compare(6, |random| cases::windowed(random, Window::Sliding, Emit::Final));
}

#[test]
fn sessions_change_as_in_kafka_streams() {
    compare(7, |random| cases::windowed(random, Window::Session, Emit::Changes));
}

#[test]
fn sessions_close_as_in_kafka_streams() {
    compare(8, |random| cases::windowed(random, Window::Session, Emit::Final));
}

#[test]
fn groups_of_a_table_change_as_in_kafka_streams() {
    compare(10, cases::counted_table);
}

#[test]
fn groups_without_windows_change_as_in_kafka_streams() {
    compare(9, cases::updating);
}

/// Runs random cases through both and compares what came out after each record.
fn compare(salt: i64, make: impl Fn(&mut Random) -> Case) {
    let (count, seed) = (setting("COURANT_STREAMS_CASES", 20), setting("COURANT_STREAMS_SEED", 1));
    let seeds = (0..count).map(|case| ((seed * 100 + salt) * 1_000_000 + case).unsigned_abs());
    let mut cases: Vec<Case> = seeds.map(|seed| make(&mut Random::from_seed(seed))).collect();
    let told: Vec<_> =
        cases.iter_mut().map(|case| (case.topology.clone(), case.events.clone())).collect();
    let Some(answers) = judge(&told) else { return };
    let (mut changes, mut left_out) = (0, 0);
    for (number, (case, answer)) in cases.iter().zip(answers).enumerate() {
        if opens_again(case, &answer) {
            left_out += 1;
            continue;
        }
        changes += compare_case(number, case, &answer);
    }
    assert!(left_out * 2 < count, "{left_out} of {count} cases say nothing");
    println!("{count} cases but {left_out}, {changes} changes, the same");
}

/// Whether Kafka Streams told a session as closed and then went on with it, as it does with a
/// record that is within the gap of a closed session and itself not late. Here closed is closed,
/// and the record begins another session.
fn opens_again(case: &Case, answer: &[Vec<Told>]) -> bool {
    let Some(gap) = case.topology["gap"].as_i64().filter(|_| case.topology["final"] == true) else {
        return false;
    };
    let told: Vec<&Told> = answer.iter().flatten().collect();
    told.iter().enumerate().any(|(at, later)| {
        let mut earlier = told[..at].iter().filter(|earlier| earlier.key == later.key);
        earlier.any(|earlier| {
            later.start <= earlier.end.map(|end| end + gap) && earlier.start <= later.end
        })
    })
}

/// Compares one case; answers how many changes there were.
fn compare_case(number: usize, case: &Case, answer: &[Vec<Told>]) -> usize {
    let mut engine = Engine::new(&case.sql, &case.relations, &case.options);
    let mut known = Known::new();
    let mut changes = 0;
    for (at, (event, told)) in case.events.iter().zip(answer).enumerate() {
        let expected =
            settle(told.iter().map(|told| expected_of(told, case)), case.appends, &mut known);
        let mut found: Vec<_> = engine.push(&[event]).into_iter().map(Change::from).collect();
        if !case.appends {
            found.sort_by_key(Change::id);
            forget_times(&expected, &mut found);
        }
        assert_eq!(
            found,
            expected,
            "case {number}, record {at}\n{}\n{}\n{}",
            case.topology,
            case.sql,
            history(&case.events[..=at])
        );
        changes += found.len();
    }
    changes
}

/// Rows that were told: whether they are there, and whether they went once.
type Known = BTreeMap<Id, (bool, bool)>;

/// The time of a row that Kafka Streams remembers from before it went; here it is a new row.
const ANY_TIME: i64 = -1;

/// Window and key of a row.
type Id = (Option<(i64, i64)>, String);

/// What a record changed in the end: the last word on each row, by window and key. Kafka
/// Streams also tells what lies between, and that rows are gone that never were.
fn settle(told: impl Iterator<Item = Change>, appends: bool, known: &mut Known) -> Vec<Change> {
    if appends {
        return told.collect();
    }
    let mut last: BTreeMap<Id, Change> = told.map(|change| (change.id(), change)).collect();
    last.retain(|id, change| {
        let (is_there, went) = known.entry(id.clone()).or_default();
        let was_there = std::mem::replace(is_there, change.value.is_some());
        if *went {
            change.timestamp = ANY_TIME;
        }
        *went |= was_there && !*is_there;
        was_there || *is_there
    });
    last.into_values().collect()
}

/// Leaves out the times that are not compared.
fn forget_times(expected: &[Change], found: &mut [Change]) {
    for (expected, found) in expected.iter().zip(found) {
        if expected.timestamp == ANY_TIME {
            found.timestamp = ANY_TIME;
        }
    }
}

fn history(events: &[Event]) -> String {
    let line = |Event { input, key, value, timestamp }: &Event| {
        let value = value.as_ref().map_or("null".to_owned(), Value::to_string);
        format!("{input} {key}={value}@{timestamp}\n")
    };
    events.iter().map(line).collect()
}

impl Change {
    fn id(&self) -> Id {
        (self.window, self.key.clone())
    }
}

/// What Kafka Streams tells, as it is told here.
fn expected_of(told: &Told, case: &Case) -> Change {
    // The end of a session is that of its gap, not its last record.
    let gap = case.topology["gap"].as_i64().unwrap_or(0);
    let window = told.start.zip(told.end).map(|(start, end)| (start, end + gap));
    // The group of a table that has lost its last row is gone; there it is a row with a count of 0.
    let value = Some(&told.value).filter(|value| !value.is_null() && value["count"] != 0);
    Change { key: told.key.clone(), window, value: value.cloned(), timestamp: told.timestamp }
}

impl From<Row> for Change {
    fn from(row: Row) -> Self {
        let value = row.value.map(|value| match value.get("count") {
            Some(_) => {
                json!({"count": value["count"], "sum": value["sum"], "average": value["average"]})
            }
            None => json!([value["l"], value["r"]]),
        });
        Self { key: row.key, window: row.window, value, timestamp: row.timestamp }
    }
}
