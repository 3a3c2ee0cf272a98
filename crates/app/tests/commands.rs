//! The command line as people use it: against a folder, and against a running Courant.

mod support;

use std::{fs, path::Path};

use serde_json::{Value, json};
use support::{Courant, courant, courant_ok, root};
use tempfile::tempdir;

const FILE: &str = "
version: 1
name: shop
topics:
  orders: { partitions: 3 }
pipelines:
  keep:
    from: orders
    to:
      - history: { collection: orders, id: id }
";

/// Lines of orders with ids from 0.
fn orders(count: usize) -> String {
    (0..count)
        .map(|id| format!("{{\"id\":\"{id}\",\"customer\":{{\"n\":{}}}}}\n", id % 7))
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn ids(lines: &str) -> Vec<usize> {
    let id = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        value["id"].as_str().expect("id").parse().expect("a number")
    };
    let mut ids: Vec<usize> = lines.lines().map(id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_folder_is_worked_on_without_a_running_courant() {
    let folder = tempdir().unwrap();
    let (data, rows) = (folder.path().join("data"), folder.path().join("rows.ndjson"));
    fs::write(&rows, orders(100)).unwrap();
    let on = |arguments: &[&str]| {
        let data = ["--data", text(&data), "--log-level", "warn"];
        courant_ok(&[arguments, &data[..]].concat())
    };
    on(&["topic", "create", "orders", "--partitions", "3", "--retention", "forever"]);
    on(&["topic", "produce", "orders", text(&rows), "--key", "customer.n"]);
    let read = on(&["topic", "consume", "orders", "--from-beginning", "--until-end"]);
    assert_eq!(ids(&read), (0..100).collect::<Vec<_>>());
    let shown = on(&["topic", "consume", "orders", "--from-beginning", "--until-end", "--json"]);
    for line in shown.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["key"], record["value"]["customer"]["n"].to_string(), "{record}");
    }
    let listed: Value = serde_json::from_str(&on(&["topic", "list", "--json"])).unwrap();
    let ends = listed[0]["partitions"].as_array().unwrap().iter();
    assert_eq!(ends.map(|at| at["end"].as_i64().unwrap()).sum::<i64>(), 100);
    on(&["topic", "delete", "orders"]);
    assert_eq!(on(&["topic", "list"]).lines().count(), 1);
}

#[tokio::test]
async fn a_running_courant_is_reached_by_its_address_and_a_reset_group_reads_all_again() {
    let folder = tempdir().unwrap();
    let (file, data) = (folder.path().join("courant.yaml"), folder.path().join("data"));
    let rows = folder.path().join("rows.ndjson");
    fs::write(&file, FILE).unwrap();
    fs::write(&rows, orders(500)).unwrap();
    let running = Courant::start(&file, &data);
    let url = running.url.clone();
    courant_ok(&["topic", "produce", "orders", text(&rows), "--url", &url]);
    let read = courant_ok(&[
        "topic",
        "consume",
        "orders",
        "--from-beginning",
        "--until-end",
        "--url",
        &url,
    ]);
    assert_eq!(ids(&read), (0..500).collect::<Vec<_>>());
    let all = |group: &Value| {
        group["offsets"].as_array().is_some_and(|offsets| {
            offsets.iter().map(|at| at["committed"].as_i64().unwrap_or(0)).sum::<i64>() == 500
        })
    };
    running.get_until("/api/v1/groups/shop.keep", all).await;

    let refused = courant(&["group", "reset", "shop.keep", "--to-earliest", "--url", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop them"));
    assert_eq!(running.stop(), Some(0));

    courant_ok(&["group", "reset", "shop.keep", "--to-earliest", "--data", text(&data)]);
    let running = Courant::start(&file, &data);
    let again = |body: &Value| body["pipelines"][0]["records_in"] == json!(500);
    running.get_until("/api/v1/pipelines", again).await;
    let (_, count) = running.get("/api/v1/history/orders/count").await;
    assert_eq!(count["count"], 500, "what was read again was stored again");
}

#[test]
fn what_cannot_be_done_is_said_with_its_place_and_sends_nothing() {
    let folder = tempdir().unwrap();
    let (data, rows) = (folder.path().join("data"), folder.path().join("rows.ndjson"));
    let failed = |arguments: &[&str]| {
        let data = ["--data", text(&data), "--log-level", "warn"];
        let output = courant(&[arguments, &data[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    fs::write(&rows, "{\"id\":\"1\"}\nnot json\n").unwrap();
    let said = failed(&["topic", "produce", "nowhere", text(&rows)]);
    assert!(said.contains("topic \"nowhere\" does not exist"), "{said}");
    courant_ok(&["topic", "create", "t", "--data", text(&data), "--log-level", "warn"]);
    let said = failed(&["topic", "produce", "t", text(&rows)]);
    assert!(said.contains("rows.ndjson:2: not JSON"), "{said}");
    let said = failed(&["topic", "produce", "t", "missing.ndjson"]);
    assert!(said.contains("missing.ndjson"), "{said}");
    let said = failed(&["topic", "produce", "t", text(&rows), "--key", "customer"]);
    assert!(said.contains("no field \"customer\""), "{said}");
    let read = courant_ok(&[
        "topic",
        "consume",
        "t",
        "--from-beginning",
        "--until-end",
        "--data",
        text(&data),
        "--log-level",
        "warn",
    ]);
    assert_eq!(read, "");
    let output = courant(&["topic", "list", "--url", "http://127.0.0.1:1"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no Courant answers at http://127.0.0.1:1"), "{said}");
}

#[test]
fn a_seed_repeats_what_was_generated() {
    let bets = |seed: &str| courant_ok(&["generate", "bets", "--count", "50", "--seed", seed]);
    let strip = |text: String| -> Vec<Value> {
        let read = |line: &str| {
            let mut value: Value = serde_json::from_str(line).expect("JSON");
            // Dates are near the present.
            value["placed_at"] = Value::Null;
            value["race_id"] = Value::Null;
            value
        };
        text.lines().map(read).collect()
    };
    let first = strip(bets("7"));
    assert_eq!(first.len(), 50);
    assert_eq!(first, strip(bets("7")));
    assert_ne!(first, strip(bets("8")));
    let csv = courant_ok(&["generate", "customers", "--count", "3", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.starts_with("customer_id,first_name,"), "{csv}");
}

#[test]
fn the_reference_is_what_the_code_says_and_the_schema_is_one() {
    let committed = fs::read_to_string(root().join("docs/reference.md")).unwrap();
    assert_eq!(courant_ok(&["docs"]).trim_end(), committed.trim_end(), "run `make docs`");
    let schema: Value = serde_json::from_str(&courant_ok(&["docs", "--schema"])).unwrap();
    assert!(schema["properties"]["pipelines"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(courant_ok(&["completions", shell]).contains("courant"));
    }
}
