//! The `nest` step at work: its memory and its output stay together over restarts, and
//! what one change makes goes out whole, however much it is.

use courant_model::{
    Record,
    change::{TABLE_HEADER, TRANSACTION_END_HEADER, TRANSACTION_HEADER},
    limits::PIPELINE_BATCH_RECORDS_MAX,
};
use serde_json::{Value, json};

use super::world::{World, stop, until};
use crate::{config::tests::plan_of, plan::Plan, testing::record};

fn plan() -> Plan {
    plan_of(
        "
version: 1
name: test
topics: { rows: , out: { partitions: 2 } }
pipelines:
  p:
    from: rows
    steps:
      - nest:
          table: orders
          key: id
          many: { lines: { table: lines, key: id, on: { order: id } } }
          one: { customer: { table: customers, key: id, on: { id: customer } } }
          version: version
    to: out
",
    )
}

fn row(table: &'static str, row: &Value, transaction: &'static str, is_last: bool) -> Record {
    let row = record(row).with_header(TABLE_HEADER, table);
    let row = row.with_header(TRANSACTION_HEADER, transaction);
    if is_last { row.with_header(TRANSACTION_END_HEADER, "last") } else { row }
}

async fn until_committed(world: &World, offset: i64) {
    let is_there = async || world.committed("test.p").await == offset;
    until(&format!("offset {offset} is committed"), is_there).await;
}

async fn documents(world: &World) -> Vec<Value> {
    let document = |record: Record| serde_json::from_slice(&record.value.unwrap()).unwrap();
    let mut documents: Vec<Value> =
        world.records("out").await.into_iter().map(|stored| document(stored.record)).collect();
    documents.sort_by_key(|document| document["version"].as_u64());
    documents
}

#[tokio::test]
async fn a_restart_within_a_transaction_ends_in_one_document() {
    let world = World::new().await;
    let runtime = world.start(&plan()).await;
    let order = json!({ "id": 1, "customer": null });
    world.append("rows", vec![row("s.orders", &order, "a", true)]).await;
    world.append("rows", vec![row("s.lines", &json!({ "id": 1, "order": 1 }), "b", false)]).await;
    until_committed(&world, 2).await;
    stop(runtime).await;
    let runtime = world.start(&plan()).await;
    world.append("rows", vec![row("s.lines", &json!({ "id": 2, "order": 1 }), "b", true)]).await;
    until_committed(&world, 3).await;
    stop(runtime).await;
    let lines = json!([{ "id": 1, "order": 1 }, { "id": 2, "order": 1 }]);
    let document = |lines: Value, version: u64| json!({ "id": 1, "customer": null, "lines": lines, "version": version });
    assert_eq!(documents(&world).await, [document(json!([]), 1), document(lines, 5)]);
}

#[tokio::test]
async fn what_one_row_changes_goes_out_whole() {
    let count = PIPELINE_BATCH_RECORDS_MAX + 5;
    let world = World::new().await;
    let runtime = world.start(&plan()).await;
    let order = |id| row("s.orders", &json!({ "id": id, "customer": 7 }), "a", id == count);
    world.append("rows", (1..=count).map(order).collect()).await;
    until_committed(&world, count as i64).await;
    let customer = json!({ "id": 7, "name": "Ada" });
    world.append("rows", vec![row("s.customers", &customer, "b", true)]).await;
    until_committed(&world, count as i64 + 1).await;
    stop(runtime).await;
    let documents = documents(&world).await;
    assert_eq!(documents.len(), 2 * count);
    assert!(documents[count..].iter().all(|document| document["customer"] == customer));
}
