//! What the tests of statements share: columns by their text, rows by their JSON.

use courant_model::{Column, Columns, Timestamp};
use courant_sql::{Output, RowInput, RunContext};

/// 2026-01-31T12:30:45.123Z.
pub(crate) const NOW: RunContext = RunContext { now: Timestamp::from_millis(1_769_862_645_123) };

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

/// Rows of one partition, with keys `k0`, `k1` and so on.
pub(crate) fn rows<'a>(values: &[&'a str]) -> Vec<RowInput<'a>> {
    const KEYS: [&str; 8] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"];
    values
        .iter()
        .enumerate()
        .map(|(index, value)| RowInput {
            key: Some(KEYS[index % KEYS.len()].as_bytes()),
            value: Some(value.as_bytes()),
            topic: "orders",
            partition: 3,
            offset: 100 + i64::try_from(index).expect("few rows"),
            timestamp: Timestamp::from_millis(1_500),
        })
        .collect()
}

/// The rows that passed, as `index json`, then the rejected, as `index !reason`.
pub(crate) fn told(output: &Output) -> Vec<String> {
    let values = output.batch.encode();
    let passed =
        output.batch.rows().iter().zip(&values).map(|(row, value)| {
            format!("{row} {}", std::str::from_utf8(value).expect("JSON text"))
        });
    let rejected = output.rejected.iter().map(|r| format!("{} !{}", r.row, r.reason));
    passed.chain(rejected).collect()
}
