//! The cache on Redis and the history on a server of MongoDB's protocol, behind one file.
//!
//! Orders with growing versions are posted; each server is stopped and started, and Courant
//! killed, in the middle. At the end both stores hold the last version of every order, and
//! a watch from the beginning never saw a version go back.

mod support;

use std::{collections::BTreeMap, path::Path};

use courant_stores::testing::{MongoServer, RedisServer};
use serde_json::{Value, json};
use support::Courant;
use tempfile::tempdir;

const FILE: &str = "
version: 1
name: stores
profiles:
  servers: { cache: '${REDIS}', history: '${MONGO}' }
topics:
  orders: { partitions: 1 }
sources:
  orders:
    http: { method: POST, path: /orders }
    to: orders
    key: id
pipelines:
  keep:
    from: orders
    to:
      - cache: { table: by_customer, key: customer, field: id, version: version }
      - history: { collection: orders, id: id, indexes: [customer], version: version }
endpoints:
  /orders: { history: orders, sort: '-version', limit: 1000 }
  /orders/{id}: { history: orders }
  /customers/{customer}: { cache: by_customer }
";

const ORDERS: u64 = 20;
const CUSTOMERS: u64 = 3;

/// What is running, and the versions that were posted.
struct Bench<'a> {
    folder: &'a Path,
    redis: RedisServer,
    mongo: MongoServer,
    version: u64,
}

impl Bench<'_> {
    fn start(&self) -> Courant {
        let (file, data) = (self.folder.join("courant.yaml"), self.folder.join("data"));
        let (redis, mongo) = (self.redis.url(), self.mongo.url("shop"));
        let variables = [("REDIS", &*redis), ("MONGO", &*mongo)];
        let flags = ["--profile", "servers"];
        Courant::try_start_with(&file, &data, &flags, &variables).expect("it starts")
    }

    /// Posts the next version of some orders.
    async fn post(&mut self, courant: &Courant, count: u64) {
        for _ in 0..count {
            self.version += 1;
            let (version, id) = (self.version, self.version % ORDERS);
            let order = json!({ "id": id, "customer": id % CUSTOMERS, "version": version });
            let (status, body) = courant.post("/orders", order.to_string()).await;
            assert!(status.is_success(), "{body}");
        }
    }

    /// The last version of each order.
    fn last(&self) -> BTreeMap<u64, u64> {
        (1..=self.version).map(|version| (version % ORDERS, version)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_stop_and_a_kill_leave_the_last_version_in_both_stores() {
    let Some(redis) = RedisServer::start(&[]).await else { return };
    let Some(mongo) = MongoServer::start().await else { return };
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("courant.yaml"), FILE).unwrap();
    let mut it = Bench { folder: folder.path(), redis, mongo, version: 0 };
    let mut courant = it.start();
    for _ in 0..3 {
        it.post(&courant, 30).await;
        it.redis.stop().await;
        it.post(&courant, 10).await;
        it.redis.start_again().await;
        it.post(&courant, 10).await;
        it.mongo.kill().await;
        it.post(&courant, 10).await;
        it.mongo.start_again().await;
        it.post(&courant, 10).await;
        courant.kill();
        courant = it.start();
    }
    let last = it.last();
    let stored = |body: &Value| -> BTreeMap<u64, u64> {
        let documents = body["data"].as_array().into_iter().flatten();
        let number = |document: &Value, field: &str| document[field].as_u64().unwrap_or(0);
        documents.map(|order| (number(order, "id"), number(order, "version"))).collect()
    };
    courant.get_until("/orders", |body| stored(body) == last).await;
    for customer in 0..CUSTOMERS {
        let expected: BTreeMap<String, u64> = last
            .iter()
            .filter(|(id, _)| *id % CUSTOMERS == customer)
            .map(|(id, version)| (id.to_string(), *version))
            .collect();
        let cached = |body: &Value| -> BTreeMap<String, u64> {
            let fields = body.as_object().into_iter().flatten();
            fields.map(|(id, order)| (id.clone(), order["version"].as_u64().unwrap_or(0))).collect()
        };
        courant.get_until(&format!("/customers/{customer}"), |body| cached(body) == expected).await;
    }
    assert!(!courant.said().contains("\"level\":\"ERROR\""), "{}", courant.said());
    assert_eq!(courant.stop(), Some(0));
    check_watch(&it, &last).await;
}

/// Reads every change of the collection, in order.
async fn check_watch(it: &Bench<'_>, last: &BTreeMap<u64, u64>) {
    use courant_stores::{History, MongoHistory, WatchFrom};
    let history = MongoHistory::connect(it.mongo.url("shop").parse().unwrap()).await.unwrap();
    let mut watch = history.watch("orders", WatchFrom::Earliest).await.unwrap();
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    while seen != *last {
        let changes = tokio::time::timeout(support::PATIENCE, watch.next(100)).await;
        for change in changes.expect("changes arrive").unwrap() {
            let document = change.document.expect("nothing was deleted");
            let (id, version) =
                (document["id"].as_u64().unwrap(), document["version"].as_u64().unwrap());
            let before = seen.insert(id, version);
            assert!(before < Some(version), "order {id}: {version} after {before:?}");
        }
    }
}
