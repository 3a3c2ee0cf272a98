//! From a captured change to records.
//!
//! In the format `row` a record's value is the row and the headers of
//! `courant_model::change` say what happened; in the format `debezium` the value says
//! all. An update of the primary key is a delete and an insert in both, so that a key
//! always tells of one row. Pure: the same change gives the same records.

use bytes::Bytes;
use courant_capture::{Change, Operation as Captured, Row, Table, Value};
use courant_model::{
    Header, Operation, Origin, Record, Timestamp,
    change::{TABLE_HEADER, TRANSACTION_END_HEADER, TRANSACTION_HEADER},
};
use serde_json::{Value as Json, json};

use super::{Decimals, Format};

/// How records are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) format: Format,
    pub(super) decimals: Decimals,
}

/// What a record's maker knows beside the change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// The source's name in the file.
    pub(super) source: &'a str,
    /// Whether the file names the key's field, so that records come without a key.
    pub(super) has_key: bool,
    pub(super) now: Origin,
}

/// What happened to one row, as one record tells it.
#[derive(Debug, Clone, Copy)]
struct Told<'a> {
    operation: Operation,
    before: Option<&'a Row>,
    after: Option<&'a Row>,
    last: bool,
}

impl Form {
    /// Whether a change can be told as records: a truncation has no row, so none in the
    /// format `row`.
    pub(super) fn tells(self, change: &Change) -> bool {
        change.operation != Captured::Truncate || self.format == Format::Debezium
    }

    /// Adds a change's records.
    pub(super) fn add(self, change: &Change, scene: Scene<'_>, records: &mut Vec<Record>) {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let mut tell = |operation, before, after, last| {
            let told = Told { operation, before, after, last };
            records.push(self.record(change, told, scene));
        };
        match change.operation {
            Captured::Snapshot => tell(Operation::Snapshot, None, after, change.last),
            Captured::Insert => tell(Operation::Insert, None, after, change.last),
            Captured::Delete => tell(Operation::Delete, before, None, change.last),
            Captured::Update if moves(change) => {
                tell(Operation::Delete, before, None, false);
                tell(Operation::Insert, None, after, change.last);
            }
            Captured::Update => tell(Operation::Update, before, after, change.last),
            Captured::Truncate if !self.tells(change) => {}
            Captured::Truncate => {
                let value = self.envelope(change, "t", (None, None), scene);
                records.push(Record::new(value, timestamp(origin(change, scene.now))));
            }
        }
    }

    fn record(self, change: &Change, told: Told<'_>, scene: Scene<'_>) -> Record {
        let Told { operation, before, after, last } = told;
        let (table, row) = (&change.table, after.or(before));
        let key = row.filter(|_| !scene.has_key && !table.key.is_empty());
        let origin = origin(change, scene.now);
        let mut record = Record::new(Bytes::new(), timestamp(origin));
        match self.format {
            Format::Row => {
                record.value = Some(row.map_or_else(Bytes::new, |row| self.row(table, row)));
                record.key = key.map(|row| key_text(table, row).into());
                record.headers = headers(change, operation, last);
            }
            Format::Debezium => {
                let op = match operation {
                    Operation::Snapshot => "r",
                    Operation::Insert => "c",
                    Operation::Update => "u",
                    Operation::Delete => "d",
                };
                record.value = Some(self.envelope(change, op, (before, after), scene));
                record.key = key.map(|row| self.key_object(table, row));
            }
        }
        record.stamp_origin(origin);
        record
    }

    /// A row as a JSON object.
    fn row(self, table: &Table, row: &Row) -> Bytes {
        let mut out = Vec::with_capacity(32 * row.len());
        self.write_row(table, row, &mut out);
        out.into()
    }

    fn write_row(self, table: &Table, row: &Row, out: &mut Vec<u8>) {
        match self.decimals {
            Decimals::Text => table.write_json(row, out),
            Decimals::Number => table.write_json_with(row, out, |value, out| match value {
                // Its digits are a number of JSON's.
                Value::Decimal(digits) => out.extend_from_slice(digits.as_bytes()),
                value => value.write_json(out),
            }),
        }
    }

    /// Debezium's message, without schemas.
    fn envelope(
        self,
        change: &Change,
        op: &str,
        (before, after): (Option<&Row>, Option<&Row>),
        scene: Scene<'_>,
    ) -> Bytes {
        let (table, snapshot) = (&change.table, change.operation == Captured::Snapshot);
        let committed = change.transaction.committed_at.as_micros();
        let source = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "connector": "mysql",
            "name": scene.source,
            "ts_ms": committed.div_euclid(1_000),
            "ts_us": committed,
            "snapshot": snapshot.to_string(),
            "db": table.database,
            "table": table.name,
        });
        let transaction = match snapshot {
            true => Json::Null,
            false => json!({ "id": change.transaction.id, "total_order": change.index + 1 }),
        };
        let mut out = Vec::with_capacity(512);
        for (name, row) in [(&b"{\"before\":"[..], before), (b",\"after\":", after)] {
            out.extend_from_slice(name);
            match row {
                Some(row) => self.write_row(table, row, &mut out),
                None => out.extend_from_slice(b"null"),
            }
        }
        let now = scene.now.as_micros().div_euclid(1_000);
        let rest = format!(
            ",\"source\":{source},\"op\":\"{op}\",\"ts_ms\":{now},\"transaction\":{transaction}}}"
        );
        out.extend_from_slice(rest.as_bytes());
        out.into()
    }

    /// The primary key as Debezium writes it: an object of its columns.
    fn key_object(self, table: &Table, row: &Row) -> Bytes {
        let columns = table.key.iter().map(|at| table.columns[*at].clone()).collect();
        let values = table.key.iter().map(|at| row[*at].clone()).collect();
        let (database, name) = (table.database.clone(), table.name.clone());
        self.row(&Table { database, name, columns, key: Vec::new() }, &values)
    }
}

