//! The file's endpoints and the routes of its sources.

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use courant_pipeline::routes::{RouteHandler, RouteRequest, RouteResponse};
use courant_stores::{Cache, CacheWrite};
use serde_json::{Value, json};

use crate::support::{Bench, request};

/// Answers with what it was asked.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl RouteHandler for Echo {
    async fn handle(&self, request: RouteRequest) -> RouteResponse {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        RouteResponse::json(
            202,
            &json!({ "params": request.params, "query": request.query, "body": body, "type": request.header("content-type") }),
        )
    }
}

async fn with_messages() -> Bench {
    let bench = Bench::new().await;
    bench.collection("messages").await;
    for n in 1..=5 {
        let document = json!({ "content": format!("m{n}"), "loud": n % 2 == 1 });
        bench.upsert("messages", &format!("data-stream-0-{n}"), document).await;
    }
    bench
}

fn contents(answer: &Value) -> Vec<&str> {
    let data = answer["data"].as_array().unwrap();
    data.iter().map(|document| document["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_list_has_a_count_and_its_data_newest_first_and_bounded() {
    let bench = with_messages().await;
    let answer = bench.get("/messages").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["count"], 3);
    assert_eq!(contents(&answer.json()), ["m5", "m4", "m3"]);
    let keys: Vec<_> = answer.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["count", "data"]);
    assert_eq!(answer.header("x-total-count"), "5");
}

#[tokio::test]
async fn a_client_narrows_a_list_and_never_widens_it() {
    let bench = with_messages().await;
    let ask = async |path: &str| bench.get(path).await.json();
    assert_eq!(contents(&ask("/messages?limit=1&skip=1").await), ["m4"]);
    assert_eq!(contents(&ask("/messages?sort=content").await), ["m1", "m2", "m3"]);
    assert_eq!(contents(&ask("/loud").await), ["m5", "m3", "m1"]);
    let quiet = "/loud?filter=%7B%22loud%22%3Afalse%7D";
    assert_eq!(contents(&ask(quiet).await), [""; 0], "the endpoint's own filter holds");
    let total = bench.get("/loud?limit=1&total=true").await;
    assert_eq!((total.header("x-total-count"), contents(&total.json())), ("3", vec!["m5"]));
    let wide = bench.get("/messages?limit=4").await;
    assert_eq!(wide.status, StatusCode::BAD_REQUEST);
    assert_eq!(wide.json()["code"], "invalid_request");
}

#[tokio::test]
async fn a_document_is_given_by_id_or_said_to_be_missing() {
    let bench = with_messages().await;
    let found = bench.get("/messages/data-stream-0-2").await;
    assert_eq!(found.json(), json!({ "_id": "data-stream-0-2", "content": "m2", "loud": false }));
    let missing = bench.get("/messages/nothing%20here").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let error = missing.json();
    assert_eq!(error["code"], "unknown_document");
    assert!(error["error"].as_str().unwrap().contains("\"nothing here\""));
}

#[tokio::test]
async fn a_cache_endpoint_gives_fields_as_object_list_or_one_by_one() {
    let bench = Bench::new().await;
    let set = |field: &str, value: Value| CacheWrite::SetField {
        key: "103".into(),
        field: field.into(),
        value: value.to_string().into(),
        ttl: None,
        version: None,
    };
    let writes = vec![
        set("10200", json!({ "status": "Shipped" })),
        set("10100", json!({ "status": "On Hold" })),
    ];
    bench.cache.apply("orders", writes).await.unwrap();
    let object = bench.get("/customers/103/orders").await.json();
    assert_eq!(
        object.to_string(),
        r#"{"10200":{"status":"Shipped"},"10100":{"status":"On Hold"}}"#
    );
    let list = bench.get("/customers/103/orders?as=list").await.json();
    assert_eq!(
        list,
        json!({ "count": 2, "data": [{ "status": "Shipped" }, { "status": "On Hold" }] })
    );
    assert_eq!(
        bench.get("/customers/103/orders/10100").await.json(),
        json!({ "status": "On Hold" })
    );
    assert_eq!(bench.get("/customers/103/orders/1").await.json()["code"], "unknown_field");
    let missing = bench.get("/customers/9/orders").await;
    assert_eq!(
        (missing.status, missing.json()["code"].clone()),
        (StatusCode::NOT_FOUND, json!("unknown_key"))
    );
}

#[tokio::test]
async fn a_sources_route_shares_a_path_with_an_endpoint_by_method() {
    let bench = with_messages().await;
    let guard = bench.routes.add("POST", "/messages", Arc::new(Echo)).unwrap();
    let posted = bench.post_as("/messages?a=1&b=%C3%A9", "application/json", "{\"text\":1}").await;
    assert_eq!(posted.status, StatusCode::ACCEPTED);
    let echo = posted.json();
    assert_eq!(echo["query"], json!([["a", "1"], ["b", "é"]]));
    assert_eq!(
        (&echo["body"], &echo["type"]),
        (&json!("{\"text\":1}"), &json!("application/json"))
    );
    assert_eq!(bench.get("/messages").await.json()["count"], 3);

    let other = bench.delete("/messages").await;
    assert_eq!(other.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(other.header("allow"), "GET, HEAD, POST");
    drop(guard);
    assert_eq!(bench.post("/messages", &json!({})).await.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn a_routes_parameters_come_decoded() {
    let bench = Bench::new().await;
    let _guard = bench.routes.add("GET", "/publish/{topic}/{name}", Arc::new(Echo)).unwrap();
    let answer = bench.get("/publish/R%201/a%2Fb").await.json();
    assert_eq!(answer["params"], json!({ "name": "a/b", "topic": "R 1" }));
    let bad = bench.get("/publish/%FF/x").await;
    assert_eq!(
        (bad.status, bad.json()["code"].clone()),
        (StatusCode::BAD_REQUEST, json!("invalid_request"))
    );
}

#[tokio::test]
async fn head_answers_like_get_without_refusal() {
    let bench = with_messages().await;
    let head = bench.send(request(Method::HEAD, "/messages").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.header("x-total-count")), (StatusCode::OK, "5"));
}

#[tokio::test]
async fn endpoints_that_cannot_be_told_apart_are_refused_before_serving() {
    use courant_pipeline::plan::EndpointPlan;
    let plan = |parameter: &str| EndpointPlan::HistoryDocument {
        collection: "c".into(),
        parameter: parameter.into(),
    };
    let bench = Bench::new().await;
    let endpoints = [("/a/{x}".to_owned(), plan("x")), ("/a/{y}".to_owned(), plan("y"))];
    let context = bench.context(endpoints.into(), courant_serve::Security::default());
    let error = courant_serve::router(context).unwrap_err();
    assert_eq!(error.path, "/a/{y}");
}
