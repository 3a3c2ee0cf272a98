//! A mirror of captured tables, and what SQL says of the same tables.
//!
//! The mirror is strict: what a change says of the row before must be what the mirror
//! has, and a snapshot's row must not differ from one that is there.

use std::{collections::BTreeMap, time::Duration};

use courant_capture::{
    Batch, CaptureError, Change, Operation, Row, Source, Table, Value,
    mysql::{MySqlOptions, MySqlPosition, MySqlSource, Progress},
    testing::MariaDb,
};
use mysql_async::prelude::Queryable;

/// How long a batch may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Rows as SQL shows them, by table and primary key.
pub(crate) type Shown = BTreeMap<String, BTreeMap<String, Vec<Option<String>>>>;

/// The state that the changes so far make.
#[derive(Debug, Default, Clone)]
pub(crate) struct Mirror {
    rows: BTreeMap<String, BTreeMap<String, Row>>,
    tables: BTreeMap<String, Table>,
    /// The transaction that is not complete.
    pub(crate) open: Option<String>,
}

impl Mirror {
    pub(crate) fn apply(&mut self, change: &Change) {
        let id = &change.transaction.id;
        assert!(self.open.as_ref().is_none_or(|open| open == id), "a transaction has no end");
        self.open = (!change.last).then(|| id.clone());
        let name = change.table.full_name();
        let rows = self.rows.entry(name.clone()).or_default();
        let key = |row: &Row| key_text(&change.table, row);
        match (change.operation, &change.before, &change.after) {
            (Operation::Snapshot, None, Some(row)) => {
                if let Some(there) = rows.insert(key(row), row.clone()) {
                    assert_eq!(there, *row, "a snapshot's row is another than the log's");
                }
            }
            (Operation::Insert, None, Some(row)) => {
                assert_eq!(rows.insert(key(row), row.clone()), None, "inserted twice");
            }
            (Operation::Update, Some(before), Some(after)) => {
                if let Some(there) = rows.remove(&key(before)) {
                    assert_eq!(there, *before, "{name}: the row before an update");
                }
                rows.insert(key(after), after.clone());
            }
            (Operation::Delete, Some(before), None) => {
                if let Some(there) = rows.remove(&key(before)) {
                    assert_eq!(there, *before, "{name}: the row before a delete");
                }
            }
            (Operation::Truncate, None, None) => rows.clear(),
            _ => panic!("images do not fit: {change:?}"),
        }
        if change.operation != Operation::Truncate {
            self.tables.insert(name, (*change.table).clone());
        }
    }

    pub(crate) fn shown(&self) -> Shown {
        let shown = |rows: &BTreeMap<String, Row>| {
            rows.iter().map(|(key, row)| (key.clone(), row.iter().map(show).collect())).collect()
        };
        let some = self.rows.iter().filter(|(_, rows)| !rows.is_empty());
        some.map(|(name, rows)| (name.clone(), shown(rows))).collect()
    }

    pub(crate) fn table(&self, name: &str) -> &Table {
        &self.tables[name]
    }
}

pub(crate) fn options(server: &MariaDb) -> MySqlOptions {
    MySqlOptions { servers: vec![server.url()], heartbeat_ms: 100, ..MySqlOptions::default() }
}

pub(crate) fn source(options: MySqlOptions, position: Option<MySqlPosition>) -> MySqlSource {
    MySqlSource::new(options, position).unwrap()
}

