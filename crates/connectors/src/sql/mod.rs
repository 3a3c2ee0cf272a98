//! SQL databases: MySQL and MariaDB, PostgreSQL, SQLite.
//!
//! The sink `sql` keeps rows as records say: [`layout`] reads records by the tables'
//! columns, [`batch`] makes transactions of them, [`sink`] carries them out over a
//! [`session`]. The lookup `sql` asks a [`query`] over the same sessions. Values are always bound, never part of a statement's text; names come
//! from the file and are quoted.

mod address;
mod batch;
mod cell;
mod layout;
mod lookup;
mod query;
mod session;
mod sink;
mod table;

use std::sync::Arc;

use courant_model::{
    ByteSize,
    json::FieldPath,
    limits::{
        DATABASE_BATCH_BYTES_DEFAULT, DATABASE_BATCH_BYTES_MAX, DATABASE_BATCH_RECORDS_DEFAULT,
        DATABASE_BATCH_RECORDS_MAX, DATABASE_CHILDREN_MAX,
    },
};
use courant_pipeline::{
    connector::{About, ConnectorError, OptionProblem, Sink, SinkContext, SinkFactory, SinkKind},
    options,
};
use indexmap::IndexMap;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use address::{Address, problem};
pub(crate) use lookup::LOOKUP;

/// The entry in the list of sinks.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "sql",
        summary: "Keeps rows of a MySQL, MariaDB, PostgreSQL or SQLite table, and of tables below \
                  it.",
        guarantee: "At least once, in order; a batch is one transaction, a record with its lists \
                    too. Writes are idempotent by key, so a repeat changes nothing. Deadlocks and \
                    a database that is away are tried again; a record that the table refuses \
                    becomes a dead letter and harms no other. A tombstone, and a record whose \
                    header courant-operation is \"delete\", removes its row.",
        example: "sql: { url: \"sqlite:orders.db\", table: orders, key: orderNumber }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `sql` as a sink.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The database: mysql://, mariadb:// or postgres://${USER}:${PASSWORD}@host/database, or
    /// sqlite:file.db; ?require_ssl=true (MySQL) and ?sslmode=require (PostgreSQL) ask for TLS.
    #[schemars(length(min = 1))]
    url: String,
    /// The table, as its database writes it; with its schema where it is another one.
    #[schemars(length(min = 1, max = 200))]
    table: String,
    /// What is done with records. Default: upsert.
    #[serde(default)]
    mode: Mode,
    /// The columns that tell rows apart; upsert needs a unique index over exactly them.
    /// Default: the primary key.
    key: Option<Names>,
    /// The columns to write: a list, or each with its field, such as city: customer.city.
    /// Default: every field that has a column of its name.
    columns: Option<Columns>,
    /// Lists within the record that are rows of other tables.
    #[serde(default)]
    #[schemars(length(max = 16))]
    children: Vec<ChildOptions>,
    /// Records in one transaction. Default: 1000.
    #[serde(default = "batch_records")]
    #[schemars(range(min = 1, max = 10_000))]
    batch: usize,
    /// Bytes of records in one transaction. Default: 1MiB.
    #[serde(default = "batch_bytes")]
    batch_bytes: ByteSize,
    /// Certificates to trust beside the public ones: a PEM file.
    ca: Option<String>,
}

/// What the sink does with records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Rows are added, or changed where they are there.
    #[default]
    Upsert,
    /// Rows are added; those that are there stay, and deletes are passed over.
    Insert,
    /// Rows that are there are changed.
    Update,
    /// Rows are removed.
    Delete,
}

/// A name, or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// Columns, each with the field of its name, or with another.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Columns {
    Names(Vec<String>),
    Fields(IndexMap<String, FieldPath>),
}

/// A list within the record whose items are rows of another table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChildOptions {
    /// The table of the items.
    #[schemars(length(min = 1, max = 200))]
    table: String,
    /// The field with the list; a record without it leaves the rows as they are.
    from: FieldPath,
    /// The columns that tell its rows apart. Default: the primary key.
    key: Option<Names>,
    /// The columns that point at the record, each with the record's field.
    parent: IndexMap<String, FieldPath>,
    /// The columns to write, as the record's own.
    columns: Option<Columns>,
    /// Whether rows of the record that its list no longer has are removed. Default: true.
    #[serde(default = "yes")]
    replace: bool,
}

const fn yes() -> bool {
    true
}

const fn batch_records() -> usize {
    DATABASE_BATCH_RECORDS_DEFAULT
}

