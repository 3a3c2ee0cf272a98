//! Dead letters over HTTP: read, and sent back once.

use axum::http::StatusCode;
use courant_log::Log;
use courant_model::{Record, Timestamp, TopicName};
use serde_json::{Value, json};

use crate::support::Bench;

const REDRIVE: &str = "/api/v1/dead-letters/messages/redrive";

/// A dead letter as the engine writes it, of `data-stream-0@7`.
async fn with_letter(source: &str) -> (Bench, TopicName) {
    let bench = Bench::new().await;
    let home = bench.topic("data-stream", 1).await;
    let dead = bench.topic("messages.dead", 1).await;
    let letter = Record::new("{broken", Timestamp::from_millis(9_000))
        .with_key("k")
        .with_header("mine", "stays")
        .with_header("courant-error", "value is not JSON")
        .with_header("courant-error-step", "sql")
        .with_header("courant-error-source", source.to_owned())
        .with_header("courant-error-timestamp", "5");
    bench.log.append(&dead, Some(0), vec![letter]).await.unwrap();
    (bench, home)
}

fn place(offset: i64) -> Value {
    json!({ "records": [{ "partition": 0, "offset": offset }] })
}

#[tokio::test]
async fn a_dead_letter_says_what_went_wrong_where() {
    let (bench, _) = with_letter("data-stream-0@7").await;
    let list = bench.get("/api/v1/dead-letters").await.json();
    assert_eq!(
        list["dead_letters"][0],
        json!({ "pipeline": "messages", "topic": "messages.dead", "records": 1 })
    );
    let letters = bench.get("/api/v1/dead-letters/messages").await.json();
    let letter = &letters["records"][0];
    assert_eq!((&letter["error"], &letter["step"]), (&json!("value is not JSON"), &json!("sql")));
    assert_eq!(
        (&letter["source"], &letter["redriven"]),
        (&json!("data-stream-0@7"), &json!(false))
    );
    assert_eq!(letter["record"]["value"], "{broken");
}

#[tokio::test]
async fn a_dead_letter_goes_home_as_it_was_and_only_once() {
    let (bench, _) = with_letter("data-stream-0@7").await;
    let sent = bench.post(REDRIVE, &place(0)).await;
    assert_eq!(sent.status, StatusCode::OK);
    assert_eq!(
        sent.json()["redriven"][0]["to"],
        json!({ "topic": "data-stream", "partition": 0, "offset": 0 })
    );

    let home = bench.get("/api/v1/topics/data-stream/records").await.json();
    let record = &home["records"][0];
    assert_eq!((&record["key"], &record["value"]), (&json!("k"), &json!("{broken")));
    assert_eq!(record["timestamp"], 5, "the original's own time");
    let headers: Vec<_> = record["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| header["name"].as_str().unwrap())
        .collect();
    assert_eq!(headers, ["mine", "courant-redriven-from"]);

    let letters = bench.get("/api/v1/dead-letters/messages").await.json();
    assert_eq!(letters["records"][0]["redriven"], true);
    let twice = bench.post(REDRIVE, &place(0)).await;
    assert_eq!((twice.status, twice.code().as_str()), (StatusCode::CONFLICT, "already_redriven"));
    let again = json!({ "records": [{ "partition": 0, "offset": 0 }], "again": true });
    assert_eq!(bench.post(REDRIVE, &again).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_letter_without_a_home_or_place_is_refused_and_nothing_is_sent() {
    let (bench, _) = with_letter("some-source").await;
    assert_eq!(bench.post(REDRIVE, &place(0)).await.code(), "invalid_request");
    assert_eq!(bench.post(REDRIVE, &place(5)).await.code(), "offset_out_of_range");
    assert_eq!(
        bench.post("/api/v1/dead-letters/other/redrive", &place(0)).await.code(),
        "unknown_pipeline"
    );
    let home = bench.get("/api/v1/topics/data-stream/records").await.json();
    assert_eq!(home["records"], json!([]));
}
