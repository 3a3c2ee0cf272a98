//! Orders and their lines: one record, two tables, one transaction.

use super::*;

const TABLES: &str =
    "CREATE TABLE orders (\"orderNumber\" INTEGER PRIMARY KEY, status VARCHAR(20) NOT NULL);
CREATE TABLE details (\"orderNumber\" INTEGER REFERENCES orders (\"orderNumber\"), \
 code VARCHAR(9), amount INTEGER NOT NULL, PRIMARY KEY (\"orderNumber\", code));
";

async fn tables(database: &Database) {
    let quote = if matches!(database, Database::MariaDb(_)) { "`" } else { "\"" };
    database.execute(&TABLES.replace('"', quote)).await;
}

fn options(replace: bool) -> Value {
    json!({
        "table": "orders",
        "children": [{
            "table": "details", "from": "lines", "parent": { "orderNumber": "orderNumber" },
            "replace": replace,
        }],
    })
}

fn order(number: i64, status: &str, lines: &[(&str, i64)]) -> Value {
    let line = |(code, amount): &(&str, i64)| json!({ "code": code, "amount": amount });
    let lines: Vec<Value> = lines.iter().map(line).collect();
    json!({ "orderNumber": number, "status": status, "lines": lines })
}

async fn details(database: &Database) -> Vec<String> {
    database.rows("SELECT * FROM details ORDER BY 1, 2").await
}

async fn orders(database: &Database) -> Vec<String> {
    database.rows("SELECT * FROM orders ORDER BY 1").await
}

#[tokio::test]
async fn an_orders_lines_are_those_of_its_last_record() {
    for database in Database::each().await {
        tables(&database).await;
        let mut sink = database.sink(options(true));
        let first = events([
            order(1, "new", &[("a", 1), ("b", 2)]),
            order(2, "new", &[("a", 5)]),
            order(1, "paid", &[("b", 3), ("c", 4)]),
        ]);
        for _ in 0..2 {
            assert_eq!(write(&mut *sink, &first).await, [], "{database:?}");
            assert_eq!(orders(&database).await, ["1|paid", "2|new"]);
            assert_eq!(details(&database).await, ["1|b|3", "1|c|4", "2|a|5"]);
        }
        let untouched = events([json!({ "orderNumber": 1, "status": "sent" })]);
        assert_eq!(write(&mut *sink, &untouched).await, []);
        assert_eq!(details(&database).await.len(), 3);
        let emptied = events([order(2, "void", &[])]);
        assert_eq!(write(&mut *sink, &emptied).await, []);
        assert_eq!(details(&database).await, ["1|b|3", "1|c|4"]);
        let gone = [deleted(json!({ "orderNumber": 1 })), tombstone("2")];
        assert_eq!(write(&mut *sink, &gone).await, []);
        assert!(orders(&database).await.is_empty() && details(&database).await.is_empty());
    }
}

#[tokio::test]
async fn lines_that_a_record_does_not_name_stay_where_nothing_is_replaced() {
    for database in Database::each().await {
        tables(&database).await;
        let mut sink = database.sink(options(false));
        let both = events([order(1, "new", &[("a", 1)]), order(1, "new", &[("b", 2)])]);
        assert_eq!(write(&mut *sink, &both).await, []);
        assert_eq!(details(&database).await, ["1|a|1", "1|b|2"]);
    }
}

#[tokio::test]
async fn an_order_whose_line_is_refused_is_not_written_at_all() {
    for database in Database::each().await {
        tables(&database).await;
        let mut sink = database.sink(options(true));
        let mut all = events([
            order(1, "new", &[("a", 1)]),
            order(2, "new", &[("a", 1), ("a", 2)]),
            json!({ "orderNumber": 3, "status": "new", "lines": [{ "code": "x", "amount": null }] }),
            json!({ "orderNumber": 4, "status": "new", "lines": 5 }),
            json!({ "orderNumber": 5, "status": null, "lines": [] }),
            order(6, "new", &[("z", 9)]),
        ]);
        all.extend(events([json!({ "status": "new" }), json!([1]), Value::Null]));
        let rejections = write(&mut *sink, &all).await;
        let indices: Vec<usize> = rejections.iter().map(|rejection| rejection.index).collect();
        assert_eq!(indices, [1, 2, 3, 4, 6, 7, 8], "{rejections:?}");
        for (index, word) in [(0, "lines.1"), (1, "amount"), (2, "list"), (3, "status")] {
            assert!(rejections[index].why.contains(word), "{}", rejections[index].why);
        }
        assert_eq!(orders(&database).await, ["1|new", "6|new"]);
        assert_eq!(details(&database).await, ["1|a|1", "6|z|9"]);
    }
}
