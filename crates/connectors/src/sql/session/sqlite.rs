//! SQLite files.
//!
//! Calls run off the async threads. A file that is locked by another writer is waited
//! for; foreign keys are enforced, and the file is made where it is missing, as SQLite
//! does.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use courant_model::limits::{DATABASE_CALL_MS_MAX, DATABASE_STATEMENTS_KEPT};
use parking_lot::Mutex;
use rusqlite::{
    Connection, Error, ErrorCode, OpenFlags, Row, ToSql, params_from_iter,
    types::{ToSqlOutput, Value, ValueRef},
};
use serde_json::{Map, Value as Json, json};

use super::{
    Fault, Purpose, Session,
    render::{Conflict, Dialect},
};
use crate::sql::{
    cell::{Cell, Kind},
    query::{Placeholder, Query},
    table::{Column, Table, Work},
};

const DIALECT: Dialect = Dialect { quote: '"', conflict: Conflict::Key };

/// An open file.
#[derive(Debug)]
pub(super) struct Sqlite(Arc<Mutex<Connection>>);

impl Sqlite {
    pub(super) async fn open(path: PathBuf, purpose: Purpose) -> Result<Self, Fault> {
        let open = move || {
            let connection = match purpose {
                Purpose::Write => Connection::open(path)?,
                Purpose::Read => {
                    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                    Connection::open_with_flags(path, flags)?
                }
            };
            // Half of what a call may take, so that the file's own word is heard.
            connection.busy_timeout(Duration::from_millis(DATABASE_CALL_MS_MAX / 2))?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.set_prepared_statement_cache_capacity(DATABASE_STATEMENTS_KEPT);
            Ok(connection)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let connection = opened.map_err(|error| broken(&error))?.map_err(|error| fault(&error))?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Fault> {
        let connection = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&mut connection.lock())).await;
        done.map_err(|error| broken(&error))?.map_err(|error| fault(&error))
    }
}

#[async_trait]
impl Session for Sqlite {
    async fn describe(&mut self, table: &str) -> Result<Option<Table>, Fault> {
        let name = table.to_owned();
        self.call(move |connection| describe(connection, &name)).await
    }

    async fn query(
        &mut self,
        query: &Query,
        values: &[Cell],
        rows: usize,
    ) -> Result<Vec<Json>, Fault> {
        let values: Vec<Cell> = query.order.iter().map(|at| values[*at].clone()).collect();
        let text = query.text(Placeholder::Question);
        self.call(move |connection| {
            let mut statement = connection.prepare_cached(&text)?;
            let names: Vec<String> =
                statement.column_names().into_iter().map(str::to_owned).collect();
            let found =
                statement.query_map(params_from_iter(values), |row| object_of(row, &names))?;
            found.take(rows).collect()
        })
        .await
    }

    async fn write(&mut self, tables: &[Table], work: Vec<Work>) -> Result<(), Fault> {
        let statements: Vec<_> =
            work.into_iter().flat_map(|work| DIALECT.render(tables, work)).collect();
        self.call(move |connection| {
            // Writers wait for each other at the beginning, not half-way.
            let behavior = rusqlite::TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior)?;
            for (text, cells) in statements {
                transaction.prepare_cached(&text)?.execute(params_from_iter(cells))?;
            }
            transaction.commit()
        })
        .await
    }
}

/// A row as an object, its values as the file keeps them.
fn object_of(row: &Row<'_>, names: &[String]) -> Result<Json, Error> {
    let mut object = Map::new();
    for (at, name) in names.iter().enumerate() {
        let value = match row.get_ref(at)? {
            ValueRef::Null => Json::Null,
            ValueRef::Integer(number) => json!(number),
            ValueRef::Real(number) => json!(number),
            ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
            ValueRef::Blob(bytes) => json!(STANDARD.encode(bytes)),
        };
        object.insert(name.clone(), value);
    }
    Ok(Json::Object(object))
}

impl ToSql for Cell {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, Error> {
        let value = match self {
            Self::Null => ValueRef::Null,
            Self::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Self::Int(number) => ValueRef::Integer(*number),
            // More than SQLite's integers hold: kept as its digits.
            Self::UInt(number) => {
                let digits = Value::Text(number.to_string());
                return Ok(ToSqlOutput::Owned(
                    i64::try_from(*number).map_or(digits, Value::Integer),
                ));
            }
            Self::Float(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

fn describe(connection: &mut Connection, name: &str) -> Result<Option<Table>, Error> {
    /// What `hidden` says of a column that is written by its expression.
    const GENERATED: [i64; 2] = [2, 3];
    let mut ask = connection.prepare("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?)")?;
    let rows = ask.query_map([name], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    let (mut columns, mut primary) = (Vec::new(), Vec::new());
    for row in rows {
        let (name, sql_type, place, hidden): (String, _, _, _) = row?;
        if place > 0 {
            primary.push((place, name.clone()));
        }
        if !GENERATED.contains(&hidden) {
            columns.push(Column { name, kind: kind_of(&sql_type.to_uppercase()), sql_type });
        }
    }
    if columns.is_empty() {
        return Ok(None);
    }
    primary.sort();
    let primary: Vec<String> = primary.into_iter().map(|(_, name)| name).collect();
    let mut ask = connection.prepare(
        "SELECT l.name, i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i \
         WHERE l.\"unique\" AND NOT l.partial AND i.name IS NOT NULL ORDER BY l.seq, i.seqno",
    )?;
    let rows = ask.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut unique: Vec<(String, Vec<String>)> = vec![(String::new(), primary.clone())];
    for row in rows {
        let (key, column): (String, String) = row?;
        match unique.last_mut() {
            Some((last, columns)) if *last == key => columns.push(column),
            _ => unique.push((key, vec![column])),
        }
    }
    let unique = unique.into_iter().map(|(_, columns)| columns).filter(|key| !key.is_empty());
    Ok(Some(Table { name: name.to_owned(), columns, primary, unique: unique.collect() }))
}

/// What a declared type takes; SQLite itself looks at little more than its affinity.
fn kind_of(declared: &str) -> Kind {
    let any_of = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    match declared {
        _ if any_of(&["JSON"]) => Kind::Json,
        _ if any_of(&["INT", "BOOL"]) => Kind::Integer,
        _ if any_of(&["CHAR", "CLOB", "TEXT"]) => Kind::Text,
        _ if any_of(&["BLOB", "BINARY"]) => Kind::Bytes,
        _ if any_of(&["REAL", "FLOA", "DOUB"]) => Kind::Float,
        _ if any_of(&["DEC", "NUMERIC"]) => Kind::Decimal,
        _ => Kind::Any,
    }
}

fn broken(error: &tokio::task::JoinError) -> Fault {
    Fault::Refused(format!("a call broke down: {error}"))
}

fn fault(error: &Error) -> Fault {
    let why = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Busy(why),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            Fault::Data(why)
        }
        Some(ErrorCode::SchemaChanged) => Fault::Stale(why),
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::FileLockingProtocolFailed,
        ) => Fault::Away(why),
        // The general code; a missing table or column has no other.
        Some(ErrorCode::Unknown) if why.contains("no such") || why.contains("no column") => {
            Fault::Stale(why)
        }
        _ => Fault::Refused(why),
    }
}
