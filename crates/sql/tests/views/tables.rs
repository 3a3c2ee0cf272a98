//! Tables: rows that are replaced and deleted; unions; sub-selects and common tables.

use std::collections::BTreeMap;

use courant_sql::stream::{Query, Relation, RelationKind, Spread};

use crate::support::{Bench, changes, compile, shown, stream};

fn relations(key: &[&str]) -> BTreeMap<String, Relation> {
    let table = Relation {
        kind: RelationKind::Table,
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        ..stream(&["id: int64 not null", "city: string", "amount: int64"])
    };
    BTreeMap::from([("accounts".to_owned(), table)])
}

fn bench(sql: &str, key: &[&str]) -> Bench {
    let query = Query::compile(sql, &relations(key), &changes(0));
    Bench::new(query.unwrap_or_else(|error| panic!("{sql}: {error}")))
}

fn account(id: i64, city: &str, amount: i64) -> String {
    format!(r#"{{"id":{id},"city":"{city}","amount":{amount}}}"#)
}

#[test]
fn a_groups_rows_follow_the_table() {
    for key in [&[][..], &["id"]] {
        let sql = "SELECT city, count(*) AS n, sum(amount) AS total FROM accounts GROUP BY city";
        let mut bench = bench(sql, key);
        let rows = [account(1, "Oslo", 5), account(2, "Oslo", 7), account(1, "Rome", 9)];
        bench.push(0, &[("1", &rows[0], 0), ("2", &rows[1], 0)]);
        assert_eq!(bench.results(), [r#"{"city":"Oslo","n":2,"total":12}"#]);
        bench.push(0, &[("1", &rows[2], 0)]);
        assert_eq!(
            bench.results(),
            [r#"{"city":"Oslo","n":1,"total":7}"#, r#"{"city":"Rome","n":1,"total":9}"#]
        );
        let emitted = bench.push(0, &[("2", "", 0), ("3", "", 0)]);
        assert_eq!(shown(&emitted.changes), ["-Oslo"], "key {key:?}");
        assert!(emitted.rejected.is_empty(), "{:?}", emitted.rejected);
    }
}

#[test]
fn a_filtered_table_is_a_table() {
    let sql = "SELECT city FROM accounts WHERE amount > 5";
    let mut named = bench(sql, &["id"]);
    assert_eq!(named.query.key(), Some(vec!["id"]), "the key is added");
    assert_eq!(bench(sql, &[]).query.key(), Some(vec!["_key"]));
    assert_eq!(named.query.inputs()[0].partition_by, Spread::Any);
    let rows = [account(1, "Oslo", 6), account(1, "Oslo", 5), account(1, "Rome", 7)];
    let mut push = |row: &str| shown(&named.push(0, &[("1", row, 0)]).changes);
    assert_eq!(push(&rows[0]), [r#"{"city":"Oslo","id":1}"#]);
    assert_eq!(push(&rows[1]), [r#"-{"id":1}"#], "the new version does not pass");
    assert_eq!(push(&rows[2]), [r#"{"city":"Rome","id":1}"#]);
    assert_eq!(push(""), [r#"-{"id":1}"#]);
    assert!(push("").is_empty());
}

#[test]
fn rows_of_several_selects_are_one_stream() {
    let sql = "WITH both AS (SELECT name, duration FROM R2 WHERE duration > 1 \
               UNION ALL SELECT upper(name), duration FROM R2) \
               SELECT name, count(*) AS n FROM both GROUP BY name";
    let mut bench = Bench::new(compile(sql, &changes(0)));
    assert_eq!(bench.query.inputs().len(), 1);
    bench.push(
        0,
        &[("k", r#"{"name":"a","duration":1}"#, 0), ("k", r#"{"name":"a","duration":2}"#, 0)],
    );
    assert_eq!(bench.results(), [r#"{"name":"A","n":2}"#, r#"{"name":"a","n":1}"#]);
}
