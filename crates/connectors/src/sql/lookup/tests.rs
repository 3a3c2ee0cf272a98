//! The lookup `sql` on real databases.

use serde_json::json;

use super::*;
use crate::sql::tests::Database;

fn open(database: &Database, query: &str, many: bool) -> Arc<dyn Lookup> {
    let options = json!({ "url": database.url(), "query": query });
    let context = LookupContext { pipeline: "p".into(), base: ".".into(), many };
    parse(&options).unwrap().open(context).unwrap()
}

const TABLE: &str =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(40), price DECIMAL(12, 2));
INSERT INTO t VALUES (1, 'one', 1.50);\nINSERT INTO t VALUES (2, 'two''s', 2.25);
INSERT INTO t VALUES (3, NULL, NULL);\n";

#[tokio::test]
async fn rows_are_found_by_bound_values() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        let lookup = open(&database, "SELECT id, name FROM t WHERE id = :id OR name = :n.x;", true);
        let ask = async |id: Value, name: &str| lookup.ask(&[id, json!(name)]).await.unwrap();
        let one = json!({ "id": 1, "name": "one" });
        let two = json!({ "id": 2, "name": "two's" });
        assert_eq!(ask(json!(1), "").await, Answer::Found(vec![one]), "{database:?}");
        assert_eq!(ask(json!(0), "two's").await, Answer::Found(vec![two]));
        assert_eq!(ask(json!(0), "' OR '1'='1").await, Answer::Found(Vec::new()));
        let first = open(&database, "SELECT name FROM t ORDER BY id DESC", false);
        assert_eq!(first.ask(&[]).await.unwrap(), Answer::Found(vec![json!({ "name": null })]));
    }
}

#[tokio::test]
async fn decimals_keep_their_digits() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        let lookup = open(&database, "SELECT price FROM t WHERE id = :id", false);
        let price = match &database {
            // SQLite has no decimals.
            Database::Sqlite(_) => json!(1.5),
            _ => json!("1.50"),
        };
        let found = lookup.ask(&[json!(1)]).await.unwrap();
        assert_eq!(found, Answer::Found(vec![json!({ "price": price })]));
    }
}

#[tokio::test]
async fn mariadb_answers_as_its_changes_are_captured() {
    let Some(database) = Database::mariadb(&[]).await else { return };
    let query = "SELECT CAST('2026-01-02' AS DATE) AS d, CAST('2026-01-02 03:04:05.5' AS DATETIME(1)) AS at, \
                 CAST('-30:00:01' AS TIME) AS t, b'1000001' + 0 AS n, x'00ff' AS b, 'ü' AS u, 1e0 AS f, \
                 JSON_OBJECT('a', 1) AS j, :v AS v";
    let found = open(&database, query, false).ask(&[json!(true)]).await.unwrap();
    let Answer::Found(rows) = found else { panic!("{found:?}") };
    let row = &rows[0];
    assert_eq!(row["d"], json!("2026-01-02"));
    assert_eq!(row["at"], json!("2026-01-02T03:04:05.5"));
    assert_eq!(row["t"], json!("-30:00:01"));
    assert_eq!((&row["n"], &row["b"], &row["u"]), (&json!(65), &json!("AP8="), &json!("ü")));
    assert_eq!((&row["f"], &row["v"]), (&json!(1.0), &json!(1)));
}

#[tokio::test]
async fn postgresql_answers_in_json_by_its_types() {
    let Some(server) = crate::testing::servers::postgres::Postgres::start().await else { return };
    let database = Database::Postgres(Box::new(server));
    let query = "SELECT 12345678901234567890.10 AS d, '\\x00ff'::bytea AS b, true AS t, \
                 '2026-01-02 03:04:05.5+01'::timestamptz AS at, '{\"a\": [1]}'::jsonb AS j, \
                 ARRAY[1, 2] AS l, :id::int AS id -- the end";
    let found = open(&database, query, false).ask(&[json!("7")]).await.unwrap();
    let expected = json!({
        "d": "12345678901234567890.10", "b": "AP8=", "t": true,
        "at": "2026-01-02T02:04:05.5+00:00", "j": { "a": [1] }, "l": [1, 2], "id": 7,
    });
    assert_eq!(found, Answer::Found(vec![expected]));
    let refused = open(&database, "SELECT 1 WHERE 1 = :id::int", false).ask(&[json!("x")]).await;
    assert!(matches!(refused, Ok(Answer::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_lookup_changes_nothing_and_tells_a_query_that_cannot_run() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        for query in ["DELETE FROM t WHERE id = :id", "SELECT nothing FROM t WHERE id = :id"] {
            let error = open(&database, query, false).ask(&[json!(1)]).await.unwrap_err();
            assert!(!error.retryable, "{error}");
        }
        assert_eq!(database.rows("SELECT COUNT(*) FROM t").await, ["3"]);
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again() {
    let Some(database) = Database::mariadb(&[]).await else { return };
    database.execute(TABLE).await;
    let lookup = open(&database, "SELECT name FROM t WHERE id = :id", false);
    let one = Answer::Found(vec![json!({ "name": "one" })]);
    assert_eq!(lookup.ask(&[json!(1)]).await.unwrap(), one);
    let Database::MariaDb(mut server) = database else { panic!() };
    server.kill().await;
    let error = lookup.ask(&[json!(1)]).await.unwrap_err();
    assert!(error.retryable, "{error}");
    server.run().await;
    assert_eq!(lookup.ask(&[json!(1)]).await.unwrap(), one);
}