const fn batch_bytes() -> ByteSize {
    ByteSize::from_bytes(DATABASE_BATCH_BYTES_DEFAULT)
}

impl Names {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

impl Columns {
    fn into_fields(self) -> Vec<(String, FieldPath)> {
        match self {
            Self::Names(names) => {
                names.into_iter().map(|name| (name.clone(), FieldPath::field(name))).collect()
            }
            Self::Fields(fields) => fields.into_iter().collect(),
        }
    }
}

/// What the sink needs, checked.
#[derive(Debug)]
struct Settings {
    address: Address,
    table: String,
    mode: Mode,
    /// Empty: the primary key.
    key: Vec<String>,
    columns: Option<Vec<(String, FieldPath)>>,
    children: Vec<Child>,
    batch_records: usize,
    batch_bytes: usize,
}

#[derive(Debug)]
struct Child {
    table: String,
    from: FieldPath,
    key: Vec<String>,
    parent: Vec<(String, FieldPath)>,
    columns: Option<Vec<(String, FieldPath)>>,
    replace: bool,
}

impl Settings {
    /// The record's own table, then those of its lists.
    fn tables(&self) -> impl Iterator<Item = &str> {
        let children = self.children.iter().map(|child| child.table.as_str());
        std::iter::once(self.table.as_str()).chain(children)
    }
}

fn parse(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let address = Address::read(&options.url, options.ca.as_deref());
    let problems: Vec<OptionProblem> = problems_of(&options).collect();
    match address {
        Ok(address) if problems.is_empty() => Ok(Arc::new(Factory(Arc::new(Settings {
            address,
            table: options.table,
            mode: options.mode,
            key: options.key.map(Names::into_vec).unwrap_or_default(),
            columns: options.columns.map(Columns::into_fields),
            children: options.children.into_iter().map(Child::from).collect(),
            batch_records: options.batch,
            batch_bytes: options.batch_bytes.as_usize(),
        })))),
        address => Err(address.err().into_iter().chain(problems).collect()),
    }
}

/// What the schema does not say.
fn problems_of(options: &Options) -> impl Iterator<Item = OptionProblem> {
    let batch = !(1..=DATABASE_BATCH_RECORDS_MAX).contains(&options.batch);
    let bytes = !(1..=DATABASE_BATCH_BYTES_MAX).contains(&options.batch_bytes.as_bytes());
    let many = options.children.len() > DATABASE_CHILDREN_MAX;
    let mode = !matches!(options.mode, Mode::Upsert | Mode::Delete);
    let no_key = options.mode == Mode::Insert && options.key.is_some();
    let orphans = options.children.iter().any(|child| child.parent.is_empty());
    let problem = |wrong: bool, option: &str, what: &str, remedy: String| {
        wrong.then(|| problem(option, what, &remedy))
    };
    [
        problem(
            batch,
            "batch",
            "batch is out of bounds",
            format!("set 1 to {DATABASE_BATCH_RECORDS_MAX}"),
        ),
        problem(
            bytes,
            "batch_bytes",
            "batch is out of bounds",
            format!("set at most {}", ByteSize::from_bytes(DATABASE_BATCH_BYTES_MAX)),
        ),
        problem(
            many,
            "children",
            "list is too long",
            format!("keep to {DATABASE_CHILDREN_MAX} tables"),
        ),
        problem(
            mode && !options.children.is_empty(),
            "children",
            "lists are written with the mode \"upsert\" and removed with \"delete\" only",
            "change the mode, or leave the lists out".into(),
        ),
        problem(
            no_key,
            "key",
            "a key is of no use with the mode \"insert\"",
            "leave it out: a row that is there stays, by any unique index".into(),
        ),
        problem(
            orphans,
            "children",
            "a list has no columns that point at the record",
            "set \"parent\", such as { orderNumber: orderNumber }".into(),
        ),
    ]
    .into_iter()
    .flatten()
}

impl From<ChildOptions> for Child {
    fn from(options: ChildOptions) -> Self {
        Self {
            table: options.table,
            from: options.from,
            key: options.key.map(Names::into_vec).unwrap_or_default(),
            parent: options.parent.into_iter().collect(),
            columns: options.columns.map(Columns::into_fields),
            replace: options.replace,
        }
    }
}

/// Opens sinks; they share what was read.
#[derive(Debug)]
struct Factory(Arc<Settings>);

impl SinkFactory for Factory {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(sink::SqlSink::new(Arc::clone(&self.0), context.base)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
