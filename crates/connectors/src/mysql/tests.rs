//! The source beside a real MariaDB: what lands, restarts, crashes, outages, refusals.

use std::collections::BTreeMap;

use courant_capture::testing::{MariaDb, Shop, nest_orders};
use courant_model::{Record, change::TRANSACTION_END_HEADER};
use mysql_async::prelude::Queryable;
use serde_json::{Value as Json, json};

use super::*;
use crate::testing::{MemoryEmit, World, suite, with};

const TABLES: &str = "CREATE TABLE pieces (id INT, part VARCHAR(9), n INT, PRIMARY KEY (id, part));
CREATE TABLE orders (id INT PRIMARY KEY, price DECIMAL(6,2), secret VARCHAR(9));
INSERT INTO pieces VALUES (1, 'a', 5), (1, 'b', 6);
INSERT INTO orders VALUES (1, 1.50, 'x')";

fn options(server: &MariaDb) -> Json {
    json!({ "url": server.url(), "heartbeat": "100ms", "columns_except": ["orders.secret"] })
}

fn factory(options: &Json) -> Arc<dyn SourceFactory> {
    parse(options).unwrap()
}

/// A record as `operation table key value end`.
fn said(record: &Record) -> String {
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let header = |name: &str| text(record.header(name).and_then(|header| header.value.as_deref()));
    let end = header(TRANSACTION_END_HEADER);
    let (operation, table) = (header("courant-operation"), header("courant-table"));
    let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
    format!("{operation} {table} {key} {value} {end}").trim_end().into()
}

async fn wait_for(world: &World, records: usize) -> Vec<String> {
    let enough = |emit: &MemoryEmit| emit.records().len() >= records;
    world.emit.wait_until(&format!("{records} records"), enough).await;
    world.emit.records().iter().map(said).collect()
}

