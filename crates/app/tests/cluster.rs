//! Workers on a real Kafka cluster: they share the partitions, one that is killed is
//! replaced, a broker that goes away and comes back loses nothing, and what goes to topics
//! exactly once is there exactly once.
//!
//! Apache Kafka comes from `scripts/kafka`; without it the tests are skipped.

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Value, json};
use support::{Courant, PATIENCE, courant_ok, kafka::Cluster, read_topic, root};
use tempfile::{TempDir, tempdir};

/// A folder with a cluster of one node in it, and workers.
struct World {
    cluster: Cluster,
    folder: TempDir,
}

impl World {
    /// `None`: the test is skipped.
    fn new() -> Option<Self> {
        let folder = tempdir().unwrap();
        let cluster = Cluster::start(&folder.path().join("kafka"), 1)?;
        Some(Self { cluster, folder })
    }

    fn file(&self, text: &str) -> PathBuf {
        let file = self.folder.path().join("courant.yaml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn worker(&self, name: &str, file: &Path) -> Courant {
        let data = self.folder.path().join(name);
        let variables = [("KAFKA", self.cluster.servers.as_str())];
        Courant::try_start_with(file, &data, &["--profile", "cluster"], &variables)
            .unwrap_or_else(|said| panic!("worker {name} did not start: {said}"))
    }

    /// Produces documents `{"id": …}` with the id as key.
    fn produce(&self, topic: &str, ids: std::ops::Range<u64>) {
        let rows = self.folder.path().join("rows.ndjson");
        let lines: String = ids.map(|id| format!("{{\"id\":{id}}}\n")).collect();
        std::fs::write(&rows, lines).unwrap();
        let rows = rows.to_str().unwrap();
        courant_ok(&[
            "topic",
            "produce",
            topic,
            rows,
            "--key",
            "id",
            "--brokers",
            &self.cluster.servers,
        ]);
    }
}

/// How many partitions of a pipeline a worker has.
fn partitions(body: &Value, pipeline: &str) -> u64 {
    let pipelines = body["pipelines"].as_array().expect("pipelines");
    let found = pipelines.iter().find(|one| one["name"] == pipeline).expect("the pipeline");
    found["partitions"].as_u64().expect("partitions")
}

async fn until_partitions(worker: &Courant, pipeline: &str, pleases: impl Fn(u64) -> bool) {
    worker.get_until("/api/v1/pipelines", |body| pleases(partitions(body, pipeline))).await;
}

/// Waits until a group has committed this many records, all partitions together.
async fn until_committed(worker: &Courant, group: &str, count: i64) {
    worker
        .get_until(&format!("/api/v1/groups/{group}"), |group| {
            let offsets = group["offsets"].as_array().expect("offsets").iter();
            offsets.map(|at| at["committed"].as_i64().unwrap_or(0)).sum::<i64>() == count
        })
        .await;
}

/// Waits until a group has come to the ends of its partitions.
async fn until_caught_up(worker: &Courant, group: &str) {
    worker
        .get_until(&format!("/api/v1/groups/{group}"), |group| {
            let offsets = group["offsets"].as_array().expect("offsets");
            !offsets.is_empty() && offsets.iter().all(|at| at["lag"] == 0)
        })
        .await;
}

async fn contents(worker: &Courant) -> Vec<String> {
    let (status, body) = worker.get("/messages").await;
    assert!(status.is_success(), "{status} {body}");
    let data = body["data"].as_array().expect("data").iter();
    data.map(|document| document["content"].as_str().expect("content").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_messages_and_the_others_go_on_when_one_is_killed() {
    let Some(world) = World::new() else { return };
    let file = root().join("examples/messages/courant.yaml");
    let (one, two) = (world.worker("one", &file), world.worker("two", &file));
    for worker in [&one, &two] {
        until_partitions(worker, "messages", |count| (1..3).contains(&count)).await;
    }
    let post = async |worker: &Courant, text: String| {
        let body = json!({ "text": text, "source": "test" }).to_string();
        let (status, _) = worker.post("/messages", body).await;
        assert!(status.is_success(), "{status}");
    };
    for n in 0..20 {
        post(&one, format!("before {n}")).await;
    }
    until_caught_up(&one, "message-processing-group").await;
    let mut both = contents(&one).await;
    both.extend(contents(&two).await);
    for n in 0..20 {
        let times = both.iter().filter(|content| **content == format!("before {n}")).count();
        assert_eq!(times, 1, "message {n} is with one of the workers");
    }
    two.kill();
    until_partitions(&one, "messages", |count| count == 3).await;
    for n in 0..20 {
        post(&one, format!("after {n}")).await;
    }
    one.get_until("/messages", |body| {
        let data = body["data"].as_array().expect("data");
        (0..20).all(|n| data.iter().any(|one| one["content"] == format!("after {n}")))
    })
    .await;
    assert_eq!(one.stop(), Some(0));
}

const FILE: &str = "
version: 1
name: doubler
profiles:
  cluster: { log: 'kafka://${KAFKA}' }
topics:
  numbers: { partitions: 6, columns: { id: int64 not null } }
  doubled: { partitions: 3 }
pipelines:
  double:
    from: numbers
    steps:
      - sql: SELECT id, id * 2 AS doubled FROM input
    to: doubled
";

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_and_a_broker_that_restarts_repeat_nothing_and_lose_nothing() {
    let Some(world) = World::new() else { return };
    let file = world.file(FILE);
    let (one, two) = (world.worker("one", &file), world.worker("two", &file));
    let three = world.worker("three", &file);
    for worker in [&one, &two, &three] {
        until_partitions(worker, "double", |count| count == 2).await;
    }
    // One is killed at work, and comes back.
    world.produce("numbers", 0..20_000);
    one.kill();
    until_committed(&two, "doubler.double", 20_000).await;
    let one = world.worker("one", &file);
    // Two are killed at once.
    world.produce("numbers", 20_000..40_000);
    two.kill();
    three.kill();
    until_committed(&one, "doubler.double", 40_000).await;
    // The broker is killed while records flow.
    let two = world.worker("two", &file);
    world.produce("numbers", 40_000..60_000);
    world.cluster.kill(1);
    world.cluster.start_node(1);
    until_committed(&two, "doubler.double", 60_000).await;
    assert_eq!((one.stop(), two.stop()), (Some(0), Some(0)));

    let mut found: BTreeMap<u64, u32> = BTreeMap::new();
    for record in read_topic("doubled", &["--brokers", &world.cluster.servers]) {
        let id = record["value"]["id"].as_u64().expect("id");
        assert_eq!(record["value"]["doubled"].as_u64(), Some(id * 2));
        *found.entry(id).or_default() += 1;
    }
    let lost: Vec<_> = (0..60_000).filter(|id| !found.contains_key(id)).collect();
    assert!(lost.is_empty(), "{} records have no output: {:?}", lost.len(), lost.first());
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{} outputs are repeated: {:?}", twice.len(), twice.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_works_on_a_cluster() {
    let Some(world) = World::new() else { return };
    let servers = world.cluster.servers.clone();
    let on = |arguments: &[&str]| {
        courant_ok(&[arguments, &["--brokers", &servers, "--log-level", "warn"]].concat())
    };
    on(&["topic", "create", "orders", "--partitions", "3", "--retention", "2d"]);
    let topic: Value =
        serde_json::from_str(&on(&["topic", "describe", "orders", "--json"])).unwrap();
    assert_eq!(topic["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(topic["settings"]["retention_time"], "2d");
    world.produce("orders", 0..300);
    let mut ids: Vec<u64> = read_topic("orders", &["--brokers", &servers])
        .iter()
        .map(|record| record["value"]["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<_>>());

    let file = world.file(
        "{ version: 1, name: shop, profiles: { cluster: { log: 'kafka://${KAFKA}' } }, \
         pipelines: { keep: { from: orders, to: [{ history: { collection: orders } }] } }, \
         topics: { orders: { partitions: 3 } } }",
    );
    let worker = world.worker("one", &file);
    until_committed(&worker, "shop.keep", 300).await;
    assert_eq!(worker.stop(), Some(0));
    let listed = on(&["group", "list"]);
    assert!(listed.contains("shop.keep"), "{listed}");
    let group = || -> Value {
        serde_json::from_str(&on(&["group", "describe", "shop.keep", "--json"])).unwrap()
    };
    // The cluster may hear of the worker's end a moment after it.
    let start = Instant::now();
    while group()["members"].as_array().is_some_and(|members| !members.is_empty()) {
        assert!(start.elapsed() < PATIENCE, "the worker is still in its group: {}", group());
    }
    let committed = || {
        let group = group();
        let offsets = group["offsets"].as_array().unwrap().clone();
        offsets.iter().map(|at| at["committed"].as_i64().unwrap()).sum::<i64>()
    };
    for (flags, expected) in
        [(["--to-offset", "10"], 30), (["--to-time", "0"], 0), (["--to-offset", "100000"], 300)]
    {
        on(&["group", "reset", "shop.keep", flags[0], flags[1]]);
        assert_eq!(committed(), expected, "{flags:?}");
    }
    on(&["group", "reset", "shop.keep", "--to-earliest"]);
    assert_eq!(committed(), 0);
    on(&["group", "delete", "shop.keep"]);
    assert!(!on(&["group", "list"]).contains("shop.keep"));
    on(&["topic", "delete", "orders"]);
    assert!(!on(&["topic", "list"]).contains("orders"));
}
