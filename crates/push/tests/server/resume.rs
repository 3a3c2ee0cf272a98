//! Pages that come back: what they missed, a snapshot, or the word that they need one.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use courant_model::limits::{PUSH_KEPT_MS_DEFAULT, PUSH_PAST_BYTES_MAX};
use courant_push::{App, Missed, Position, Published, ResumeSource, Resumption, SourceError};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Page, Server, app, data};

fn at(sequence: u64) -> Position {
    Position { generation: 1, sequence }
}

/// A page that remembers, as the helper of the documentation does.
struct Remembering {
    page: Page,
    position: Value,
    heard: Vec<String>,
}

impl Remembering {
    async fn first(server: &Server) -> Self {
        let mut page = server.page().await;
        let succeeded = page.subscribe("orders").await;
        Self { page, position: succeeded["position"].clone(), heard: Vec::new() }
    }

    async fn hear(&mut self, count: usize) {
        for _ in 0..count {
            let found = self.page.expect("changed").await;
            self.heard.push(found["data"].as_str().unwrap().to_owned());
            self.position = found["position"].clone();
        }
    }

    /// Connects anew, and gives the event that says how it goes on.
    async fn again(&mut self, server: &Server) -> Value {
        self.page = server.page().await;
        self.page.resume(json!({ "orders": self.position })).await;
        let succeeded = self.page.subscribe("orders").await;
        assert_eq!(succeeded["position"], Value::Null, "it has not yet what it missed");
        self.page.next().await
    }
}

#[tokio::test]
async fn a_page_that_comes_back_gets_what_it_missed_exactly_once() {
    let server = Server::start(app()).await;
    let mut page = Remembering::first(&server).await;
    server.publish("orders", "changed", "1");
    page.hear(1).await;
    for round in 0..10_u32 {
        // It may go before it has heard everything that was on its way.
        server.publish("orders", "changed", &format!("{round}-sent"));
        page.page = server.page().await;
        server.publish("orders", "changed", &format!("{round}-missed"));
        let resumed = page.again(&server).await;
        assert_eq!(
            (&resumed["event"], &data(&resumed)["missed"]),
            (&json!("courant:resumed"), &json!(2))
        );
        server.publish("orders", "changed", &format!("{round}-live"));
        page.hear(3).await;
    }
    let expected: Vec<_> = std::iter::once("1".to_owned())
        .chain((0..10).flat_map(|n| ["sent", "missed", "live"].map(|what| format!("{n}-{what}"))))
        .collect();
    assert_eq!(page.heard, expected);
}

#[tokio::test]
async fn a_page_that_was_away_while_nobody_subscribed_gets_all_too() {
    let server = Server::start(app()).await;
    let mut page = Remembering::first(&server).await;
    page.page = server.page().await;
    server.has_connections(1).await;
    assert_eq!(server.publish("orders", "changed", "1"), Published::Sent { subscribers: 0 });
    assert_eq!(data(&page.again(&server).await)["missed"], 1);
    page.hear(1).await;
}

#[tokio::test]
async fn a_page_that_was_away_for_too_long_is_told_to_take_a_snapshot() {
    let server = Server::start(App { kept_messages_max: 3, ..app() }).await;
    let mut page = Remembering::first(&server).await;
    for n in 0..4 {
        server.publish("orders", "changed", &n.to_string());
    }
    let reset = page.again(&server).await;
    assert_eq!(reset["event"], "courant:reset");
    // From there on it may come back again.
    page.position = reset["position"].clone();
    server.publish("orders", "changed", "5");
    assert_eq!(page.again(&server).await["event"], "courant:resumed");
    page.hear(1).await;
    assert_eq!(page.heard, ["5"]);
}

#[tokio::test]
async fn positions_of_another_server_channel_or_nobody_lead_to_a_snapshot() {
    let (one, two) = (Server::start(app()).await, Server::start(app()).await);
    let mut page = Remembering::first(&one).await;
    assert_eq!(page.again(&two).await["event"], "courant:reset");
    page.position = Value::Null;
    assert_eq!(page.again(&two).await["event"], "courant:reset");
    page.page.resume(json!({ "other": "no position" })).await;
    page.page.expect("pusher:error").await;
}

