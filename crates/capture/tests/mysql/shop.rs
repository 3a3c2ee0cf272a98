//! The shop that other crates' tests use: its changes arrive, its documents are SQL's.

use courant_capture::testing::{MariaDb, SHOP_TABLES, Shop};

use crate::support::{Mirror, catch_up, options, select, source};

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_shop_is_followed_in_the_order_of_the_tables() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    let mut shop = Shop::create(&server, 7).await;
    let mut options = options(&server);
    options.selection.tables = SHOP_TABLES.map(String::from).into();
    let mut reader = source(options, None);
    let first = catch_up(&mut reader, &server).await.unwrap();
    let mut tables: Vec<&str> = first.iter().map(|change| change.table.name.as_str()).collect();
    tables.dedup();
    assert_eq!(tables, SHOP_TABLES);
    let mut mirror = Mirror::default();
    first.iter().for_each(|change| mirror.apply(change));

    let transactions = shop.change(2_000).await;
    let number = shop.order(3).await;
    let rest = catch_up(&mut reader, &server).await.unwrap();
    rest.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&server).await);
    let ended = rest.iter().filter(|change| change.last).count() as u64;
    assert!(rest.len() >= 1_000 && ended > 10 && ended <= transactions + 1, "{transactions}");

    let orders = shop.orders_by_sql().await;
    let shown = mirror.shown();
    assert_eq!(orders.len(), shown["shop.orders"].len());
    let lines = |order: &serde_json::Value| order["lines"].as_array().unwrap().len();
    assert_eq!(orders.values().map(lines).sum::<usize>(), shown["shop.orderdetails"].len());
    let order = &orders[&number];
    assert_eq!((lines(order), &order["status"]), (3, &"In Process".into()));
    assert!(order["lines"][0]["product"]["productVendor"].is_string());
    assert!(order["lines"][0]["priceEach"].as_str().unwrap().ends_with(".50"));
}
