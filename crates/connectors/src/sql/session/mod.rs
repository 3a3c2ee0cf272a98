//! A connection to a database, whichever it is.
//!
//! A session describes tables, carries out work in one transaction, and asks. A failure
//! says whose fault it is, which decides what happens next: wait, set one record aside, or
//! stop. A call that is dropped leaves a session of unknown state: its holder drops it too.

mod mysql;
mod postgres;
mod render;
mod sqlite;

use std::{fmt, path::Path, time::Duration};

use async_trait::async_trait;
use courant_model::limits::{DATABASE_CALL_MS_MAX, DATABASE_CONNECT_MS_MAX};
use courant_pipeline::connector::ConnectorError;
use serde_json::Value;

use super::{
    address::{Address, Kind},
    cell::Cell,
    query::Query,
    table::{Table, Work},
};

/// An open connection.
#[async_trait]
pub(crate) trait Session: Send + Sync + fmt::Debug {
    /// Asks for a table's columns and keys; `None` where there is no such table.
    async fn describe(&mut self, table: &str) -> Result<Option<Table>, Fault>;

    /// Does all work in one transaction, or nothing.
    async fn write(&mut self, tables: &[Table], work: Vec<Work>) -> Result<(), Fault>;

    /// The rows of a query, as JSON objects; at most `rows` of them.
    async fn query(
        &mut self,
        query: &Query,
        values: &[Cell],
        rows: usize,
    ) -> Result<Vec<Value>, Fault>;
}

/// Why a database did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is away, or not able now; the connection is of no more use.
    Away(String),
    /// It gave the transaction up for another's sake; the same again may succeed.
    Busy(String),
    /// The data is at fault: of one record among those that were written.
    Data(String),
    /// A table or column is not there any more: look again, then try again.
    Stale(String),
    /// Nothing but a change by somebody helps.
    Refused(String),
}

impl Fault {
    /// The fault as the pipeline knows it.
    pub(crate) fn into_error(self, attempt: &str) -> ConnectorError {
        let retryable = !matches!(self, Self::Refused(_));
        let (Self::Away(why)
        | Self::Busy(why)
        | Self::Data(why)
        | Self::Stale(why)
        | Self::Refused(why)) = self;
        ConnectorError { what: format!("{attempt}: {why}"), retryable }
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write,
    /// The database refuses to change anything.
    Read,
}

/// Connects; relative paths start at `base`.
///
/// # Errors
/// [`Fault`]; credentials that are refused may be mended at the other side, so they are
/// tried again.
pub(crate) async fn connect(
    address: &Address,
    base: &Path,
    purpose: Purpose,
) -> Result<Box<dyn Session>, Fault> {
    let connecting = async {
        let session: Box<dyn Session> = match &address.kind {
            Kind::MySql(opts) => {
                Box::new(mysql::MySql::connect(opts, address.ca(base), purpose).await?)
            }
            Kind::Postgres(config) => {
                Box::new(postgres::Postgres::connect(config, address.ca(base), purpose).await?)
            }
            Kind::Sqlite(path) => Box::new(sqlite::Sqlite::open(base.join(path), purpose).await?),
        };
        Ok(session)
    };
    within(DATABASE_CONNECT_MS_MAX, connecting).await
}

/// Gives a call its bound of time.
pub(crate) async fn bounded<T>(call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    within(DATABASE_CALL_MS_MAX, call).await
}

async fn within<T>(time_ms: u64, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let done = tokio::time::timeout(Duration::from_millis(time_ms), call).await;
    done.unwrap_or_else(|_| Err(Fault::Away(format!("no answer in {time_ms} ms"))))
}