/// Whether an update gives the row another primary key.
fn moves(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
    change.table.key.iter().any(|at| before[*at] != after[*at])
}

/// The primary key as text: its values as in JSON without quotes. Those of several
/// columns are joined by `|`; a `|` or `\` within one has a `\` before it.
fn key_text(table: &Table, row: &Row) -> String {
    let text = |at: &usize| match &row[*at] {
        Value::Text(text) => text.clone(),
        value => match value.to_json() {
            Json::String(text) => text,
            other => other.to_string(),
        },
    };
    match table.key.as_slice() {
        [one] => text(one),
        several => {
            let escaped = |at| text(at).replace('\\', "\\\\").replace('|', "\\|");
            several.iter().map(escaped).collect::<Vec<_>>().join("|")
        }
    }
}

fn headers(change: &Change, operation: Operation, last: bool) -> Vec<Header> {
    let mut headers = Vec::with_capacity(5);
    headers.push(operation.header());
    headers.push(Header::new(TABLE_HEADER, change.table.full_name()));
    headers.push(Header::new(TRANSACTION_HEADER, change.transaction.id.clone()));
    if last {
        headers.push(Header::new(TRANSACTION_END_HEADER, Bytes::from_static(b"last")));
    }
    headers
}

/// When the change was committed. MariaDB's log knows the second only; then it is the
/// last moment of it that is not in the future, which is right to a millisecond or so
/// where changes are read as they come.
fn origin(change: &Change, now: Origin) -> Origin {
    const SECOND: i64 = 1_000_000;
    let committed = change.transaction.committed_at.as_micros();
    if committed % SECOND != 0 {
        return change.transaction.committed_at;
    }
    Origin::from_micros((committed + SECOND - 1).min(now.as_micros()).max(committed))
}

