//! Chunks of a table by its key, each true for one place of the log.
//!
//! No lock, no write. The stream stands still at a boundary while a chunk is read; the
//! read sees at least everything up to that boundary and at most everything up to the
//! chunk's `high`. While the stream goes on from the one to the other, rows that it
//! changes leave the chunk: the change said it all. At `high` what remains is handed
//! out. So no row is ever followed by an older one. On MariaDB the read sees exactly
//! what the log has up to `high`; on MySQL the executed GTIDs say when it sees enough.

use std::{collections::HashSet, fmt::Write, sync::Arc, time::Duration};

use courant_model::limits::{CAPTURE_CHUNK_ATTEMPTS_MAX, CAPTURE_RETRY_MS_MIN};
use mysql_async::{Value as Sql, prelude::Queryable};

use super::{
    bytes::Bytes,
    catalog::{self, CatalogColumn, CatalogTable},
    fields,
    gtid::Gtids,
    position::LogPlace,
    server::Server,
};
use crate::{
    change::{Change, ColumnKind, Row, Table},
    error::CaptureError,
    select::Selection,
    value::{Date, DateTime, Time, Value},
};

/// Rows of a table, in the order of its key.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) table: Arc<Table>,
    rows: Vec<Row>,
    /// The place of the log at which the rows are handed out.
    pub(super) high: LogPlace,
    /// Microseconds since the epoch at which the rows were read, by the server's clock.
    pub(super) read_at: i64,
    /// The key of the last row that was read.
    pub(super) last: Option<Vec<Value>>,
    /// Whether the table has no more rows.
    pub(super) complete: bool,
    touched: HashSet<String>,
}

/// Which chunk to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) database: &'a str,
    pub(super) name: &'a str,
    pub(super) after: Option<&'a [Value]>,
    pub(super) rows_max: usize,
    pub(super) selection: &'a Selection,
    /// Where the stream stands.
    pub(super) seen: &'a LogPlace,
    pub(super) seen_gtids: Option<&'a Gtids>,
}

impl Chunk {
    /// Takes note of a change that the stream brought before `high`.
    pub(super) fn touch(&mut self, change: &Change) {
        if change.table.name != self.table.name || change.table.database != self.table.database {
            return;
        }
        for row in change.before.iter().chain(&change.after) {
            self.touched.insert(key_text(&change.table, row));
        }
    }

    /// The rows that the stream did not change.
    pub(super) fn into_rows(mut self) -> Vec<Row> {
        if !self.touched.is_empty() {
            let (table, touched) = (&self.table, &self.touched);
            self.rows.retain(|row| !touched.contains(&key_text(table, row)));
        }
        self.rows
    }

    /// A table that is not there any more.
    fn gone(wanted: Wanted<'_>) -> Self {
        let (database, name) = (wanted.database.into(), wanted.name.into());
        Self {
            table: Arc::new(Table { database, name, columns: Vec::new(), key: Vec::new() }),
            rows: Vec::new(),
            high: wanted.seen.clone(),
            read_at: 0,
            last: None,
            complete: true,
            touched: HashSet::new(),
        }
    }
}

/// Reads a chunk.
///
/// # Errors
/// When the table has no key, a value cannot be read, or the server fails.
pub(super) async fn read(server: &mut Server, wanted: Wanted<'_>) -> Result<Chunk, CaptureError> {
    for _ in 0..CAPTURE_CHUNK_ATTEMPTS_MAX {
        if let Some(high) = begin(server, wanted).await? {
            let chunk = read_rows(server, wanted, high).await;
            match chunk {
                Ok(chunk) => {
                    server.end_read().await?;
                    return Ok(chunk);
                }
                Err(Failed::Capture(error)) => return Err(error),
                Err(Failed::Server(mysql_async::Error::Server(said))) if changed(said.code) => {}
                Err(Failed::Server(error)) => return Err(server.error(error)),
            }
        }
        server.end_read().await?;
        tokio::time::sleep(Duration::from_millis(CAPTURE_RETRY_MS_MIN)).await;
    }
    let table = format!("{}.{}", wanted.database, wanted.name);
    Err(CaptureError::Unsettled { table, attempts: CAPTURE_CHUNK_ATTEMPTS_MAX })
}

/// Begins a read that sees all that the stream has brought; `None` when the server's
/// tables are still behind its log.
async fn begin(server: &mut Server, wanted: Wanted<'_>) -> Result<Option<LogPlace>, CaptureError> {
    if server.maria_db {
        let place = server.begin_read().await?;
        return Ok(place.reached(wanted.seen).then_some(place));
    }
    let executed = server.gtids_at(wanted.seen).await?;
    let enough = match (&executed, wanted.seen_gtids) {
        (Some(executed), Some(seen)) => executed.has_all(seen),
        _ => false,
    };
    if !enough {
        return Ok(None);
    }
    server.begin_read().await?;
    Ok(Some(wanted.seen.clone()))
}

/// Why a chunk could not be read.
enum Failed {
    Capture(CaptureError),
    Server(mysql_async::Error),
}

