//! Streams: followed, resumed without a gap, ended at a stop.

use axum::http::StatusCode;
use courant_model::limits::STREAM_SUBSCRIBERS_MAX;
use courant_serve::serve;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Bench, Events};

const TOPIC: &str = "/api/v1/topics/t/stream";
const HISTORY: &str = "/api/v1/history/messages/stream";

async fn values(events: &mut Events, count: usize) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(events.next().await.unwrap().json()["value"].as_i64().unwrap());
    }
    seen
}

#[tokio::test]
async fn a_topic_is_followed_and_resumed_without_gap_or_repetition() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 2).await;
    let mut events = bench.stream(TOPIC, &[]).await;
    bench.append(&topic, 0, &[json!(0), json!(1)]).await;
    bench.append(&topic, 1, &[json!(10), json!(11)]).await;
    let mut last = String::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = events.next().await.unwrap();
        assert_eq!(event.name, "record");
        seen.push(event.json()["value"].as_i64().unwrap());
        last = event.id;
    }
    drop(events);
    bench.append(&topic, 0, &[json!(2)]).await;
    let mut resumed = bench.stream(TOPIC, &[("last-event-id", &last)]).await;
    seen.extend(values(&mut resumed, 2).await);
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 10, 11]);
}

#[tokio::test]
async fn a_topic_is_followed_from_its_beginning_through_a_filter() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 1).await;
    let documents: Vec<_> = (0..4).map(|n| json!({ "n": n, "even": n % 2 == 0 })).collect();
    bench.append(&topic, 0, &documents).await;
    let path = format!("{TOPIC}?from=earliest&filter=%7B%22even%22%3Atrue%7D");
    let mut events = bench.stream(&path, &[]).await;
    let (first, second) = (events.next().await.unwrap(), events.next().await.unwrap());
    assert_eq!(
        (first.json()["value"]["n"].clone(), second.json()["value"]["n"].clone()),
        (json!(0), json!(2))
    );
    assert_eq!(second.id, "0:3", "what the filter leaves out is behind too");
}

