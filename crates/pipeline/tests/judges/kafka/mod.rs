//! Kafka Streams, by its TopologyTestDriver, beside the engine: record by record the same
//! changes.
//!
//! `COURANT_STREAMS_CASES` cases of each kind (default 20) from `COURANT_STREAMS_SEED`.

mod cases;
mod known;
mod streams;

use std::collections::{BTreeMap, BTreeSet};

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
    let mut changes = 0;
    for (number, (case, answer)) in cases.iter().zip(answers).enumerate() {
        changes += compare_case(number, case, &answer);
    }
    println!("{count} cases, {changes} changes, the same");
}

/// Compares one case; answers how many changes there were.
fn compare_case(number: usize, case: &Case, answer: &[Vec<Told>]) -> usize {
    let mut engine = Engine::new(&case.sql, &case.relations, &case.options);
    let mut known = Known::new();
    let mut changes = 0;
    for (at, (event, told)) in case.events.iter().zip(answer).enumerate() {
        let expected = settle(told.iter().map(Change::from), case.appends, &mut known);
        let mut found: Vec<_> = engine.push(&[event]).into_iter().map(Change::from).collect();
        if !case.appends {
            found.sort_by_key(Change::id);
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

/// Rows that are there.
type Known = BTreeSet<Id>;

/// Window and key of a row.
type Id = (Option<(i64, i64)>, String);

/// What a record changed in the end: the last word on each row, by window and key. Kafka
/// Streams also tells what lies between, and that rows are gone that never were.
fn settle(told: impl Iterator<Item = Change>, appends: bool, known: &mut Known) -> Vec<Change> {
    if appends {
        return told.collect();
    }
    let mut last: BTreeMap<Id, Change> = told.map(|change| (change.id(), change)).collect();
    last.retain(|id, change| match change.value {
        Some(_) => {
            known.insert(id.clone());
            true
        }
        None => known.remove(id),
    });
    last.into_values().collect()
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

impl From<&Told> for Change {
    fn from(told: &Told) -> Self {
        Self {
            key: told.key.clone(),
            window: told.start.zip(told.end),
            value: (!told.value.is_null()).then(|| told.value.clone()),
            timestamp: told.timestamp,
        }
    }
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
