//! Topic → statement → topic under `kill -9`: every record of the input has its output
//! once, for readers of committed records.
//!
//! `COURANT_CRASH_ROUNDS` sets the number of kills (default 10).

#![allow(clippy::print_stdout, reason = "says its seed and what it counted")]

mod support;

use std::collections::BTreeMap;

use support::{
    Courant,
    crash::{Ledger, kill_again_and_again},
    read_topic,
};
use tempfile::tempdir;

const FILE: &str = "
version: 1
name: once
topics:
  numbers: { partitions: 3, columns: { id: int64 not null, text: string } }
  doubled: { partitions: 2 }
  hundreds: { partitions: 1 }
sources:
  numbers:
    http: { method: POST, path: /numbers }
    to: numbers
    key: id
pipelines:
  double:
    from: numbers
    steps:
      - deduplicate: { by: id, within: 1h }
      - sql: SELECT id, id * 2 AS doubled FROM input
      - route:
          - { when: id % 100 = 0, to: hundreds }
          - otherwise: next
    to: doubled
";

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_sends_the_output_of_each_record_once() {
    let folder = tempdir().unwrap();
    let (file, data) = (folder.path().join("courant.yaml"), folder.path().join("data"));
    std::fs::write(&file, FILE).unwrap();
    let ledger = Ledger::default();
    kill_again_and_again(&file, &data, 10, &ledger).await;

    let courant = Courant::start(&file, &data);
    courant
        .get_until("/api/v1/groups/once.double", |group| {
            let offsets = group["offsets"].as_array().expect("offsets");
            offsets.len() == 3 && offsets.iter().all(|offset| offset["lag"] == 0)
        })
        .await;
    assert_eq!(courant.stop(), Some(0));

    let ids = |topic: &str| {
        let mut found: BTreeMap<u64, u32> = BTreeMap::new();
        for record in read_topic(topic, &["--data", data.to_str().unwrap()]) {
            *found.entry(record["value"]["id"].as_u64().expect("id")).or_default() += 1;
        }
        found
    };
    let (input, mut output) = (ids("numbers"), ids("doubled"));
    output.extend(ids("hundreds"));
    let acknowledged = ledger.acknowledged();
    println!("{} acknowledged, {} in, {} out", acknowledged.len(), input.len(), output.len());
    assert!(!acknowledged.is_empty(), "nothing was acknowledged; the test shows nothing");
    assert!(acknowledged.iter().all(|id| input.contains_key(id)), "an acknowledged record is lost");
    let lost: Vec<_> = input.keys().filter(|id| !output.contains_key(id)).collect();
    assert!(lost.is_empty(), "{} records have no output: {:?}", lost.len(), &lost[..1]);
    let twice: Vec<_> = output.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{} outputs are repeated: {:?}", twice.len(), &twice[..1]);
    assert_eq!(input.len(), output.len());
}
