//! `kill -9` at random moments while records flow, then everything is counted.
//!
//! A writer posts numbered records at about 10,000 a second and remembers which were
//! acknowledged. After each kill the process starts again on its folder. At the end:
//! every acknowledged record is in the topic exactly once, none that was not sent is
//! there, every record of the topic is in the history exactly once, and offsets have no holes.
//!
//! `COURANT_CRASH_ROUNDS` sets the number of kills (default 30).

#![allow(clippy::print_stdout, reason = "says its seed and what it counted")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use support::{
    Courant,
    crash::{Ledger, kill_again_and_again},
    read_topic,
};
use tempfile::tempdir;

const FILE: &str = "
version: 1
name: crash
topics:
  numbers:
    partitions: 3
    message_bytes: 1MiB
    segment_bytes: 4MiB
    columns: { id: int64 not null, text: string }
sources:
  numbers:
    http: { method: POST, path: /numbers }
    to: numbers
    key: id
pipelines:
  keep:
    from: numbers
    steps:
      - sql: SELECT id, upper(text) AS text FROM input
    to:
      - history: { collection: numbers, indexes: [id] }
";

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_no_acknowledged_record_and_stores_none_twice() {
    let folder = tempdir().unwrap();
    let (file, data) = (folder.path().join("courant.yaml"), folder.path().join("data"));
    std::fs::write(&file, FILE).unwrap();
    let ledger = Ledger::default();
    kill_again_and_again(&file, &data, 30, &ledger).await;

    let courant = Courant::start(&file, &data);
    courant
        .get_until("/api/v1/groups/crash.keep", |group| {
            let offsets = group["offsets"].as_array().expect("offsets");
            offsets.len() == 3 && offsets.iter().all(|offset| offset["lag"] == 0)
        })
        .await;
    let stored = read_history(&courant).await;
    assert_eq!(courant.stop(), Some(0));
    let topic = ids_without_holes(&data);

    let (acknowledged, sent) = (ledger.acknowledged(), ledger.sent());
    println!("{} acknowledged of {sent} sent, {} in the topic", acknowledged.len(), topic.len());
    assert!(!acknowledged.is_empty(), "nothing was acknowledged; the test shows nothing");
    let lost: Vec<_> = acknowledged.iter().filter(|id| !topic.contains_key(id)).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged records are lost: {:?}",
        lost.len(),
        &lost[..lost.len().min(5)]
    );
    let twice: Vec<_> = topic.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{} records are in the topic more than once", twice.len());
    assert!(topic.keys().all(|id| *id < sent), "the topic holds what nobody sent");
    let difference = topic.keys().filter(|id| stored.get(id) != Some(&1)).count();
    assert_eq!(difference, 0, "records of the topic that are not exactly once in the history");
    assert_eq!(stored.len(), topic.len());
}

/// Every id in the history, with how often.
async fn read_history(courant: &Courant) -> HashMap<u64, u32> {
    let mut found = HashMap::new();
    let mut after: i64 = -1;
    loop {
        let filter = format!("%7B%22id%22%3A%7B%22%24gt%22%3A{after}%7D%7D");
        let path = format!("/api/v1/history/numbers?sort=id&limit=10000&filter={filter}");
        let (status, body) = courant.get(&path).await;
        assert!(status.is_success(), "{status} {body}");
        let documents = body["data"].as_array().expect("data");
        let Some(last) = documents.last() else { return found };
        after = last["id"].as_i64().expect("id");
        for document in documents {
            let id = document["id"].as_u64().expect("id");
            assert_eq!(document["text"], format!("RECORD NUMBER {id}"));
            *found.entry(id).or_default() += 1;
        }
    }
}

/// Every id in the topic, with how often; checks that offsets have no holes.
fn ids_without_holes(data: &Path) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    let mut next: HashMap<i64, i64> = HashMap::new();
    for record in read_topic("numbers", &["--data", data.to_str().unwrap()]) {
        let (partition, offset) =
            (record["partition"].as_i64().unwrap(), record["offset"].as_i64().unwrap());
        let expected = next.entry(partition).or_insert(0);
        assert_eq!(offset, *expected, "partition {partition} has a hole");
        *expected += 1;
        *found.entry(record["value"]["id"].as_u64().expect("id")).or_default() += 1;
    }
    found
}
