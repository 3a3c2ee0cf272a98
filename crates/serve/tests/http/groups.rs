//! Groups and pipelines over HTTP.

use std::time::Duration;

use axum::http::StatusCode;
use courant_log::{AutoOffsetReset, GroupChange, Log, Subscription};
use courant_model::{Positions, TopicName};
use serde_json::json;

use crate::support::Bench;

/// Reads the whole topic as a group, commits, and leaves.
async fn read_all(bench: &Bench, topic: &TopicName, group: &str, committed: i64) {
    let subscription = Subscription {
        group: group.into(),
        topics: vec![topic.clone()],
        client_id: "test".into(),
        instance_id: None,
        session_timeout: Duration::from_secs(10),
        reset: AutoOffsetReset::Earliest,
    };
    let mut member = bench.log.subscribe(subscription).await.unwrap();
    let GroupChange::Assigned(readers) = member.next_change().await.unwrap() else {
        panic!("a first member is given its partitions");
    };
    let positions: Positions =
        readers.iter().map(|reader| (reader.partition().clone(), committed)).collect();
    member.committer().commit(&positions, "").await.unwrap();
    member.leave().await.unwrap();
}

#[tokio::test]
async fn a_group_shows_its_lag_and_is_reset_by_hand() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 1).await;
    bench.append(&topic, 0, &[json!(0), json!(1), json!(2)]).await;
    read_all(&bench, &topic, "g", 2).await;

    assert_eq!(bench.get("/api/v1/groups").await.json()["groups"][0]["id"], "g");
    let group = bench.get("/api/v1/groups/g").await.json();
    assert_eq!(group["offsets"][0]["committed"], 2);
    assert_eq!(group["offsets"][0]["lag"], 1);

    let looked =
        bench.post("/api/v1/groups/g/reset", &json!({ "to": "earliest", "dry_run": true })).await;
    assert_eq!(
        looked.json()["positions"][0],
        json!({ "topic": "t", "partition": 0, "before": 2, "offset": 0 })
    );
    assert_eq!(bench.get("/api/v1/groups/g").await.json()["offsets"][0]["committed"], 2);

    for (to, offset) in
        [(json!("earliest"), 0), (json!(1), 1), (json!("@2500"), 2), (json!("latest"), 3)]
    {
        let reset = bench.post("/api/v1/groups/g/reset", &json!({ "to": to })).await;
        assert_eq!(reset.status, StatusCode::OK, "{to}");
        let group = bench.get("/api/v1/groups/g").await.json();
        assert_eq!(group["offsets"][0]["committed"], offset, "{to}");
    }

    assert_eq!(bench.delete("/api/v1/groups/g").await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.get("/api/v1/groups/g").await.code(), "group_id_not_found");
}

#[tokio::test]
async fn a_group_with_members_is_not_reset() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 1).await;
    let subscription = Subscription {
        group: "g".into(),
        topics: vec![topic],
        client_id: "test".into(),
        instance_id: None,
        session_timeout: Duration::from_secs(10),
        reset: AutoOffsetReset::Earliest,
    };
    let mut member = bench.log.subscribe(subscription).await.unwrap();
    member.next_change().await.unwrap();
    let reset =
        bench.post("/api/v1/groups/g/reset", &json!({ "to": "latest", "topic": "t" })).await;
    assert_eq!((reset.status, reset.code().as_str()), (StatusCode::CONFLICT, "non_empty_group"));
}

#[tokio::test]
async fn a_pipeline_is_paused_and_resumed() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/api/v1/pipelines/messages").await.json()["state"], "running");
    let paused = bench.post("/api/v1/pipelines/messages/pause", &json!(null)).await;
    assert_eq!(paused.json()["state"], "paused");
    let list = bench.get("/api/v1/pipelines").await.json();
    assert_eq!(list["pipelines"][0]["state"], "paused");
    let resumed = bench.post("/api/v1/pipelines/messages/resume", &json!(null)).await;
    assert_eq!(resumed.json()["state"], "running");
    let unknown = bench.post("/api/v1/pipelines/other/pause", &json!(null)).await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (StatusCode::NOT_FOUND, "unknown_pipeline")
    );
    let graph = bench.get("/api/v1/pipelines/graph").await.json();
    assert_eq!(graph["edges"][0]["to"], "pipeline:messages");
}
