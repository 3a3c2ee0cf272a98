//! Connections: greeting, refusals with their codes, pings, users, the end.

use courant_push::{App, Push, PushOptions};
use serde_json::json;

use crate::support::{Page, Server, app, data, sign};

#[tokio::test]
async fn a_page_is_greeted_with_its_name_and_the_time_out() {
    let server = Server::start(App { activity_timeout_ms: 90_000, ..app() }).await;
    let mut page =
        Page::open(&format!("ws://{}/app/shop-key?protocol=7&client=js", server.address)).await;
    let established = data(&page.expect("pusher:connection_established").await);
    assert_eq!(established["activity_timeout"], 90);
    let id = established["socket_id"].as_str().unwrap();
    assert!(id.split('.').all(|part| part.parse::<u32>().is_ok()), "{id}");
}

#[tokio::test]
async fn a_connection_that_is_refused_hears_the_code_that_says_why() {
    let disabled = App { enabled: false, ..App::new("off", "off-key", "s") };
    let tls = App { tls_only: true, ..App::new("tls", "tls-key", "s") };
    let origins =
        App { origins: vec!["https://shop.example".into()], ..App::new("o", "o-key", "s") };
    let server = Server::with(vec![app(), disabled, tls, origins], None).await;
    for (path, code) in [
        ("/app/tls-key?protocol=7", 4000),
        ("/app/unknown?protocol=7", 4001),
        ("/app/off-key?protocol=7", 4003),
        ("/app/shop-key/more?protocol=7", 4005),
        ("/app/?protocol=7", 4005),
        ("/app/shop-key?protocol=seven", 4006),
        ("/app/shop-key?protocol=3", 4007),
        ("/app/shop-key?protocol=8", 4007),
        ("/app/shop-key", 4008),
    ] {
        let mut page = Page::open(&format!("ws://{}{path}", server.address)).await;
        let error = page.expect("pusher:error").await;
        assert_eq!(error["data"]["code"], code, "{path}");
        assert_eq!(page.closed().await, Some(code), "{path}");
    }
    // A program that is no browser says no origin.
    let url = format!("ws://{}/app/o-key?protocol=7", server.address);
    Page::connect(&url).await;
    let mut known = Page::open_from(&url, "https://shop.example").await;
    known.expect("pusher:connection_established").await;
    let mut other = Page::open_from(&url, "https://other.example").await;
    other.expect("pusher:error").await;
    assert_eq!(other.closed().await, Some(4009));
}

#[tokio::test]
async fn one_connection_more_than_an_app_may_have_is_refused() {
    let server = Server::start(App { connections_max: 1, ..app() }).await;
    let first = server.page().await;
    let url = format!("ws://{}/app/shop-key?protocol=7", server.address);
    let mut second = Page::open(&url).await;
    assert_eq!(second.expect("pusher:error").await["data"]["code"], 4004);
    assert_eq!(second.closed().await, Some(4004));
    drop(first);
    server.has_connections(0).await;
    server.page().await;
}

#[tokio::test]
async fn a_ping_is_answered() {
    let server = Server::start(app()).await;
    server.page().await.expect_nothing().await;
}

#[tokio::test]
async fn a_silent_page_is_pinged_and_stays_as_long_as_it_answers() {
    let server = Server::start(App { activity_timeout_ms: 1_000, ..app() }).await;
    let mut page = server.page().await;
    for _ in 0..2 {
        page.expect("pusher:ping").await;
        page.send(json!({ "event": "pusher:pong", "data": {} })).await;
    }
    page.expect("pusher:ping").await;
}

#[tokio::test]
async fn a_stop_tells_pages_to_connect_again() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    page.subscribe("orders").await;
    server.publish("orders", "last", "{}");
    let farewell = async {
        page.expect("last").await;
        assert_eq!(page.closed().await, Some(4200));
    };
    tokio::join!(server.stop(), farewell);
}

#[tokio::test]
async fn a_user_who_signs_in_is_reached_on_every_connection_and_can_be_sent_away() {
    let server = Server::start(app()).await;
    let user_data = r#"{"id":"mia","user_info":{"name":"Mia"}}"#;
    let (mut one, mut two, mut other) =
        (server.page().await, server.page().await, server.page().await);
    for page in [&mut one, &mut two] {
        let auth = app().authenticate_user(&page.id, user_data);
        let signin = json!({ "auth": auth, "user_data": user_data });
        page.send(json!({ "event": "pusher:signin", "data": signin })).await;
        let success = data(&page.expect("pusher:signin_success").await);
        assert_eq!(success["user_data"], user_data);
        page.subscribe("#server-to-user-mia").await;
    }
    other.ask("#server-to-user-mia", None).await;
    let refused = data(&other.expect("pusher:subscription_error").await);
    assert_eq!(refused["status"], 401);

    let body = json!({ "name": "note", "data": "\"hi\"", "channels": ["#server-to-user-mia"] });
    assert_eq!(server.post("/apps/shop/events", &body).await.0, 200);
    one.expect("note").await;
    two.expect("note").await;

    let path = "/apps/shop/users/mia/terminate_connections";
    assert_eq!(server.post(path, &json!({})).await, (200, "{}".into()));
    assert_eq!((one.closed().await, two.closed().await), (Some(4009), Some(4009)));
    other.expect_nothing().await;
}

#[tokio::test]
async fn a_user_with_a_wrong_signature_is_disconnected() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    let auth = app().authenticate_user("1.1", r#"{"id":"mia"}"#);
    let signin = json!({ "auth": auth, "user_data": r#"{"id":"mia"}"# });
    page.send(json!({ "event": "pusher:signin", "data": signin })).await;
    assert_eq!(page.closed().await, Some(4009));
}

#[tokio::test]
async fn apps_have_channels_of_their_own() {
    let server =
        Server::with(vec![app(), App::new("other", "other-key", "other-secret")], None).await;
    let mut page = server.page().await;
    page.subscribe("orders").await;
    let mut other =
        Page::connect(&format!("ws://{}/app/other-key?protocol=7", server.address)).await;
    other.subscribe("orders").await;
    server.publish("orders", "changed", "{}");
    page.expect("changed").await;
    other.expect_nothing().await;
    // One app's signature does not open another.
    let body = r#"{"name":"e","data":"{}","channel":"orders"}"#;
    let query = sign("POST", "/apps/other/events", &[], body, "shop-secret");
    let (status, _) = server.request("POST", &format!("/apps/other/events?{query}"), body).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn apps_that_cannot_be_told_apart_or_hold_nothing_are_refused() {
    let twice = vec![app(), App::new("shop", "k", "s")];
    assert!(Push::new(PushOptions::new(twice)).is_err());
    let same_key = vec![app(), App::new("other", "shop-key", "s")];
    assert!(Push::new(PushOptions::new(same_key)).is_err());
    let empty = Push::new(PushOptions::new(vec![App::new("shop", "key", "")])).unwrap_err();
    assert_eq!(empty.to_string(), "secret of push app \"shop\" is empty; set it");
    let shown = format!("{:?}", app());
    assert!(!shown.contains("shop-secret"), "{shown}");
}
