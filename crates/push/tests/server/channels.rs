//! Channels of every kind: who may come, what is heard, client events, limits.

use std::time::Duration;

use courant_model::limits::{PUSH_CACHED_MS, PUSH_CLIENT_EVENT_BYTES_MAX};
use courant_push::{App, Message, PublishError, Published};
use serde_json::json;

use crate::support::{Server, app, data};

#[tokio::test]
async fn subscribers_hear_what_is_published_in_order_until_they_leave() {
    let server = Server::start(app()).await;
    let (mut one, mut two) = (server.page().await, server.page().await);
    one.subscribe("orders").await;
    two.subscribe("orders").await;
    for n in 0..100 {
        let sent = server.publish("orders", "changed", &json!({ "n": n }).to_string());
        assert_eq!(sent, Published::Sent { subscribers: 2 });
    }
    for page in [&mut one, &mut two] {
        for n in 0..100 {
            let found = page.expect("changed").await;
            assert_eq!(
                (found["channel"].as_str(), &data(&found)["n"]),
                (Some("orders"), &json!(n))
            );
        }
    }
    one.send(json!({ "event": "pusher:unsubscribe", "data": { "channel": "orders" } })).await;
    one.expect_nothing().await;
    server.publish("orders", "changed", "{}");
    one.expect_nothing().await;
    two.expect("changed").await;
    // And may come again.
    one.subscribe("orders").await;
}

#[tokio::test]
async fn private_channels_want_the_apps_signature_of_this_very_wish() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    let right = app().authorize_channel(&page.id, "private-orders", None);
    let others = [
        app().authorize_channel("1.1", "private-orders", None),
        app().authorize_channel(&page.id, "private-other", None),
        App::new("shop", "shop-key", "guess").authorize_channel(&page.id, "private-orders", None),
        right.replace("shop-key", "other-key"),
        right[..right.len() - 1].to_owned(),
        String::new(),
    ];
    for channel in ["private-orders", "private-encrypted-orders", "presence-orders"] {
        for auth in &others {
            page.ask(channel, Some(auth)).await;
            let refused = data(&page.expect("pusher:subscription_error").await);
            assert_eq!(refused["type"], "AuthError");
        }
        page.ask(channel, None).await;
        page.expect("pusher:subscription_error").await;
    }
    server.publish("private-orders", "changed", "{}");
    page.expect_nothing().await;
    page.subscribe_signed("private-orders", None).await;
    server.publish("private-orders", "changed", "{}");
    page.expect("changed").await;
}

#[tokio::test]
async fn a_cache_channel_tells_the_last_event_for_half_an_hour() {
    let server = Server::start(app()).await;
    let mut early = server.page().await;
    early.subscribe("cache-rate").await;
    let miss = early.expect("pusher:cache_miss").await;
    assert_eq!(miss["channel"], "cache-rate");
    server.publish("cache-rate", "rate", "1");
    server.publish("cache-rate", "rate", "2");
    let mut late = server.page().await;
    late.subscribe("cache-rate").await;
    assert_eq!(late.expect("rate").await["data"], "2");
    // Also when nobody subscribed as it was published.
    server.publish("private-cache-rate", "rate", "3");
    late.subscribe_signed("private-cache-rate", None).await;
    assert_eq!(late.expect("rate").await["data"], "3");
    server.clock.advance(Duration::from_millis(PUSH_CACHED_MS));
    let mut too_late = server.page().await;
    too_late.subscribe("cache-rate").await;
    too_late.expect("pusher:cache_miss").await;
}

