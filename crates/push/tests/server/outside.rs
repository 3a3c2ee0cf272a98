//! The client of a push server elsewhere, against this one: what is taken, what is refused,
//! and what may be tried again.

use std::sync::Arc;

use courant_model::{ManualClock, Timestamp};
use courant_push::{App, Outside, OutsideError, OutsideEvent};

use crate::support::{NOW_MS, Server, app, data};

fn outside(server: &Server, secret: &str, app: &str) -> Outside {
    let url = format!("pusher://shop-key:{secret}@{}/{app}", server.address);
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(NOW_MS)));
    Outside::new(url.parse().unwrap(), clock).unwrap()
}

fn event<'a>(name: &'a str, channel: &'a str, data: &'a str) -> OutsideEvent<'a> {
    OutsideEvent { name, channel, data }
}

#[tokio::test]
async fn a_batch_is_heard_in_its_order_by_the_pages_of_its_channels() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    page.subscribe("orders").await;
    let outside = outside(&server, "shop-secret", "shop");
    let elsewhere = event("c", "other", "{}");
    let batch = [event("a", "orders", r#"{"n":1}"#), elsewhere, event("b", "orders", r#""é\"""#)];
    outside.publish(&batch).await.unwrap();
    outside.publish(&[]).await.unwrap();
    assert_eq!(data(&page.expect("a").await)["n"], 1);
    assert_eq!(page.expect("b").await["data"], r#""é\"""#);
    page.expect_nothing().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_what_can_be_mended_is_not() {
    let small = App { event_bytes_max: 10, ..app() };
    let server = Server::start(small).await;
    let large = "x".repeat(11);
    let right = outside(&server, "shop-secret", "shop");
    let refused = right.publish(&[event("a", "orders", &large)]).await.unwrap_err();
    assert!(matches!(refused, OutsideError::Refused { status: 413, .. }), "{refused}");
    let refused = right.publish(&[event("a", "no channel", "1")]).await.unwrap_err();
    assert!(matches!(refused, OutsideError::Refused { status: 400, .. }), "{refused}");
    for (secret, app, said) in
        [("guess", "shop", "check key and secret"), ("shop-secret", "x", "app's id")]
    {
        let away = outside(&server, secret, app).publish(&[event("a", "orders", "1")]).await;
        let Err(OutsideError::Away { reason, .. }) = away else { panic!("{away:?}") };
        assert!(reason.contains(said), "{reason}");
        assert!(!reason.contains("guess"), "{reason}");
    }
    let address = server.address.clone();
    server.stop().await;
    let gone = format!("pusher://k:hush@{}/shop", address.replace("127.0.0.1", "127.0.0.2"));
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(NOW_MS)));
    let gone = Outside::new(gone.parse().unwrap(), clock).unwrap();
    let away = gone.publish(&[event("a", "orders", "1")]).await.unwrap_err();
    assert!(matches!(away, OutsideError::Away { .. }), "{away}");
    assert!(!away.to_string().contains("hush"), "{away}");
}
