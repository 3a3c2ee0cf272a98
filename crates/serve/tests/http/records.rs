//! Records over HTTP: produced, read, searched, deleted.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::Bench;

const RECORDS: &str = "/api/v1/topics/t/records";

fn values(answer: &Value) -> Vec<Value> {
    answer["records"].as_array().unwrap().iter().map(|record| record["value"].clone()).collect()
}

#[tokio::test]
async fn a_produced_record_is_read_back_as_it_was() {
    let bench = Bench::new().await;
    bench.topic("t", 1).await;
    let envelope =
        json!({ "key": "k", "value": { "b": 1, "a": 2 }, "headers": { "h": "x" }, "timestamp": 5 });
    let answer = bench.post(&format!("{RECORDS}?envelope=true"), &envelope).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(
        answer.json(),
        json!({ "count": 1, "positions": [{ "partition": 0, "offset": 0 }] })
    );

    let read = bench.get(RECORDS).await.json();
    let record = &read["records"][0];
    assert_eq!((&record["key"], &record["timestamp"]), (&json!("k"), &json!(5)));
    assert_eq!(record["value"].to_string(), r#"{"b":1,"a":2}"#);
    assert_eq!(record["headers"][0], json!({ "name": "h", "value": "x" }));
    assert!(record["origin_micros"].as_i64().unwrap() > 0, "the origin is stamped");
    assert_eq!(read["next"], "0:1");
}

#[tokio::test]
async fn an_array_lines_and_text_are_taken() {
    let bench = Bench::new().await;
    bench.topic("t", 1).await;
    bench.post(RECORDS, &json!([1, { "a": 2 }])).await;
    bench.post_as(RECORDS, "application/x-ndjson", "3\n{\"a\":4}\n").await;
    let quiet =
        bench.post_as(&format!("{RECORDS}?positions=false&key=k"), "text/plain", "five").await;
    assert_eq!(quiet.json(), json!({ "count": 1 }));
    let read = bench.get(RECORDS).await.json();
    assert_eq!(
        values(&read),
        [json!(1), json!({ "a": 2 }), json!(3), json!({ "a": 4 }), json!("five")]
    );
    assert_eq!(read["records"][4]["value_encoding"], "text");
    assert_eq!(read["records"][4]["key"], "k");
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended_over_all_partitions() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 3).await;
    for partition in 0..3 {
        let own: Vec<_> = (0..10).map(|n| json!(partition * 10 + n)).collect();
        bench.append(&topic, partition, &own).await;
    }
    let (mut seen, mut from) = (Vec::new(), "earliest".to_owned());
    loop {
        let page = bench.get(&format!("{RECORDS}?limit=7&from={from}")).await.json();
        if values(&page).is_empty() {
            break;
        }
        seen.extend(values(&page).into_iter().map(|value| value.as_i64().unwrap()));
        from = page["next"].as_str().unwrap().to_owned();
    }
    for partition in 0..3 {
        let own: Vec<_> = seen.iter().copied().filter(|value| value / 10 == partition).collect();
        assert_eq!(own, (partition * 10..partition * 10 + 10).collect::<Vec<_>>());
    }
    assert_eq!(seen[..3], [0, 10, 20], "the oldest of all partitions comes first");
}

#[tokio::test]
async fn the_latest_are_the_newest_of_all_partitions_newest_first() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 2).await;
    bench.append(&topic, 0, &[json!("a1"), json!("a2"), json!("a3")]).await;
    bench.append(&topic, 1, &[json!("b1")]).await;
    let latest = bench.get(&format!("{RECORDS}?from=latest&limit=2")).await.json();
    assert_eq!(values(&latest), [json!("a3"), json!("a2")]);
    let all = bench.get(&format!("{RECORDS}?from=latest")).await.json();
    assert_eq!(values(&all).len(), 4);
}

#[tokio::test]
async fn a_filter_finds_records_and_a_time_or_offset_begins_there() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 1).await;
    let documents: Vec<_> = (0..6).map(|n| json!({ "n": n, "even": n % 2 == 0 })).collect();
    bench.append(&topic, 0, &documents).await;
    let ask = async |query: &str| {
        let read = bench.get(&format!("{RECORDS}?{query}")).await.json();
        values(&read).iter().map(|value| value["n"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let even = "filter=%7B%22even%22%3Atrue%7D";
    assert_eq!(ask(even).await, [0, 2, 4]);
    assert_eq!(ask(&format!("{even}&limit=1")).await, [0]);
    assert_eq!(ask(&format!("{even}&from=latest&limit=2")).await, [4, 2]);
    assert_eq!(ask("from=4").await, [4, 5]);
    assert_eq!(ask("from=@5500").await, [5]);
    assert_eq!(ask("from=1970-01-01T00:00:05Z").await, [4, 5]);
    assert_eq!(ask("limit=0").await, [0_i64; 0]);
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_says_why() {
    let bench = Bench::new().await;
    bench.topic("t", 2).await;
    let cases = [
        ("?from=3", StatusCode::BAD_REQUEST, "invalid_request"),
        ("?from=3&partition=0", StatusCode::RANGE_NOT_SATISFIABLE, "offset_out_of_range"),
        ("?partition=7", StatusCode::NOT_FOUND, "unknown_topic_or_partition"),
        ("?limit=100000", StatusCode::BAD_REQUEST, "invalid_request"),
        ("?limti=1", StatusCode::BAD_REQUEST, "invalid_request"),
        ("?filter=%7B", StatusCode::BAD_REQUEST, "invalid_request"),
        (
            "?filter=%7B%22a%22%3A%7B%22%24near%22%3A1%7D%7D",
            StatusCode::BAD_REQUEST,
            "invalid_filter",
        ),
    ];
    for (query, status, code) in cases {
        let answer = bench.get(&format!("{RECORDS}{query}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{query}");
    }
    let unknown = bench.get("/api/v1/topics/t/records?limti=1").await.json();
    assert!(unknown["error"]["message"].as_str().unwrap().contains("limti"));
}

#[tokio::test]
async fn records_before_an_offset_are_deleted() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 1).await;
    bench.append(&topic, 0, &[json!(0), json!(1), json!(2)]).await;
    let deleted = bench.delete(&format!("{RECORDS}?partition=0&before=2")).await;
    assert_eq!(deleted.json(), json!({ "topic": "t", "partition": 0, "start": 2 }));
    assert_eq!(values(&bench.get(RECORDS).await.json()), [json!(2)]);
    bench.delete(&format!("{RECORDS}?partition=0&before=latest")).await;
    assert_eq!(values(&bench.get(RECORDS).await.json()), [Value::Null; 0]);
}
