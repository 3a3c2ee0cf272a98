//! Joins of streams within an interval, of streams with tables, of tables.

use std::collections::BTreeMap;

use courant_sql::stream::{Query, Relation, RelationKind, Spread};
use proptest::prelude::*;

use crate::support::{Bench, changes, shown, stream};

fn relations() -> BTreeMap<String, Relation> {
    let table = |columns: &[&str]| Relation {
        kind: RelationKind::Table,
        key: vec!["id".into()],
        ..stream(columns)
    };
    BTreeMap::from([
        ("clicks".to_owned(), stream(&["page: string", "who: string"])),
        ("views".to_owned(), stream(&["page: string", "n: int64"])),
        ("users".to_owned(), table(&["id: string", "city: string"])),
        ("orders".to_owned(), table(&["id: int64", "who: string", "amount: int64"])),
    ])
}

fn bench(sql: &str, grace_ms: u64) -> Bench {
    let query = Query::compile(sql, &relations(), &changes(grace_ms));
    Bench::new(query.unwrap_or_else(|error| panic!("{sql}: {error}")))
}

fn interval(join: &str) -> String {
    format!(
        "SELECT c.page, c.who, v.page AS viewed, v.n FROM clicks c {join} JOIN views v \
         ON c.page = v.page AND v._timestamp BETWEEN c._timestamp - INTERVAL '1 second' \
         AND c._timestamp + INTERVAL '2 seconds'"
    )
}

