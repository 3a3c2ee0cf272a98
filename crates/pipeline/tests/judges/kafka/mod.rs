//! Kafka Streams, by its TopologyTestDriver, beside the engine: record by record the same
//! changes.
//!
//! `COURANT_STREAMS_CASES` cases of each kind (default 20) from `COURANT_STREAMS_SEED`.

mod cases;
mod joins;
mod known;
mod streams;

use std::collections::BTreeMap;

use courant_sql::stream::Emit;
use serde_json::{Value, json};

use crate::support::{Engine, Event, Random, Row, setting};
use cases::{Case, Window};
use joins::Join;
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
fn streams_join_as_in_kafka_streams() {
    for (salt, how) in [(11, "inner"), (12, "left"), (13, "full")] {
        compare(salt, |random| joins::join(random, Join::Streams, how));
    }
}

#[test]
fn a_stream_and_a_table_join_as_in_kafka_streams() {
    for (salt, how) in [(14, "inner"), (15, "left")] {
        compare(salt, |random| joins::join(random, Join::StreamTable, how));
    }
}

#[test]
fn tables_join_as_in_kafka_streams() {
    for (salt, how) in [(16, "inner"), (17, "left"), (18, "full")] {
        compare(salt, |random| joins::join(random, Join::Tables, how));
    }
}

#[test]
fn tables_join_by_a_foreign_key_as_in_kafka_streams() {
    for (salt, how) in [(19, "inner"), (20, "left")] {
        compare(salt, |random| joins::join(random, Join::ForeignKey, how));
    }
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
    let (mut known, mut expected_rows, mut found_rows) = (Known::new(), Rows::new(), Rows::new());
    let mut steps = Vec::new();
    for (event, told) in case.events.iter().zip(answer) {
        let told = told.iter().map(|told| expected_of(told, case));
        let mut expected = settle(told, case.appends, &mut known);
        let mut found: Vec<_> = engine.push(&[event]).into_iter().map(Change::from).collect();
        if case.joins_tables() {
            found = changed(replaced(&found), &mut found_rows);
            expected = changed(expected, &mut expected_rows);
        }
        steps.push((expected, found));
    }
    if case.is_told_sometime() {
        let (expected, found): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        steps = vec![(expected.concat(), found.concat())];
    }
    let mut changes = 0;
    for (at, (mut expected, mut found)) in steps.into_iter().enumerate() {
        expected.sort_by_key(Change::order);
        found.sort_by_key(Change::order);
        forget_times(&expected, &mut found);
        assert_eq!(
            found,
            expected,
            "case {number}, record {at}\n{}\n{}\n{}",
            case.topology,
            case.sql,
            history(&case.events)
        );
        changes += found.len();
    }
    changes
}

/// The values of rows that are there.
type Rows = BTreeMap<Id, Value>;

/// Changes that change something, as Kafka Streams tells others too where tables are joined;
/// without the time of rows that go, which is there that of what is left.
fn changed(changes: Vec<Change>, rows: &mut Rows) -> Vec<Change> {
    let mut differs = |change: &Change| {
        let before = match &change.value {
            Some(value) => rows.insert(change.id(), value.clone()),
            None => rows.remove(&change.id()),
        };
        before != change.value
    };
    changes.into_iter().filter(|change| differs(change)).map(without_time_of_going).collect()
}

fn without_time_of_going(change: Change) -> Change {
    let timestamp = if change.value.is_some() { change.timestamp } else { ANY_TIME };
    Change { timestamp, ..change }
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

/// What a row of two joined tables becomes. Here such a row has both keys, so that one goes and
/// another comes when a side that was missing is found; in Kafka Streams it has one.
fn replaced(found: &[Change]) -> Vec<Change> {
    let comes = |key: &str| found.iter().any(|other| other.key == key && other.value.is_some());
    found.iter().filter(|change| change.value.is_some() || !comes(&change.key)).cloned().collect()
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

    /// The order in which the changes by one record are compared.
    fn order(&self) -> (Id, String) {
        (self.id(), format!("{:?}", self.value))
    }
}

/// What Kafka Streams tells, as it is told here.
fn expected_of(told: &Told, case: &Case) -> Change {
    // The end of a session is that of its gap, not its last record.
    let gap = case.topology["gap"].as_i64().unwrap_or(0);
    let window = told.start.zip(told.end).map(|(start, end)| (start, end + gap));
    // The group of a table that has lost its last row is gone; there it is a row with a count of 0.
    let value = Some(&told.value).filter(|value| !value.is_null() && value["count"] != 0);
    let mut value = value.cloned();
    let by_foreign_key = case.topology["kind"] == "foreign-key";
    if let Some(value) = value.as_mut().filter(|_| by_foreign_key) {
        value[0] = value[0]["v"].clone();
    }
    // Its time is sometimes that of the other table's row alone.
    let timestamp = if by_foreign_key { ANY_TIME } else { told.timestamp };
    Change { key: told.key.clone(), window, value, timestamp }
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
