//! The sink `sql` on real databases: MariaDB, PostgreSQL and SQLite, alike.

mod failures;
mod orders;
mod rows;
mod types;

use std::path::PathBuf;

use courant_capture::testing::MariaDb;
use courant_model::Operation;
use courant_pipeline::event::{Event, Payload};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::*;
use crate::testing::{World, event, servers::postgres::Postgres, suite};

/// A database of one test's own.
#[derive(Debug)]
pub(crate) enum Database {
    MariaDb(Box<MariaDb>),
    Postgres(Box<Postgres>),
    Sqlite(tempfile::TempDir),
}

impl Database {
    /// One of each kind that is there.
    pub(crate) async fn each() -> Vec<Self> {
        let sqlite = Self::sqlite();
        let mariadb = Self::mariadb(&[]).await;
        let postgres = Postgres::start().await.map(|server| Self::Postgres(Box::new(server)));
        [Some(sqlite), mariadb, postgres].into_iter().flatten().collect()
    }

    pub(crate) async fn mariadb(arguments: &[&str]) -> Option<Self> {
        MariaDb::start(arguments).await.map(|server| Self::MariaDb(Box::new(server)))
    }

    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::MariaDb(server) => server.url(),
            Self::Postgres(server) => server.url(),
            Self::Sqlite(folder) => format!("sqlite:{}", file(folder).display()),
        }
    }

    /// Runs statements that each end a line with `;`.
    pub(crate) async fn execute(&self, statements: &str) {
        match self {
            Self::MariaDb(server) => server.execute(statements).await,
            Self::Postgres(server) => {
                server.client().await.batch_execute(statements).await.unwrap();
            }
            Self::Sqlite(folder) => {
                rusqlite::Connection::open(file(folder))
                    .unwrap()
                    .execute_batch(statements)
                    .unwrap();
            }
        }
    }

    /// The rows of a query: each a text with its values between bars.
    pub(crate) async fn rows(&self, query: &str) -> Vec<String> {
        match self {
            Self::MariaDb(server) => {
                let rows: Vec<mysql_async::Row> = server.conn().await.query(query).await.unwrap();
                let text = |value: mysql_async::Value| match value {
                    mysql_async::Value::NULL => "null".into(),
                    mysql_async::Value::Bytes(bytes) => {
                        String::from_utf8_lossy(&bytes).into_owned()
                    }
                    other => other.as_sql(true),
                };
                let row = |row: mysql_async::Row| row.unwrap().into_iter().map(text).collect();
                rows.into_iter().map(row).map(|row: Vec<String>| row.join("|")).collect()
            }
            Self::Postgres(server) => {
                let answer = server.client().await.simple_query(query).await.unwrap();
                let rows = answer.into_iter().filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                let text = |row: &tokio_postgres::SimpleQueryRow, at| {
                    row.get(at).unwrap_or("null").to_owned()
                };
                rows.map(|row| {
                    (0..row.len()).map(|at| text(&row, at)).collect::<Vec<_>>().join("|")
                })
                .collect()
            }
            Self::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(file(folder)).unwrap();
                let mut statement = connection.prepare(query).unwrap();
                let columns = statement.column_count();
                let text = |value: rusqlite::types::Value| match value {
                    rusqlite::types::Value::Null => "null".into(),
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Real(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    rusqlite::types::Value::Blob(bytes) => format!("{bytes:?}"),
                };
                let rows = statement.query_map([], |row| {
                    let row: Vec<String> =
                        (0..columns).map(|at| text(row.get(at).unwrap())).collect();
                    Ok(row.join("|"))
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
        }
    }

    /// A sink with these options beside the URL.
    fn sink(&self, options: Value) -> Box<dyn Sink> {
        let options = crate::testing::with(json!({ "url": self.url() }), options);
        parse(&options).unwrap().open(World::new().sink_context()).unwrap()
    }
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("test.db")
}

/// Events with these values, at offsets from 0 on; null is a tombstone.
fn events(values: impl IntoIterator<Item = Value>) -> Vec<Event> {
    (0..)
        .zip(values)
        .map(|(offset, value)| {
            let mut event = event(offset, value.to_string());
            if value.is_null() {
                event.payload = Payload::null();
            }
            event
        })
        .collect()
}

/// The event of a row that is gone.
fn deleted(value: Value) -> Event {
    let mut event = events([value]).remove(0);
    event.headers.push(Operation::Delete.header());
    event
}

fn tombstone(key: &str) -> Event {
    let mut event = events([Value::Null]).remove(0);
    event.key = Some(key.to_owned().into());
    event
}

async fn write(
    sink: &mut dyn Sink,
    events: &[Event],
) -> Vec<courant_pipeline::connector::Rejection> {
    let rejections = sink.write(events).await.unwrap();
    sink.flush().await.unwrap();
    rejections
}

#[test]
fn options_that_do_not_fit_are_all_told() {
    let problems = |options: Value| -> Vec<String> {
        let problems = parse(&options).unwrap_err();
        problems.into_iter().map(|problem| problem.path.join(".")).collect()
    };
    let base = json!({ "url": "sqlite:a.db", "table": "t" });
    let with = |more: Value| crate::testing::with(base.clone(), more);
    assert!(parse(&base).is_ok());
    assert_eq!(problems(json!({ "url": "sqlite:a.db" })), [""; 1]);
    assert_eq!(problems(with(json!({ "url": "x", "batch_bytes": "0" }))), ["url", "batch_bytes"]);
    assert_eq!(problems(with(json!({ "batch": 0 }))), ["batch"]);
    assert_eq!(problems(with(json!({ "mode": "insert", "key": "id" }))), ["key"]);
    let child = json!({ "table": "l", "from": "lines", "parent": { "id": "id" } });
    assert!(parse(&with(json!({ "children": [child] }))).is_ok());
    assert_eq!(problems(with(json!({ "children": [child], "mode": "update" }))), ["children"]);
    let orphan = json!({ "table": "l", "from": "lines", "parent": {} });
    assert_eq!(problems(with(json!({ "children": [orphan] }))), ["children"]);
}
