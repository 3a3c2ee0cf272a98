//! What the embedded history does beyond its role: reopening, crashes, plans, bounds.
//!
//! Behaviour that every history has is in the conformance suite; here is what needs
//! the folder, the clock or the planner in hand.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::{Order, SortKey, conformance::HistoryHarness};

struct Harness(tempfile::TempDir);

#[async_trait]
impl HistoryHarness for Harness {
    async fn open(&self) -> Arc<dyn History> {
        Arc::new(open(self.0.path()))
    }
}

crate::history_conformance!(Harness(tempfile::tempdir().unwrap()));

fn open(folder: &Path) -> EmbeddedHistory {
    EmbeddedHistory::open(folder, HistoryOptions::default()).unwrap()
}

fn spec(name: &str, indexes: &[&[&str]]) -> CollectionSpec {
    let indexes = indexes
        .iter()
        .map(|fields| fields.iter().map(|field| field.parse().unwrap()).collect())
        .collect();
    CollectionSpec { name: name.into(), indexes }
}

fn document(value: Value) -> Document {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no document"),
    }
}

fn insert(id: &str, value: Value) -> HistoryWrite {
    HistoryWrite::Insert { id: Some(id.into()), document: document(value) }
}

async fn write(history: &EmbeddedHistory, writes: Vec<HistoryWrite>) {
    for result in history.write("c", writes).await.unwrap() {
        result.unwrap();
    }
}

async fn ids(history: &EmbeddedHistory, query: &FindQuery) -> Vec<String> {
    let found = history.find("c", query).await.unwrap();
    found.iter().map(|document| document["_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn documents_counts_and_order_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let history = open(folder.path());
        history.ensure_collection(&spec("c", &[&["n"]])).await.unwrap();
        write(&history, (0..50).map(|n| insert(&format!("{n}"), json!({ "n": n % 7 }))).collect())
            .await;
    }
    let history = open(folder.path());
    assert_eq!(history.count("c", &Filter::All).await.unwrap(), 50);
    let newest = FindQuery {
        sort: vec![SortKey::inserted(Order::Descending)],
        limit: 3,
        ..FindQuery::default()
    };
    assert_eq!(ids(&history, &newest).await, ["49", "48", "47"]);
    write(&history, vec![insert("after", json!({}))]).await;
    assert_eq!(ids(&history, &newest).await, ["after", "49", "48"]);
    let filter = Filter::parse(&json!({ "n": 3 })).unwrap();
    assert_eq!(history.count("c", &filter).await.unwrap(), 7);
    assert_eq!(history.get("c", "7").await.unwrap(), Some(document(json!({ "_id": "7", "n": 0 }))));
}
