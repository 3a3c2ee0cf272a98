//! Nexmark: auctions, bids and people, and what its queries say of them computed by hand.
//!
//! `COURANT_NEXMARK_EVENTS` events (default 20,000) of the generator that the streaming
//! databases use. q6 is not here: it averages over the last ten rows before each row
//! (`OVER … ROWS 10 PRECEDING`), which no view does; Flink SQL does not run it either.

use std::collections::{BTreeMap, BTreeSet};

use courant_sql::stream::{QueryOptions, Relation, RelationKind};
use nexmark::{
    EventGenerator,
    config::NexmarkConfig,
    event::{Auction, Bid, Event as Happening, Person},
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

/// What happened, by kind and in order.
struct History {
    all: Vec<Happening>,
    people: Vec<Person>,
    auctions: Vec<Auction>,
    bids: Vec<Bid>,
}

impl History {
    fn new() -> Self {
        let count = setting("COURANT_NEXMARK_EVENTS", 20_000).unsigned_abs() as usize;
        let config = NexmarkConfig {
            base_time: BEGIN,
            first_rate: RATE,
            next_rate: RATE,
            ..NexmarkConfig::default()
        };
        let all: Vec<Happening> = EventGenerator::new(config).take(count).collect();
        let (mut people, mut auctions, mut bids) = (Vec::new(), Vec::new(), Vec::new());
        for happening in all.iter().cloned() {
            match happening {
                Happening::Person(person) => people.push(person),
                Happening::Auction(auction) => auctions.push(auction),
                Happening::Bid(bid) => bids.push(bid),
            }
        }
        Self { all, people, auctions, bids }
    }
}

#[test]
fn q0_passes_bids_on() {
    let expected = History::new().bids.iter().map(bid).collect();
    check(expected, "SELECT auction, bidder, price, date_time FROM bid", &[]);
}

#[test]
fn q1_converts_currency() {
    let all = History::new().bids;
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
    let all = History::new().bids;
    let selected = all.iter().filter(|bid| bid.auction % 123 == 0);
    let expected = selected.map(|bid| json!({"auction": bid.auction, "price": bid.price}));
    check(expected.collect(), "SELECT auction, price FROM bid WHERE auction % 123 = 0", &[]);
}

#[test]
fn q3_joins_people_with_what_they_sell() {
    let history = History::new();
    let people: BTreeMap<_, _> = history.people.iter().map(|person| (person.id, person)).collect();
    let sold = history.auctions.iter().filter(|auction| auction.category == 10);
    let expected = sold.filter_map(|auction| {
        let person = people.get(&auction.seller)?;
        ["or", "id", "ca"].contains(&person.state.as_str()).then(|| {
            let Person { name, city, state, .. } = person;
            json!({"name": name, "city": city, "state": state, "id": auction.id})
        })
    });
    let sql = "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id \
               WHERE a.category = 10 AND p.state IN ('or', 'id', 'ca')";
    check(expected.collect(), sql, &["auction", "person"]);
}

#[test]
fn q4_averages_the_prices_of_categories() {
    let history = History::new();
    let mut best: BTreeMap<usize, usize> = BTreeMap::new();
    let auctions: BTreeMap<_, _> =
        history.auctions.iter().map(|auction| (auction.id, auction)).collect();
    for bid in &history.bids {
        let Some(auction) = auctions.get(&bid.auction) else { continue };
        if (auction.date_time..=auction.expires).contains(&bid.date_time) {
            let price = best.entry(bid.auction).or_default();
            *price = bid.price.max(*price);
        }
    }
    let mut categories: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (auction, price) in best {
        categories.entry(auctions[&auction].category).or_default().push(price);
    }
    let expected = categories.iter().map(|(category, prices)| {
        let average = prices.iter().sum::<usize>() as f64 / prices.len() as f64;
        json!({"category": category, "average": average})
    });
    let sql = "SELECT category, avg(final) AS average FROM ( \
                 SELECT a.id, a.category, max(b.price) AS final FROM bid b JOIN auction a ON b.auction = a.id \
                 WHERE b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id, a.category \
               ) GROUP BY category";
    check(expected.collect(), sql, &["auction"]);
}

#[test]
fn q5_finds_the_hot_items() {
    let mut counts: BTreeMap<u64, BTreeMap<usize, u64>> = BTreeMap::new();
    for bid in &History::new().bids {
        let last = bid.date_time / 2_000 * 2_000;
        for back in 0..5 {
            *counts.entry(last - back * 2_000).or_default().entry(bid.auction).or_default() += 1;
        }
    }
    let expected = counts.iter().flat_map(|(start, counts)| {
        let most = counts.values().max().copied();
        let hot = counts.iter().filter(move |(_, count)| Some(**count) == most);
        hot.map(move |(auction, count)| {
            json!({"window_start": time(*start), "auction": auction, "num": count})
        })
    });
    let sql = "WITH counts AS ( \
                 SELECT auction, window_start, count(*) AS num FROM bid \
                 GROUP BY auction, hop(INTERVAL '2 seconds', INTERVAL '10 seconds')) \
               SELECT c.window_start, c.auction, c.num FROM counts c \
               JOIN (SELECT window_start AS start, max(num) AS most FROM counts GROUP BY window_start) m \
               ON c.window_start = m.start AND c.num = m.most";
    check(expected.collect(), sql, &[]);
}

#[test]
fn q7_finds_the_highest_bids() {
    let mut highest: BTreeMap<u64, usize> = BTreeMap::new();
    let bids = History::new().bids;
    let window = |bid: &Bid| bid.date_time / 10_000 * 10_000;
    for bid in &bids {
        let price = highest.entry(window(bid)).or_default();
        *price = bid.price.max(*price);
    }
    let winners = bids.iter().filter(|bid| highest[&window(bid)] == bid.price);
    let expected = winners.map(|bid| {
        let Bid { auction, bidder, price, .. } = bid;
        json!({"auction": auction, "bidder": bidder, "price": price, "window_start": time(window(bid))})
    });
    let sql = "SELECT first_value(auction ORDER BY price DESC) AS auction, \
                 first_value(bidder ORDER BY price DESC) AS bidder, max(price) AS price, window_start \
               FROM bid GROUP BY tumble(INTERVAL '10 seconds')";
    check(expected.collect(), sql, &[]);
}

#[test]
fn q8_finds_new_people_who_sell() {
    let history = History::new();
    let window = |time: u64| time / 10_000 * 10_000;
    let sellers: BTreeSet<_> =
        history.auctions.iter().map(|sold| (sold.seller, window(sold.date_time))).collect();
    let new = history
        .people
        .iter()
        .filter(|person| sellers.contains(&(person.id, window(person.date_time))));
    let expected = new.map(|person| {
        json!({"id": person.id, "name": person.name, "starttime": time(window(person.date_time))})
    });
    let sql = "SELECT p.id, p.name, p.starttime, p.endtime, a.seller, a.opened, a.closed FROM \
                 (SELECT id, name, window_start AS starttime, window_end AS endtime FROM person \
                  GROUP BY id, name, tumble(INTERVAL '10 seconds')) p \
               JOIN (SELECT seller, window_start AS opened, window_end AS closed FROM auction \
                  GROUP BY seller, tumble(INTERVAL '10 seconds')) a \
               ON p.id = a.seller AND p.starttime = a.opened";
    check(expected.collect(), sql, &[]);
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
    let events: Vec<Event> = History::new().all.iter().map(event).collect();
    let mut found = engine.results(&events);
    // What identifies a result is in it, too; the query has not asked for that.
    for row in found.iter_mut().filter_map(Value::as_object_mut) {
        row.retain(|name, _| expected[0].get(name).is_some());
    }
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