impl From<mysql_async::Error> for Failed {
    fn from(error: mysql_async::Error) -> Self {
        Self::Server(error)
    }
}

/// Table definition changed, unknown column, no such table.
const fn changed(code: u16) -> bool {
    matches!(code, 1054 | 1146 | 1412)
}

async fn read_rows(
    server: &mut Server,
    wanted: Wanted<'_>,
    high: LogPlace,
) -> Result<Chunk, Failed> {
    let (database, name) = (wanted.database, wanted.name);
    let full_name = || format!("{database}.{name}");
    let known = match catalog::table(&mut server.conn, database, name).await? {
        None => return Ok(Chunk::gone(wanted)),
        Some(Ok(known)) => known,
        Some(Err(what)) => {
            let (table, column) = (full_name(), String::new());
            return Err(Failed::Capture(CaptureError::Value { table, column, what }));
        }
    };
    let table = Arc::new(known.table(wanted.selection));
    if table.key.is_empty() {
        return Err(Failed::Capture(CaptureError::NoKey { table: full_name() }));
    }
    const NOW: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";
    let read_at: Option<i64> = server.conn.query_first(NOW).await?;
    let keys = key_columns(&known);
    let (query, parameters) = query(&table, &keys, wanted);
    let mut found: Vec<mysql_async::Row> = server.conn.exec(query, parameters).await?;
    let high = if server.maria_db {
        high
    } else {
        // The log is written before rows are seen: its end has all that was read.
        server.end().await.map_err(Failed::Capture)?
    };
    let complete = found.len() < wanted.rows_max;
    let last = found.last().map(|row| last_key(&table, &keys, row)).transpose();
    let rows = found.drain(..).map(|row| exact_row(&table, row)).collect::<Result<_, _>>();
    Ok(Chunk {
        rows: rows.map_err(Failed::Capture)?,
        last: last.map_err(Failed::Capture)?,
        high,
        read_at: read_at.unwrap_or_default(),
        complete,
        table,
        touched: HashSet::new(),
    })
}

fn key_columns(table: &CatalogTable) -> Vec<&CatalogColumn> {
    let column = |name: &String| table.columns.iter().find(|column| column.name == *name);
    table.key.iter().filter_map(column).collect()
}

/// The chosen columns and then the key, as what its order goes by: an enumeration's
/// order is that of its numbers.
fn query(table: &Table, keys: &[&CatalogColumn], wanted: Wanted<'_>) -> (String, Vec<Sql>) {
    let mut query = String::from("SELECT ");
    for column in &table.columns {
        let _ = write!(query, "{}, ", quoted(&column.name));
    }
    for (index, key) in keys.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let number = if is_labelled(&key.kind) { "+0" } else { "" };
        let _ = write!(query, "{comma}{}{number}", quoted(&key.name));
    }
    let _ = write!(query, " FROM {}.{}", quoted(&table.database), quoted(&table.name));
    let mut parameters = Vec::new();
    if let Some(after) = wanted.after {
        write_after(&mut query, &mut parameters, keys, after);
    }
    query.push_str(" ORDER BY ");
    for (index, key) in keys.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let _ = write!(query, "{comma}{}", quoted(&key.name));
    }
    let _ = write!(query, " LIMIT {}", wanted.rows_max);
    (query, parameters)
}

/// `a >= ? AND (a > ? OR (a = ? AND b > ?))`: rows after a key, by its index.
fn write_after(
    query: &mut String,
    parameters: &mut Vec<Sql>,
    keys: &[&CatalogColumn],
    after: &[Value],
) {
    let mut compare = |query: &mut String, index: usize, operator: &str| {
        let (key, value) = (keys[index], &after[index]);
        let _ = write!(query, "{} {operator} {}", quoted(&key.name), parameter(&key.kind));
        parameters.push(sql_value(value));
    };
    query.push_str(" WHERE ");
    compare(query, 0, ">=");
    query.push_str(" AND (");
    for last in 0..keys.len().min(after.len()) {
        query.push_str(if last > 0 { " OR (" } else { "(" });
        for equal in 0..last {
            compare(query, equal, "=");
            query.push_str(" AND ");
        }
        compare(query, last, ">");
        query.push(')');
    }
    query.push(')');
}

/// A parameter that is compared exactly as the column is ordered.
fn parameter(kind: &ColumnKind) -> String {
    match kind {
        ColumnKind::Decimal { precision, scale } => {
            format!("CAST(? AS DECIMAL({precision}, {scale}))")
        }
        // Bytes as a parameter would be taken for text.
        ColumnKind::Bytes => "UNHEX(?)".into(),
        _ => "?".into(),
    }
}

fn sql_value(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::NULL,
        Value::Int(number) => Sql::Int(*number),
        Value::UInt(number) => Sql::UInt(*number),
        Value::Float(number) => Sql::Float(*number),
        Value::Double(number) => Sql::Double(*number),
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) => text.as_str().into(),
        Value::Bytes(bytes) => {
            bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into()
        }
        Value::Date(date) => date.to_string().into(),
        Value::Time(time) => time.to_string().into(),
        Value::DateTime(at) | Value::Timestamp(at) => at.to_string().into(),
        Value::Geometry(shape) => Sql::Bytes(shape.wkb.clone()),
    }
}