/// A position as it would be kept.
pub(crate) fn kept(position: &MySqlPosition) -> Option<MySqlPosition> {
    let text = serde_json::to_string(position).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

pub(crate) async fn next(source: &mut MySqlSource) -> Result<Batch<MySqlPosition>, CaptureError> {
    tokio::time::timeout(PATIENCE, source.next()).await.expect("a batch in time")
}

/// Reads until the source has the server's last transaction and its snapshot.
pub(crate) async fn catch_up(
    source: &mut MySqlSource,
    server: &MariaDb,
) -> Result<Vec<Change>, CaptureError> {
    let last = last_sequence(server).await;
    let there = |position: &MySqlPosition| {
        position.snapshot == Progress::Done
            && position.within.is_none()
            && position.gtids.as_deref().map_or(0, sequence) >= last
    };
    let mut changes = Vec::new();
    while !source.position().is_some_and(there) {
        changes.extend(next(source).await?.changes);
    }
    Ok(changes)
}

pub(crate) async fn last_sequence(server: &MariaDb) -> u64 {
    let mut conn = server.conn().await;
    let text: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_binlog_pos").await.unwrap();
    conn.disconnect().await.unwrap();
    sequence(&text.unwrap_or_default())
}

pub(crate) fn sequence(gtids: &str) -> u64 {
    gtids.rsplit('-').next().unwrap().parse().unwrap_or_default()
}

/// What SQL says of all tables of `shop`.
pub(crate) async fn select(server: &MariaDb) -> Shown {
    const COLUMNS: &str = "SELECT table_name, column_name, data_type \
        FROM information_schema.columns WHERE table_schema = 'shop' \
        ORDER BY table_name, ordinal_position";
    let mut conn = server.conn().await;
    conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
    let columns: Vec<(String, String, String)> = conn.query(COLUMNS).await.unwrap();
    let mut shown = Shown::new();
    for columns in columns.chunk_by(|a, b| a.0 == b.0) {
        let table = &columns[0].0;
        const KEY: &str = "SELECT column_name FROM information_schema.statistics \
            WHERE table_schema = 'shop' AND table_name = ? AND index_name = 'PRIMARY' \
            ORDER BY seq_in_index";
        let keys: Vec<String> = conn.exec(KEY, (table,)).await.unwrap();
        let expressions: Vec<String> =
            columns.iter().map(|(_, name, kind)| expression(name, kind)).collect();
        let rows: Vec<mysql_async::Row> =
            conn.query(format!("SELECT {} FROM `{table}`", expressions.join(", "))).await.unwrap();
        for row in rows {
            let values: Vec<Option<String>> = (0..columns.len())
                .map(|index| row.get::<Option<String>, _>(index).unwrap())
                .zip(columns)
                .map(|(text, (_, _, kind))| text.map(|text| plain(&text, kind)))
                .collect();
            let place = |name: &String| columns.iter().position(|c| c.1 == *name).unwrap();
            let key: Vec<_> = keys.iter().map(|name| values[place(name)].clone()).collect();
            let rows = shown.entry(format!("shop.{table}")).or_default();
            rows.insert(format!("{key:?}"), values);
        }
    }
    conn.disconnect().await.unwrap();
    shown
}

/// How a column is asked for so that its text is exact.
fn expression(name: &str, kind: &str) -> String {
    match kind {
        "bit" | "year" | "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            format!("CAST(`{name}` + 0 AS CHAR)")
        }
        "float" => format!("CAST(CAST(`{name}` AS DOUBLE) AS CHAR)"),
        "double" => format!("CAST(`{name}` AS CHAR)"),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
        | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" => format!("HEX(`{name}`)"),
        _ => format!("CONVERT(CAST(`{name}` AS CHAR) USING utf8mb4)"),
    }
}

fn plain(text: &str, kind: &str) -> String {
    match kind {
        "float" | "double" => format!("{:?}", text.parse::<f64>().unwrap()),
        _ => text.to_owned(),
    }
}

fn key_text(table: &Table, row: &Row) -> String {
    let key: Vec<_> = table.key.iter().map(|index| show(&row[*index])).collect();
    format!("{key:?}")
}

fn show(value: &Value) -> Option<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    Some(match value {
        Value::Null => return None,
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => format!("{:?}", f64::from(*number)),
        Value::Double(number) => format!("{number:?}"),
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) => text.clone(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Date(date) => date.to_string(),
        Value::Time(time) => time.to_string(),
        Value::DateTime(at) | Value::Timestamp(at) => at.to_string(),
        Value::Geometry(shape) => hex(&[&shape.srid.to_le_bytes()[..], &shape.wkb].concat()),
    })
}

/// Numbers by chance, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
