//! Views: the API over their stores, their changes as a stream, and the file's endpoints.

use std::sync::Arc;

use axum::http::StatusCode;
use courant_log::Log;
use courant_model::{ManualClock, Record, Span, Timestamp};
use courant_pipeline::plan::{EndpointPlan, ViewEndpointPlan};
use courant_serve::Security;
use serde_json::json;

use crate::support::Bench;

/// A little behind the tenth second, with endpoints over the view.
async fn bench() -> Bench {
    let mut bench = Bench::new().await;
    let all = ViewEndpointPlan {
        view: "counts".into(),
        parameters: Vec::new(),
        stream: None,
        last: None,
        object: None,
        limit: 100,
    };
    let numbers = ViewEndpointPlan {
        last: Some(Span::from_millis(5_000)),
        object: Some(("name".into(), "visits".into())),
        ..all.clone()
    };
    let live = ViewEndpointPlan { stream: Some(Span::from_millis(200)), ..numbers.clone() };
    let of_a_page = ViewEndpointPlan { parameters: vec!["name".into()], ..all };
    let endpoints = [
        ("/numbers".to_owned(), EndpointPlan::View(numbers)),
        ("/numbers/live".to_owned(), EndpointPlan::View(live)),
        ("/counts/{name}".to_owned(), EndpointPlan::View(of_a_page)),
    ];
    let mut context = bench.context(endpoints.into(), Security::default());
    context.clock = Arc::new(ManualClock::at(Timestamp::from_millis(10_300)));
    bench.router = courant_serve::router(context).unwrap();
    bench
}

#[tokio::test]
async fn a_view_tells_what_it_does_and_how_far_it_is() {
    let bench = bench().await;
    let list = bench.get("/api/v1/views").await.json();
    assert_eq!(list["views"][0]["name"], "counts");
    let view = bench.get("/api/v1/views/counts").await.json();
    assert_eq!(view, list["views"][0]);
    assert_eq!(view["key"], json!(["name", "window_start", "window_end"]));
    assert_eq!(view["watermark"], "1970-01-01T00:00:10Z");
    assert_eq!(view["operators"][1]["name"], "aggregate");
    let missing = bench.get("/api/v1/views/nope").await;
    assert_eq!((missing.status, missing.code()), (StatusCode::NOT_FOUND, "unknown_view".into()));
}

#[tokio::test]
async fn a_store_is_read_by_key_range_window_and_page_by_page() {
    let bench = bench().await;
    let ask = async |query: &str| bench.get(&format!("/api/v1/views/counts/store?{query}")).await;
    let visits = async |query: &str| {
        let rows = ask(query).await.json()["rows"].take();
        let rows = rows.as_array().expect("rows").clone();
        rows.iter().map(|row| row["visits"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(visits("").await, [1, 2, 3, 4, 5]);
    assert_eq!(visits("key=P2").await, [4, 5]);
    assert_eq!(visits("key=%5B%22P2%22%5D").await, [4, 5], "as a list");
    assert_eq!(visits("key=%7B%22name%22%3A%22P2%22%7D").await, [4, 5], "as an object");
    assert_eq!(visits("from=P2&to=P3").await, [4, 5]);
    assert_eq!(visits("window_from=@5000&window_to=1970-01-01T00:00:10Z").await, [2, 5]);

    let first = ask("limit=2").await.json();
    assert_eq!(first["rows"][0]["name"], "P1");
    let next = first["next"].as_str().expect("more");
    assert_eq!(visits(&format!("limit=2&after={next}")).await, [3, 4]);

    for (query, code) in [
        ("key=%5B1,2,3,4%5D", "wrong_key"),
        ("window_from=soon", "invalid_request"),
        ("limit=10001", "invalid_request"),
        ("colour=red", "invalid_request"),
    ] {
        let refused = ask(query).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, code.into()));
    }
}

#[tokio::test]
async fn an_endpoint_gives_the_rows_of_the_windows_that_have_ended() {
    let bench = bench().await;
    // The watermark is at 10 s and windows start every 5 s: the last one ended then.
    assert_eq!(bench.get("/numbers").await.json(), json!({ "P1": 2, "P2": 5 }));
    let one = bench.get("/counts/P1").await.json();
    assert_eq!(one["count"], 3);
    assert_eq!(one["data"][0]["visits"], 1);
    let refused = bench.get("/numbers?limit=1").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let document = bench.get("/openapi.json").await.json();
    let media = &document["paths"]["/numbers/live"]["get"]["responses"]["200"]["content"];
    assert!(media["text/event-stream"].is_object(), "{media}");
}

#[tokio::test]
async fn an_endpoint_with_stream_tells_its_numbers_again_and_again() {
    let bench = bench().await;
    let mut events = bench.stream("/numbers/live", &[]).await;
    for _ in 0..3 {
        let event = events.next().await.expect("an event");
        assert_eq!((event.name.as_str(), event.id.as_str()), ("", "10000"));
        assert_eq!(event.json(), json!({ "P1": 2, "P2": 5 }));
    }
    bench.stop.cancel();
    while events.next().await.is_some() {}
}

#[tokio::test]
async fn a_watch_gives_rows_and_then_changes_and_resumes_without_a_gap() {
    let bench = bench().await;
    let topic = bench.topic("counts", 1).await;
    let tell = async |key: &str, value: Option<&str>| {
        let mut record = Record::new("", Timestamp::from_millis(7));
        record.key = Some(key.to_owned().into());
        record.value = value.map(|text| text.to_owned().into());
        bench.log.append(&topic, Some(0), vec![record]).await.unwrap();
    };
    tell(r#"{"name":"P1"}"#, Some(r#"{"name":"P1","visits":9}"#)).await;
    let path = "/api/v1/views/counts/watch?key=P1";
    let mut events = bench.stream(&format!("{path}&snapshot=10"), &[]).await;
    let snapshot = events.next().await.unwrap();
    assert_eq!(snapshot.name, "snapshot");
    assert_eq!(snapshot.json().as_array().unwrap().len(), 3);
    tell(r#"{"name":"P2"}"#, Some(r#"{"name":"P2","visits":1}"#)).await;
    tell(r#"{"name":"P1"}"#, Some(r#"{"name":"P1","visits":10}"#)).await;
    let change = events.next().await.unwrap();
    assert_eq!(change.name, "change");
    assert_eq!(change.json()["row"], json!({ "name": "P1", "visits": 10 }));
    assert_eq!(change.json()["key"], json!({ "name": "P1" }));
    drop(events);

    tell("P1", None).await;
    let mut again = bench.stream(path, &[("last-event-id", &change.id)]).await;
    // The text of a single key column; here it names the first of several, and is nobody's.
    tell(r#"{"name":"P1"}"#, None).await;
    let gone = again.next().await.unwrap();
    assert_eq!(gone.json()["row"], json!(null));
    let refused = bench.get(&format!("{path}&snapshot=1&from=latest")).await;
    assert_eq!(refused.code(), "invalid_request");
}
