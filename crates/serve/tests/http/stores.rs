//! History and cache over HTTP.

use axum::http::StatusCode;
use courant_stores::{Cache, CacheWrite};
use serde_json::json;

use crate::support::Bench;

#[tokio::test]
async fn collections_are_listed_searched_and_counted() {
    let bench = Bench::new().await;
    bench.collection("orders").await;
    for (id, status) in [("1", "Shipped"), ("2", "On Hold"), ("3", "Shipped")] {
        bench.upsert("orders", id, json!({ "status": status })).await;
    }
    let collections = bench.get("/api/v1/history").await.json();
    assert_eq!(collections["collections"][0]["name"], "orders");
    assert_eq!(collections["collections"][0]["documents"], 3);

    let shipped = "filter=%7B%22status%22%3A%22Shipped%22%7D";
    let found = bench.get(&format!("/api/v1/history/orders?{shipped}&sort=-_id")).await.json();
    assert_eq!(found["count"], 2);
    assert_eq!(found["data"][0]["_id"], "3");
    let none = bench.get("/api/v1/history/orders?limit=0").await;
    assert_eq!((none.json()["count"].clone(), none.header("x-total-count")), (json!(0), "3"));
    let count = bench.get(&format!("/api/v1/history/orders/count?{shipped}")).await.json();
    assert_eq!(count, json!({ "count": 2 }));
    let document = bench.get("/api/v1/history/orders/documents/2").await.json();
    assert_eq!(document["status"], "On Hold");
    assert_eq!(bench.get("/api/v1/history/orders/documents/9").await.code(), "unknown_document");
    let unknown = bench.get("/api/v1/history/nothing").await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (StatusCode::NOT_FOUND, "unknown_collection")
    );
}

#[tokio::test]
async fn cache_keys_are_paged_and_shown_by_what_they_hold() {
    let bench = Bench::new().await;
    let set = |key: &str, value: &str| CacheWrite::Set {
        key: key.into(),
        value: value.to_owned().into(),
        ttl: None,
        version: None,
    };
    let field = CacheWrite::SetField {
        key: "c".into(),
        field: "f".into(),
        value: "1".into(),
        ttl: None,
        version: None,
    };
    bench.cache.apply("t", vec![set("a", "{\"x\":1}"), set("b", "plain"), field]).await.unwrap();
    assert_eq!(bench.get("/api/v1/cache").await.json()["tables"][0]["keys"], 3);
    let first = bench.get("/api/v1/cache/t?limit=2").await.json();
    assert_eq!(first, json!({ "keys": ["a", "b"], "next": "b" }));
    let rest = bench.get("/api/v1/cache/t?limit=2&after=b").await.json();
    assert_eq!(rest, json!({ "keys": ["c"], "next": null }));
    assert_eq!(
        bench.get("/api/v1/cache/t/keys/a").await.json(),
        json!({ "key": "a", "value": { "x": 1 } })
    );
    assert_eq!(
        bench.get("/api/v1/cache/t/keys/b").await.json(),
        json!({ "key": "b", "value": "plain" })
    );
    assert_eq!(
        bench.get("/api/v1/cache/t/keys/c").await.json(),
        json!({ "key": "c", "fields": { "f": 1 } })
    );
    assert_eq!(bench.get("/api/v1/cache/t/keys/z").await.code(), "unknown_key");
}
