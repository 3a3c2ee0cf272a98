//! The HTTP API: publishing, questions, signatures.

use serde_json::{Value, json};

use crate::support::{Server, app, data, sign};

fn parsed((status, body): (u16, String)) -> Value {
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn an_event_reaches_its_channels_but_not_the_socket_it_came_from() {
    let server = Server::start(app()).await;
    let (mut one, mut two) = (server.page().await, server.page().await);
    one.subscribe("a").await;
    two.subscribe("b").await;
    let text =
        json!({ "name": "e", "data": "{\"n\":1}", "channels": ["a", "b"], "socket_id": two.id });
    assert_eq!(server.post("/apps/shop/events", &text).await, (200, "{}".into()));
    assert_eq!(data(&one.expect("e").await), json!({ "n": 1 }));
    two.expect_nothing().await;
    // Data that is no text is sent as its JSON.
    let object = json!({ "name": "e", "data": { "n": 2 }, "channel": "b" });
    assert_eq!(server.post("/apps/shop/events", &object).await.0, 200);
    assert_eq!(data(&two.expect("e").await), json!({ "n": 2 }));
}

#[tokio::test]
async fn a_batch_is_published_whole_or_not_at_all() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    page.subscribe("a").await;
    let event = |channel: &str| json!({ "name": "e", "data": "1", "channel": channel });
    let wrong = json!({ "batch": [event("a"), event("not/allowed")] });
    assert_eq!(server.post("/apps/shop/batch_events", &wrong).await.0, 400);
    let many = json!({ "batch": vec![event("a"); 11] });
    assert_eq!(server.post("/apps/shop/batch_events", &many).await.0, 400);
    page.expect_nothing().await;
    let mut asks = event("a");
    asks["info"] = "subscription_count".into();
    let right = json!({ "batch": [asks, event("b")] });
    let answer = parsed(server.post("/apps/shop/batch_events", &right).await);
    assert_eq!(answer, json!({ "batch": [{ "subscription_count": 1 }, {}] }));
    page.expect("e").await;
}

#[tokio::test]
async fn questions_are_answered_of_occupied_channels() {
    let server = Server::start(app()).await;
    let (mut one, mut two) = (server.page().await, server.page().await);
    for page in [&mut one, &mut two] {
        page.subscribe_signed("presence-room", Some(r#"{"user_id":7}"#)).await;
    }
    one.subscribe("cache-rate").await;
    one.expect("pusher:cache_miss").await;
    server.publish("cache-rate", "rate", "5");
    server.publish("cache-nobody", "rate", "5");

    let all = parsed(server.get("/apps/shop/channels", &[]).await);
    assert_eq!(all, json!({ "channels": { "cache-rate": {}, "presence-room": {} } }));
    let query = [("filter_by_prefix", "presence-"), ("info", "user_count,subscription_count")];
    let rooms = parsed(server.get("/apps/shop/channels", &query).await);
    let counts = json!({ "subscription_count": 2, "user_count": 1 });
    assert_eq!(rooms, json!({ "channels": { "presence-room": counts } }));
    assert_eq!(server.get("/apps/shop/channels", &[("info", "user_count")]).await.0, 400);

    let rate =
        server.get("/apps/shop/channels/cache-rate", &[("info", "cache,subscription_count")]);
    let expected = json!({
        "occupied": true, "subscription_count": 1, "cache": { "data": "5", "ttl": 1800 }
    });
    assert_eq!(parsed(rate.await), expected);
    let nobody = parsed(server.get("/apps/shop/channels/nobody", &[]).await);
    assert_eq!(nobody, json!({ "occupied": false }));

    let users = parsed(server.get("/apps/shop/channels/presence-room/users", &[]).await);
    assert_eq!(users, json!({ "users": [{ "id": "7" }] }));
    assert_eq!(server.get("/apps/shop/channels/cache-rate/users", &[]).await.0, 400);
}

#[tokio::test]
async fn requests_that_are_not_signed_by_the_app_are_refused() {
    let server = Server::start(app()).await;
    let (path, body) = ("/apps/shop/events", r#"{"name":"e","data":"1","channel":"a"}"#);
    let mut page = server.page().await;
    page.subscribe("a").await;
    let right = sign("POST", path, &[], body, "shop-secret");
    let other_body = body.replace('1', "2");
    let refused = [
        (path.to_owned(), body),
        (format!("{path}?{}", sign("POST", path, &[], body, "guess")), body),
        (format!("{path}?{right}"), other_body.as_str()),
        (format!("{path}?{right}&info=user_count"), body),
        (format!("{path}?{}", right.replace("auth_version=1.0", "auth_version=2.0")), body),
        (format!("{path}?{}", right.replace("shop-key", "other-key")), body),
        (format!("/apps/shop/batch_events?{right}"), body),
    ];
    for (url, body) in refused {
        assert_eq!(server.request("POST", &url, body).await.0, 401, "{url}");
    }
    page.expect_nothing().await;
    assert_eq!(server.request("POST", &format!("{path}?{right}"), body).await.0, 200);
    page.expect("e").await;
    // The same request, overheard and sent again ten minutes later.
    server.clock.advance(std::time::Duration::from_secs(601));
    assert_eq!(server.request("POST", &format!("{path}?{right}"), body).await.0, 401);
    page.expect_nothing().await;
}

#[tokio::test]
async fn a_wrong_request_is_told_what_is_wrong() {
    let server = Server::start(app()).await;
    let cases = [
        ("/apps/shop/events", json!({ "name": "e", "data": "1" }), 400),
        ("/apps/shop/events", json!({ "name": "e", "channel": "a" }), 400),
        (
            "/apps/shop/events",
            json!({ "name": "e", "data": "1", "channel": "a", "socket_id": "x" }),
            400,
        ),
        ("/apps/shop/events", json!({ "name": "e", "data": "1", "channels": vec!["a"; 101] }), 400),
        (
            "/apps/shop/events",
            json!({ "name": "e", "data": "1", "channel": "a", "info": "x" }),
            400,
        ),
        (
            "/apps/shop/events",
            json!({ "name": "e", "data": "x".repeat(102_401), "channel": "a" }),
            413,
        ),
        ("/apps/nobody/events", json!({ "name": "e", "data": "1", "channel": "a" }), 404),
    ];
    for (path, body, status) in cases {
        let (found, text) = server.post(path, &body).await;
        assert_eq!(found, status, "{text}");
        assert!(!text.is_empty());
    }
}
