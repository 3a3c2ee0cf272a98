//! Nexmark: auctions, bids and people, and what its queries say of them computed by hand.
//!
//! `COURANT_NEXMARK_EVENTS` events (default 20,000) of the generator that the streaming
//! databases use. q6 is not here: it averages over the last ten rows before each row
//! (`OVER … ROWS 10 PRECEDING`), which no view does; Flink SQL does not run it either.

use courant_sql::stream::{QueryOptions, Relation, RelationKind};
use nexmark::{
    EventGenerator,
    config::NexmarkConfig,
    event::{Bid, Event as Happening},
};
use serde_json::{Value, json};

use crate::support::{Engine, Event, relation, setting};

/// The time of the first event.
const BEGIN: u64 = 1_700_000_000_000;

/// Events of a second.
const RATE: usize = 500;

const BIDS: [&str; 7] = [
    "auction: int64",
    "bidder: int64",
    "price: int64",
    "channel: string",
    "url: string",
    "date_time: timestamp",
    "extra: string",
];

const AUCTIONS: [&str; 10] = [
    "id: int64",
    "item_name: string",
    "description: string",
    "initial_bid: int64",
    "reserve: int64",
    "date_time: timestamp",
    "expires: timestamp",
    "seller: int64",
    "category: int64",
    "extra: string",
];

const PEOPLE: [&str; 8] = [
    "id: int64",
    "name: string",
    "email_address: string",
    "credit_card: string",
    "city: string",
    "state: string",
    "date_time: timestamp",
    "extra: string",
];

/// What happened, in order.
fn history() -> Vec<Happening> {
    let count = setting("COURANT_NEXMARK_EVENTS", 20_000).unsigned_abs() as usize;
    let config = NexmarkConfig {
        base_time: BEGIN,
        first_rate: RATE,
        next_rate: RATE,
        ..NexmarkConfig::default()
    };
    EventGenerator::new(config).take(count).collect()
}

fn bids() -> Vec<Bid> {
    let bid = |happening| if let Happening::Bid(bid) = happening { Some(bid) } else { None };
    history().into_iter().filter_map(bid).collect()
}

#[test]
fn q0_passes_bids_on() {
    let expected = bids().iter().map(bid).collect();
    check(expected, "SELECT auction, bidder, price, date_time FROM bid", &[]);
}

#[test]
fn q1_converts_currency() {
    let all = bids();
    let converted = all.iter().map(|sold| {
        let mut row = bid(sold);
        row["price"] = (0.908 * sold.price as f64).into();
        row
    });
    let sql = "SELECT auction, bidder, 0.908 * price AS price, date_time FROM bid";
    check(converted.collect(), sql, &[]);
}

#[test]
fn q2_selects_auctions() {
    let all = bids();
    let selected = all.iter().filter(|bid| bid.auction % 123 == 0);
    let expected = selected.map(|bid| json!({"auction": bid.auction, "price": bid.price}));
    check(expected.collect(), "SELECT auction, price FROM bid WHERE auction % 123 = 0", &[]);
}

fn bid(bid: &Bid) -> Value {
    let Bid { auction, bidder, price, date_time, .. } = bid;
    json!({"auction": auction, "bidder": bidder, "price": price, "date_time": time(*date_time)})
}

/// Milliseconds as results tell a time.
fn time(millis: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis as i64).expect("a time of our days");
    if millis.is_multiple_of(1_000) { time.to_string() } else { format!("{time:.3}") }
}

/// Runs a query on what happened and compares what it says in the end, in any order.
fn check(mut expected: Vec<Value>, sql: &str, tables: &[&str]) {
    let topic = |name: &'static str, columns: &[&str]| {
        let table = tables.contains(&name);
        let kind = if table { RelationKind::Table } else { RelationKind::Stream };
        let relation = relation(kind, columns);
        let key = if table { vec!["id".to_owned()] } else { Vec::new() };
        (name, Relation { key, event_time: Some("date_time".to_owned()), ..relation })
    };
    let relations = [topic("bid", &BIDS), topic("auction", &AUCTIONS), topic("person", &PEOPLE)];
    let mut engine = Engine::new(sql, &relations, &QueryOptions::default());
    let events: Vec<Event> = history().iter().map(event).collect();
    let mut found = engine.results(&events);
    let text = Value::to_string;
    expected.sort_by_key(text);
    found.sort_by_key(text);
    assert!(!expected.is_empty());
    assert_eq!(found.len(), expected.len(), "{sql}");
    assert_eq!(found, expected, "{sql}");
}

/// What happened as a record of the topic of its kind; the order is that of the topics.
fn event(happening: &Happening) -> Event {
    let (input, key, value) = match happening {
        Happening::Bid(bid) => ("bid", bid.auction, serde_json::to_value(bid)),
        Happening::Auction(auction) => ("auction", auction.id, serde_json::to_value(auction)),
        Happening::Person(person) => ("person", person.id, serde_json::to_value(person)),
    };
    Event {
        input,
        key: key.to_string(),
        value: Some(value.expect("JSON")),
        timestamp: happening.timestamp() as i64,
    }
}
