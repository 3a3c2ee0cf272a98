//! Presence channels: who is there, who comes and goes, counted over connections.

use courant_push::App;
use serde_json::{Value, json};

use crate::support::{Server, app, data};

const MIA: &str = r#"{"user_id":"mia","user_info":{"name":"Mia"}}"#;
const TOM: &str = r#"{"user_id":"tom"}"#;

fn members(succeeded: &Value) -> Value {
    data(succeeded)["presence"].clone()
}

#[tokio::test]
async fn who_comes_hears_who_is_there_and_the_others_hear_of_it() {
    let server = Server::start(app()).await;
    let (mut mia, mut tom) = (server.page().await, server.page().await);
    let alone = members(&mia.subscribe_signed("presence-room", Some(MIA)).await);
    assert_eq!(alone, json!({ "ids": ["mia"], "hash": { "mia": { "name": "Mia" } }, "count": 1 }));
    let both = members(&tom.subscribe_signed("presence-room", Some(TOM)).await);
    let hash = json!({ "mia": { "name": "Mia" }, "tom": null });
    assert_eq!(both, json!({ "ids": ["mia", "tom"], "hash": hash, "count": 2 }));
    let added = mia.expect("pusher_internal:member_added").await;
    assert_eq!(data(&added), json!({ "user_id": "tom" }));
    drop(mia);
    let removed = tom.expect("pusher_internal:member_removed").await;
    assert_eq!(data(&removed), json!({ "user_id": "mia" }));
}

#[tokio::test]
async fn a_user_is_there_until_the_last_connection_leaves() {
    let server = Server::start(app()).await;
    let mut tom = server.page().await;
    tom.subscribe_signed("presence-room", Some(TOM)).await;
    let (mut desk, mut phone) = (server.page().await, server.page().await);
    desk.subscribe_signed("presence-room", Some(MIA)).await;
    let there = members(&phone.subscribe_signed("presence-room", Some(MIA)).await);
    assert_eq!(there["count"], 2);
    tom.expect("pusher_internal:member_added").await;
    tom.expect_nothing().await;
    desk.send(json!({ "event": "pusher:unsubscribe", "data": { "channel": "presence-room" } }))
        .await;
    desk.expect_nothing().await;
    tom.expect_nothing().await;
    drop(phone);
    tom.expect("pusher_internal:member_removed").await;
}

#[tokio::test]
async fn events_of_members_say_who_they_are() {
    let server = Server::start(app()).await;
    let (mut mia, mut tom) = (server.page().await, server.page().await);
    mia.subscribe_signed("presence-room", Some(MIA)).await;
    tom.subscribe_signed("presence-room", Some(TOM)).await;
    tom.send(json!({ "event": "client-hi", "channel": "presence-room", "data": "x" })).await;
    mia.expect("pusher_internal:member_added").await;
    assert_eq!(mia.expect("client-hi").await["user_id"], "tom");
}

#[tokio::test]
async fn a_room_is_full_for_new_members_only() {
    let server = Server::start(App { members_max: 1, ..app() }).await;
    let (mut mia, mut tom, mut again) =
        (server.page().await, server.page().await, server.page().await);
    mia.subscribe_signed("presence-room", Some(MIA)).await;
    tom.ask_signed("presence-room", Some(TOM)).await;
    let refused = data(&tom.expect("pusher:subscription_error").await);
    assert_eq!(refused["type"], "LimitReached");
    again.subscribe_signed("presence-room", Some(MIA)).await;
    drop((mia, again));
    server.has_connections(1).await;
    tom.subscribe_signed("presence-room", Some(TOM)).await;
}

#[tokio::test]
async fn a_member_who_does_not_say_who_it_is_is_refused() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    let large = json!({ "user_id": "x", "user_info": "x".repeat(5_000) }).to_string();
    let long = json!({ "user_id": "x".repeat(129) }).to_string();
    for member in [None, Some("{}"), Some("no json"), Some(large.as_str()), Some(long.as_str())] {
        page.ask_signed("presence-room", member).await;
        let refused = data(&page.expect("pusher:subscription_error").await);
        assert_eq!(refused["status"], 400, "{member:?}");
    }
}