/// What the records make of the tables: key to value, by table.
fn mirror(records: &[Record]) -> BTreeMap<(String, String), String> {
    let mut rows = BTreeMap::new();
    for record in records {
        let said = said(record);
        let mut words = said.splitn(4, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (operation, table, key, value) = (word(), word(), word(), word());
        let value = value.trim_end_matches(" last").to_owned();
        match operation.as_str() {
            "delete" => drop(rows.remove(&(table, key))),
            _ => drop(rows.insert((table, key), value)),
        }
    }
    rows
}

async fn select(server: &MariaDb) -> BTreeMap<(String, String), String> {
    let mut conn = server.conn().await;
    let rows: Vec<(i64, i64)> = conn.query("SELECT id, n FROM numbers").await.unwrap();
    let row = |(id, n): (i64, i64)| {
        (("shop.numbers".into(), id.to_string()), format!("{{\"id\":{id},\"n\":{n}}}"))
    };
    rows.into_iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_then_every_change_lands_and_a_restart_goes_on() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLES).await;
    let world = World::new();
    let factory = factory(&with(options(&server), json!({ "tables": ["pieces", "orders"] })));
    let running = suite::start(&world, &*factory);
    let expected = [
        r#"snapshot shop.pieces 1|a {"id":1,"part":"a","n":5}"#,
        r#"snapshot shop.pieces 1|b {"id":1,"part":"b","n":6} last"#,
        r#"snapshot shop.orders 1 {"id":1,"price":"1.50"} last"#,
    ];
    assert_eq!(wait_for(&world, 3).await, expected);
    server.execute("BEGIN;\nUPDATE pieces SET part = 'c' WHERE part = 'b';\nDELETE FROM pieces WHERE part = 'a';\nINSERT INTO orders VALUES (2, 3, 'y');\nCOMMIT").await;
    let expected = [
        r#"delete shop.pieces 1|b {"id":1,"part":"b","n":6}"#,
        r#"insert shop.pieces 1|c {"id":1,"part":"c","n":6}"#,
        r#"delete shop.pieces 1|a {"id":1,"part":"a","n":5}"#,
        r#"insert shop.orders 2 {"id":2,"price":"3.00"} last"#,
    ];
    assert_eq!(wait_for(&world, 7).await[3..], expected);
    running.stop().await;
    server.execute("UPDATE orders SET price = 4 WHERE id = 2;\nALTER TABLE orders ADD note TEXT;\nUPDATE orders SET note = 'n' WHERE id = 2").await;
    let running = suite::start(&world, &*factory);
    let expected = [
        r#"update shop.orders 2 {"id":2,"price":"4.00"} last"#,
        r#"update shop.orders 2 {"id":2,"price":"4.00","note":"n"} last"#,
    ];
    assert_eq!(wait_for(&world, 9).await[7..], expected);
    server.execute("TRUNCATE pieces;\nDELETE FROM orders WHERE id = 1").await;
    assert_eq!(wait_for(&world, 10).await.len(), 10);
    let (original, why) = world.emit.rejected().remove(0);
    assert!(original.contains("truncate") && why.contains("DELETE FROM shop.pieces"), "{why}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_and_a_killed_server_repeat_and_lose_nothing() {
    let Some(mut server) = MariaDb::start(&[]).await else { return };
    server.execute("CREATE TABLE numbers (id INT PRIMARY KEY, n INT);\nINSERT INTO numbers SELECT seq, 0 FROM seq_1_to_3000").await;
    let world = World::new();
    let factory = factory(&with(options(&server), json!({ "chunk_rows": 400 })));
    for round in 1..=6 {
        let running = suite::supervise(&world, Arc::clone(&factory));
        let seen = world.emit.records().len();
        server
            .execute(&format!(
                "UPDATE numbers SET n = {round} WHERE id % 7 = {round};
DELETE FROM numbers WHERE id % 100 = {round};
INSERT INTO numbers SELECT 3000 + {round} * 100 + seq, {round} FROM seq_1_to_50"
            ))
            .await;
        wait_for(&world, seen + 100).await;
        if round % 3 == 0 {
            server.kill().await;
            server.run().await;
        }
        running.crash().await;
    }
    let running = suite::supervise(&world, factory);
    let expected = select(&server).await;
    let equal = |emit: &MemoryEmit| mirror(&emit.records()) == expected;
    world.emit.wait_until("the records say what the table has", equal).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_changes_make_what_sql_says_although_the_source_crashes() {
    let Some(server) = MariaDb::start(&["--innodb-flush-log-at-trx-commit=2"]).await else {
        return;
    };
    let mut shop = Shop::create(&server, 5).await;
    let world = World::new();
    let options = json!({ "url": server.url(), "heartbeat": "100ms", "chunk_rows": 500 });
    let factory = factory(&options);
    for _ in 0..10 {
        let seen = world.emit.records().len();
        let running = suite::supervise(&world, Arc::clone(&factory));
        shop.change(1_000).await;
        wait_for(&world, seen + 100).await;
        running.crash().await;
    }
    let expected = shop.orders_by_sql().await;
    let last = shop.order(1).await;
    let running = suite::supervise(&world, factory);
    let end = format!("insert shop.orders {last} ");
    let ended =
        |emit: &MemoryEmit| emit.records().iter().any(|record| said(record).starts_with(&end));
    world.emit.wait_until("the last order", ended).await;
    running.stop().await;
    let rows = mirror(&world.emit.records());
    let rows = rows.iter().map(|((table, _), row)| (table.as_str(), row.parse().unwrap()));
    let mut orders = nest_orders(rows);
    orders.remove(&last);
    assert_eq!(orders, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_ends_once_in_parts_and_whole() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute("CREATE TABLE numbers (id INT PRIMARY KEY, n INT)").await;
    for transactions in ["parts", "whole"] {
        let world = World::new();
        let options = json!({ "snapshot": "never", "transactions": transactions });
        let running = suite::start(&world, &*factory(&with(options, options_of(&server))));
        // The position where it began is kept first.
        world.wait_for_state().await;
        // More than two full batches, the first of which ends with a statement's event.
        server.execute("BEGIN;\nINSERT INTO numbers SELECT seq, 0 FROM seq_1_to_9000;\nDELETE FROM numbers;\nCOMMIT").await;
        wait_for(&world, 18_000).await;
        let records = world.emit.records();
        let ends = |record: &Record| record.header(TRANSACTION_END_HEADER).is_some();
        assert_eq!(records.iter().position(ends), Some(17_999), "{transactions}");
        running.stop().await;
    }
}

fn options_of(server: &MariaDb) -> Json {
    json!({ "url": server.url(), "heartbeat": "100ms" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_told_with_the_statement_that_gives_it() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLES).await;
    server
        .execute(
            "CREATE USER reader@'%' IDENTIFIED BY 'pass';\nGRANT SELECT ON shop.* TO reader@'%'",
        )
        .await;
    let world = World::new();
    let options = json!({ "url": server.url_of("reader", "pass") });
    let error = suite::start(&world, &*factory(&options)).ended().await.unwrap_err();
    let statement = "GRANT REPLICATION SLAVE ON *.* TO 'reader'@'%'";
    assert!(!error.retryable && error.what.contains(statement), "{error}");
    server.execute(statement).await;
    let running = suite::start(&world, &*factory(&options));
    wait_for(&world, 3).await;
    running.stop().await;
    let wrong = json!({ "url": server.url_of("reader", "wrong") });
    let error = suite::start(&World::new(), &*factory(&wrong)).ended().await.unwrap_err();
    assert!(!error.retryable && !error.what.contains("wrong"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_encrypted_and_the_server_must_be_who_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("ca.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("other.pem"), other.cert.pem()).unwrap();
    let arguments =
        [format!("--ssl-cert={}", file("ca.pem")), format!("--ssl-key={}", file("key.pem"))];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(server) = MariaDb::start(&arguments).await else { return };
    server.execute(TABLES).await;
    server.execute("CREATE USER reader@'%' IDENTIFIED BY 'pass' REQUIRE SSL;\nGRANT SELECT, REPLICATION SLAVE ON *.* TO reader@'%'").await;
    let world = World::new();
    let options =
        json!({ "url": server.url_of("reader", "pass"), "tls": { "ca": file("ca.pem") } });
    let running = suite::start(&world, &*factory(&options));
    wait_for(&world, 3).await;
    running.stop().await;
    // Another authority, or none that this certificate comes from.
    for ca in [Some(file("other.pem")), None] {
        let mut capture = MySqlOptions { outage_ms: 1, ..MySqlOptions::default() };
        capture.servers = vec![server.url_of("reader", "pass")];
        let tls = Some(Tls { ca, certificate: None, key: None });
        let form = Form { format: Format::Row, decimals: Decimals::Text };
        let settings = Settings { capture, tls, form, whole_transactions: false };
        let error = suite::start(&World::new(), &settings).ended().await.unwrap_err();
        assert!(error.what.contains("certificate"), "{error}");
    }
    let plain = json!({ "url": server.url_of("reader", "pass") });
    assert!(suite::start(&World::new(), &*factory(&plain)).ended().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_promptly_also_without_a_server() {
    suite::stops_promptly(&World::new(), &*factory(&json!({ "url": "mysql://a@127.0.0.1:1/b" })))
        .await;
}

#[tokio::test]
async fn a_state_that_is_no_position_is_refused() {
    let world = World::new();
    world.context(tokio_util::sync::CancellationToken::new()).state.save("7".into()).await.unwrap();
    let running = suite::start(&world, &*factory(&json!({ "url": "mysql://a@127.0.0.1:1/b" })));
    let error = running.ended().await.unwrap_err();
    assert!(!error.retryable && error.what.contains("rename it"), "{error}");
}

#[test]
fn several_hosts_are_several_servers() {
    assert_eq!(
        servers("mysql://u:p@a:1,b:2/d?x=1"),
        ["mysql://u:p@a:1/d?x=1", "mysql://u:p@b:2/d?x=1"]
    );
    assert_eq!(servers("mysql://a, b"), ["mysql://a", "mysql://b"]);
    assert_eq!(servers("nonsense"), ["nonsense"]);
}

#[test]
fn wrong_options_are_told_without_the_password() {
    let paths = |options: Json| {
        let problems = parse(&options).unwrap_err();
        assert!(problems.iter().all(|problem| !problem.what.contains("hidden")), "{problems:?}");
        problems.iter().map(|problem| problem.path.join(".")).collect::<Vec<_>>()
    };
    assert_eq!(paths(json!({ "url": "http://a:hidden@b/c" })), ["url"]);
    assert_eq!(paths(json!({ "url": "mysql://a:hidden@b" })), [""]);
    let options = json!({
        "url": "mysql://a:hidden@b/c", "heartbeat": "0s", "tls": { "key": "k.pem" },
    });
    assert_eq!(paths(options), ["tls.certificate", "heartbeat"]);
    assert_eq!(paths(json!({ "url": "mysql://a/b", "chunk_rows": 0 })), ["chunk_rows"]);
}