#[tokio::test]
async fn an_encrypted_channel_passes_ciphertext_on_and_refuses_plain_text() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    page.subscribe_signed("private-encrypted-orders", None).await;
    let cipher = r#"{"nonce":"bm9uY2U=","ciphertext":"Y2lwaGVy"}"#;
    server.publish("private-encrypted-orders", "changed", cipher);
    assert_eq!(page.expect("changed").await["data"], cipher);
    let channel = "private-encrypted-orders";
    let plain = Message { channel, event: "changed", data: "{}", position: None };
    let refused = server.push.publish("shop", plain);
    assert!(matches!(refused, Err(PublishError::NotEncrypted { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_pages_event_reaches_the_others_and_nobody_who_may_not() {
    let server = Server::start(app()).await;
    let (mut one, mut two) = (server.page().await, server.page().await);
    one.subscribe_signed("private-room", None).await;
    two.subscribe_signed("private-room", None).await;
    let event =
        json!({ "event": "client-typing", "channel": "private-room", "data": { "who": "mia" } });
    one.send(event.clone()).await;
    assert_eq!(two.expect("client-typing").await["data"], json!({ "who": "mia" }));
    one.expect_nothing().await;

    // Not from outside, not on other channels, not too large, not without a channel.
    let mut outside = server.page().await;
    outside.send(event).await;
    outside.expect("pusher:error").await;
    for channel in ["orders", "private-encrypted-room", "#server-to-user-mia", "private-é"] {
        let event = json!({ "event": "client-typing", "channel": channel, "data": {} });
        outside.send(event).await;
        outside.expect("pusher:error").await;
    }
    let large = "x".repeat(PUSH_CLIENT_EVENT_BYTES_MAX);
    one.send(json!({ "event": "client-typing", "channel": "private-room", "data": large })).await;
    one.expect("pusher:error").await;
    one.send(json!({ "event": "client-typing", "data": {} })).await;
    one.expect("pusher:error").await;
    two.expect_nothing().await;
}

#[tokio::test]
async fn pages_that_trigger_too_much_are_told_and_stay() {
    let server = Server::start(App { client_events_per_second_max: 2, ..app() }).await;
    let mut page = server.page().await;
    page.subscribe_signed("private-room", None).await;
    for _ in 0..20 {
        page.send(json!({ "event": "client-a", "channel": "private-room", "data": {} })).await;
    }
    assert_eq!(page.expect("pusher:error").await["data"]["code"], 4301);
    server.publish("private-room", "changed", "{}");
    while page.next().await["event"] != "changed" {}
}

#[tokio::test]
async fn an_app_without_client_events_refuses_them() {
    let server = Server::start(App { client_events: false, ..app() }).await;
    let mut page = server.page().await;
    page.subscribe_signed("private-room", None).await;
    page.send(json!({ "event": "client-a", "channel": "private-room", "data": {} })).await;
    page.expect("pusher:error").await;
}

#[tokio::test]
async fn subscribers_hear_how_many_they_are_when_the_app_wants_it() {
    let server = Server::start(App { subscription_count: true, ..app() }).await;
    let mut one = server.page().await;
    one.subscribe("orders").await;
    let count = "pusher_internal:subscription_count";
    assert_eq!(data(&one.expect(count).await)["subscription_count"], 1);
    let mut two = server.page().await;
    two.subscribe("orders").await;
    assert_eq!(data(&one.expect(count).await)["subscription_count"], 2);
    assert_eq!(data(&two.expect(count).await)["subscription_count"], 2);
    drop(two);
    assert_eq!(data(&one.expect(count).await)["subscription_count"], 1);
}

#[tokio::test]
async fn a_connection_has_each_channel_once_and_a_bounded_number() {
    let server = Server::start(App { channels_per_connection_max: 2, ..app() }).await;
    let mut page = server.page().await;
    page.subscribe("a").await;
    page.ask("a", None).await;
    page.expect("pusher:error").await;
    page.subscribe("b").await;
    page.ask("c", None).await;
    let refused = page.expect("pusher:subscription_error").await;
    assert_eq!(
        (refused["channel"].as_str(), data(&refused)["type"].as_str()),
        (Some("c"), Some("LimitReached"))
    );
    server.publish("a", "changed", "{}");
    page.expect("changed").await;
    page.expect_nothing().await;
}

#[tokio::test]
async fn what_breaks_a_bound_is_not_published() {
    let server = Server::start(App { event_bytes_max: 10, ..app() }).await;
    let long = "x".repeat(201);
    for (channel, event, data) in [
        ("orders", "changed", "12345678901"),
        ("orders", "", "{}"),
        ("orders", long.as_str(), "{}"),
        ("or/ders", "changed", "{}"),
        ("orders", "pusher:error", "{}"),
        ("orders", "pusher_internal:subscription_succeeded", "{}"),
        ("orders", "courant:reset", "{}"),
    ] {
        let message = Message { channel, event, data, position: None };
        assert!(server.push.publish("shop", message).is_err(), "{channel} {event} {data}");
    }
    let message = Message { channel: "orders", event: "e", data: "1", position: None };
    assert!(server.push.publish("nobody", message).is_err());
    assert_eq!(
        server.publish("orders", "changed", "1234567890"),
        Published::Sent { subscribers: 0 }
    );
}
