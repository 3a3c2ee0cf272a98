//! Topics over HTTP.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::json;

use crate::support::{Bench, request};

#[tokio::test]
async fn a_topic_is_created_described_altered_and_deleted() {
    let bench = Bench::new().await;
    let new = json!({ "name": "orders", "partitions": 2, "settings": { "retention_time": "1d" } });
    let created = bench.post("/api/v1/topics", &new).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("location"), "/api/v1/topics/orders");

    let patch = json!({ "partitions": 3, "settings": { "cleanup": "compact" } });
    let patch = request(Method::PATCH, "/api/v1/topics/orders")
        .header("content-type", "application/json")
        .body(Body::from(patch.to_string()));
    assert_eq!(bench.send(patch.unwrap()).await.status, StatusCode::OK);

    let topic = bench.get("/api/v1/topics/orders").await.json();
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(topic["settings"]["cleanup"], "compact");
    assert_eq!(topic["settings"]["retention_time"], "1d", "what the patch does not name stays");
    let all = bench.get("/api/v1/topics").await.json();
    assert_eq!(all["topics"][0]["name"], "orders");

    assert_eq!(bench.delete("/api/v1/topics/orders").await.status, StatusCode::NO_CONTENT);
    let gone = bench.get("/api/v1/topics/orders").await;
    assert_eq!(
        (gone.status, gone.code().as_str()),
        (StatusCode::NOT_FOUND, "unknown_topic_or_partition")
    );
}

#[tokio::test]
async fn a_topic_that_cannot_be_is_refused_with_a_stable_code() {
    let bench = Bench::new().await;
    bench.topic("orders", 1).await;
    let cases = [
        (json!({ "name": "orders" }), StatusCode::CONFLICT, "topic_already_exists"),
        (json!({ "name": "a/b" }), StatusCode::BAD_REQUEST, "invalid_topic"),
        (json!({ "name": "t", "partitions": 0 }), StatusCode::BAD_REQUEST, "invalid_topic"),
        (json!({ "name": "t", "partition": 1 }), StatusCode::BAD_REQUEST, "invalid_request"),
        (
            json!({ "name": "t", "settings": { "retention": 1 } }),
            StatusCode::BAD_REQUEST,
            "invalid_request",
        ),
    ];
    for (new, status, code) in cases {
        let answer = bench.post("/api/v1/topics", &new).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{new}");
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty());
    }
}