#[tokio::test]
async fn pages_that_know_nothing_of_positions_see_the_plain_protocol() {
    let server = Server::start(app()).await;
    let mut page = server.page().await;
    page.subscribe("orders").await;
    server.publish_at("orders", "1", 1);
    let message = page.expect("changed").await;
    let fields: Vec<_> = message.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["event", "channel", "data", "position"]);
    page.expect_nothing().await;
}

#[tokio::test]
async fn what_was_published_already_is_not_published_again() {
    let server = Server::start(app()).await;
    let mut page = Remembering::first(&server).await;
    for sequence in [1, 2, 1, 2, 3] {
        server.publish_at("orders", &sequence.to_string(), sequence);
    }
    page.hear(3).await;
    page.page.expect_nothing().await;
    assert_eq!(page.heard, ["1", "2", "3"]);
    assert_eq!(server.publish_at("orders", "3", 3), Published::Repeated);
}

#[tokio::test]
async fn channels_that_nobody_needs_are_forgotten() {
    let server = Server::start(app()).await;
    let mut page = Remembering::first(&server).await;
    server.publish("orders", "changed", "1");
    page.hear(1).await;
    page.page = server.page().await;
    server.has_connections(1).await;
    assert!(server.push.load("shop").unwrap().1 > 0);
    server.clock.advance(std::time::Duration::from_millis(PUSH_KEPT_MS_DEFAULT + 1));
    crate::support::eventually(|| server.push.load("shop").unwrap().1 == 0).await;
    assert_eq!(page.again(&server).await["event"], "courant:reset");
}

/// A store's change log: what was committed, published or not.
#[derive(Debug, Default)]
struct Changes {
    committed: Mutex<Vec<String>>,
    forgotten: Mutex<bool>,
}

impl Changes {
    fn commit(&self, text: &str) -> u64 {
        let mut committed = self.committed.lock().unwrap();
        committed.push(text.to_owned());
        committed.len() as u64
    }
}

#[async_trait]
impl ResumeSource for Changes {
    async fn since(
        &self,
        app: &str,
        channel: &str,
        after: Option<Position>,
    ) -> Result<Resumption, SourceError> {
        assert_eq!((app, channel), ("shop", "orders"));
        if *self.forgotten.lock().unwrap() {
            return Err(SourceError("the disk is gone".into()));
        }
        let committed = self.committed.lock().unwrap();
        let head = at(committed.len() as u64);
        let Some(after) = after.filter(|after| after.generation == 1) else {
            let data = serde_json::to_string(&*committed).unwrap();
            return Ok(Resumption::Snapshot { data, head });
        };
        let missed = committed.iter().enumerate().skip(usize::try_from(after.sequence).unwrap());
        let message = |(n, text): (usize, &String)| Missed {
            event: "changed".into(),
            data: text.clone(),
            position: at(n as u64 + 1),
        };
        Ok(Resumption::Missed { messages: missed.map(message).collect(), head })
    }
}

async fn with_source() -> (Server, Arc<Changes>) {
    let changes = Arc::new(Changes::default());
    let source: Arc<dyn ResumeSource> = Arc::<Changes>::clone(&changes);
    (Server::with(vec![app()], Some(source)).await, changes)
}

#[tokio::test]
async fn after_a_restart_the_source_tells_what_was_missed_and_repeats_are_left_out() {
    let (server, changes) = with_source().await;
    let mut page = Remembering::first(&server).await;
    let first = changes.commit("1");
    server.publish_at("orders", "1", first);
    page.hear(1).await;
    drop(server);

    // Another process, the same store: two changes, one of them not yet published.
    let source: Arc<dyn ResumeSource> = Arc::<Changes>::clone(&changes);
    let server = Server::with(vec![app()], Some(source)).await;
    let second = changes.commit("2");
    server.publish_at("orders", "2", second);
    let third = changes.commit("3");
    assert_eq!(data(&page.again(&server).await)["missed"], 2);
    page.hear(2).await;
    server.publish_at("orders", "3", third);
    server.publish_at("orders", "4", changes.commit("4"));
    page.hear(1).await;
    assert_eq!(page.heard, ["1", "2", "3", "4"]);
    page.page.expect_nothing().await;
}