#[tokio::test]
async fn a_deleted_topic_ends_its_stream_with_a_word() {
    let bench = Bench::new().await;
    bench.topic("t", 1).await;
    let mut events = bench.stream(TOPIC, &[]).await;
    assert_eq!(bench.delete("/api/v1/topics/t").await.status, StatusCode::NO_CONTENT);
    let end = events.next().await.unwrap();
    assert_eq!(end.name, "end");
    assert_eq!(end.json()["error"]["code"], "unknown_topic_or_partition");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_snapshot_comes_first_and_then_every_change() {
    let bench = Bench::new().await;
    bench.collection("messages").await;
    for n in 0..3 {
        bench.upsert("messages", &n.to_string(), json!({ "n": n })).await;
    }
    let mut events = bench.stream(&format!("{HISTORY}?snapshot=2"), &[]).await;
    let snapshot = events.next().await.unwrap();
    assert_eq!((snapshot.name.as_str(), snapshot.id.as_str()), ("snapshot", ""));
    assert_eq!(snapshot.json(), json!([{ "_id": "2", "n": 2 }, { "_id": "1", "n": 1 }]));

    bench.upsert("messages", "3", json!({ "n": 3 })).await;
    let change = events.next().await.unwrap();
    assert_eq!(change.name, "change");
    assert_eq!(
        (change.json()["kind"].clone(), change.json()["document"]["n"].clone()),
        (json!("insert"), json!(3))
    );
    assert_eq!(change.json()["token"], change.id);
    assert!(change.json()["committed_micros"].as_i64().unwrap() > 0);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_and_no_snapshot() {
    let bench = Bench::new().await;
    bench.collection("messages").await;
    let path = format!("{HISTORY}?snapshot=5");
    let mut events = bench.stream(&path, &[]).await;
    assert_eq!(events.next().await.unwrap().json(), json!([]));
    bench.upsert("messages", "1", json!({ "n": 1 })).await;
    let last = events.next().await.unwrap().id;
    drop(events);
    for n in 2..=3 {
        bench.upsert("messages", &n.to_string(), json!({ "n": n })).await;
    }
    let mut resumed = bench.stream(&path, &[("last-event-id", &last)]).await;
    assert_eq!(resumed.next().await.unwrap().json()["id"], "2");
    assert_eq!(resumed.next().await.unwrap().json()["id"], "3");
}

#[tokio::test]
async fn a_token_that_is_none_begins_anew_with_a_snapshot_and_is_refused_without() {
    let bench = Bench::new().await;
    bench.collection("messages").await;
    let headers = [("last-event-id", "no token")];
    let mut anew = bench.stream(&format!("{HISTORY}?snapshot=5"), &headers).await;
    assert_eq!(anew.next().await.unwrap().name, "snapshot");
    assert_eq!(bench.open(HISTORY, &headers).await.status(), StatusCode::GONE);
}

#[tokio::test]
async fn a_list_endpoint_is_followed_when_events_are_asked_for() {
    let bench = Bench::new().await;
    bench.collection("messages").await;
    bench.upsert("messages", "1", json!({ "loud": true })).await;
    bench.upsert("messages", "2", json!({ "loud": false })).await;
    let accept = [("accept", "text/event-stream")];
    let mut events = bench.stream("/loud?snapshot=3", &accept).await;
    assert_eq!(events.next().await.unwrap().json(), json!([{ "_id": "1", "loud": true }]));
    bench.upsert("messages", "3", json!({ "loud": false })).await;
    bench.upsert("messages", "1", json!({ "loud": false })).await;
    let gone = events.next().await.unwrap().json();
    assert_eq!((&gone["id"], &gone["kind"]), (&json!("1"), &json!("delete")));
}

#[tokio::test]
async fn streams_end_at_once_when_the_process_stops() {
    let bench = Bench::new().await;
    bench.topic("t", 1).await;
    let mut events = bench.stream(TOPIC, &[]).await;
    bench.stop.cancel();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn one_subscriber_too_many_is_refused_until_another_leaves() {
    let bench = Bench::new().await;
    bench.topic("t", 1).await;
    let mut open = Vec::new();
    for _ in 0..STREAM_SUBSCRIBERS_MAX {
        open.push(bench.open(TOPIC, &[]).await);
    }
    assert!(open.iter().all(|response| response.status() == StatusCode::OK));
    let refused = bench.get(TOPIC).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "too_many_subscribers")
    );
    assert_eq!(refused.header("retry-after"), "1");
    open.pop();
    assert_eq!(bench.open(TOPIC, &[]).await.status(), StatusCode::OK);
}

/// Reads from a connection until the text is there; answers all that was read.
async fn read_until(connection: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut bytes = [0; 4_096];
        let read = connection.read(&mut bytes);
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), read);
        let count = read.await.unwrap_or_else(|_| panic!("{wanted:?} is not in {text:?}")).unwrap();
        assert!(count > 0, "the connection ended: {text:?}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

async fn follow(address: std::net::SocketAddr, last: Option<&str>) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let last = last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
    let request = format!("GET {TOPIC} HTTP/1.1\r\nhost: {address}\r\n{last}\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

#[tokio::test]
async fn over_the_network_a_stream_survives_a_cut_and_ends_with_the_server() {
    let bench = Bench::new().await;
    let topic = bench.topic("t", 1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, bench.router.clone(), bench.stop.clone()));

    let mut connection = follow(address, None).await;
    let head = read_until(&mut connection, "retry: 1000").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    bench.append(&topic, 0, &[json!("first")]).await;
    let text = read_until(&mut connection, "\"first\"").await;
    assert!(text.contains("id: 0:1"), "{text}");
    drop(connection);

    bench.append(&topic, 0, &[json!("missed")]).await;
    let mut connection = follow(address, Some("0:1")).await;
    let text = read_until(&mut connection, "\"missed\"").await;
    assert!(!text.contains("\"first\"") && text.contains("id: 0:2"), "{text}");

    bench.stop.cancel();
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).await.unwrap();
    server.await.unwrap().unwrap();
}
