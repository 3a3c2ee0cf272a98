//! The history on a server of MongoDB's protocol: the conformance suite, what goes wrong,
//! and what other programs meet.

use courant_model::limits::DELETED_VERSIONS_KEPT_MS;
use mongodb::bson::DateTime;
use serde_json::{Value, json};

use super::*;
use crate::{Change, ChangeKind, ResumeToken, conformance::HistoryHarness, testing::MongoServer};

/// How long a server may be away, as the tests see it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of its own for each test.
struct Harness(MongoServer);

#[async_trait]
impl HistoryHarness for Harness {
    async fn open(&self) -> Arc<dyn History> {
        Arc::new(connect(&self.0).await)
    }
}

mod stand_in;

mod on_a_stand_in {
    use super::*;

    crate::history_conformance!(match MongoServer::start().await {
        Some(server) => Harness(server),
        None => return,
    });
}

async fn connect(server: &MongoServer) -> MongoHistory {
    let url = server.url("shop") + "&serverSelectionTimeoutMS=1000";
    MongoHistory::connect(url.parse().unwrap()).await.unwrap()
}

async fn with_collection(server: &MongoServer) -> MongoHistory {
    let history = connect(server).await;
    let spec = CollectionSpec { name: "orders".into(), indexes: Vec::new() };
    history.ensure_collection(&spec).await.unwrap();
    history
}

fn document(value: &Value) -> Document {
    value.as_object().unwrap().clone()
}

fn upsert(id: &str, n: i64) -> HistoryWrite {
    HistoryWrite::Upsert { id: id.into(), document: document(&json!({ "n": n })), version: Some(n) }
}

