//! The `messages` example as a process: what its clients may count on.

mod support;

use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Courant, courant, courant_ok, root};
use tempfile::tempdir;

fn example() -> PathBuf {
    root().join("examples/messages/courant.yaml")
}

fn contents(body: &Value) -> Vec<&str> {
    let data = body["data"].as_array().expect("data");
    data.iter().map(|document| document["content"].as_str().expect("content")).collect()
}

#[tokio::test]
async fn the_latest_messages_come_newest_first_with_their_count() {
    let folder = tempdir().unwrap();
    let courant = Courant::start(&example(), &folder.path().join("data"));
    for text in ["first", "second", "third"] {
        let (status, _) =
            courant.post("/messages", json!({ "text": text, "source": "test" }).to_string()).await;
        assert!(status.is_success(), "{status}");
    }
    let all = |body: &Value| {
        let found = contents(body);
        ["first", "second", "third"].iter().all(|text| found.contains(text))
    };
    let body = courant.get_until("/messages", all).await;
    let found = contents(&body);
    assert_eq!(body["count"], json!(found.len()));
    let at = |text: &str| found.iter().position(|content| *content == text).unwrap();
    assert!(at("third") < at("second") && at("second") < at("first"), "{found:?}");
    for document in body["data"].as_array().unwrap() {
        let fields: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["_id", "content", "timestamp"]);
    }
}

#[tokio::test]
async fn one_message_is_found_by_its_id_and_a_missing_one_is_a_404_with_its_reason() {
    let folder = tempdir().unwrap();
    let courant = Courant::start(&example(), &folder.path().join("data"));
    courant.post("/messages", json!({ "text": "find me", "source": "test" }).to_string()).await;
    let body = courant.get_until("/messages", |body| contents(body).contains(&"find me")).await;
    let listed = body["data"].as_array().unwrap();
    let wanted = listed.iter().find(|document| document["content"] == "find me").unwrap();
    let id = wanted["_id"].as_str().unwrap();

    let (status, document) = courant.get(&format!("/messages/{id}")).await;
    assert_eq!((status, &document), (StatusCode::OK, wanted));

    let (status, body) = courant.get("/messages/data-stream-0-999999").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{body}");
}

#[tokio::test]
async fn a_second_group_analyses_the_same_topic_in_parallel() {
    let folder = tempdir().unwrap();
    let courant = Courant::start(&example(), &folder.path().join("data"));
    courant
        .post("/messages", json!({ "text": "one two three!", "source": "me" }).to_string())
        .await;
    courant.get_until("/messages", |body| contents(body).contains(&"one two three!")).await;
    let mine = |body: &Value| {
        body["data"].as_array().unwrap().iter().any(|document| {
            document["source"] == "me" && document["words"] == 3 && document["exclaims"] == true
        })
    };
    courant.get_until("/analysis", mine).await;
}

#[tokio::test]
async fn the_generator_speaks_once_a_second_without_being_asked() {
    let folder = tempdir().unwrap();
    let courant = Courant::start(&example(), &folder.path().join("data"));
    let spoken = |body: &Value| body["count"].as_u64().is_some_and(|count| count >= 3);
    courant.get_until("/messages", spoken).await;
}

#[tokio::test]
async fn a_clean_stop_loses_nothing_and_a_second_start_stores_nothing_twice() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let courant = Courant::start(&example(), &data);
    let many: Vec<Value> =
        (0..500).map(|n| json!({ "text": format!("message {n}"), "source": "test" })).collect();
    let (status, _) = courant.post("/messages", json!(many).to_string()).await;
    assert!(status.is_success(), "{status}");
    assert_eq!(courant.stop(), Some(0));

    let courant = Courant::start(&example(), &data);
    let stored = "/api/v1/history/messages?limit=10000";
    let enough = |body: &Value| {
        body["data"].as_array().is_some_and(|data| {
            (0..500)
                .all(|n| data.iter().any(|document| document["content"] == format!("message {n}")))
        })
    };
    let body = courant.get_until(stored, enough).await;
    for n in 0..500 {
        let text = format!("message {n}");
        let times = contents(&body).iter().filter(|content| **content == text).count();
        assert_eq!(times, 1, "{text:?} is stored {times} times");
    }
}

#[tokio::test]
async fn a_message_without_a_text_is_set_aside_and_the_next_is_stored() {
    let folder = tempdir().unwrap();
    let courant = Courant::start(&example(), &folder.path().join("data"));
    courant.post("/messages", json!({ "source": "bad" }).to_string()).await;
    courant
        .post("/messages", json!({ "text": "after the bad one", "source": "x" }).to_string())
        .await;
    courant.get_until("/messages", |body| contents(body).contains(&"after the bad one")).await;
    let dead = "/api/v1/topics/messages.dead/records?from=earliest";
    let body = courant
        .get_until(dead, |body| body["records"].as_array().is_some_and(|list| !list.is_empty()))
        .await;
    assert_eq!(body["records"][0]["value"], json!({ "source": "bad" }));
}

#[test]
fn the_examples_own_tests_pass_and_its_file_has_no_problem() {
    let file = example();
    let file = file.to_str().unwrap();
    courant_ok(&["check", file]);
    courant_ok(&["test", file]);
    assert!(courant_ok(&["plan", file]).contains("data-stream"));
}

#[test]
fn a_bad_file_is_refused_with_its_place_and_exit_code_2() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("courant.yaml");
    std::fs::write(&file, "version: 1\nname: x\npipelines:\n  p:\n    fromm: t\n").unwrap();
    let output = courant(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("courant.yaml:5:5: ") && said.contains("did you mean"), "{said}");
}

#[tokio::test]
async fn a_taken_port_names_its_flag() {
    let folder = tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let data = folder.path().join("data");
    let file = example();
    let output = courant(&[
        "run",
        "--http-port",
        &port,
        "--data",
        data.to_str().unwrap(),
        file.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--http-port") && said.contains(&port), "{said}");
}

#[tokio::test]
async fn a_folder_in_use_is_said_and_left_alone() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Courant::start(&example(), &data);
    let said = Courant::try_start(&example(), &data).expect_err("the folder is in use");
    assert!(said.contains("in use"), "{said}");
    let (status, _) = first.get("/health/live").await;
    assert_eq!(status, StatusCode::OK);
}
