//! Routes of the HTTP source, asked without a server.

use bytes::Bytes;
use courant_log::LogError;
use courant_pipeline::routes::{RouteMatch, RouteRequest};
use serde_json::json;

use super::*;
use crate::testing::{World, suite};

fn factory(options: &Value) -> Arc<dyn SourceFactory> {
    parse(options).unwrap()
}

/// Asks the world's routes as the server would; waits for the route to be there.
async fn ask(world: &World, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (name.into(), value.into())).collect();
    loop {
        match world.routes.find(method, path) {
            RouteMatch::Found { handler, params } => {
                let request = RouteRequest {
                    method: method.into(),
                    path: path.into(),
                    params,
                    query,
                    headers: Vec::new(),
                    body: Bytes::copy_from_slice(body.as_bytes()),
                };
                let response = handler.handle(request).await;
                return (response.status, serde_json::from_slice(&response.body).unwrap());
            }
            RouteMatch::OtherMethods(_) | RouteMatch::Unknown => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn it_passes_what_fits_of_the_suite() {
    let options = json!({ "path": "/orders" });
    let feed = async |world: &World, values: &[&str]| {
        let (status, _) = ask(world, "POST", "/orders", &values.join("\n")).await;
        assert_eq!(status, 201);
    };
    suite::arrives_in_order(&World::new(), &*factory(&options), feed).await;
    suite::stops_promptly(&World::new(), &*factory(&options)).await;
}

#[tokio::test]
async fn one_record_is_stored_as_sent_and_answered_with_its_position() {
    let world = World::new();
    let running = suite::start(&world, &*factory(&json!({ "path": "/orders" })));
    let (status, answer) = ask(&world, "POST", "/orders", " {\"n\": 1.0}\n").await;
    assert_eq!(status, 201);
    let position = json!({ "topic": "topic", "partition": 0, "offset": 0 });
    assert_eq!(answer, json!({ "record": { "n": 1.0 }, "position": position }));
    let (status, answer) = ask(&world, "POST", "/orders", "[{\"n\":2},{\"n\":3}]").await;
    assert_eq!((status, answer["positions"][1]["offset"].as_i64()), (201, Some(2)));
    assert_eq!(answer["records"], json!([{ "n": 2 }, { "n": 3 }]));
    assert_eq!(world.emit.values(), ["{\"n\": 1.0}", "{\"n\":2}", "{\"n\":3}"]);
    running.stop().await;
    assert!(world.routes.list().is_empty());
}

#[tokio::test]
async fn a_request_is_appended_whole_or_not_at_all() {
    let world = World::new();
    let running = suite::start(&world, &*factory(&json!({ "path": "/o", "max_body": "40B" })));
    let (status, answer) = ask(&world, "POST", "/o", "[{\"n\":1}, 7]").await;
    assert_eq!((status, &answer["error"]["at"]), (400, &json!({ "index": 1 })));
    world.emit.refuse_values_with("2");
    let (status, answer) = ask(&world, "POST", "/o", "[{\"n\":1}, {\"n\":2}]").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("record_refused")));
    assert_eq!(answer["error"]["at"], json!({ "index": 1 }));
    let (status, answer) =
        ask(&world, "POST", "/o", &format!("{{\"n\":{}1}}", " ".repeat(40))).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("body_too_large")));
    world.emit.fail_with(LogError::DiskFull { action: "append".into() });
    let (status, answer) = ask(&world, "POST", "/o", "{}").await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("storage_error")));
    assert!(world.emit.values().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_get_publishes_an_event_to_the_topic_of_its_path() {
    let world = World::new();
    world.emit.add_topic("R1");
    let options = json!({
        "method": "GET", "path": "/publish/{topic}/{name}", "topic": "{topic}",
        "template": "page_event", "set": { "name": "{name}" },
    });
    let running = suite::start(&world, &*factory(&options));
    let (status, event) = ask(&world, "GET", "/publish/R1/P7", "").await;
    assert_eq!((status, &event["name"]), (200, &json!("P7")));
    let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["name", "user", "date", "duration"]);
    assert_eq!(world.emit.values_of("R1"), [event.to_string()]);
    let (status, answer) = ask(&world, "GET", "/publish/R9/P1", "").await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_topic_or_partition")));
    let (status, answer) = ask(&world, "GET", "/publish/a%20b/P1", "").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_topic")));
    running.stop().await;
}

#[tokio::test]
async fn the_query_gives_parameters_too() {
    let world = World::new();
    let options = json!({
        "method": "GET", "path": "/make/{id}", "answer": "stored",
        "template": { "id": "{{param id}}", "by": "{{param by}}" }, "set": { "to": "{to}" },
    });
    let running = suite::start(&world, &*factory(&options));
    let (_, answer) = ask(&world, "GET", "/make/7?by=ann&to=bob&id=8", "").await;
    assert_eq!(answer["record"], json!({ "id": "7", "by": "ann", "to": "bob" }));
    let (status, answer) = ask(&world, "GET", "/make/7?by=ann", "").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("missing_parameter")));
    running.stop().await;
}

#[tokio::test]
async fn a_record_gets_its_number_and_what_it_lacks() {
    let world = World::new();
    let options = json!({
        "path": "/orders", "answer": "record", "number": { "field": "orderNumber", "from": 500 },
        "defaults": { "status": "In Process", "orderDate": "{{today}}" },
    });
    let running = suite::start(&world, &*factory(&options));
    let (_, order) = ask(&world, "POST", "/orders", "{\"status\":\"Shipped\"}").await;
    let expected = r#"{"orderNumber":500,"status":"Shipped","orderDate":"2026-01-01"}"#;
    assert_eq!(order.to_string(), expected);
    let (_, order) = ask(&world, "POST", "/orders", "{\"orderNumber\":7}").await;
    assert_eq!(order["orderNumber"], 7);
    let (_, order) = ask(&world, "POST", "/orders", "{\"orderNumber\":700}").await;
    assert_eq!(order["orderNumber"], 700);
    let (_, orders) = ask(&world, "POST", "/orders", "[{\"orderNumber\":null},{}]").await;
    assert_eq!((&orders[0]["orderNumber"], &orders[1]["orderNumber"]), (&json!(701), &json!(702)));
    let (status, answer) =
        ask(&world, "POST", "/orders", "{\"orderNumber\":9007199254740992}").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("number_too_large")));
    running.stop().await;
    let running = suite::start(&world, &*factory(&options));
    let (_, order) = ask(&world, "POST", "/orders", "{}").await;
    assert!(order["orderNumber"].as_u64().unwrap() > 702);
    running.stop().await;
}

#[test]
fn all_problems_of_the_options_are_found() {
    let options = json!({
        "method": "GET", "path": "orders", "topic": "{topic}", "max_body": "1GiB",
        "set": { "a": "{x" }, "defaults": { "b": "{{nope}}" },
    });
    let problems = parse(&options).unwrap_err();
    let paths: Vec<String> = problems.iter().map(|problem| problem.path.join(".")).collect();
    assert_eq!(paths, ["path", "topic", "set.a", "defaults.b", "method", "max_body"]);
    assert!(parse(&json!({ "path": "/a/{b" })).is_err());
    assert!(parse(&json!({ "path": "/a", "topic": "a b" })).is_err());
    let factory = factory(&json!({ "path": "/a/{b}", "method": "PUT" }));
    assert_eq!(factory.routes(), [("PUT".to_owned(), "/a/{b}".to_owned())]);
}
