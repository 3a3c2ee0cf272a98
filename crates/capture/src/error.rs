//! Why a capture cannot start or go on, each with what mends it.
//!
//! Only [`CaptureError::is_retryable`] errors are worth another connection; the others
//! would come again. All wrong settings of a server are told at once.

use std::fmt;

/// Something about the server that must be changed, and the statement that does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found and what is needed: `binlog_format is "MIXED"; rows are needed`.
    pub what: String,
    /// The SQL statement or the line of the server's options that mends it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; mend it with: {}", self.what, self.remedy)
    }
}

/// Why a capture ends.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("database url of server {index} is not valid: {reason}")]
    Url { index: usize, reason: String },
    #[error("{what}")]
    Options { what: String },
    #[error("server {server:?} is not ready for capture: {}", list(.findings))]
    Settings { server: String, findings: Vec<Finding> },
    #[error("no connection to server {server:?}")]
    Connection {
        server: String,
        #[source]
        source: Box<mysql_async::Error>,
    },
    #[error("server {server:?} sent nothing for {silence_ms} ms although it has a heartbeat")]
    Silence { server: String, silence_ms: u64 },
    #[error("server {server:?} ended the binary log's stream")]
    Ended { server: String },
    #[error(
        "file {file:?} of server {server:?} ends within an event: the server crashed there, and its log goes on in the next file"
    )]
    Torn { server: String, file: String },
    #[error("connecting to server {server:?} took longer than {limit_ms} ms")]
    ConnectTimeout { server: String, limit_ms: u64 },
    #[error(
        "server {server:?} no longer has position {position} ({said}); take a new snapshot: start without a position"
    )]
    PositionLost { server: String, position: String, said: String },
    #[error("no table of server {server:?} matches {wanted}; check the names, or {remedy}")]
    NoTables { server: String, wanted: String, remedy: String },
    #[error(
        "table {table:?} has no primary key and no unique key without null, by which a snapshot goes; leave it out, or: ALTER TABLE {table} ADD PRIMARY KEY (…)"
    )]
    NoKey { table: String },
    #[error(
        "the log's rows of table {table:?} do not fit its columns ({what}); the table has changed since, and the log does not say how: SET GLOBAL binlog_row_metadata = 'FULL', then start without a position"
    )]
    SchemaMismatch { table: String, what: String },
    #[error(
        "a row of table {table:?} came without all its columns; a session logs partial rows: SET GLOBAL binlog_row_image = 'FULL', and in no session anything else"
    )]
    PartialRow { table: String },
    #[error(
        "a statement instead of rows is in the log at {position}, and it names a captured table: {statement:?}; SET GLOBAL binlog_format = 'ROW', and in no session anything else"
    )]
    Statement { position: String, statement: String },
    #[error("the log at {position} holds {what}, which capture does not follow; {remedy}")]
    Unsupported { position: String, what: String, remedy: String },
    #[error(
        "the transaction at {position} has more than {limit} changes, too many to keep together; hand transactions on in parts"
    )]
    TransactionTooLarge { position: String, limit: usize },
    #[error("the binary log at {position} cannot be read: {what}")]
    Corrupt { position: String, what: String },
    #[error("column {column:?} of table {table:?} cannot be read: {what}")]
    Value { table: String, column: String, what: String },
    #[error("table {table:?} changed {attempts} times while a chunk of it was read")]
    Unsettled { table: String, attempts: usize },
}

impl CaptureError {
    /// Whether a new connection, perhaps to another server, may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connection { source, .. } => !is_refusal(source),
            Self::Silence { .. }
            | Self::Ended { .. }
            | Self::Torn { .. }
            | Self::ConnectTimeout { .. }
            | Self::Corrupt { .. } => true,
            _ => false,
        }
    }
}

/// Whether the server understood and said no for good.
fn is_refusal(error: &mysql_async::Error) -> bool {
    // Wrong password, unknown database, missing right, unknown or broken SQL.
    const REFUSALS: [u16; 9] = [1044, 1045, 1049, 1064, 1142, 1143, 1193, 1227, 1698];
    match error {
        mysql_async::Error::Server(said) => REFUSALS.contains(&said.code),
        mysql_async::Error::Url(_) => true,
        _ => false,
    }
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
