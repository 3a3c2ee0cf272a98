//! What the tests of views share: relations, rows, and a task that is easily fed.

use std::{collections::BTreeMap, time::Duration};

use courant_model::{Column, Columns, Origin, Timestamp};
use courant_sql::{
    RowInput,
    stream::{
        Change, Emit, Emitted, EventTimes, MemoryState, Query, QueryOptions, RESULTS, Relation,
        RelationKind, StoredResult, StreamRow, Task, Watermarks,
    },
};

/// A row: key, JSON value, timestamp in milliseconds.
pub(crate) type Row<'a> = (&'a str, &'a str, i64);

/// Columns as a file writes them, one `name: type` each.
pub(crate) fn columns(texts: &[&str]) -> Columns {
    texts
        .iter()
        .map(|text| {
            let (name, column_type) = text.split_once(": ").expect("name: type");
            Column::parse(name, column_type).expect("a column type")
        })
        .collect()
}

/// A stream whose event time is the record's timestamp.
pub(crate) fn stream(texts: &[&str]) -> Relation {
    Relation {
        columns: columns(texts),
        kind: RelationKind::Stream,
        key: Vec::new(),
        event_time: None,
    }
}

/// The relations that most tests read.
pub(crate) fn relations() -> BTreeMap<String, Relation> {
    BTreeMap::from([
        ("R2".to_owned(), stream(&["name: string", "user: string", "duration: int64"])),
        ("other".to_owned(), stream(&["name: string", "weight: float64"])),
    ])
}

pub(crate) fn changes(grace_ms: u64) -> QueryOptions {
    let grace = Duration::from_millis(grace_ms);
    QueryOptions { grace, emit: Emit::Changes, ttl: None }
}

pub(crate) fn last(grace_ms: u64) -> QueryOptions {
    QueryOptions { emit: Emit::Final, ..changes(grace_ms) }
}

pub(crate) fn compile(sql: &str, options: &QueryOptions) -> Query {
    Query::compile(sql, &relations(), options).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// What a wrong text is told.
pub(crate) fn told(sql: &str) -> String {
    Query::compile(sql, &relations(), &changes(0)).expect_err(sql).to_string()
}

/// A task with its state and clock.
pub(crate) struct Bench {
    pub(crate) query: Query,
    pub(crate) state: MemoryState,
    clock: EventTimes,
    offset: i64,
    /// Every change so far, as the key and whether the row came or went.
    told: Vec<(Vec<u8>, bool)>,
}

impl Bench {
    pub(crate) fn new(query: Query) -> Self {
        let clock = EventTimes::new(query.inputs().len(), 0);
        Self { query, state: MemoryState::new(), clock, offset: 0, told: Vec::new() }
    }

    /// Feeds a batch to a new task over the state as it is.
    pub(crate) fn push(&mut self, input: usize, rows: &[Row<'_>]) -> Emitted {
        let offsets = self.offset..;
        self.offset += i64::try_from(rows.len()).expect("few rows");
        let rows: Vec<_> =
            rows.iter().zip(offsets).map(|(row, offset)| given(*row, offset)).collect();
        let mut task = Task::new(&self.query);
        let emitted = task.push(input, &rows, &mut self.clock, &mut self.state);
        self.heard(emitted.expect("memory does not fail"))
    }

    /// Lets event time come to the millisecond.
    pub(crate) fn advance(&mut self, millis: i64) -> Emitted {
        let watermark = self.clock.current().max(millis * 1_000);
        let emitted = Task::new(&self.query).advance(watermark, &mut self.state);
        self.heard(emitted.expect("memory does not fail"))
    }

    fn heard(&mut self, emitted: Emitted) -> Emitted {
        let changes = emitted.changes.iter();
        self.told.extend(changes.map(|change| (change.key.clone(), change.value.is_some())));
        emitted
    }

    /// Rows that were told more than once, or taken back.
    pub(crate) fn told_twice(&self) -> Vec<String> {
        let mut seen = std::collections::BTreeSet::new();
        let twice = self.told.iter().filter(|(key, came)| !seen.insert(key) || !came);
        twice.map(|told| format!("{told:?}")).collect()
    }

    /// How many entries there are beside results.
    pub(crate) fn remembered(&self) -> usize {
        (1..8).map(|table| self.state.entries(table).count()).sum()
    }

    /// The rows of the table of results, in the order of their keys.
    pub(crate) fn results(&self) -> Vec<String> {
        let entries = self.state.entries(RESULTS);
        let rows = entries.map(|(_, value)| StoredResult::decode(value).expect("a result").row);
        rows.map(|row| text(&row)).collect()
    }
}

fn given<'a>((key, value, millis): Row<'a>, offset: i64) -> StreamRow<'a> {
    let row = RowInput {
        key: Some(key.as_bytes()),
        value: (!value.is_empty()).then_some(value.as_bytes()),
        topic: "R2",
        partition: 0,
        offset,
        timestamp: Timestamp::from_millis(millis),
    };
    StreamRow { row, origin: Some(Origin::from_micros(1_000 + offset)) }
}

/// Changes as text: the row, or `-` and the record's key.
pub(crate) fn shown(changes: &[Change]) -> Vec<String> {
    let show = |change: &Change| match (&change.value, &change.record_key) {
        (Some(value), _) => text(value),
        (None, Some(key)) => format!("-{}", text(key)),
        (None, None) => "-".into(),
    };
    changes.iter().map(show).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
