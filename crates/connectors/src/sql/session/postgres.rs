//! PostgreSQL.
//!
//! Values travel as text and are read there by each column's type, so that every type is
//! exact and none needs code here. Rows are lists that are unfolded: one text, and one
//! prepared statement, serves every count. The session's time zone is UTC.

use std::{collections::HashMap, error::Error as _, path::PathBuf};

use async_trait::async_trait;
use courant_model::limits::DATABASE_STATEMENTS_KEPT;
use serde_json::Value;
use tokio_postgres::{
    Client, Config, Error, NoTls, Row, Statement,
    config::SslMode,
    types::{Format, IsNull, ToSql, Type, to_sql_checked},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::{Fault, Purpose, Session, bounded, render::quoted};
use crate::{
    sql::{
        cell::{Cell, Kind},
        query::{Placeholder, Query},
        table::{Action, Column, Table, Work},
    },
    tls,
};

/// How a session is set.
const SETTINGS: &str = "SET TIME ZONE 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'";

/// How one that only reads is set beside.
const READ_ONLY: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";

/// A connection.
#[derive(Debug)]
pub(super) struct Postgres {
    client: Client,
    statements: HashMap<String, Statement>,
    /// Carries the connection's bytes; ends with it.
    _driver: AbortOnDropHandle<()>,
}

impl Postgres {
    pub(super) async fn connect(
        config: &Config,
        ca: Option<PathBuf>,
        purpose: Purpose,
    ) -> Result<Self, Fault> {
        let (client, driver) = if config.get_ssl_mode() == SslMode::Require {
            let tls = tls::client(ca.as_deref()).map_err(|error| Fault::Refused(error.what))?;
            let (client, connection) = config
                .connect(MakeRustlsConnect::new(tls))
                .await
                .map_err(|error| unconnected(&error))?;
            (client, tokio::spawn(async move { drop(connection.await) }))
        } else {
            let (client, connection) =
                config.connect(NoTls).await.map_err(|error| unconnected(&error))?;
            (client, tokio::spawn(async move { drop(connection.await) }))
        };
        client.batch_execute(SETTINGS).await.map_err(|error| fault(&error))?;
        if purpose == Purpose::Read {
            client.batch_execute(READ_ONLY).await.map_err(|error| fault(&error))?;
        }
        let driver = AbortOnDropHandle::new(driver);
        Ok(Self { client, statements: HashMap::new(), _driver: driver })
    }

    async fn prepared(&mut self, text: String) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(&text) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= DATABASE_STATEMENTS_KEPT {
            self.statements.clear();
        }
        let statement = self.client.prepare(&text).await?;
        self.statements.insert(text, statement.clone());
        Ok(statement)
    }

    async fn run(&mut self, tables: &[Table], work: Vec<Work>) -> Result<(), Error> {
        self.client.batch_execute("BEGIN").await?;
        for Work { table, action } in work {
            let (text, lists) = render(&tables[table], action);
            let statement = self.prepared(text).await?;
            let values: Vec<&(dyn ToSql + Sync)> = lists.iter().map(|list| list as _).collect();
            self.client.execute(&statement, &values).await?;
        }
        self.client.batch_execute("COMMIT").await
    }

    /// Rows as the server writes them in JSON. Decimals are texts and bytes Base64 there,
    /// as change data capture writes them.
    async fn rows(
        &mut self,
        query: &Query,
        values: &[Cell],
        rows: usize,
    ) -> Result<Vec<Value>, Error> {
        let text = query.text(Placeholder::Dollar);
        let asked = self.prepared(text.clone()).await?;
        let column = |column: &tokio_postgres::Column| {
            let name = format!("\"{}\"", column.name().replace('"', "\"\""));
            match *column.type_() {
                Type::NUMERIC => format!("q.{name}::text AS {name}"),
                // The server breaks the lines of Base64.
                Type::BYTEA => {
                    format!("translate(encode(q.{name}, 'base64'), E'\\n', '') AS {name}")
                }
                _ => format!("q.{name}"),
            }
        };
        let columns = asked.columns().iter().map(column).collect::<Vec<_>>().join(", ");
        let text = format!(
            "SELECT row_to_json(r)::text FROM (SELECT {columns} FROM ({text}\n) AS q) AS r LIMIT {rows}"
        );
        let statement = self.prepared(text).await?;
        let values: Vec<Written> =
            values.iter().cloned().map(|cell| Written(cell.into_text())).collect();
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let found = self.client.query(&statement, &values).await?;
        let object = |row: &Row| serde_json::from_str(row.get(0)).unwrap_or_default();
        Ok(found.iter().map(object).collect())
    }

    async fn ask(&mut self, name: &str) -> Result<Option<Table>, Error> {
        let place = quoted(name, '"');
        let ask = "SELECT a.attname::text, format_type(a.atttypid, -1), t.typname::text, \
                   t.typcategory::text, a.attgenerated::text \
                   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                   WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 \
                   AND NOT a.attisdropped ORDER BY a.attnum";
        let mut columns = Vec::new();
        for row in self.client.query(ask, &[&place]).await? {
            let (name, sql_type): (String, String) = (row.get(0), row.get(1));
            let (type_name, category): (String, String) = (row.get(2), row.get(3));
            if row.get::<_, String>(4).is_empty() {
                columns.push(Column { name, kind: kind_of(&type_name, &category), sql_type });
            }
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let ask = "SELECT i.indexrelid::regclass::text, i.indisprimary, a.attname::text \
                   FROM pg_index i \
                   CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) \
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                   WHERE i.indrelid = to_regclass($1::text) AND i.indisunique \
                   AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts \
                   ORDER BY 1, k.place";
        let mut unique: Vec<(String, bool, Vec<String>)> = Vec::new();
        for row in self.client.query(ask, &[&place]).await? {
            let (key, primary, column): (String, bool, String) =
                (row.get(0), row.get(1), row.get(2));
            match unique.last_mut() {
                Some((last, _, columns)) if *last == key => columns.push(column),
                _ => unique.push((key, primary, vec![column])),
            }
        }
        let primary = unique.iter().find(|(_, primary, _)| *primary);
        Ok(Some(Table {
            name: name.to_owned(),
            columns,
            primary: primary.map(|(_, _, columns)| columns.clone()).unwrap_or_default(),
            unique: unique.into_iter().map(|(_, _, columns)| columns).collect(),
        }))
    }
}

#[async_trait]
impl Session for Postgres {
    async fn describe(&mut self, table: &str) -> Result<Option<Table>, Fault> {
        bounded(async { self.ask(table).await.map_err(|error| fault(&error)) }).await
    }

    async fn query(
        &mut self,
        query: &Query,
        values: &[Cell],
        rows: usize,
    ) -> Result<Vec<Value>, Fault> {
        bounded(async { self.rows(query, values, rows).await.map_err(|error| fault(&error)) }).await
    }

    async fn write(&mut self, tables: &[Table], work: Vec<Work>) -> Result<(), Fault> {
        bounded(async {
            let Err(error) = self.run(tables, work).await else { return Ok(()) };
            let fault = fault(&error);
            if !matches!(fault, Fault::Away(_)) {
                let undone = self.client.batch_execute("ROLLBACK").await;
                undone.map_err(|error| Fault::Away(said(&error)))?;
            }
            Err(fault)
        })
        .await
    }
}

/// A value that the server reads from its text, whatever its type.
#[derive(Debug)]
struct Written(Option<String>);

impl ToSql for Written {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Rows by column: a list of each column's texts, as `unnest` takes them.
type Lists = Vec<Vec<Option<String>>>;

/// A statement, and the lists that it unfolds.
fn render(table: &Table, action: Action) -> (String, Lists) {
    let name = quoted(&table.name, '"');
    let column = |at: usize| format!("\"{}\"", table.columns[at].name.replace('"', "\"\""));
    let list = |columns: &[usize]| columns.iter().map(|at| column(*at)).collect::<Vec<_>>();
    let typed = |at: usize| format!("v.{}::{}", column(at), table.columns[at].sql_type);
    let equal = |columns: &[usize]| {
        let one = |at: &usize| format!("t.{} = {}", column(*at), typed(*at));
        columns.iter().map(one).collect::<Vec<_>>().join(" AND ")
    };
    let unfold = |columns: &[usize], first: usize| {
        let lists = (first..first + columns.len()).map(|n| format!("${n}::text[]"));
        let lists = lists.collect::<Vec<_>>().join(", ");
        format!("unnest({lists}) AS v ({})", list(columns).join(", "))
    };
    match action {
        Action::Put { key, columns, rows } => {
            let values: Vec<String> = columns.iter().map(|at| typed(*at)).collect();
            let changed = columns.iter().filter(|at| !key.contains(at));
            let set: Vec<String> =
                changed.map(|at| format!("{0} = EXCLUDED.{0}", column(*at))).collect();
            let conflict = match (key.is_empty(), set.is_empty()) {
                (true, _) => " ON CONFLICT DO NOTHING".to_owned(),
                (_, true) => format!(" ON CONFLICT ({}) DO NOTHING", list(&key).join(", ")),
                _ => {
                    let (key, set) = (list(&key).join(", "), set.join(", "));
                    format!(" ON CONFLICT ({key}) DO UPDATE SET {set}")
                }
            };
            let text = format!(
                "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}{conflict}",
                list(&columns).join(", "),
                values.join(", "),
                unfold(&columns, 1)
            );
            (text, by_column(columns.len(), rows))
        }
        Action::Update { key, columns, rows } => {
            let changed = columns.iter().filter(|at| !key.contains(at));
            let set: Vec<String> =
                changed.map(|at| format!("{} = {}", column(*at), typed(*at))).collect();
            let (from, matching) = (unfold(&columns, 1), equal(&key));
            let text = if set.is_empty() {
                // Nothing to change; the types are checked all the same.
                format!("SELECT 1 FROM {name} AS t, {from} WHERE {matching} LIMIT 0")
            } else {
                format!("UPDATE {name} AS t SET {} FROM {from} WHERE {matching}", set.join(", "))
            };
            (text, by_column(columns.len(), rows))
        }
        Action::Remove { columns, rows } => {
            let (from, matching) = (unfold(&columns, 1), equal(&columns));
            let text = format!("DELETE FROM {name} AS t USING {from} WHERE {matching}");
            (text, by_column(columns.len(), rows))
        }
        Action::Prune { parent, of, key, kept } => {
            let is_child: Vec<String> = (1..)
                .zip(&parent)
                .map(|(n, at)| {
                    let sql_type = &table.columns[*at].sql_type;
                    format!("t.{} = (${n}::text[])[1]::{sql_type}", column(*at))
                })
                .collect();
            let text = format!(
                "DELETE FROM {name} AS t WHERE {} AND NOT EXISTS (SELECT FROM {} WHERE {})",
                is_child.join(" AND "),
                unfold(&key, parent.len() + 1),
                equal(&key)
            );
            let mut lists = by_column(parent.len(), vec![of]);
            lists.extend(by_column(key.len(), kept));
            (text, lists)
        }
    }
}

fn by_column(columns: usize, rows: Vec<Vec<Cell>>) -> Lists {
    let mut lists: Lists = vec![Vec::with_capacity(rows.len()); columns];
    for row in rows {
        for (list, cell) in lists.iter_mut().zip(row) {
            list.push(cell.into_text());
        }
    }
    lists
}

fn kind_of(type_name: &str, category: &str) -> Kind {
    match (type_name, category) {
        ("bool", _) => Kind::Bool,
        ("int2" | "int4" | "int8" | "oid", _) => Kind::Integer,
        ("numeric", _) => Kind::Decimal,
        ("float4" | "float8", _) => Kind::Float,
        ("timestamp" | "timestamptz", _) => Kind::Timestamp,
        ("json" | "jsonb", _) => Kind::Json,
        ("bytea", _) => Kind::Bytes,
        (_, "A") => Kind::Array,
        _ => Kind::Text,
    }
}

/// An error with what the server said.
fn said(error: &Error) -> String {
    match error.as_db_error() {
        Some(said) => {
            let detail = said.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{}{detail} (SQLSTATE {})", said.message(), said.code().code())
        }
        None => match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    }
}

/// Why there is no connection: what the server says may be mended there.
fn unconnected(error: &Error) -> Fault {
    Fault::Away(said(error))
}

/// Sorts an error by its SQLSTATE.
fn fault(error: &Error) -> Fault {
    let why = said(error);
    let Some(state) = error.code().map(|state| state.code()) else { return Fault::Away(why) };
    match (state, state.get(..2).unwrap_or_default()) {
        // Serialization failure, deadlock, lock not available.
        ("40001" | "40P01" | "55P03", _) => Fault::Busy(why),
        // Undefined table, column or type; a cached plan that no longer fits.
        ("42P01" | "42703" | "42704" | "0A000", _) => Fault::Stale(why),
        // Read-only transaction: a server that gave its place to another.
        ("25006", _) => Fault::Away(why),
        ("P0001", _) | (_, "21" | "22" | "23" | "44" | "54") => Fault::Data(why),
        (_, "08" | "40" | "53" | "55" | "57" | "58") => Fault::Away(why),
        _ => Fault::Refused(why),
    }
}
