//! What the server's catalogue says of tables now: columns, types, keys.
//!
//! Snapshots are read by it. Rows of the log use it only for what their table's map
//! leaves out. It is always the present, never the past: whoever reads older rows by it
//! must check that they fit.

use std::sync::Arc;

use mysql_async::{Conn, Row, prelude::Queryable};

use crate::{
    change::{Column, ColumnKind, Table},
    select::Selection,
};

/// A table as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CatalogTable {
    pub(super) database: String,
    pub(super) name: String,
    pub(super) columns: Vec<CatalogColumn>,
    /// Columns of the primary key or, without one, of a unique key without null.
    pub(super) key: Vec<String>,
}

/// A column as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CatalogColumn {
    pub(super) name: String,
    pub(super) kind: ColumnKind,
    pub(super) nullable: bool,
    /// The character set's name, for text.
    pub(super) charset: Option<String>,
}

impl CatalogTable {
    /// The chosen columns as a table of changes.
    pub(super) fn table(&self, selection: &Selection) -> Table {
        let chosen = self
            .columns
            .iter()
            .filter(|column| selection.has_column(&self.database, &self.name, &column.name));
        let columns: Vec<Column> = chosen
            .map(|CatalogColumn { name, kind, nullable, .. }| Column {
                name: name.clone(),
                kind: kind.clone(),
                nullable: *nullable,
            })
            .collect();
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let key = self.key.iter().map(place).collect::<Option<_>>().unwrap_or_default();
        Table { database: self.database.clone(), name: self.name.clone(), columns, key }
    }
}

/// The names of all base tables that are chosen, in order.
pub(super) async fn tables(
    conn: &mut Conn,
    selection: &Selection,
) -> mysql_async::Result<Vec<(String, String)>> {
    const ALL: &str = "SELECT table_schema, table_name FROM information_schema.tables \
        WHERE table_type = 'BASE TABLE' ORDER BY table_schema, table_name";
    let mut all: Vec<(String, String)> = conn.query(ALL).await?;
    all.retain(|(database, table)| selection.has_table(database, table));
    Ok(all)
}

/// What the catalogue says of a table; `None` when it is gone, and a column's type where
/// it is unknown.
pub(super) async fn table(
    conn: &mut Conn,
    database: &str,
    name: &str,
) -> mysql_async::Result<Option<Result<CatalogTable, String>>> {
    const COLUMNS: &str = "SELECT c.column_name, c.data_type, c.column_type, c.is_nullable, \
        CAST(COALESCE(c.numeric_precision, 0) AS UNSIGNED), \
        CAST(COALESCE(c.numeric_scale, 0) AS UNSIGNED), \
        CAST(COALESCE(c.datetime_precision, 0) AS UNSIGNED), \
        c.character_set_name FROM information_schema.columns c \
        WHERE c.table_schema = ? AND c.table_name = ? ORDER BY c.ordinal_position";
    let rows: Vec<Row> = conn.exec(COLUMNS, (database, name)).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let columns = match rows.iter().map(column).collect::<Result<Vec<_>, _>>() {
        Ok(columns) => columns,
        Err(what) => return Ok(Some(Err(what))),
    };
    const KEYS: &str = "SELECT index_name, column_name, nullable = 'YES' OR sub_part IS NOT NULL \
        FROM information_schema.statistics \
        WHERE table_schema = ? AND table_name = ? AND non_unique = 0 \
        ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index";
    let keys: Vec<(String, Option<String>, bool)> = conn.exec(KEYS, (database, name)).await?;
    Ok(Some(Ok(CatalogTable {
        database: database.into(),
        name: name.into(),
        columns,
        key: first_key(&keys),
    })))
}

/// The columns of the first key that says which row is which.
fn first_key(parts: &[(String, Option<String>, bool)]) -> Vec<String> {
    for key in parts.chunk_by(|a, b| a.0 == b.0) {
        if key.iter().all(|(_, _, loose)| !loose) {
            return key.iter().filter_map(|(_, column, _)| column.clone()).collect();
        }
    }
    Vec::new()
}

