//! Change data capture under `kill -9`: of Courant while a shop is busy, and of its server.
//!
//! A shop in a MariaDB changes at random while Courant follows it. After each round one
//! of the two is killed and starts again. At the end the records of the topic, followed
//! in their order, must make exactly what SQL says of the tables.
//!
//! `COURANT_CRASH_ROUNDS` sets the number of rounds (default 6).

mod support;

use std::collections::BTreeMap;

use courant_capture::testing::{MariaDb, SHOP_TABLES, Shop, nest_orders};
use mysql_async::prelude::Queryable;
use serde_json::Value;
use support::{Courant, read_topic, setting};
use tempfile::tempdir;

/// Rows that change in a round.
const ROWS: u64 = 1_500;

fn file(server: &MariaDb) -> String {
    format!(
        "version: 1
name: capture
topics:
  shop: {{ partitions: 1 }}
sources:
  database:
    mysql:
      url: {}
      tables: [{}]
      chunk_rows: 300
      heartbeat: 100ms
    to: shop
",
        server.url(),
        SHOP_TABLES.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_shop_is_followed_exactly_although_both_sides_are_killed() {
    let Some(mut server) = MariaDb::start(&[]).await else { return };
    let mut shop = Shop::create(&server, 17).await;
    let folder = tempdir().unwrap();
    let (path, data) = (folder.path().join("courant.yaml"), folder.path().join("data"));
    std::fs::write(&path, file(&server)).unwrap();
    let mut courant = Courant::start(&path, &data);
    for round in 0..setting("COURANT_CRASH_ROUNDS", 6) {
        if round % 3 == 2 {
            let changing = tokio::spawn(async move { shop.try_change(u64::MAX).await });
            transactions(&server, 50).await;
            server.kill().await;
            assert!(changing.await.unwrap().is_err());
            server.run().await;
            shop = Shop::open(&server, 100 + round).await;
        } else {
            shop.change(ROWS).await;
            courant.kill();
            courant = Courant::start(&path, &data);
        }
    }
    shop.change(ROWS).await;
    let expected = shop.orders_by_sql().await;
    let last = shop.order(1).await;

    let place = ["--url", &courant.url];
    let started = std::time::Instant::now();
    let rows = loop {
        let rows = follow(read_topic("shop", &place));
        if rows.contains_key(&("shop.orderdetails".into(), line_of(&rows, last))) {
            break rows;
        }
        assert!(started.elapsed() < support::PATIENCE, "the last order does not come");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let mut orders =
        nest_orders(rows.iter().map(|((table, _), row)| (table.as_str(), row.clone())));
    orders.remove(&last);
    assert_eq!(orders, expected);
    assert_eq!(courant.stop(), Some(0));
}

/// Waits until the server has committed so many transactions more.
async fn transactions(server: &MariaDb, count: u64) {
    let mut conn = server.conn().await;
    let mut first = None;
    loop {
        const LAST: &str =
            "SELECT CAST(SUBSTRING_INDEX(@@GLOBAL.gtid_binlog_pos, '-', -1) AS UNSIGNED)";
        let last: u64 = conn.query_first(LAST).await.unwrap().expect("a GTID");
        if last >= *first.get_or_insert(last) + count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The key of the line of an order with one line; empty where there is none yet.
fn line_of(rows: &BTreeMap<(String, String), Value>, order: u64) -> String {
    let prefix = format!("{order}|");
    let key = rows.keys().find(|(_, key)| key.starts_with(&prefix));
    key.map_or_else(String::new, |(_, key)| key.clone())
}

/// The rows that the records leave, by table and key.
fn follow(records: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let mut rows = BTreeMap::new();
    for record in records {
        let headers = record["headers"].as_array().expect("headers");
        let header = |name: &str| {
            let found = headers.iter().find(|header| header["name"] == name);
            found.and_then(|header| header["value"].as_str()).unwrap_or_default().to_owned()
        };
        let key = record["key"].as_str().expect("a key").to_owned();
        let place = (header("courant-table"), key);
        match header("courant-operation").as_str() {
            "delete" => drop(rows.remove(&place)),
            _ => drop(rows.insert(place, record["value"].clone())),
        }
    }
    rows
}
