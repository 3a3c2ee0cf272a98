//! How many rows a second a view takes: windowed counts and averages over JSON, one thread.
//!
//! `cargo run --release -p courant-sql --example views`. State is in memory; a batch has 4,096
//! rows of about 80 bytes. Arguments: how many keys (default 10,000).

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Instant,
};

use courant_model::{Column, Timestamp};
use courant_sql::{
    RowInput,
    stream::{
        EventTimes, MemoryState, Query, QueryOptions, Relation, RelationKind, StreamRow, Task,
    },
};

const BATCHES: usize = 250;
const BATCH_ROWS: usize = 4_096;

const WINDOWS: [&str; 4] = [
    "tumble(INTERVAL '1 second')",
    "hop(INTERVAL '1 second', INTERVAL '5 seconds')",
    "hop(INTERVAL '1 second', INTERVAL '60 seconds')",
    "session(INTERVAL '1 second')",
];

fn main() -> io::Result<()> {
    let keys = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let mut out = io::stdout().lock();
    for window in WINDOWS {
        measure(window, keys, &mut out)?;
    }
    Ok(())
}

fn measure(window: &str, keys: usize, out: &mut impl Write) -> io::Result<()> {
    let relation = Relation {
        columns: [("name", "string"), ("user", "string"), ("duration", "int64")]
            .map(|(name, text)| Column::parse(name, text).expect("a column type"))
            .into_iter()
            .collect(),
        kind: RelationKind::Stream,
        key: Vec::new(),
        event_time: None,
    };
    let sql =
        format!("SELECT name, count(*) AS n, avg(duration) AS a FROM R2 GROUP BY name, {window}");
    let relations = BTreeMap::from([("R2".to_owned(), relation)]);
    let query = Query::compile(&sql, &relations, &QueryOptions::default()).expect("a query");
    let (mut task, mut state) = (Task::new(&query), MemoryState::new());
    let mut clock = EventTimes::new(1, 0);
    let batches: Vec<Vec<(String, i64)>> = (0..BATCHES).map(|batch| rows_of(batch, keys)).collect();
    let (started, mut changes) = (Instant::now(), 0);
    for batch in &batches {
        let rows: Vec<StreamRow<'_>> = batch.iter().map(|(value, at)| row(value, *at)).collect();
        let emitted = task.push(0, &rows, &mut clock, &mut state).expect("memory does not fail");
        changes += emitted.changes.len();
    }
    #[expect(clippy::cast_precision_loss, reason = "a million rows")]
    let rate = (BATCHES * BATCH_ROWS) as f64 / started.elapsed().as_secs_f64();
    writeln!(out, "{window:50} {keys} keys: {rate:9.0} rows/s, {changes} changes")
}

/// Rows that are a tenth of a millisecond apart, of keys by a fixed sequence.
fn rows_of(batch: usize, keys: usize) -> Vec<(String, i64)> {
    (0..BATCH_ROWS)
        .map(|row| {
            let number = batch * BATCH_ROWS + row;
            let key = number.wrapping_mul(2_654_435_761) % keys;
            let value = format!(
                r#"{{"name":"page-{key:06}","user":"user-{:04}","date":{number},"duration":{}}}"#,
                number % 5_000,
                number % 977
            );
            (value, i64::try_from(number / 10).expect("few rows"))
        })
        .collect()
}

fn row(value: &str, millis: i64) -> StreamRow<'_> {
    let row = RowInput {
        key: None,
        value: Some(value.as_bytes()),
        topic: "R2",
        partition: 0,
        offset: 0,
        timestamp: Timestamp::from_millis(millis),
    };
    StreamRow { row, origin: None }
}
