//! The source `mysql`: changes of MySQL's and MariaDB's tables, from the binary log.
//!
//! Reading is `courant-capture`'s; here its options are those of a file ([`parse`]),
//! its changes become records ([`record`]), and its position is kept once the records
//! are durable ([`source`]): a crash repeats the last records, and loses none. What the
//! server needs, and how values look, is said in `docs/mysql.md`. Shows no passwords.

mod record;
mod source;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use courant_capture::{
    CaptureError, Selection,
    mysql::{MySqlOptions, MySqlSource, SnapshotMode, Tls as CaptureTls},
};
use courant_model::{
    Span,
    limits::{CAPTURE_CHUNK_ROWS_DEFAULT, CAPTURE_CHUNK_ROWS_MAX, CAPTURE_OUTAGE_TOLD_MS},
};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use self::{record::Form, source::Capturing};

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "mysql",
        summary: "Reads tables of MySQL or MariaDB and then every change from the binary log.",
        guarantee: "Every committed change, in the order of the log; after a crash the last \
                    records come again, none is lost. The position is kept once the records \
                    are durable. A snapshot takes no lock; none of its rows comes after a \
                    newer version of itself. A position that the server has no more is an \
                    error, never skipped.",
        example: "mysql: { url: \"mysql://reader:secret@db:3306/shop\", tables: [orderdetails, orders] }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `mysql`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// mysql://user:password@host:3306/database; several hosts with the same data,
    /// divided by commas, take over for each other. Write the password as ${NAME}.
    #[schemars(length(min = 1))]
    url: String,
    /// Encrypts the connections. Default: as the URL says, which is not.
    #[serde(default)]
    tls: Option<Tls>,
    /// Tables by name, with * and ?, also of other databases: archive.*. The snapshot
    /// reads them in this order. Default: all of the URL's database.
    #[serde(default)]
    tables: Vec<String>,
    /// Tables that are left out although "tables" has them.
    #[serde(default)]
    tables_except: Vec<String>,
    /// The only columns of the tables that they name, as table.column; tables that are
    /// not named come whole.
    #[serde(default)]
    columns: Vec<String>,
    /// Columns that are left out, as table.column.
    #[serde(default)]
    columns_except: Vec<String>,
    /// What is read before the changes where no position is kept yet. Default: initial.
    #[serde(default)]
    snapshot: Snapshot,
    /// Rows that the snapshot reads at a time. Default: 10000.
    #[serde(default)]
    #[schemars(range(min = 1, max = CAPTURE_CHUNK_ROWS_MAX))]
    chunk_rows: Option<usize>,
    /// How large transactions are handed over. Default: parts.
    #[serde(default)]
    transactions: Transactions,
    /// This reader's number among the server's replicas. Default: a large one by chance.
    #[serde(default)]
    #[schemars(range(min = 1))]
    server_id: Option<u32>,
    /// How often a quiet server says where its log stands; three times as much silence
    /// is an outage. Default: 1s.
    #[serde(default)]
    heartbeat: Option<Span>,
    /// What the records look like. Default: row.
    #[serde(default)]
    format: Format,
    /// How DECIMAL values are written. Default: text.
    #[serde(default)]
    decimals: Decimals,
}

/// Encryption; the server's certificate and name are checked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tls {
    /// File (PEM) of the authorities that are trusted. Default: those of the web.
    #[serde(default)]
    ca: Option<String>,
    /// File (PEM) of our own certificate, where the server asks for one.
    #[serde(default)]
    certificate: Option<String>,
    /// File (PEM) of the certificate's key.
    #[serde(default)]
    key: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Snapshot {
    /// All rows of the tables.
    #[default]
    Initial,
    /// Nothing: only what changes from now on.
    Never,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Transactions {
    /// One with thousands of changes in several appends, as it is read.
    #[default]
    Parts,
    /// Each in one append, all of it or nothing; at most a million changes.
    Whole,
}

/// What a record's value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// The row as an object; headers say what happened to it.
    #[default]
    Row,
    /// Debezium's envelope without schemas: before, after, source, op, ts_ms, transaction.
    Debezium,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Decimals {
    /// As text, exact for every reader.
    #[default]
    Text,
    /// As numbers with all digits; readers may round them.
    Number,
}

/// What the source needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    capture: MySqlOptions,
    tls: Option<Tls>,
    form: Form,
    whole_transactions: bool,
}

fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = Vec::new();
    if let Some(tls) = &options.tls
        && tls.certificate.is_some() != tls.key.is_some()
    {
        let what = "certificate and key belong together";
        problems.push(problem(&["tls", "certificate"], what, "set both, or none"));
    }
    let heartbeat = options.heartbeat.map_or(1_000, |span| span.as_millis().unsigned_abs());
    if heartbeat == 0 {
        problems.push(problem(&["heartbeat"], "heartbeat is 0", "write 1s"));
    }
    let whole_transactions = options.transactions == Transactions::Whole;
    let servers = servers(&options.url);
    let outage_ms = CAPTURE_OUTAGE_TOLD_MS * servers.len() as u64;
    let capture = MySqlOptions {
        servers,
        tls: None,
        selection: Selection {
            tables: options.tables,
            tables_except: options.tables_except,
            columns: options.columns,
            columns_except: options.columns_except,
        },
        snapshot: match options.snapshot {
            Snapshot::Initial => SnapshotMode::Initial,
            Snapshot::Never => SnapshotMode::Never,
        },
        whole_transactions,
        server_id: options.server_id,
        chunk_rows: options.chunk_rows.unwrap_or(CAPTURE_CHUNK_ROWS_DEFAULT),
        heartbeat_ms: heartbeat.max(1),
        outage_ms,
        ..MySqlOptions::default()
    };
    // Connects to nothing.
    match MySqlSource::new(capture.clone(), None) {
        Ok(_) if problems.is_empty() => {}
        Ok(_) => return Err(problems),
        Err(error) => {
            let remedy = "write mysql://user:password@host:3306/database";
            let path: &[&str] =
                if matches!(error, CaptureError::Url { .. }) { &["url"] } else { &[] };
            problems.push(problem(path, &error.to_string(), remedy));
            return Err(problems);
        }
    }
    let form = Form { format: options.format, decimals: options.decimals };
    Ok(Arc::new(Settings { capture, tls: options.tls, form, whole_transactions }))
}

/// One URL for each host of a URL with several.
fn servers(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.into()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = authority
        .rsplit_once('@')
        .map_or(("", authority), |(user, hosts)| (&authority[..=user.len()], hosts));
    hosts.split(',').map(|host| format!("{scheme}://{user}{}{path}", host.trim())).collect()
}

impl SourceFactory for Settings {
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        crate::tls::install();
        let mut capture = self.capture.clone();
        let file = |name: &String| -> PathBuf { context.base.join(name) };
        capture.tls = self.tls.as_ref().map(|tls| CaptureTls {
            ca: tls.ca.as_ref().map(file),
            identity: tls.certificate.as_ref().map(file).zip(tls.key.as_ref().map(file)),
        });
        let form = self.form;
        Ok(Box::new(Capturing { capture, form, whole: self.whole_transactions, context }))
    }
}

fn problem(path: &[&str], what: &str, remedy: &str) -> OptionProblem {
    let path = path.iter().map(|part| (*part).to_owned()).collect();
    OptionProblem { path, what: what.into(), remedy: Some(remedy.into()) }
}
