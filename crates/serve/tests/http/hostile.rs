//! What nobody well-meaning sends, and what gets a clear word all the same.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use courant_model::limits::{HTTP_BODY_BYTES_MAX, URL_BYTES_MAX};
use courant_serve::serve;
use proptest::prelude::*;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Bench, request};

#[tokio::test]
async fn an_unknown_route_is_json_in_the_shape_of_its_place() {
    let bench = Bench::new().await;
    let api = bench.get("/api/v1/nothing").await;
    assert_eq!((api.status, api.code().as_str()), (StatusCode::NOT_FOUND, "unknown_route"));
    assert!(api.json()["error"]["remedy"].as_str().unwrap().contains("/openapi.json"));
    let other = bench.get("/nothing").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    assert_eq!(other.json()["code"], "unknown_route");
    assert!(other.json()["error"].is_string());
}

#[tokio::test]
async fn another_method_is_refused_with_those_that_are_allowed() {
    let bench = Bench::new().await;
    let put = request(Method::PUT, "/api/v1/topics").body(Body::empty()).unwrap();
    let answer = bench.send(put).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    );
    let allow = answer.header("allow");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow:?}");
}

#[tokio::test]
async fn what_is_too_long_or_of_the_wrong_type_is_refused() {
    let bench = Bench::new().await;
    bench.topic("t", 1).await;
    let records = "/api/v1/topics/t/records";
    let body = vec![b'1'; HTTP_BODY_BYTES_MAX + 1];
    let large = bench.post_as(records, "application/json", body).await;
    assert_eq!(
        (large.status, large.code().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
    );
    let url = format!("/messages?filter={}", "a".repeat(URL_BYTES_MAX));
    let long = bench.get(&url).await;
    assert_eq!(
        (long.status, long.json()["code"].clone()),
        (StatusCode::URI_TOO_LONG, json!("url_too_long"))
    );
    for (path, media_type) in
        [(records, "text/csv"), ("/api/v1/topics", "text/plain"), (records, "")]
    {
        let answer = bench.post_as(path, media_type, "x").await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path} {media_type}");
        assert!(answer.json()["error"]["remedy"].as_str().unwrap().contains("application/json"));
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_refused() {
    let bench = Bench::new().await;
    bench.topic("t", 1).await;
    bench.collection("messages").await;
    let nested = "[".repeat(100_000);
    for body in ["{", "", "nul", "\u{0}", nested.as_str(), "[1,]"] {
        let answer =
            bench.post_as("/api/v1/topics/t/records", "application/json", body.to_owned()).await;
        assert_eq!(answer.code(), "invalid_request", "{:?}", &body[..body.len().min(9)]);
    }
    for path in ["/api/v1/topics/%FF", "/api/v1/history/%C3%28/documents/x"] {
        assert_eq!(bench.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(bench.get("/messages/%FF").await.json()["code"], "invalid_request");
    assert_eq!(bench.get("/api/v1/topics/..%2F..%2Fetc").await.code(), "invalid_topic");
}

#[tokio::test]
async fn headers_without_end_are_refused_and_others_are_served_on() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, bench.router.clone(), bench.stop.clone()));
    let ask = async |headers: String| {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /health/live HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    let many: String = (0..1_000).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(ask(many).await, "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(ask("no header at all\r\n".into()).await, "HTTP/1.1 400 Bad Request");
    assert_eq!(ask(String::new()).await, "HTTP/1.1 200 OK");
    bench.stop.cancel();
    server.await.unwrap().unwrap();
}

#[test]
fn no_path_or_query_breaks_the_server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = runtime.block_on(Bench::new());
    proptest!(|(path in "[a-z0-9%/{}.?&=,:@\\-]{0,60}", area in 0..4_usize)| {
        let area = ["/", "/api/v1/topics/", "/messages/", "/api/v1/history/messages?"][area];
        if let Ok(asked) = request(Method::GET, &format!("{area}{path}")).body(Body::empty()) {
            let status = runtime.block_on(bench.send(asked)).status;
            prop_assert!(!status.is_server_error(), "{path}: {status}");
        }
    });
}