fn column(row: &Row) -> Result<CatalogColumn, String> {
    let text = |index: usize| row.get::<String, _>(index).unwrap_or_default();
    let number = |index: usize| row.get::<u64, _>(index).unwrap_or_default();
    let (name, data_type, column_type) = (text(0), text(1).to_lowercase(), text(2));
    let kind = kind(&data_type, &column_type, [number(4), number(5), number(6)])
        .ok_or_else(|| format!("column {name:?} is of unknown type {column_type:?}"))?;
    let charset = row.get::<Option<String>, _>(7).flatten();
    Ok(CatalogColumn { name, kind, nullable: text(3) == "YES", charset })
}

/// A column's kind; `sizes` are precision, scale and digits of the seconds.
fn kind(data_type: &str, column_type: &str, sizes: [u64; 3]) -> Option<ColumnKind> {
    let lower = column_type.to_lowercase();
    let unsigned = lower.contains("unsigned") || lower.contains("zerofill");
    let [precision, scale, digits] = sizes.map(|size| u8::try_from(size).unwrap_or(u8::MAX));
    Some(match data_type {
        "tinyint" => ColumnKind::Integer { bits: 8, unsigned },
        "smallint" => ColumnKind::Integer { bits: 16, unsigned },
        "mediumint" => ColumnKind::Integer { bits: 24, unsigned },
        "int" | "integer" => ColumnKind::Integer { bits: 32, unsigned },
        "bigint" => ColumnKind::Integer { bits: 64, unsigned },
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "decimal" => ColumnKind::Decimal { precision, scale },
        "bit" => ColumnKind::Bit { bits: precision },
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time { digits },
        "datetime" => ColumnKind::DateTime { digits },
        "timestamp" => ColumnKind::Timestamp { digits },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => ColumnKind::Text,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => {
            ColumnKind::Bytes
        }
        "enum" => ColumnKind::Enum { labels: labels(column_type)? },
        "set" => ColumnKind::Set { labels: labels(column_type)? },
        "uuid" => ColumnKind::Uuid,
        "inet4" => ColumnKind::Inet4,
        "inet6" => ColumnKind::Inet6,
        "json" => ColumnKind::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => ColumnKind::Geometry,
        _ => return None,
    })
}

/// The labels of `enum('a','it''s')`.
fn labels(column_type: &str) -> Option<Arc<[String]>> {
    let mut rest = column_type.split_once('(')?.1;
    let mut labels = Vec::new();
    loop {
        rest = rest.strip_prefix('\'')?;
        let mut label = String::new();
        let mut chars = rest.char_indices().peekable();
        let end = loop {
            let (at, c) = chars.next()?;
            match c {
                '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                    chars.next();
                    label.push('\'');
                }
                '\'' => break at + 1,
                '\\' => label.push(match chars.next()?.1 {
                    'n' => '\n',
                    'r' => '\r',
                    '0' => '\0',
                    other => other,
                }),
                c => label.push(c),
            }
        };
        labels.push(label);
        rest = &rest[end..];
        match rest.chars().next()? {
            ',' => rest = &rest[1..],
            ')' => return Some(labels.into()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_with_their_quotes_and_commas() {
        let read = |text| labels(text).map(|labels| labels.to_vec());
        assert_eq!(
            read("enum('a','it''s','x,y)')"),
            Some(vec!["a".into(), "it's".into(), "x,y)".into()])
        );
        assert_eq!(read("set('')"), Some(vec![String::new()]));
        assert_eq!(read("enum('a"), None);
        assert_eq!(read("enum"), None);
    }

    #[test]
    fn a_key_with_null_or_a_prefix_is_none() {
        let part = |index: &str, column: &str, loose| (index.into(), Some(column.into()), loose);
        let parts = [part("a", "x", true), part("b", "y", false), part("b", "z", false)];
        assert_eq!(first_key(&parts), ["y", "z"]);
        assert_eq!(first_key(&parts[..1]), [""; 0]);
    }
}
