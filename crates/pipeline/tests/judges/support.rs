//! What the judges share: records, chance, and a query that is run on them.

use courant_model::{Column, Columns, Timestamp};
use courant_sql::{
    RowInput,
    stream::{
        Change, Emitted, MemoryState, Query, QueryOptions, Relation, RelationKind, StreamRow, Task,
        Watermarks,
    },
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A record of one of the relations of a query.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Name of the relation.
    pub(crate) input: &'static str,
    pub(crate) key: String,
    /// `None` deletes the key from a table.
    pub(crate) value: Option<Value>,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
}

/// A generator of numbers (xorshift): equal seeds, equal cases.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn from_seed(seed: u64) -> Self {
        // Spread, so that neighbours have nothing in common; and not zero, which stays zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to below the bound.
    pub(crate) fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 16).expect("48 bits") % bound
    }

    /// Whether something happens that does in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one_of<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[usize::try_from(self.below(choices.len() as i64)).expect("not negative")]
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: i64) -> i64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A topic with these columns, one `name: type` each.
pub(crate) fn relation(kind: RelationKind, columns: &[&str]) -> Relation {
    let column = |text: &&str| {
        let (name, column_type) = text.split_once(": ").expect("name: type");
        Column::parse(name, column_type).expect("a column type")
    };
    let columns: Columns = columns.iter().map(column).collect();
    Relation { columns, kind, key: Vec::new(), event_time: None }
}

/// A change of a result, as an event of the same form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Identifies the result; empty for one that is appended.
    pub(crate) id: Vec<u8>,
    /// The column `k`, else `ka` or `kb`.
    pub(crate) key: String,
    /// Milliseconds since the epoch.
    pub(crate) window: Option<(i64, i64)>,
    /// `None`: the row is gone.
    pub(crate) value: Option<Value>,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
}

/// A query run on the records of one partition of each of its inputs.
pub(crate) struct Engine {
    inputs: Vec<String>,
    task: Task,
    state: MemoryState,
    clock: StreamTime,
    offset: i64,
}

/// Kafka Streams' time: the largest event time of all inputs, less a lateness.
struct StreamTime {
    largest: i64,
    lateness_micros: i64,
}

impl Watermarks for StreamTime {
    fn observe(&mut self, _: usize, event_time_micros: i64) -> i64 {
        self.largest = self.largest.max(event_time_micros);
        self.current()
    }

    fn current(&self) -> i64 {
        self.largest.saturating_sub(self.lateness_micros)
    }
}

impl Engine {
    pub(crate) fn new(sql: &str, relations: &[(&str, Relation)], options: &QueryOptions) -> Self {
        let relations =
            relations.iter().map(|(name, relation)| (name.to_string(), relation.clone()));
        let query = Query::compile(sql, &relations.collect(), options);
        let query = query.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        Self {
            inputs: query.inputs().iter().map(|input| input.relation.clone()).collect(),
            task: Task::new(&query),
            state: MemoryState::new(),
            clock: StreamTime { largest: i64::MIN, lateness_micros: 0 },
            offset: 0,
        }
    }

    /// Lets the watermark stay behind by so many milliseconds.
    pub(crate) fn with_lateness(mut self, millis: i64) -> Self {
        self.clock.lateness_micros = millis * 1_000;
        self
    }

    /// Takes records, and answers what they change.
    pub(crate) fn push(&mut self, events: &[&Event]) -> Vec<Row> {
        let runs = events.chunk_by(|one, other| one.input == other.input);
        runs.flat_map(|run| self.push_run(run)).collect()
    }

    /// Takes records of one input; an input that the query does not read is left out.
    fn push_run(&mut self, events: &[&Event]) -> Vec<Row> {
        let Some(input) = self.inputs.iter().position(|input| input == events[0].input) else {
            return Vec::new();
        };
        let values: Vec<_> = events.iter().map(|event| document(event)).collect();
        let rows: Vec<_> = events
            .iter()
            .zip(&values)
            .map(|(event, value)| {
                self.offset += 1;
                StreamRow {
                    row: RowInput {
                        key: Some(event.key.as_bytes()),
                        value: value.as_deref().map(str::as_bytes),
                        topic: event.input,
                        partition: 0,
                        offset: self.offset,
                        timestamp: Timestamp::from_millis(event.timestamp),
                    },
                    origin: None,
                }
            })
            .collect();
        let emitted = self.task.push(input, &rows, &mut self.clock, &mut self.state);
        told(emitted.expect("a state in memory answers"))
    }

    /// Lets time pass until every window is closed.
    pub(crate) fn end(&mut self) -> Vec<Row> {
        told(self.task.advance(i64::MAX, &mut self.state).expect("a state in memory answers"))
    }

    /// What the query says of all the records in the end, in no order.
    pub(crate) fn results(&mut self, events: &[Event]) -> Vec<Value> {
        let mut results = BTreeMap::new();
        for batch in events.chunks(100) {
            for (at, row) in self.push(&batch.iter().collect::<Vec<_>>()).into_iter().enumerate() {
                // An appended row has no key; it is a result of its own.
                let key =
                    if row.id.is_empty() { (vec![], self.offset, at) } else { (row.id, 0, 0) };
                match row.value {
                    Some(value) => results.insert(key, value),
                    None => results.remove(&key),
                };
            }
        }
        results.into_values().collect()
    }
}

/// The record's value as its topic has it: a number is the column `v`, and the key a column too.
fn document(event: &Event) -> Option<String> {
    let mut document = match event.value.clone()? {
        Value::Object(fields) => fields,
        number => [("v".to_owned(), number)].into_iter().collect(),
    };
    document.entry("k").or_insert_with(|| event.key.clone().into());
    Some(Value::Object(document).to_string())
}

fn told(emitted: Emitted) -> Vec<Row> {
    assert_eq!(emitted.rejected, [], "no row is wrong");
    emitted.changes.into_iter().map(row).collect()
}

fn row(change: Change) -> Row {
    let value: Option<Value> =
        change.value.map(|value| serde_json::from_slice(&value).expect("a row is JSON"));
    let keys = value.clone().unwrap_or_else(|| {
        let text =
            String::from_utf8(change.record_key.expect("a row that goes has a key").to_vec());
        let text = text.expect("text");
        match text.starts_with('{') {
            true => serde_json::from_str(&text).expect("the key columns"),
            false => json!({"k": text}),
        }
    });
    let bound = |name: &str| Some(millis(keys.get(name)?.as_str().expect("a time")));
    Row {
        id: change.key,
        key: ["k", "ka", "kb"]
            .iter()
            .find_map(|name| keys[name].as_str())
            .unwrap_or_default()
            .into(),
        window: bound("window_start").zip(bound("window_end")),
        value,
        timestamp: change.event_time_micros.div_euclid(1_000),
    }
}

/// Milliseconds since the epoch of a time in a result.
pub(crate) fn millis(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
}