const fn is_labelled(kind: &ColumnKind) -> bool {
    matches!(kind, ColumnKind::Enum { .. } | ColumnKind::Set { .. })
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn key_text(table: &Table, row: &Row) -> String {
    let key: Vec<&Value> = table.key.iter().filter_map(|index| row.get(*index)).collect();
    serde_json::to_string(&key).unwrap_or_default()
}

fn last_key(
    table: &Table,
    keys: &[&CatalogColumn],
    row: &mysql_async::Row,
) -> Result<Vec<Value>, CaptureError> {
    let number = ColumnKind::Integer { bits: 64, unsigned: true };
    let value = |(index, key): (usize, &&CatalogColumn)| {
        let kind = if is_labelled(&key.kind) { &number } else { &key.kind };
        let value = row.as_ref(table.columns.len() + index).cloned().unwrap_or(Sql::NULL);
        exact(kind, value).map_err(|what| CaptureError::Value {
            table: table.full_name(),
            column: key.name.clone(),
            what,
        })
    };
    keys.iter().enumerate().map(value).collect()
}

fn exact_row(table: &Table, row: mysql_async::Row) -> Result<Row, CaptureError> {
    let values = table.columns.iter().zip(row.unwrap());
    let exact = values.map(|(column, value)| {
        exact(&column.kind, value).map_err(|what| CaptureError::Value {
            table: table.full_name(),
            column: column.name.clone(),
            what,
        })
    });
    exact.collect()
}

/// A value of a `SELECT` as the log would have it.
fn exact(kind: &ColumnKind, value: Sql) -> Result<Value, String> {
    Ok(match (kind, value) {
        (_, Sql::NULL) => Value::Null,
        (ColumnKind::Integer { unsigned: false, .. }, Sql::Int(number)) => Value::Int(number),
        (ColumnKind::Integer { .. } | ColumnKind::Year, Sql::UInt(number)) => Value::UInt(number),
        (ColumnKind::Integer { .. } | ColumnKind::Year, Sql::Int(number)) => {
            Value::UInt(u64::try_from(number).map_err(|_| format!("{number} is negative"))?)
        }
        // Enumerations' numbers may come as floating ones.
        (ColumnKind::Integer { .. }, Sql::Double(number)) => Value::UInt(number as u64),
        (ColumnKind::Float, Sql::Float(number)) => Value::Float(number),
        (ColumnKind::Double, Sql::Double(number)) => Value::Double(number),
        (ColumnKind::Bit { .. }, Sql::Bytes(bytes)) => {
            let number = Bytes(&bytes).uint_be(bytes.len().min(8));
            Value::UInt(number.map_err(|fault| fault.0.into_owned())?)
        }
        (ColumnKind::Date, Sql::Date(year, month, day, ..)) => {
            Value::Date(Date { year, month, day })
        }
        (kind, Sql::Date(year, month, day, hour, minute, second, micros)) => {
            let date = Date { year, month, day };
            let at = |digits| DateTime { date, hour, minute, second, micros, digits };
            match kind {
                ColumnKind::DateTime { digits } => Value::DateTime(at(*digits)),
                ColumnKind::Timestamp { digits } => Value::Timestamp(at(*digits)),
                _ => return Err("the server sent a date for it".into()),
            }
        }
        (
            ColumnKind::Time { digits },
            Sql::Time(negative, days, hours, minutes, seconds, micros),
        ) => {
            let hours = u16::try_from(days * 24 + u32::from(hours)).unwrap_or(u16::MAX);
            Value::Time(Time { negative, hours, minutes, seconds, micros, digits: *digits })
        }
        (kind, Sql::Bytes(bytes)) => counted(kind, bytes)?,
        (kind, value) => return Err(format!("the server sent {value:?} for {kind:?}")),
    })
}

fn counted(kind: &ColumnKind, bytes: Vec<u8>) -> Result<Value, String> {
    let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => Value::Text(text),
        Err(error) => Value::Bytes(error.into_bytes()),
    };
    let ascii = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "it is no text".to_owned());
    Ok(match kind {
        ColumnKind::Decimal { .. } => Value::Decimal(ascii(bytes)?),
        ColumnKind::Json => Value::Json(ascii(bytes)?),
        ColumnKind::Bytes => Value::Bytes(bytes),
        ColumnKind::Geometry => fields::geometry(&bytes).map_err(|fault| fault.0.into_owned())?,
        ColumnKind::Text
        | ColumnKind::Enum { .. }
        | ColumnKind::Set { .. }
        | ColumnKind::Uuid
        | ColumnKind::Inet4
        | ColumnKind::Inet6 => text(bytes),
        kind => return Err(format!("the server sent bytes for {kind:?}")),
    })
}
