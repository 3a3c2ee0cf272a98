//! The example `orders` from the database's commit to the page, with its own file: what the
//! cache and the history hold equals what SQL finds in the database, whatever is stopped
//! and killed meanwhile, and a page that resumes hears every change exactly once.
//!
//! Once with everything but the database embedded, once with every role on a real server.
//! `COURANT_ORDERS_ROUNDS` and `COURANT_ORDERS_ROWS` make them longer, and
//! `COURANT_ORDERS_DUMP` names a dump of the database `classicmodels` to begin with.

#![allow(clippy::print_stdout, reason = "says how much was heard")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use courant_capture::testing::{MariaDb, Shop};
use courant_stores::testing::{MongoServer, RedisServer};
use serde_json::{Value, json};
use support::{
    Courant, PATIENCE,
    kafka::Cluster,
    page::{Heard, Page},
    root, setting,
};
use tempfile::{TempDir, tempdir};

const LOG_BIN: [&str; 3] =
    ["--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-metadata=FULL"];

/// The outside of a test, and Courant in it.
struct World {
    courant: Option<Courant>,
    file: PathBuf,
    database: MariaDb,
    variables: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl World {
    /// The example's file in a folder of its own.
    fn new(database: MariaDb, edit: impl FnOnce(&str) -> String) -> Self {
        let folder = tempdir().unwrap();
        let example = root().join("examples/orders");
        for entry in fs::read_dir(&example).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
        let file = folder.path().join("courant.yaml");
        fs::write(&file, edit(&fs::read_to_string(&file).unwrap())).unwrap();
        let url = format!("{}/shop", database.url().trim_end_matches('/'));
        Self { folder, file, database, variables: vec![("MYSQL_URL", url)], courant: None }
    }

    fn start(&mut self) -> String {
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let data = self.folder.path().join("data");
        let flags = ["--profile", "cluster", "--kafka-port", "0"];
        let flags = if self.is_embedded() { &flags[..] } else { &flags[..2] };
        let courant = Courant::try_start_with(&self.file, &data, flags, &variables)
            .unwrap_or_else(|said| panic!("courant did not start: {said}"));
        let url = courant.url.clone();
        self.courant = Some(courant);
        url
    }

    fn is_embedded(&self) -> bool {
        self.variables.len() == 1
    }

    fn courant(&self) -> &Courant {
        self.courant.as_ref().expect("it was started")
    }

    fn kill(&mut self) {
        self.courant.take().expect("it was started").kill();
    }
}

/// An order as the example shows it, from the rows as SQL nests them.
fn shown(order: &Value) -> Value {
    let line = |line: &Value| {
        json!({
            "productCode": line["productCode"],
            "quantityOrdered": line["quantityOrdered"],
            "priceEach": line["priceEach"],
            "orderLineNumber": line["orderLineNumber"],
            "productName": line["product"]["productName"],
        })
    };
    let lines: Vec<Value> = order["lines"].as_array().expect("lines").iter().map(line).collect();
    json!({
        "orderNumber": order["orderNumber"], "orderDate": order["orderDate"],
        "requiredDate": order["requiredDate"], "shippedDate": order["shippedDate"],
        "status": order["status"], "comments": order["comments"],
        "customerNumber": order["customerNumber"],
        "customer": order["customer"]["customerName"], "lines": lines,
    })
}

/// The same of a document of cache, history or page, without what the example adds.
fn plain(document: &Value) -> Value {
    let mut plain = document.clone();
    plain["customer"] = plain["customer"]["name"].take();
    for added in ["_id", "version", "origin", "revision"] {
        plain.as_object_mut().expect("an object").remove(added);
    }
    plain
}

type Orders = BTreeMap<u64, Value>;

fn number(order: &Value) -> u64 {
    order["orderNumber"].as_u64().expect("a number")
}

async fn in_database(shop: &mut Shop) -> Orders {
    shop.orders_by_sql().await.iter().map(|(number, order)| (*number, shown(order))).collect()
}

async fn in_history(courant: &Courant) -> Option<Orders> {
    let (status, body) = courant.get("/api/v1/history/orders?limit=10000").await;
    let data = body["data"].as_array().filter(|_| status.is_success())?;

    Some(data.iter().map(|order| (number(order), plain(order))).collect())
}

async fn in_cache(courant: &Courant, customers: &BTreeSet<String>) -> Option<Orders> {
    let mut orders = Orders::new();
    for customer in customers {
        let (status, body) = courant.get(&format!("/customers/{customer}/orders")).await;
        if status == 404 {
            continue;
        }
        let of_customer = body.as_object().filter(|_| status.is_success())?;
        for (field, order) in of_customer {
            assert_eq!(
                order["customerNumber"].to_string(),
                *customer,
                "a field of another customer"
            );
            assert_eq!(number(order).to_string(), *field);
            orders.insert(number(order), plain(order));
        }
    }
    Some(orders)
}

/// Waits until history and cache hold what the database does.
async fn until_equal(world: &World, shop: &mut Shop) -> Orders {
    let wanted = in_database(shop).await;
    let customers: BTreeSet<String> = shop.customers().iter().map(u64::to_string).collect();
    let (mut start, mut before) = (Instant::now(), None);
    loop {
        let history = in_history(world.courant()).await;
        let cache = in_cache(world.courant(), &customers).await;
        if history.as_ref() == Some(&wanted) && cache.as_ref() == Some(&wanted) {
            return wanted;
        }
        // As long as something moves it is only slow.
        if history != before {
            (start, before) = (Instant::now(), history.clone());
        }
        if start.elapsed() > PATIENCE * 2 {
            let differs = |found: Option<Orders>| {
                let found = found.unwrap_or_default();
                let numbers: BTreeSet<_> = wanted.keys().chain(found.keys()).copied().collect();
                let first = numbers.into_iter().find(|one| wanted.get(one) != found.get(one));
                first.map(|one| {
                    format!("order {one}: {:?}, not {:?}", found.get(&one), wanted.get(&one))
                })
            };
            panic!("history: {:?}\ncache: {:?}", differs(history), differs(cache));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Every event of an order, with its place among all, its version and its customer.
fn heard_of(heard: &[Heard], number: u64) -> String {
    let id = number.to_string();
    let of_it = heard.iter().enumerate().filter(|(_, one)| one.data["_id"] == *id);
    let shown = of_it.map(|(index, one)| {
        let (version, customer) = (&one.data["version"], &one.data["customerNumber"]);
        format!("\n{index}: {} {version} of customer {customer}", one.event)
    });
    shown.collect()
}

/// What a page heard is every version once, none older than the one before, and ends as
/// the orders are.
fn check_page(page: &Page, orders: &Orders) {
    assert_eq!(page.resets(), 0, "what it missed was not known");
    let mut last: BTreeMap<u64, Option<Value>> = BTreeMap::new();
    let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
    let heard = page.heard();
    for one in &heard {
        if one.event == "OrderDeleted" {
            let number = one.data["_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            let before = last.insert(number, None);
            assert_ne!(before, Some(None), "order {number} was deleted twice");
            continue;
        }
        let number = number(&one.data);
        let version = one.data["version"].as_u64().expect("a version");
        let before = versions.insert(number, version);
        assert!(
            before.is_none_or(|before| before < version),
            "order {number} was heard with version {version} after {before:?}: {}",
            heard_of(&heard, number)
        );
        last.insert(number, Some(plain(&one.data)));
    }
    for (number, order) in &last {
        assert_eq!(order.as_ref(), orders.get(number), "order {number} as last heard");
    }
    println!("the page heard {} changes of {} orders", heard.len(), last.len());
}

/// Waits until the page has heard something, and then nothing for a while.
async fn until_heard(page: &Page) {
    let start = Instant::now();
    let mut quiet = (0, Instant::now());
    while quiet.1.elapsed() < Duration::from_secs(3) || quiet.0 == 0 {
        let heard = page.count();
        if heard != quiet.0 {
            quiet = (heard, Instant::now());
        }
        assert!(start.elapsed() < PATIENCE, "the page heard {heard} changes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts Courant, waits until the snapshot is whole, and opens a page.
async fn a_live_page(world: &mut World, shop: &mut Shop) -> Page {
    let url = world.start();
    let orders = until_equal(world, shop).await;
    println!("the snapshot of {} orders equals the tables", orders.len());
    let page = Page::open(&url, "orders");
    while !page.is_subscribed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    page
}

async fn a_shop(database: &MariaDb, seed: u64) -> Shop {
    match std::env::var_os("COURANT_ORDERS_DUMP") {
        None => Shop::create(database, seed).await,
        Some(dump) => {
            let dump = fs::read_to_string(dump).expect("the dump");
            Shop::load(database, &dump, "classicmodels", seed).await
        }
    }
}

/// Replaces the roles of the profile `cluster` by the embedded ones.
fn embedded(text: &str) -> String {
    let (before, rest) = text.split_once("  cluster:\n").expect("the profile");
    let (_, after) = rest.split_once("\n\n").expect("its end");
    format!("{before}  cluster: {{}}\n\n{after}")
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_and_history_follow_the_database_through_kills_and_pages_hear_each_change_once() {
    let Some(database) = MariaDb::start(&LOG_BIN).await else { return };
    let mut shop = a_shop(&database, 11).await;
    let mut world = World::new(database, embedded);
    let page = a_live_page(&mut world, &mut shop).await;
    let rounds = setting("COURANT_ORDERS_ROUNDS", 6);
    let rows = setting("COURANT_ORDERS_ROWS", 1_200);
    for round in 0..rounds {
        shop.change(rows / rounds / 2).await;
        if round % 3 == 2 {
            world.database.kill().await;
            world.database.run().await;
            shop = Shop::open(&world.database, 100 + round).await;
        } else {
            world.kill();
        }
        shop.change(rows / rounds / 2).await;
        if world.courant.is_none() {
            let url = world.start();
            page.moved(&url);
        }
    }
    let orders = until_equal(&world, &mut shop).await;
    until_heard(&page).await;
    check_page(&page, &orders);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_on_real_servers_survives_the_loss_of_each() {
    let Some(database) = MariaDb::start(&LOG_BIN).await else { return };
    let Some(mut redis) = RedisServer::start(&[]).await else { return };
    let Some(mut mongo) = MongoServer::start().await else { return };
    let mut shop = a_shop(&database, 12).await;
    let mut world = World::new(database, str::to_owned);
    let Some(kafka) = Cluster::start(&world.folder.path().join("kafka"), 1) else { return };
    world.variables.extend([
        ("KAFKA", kafka.servers.clone()),
        ("REDIS_URL", redis.url()),
        ("MONGODB_URL", mongo.url("shop")),
    ]);
    let page = a_live_page(&mut world, &mut shop).await;
    let rounds = setting("COURANT_ORDERS_ROUNDS", 6);
    let rows = setting("COURANT_ORDERS_ROWS", 1_000);
    for round in 0..rounds {
        shop.change(rows / rounds / 2).await;
        match round % 6 {
            0 => world.kill(),
            1 => redis.kill().await,
            2 => mongo.kill().await,
            3 => world.database.kill().await,
            4 => kafka.kill(1),
            _ => mongo.stop().await,
        }
        if round % 6 != 3 {
            shop.change(rows / rounds / 2).await;
        }
        match round % 6 {
            0 => page.moved(&world.start()),
            1 => redis.start_again().await,
            3 => {
                world.database.run().await;
                shop = Shop::open(&world.database, 200 + round).await;
            }
            4 => kafka.start_node(1),
            _ => mongo.start_again().await,
        }
    }
    let orders = until_equal(&world, &mut shop).await;
    until_heard(&page).await;
    check_page(&page, &orders);
}

/// What the form posts goes to the database, in one transaction, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_the_form_goes_through_the_database_and_an_edit_replaces_its_lines() {
    let Some(database) = MariaDb::start(&LOG_BIN).await else { return };
    let mut shop = Shop::create(&database, 13).await;
    let mut world = World::new(database, embedded);
    world.start();
    until_equal(&world, &mut shop).await;
    let customer = shop.customers()[0];
    let products = shop.products().to_vec();
    let order = |lines: &[usize]| {
        let line = |(index, product): (usize, &usize)| json!({ "productCode": products[*product], "quantityOrdered": 3, "priceEach": 12.5, "orderLineNumber": index + 1 });
        json!({
            "orderDate": "2026-01-31", "requiredDate": "2026-02-07", "shippedDate": null,
            "status": "In Process", "comments": "from the form", "customerNumber": customer,
            "lines": lines.iter().enumerate().map(line).collect::<Vec<_>>(),
        })
    };
    let (status, answer) = world.courant().post("/orders", order(&[0, 1, 2]).to_string()).await;
    assert!(status.is_success(), "{status} {answer}");
    let number = number(&answer);
    let path = format!("/orders/{number}");
    let stored = world
        .courant()
        .get_until(&path, |order| order["lines"].as_array().is_some_and(|lines| lines.len() == 3))
        .await;
    assert_eq!(stored["comments"], "from the form");

    let mut edited = order(&[1, 3]);
    edited["orderNumber"] = json!(number);
    edited["status"] = json!("Shipped");
    let (status, answer) = world.courant().post("/orders", edited.to_string()).await;
    assert!(status.is_success(), "{status} {answer}");
    world.courant().get_until(&path, |order| order["status"] == "Shipped").await;
    let orders = until_equal(&world, &mut shop).await;
    let codes = |order: &Value| -> Vec<String> {
        let lines = order["lines"].as_array().expect("lines").iter();
        lines.map(|line| line["productCode"].as_str().expect("a code").to_owned()).collect()
    };
    assert_eq!(codes(&orders[&number]), [products[1].clone(), products[3].clone()]);

    // A customer that is not there: the database refuses, and the order is set aside.
    let mut wrong = order(&[0]);
    wrong["customerNumber"] = json!(999_999);
    world.courant().post("/orders", wrong.to_string()).await;
    let letters = world
        .courant()
        .get_until("/api/v1/dead-letters/to_database", |body| {
            body["records"].as_array().is_some_and(|letters| !letters.is_empty())
        })
        .await;
    let said = letters.to_string();
    assert!(said.contains("foreign key"), "{said}");
    until_equal(&world, &mut shop).await;
}
