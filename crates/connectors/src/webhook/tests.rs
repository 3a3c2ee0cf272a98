//! The webhook against a real server on a free port.

use std::collections::VecDeque;

use axum::{Router, extract::State, http::StatusCode, routing::post};
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::testing::{World, event, suite};

/// A server that answers as told, and keeps what it got.
#[derive(Debug, Default)]
struct Server {
    requests: Mutex<Vec<(String, String, Option<String>)>>,
    /// Answers in turn; then 200.
    script: Mutex<VecDeque<(u16, Option<&'static str>)>>,
    /// Refuses bodies with this text with 422.
    refuse: Option<&'static str>,
}

type Answered = (StatusCode, [(&'static str, &'static str); 1], &'static str);

async fn hook(State(server): State<Arc<Server>>, headers: HeaderMap, body: String) -> Answered {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let key = header("idempotency-key").unwrap();
    server.requests.lock().push((key, body.clone(), header("authorization")));
    let (status, after) = server.script.lock().pop_front().unwrap_or((200, None));
    let refused = server.refuse.is_some_and(|text| body.contains(text));
    let status = if refused { 422 } else { status };
    let answer = if refused { "cannot take that" } else { "ok" };
    (StatusCode::from_u16(status).unwrap(), [("retry-after", after.unwrap_or("0"))], answer)
}

async fn serve(server: &Arc<Server>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}/hook?token=secret", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(hook)).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn sink(url: &str, more: &[(&str, Value)]) -> Box<dyn Sink> {
    let mut options = json!({ "url": url });
    more.iter().for_each(|(name, value)| options[*name] = value.clone());
    parse(&options).unwrap().open(World::new().sink_context()).unwrap()
}

impl Server {
    fn scripted(script: &[u16]) -> Arc<Self> {
        let script = script.iter().map(|status| (*status, Some("0"))).collect();
        Arc::new(Self { script: Mutex::new(script), ..Self::default() })
    }

    fn bodies(&self) -> Vec<String> {
        self.requests.lock().iter().map(|(_, body, _)| body.clone()).collect()
    }

    fn keys(&self) -> Vec<String> {
        self.requests.lock().iter().map(|(key, _, _)| key.clone()).collect()
    }
}

#[tokio::test]
async fn it_passes_the_suite_of_sinks() {
    let server = Arc::new(Server::default());
    let url = serve(&server).await;
    suite::writes_in_order(&mut *sink(&url, &[]), async || server.bodies()).await;
    let server = Arc::new(Server::default());
    let url = serve(&server).await;
    let read = async || server.bodies();
    suite::names_what_it_refuses(&mut *sink(&url, &[]), "not json", read).await;
}

#[tokio::test]
async fn a_batch_is_a_list_and_a_refused_one_is_sent_record_by_record() {
    let server = Arc::new(Server { refuse: Some("bad"), ..Server::default() });
    let url = serve(&server).await;
    let mut sink = sink(&url, &[("batch", json!(2))]);
    let values = ["{\"n\":0}", "{\"n\":1}", "{\"bad\":2}", "{\"n\":3}", "{\"n\":4}"];
    let events: Vec<Event> = (0..).zip(values).map(|(n, value)| event(n, value)).collect();
    let rejections = sink.write(&events).await.unwrap();
    assert_eq!(rejections.len(), 1);
    assert_eq!(rejections[0].index, 2);
    let why = &rejections[0].why;
    assert!(why.ends_with("/hook answered 422 Unprocessable Entity: cannot take that"), "{why}");
    assert!(!why.contains("secret"), "{why}");
    let expected = [
        "[{\"n\":0},{\"n\":1}]",
        "[{\"bad\":2},{\"n\":3}]",
        "[{\"bad\":2}]",
        "[{\"n\":3}]",
        "[{\"n\":4}]",
    ];
    assert_eq!(server.bodies(), expected);
    assert_eq!(
        server.keys(),
        ["topic-0-0+2", "topic-0-2+2", "topic-0-2", "topic-0-3", "topic-0-4"]
    );
}

#[tokio::test]
async fn what_may_pass_is_tried_again_with_the_same_key() {
    let server = Server::scripted(&[503, 429]);
    let url = serve(&server).await;
    let rejections = sink(&url, &[]).write(&[event(5, "{}")]).await.unwrap();
    assert_eq!(rejections, []);
    assert_eq!(server.keys(), ["topic-0-5"; 3]);
}

#[tokio::test]
async fn a_server_that_stays_down_holds_the_pipeline() {
    for status in [500, 408, 401, 403] {
        let server = Server::scripted(&[status; 3]);
        let url = serve(&server).await;
        let error = sink(&url, &[]).write(&[event(5, "{}")]).await.unwrap_err();
        assert!(error.retryable && error.what.contains(&status.to_string()), "{error}");
        assert!(!error.what.contains("secret"), "{error}");
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}/?token=secret", listener.local_addr().unwrap());
    drop(listener);
    let error = sink(&url, &[]).write(&[event(5, "{}")]).await.unwrap_err();
    assert!(error.retryable && !error.what.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::scripted(&[307]);
    let url = serve(&server).await;
    let rejections = sink(&url, &[]).write(&[event(5, "{}")]).await.unwrap();
    assert!(rejections[0].why.contains("307"), "{rejections:?}");
    assert_eq!(server.bodies().len(), 1);
}

#[tokio::test]
async fn headers_are_sent_and_never_shown() {
    let server = Arc::new(Server::default());
    let url = serve(&server).await;
    let headers = json!({ "authorization": "Bearer hunter2" });
    let mut sink = sink(&url, &[("headers", headers.clone())]);
    sink.write(&[event(0, "{}")]).await.unwrap();
    assert_eq!(server.requests.lock()[0].2.as_deref(), Some("Bearer hunter2"));
    let factory = parse(&json!({ "url": url, "headers": headers })).unwrap();
    for shown in [format!("{factory:?}"), format!("{sink:?}")] {
        assert!(!shown.contains("hunter2") && !shown.contains("secret"), "{shown}");
        assert!(shown.contains("authorization"));
    }
}

#[test]
fn all_problems_of_the_options_are_found() {
    let options = json!({
        "url": "ftp://x/y", "headers": { "a b": "x", "c": "two\nlines" }, "timeout": "0",
    });
    let problems = parse(&options).unwrap_err();
    let paths: Vec<String> = problems.iter().map(|problem| problem.path.join(".")).collect();
    assert_eq!(paths, ["url", "headers.a b", "headers.c", "timeout"]);
    assert!(parse(&json!({ "url": "http://x/", "batch": 0 })).is_err());
    assert!(parse(&json!({ "url": "http://x/", "batch": 1_001 })).is_err());
}
