//! How long a row takes: decoding, a statement, encoding, in batches and alone.
//!
//! `cargo run --release -p courant-sql --example throughput`. Each figure is the best
//! of many rounds on one thread; the records are equal, so caches are warm and what
//! is measured is the work itself, not memory.

use std::{
    hint::black_box,
    io::{self, Write},
    time::Instant,
};

use courant_model::{Column, Columns, Timestamp};
use courant_sql::{Decoder, RowInput, RunContext, Statement};

const ROUNDS: usize = 100;

struct Case {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
    document: &'static str,
    sql: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        name: "flat",
        columns: &[
            ("orderNumber", "int64"),
            ("status", "string"),
            ("customerNumber", "int64"),
            ("total", "float64"),
        ],
        document: r#"{"orderNumber":10100,"status":"Shipped","customerNumber":363,"total":10223.83}"#,
        sql: "SELECT * FROM input WHERE status <> 'Cancelled'",
    },
    Case {
        name: "exact",
        columns: &[
            ("id", "int64"),
            ("at", "timestamp"),
            ("stake", "decimal(10,2)"),
            ("ok", "boolean"),
        ],
        document: r#"{"id":10100,"at":"2026-01-31T12:30:45.123Z","stake":1234.50,"ok":true,"x":1}"#,
        sql: "SELECT id, date_trunc('minute', at) AS minute, stake * 2 AS twice FROM input WHERE ok",
    },
    Case {
        name: "nested",
        columns: &[
            ("id", "int64"),
            ("a", "struct<city: string, zip: int32>"),
            ("l", "list<int64>"),
        ],
        document: r#"{"id":10100,"a":{"city":"Oslo","zip":1234},"l":[1,2,3,4,5],"unused":"xxxxx"}"#,
        sql: "SELECT id, upper(a.city) AS city, l FROM input WHERE cardinality(l) > 2",
    },
];

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for rows in [1, 8_192] {
        for case in &CASES {
            measure(case, rows, &mut out)?;
        }
    }
    Ok(())
}

fn measure(case: &Case, rows: usize, out: &mut impl Write) -> io::Result<()> {
    let columns: Columns = case
        .columns
        .iter()
        .map(|(name, text)| Column::parse(*name, text).expect("a column type"))
        .collect();
    let (decoder, statement) =
        (Decoder::new(&columns), Statement::compile(case.sql, &columns).expect("a statement"));
    let input = RowInput {
        key: Some(b"10100"),
        value: Some(case.document.as_bytes()),
        topic: "orders",
        partition: 0,
        offset: 7,
        timestamp: Timestamp::from_millis(1_500),
    };
    let (input, context) = (vec![input; rows], RunContext { now: Timestamp::from_millis(0) });
    let decoded = decoder.decode(&input).batch;
    let result = statement.run_decoded(&decoded, &context).batch;
    assert_eq!(result.len(), rows, "every row passes");
    writeln!(
        out,
        "{:6} {} bytes, {rows:4} rows: decode {:6.0} ns, statement {:6.0} ns, encode {:6.0} ns a row",
        case.name,
        case.document.len(),
        best(rows, || decoder.decode(&input)),
        best(rows, || statement.run_decoded(&decoded, &context)),
        best(rows, || result.encode()),
    )
}

/// Nanoseconds a row in the best of the rounds.
fn best<T>(rows: usize, work: impl Fn() -> T) -> f64 {
    let round = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64()
    };
    #[expect(clippy::cast_precision_loss, reason = "a few thousand rows")]
    let rows = rows as f64;
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min) * 1e9 / rows
}
