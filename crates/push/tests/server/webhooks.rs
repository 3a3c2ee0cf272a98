//! Webhooks: what a server is told, signed, in order, tried again.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use courant_push::{App, Push, PushOptions, Webhook, WebhookEvent};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{NOW_MS, Server, app, eventually, hmac};

/// A server that is told; it answers as its script says, and then with 200.
#[derive(Default)]
struct Told {
    script: Mutex<Vec<u16>>,
    events: Mutex<Vec<Value>>,
    tries: Mutex<usize>,
}

async fn take(
    State(told): State<Arc<Told>>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::http::StatusCode {
    *told.tries.lock().unwrap() += 1;
    let text = std::str::from_utf8(&body).unwrap();
    assert_eq!(headers["x-pusher-key"], "shop-key");
    assert_eq!(headers["x-pusher-signature"], hmac("shop-secret", text).as_str());
    assert_eq!(headers["content-type"], "application/json");
    if let Some(status) = told.script.lock().unwrap().pop() {
        return status.try_into().unwrap();
    }
    let found: Value = serde_json::from_str(text).unwrap();
    assert_eq!(found["time_ms"], NOW_MS);
    told.events.lock().unwrap().extend(found["events"].as_array().unwrap().iter().cloned());
    axum::http::StatusCode::OK
}

impl Told {
    async fn start(script: &[u16]) -> (Arc<Self>, String) {
        let told = Arc::new(Self { script: Mutex::new(script.to_vec()), ..Self::default() });
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&told));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=t", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (told, url)
    }

    async fn has(&self, count: usize) -> Vec<Value> {
        eventually(|| self.events.lock().unwrap().len() >= count).await;
        self.events.lock().unwrap().clone()
    }
}

fn hooked(url: String, events: &[WebhookEvent]) -> App {
    let webhooks = vec![Webhook { url, events: events.to_vec() }];
    App { webhooks, ..app() }
}

#[tokio::test]
async fn a_server_is_told_all_that_happens_in_order() {
    let (told, url) = Told::start(&[]).await;
    let app = App { subscription_count: true, ..hooked(url, &WebhookEvent::ALL) };
    let server = Server::start(app).await;
    let mut page = server.page().await;
    page.subscribe_signed("presence-cache-room", Some(r#"{"user_id":"mia"}"#)).await;
    let event =
        json!({ "event": "client-hi", "channel": "presence-cache-room", "data": { "n": 1 } });
    page.send(event).await;
    let id = page.id.clone();
    told.has(4).await;
    drop(page);
    let mut other = server.page().await;
    told.has(6).await;
    other.subscribe("orders").await;
    let channel = "presence-cache-room";
    let client_event = json!({
        "name": "client_event", "channel": channel, "event": "client-hi", "data": "{\"n\":1}",
        "socket_id": id, "user_id": "mia"
    });
    let expected = vec![
        json!({ "name": "cache_miss", "channel": channel }),
        json!({ "name": "channel_occupied", "channel": channel }),
        json!({ "name": "member_added", "channel": channel, "user_id": "mia" }),
        client_event,
        json!({ "name": "member_removed", "channel": channel, "user_id": "mia" }),
        json!({ "name": "channel_vacated", "channel": channel }),
        json!({ "name": "channel_occupied", "channel": "orders" }),
        json!({ "name": "subscription_count", "channel": "orders", "subscription_count": 1 }),
    ];
    assert_eq!(told.has(8).await, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again_and_one_that_refuses_is_not() {
    // The script is read from its end.
    let (told, url) = Told::start(&[400, 503, 500]).await;
    let server = Server::start(hooked(url, &[WebhookEvent::ChannelOccupied])).await;
    let mut page = server.page().await;
    page.subscribe("a").await;
    eventually(|| *told.tries.lock().unwrap() == 3).await;
    page.subscribe("b").await;
    let events = told.has(1).await;
    assert_eq!(events, [json!({ "name": "channel_occupied", "channel": "b" })]);
    assert_eq!(*told.tries.lock().unwrap(), 4);
}

#[tokio::test]
async fn a_stop_delivers_what_waits() {
    let (told, url) = Told::start(&[]).await;
    let server = Server::start(hooked(url, &[WebhookEvent::ChannelVacated])).await;
    let mut pages = Vec::new();
    for _ in 0..20 {
        let mut page = server.page().await;
        page.subscribe(&format!("channel-{}", pages.len())).await;
        pages.push(page);
    }
    server.stop().await;
    assert_eq!(told.events.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for url in ["", "shop.example/hook", "ftp://shop.example/"] {
        let wrong = Push::new(PushOptions::new(vec![hooked(url.into(), &WebhookEvent::ALL)]));
        assert!(wrong.is_err(), "{url}");
    }
}
