//! MySQL and MariaDB.
//!
//! The session is strict, so that a value that does not fit is refused and not cut; its
//! time zone is UTC. Errors are sorted by the server's number and SQLSTATE.

use std::path::PathBuf;

use async_trait::async_trait;
use courant_capture::value::{Date, DateTime, Time, Value as Captured};
use courant_model::limits::DATABASE_STATEMENTS_KEPT;
use futures::StreamExt;
use mysql_async::{
    Column as Described, Conn, DriverError, Error, Opts, OptsBuilder, Params, Row, ServerError,
    Value, consts::ColumnType, prelude::Queryable,
};
use serde_json::Value as Json;

use super::{
    Fault, Purpose, Session, bounded,
    render::{Conflict, Dialect},
};
use crate::{
    sql::{
        cell::{Cell, Kind},
        query::{Placeholder, Query},
        table::{Column, Table, Work},
    },
    tls,
};

const DIALECT: Dialect = Dialect { quote: '`', conflict: Conflict::Duplicate };

/// How a session is set: values are exact or refused, a key of 0 is 0, zones are UTC.
const SETTINGS: [&str; 3] = [
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'",
];

/// A connection.
#[derive(Debug)]
pub(super) struct MySql {
    conn: Conn,
    maria_db: bool,
}

impl MySql {
    pub(super) async fn connect(
        opts: &Opts,
        ca: Option<PathBuf>,
        purpose: Purpose,
    ) -> Result<Self, Fault> {
        tls::install();
        let mut settings = SETTINGS.to_vec();
        if purpose == Purpose::Read {
            settings.push("SET SESSION TRANSACTION READ ONLY");
        }
        let mut builder = OptsBuilder::from_opts(opts.clone())
            .prefer_socket(false)
            .stmt_cache_size(DATABASE_STATEMENTS_KEPT)
            .setup(settings);
        if let (Some(ca), Some(ssl)) = (ca, opts.ssl_opts()) {
            let ssl = ssl.clone().with_root_certs(vec![ca.into()]);
            builder = builder.ssl_opts(Some(ssl));
        }
        let conn = Conn::new(builder).await;
        // Whatever the server says to it may be mended there.
        let mut conn = conn.map_err(|error| Fault::Away(error.to_string()))?;
        let version: Option<String> =
            conn.query_first("SELECT VERSION()").await.map_err(|error| fault(&error))?;
        let maria_db = version.unwrap_or_default().to_lowercase().contains("mariadb");
        Ok(Self { conn, maria_db })
    }

    async fn run(&mut self, statements: Vec<(String, Vec<Cell>)>) -> Result<(), Error> {
        self.conn.query_drop("START TRANSACTION").await?;
        for (text, cells) in statements {
            let values = cells.into_iter().map(value).collect();
            self.conn.exec_drop(text, Params::Positional(values)).await?;
        }
        self.conn.query_drop("COMMIT").await
    }

    async fn ask(&mut self, name: &str) -> Result<Option<Table>, Error> {
        let (schema, table) = match name.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, name),
        };
        let place = || (schema, table);
        let columns: Vec<(String, String, String, String)> = self
            .conn
            .exec(
                "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, EXTRA \
                 FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? \
                 ORDER BY ORDINAL_POSITION",
                place(),
            )
            .await?;
        if columns.is_empty() {
            return Ok(None);
        }
        let keys: Vec<(String, String)> = self
            .conn
            .exec(
                "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
                 WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? \
                 AND NON_UNIQUE = 0 AND COLUMN_NAME IS NOT NULL \
                 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
                place(),
            )
            .await?;
        // MariaDB's documents are text with a check.
        let checks: Vec<String> = if self.maria_db {
            let ask = "SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
                       WHERE CONSTRAINT_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?";
            self.conn.exec(ask, place()).await?
        } else {
            Vec::new()
        };
        let is_json = |column: &str| {
            let check = format!("json_valid(`{column}`)");
            checks.iter().any(|clause| clause.eq_ignore_ascii_case(&check))
        };
        let writable = |(_, _, _, extra): &(String, String, String, String)| {
            let extra = extra.to_uppercase();
            !extra.contains("VIRTUAL") && !extra.contains("STORED")
        };
        let columns = columns.into_iter().filter(writable).map(|(name, kind, sql_type, _)| {
            let kind = if is_json(&name) { Kind::Json } else { kind_of(&kind.to_lowercase()) };
            Column { name, kind, sql_type }
        });
        let mut unique: Vec<(String, Vec<String>)> = Vec::new();
        for (key, column) in keys {
            match unique.last_mut() {
                Some((last, columns)) if *last == key => columns.push(column),
                _ => unique.push((key, vec![column])),
            }
        }
        let primary = unique.iter().find(|(key, _)| key == "PRIMARY");
        Ok(Some(Table {
            name: name.to_owned(),
            columns: columns.collect(),
            primary: primary.map(|(_, columns)| columns.clone()).unwrap_or_default(),
            unique: unique.into_iter().map(|(_, columns)| columns).collect(),
        }))
    }
}

#[async_trait]
impl Session for MySql {
    async fn describe(&mut self, table: &str) -> Result<Option<Table>, Fault> {
        bounded(async { self.ask(table).await.map_err(|error| fault(&error)) }).await
    }

    async fn query(
        &mut self,
        query: &Query,
        values: &[Cell],
        rows: usize,
    ) -> Result<Vec<Json>, Fault> {
        bounded(async { self.rows(query, values, rows).await.map_err(|error| fault(&error)) }).await
    }

