//! One change of one row, and the table that it belongs to.
//!
//! A change carries the table as it was when the change was logged: after an `ALTER
//! TABLE` later changes carry another [`Table`]. Rows hold the chosen columns in the
//! table's order.

use std::sync::Arc;

use courant_model::{ColumnType, Columns, time::Origin};
use serde_json::{Map, Value as Json};

use crate::value::{Value, write_text};

/// Values in the order of the table's columns.
pub type Row = Vec<Value>;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The row as the snapshot found it; it may have been told before.
    Snapshot,
    Insert,
    Update,
    Delete,
    /// All rows of the table are gone; there are no images.
    Truncate,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub table: Arc<Table>,
    pub operation: Operation,
    /// The row as it was: with updates and deletes.
    pub before: Option<Row>,
    /// The row as it is: with snapshots, inserts and updates.
    pub after: Option<Row>,
    pub transaction: Arc<Transaction>,
    /// The change's place among the captured changes of its transaction, from 0.
    pub index: u64,
    /// Whether no captured change of its transaction, or no row of its portion of the
    /// snapshot, comes after it.
    pub last: bool,
}

/// The transaction of a change; all rows of a snapshot's chunk share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The database's name of it: a GTID, or where it stands in the log.
    pub id: String,
    pub committed_at: Origin,
}

/// A table's columns as they were at some place of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub database: String,
    pub name: String,
    /// The chosen columns.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the primary key; empty where there is none, or where a
    /// part of it was not chosen.
    pub key: Vec<usize>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
    pub nullable: bool,
}

/// What a column holds; decides the variant of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    Integer { bits: u8, unsigned: bool },
    Float,
    Double,
    Decimal { precision: u8, scale: u8 },
    Bit { bits: u8 },
    Year,
    Date,
    Time { digits: u8 },
    DateTime { digits: u8 },
    Timestamp { digits: u8 },
    Text,
    Bytes,
    Enum { labels: Arc<[String]> },
    Set { labels: Arc<[String]> },
    Uuid,
    Inet4,
    Inet6,
    Json,
    Geometry,
}

impl Change {
    /// The values of the primary key, of the row as it is or, when it is gone, was.
    pub fn key(&self) -> Vec<&Value> {
        let row = self.after.as_ref().or(self.before.as_ref());
        row.map_or_else(Vec::new, |row| self.table.key.iter().map(|at| &row[*at]).collect())
    }
}

impl Table {
    /// `database.table`, as selections and positions name it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// A row as a JSON object, in the order of the columns.
    pub fn to_json(&self, row: &Row) -> Map<String, Json> {
        let named = self.columns.iter().zip(row);
        named.map(|(column, value)| (column.name.clone(), value.to_json())).collect()
    }

    /// Writes what [`Self::to_json`] answers as text, without building it.
    pub fn write_json(&self, row: &Row, out: &mut Vec<u8>) {
        self.write_json_with(row, out, Value::write_json);
    }

    /// As [`Self::write_json`], with values as `write` writes them.
    pub fn write_json_with(
        &self,
        row: &Row,
        out: &mut Vec<u8>,
        write: impl Fn(&Value, &mut Vec<u8>),
    ) {
        let mut between = b'{';
        for (column, value) in self.columns.iter().zip(row) {
            out.push(between);
            write_text(&column.name, out);
            out.push(b':');
            write(value, out);
            between = b',';
        }
        if between == b'{' {
            out.push(between);
        }
        out.push(b'}');
    }

    /// The columns of the JSON objects, for SQL.
    pub fn columns(&self) -> Columns {
        let columns = self.columns.iter();
        columns.map(|c| courant_model::Column::new(&c.name, c.kind.column_type())).collect()
    }
}

impl ColumnKind {
    /// The type of the value's JSON form; what no type holds exactly is a string.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::Integer { bits, unsigned: false } if *bits <= 32 => ColumnType::Int32,
            Self::Integer { bits, unsigned } if !unsigned || *bits < 64 => ColumnType::Int64,
            Self::Bit { bits } if *bits < 64 => ColumnType::Int64,
            Self::Integer { .. } | Self::Bit { .. } => {
                ColumnType::Decimal { precision: 20, scale: 0 }
            }
            Self::Float | Self::Double => ColumnType::Float64,
            Self::Decimal { precision, scale } if *precision <= 38 => {
                ColumnType::Decimal { precision: *precision, scale: *scale }
            }
            Self::Year => ColumnType::Int32,
            Self::Date => ColumnType::Date,
            Self::Timestamp { .. } => ColumnType::Timestamp,
            Self::Bytes => ColumnType::Bytes,
            Self::Json => ColumnType::Json,
            Self::Geometry => ColumnType::Struct(vec![
                courant_model::Column::new("srid", ColumnType::Int64),
                courant_model::Column::new("wkb", ColumnType::Bytes),
            ]),
            Self::Decimal { .. }
            | Self::Time { .. }
            | Self::DateTime { .. }
            | Self::Text
            | Self::Enum { .. }
            | Self::Set { .. }
            | Self::Uuid
            | Self::Inet4
            | Self::Inet6 => ColumnType::String,
        }
    }
}
