//! Channels over an embedded history: numbering, resuming, restarts, lost places, and a
//! push server elsewhere that is away, takes and refuses.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use courant_model::{Clock, SystemClock};
use courant_pipeline::plan::{ChannelEvents, ChannelPlan};
use courant_push::{App, Missed, Outside, Position, Push, PushOptions, ResumeSource, Resumption};
use courant_stores::{
    CollectionSpec, EmbeddedHistory, Filter, History, HistoryOptions, HistoryWrite, ResumeToken,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    Channels, Outlet,
    journal::{Entry, Journal, Place},
};

/// A folder with a history, and channels that come and go.
struct Shop {
    folder: TempDir,
    history: EmbeddedHistory,
}

impl Shop {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history =
            EmbeddedHistory::open(folder.path().join("history"), HistoryOptions::default())
                .unwrap();
        let spec = CollectionSpec { name: "orders".into(), indexes: Vec::new() };
        history.ensure_collection(&spec).await.unwrap();
        Self { folder, history }
    }

    fn journal(&self) -> std::path::PathBuf {
        self.folder.path().join("push")
    }

    async fn put(&self, id: &str, customer: u64) {
        let document = json!({ "customer": customer, "n": id }).as_object().cloned().unwrap();
        let write = HistoryWrite::Upsert { id: id.into(), document, version: None };
        let written = self.history.write("orders", vec![write]).await.unwrap();
        written.into_iter().for_each(|one| assert!(one.unwrap().change.is_some()));
    }

    /// Runs the channels until their first has read so many changes.
    async fn run_until(&self, channels: &Channels, changes: u64) {
        let push = Push::new(PushOptions::new(vec![App::new("a", "k", "s")])).unwrap();
        self.push_until(channels, &Outlet::Here { push, app: "a".into() }, changes).await;
    }

    async fn push_until(&self, channels: &Channels, outlet: &Outlet, changes: u64) {
        let stop = CancellationToken::new();
        let reached = async {
            while channels.feeds[0].head().sequence < changes {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let both = async {
            tokio::join!(channels.run(&self.history, outlet, &SystemClock, &stop), reached)
        };
        tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    }
}

/// What a push server elsewhere was asked, batch by batch, and what it did not take.
#[derive(Debug, Default)]
struct Elsewhere {
    asked: usize,
    taken: Vec<String>,
}

/// Away for the first request; then takes all but batches with document 2.
async fn batch(
    State(elsewhere): State<Arc<Mutex<Elsewhere>>>,
    axum::Json(body): axum::Json<Value>,
) -> StatusCode {
    let mut elsewhere = elsewhere.lock();
    elsewhere.asked += 1;
    if elsewhere.asked == 1 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let events = body["batch"].as_array().unwrap().iter();
    let told: Vec<_> = events.map(|one| one["data"].as_str().unwrap().to_owned()).collect();
    if told.iter().any(|data| data.contains(r#""n":"2""#)) {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    elsewhere.taken.extend(told);
    StatusCode::OK
}

fn plan(name: &str) -> ChannelPlan {
    ChannelPlan {
        name: name.parse().unwrap(),
        collection: "orders".into(),
        events: ChannelEvents {
            insert: Some("New".into()),
            update: Some("Changed".into()),
            delete: None,
        },
        filter: Filter::All,
        data: vec!["n".into()],
    }
}

async fn open(folder: &Path, name: &str) -> Channels {
    Channels::open(folder.to_owned(), vec![plan(name)], &SystemClock).await.unwrap()
}

async fn missed(channels: &Channels, channel: &str, after: Position) -> Vec<Missed> {
    match channels.since("a", channel, Some(after)).await.unwrap() {
        Resumption::Missed { messages, head } => {
            assert_eq!(Some(head), channels.head("a", channel));
            messages
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn after_a_restart_every_change_has_its_message_once_and_its_number() {
    let shop = Shop::new().await;
    let channels = open(&shop.journal(), "orders").await;
    let start = channels.head("a", "orders").unwrap();
    shop.put("1", 7).await;
    shop.put("2", 7).await;
    shop.run_until(&channels, 2).await;
    drop(channels);
    shop.put("3", 7).await;
    let channels = open(&shop.journal(), "orders").await;
    assert_eq!(channels.head("a", "orders").unwrap().sequence, 2);
    shop.run_until(&channels, 3).await;
    let messages = missed(&channels, "orders", start).await;
    let told: Vec<_> =
        messages.iter().map(|one| (one.position.sequence, one.data.as_str())).collect();
    let expected = [
        (1, r#"{"_id":"1","n":"1"}"#),
        (2, r#"{"_id":"2","n":"2"}"#),
        (3, r#"{"_id":"3","n":"3"}"#),
    ];
    assert_eq!(told, expected);
    assert!(messages.iter().all(|one| one.position.generation == start.generation));
    let after_two = Position { sequence: 2, ..start };
    assert_eq!(missed(&channels, "orders", after_two).await.len(), 1);
}

#[tokio::test]
async fn a_change_that_is_read_again_has_the_same_number() {
    let shop = Shop::new().await;
    let channels = open(&shop.journal(), "orders").await;
    let start = channels.head("a", "orders").unwrap();
    shop.put("1", 7).await;
    shop.run_until(&channels, 1).await;
    drop(channels);
    let journal = Journal::open(shop.journal()).await.unwrap();
    let (older, _) = journal.load("orders").await.unwrap().unwrap();
    drop(journal);
    shop.put("2", 7).await;
    let channels = open(&shop.journal(), "orders").await;
    shop.run_until(&channels, 2).await;
    let first = missed(&channels, "orders", start).await;
    drop(channels);
    // As after a loss of power: the journal has forgotten its last write.
    let journal = Journal::open(shop.journal()).await.unwrap();
    let entry = Entry { place: older, messages: Vec::new(), forgotten: vec![2] };
    journal.add("orders", entry).await.unwrap();
    drop(journal);
    let channels = open(&shop.journal(), "orders").await;
    shop.run_until(&channels, 2).await;
    assert_eq!(missed(&channels, "orders", start).await, first);
}

#[tokio::test]
async fn a_page_hears_of_its_own_documents_only() {
    let shop = Shop::new().await;
    let channels = open(&shop.journal(), "private-orders.{customer}").await;
    let start = channels.feeds[0].head();
    shop.put("1", 7).await;
    shop.put("2", 8).await;
    shop.put("3", 7).await;
    shop.run_until(&channels, 3).await;
    let ids = |messages: Vec<Missed>| -> Vec<u64> {
        messages.iter().map(|one| one.position.sequence).collect()
    };
    assert_eq!(ids(missed(&channels, "private-orders.7", start).await), [1, 3]);
    assert_eq!(ids(missed(&channels, "private-orders.8", start).await), [2]);
    assert_eq!(channels.head("a", "orders"), None);
}

#[tokio::test]
async fn changes_from_before_a_channel_was_there_are_not_pushed() {
    let shop = Shop::new().await;
    shop.put("1", 7).await;
    let begun = SystemClock.now_micros();
    // The history's clock is the same one: it must have gone on for the next change.
    while SystemClock.now_micros() == begun {}
    let channels = open(&shop.journal(), "orders").await;
    let start = channels.head("a", "orders").unwrap();
    shop.put("2", 7).await;
    shop.run_until(&channels, 2).await;
    let messages = missed(&channels, "orders", start).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].data, r#"{"_id":"2","n":"2"}"#);
}

#[tokio::test]
async fn where_the_place_is_lost_numbers_begin_anew_and_pages_take_a_snapshot() {
    let shop = Shop::new().await;
    let journal = Journal::open(shop.journal()).await.unwrap();
    let token = Some(ResumeToken("of another collection".into()));
    let place = Place { generation: 1, sequence: 5, floor: 0, token, begun_micros: None };
    let entry = Entry { place, messages: Vec::new(), forgotten: Vec::new() };
    journal.add("orders", entry).await.unwrap();
    drop(journal);
    let channels = Arc::new(open(&shop.journal(), "orders").await);
    let lost = channels.head("a", "orders").unwrap();
    assert_eq!(lost, Position { generation: 1, sequence: 5 });
    let stop = CancellationToken::new();
    let push = Push::new(PushOptions::new(vec![App::new("a", "k", "s")])).unwrap();
    let outlet = Outlet::Here { push, app: "a".into() };
    let begun_anew = async {
        while channels.head("a", "orders").unwrap().generation == 1 {
            tokio::task::yield_now().await;
        }
        shop.put("1", 7).await;
        while channels.head("a", "orders").unwrap().sequence == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async {
        tokio::join!(channels.run(&shop.history, &outlet, &SystemClock, &stop), begun_anew)
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    let answer = channels.since("a", "orders", Some(lost)).await.unwrap();
    assert_eq!(answer, Resumption::Unknown);
    assert_eq!(channels.since("a", "orders", None).await.unwrap(), Resumption::Unknown);
}

#[tokio::test]
async fn a_server_elsewhere_is_waited_for_and_what_it_refuses_holds_back_nothing() {
    let shop = Shop::new().await;
    let elsewhere = Arc::new(Mutex::new(Elsewhere::default()));
    let router =
        Router::new().route("/apps/a/batch_events", post(batch)).with_state(Arc::clone(&elsewhere));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("pusher://k:s@{}/a", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let outside = Outside::new(url.parse().unwrap(), Arc::new(SystemClock)).unwrap();
    let outlet = Outlet::Outside(outside);
    let channels = open(&shop.journal(), "orders").await;
    for id in ["1", "2", "3"] {
        shop.put(id, 7).await;
    }
    shop.push_until(&channels, &outlet, 3).await;
    drop(channels);
    // The place is kept: what was taken is not published again.
    let channels = open(&shop.journal(), "orders").await;
    shop.put("4", 7).await;
    shop.push_until(&channels, &outlet, 4).await;
    let expected: Vec<_> =
        ["1", "3", "4"].map(|id| format!(r#"{{"_id":"{id}","n":"{id}"}}"#)).into();
    assert_eq!(elsewhere.lock().taken, expected);
}
