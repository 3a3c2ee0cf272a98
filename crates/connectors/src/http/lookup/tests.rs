//! The lookup `http` against a real server on a free port.

use std::collections::VecDeque;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
};
use parking_lot::Mutex;
use serde_json::json;

use super::*;

/// A server that answers as told in turn, then 200; keeps what it was asked.
#[derive(Debug, Default)]
struct Server {
    asked: Mutex<Vec<String>>,
    script: Mutex<VecDeque<(u16, String)>>,
}

async fn answer(State(server): State<Arc<Server>>, uri: Uri) -> (StatusCode, String) {
    server.asked.lock().push(uri.to_string());
    let own = || (200, format!("{{\"path\":{:?}}}", uri.path()));
    let (status, body) = server.script.lock().pop_front().unwrap_or_else(own);
    (StatusCode::from_u16(status).unwrap(), body)
}

async fn serve(script: &[(u16, &str)]) -> (Arc<Server>, String) {
    let script = script.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    let server = Arc::new(Server { script: Mutex::new(script), ..Server::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (server, url)
}

fn open(url: &str) -> Arc<dyn Lookup> {
    let context = LookupContext { pipeline: "p".into(), base: ".".into(), many: false };
    parse(&json!({ "url": url })).unwrap().open(context).unwrap()
}

#[tokio::test]
async fn values_are_encoded_and_cannot_reach_another_path() {
    let (server, url) = serve(&[]).await;
    let lookup = open(&format!("{url}/items/{{id}}/x?q={{who.name}}"));
    let answer = lookup.ask(&[json!("a/../b?c#d"), json!("ü&=1")]).await.unwrap();
    let path = "/items/a%2F..%2Fb%3Fc%23d/x";
    assert_eq!(answer, Answer::Found(vec![json!({ "path": path })]));
    assert_eq!(*server.asked.lock(), [format!("{path}?q=%C3%BC%26%3D1")]);
    for climbing in ["..", ".", ""] {
        let answer = lookup.ask(&[json!(climbing), json!(1)]).await.unwrap();
        assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    }
    assert_eq!(server.asked.lock().len(), 1);
}

#[tokio::test]
async fn an_answer_means_found_missing_refused_or_later() {
    let large = format!("\"{}\"", "x".repeat(LOOKUP_ANSWER_BYTES_MAX));
    let script = [
        (200, "[1]"),
        (200, "null"),
        (200, ""),
        (204, ""),
        (404, "no"),
        (410, ""),
        (200, "no JSON"),
        (200, large.as_str()),
        (400, "wrong id"),
        (302, ""),
    ];
    let (_, url) = serve(&script).await;
    let lookup = open(&format!("{url}/{{id}}?token=secret"));
    let mut answers = Vec::new();
    for _ in script {
        answers.push(lookup.ask(&[json!(1)]).await.unwrap());
    }
    assert_eq!(answers[0], Answer::Found(vec![json!([1])]));
    assert!(answers[1..6].iter().all(|answer| *answer == Answer::Found(Vec::new())), "{answers:?}");
    for (answer, word) in answers[6..].iter().zip(["not JSON", "exceeds", "wrong id", "302"]) {
        let Answer::Refused(why) = answer else { panic!("{answer:?}") };
        assert!(why.contains(word) && !why.contains("secret"), "{why}");
    }
    for status in [401, 408, 429, 500, 503] {
        let (_, url) = serve(&[(status, "later")]).await;
        let error = open(&format!("{url}/{{id}}")).ask(&[json!(1)]).await.unwrap_err();
        assert!(error.retryable && error.what.contains("later"), "{error}");
    }
    let away = open("http://127.0.0.1:1/{id}").ask(&[json!(1)]).await.unwrap_err();
    assert!(away.retryable, "{away}");
}

#[test]
fn fields_stand_behind_the_host_only() {
    let parameters = |url: &str| {
        let fields = parse(&json!({ "url": url })).map(|factory| factory.parameters().to_vec());
        fields.map(|fields| fields.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(parameters("https://h/{a.b}/{c}?d={a.b}").unwrap(), ["a.b", "c"]);
    assert_eq!(parameters("https://h").unwrap(), Vec::<String>::new());
    for url in [
        "https://{host}/x",
        "https://h{x}/y",
        "https://h:{port}/",
        "ftp://h/{a}",
        "https://h/{a",
        "{a}",
    ] {
        assert_eq!(parameters(url).unwrap_err()[0].path, ["url"], "{url}");
    }
}