const fn timestamp(origin: Origin) -> Timestamp {
    Timestamp::from_millis(origin.as_micros().div_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use courant_capture::{Column, ColumnKind, Transaction};

    use super::*;

    const NOW: Origin = Origin::from_micros(5_400_000);

    fn change(operation: Captured, before: Option<Row>, after: Option<Row>) -> Change {
        let column = |name: &str, kind| Column { name: name.into(), kind, nullable: true };
        let table = Table {
            database: "shop".into(),
            name: "lines".into(),
            columns: vec![
                column("orderNumber", ColumnKind::Integer { bits: 32, unsigned: false }),
                column("productCode", ColumnKind::Text),
                column("priceEach", ColumnKind::Decimal { precision: 10, scale: 2 }),
            ],
            key: vec![0, 1],
        };
        let committed_at = Origin::from_micros(5_000_000);
        let transaction = Arc::new(Transaction { id: "0-1-7".into(), committed_at });
        let (table, index, last) = (Arc::new(table), 3, true);
        Change { table, operation, before, after, transaction, index, last }
    }

    fn row(order: i64, product: &str) -> Row {
        vec![Value::Int(order), Value::Text(product.into()), Value::Decimal("81.30".into())]
    }

    fn records(form: Form, change: &Change) -> Vec<Record> {
        let mut records = Vec::new();
        let scene = Scene { source: "shop", has_key: false, now: NOW };
        form.add(change, scene, &mut records);
        records
    }

    const ROW: Form = Form { format: Format::Row, decimals: Decimals::Text };

    fn said(record: &Record) -> String {
        let header = |name: &str| {
            let value = record.header(name).and_then(|header| header.value.clone());
            String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
        };
        let text = |bytes: &Option<Bytes>| {
            String::from_utf8(bytes.clone().unwrap_or_default().to_vec()).unwrap()
        };
        let (operation, table) = (header("courant-operation"), header("courant-table"));
        let (transaction, end) = (header("courant-transaction"), header("courant-transaction-end"));
        let (key, value) = (text(&record.key), text(&record.value));
        format!("{operation} {table} {transaction} {end} {key} {value}")
    }

    #[test]
    fn a_row_has_its_key_and_says_in_headers_what_happened() {
        let update = change(Captured::Update, Some(row(1, "a")), Some(row(1, "a")));
        let [record] = records(ROW, &update).try_into().unwrap();
        assert_eq!(
            said(&record),
            "update shop.lines 0-1-7 last 1|a \
             {\"orderNumber\":1,\"productCode\":\"a\",\"priceEach\":\"81.30\"}"
        );
        assert_eq!(record.origin(), Some(NOW));
        assert_eq!(record.timestamp, Timestamp::from_millis(5_400));
        let numbers = Form { decimals: Decimals::Number, ..ROW };
        let delete = change(Captured::Delete, Some(row(2, "x|y\\z")), None);
        let [record] = records(numbers, &delete).try_into().unwrap();
        assert_eq!(
            said(&record),
            "delete shop.lines 0-1-7 last 2|x\\|y\\\\z \
             {\"orderNumber\":2,\"productCode\":\"x|y\\\\z\",\"priceEach\":81.30}"
        );
    }

    #[test]
    fn an_update_of_the_primary_key_is_a_delete_and_an_insert() {
        let moved = change(Captured::Update, Some(row(1, "a")), Some(row(1, "b")));
        let said: Vec<String> = records(ROW, &moved).iter().map(said).collect();
        assert!(said[0].starts_with("delete shop.lines 0-1-7  1|a {"), "{said:?}");
        assert!(said[1].starts_with("insert shop.lines 0-1-7 last 1|b {"), "{said:?}");
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn an_envelope_has_both_images_and_an_object_as_key() {
        let form = Form { format: Format::Debezium, decimals: Decimals::Text };
        let update = change(Captured::Update, Some(row(1, "a")), Some(row(1, "a")));
        let [record] = records(form, &update).try_into().unwrap();
        assert_eq!(record.key.unwrap(), "{\"orderNumber\":1,\"productCode\":\"a\"}");
        let value: Json = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let image = json!({ "orderNumber": 1, "productCode": "a", "priceEach": "81.30" });
        assert_eq!((&value["before"], &value["after"]), (&image, &image));
        assert_eq!((&value["op"], &value["ts_ms"]), (&json!("u"), &json!(5_400)));
        assert_eq!(value["transaction"], json!({ "id": "0-1-7", "total_order": 4 }));
        assert_eq!(value["source"]["table"], "lines");
        assert_eq!(value["source"]["snapshot"], "false");
        let [record] = records(form, &change(Captured::Truncate, None, None)).try_into().unwrap();
        let value: Json = serde_json::from_slice(&record.value.unwrap()).unwrap();
        assert_eq!((&value["op"], &value["after"]), (&json!("t"), &Json::Null));
        assert!(records(ROW, &change(Captured::Truncate, None, None)).is_empty());
    }

    #[test]
    fn the_second_of_a_commit_never_ends_in_the_future() {
        let snapshot = change(Captured::Snapshot, None, Some(row(1, "a")));
        assert_eq!(origin(&snapshot, NOW), NOW);
        assert_eq!(origin(&snapshot, Origin::from_micros(9_000_000)).as_micros(), 5_999_999);
        assert_eq!(origin(&snapshot, Origin::from_micros(4_000_000)).as_micros(), 5_000_000);
    }
}