    async fn write(&mut self, tables: &[Table], work: Vec<Work>) -> Result<(), Fault> {
        let statements = work.into_iter().flat_map(|work| DIALECT.render(tables, work)).collect();
        bounded(async {
            let Err(error) = self.run(statements).await else { return Ok(()) };
            let fault = fault(&error);
            if !matches!(fault, Fault::Away(_)) {
                let undone = self.conn.query_drop("ROLLBACK").await;
                undone.map_err(|error| Fault::Away(error.to_string()))?;
            }
            Err(fault)
        })
        .await
    }
}

impl MySql {
    async fn rows(
        &mut self,
        query: &Query,
        values: &[Cell],
        rows: usize,
    ) -> Result<Vec<Json>, Error> {
        let values = query.order.iter().map(|at| value(values[*at].clone())).collect();
        let text = query.text(Placeholder::Question);
        let mut answer =
            self.conn.exec_stream::<Row, _, _>(text, Params::Positional(values)).await?;
        let mut found = Vec::new();
        while found.len() < rows
            && let Some(row) = answer.next().await.transpose()?
        {
            found.push(object_of(row));
        }
        Ok(found)
    }
}

/// A row as an object, its values as change data capture writes them.
fn object_of(row: Row) -> Json {
    let columns = row.columns();
    let field = |(column, value): (&Described, Value)| {
        (column.name_str().into_owned(), json_of(column, value))
    };
    Json::Object(columns.iter().zip(row.unwrap()).map(field).collect())
}

fn json_of(column: &Described, value: Value) -> Json {
    let digits = column.decimals().min(6);
    let captured = match (value, column.column_type()) {
        (Value::NULL, _) => Captured::Null,
        (Value::Int(number), _) => Captured::Int(number),
        (Value::UInt(number), _) => Captured::UInt(number),
        (Value::Float(number), _) => Captured::Float(number),
        (Value::Double(number), _) => Captured::Double(number),
        (Value::Time(negative, days, hours, minutes, seconds, micros), _) => {
            let hours = u16::try_from(days * 24 + u32::from(hours)).unwrap_or(u16::MAX);
            Captured::Time(Time { negative, hours, minutes, seconds, micros, digits })
        }
        (Value::Date(year, month, day, ..), ColumnType::MYSQL_TYPE_DATE) => {
            Captured::Date(Date { year, month, day })
        }
        (Value::Date(year, month, day, hour, minute, second, micros), kind) => {
            let date = Date { year, month, day };
            let at = DateTime { date, hour, minute, second, micros, digits };
            if kind == ColumnType::MYSQL_TYPE_TIMESTAMP {
                Captured::Timestamp(at)
            } else {
                Captured::DateTime(at)
            }
        }
        (Value::Bytes(bytes), kind) => of_bytes(kind, column.character_set(), bytes),
    };
    captured.to_json()
}

fn of_bytes(kind: ColumnType, charset: u16, bytes: Vec<u8>) -> Captured {
    /// The number of the character set of what is no text.
    const BINARY: u16 = 63;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match kind {
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => {
            Captured::Decimal(text(bytes))
        }
        ColumnType::MYSQL_TYPE_JSON => Captured::Json(text(bytes)),
        ColumnType::MYSQL_TYPE_BIT => {
            Captured::UInt(bytes.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
        }
        _ if charset == BINARY => Captured::Bytes(bytes),
        _ => Captured::Text(text(bytes)),
    }
}

fn kind_of(data_type: &str) -> Kind {
    match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "bit" => Kind::Integer,
        "decimal" => Kind::Decimal,
        "float" | "double" => Kind::Float,
        "datetime" | "timestamp" => Kind::Timestamp,
        "json" => Kind::Json,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => Kind::Geometry,
        _ => Kind::Text,
    }
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Bool(value) => Value::Int(i64::from(value)),
        Cell::Int(number) => Value::Int(number),
        Cell::UInt(number) => Value::UInt(number),
        Cell::Float(number) => Value::Double(number),
        Cell::Text(text) => Value::Bytes(text.into_bytes()),
        Cell::Bytes(bytes) => Value::Bytes(bytes),
    }
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::Server(said) => sorted(said),
        Error::Driver(DriverError::PacketTooLarge) => {
            Fault::Data("a value is larger than the server's max_allowed_packet; raise it".into())
        }
        error => Fault::Away(error.to_string()),
    }
}

/// Sorts a server's error by its number, then by the class of its SQLSTATE.
fn sorted(said: &ServerError) -> Fault {
    let why = format!("{} (error {}, SQLSTATE {})", said.message, said.code, said.state);
    match said.code {
        // Lock wait timeout, deadlock, the row changed under a snapshot.
        1205 | 1213 | 1020 => Fault::Busy(why),
        // Unknown table or column: the table changed since it was described.
        1051 | 1054 | 1146 | 1136 => Fault::Stale(why),
        // Too many connections, shutdown, read-only, killed, out of resources, disk full.
        1040 | 1053 | 1290 | 1836 | 1317 | 1203 | 1226 | 1021 | 1037 | 1041 | 1114 | 1927
        | 3159 | 3024 | 1969 => Fault::Away(why),
        // Values that do not fit, whose state is the general one.
        1364 | 1366 | 1265 | 1292 | 1406 | 1411 | 1526 | 1748 | 3819 | 4025 | 1118 | 1153
        | 1210 | 1416 => Fault::Data(why),
        _ => match said.state.get(..2).unwrap_or_default() {
            "22" | "23" | "45" | "01" => Fault::Data(why),
            "40" | "08" => Fault::Away(why),
            _ => Fault::Refused(why),
        },
    }
}
