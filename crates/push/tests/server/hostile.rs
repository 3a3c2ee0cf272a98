//! Pages that mean harm, or do it: nonsense, too much, too slow. The others never notice.

use courant_model::limits::{
    PUSH_EVENT_BYTES_MAX, PUSH_FRAME_BYTES_MAX, PUSH_FRAMES_BURST_MAX, PUSH_QUEUE_BYTES_MAX,
};
use courant_push::{App, Published};
use proptest::prelude::*;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{Server, app};

#[tokio::test]
async fn nonsense_is_answered_and_harms_nobody() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let nonsense = [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        r#"{"event":7}"#.into(),
        r#"{"event":"pusher:unknown"}"#.into(),
        r#"{"event":"no-client-event","channel":"a","data":{}}"#.into(),
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"a","data":{}}"#.into(),
        r#"{"event":"pusher:subscribe"}"#.into(),
        r#"{"event":"pusher:subscribe","data":{"channel":7}}"#.into(),
        r#"{"event":"pusher:subscribe","data":"{\"channel\""}"#.into(),
        r#"{"event":"courant:resume","data":{"positions":[1]}}"#.into(),
        format!(r#"{{"event":"pusher:subscribe","data":{deep}}}"#),
        format!(r#"{{"event":"client-a","channel":"private-a","data":{deep}}}"#),
        deep,
    ];
    for text in nonsense {
        page.send_text(&text).await;
        let answer = page.expect("pusher:error").await;
        assert!(answer["data"]["message"].is_string(), "{text:.60}");
    }
    page.subscribe("orders").await;
    server.publish("orders", "changed", "1");
    page.expect("changed").await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_frame_makes_the_server_fall(frames in proptest::collection::vec(".{0,200}", 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::start(app()).await;
            let mut page = server.page().await;
            for frame in &frames {
                page.send_text(frame).await;
            }
            for _ in &frames {
                page.expect("pusher:error").await;
            }
            page.expect_nothing().await;
        });
    }
}

#[tokio::test]
async fn a_binary_frame_or_one_that_is_too_large_ends_its_connection_only() {
    let server = Server::start(app()).await;
    let mut good = server.page().await;
    let mut binary = server.page().await;
    binary.send_frame(Frame::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(binary.closed().await, Some(1003));
    let mut large = server.page().await;
    // The server may hang up while it is still being sent.
    let _ = large.send_frame(Frame::text("x".repeat(PUSH_FRAME_BYTES_MAX + 1))).await;
    large.closed().await;
    server.has_connections(1).await;
    good.expect_nothing().await;
}

#[tokio::test]
async fn a_flood_of_frames_ends_its_connection() {
    let server = Server::start(app()).await;
    let mut flood = server.page().await;
    for _ in 0..2 * PUSH_FRAMES_BURST_MAX {
        let ping = Frame::text(r#"{"event":"pusher:ping"}"#);
        if flood.send_frame(ping).await.is_err() {
            break;
        }
    }
    assert!(matches!(flood.closed().await, Some(4100) | None));
    server.has_connections(0).await;
}

#[tokio::test]
async fn a_page_that_does_not_read_is_disconnected_and_the_others_hear_everything() {
    let server = Server::start(App { event_bytes_max: PUSH_EVENT_BYTES_MAX, ..app() }).await;
    let (mut slow, mut good) = (server.page().await, server.page().await);
    slow.subscribe("orders").await;
    good.subscribe("orders").await;
    let large = "x".repeat(PUSH_EVENT_BYTES_MAX / 2);
    let mut sent = 0;
    // What the network holds is unknown; what waits beyond it is bounded.
    while server.push.load("shop").unwrap().0 > 1 {
        server.publish("orders", "changed", &large);
        good.expect("changed").await;
        sent += 1;
        assert!(sent * large.len() < 100 * PUSH_QUEUE_BYTES_MAX, "the slow page is never cut off");
    }
    assert_eq!(server.publish("orders", "last", "1"), Published::Sent { subscribers: 1 });
    good.expect("last").await;
    drop(slow);
}

#[tokio::test]
async fn a_page_that_goes_in_the_middle_leaves_nothing_behind() {
    let server = Server::start(app()).await;
    for round in 0..50 {
        let mut page = server.page().await;
        let member = json!({ "user_id": "mia" }).to_string();
        page.ask_signed("presence-room", Some(&member)).await;
        page.ask("orders", None).await;
        if round % 2 == 0 {
            page.send(json!({ "event": "pusher:unsubscribe", "data": { "channel": "orders" } }))
                .await;
        }
    }
    server.has_connections(0).await;
    let (_, rooms) = server.get("/apps/shop/channels", &[]).await;
    assert_eq!(rooms, r#"{"channels":{}}"#);
}