/// Writes until it succeeds, as a pipeline does.
async fn write_at_last(history: &MongoHistory, write: HistoryWrite) -> Written {
    let tries = async {
        loop {
            match history.write("orders", vec![write.clone()]).await {
                Ok(mut results) => return results.remove(0).unwrap(),
                Err(error) => assert!(error.retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tries).await.expect("the server comes back")
}

async fn take(watch: &mut Box<dyn Changes>, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let next = tokio::time::timeout(PATIENCE, watch.next(count - changes.len())).await;
        changes.extend(next.expect("a change arrives").unwrap());
    }
    changes
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_when_the_server_comes_back() {
    let Some(mut server) = MongoServer::start().await else { return };
    let history = with_collection(&server).await;
    let mut watch = history.watch("orders", WatchFrom::Now).await.unwrap();
    write_at_last(&history, upsert("a", 1)).await;
    let first = take(&mut watch, 1).await.remove(0);
    write_at_last(&history, upsert("b", 2)).await;
    server.kill().await;
    let waiting = tokio::spawn(async move { (take(&mut watch, 3).await, watch) });
    let refused = history.write("orders", vec![upsert("c", 3)]).await.unwrap_err();
    assert!(refused.retryable(), "{refused}");
    server.start_again().await;
    write_at_last(&history, upsert("c", 3)).await;
    write_at_last(&history, upsert("a", 4)).await;
    let (changes, _watch) = waiting.await.unwrap();
    let told: Vec<_> = changes.iter().map(|change| (change.kind, &*change.id)).collect();
    use ChangeKind::{Insert, Update};
    assert_eq!(told, [(Insert, "b"), (Insert, "c"), (Update, "a")]);
    let mut again = history.watch("orders", WatchFrom::After(first.token)).await.unwrap();
    assert_eq!(take(&mut again, 3).await, changes);
}

#[tokio::test]
async fn a_write_that_comes_again_after_a_restart_changes_nothing() {
    let Some(mut server) = MongoServer::start().await else { return };
    let history = with_collection(&server).await;
    let delete = |version| HistoryWrite::Delete { id: "gone".into(), version: Some(version) };
    let writes = vec![upsert("a", 1), upsert("a", 2), upsert("gone", 1), delete(3)];
    history.write("orders", writes.clone()).await.unwrap();
    server.stop().await;
    server.start_again().await;
    for write in writes {
        assert_eq!(write_at_last(&history, write).await.change, None);
    }
    let left = history.find("orders", &FindQuery::default()).await.unwrap();
    assert_eq!(left, [document(&json!({ "_id": "a", "n": 2 }))]);
}

#[tokio::test]
async fn documents_of_other_programs_are_read_watched_and_taken_over() {
    let Some(server) = MongoServer::start().await else { return };
    let history = with_collection(&server).await;
    let orders = history.inside.database.collection::<Bdoc>("orders");
    let mut watch = history.watch("orders", WatchFrom::Now).await.unwrap();
    orders.insert_one(doc! { "_id": "a", "at": DateTime::from_millis(0) }).await.unwrap();
    orders.update_one(doc! { "_id": "a" }, doc! { "$set": { "n": 1_i32 } }).await.unwrap();
    let changes = take(&mut watch, 2).await;
    let expected = document(&json!({ "_id": "a", "at": "1970-01-01T00:00:00Z", "n": 1 }));
    assert_eq!(changes[1].document.as_ref(), Some(&expected));
    assert_eq!(history.get("orders", "a").await.unwrap(), Some(expected));
    let written = write_at_last(&history, upsert("a", 7)).await;
    assert_eq!(written.change, Some(ChangeKind::Update));
    let stored = orders.find_one(doc! { "_id": "a" }).await.unwrap().unwrap();
    assert_eq!(stored.get_i64("n").unwrap(), 7);
    assert_eq!(stored.get_document("_courant").unwrap().get_i64("version").unwrap(), 7);
}

#[tokio::test]
async fn a_document_that_mongodb_does_not_take_harms_no_other() {
    let Some(server) = MongoServer::start().await else { return };
    let history = with_collection(&server).await;
    let put =
        |id: &str, value| HistoryWrite::Insert { id: Some(id.into()), document: document(&value) };
    let nested = (0..97).fold(json!(1), |inner, _| json!([inner]));
    let large = "x".repeat(courant_model::limits::MESSAGE_BYTES_MAX);
    let writes = vec![
        put("name", json!({ "$set": 1 })),
        put("ours", json!({ "_courant": 1 })),
        put("deep", json!({ "a": nested })),
        put("large", json!({ "a": large })),
        put("good", json!({ "n": u64::MAX })),
    ];
    let results = history.write("orders", writes).await.unwrap();
    for refused in &results[..3] {
        assert!(matches!(refused, Err(StoreError::InvalidDocument { .. })), "{refused:?}");
    }
    assert!(matches!(results[3], Err(StoreError::TooLarge { .. })), "{:?}", results[3]);
    assert!(results[4].is_ok(), "{results:?}");
    let found = history.find("orders", &FindQuery::default()).await.unwrap();
    assert_eq!(found, [document(&json!({ "_id": "good", "n": u64::MAX }))]);
}

#[tokio::test]
async fn writers_of_one_document_settle_on_the_highest_version() {
    let Some(server) = MongoServer::start().await else { return };
    let history = Arc::new(with_collection(&server).await);
    let writers = (0..8_i64).map(|writer| {
        let history = Arc::clone(&history);
        tokio::spawn(async move {
            for n in 0..10 {
                let write = upsert("same", n * 8 + writer);
                history.write("orders", vec![write]).await.unwrap().remove(0).unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(history.get("orders", "same").await.unwrap().unwrap()["n"], 79);
}

#[tokio::test]
async fn a_tombstone_expires_and_is_not_seen_past_its_time() {
    let Some(server) = MongoServer::start().await else { return };
    let history = with_collection(&server).await;
    let delete = HistoryWrite::Delete { id: "a".into(), version: Some(5) };
    history.write("orders", vec![upsert("a", 1), delete]).await.unwrap();
    assert_eq!(write_at_last(&history, upsert("a", 4)).await.change, None);
    let tombstones = history.inside.database.collection::<Bdoc>(TOMBSTONES);
    let long_ago = DateTime::now().timestamp_millis() - DELETED_VERSIONS_KEPT_MS as i64 - 1;
    let past = doc! { "$set": { "at": DateTime::from_millis(long_ago) } };
    tombstones.update_one(doc! { "_id": "orders/a" }, past).await.unwrap();
    assert_eq!(write_at_last(&history, upsert("a", 4)).await.change, Some(ChangeKind::Insert));
    let indexes = history.inside.database.run_command(doc! { "listIndexes": TOMBSTONES }).await;
    let text = indexes.unwrap().to_string();
    assert!(text.contains("expireAfterSeconds"), "{text}");
}

#[tokio::test]
async fn a_change_tells_what_was_before_where_the_url_asks_for_it() {
    let Some(server) = MongoServer::start().await else { return };
    let url = server.url("shop") + "&preImages=true";
    let history = MongoHistory::connect(url.parse().unwrap()).await.unwrap();
    let spec = CollectionSpec { name: "orders".into(), indexes: Vec::new() };
    history.ensure_collection(&spec).await.unwrap();
    let mut watch = history.watch("orders", WatchFrom::Now).await.unwrap();
    let delete = HistoryWrite::Delete { id: "a".into(), version: Some(3) };
    history.write("orders", vec![upsert("a", 1), upsert("a", 2), delete]).await.unwrap();
    let before: Vec<_> =
        take(&mut watch, 3).await.into_iter().map(|change| change.before).collect();
    let stored = |n: i64| Some(document(&json!({ "_id": "a", "n": n })));
    assert_eq!(before, [None, stored(1), stored(2)]);
}

#[tokio::test]
async fn indexes_of_other_programs_stay() {
    let Some(server) = MongoServer::start().await else { return };
    let history = with_collection(&server).await;
    let index = doc! { "key": { "x": 1_i32 }, "name": "theirs" };
    let command = doc! { "createIndexes": "orders", "indexes": [index] };
    history.inside.database.run_command(command).await.unwrap();
    for indexes in [vec![vec!["n".parse().unwrap()]], Vec::new()] {
        let spec = CollectionSpec { name: "orders".into(), indexes };
        history.ensure_collection(&spec).await.unwrap();
        assert_eq!(history.collections().await.unwrap(), [spec]);
    }
    let orders = history.inside.database.collection::<Bdoc>("orders");
    let mut left = orders.list_index_names().await.unwrap();
    left.sort();
    assert_eq!(left, ["_id_", "courant.order", "theirs"]);
}

#[tokio::test]
async fn names_of_ours_are_reserved_and_a_server_that_is_not_there_may_come() {
    let nobody = format!(
        "mongodb://127.0.0.1:{}/shop?serverSelectionTimeoutMS=50",
        courant_testing::free_port()
    );
    let refused = MongoHistory::connect(nobody.parse().unwrap()).await.unwrap_err();
    assert!(refused.retryable(), "{refused}");
    let Some(server) = MongoServer::start().await else { return };
    let history = connect(&server).await;
    let spec = CollectionSpec { name: TOMBSTONES.into(), indexes: Vec::new() };
    let refused = history.ensure_collection(&spec).await.unwrap_err();
    assert!(refused.to_string().contains("reserved"), "{refused}");
    assert!(history.collections().await.unwrap().is_empty());
    let nonsense = WatchFrom::After(ResumeToken("nonsense".into()));
    assert!(history.watch("orders", nonsense).await.is_err());
}

#[tokio::test]
async fn a_watch_from_the_oldest_change_repeats_nothing_after_a_cut() {
    let Some(mut server) = MongoServer::start().await else { return };
    let history = with_collection(&server).await;
    let mut watch = history.watch("orders", WatchFrom::Earliest).await.unwrap();
    for n in 0..300 {
        write_at_last(&history, upsert(&format!("a{}", n % 50), n)).await;
    }
    assert_eq!(take(&mut watch, 300).await.len(), 300);
    for round in 0..3 {
        server.kill().await;
        let waiting = tokio::spawn(async move { (take(&mut watch, 1).await, watch) });
        tokio::time::sleep(Duration::from_secs(round * 2)).await;
        server.start_again().await;
        let id = format!("b{round}");
        write_at_last(&history, upsert(&id, 1)).await;
        let (changes, again) = waiting.await.unwrap();
        assert_eq!(changes[0].id, id);
        watch = again;
    }
}
