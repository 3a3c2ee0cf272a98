//! A specification that is tried out: results, matches, and errors at their places.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::Bench;

async fn tried(trial: Value) -> Value {
    let answer = Bench::new().await.post("/api/v1/jolt", &trial).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()
}

#[tokio::test]
async fn a_document_is_transformed_and_explained() {
    let spec = json!([{ "operation": "shift", "spec": { "user": { "*": "&" } } }]);
    let outcome = tried(json!({ "spec": spec, "input": { "user": { "id": 7 } } })).await;
    assert_eq!(outcome["output"], json!({ "id": 7 }));
    assert_eq!(outcome["errors"], json!([]));
    let wrote = &outcome["matches"][1];
    assert_eq!(wrote["key"], json!(["user", "*"]));
    assert_eq!((&wrote["input"], &wrote["output"]), (&json!("/user/id"), &json!(["/id"])));
    assert_eq!((&wrote["action"], &wrote["line"]), (&json!("wrote"), &Value::Null));
}

#[tokio::test]
async fn texts_keep_their_numbers_and_places() {
    let spec = "[ // who\n  { \"operation\": \"modify-overwrite-beta\",\n    \"spec\": {\n      \"by\": \"^by\" } }\n]";
    let trial = json!({
        "text": true,
        "spec": spec,
        "input": "{ \"n\": 123456789012345678901234567890 }",
        "context": "{ \"by\": \"me\" }",
    });
    let outcome = tried(trial).await;
    let output = "{\n  \"n\": 123456789012345678901234567890,\n  \"by\": \"me\"\n}";
    assert_eq!(outcome["output"], output, "{outcome}");
    let by = outcome["matches"].as_array().unwrap().iter().find(|one| one["key"] == json!(["by"]));
    assert_eq!(by.unwrap()["line"], 4);
}

#[tokio::test]
async fn everything_wrong_is_told_with_its_place() {
    let spec =
        "[{ \"operation\": \"shift\", \"spec\": {\n  \"a\": \"x*\" } }, { \"operation\": \"no\" }]";
    let trial = |spec: &str, input: &str, context: &str| json!({ "text": true, "spec": spec, "input": input, "context": context });
    let outcome = tried(trial(spec, "{", "")).await;
    let errors = outcome["errors"].as_array().unwrap();
    let short = |error: &Value| {
        (
            error["part"].as_str().unwrap().to_owned(),
            error["operation"].clone(),
            error["line"].clone(),
        )
    };
    let told: Vec<_> = errors.iter().map(short).collect();
    let expected = [
        ("input".to_owned(), Value::Null, json!(1)),
        ("spec".to_owned(), json!(0), json!(2)),
        ("spec".to_owned(), json!(1), json!(2)),
    ];
    assert_eq!(told, expected, "{outcome}");
    assert_eq!((&errors[1]["path"], &errors[1]["column"]), (&json!(["a"]), &json!(3)));
    assert_eq!(outcome["output"], Value::Null);

    let sparse = r#"[{ "operation": "shift", "spec": { "*": "[&]" } }]"#;
    let outcome = tried(trial(sparse, r#"{ "2000000000": 1 }"#, "[")).await;
    assert_eq!(outcome["errors"][0]["part"], "context");
    let outcome = tried(trial(sparse, r#"{ "2000000000": 1 }"#, " ")).await;
    assert_eq!(outcome["errors"][0]["part"], "transform", "{outcome}");
    assert_eq!(outcome["errors"][0]["operation"], 0);
}

#[tokio::test]
async fn what_is_no_trial_or_too_large_is_refused() {
    let bench = Bench::new().await;
    let refused = bench.post("/api/v1/jolt", &json!({ "spec": [] })).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, "invalid_request".into())
    );
    let large = json!({ "spec": [], "input": "x".repeat(1 << 20) });
    let refused = bench.post("/api/v1/jolt", &large).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("1048576 are tried out"));
}

#[tokio::test]
async fn a_result_that_is_too_large_to_show_is_told() {
    let spec = json!([{ "operation": "shift", "spec": { "n": { "*": { "@(2,text)": "x[]" } } } }]);
    let input = json!({ "n": vec![1; 100], "text": "x".repeat(100_000) });
    let outcome = tried(json!({ "spec": spec, "input": input })).await;
    let message = outcome["errors"][0]["message"].as_str().unwrap();
    assert!(message.ends_with("4194304 are shown here"), "{message}");
    assert!(!outcome["matches"].as_array().unwrap().is_empty());
}