fn click(page: &str, who: &str) -> String {
    format!(r#"{{"page":"{page}","who":"{who}"}}"#)
}

fn view(page: &str, n: i64) -> String {
    format!(r#"{{"page":"{page}","n":{n}}}"#)
}

#[test]
fn streams_join_within_the_interval() {
    let mut bench = bench(&interval(""), 60_000);
    assert_eq!(bench.query.key(), None);
    let spread = |input: usize| bench.query.inputs()[input].partition_by.clone();
    assert_eq!(
        (spread(0), spread(1)),
        (Spread::By(vec!["page".into()]), Spread::By(vec!["page".into()]))
    );
    bench.push(0, &[("k", &click("a", "x"), 10_000)]);
    let found = bench.push(
        1,
        &[
            ("k", &view("a", 1), 8_999),
            ("k", &view("a", 2), 9_000),
            ("k", &view("b", 3), 10_000),
            ("k", &view("a", 4), 12_000),
            ("k", &view("a", 5), 12_001),
        ],
    );
    assert_eq!(
        shown(&found.changes),
        [
            r#"{"page":"a","who":"x","viewed":"a","n":2}"#,
            r#"{"page":"a","who":"x","viewed":"a","n":4}"#,
        ]
    );
    assert_eq!(found.changes[1].event_time_micros, 12_000_000);
}

#[test]
fn a_row_that_meets_none_is_told_when_its_time_is_over() {
    for (join, left, right) in [("LEFT", 1, 0), ("RIGHT", 0, 1), ("FULL", 1, 1), ("", 0, 0)] {
        let mut bench = bench(&interval(join), 0);
        bench.push(0, &[("k", &click("a", "x"), 10_000)]);
        assert!(bench.push(1, &[("k", &view("b", 1), 10_000)]).changes.is_empty());
        assert!(bench.advance(11_000).changes.is_empty(), "rows at that instant may still come");
        let alone = bench.advance(11_001);
        assert_eq!(alone.changes.len(), right, "{join}: a view waits a second for its click");
        let alone = bench.advance(12_001);
        assert_eq!(alone.changes.len(), left, "{join}: a click waits two seconds for its view");
        assert_eq!(bench.remembered(), 0);
    }
}

#[test]
fn a_stream_joins_the_table_as_it_stands() {
    let sql = "SELECT c.page, u.city FROM clicks c LEFT JOIN users u ON c.who = u.id";
    let mut bench = bench(sql, 0);
    let user = |city: &str| format!(r#"{{"id":"x","city":"{city}"}}"#);
    let click = click("a", "x");
    let ask = |bench: &mut Bench| shown(&bench.push(0, &[("k", &click, 0)]).changes);
    assert_eq!(ask(&mut bench), [r#"{"page":"a","city":null}"#]);
    assert!(bench.push(1, &[("x", &user("Oslo"), 0)]).changes.is_empty());
    assert_eq!(ask(&mut bench), [r#"{"page":"a","city":"Oslo"}"#]);
    bench.push(1, &[("x", &user("Rome"), 0)]);
    assert_eq!(ask(&mut bench), [r#"{"page":"a","city":"Rome"}"#]);
    bench.push(1, &[("x", "", 0)]);
    assert_eq!(ask(&mut bench), [r#"{"page":"a","city":null}"#]);
}

#[test]
fn a_foreign_key_follows_both_tables() {
    let sql = "SELECT o.id, o.amount, u.city FROM orders o LEFT JOIN users u ON o.who = u.id";
    let mut bench = bench(sql, 0);
    assert_eq!(bench.query.key(), Some(vec!["id"]), "an order has one user");
    let order = |who: &str| format!(r#"{{"id":1,"who":"{who}","amount":5}}"#);
    let user = |id: &str, city: &str| format!(r#"{{"id":"{id}","city":"{city}"}}"#);
    let mut push =
        |input, key: &str, row: &str| shown(&bench.push(input, &[(key, row, 0)]).changes);
    assert_eq!(push(0, "1", &order("x")), [r#"{"id":1,"amount":5,"city":null}"#]);
    assert_eq!(push(1, "x", &user("x", "Oslo")), [r#"{"id":1,"amount":5,"city":"Oslo"}"#]);
    assert!(push(1, "y", &user("y", "Rome")).is_empty());
    assert_eq!(push(0, "1", &order("y")), [r#"{"id":1,"amount":5,"city":"Rome"}"#]);
    assert_eq!(push(1, "y", ""), [r#"{"id":1,"amount":5,"city":null}"#]);
    assert_eq!(push(0, "1", ""), [r#"-{"id":1}"#]);
    assert_eq!(bench.remembered(), 2, "the user x, as a table and in the join");
}

#[test]
fn joins_without_an_end_are_refused() {
    let told = |sql: &str| Query::compile(sql, &relations(), &changes(0)).unwrap_err().to_string();
    assert_eq!(
        told("SELECT c.page FROM clicks c JOIN views v ON c.page = v.page"),
        "a join of two streams needs an interval of event time; add AND b.at BETWEEN a.at - \
         INTERVAL '…' AND a.at + INTERVAL '…', of their event times (or _timestamp)"
    );
    assert_eq!(
        told("SELECT c.page FROM clicks c RIGHT JOIN users u ON c.who = u.id"),
        "a join of a stream and a table keeps rows of the stream only; write an inner join, or a \
         left join with the stream on the left"
    );
    assert_eq!(
        told("SELECT c.page FROM clicks c JOIN users u ON c.who > u.id"),
        "a view joins by equal columns only; write ON a.key = b.key, and further conditions after AND"
    );
}

/// Which table, key, and the row or nothing.
type TableChange = (usize, u8, Option<(u8, i64)>);

/// Changes of the two tables by chance.
fn table_changes() -> impl Strategy<Value = Vec<TableChange>> {
    let row = prop::option::weighted(0.8, (0..3_u8, 0..3_i64));
    prop::collection::vec((0..2_usize, 0..3_u8, row), 1..40)
}

type Table<V> = BTreeMap<u8, V>;

/// The join of what the tables hold.
fn expected(kind: &str, orders: &Table<(u8, i64)>, users: &Table<(u8, i64)>) -> Vec<String> {
    let mut rows = Vec::new();
    let row = |order: Option<(&u8, &(u8, i64))>, user: Option<(&u8, &(u8, i64))>| {
        let order = order.map_or("null,null".into(), |(id, (_, amount))| format!("{id},{amount}"));
        let user =
            user.map_or("null,null".into(), |(id, (_, city))| format!("\"{id}\",\"{city}\""));
        format!("{order},{user}")
    };
    for order in orders {
        match users.get_key_value(&order.1.0) {
            Some(user) => rows.push(row(Some(order), Some(user))),
            None if matches!(kind, "LEFT" | "FULL") => rows.push(row(Some(order), None)),
            None => {}
        }
    }
    for user in users.iter().filter(|_| matches!(kind, "RIGHT" | "FULL")) {
        if orders.values().all(|order| order.0 != *user.0) {
            rows.push(row(None, Some(user)));
        }
    }
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn joined_tables_are_the_join_of_what_they_hold(
        changes in table_changes(),
        kind in prop::sample::select(&["INNER", "LEFT", "RIGHT", "FULL"][..]),
    ) {
        let sql = format!(
            "SELECT o.id, o.amount, u.id AS user, u.city FROM orders o {kind} JOIN users u ON o.who = u.id"
        );
        let mut bench = bench(&sql, 0);
        let (mut orders, mut users) = (Table::new(), Table::new());
        for (table, key, row) in changes {
            let text = match (table, row) {
                (_, None) => String::new(),
                (0, Some((who, amount))) => format!(r#"{{"id":{key},"who":"{who}","amount":{amount}}}"#),
                (_, Some((_, city))) => format!(r#"{{"id":"{key}","city":"{city}"}}"#),
            };
            let held = if table == 0 { &mut orders } else { &mut users };
            match row {
                Some(row) => held.insert(key, row),
                None => held.remove(&key),
            };
            bench.push(table, &[(&key.to_string(), &text, 0)]);
        }
        let mut found: Vec<String> = bench
            .results()
            .iter()
            .map(|row| {
                let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
                ["id", "amount", "user", "city"].map(|name| row[name].to_string()).join(",")
            })
            .collect();
        found.sort();
        prop_assert_eq!(found, expected(kind, &orders, &users));
    }
}