#[tokio::test]
async fn a_page_that_has_nothing_gets_a_snapshot_and_then_the_changes() {
    let (server, changes) = with_source().await;
    for text in ["1", "2"] {
        server.publish_at("orders", text, changes.commit(text));
    }
    let mut page = Remembering::first(&server).await;
    page.position = Value::Null;
    let snapshot = page.again(&server).await;
    assert_eq!(
        (&snapshot["event"], data(&snapshot)),
        (&json!("courant:snapshot"), json!(["1", "2"]))
    );
    page.position = snapshot["position"].clone();
    server.publish_at("orders", "3", changes.commit("3"));
    page.hear(1).await;
    // The snapshot's position is one to come back with.
    page.position = snapshot["position"].clone();
    page.again(&server).await;
    page.hear(1).await;
    assert_eq!(page.heard, ["3", "3"]);
}

#[tokio::test]
async fn a_past_that_is_too_large_leads_to_a_reset() {
    let (server, changes) = with_source().await;
    let mut page = Remembering::first(&server).await;
    page.position = Value::Null;
    changes.commit(&"x".repeat(PUSH_PAST_BYTES_MAX));
    assert_eq!(page.again(&server).await["event"], "courant:reset");
}

#[tokio::test]
async fn a_source_that_fails_leads_to_a_reset() {
    let (server, changes) = with_source().await;
    *changes.forgotten.lock().unwrap() = true;
    let mut page = Remembering::first(&server).await;
    page.position = Value::Null;
    assert_eq!(page.again(&server).await["event"], "courant:reset");
    server.publish("orders", "changed", "1");
    page.hear(1).await;
}

/// What happens to a channel that is fed from a store.
#[derive(Debug, Clone, Copy)]
enum Step {
    Commit,
    Publish,
    Repeat,
    Hear,
    Return,
    Restart,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_a_page_that_resumes_has_every_change_once_and_in_order(
        steps in proptest::collection::vec(prop_oneof![
            3 => Just(Step::Commit), 3 => Just(Step::Publish), 1 => Just(Step::Repeat),
            2 => Just(Step::Hear), 2 => Just(Step::Return), 1 => Just(Step::Restart),
        ], 1..60),
        kept_messages_max in 0_usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(lived_through(&steps, kept_messages_max));
    }
}

async fn lived_through(steps: &[Step], kept_messages_max: usize) {
    let changes = Arc::new(Changes::default());
    let start = || {
        let source: Arc<dyn ResumeSource> = Arc::<Changes>::clone(&changes);
        Server::with(vec![App { kept_messages_max, ..app() }], Some(source))
    };
    let mut server = start().await;
    let (mut committed, mut published) = (0, 0);
    let mut had: Vec<String> = Vec::new();
    // A page that has nothing begins with a snapshot.
    let mut page = server.page().await;
    let mut position = Value::Null;
    page.resume(json!({ "orders": null })).await;
    page.ask("orders", None).await;
    for step in steps {
        match step {
            Step::Commit => {
                committed += 1;
                changes.commit(&committed.to_string());
            }
            Step::Publish => {
                let next = changes.committed.lock().unwrap().get(published).cloned();
                if let Some(text) = next {
                    published += 1;
                    server.publish_at("orders", &text, published as u64);
                }
            }
            Step::Repeat => published = published.saturating_sub(2),
            Step::Hear => hear_all(&mut page, &mut position, &mut had).await,
            Step::Return | Step::Restart => {
                if matches!(step, Step::Restart) {
                    server = start().await;
                    published = published.saturating_sub(2);
                }
                page = server.page().await;
                page.resume(json!({ "orders": position })).await;
                page.ask("orders", None).await;
            }
        }
    }
    let all = changes.committed.lock().unwrap().clone();
    for (n, text) in all.iter().enumerate().skip(published) {
        server.publish_at("orders", text, n as u64 + 1);
    }
    hear_all(&mut page, &mut position, &mut had).await;
    assert_eq!(had, all);
}

/// Takes everything that was said so far.
async fn hear_all(page: &mut Page, position: &mut Value, had: &mut Vec<String>) {
    page.send(json!({ "event": "pusher:ping", "data": {} })).await;
    loop {
        let found = page.next().await;
        match found["event"].as_str().unwrap() {
            "pusher:pong" => return,
            "courant:snapshot" => *had = serde_json::from_value(data(&found)).unwrap(),
            "changed" => had.push(found["data"].as_str().unwrap().to_owned()),
            "courant:reset" => panic!("the source knows everything"),
            _ => {}
        }
        if !found["position"].is_null() {
            *position = found["position"].clone();
        }
    }
}
