//! Random cases: a topology of Kafka Streams, the query that means the same, and records.
//!
//! Records come out of order, twice, and too late. Times are few and windows small, so that
//! the edges of windows, gaps and grace are met all the time.

use courant_sql::stream::{Emit, QueryOptions, Relation, RelationKind};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{Event, Random, relation};

/// The earliest time of a record; beyond what Kafka Streams treats as the beginning of time.
const BEGIN: i64 = 1_000_000;

/// Names of the inputs of every query.
pub(super) const INPUTS: [&str; 2] = ["a", "b"];

/// What one topology and one query are given.
#[derive(Debug)]
pub(crate) struct Case {
    /// What the judge is told.
    pub(crate) topology: Value,
    pub(crate) sql: String,
    /// Of the inputs by name.
    pub(crate) relations: Vec<(&'static str, Relation)>,
    pub(crate) options: QueryOptions,
    /// Every result is a row of its own; none changes another.
    pub(crate) appends: bool,
    pub(crate) events: Vec<Event>,
}

impl Case {
    pub(super) fn joins_tables(&self) -> bool {
        self.topology["kind"] == "table-table" || self.topology["kind"] == "foreign-key"
    }

    /// Whether Kafka Streams tells some results with a later record than the one that decides
    /// them: rows of an outer join of streams that met none.
    pub(super) fn is_told_sometime(&self) -> bool {
        self.topology["kind"] == "stream-stream" && self.topology["how"] != "inner"
    }
}

/// Windows of every kind, counted, summed and averaged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    Tumbling,
    Hopping,
    Sliding,
    Session,
}

/// A window with a random width and grace.
pub(crate) fn windowed(random: &mut Random, window: Window, emit: Emit) -> Case {
    let (width, slide, grace) =
        (2 + random.below(20), 1 + random.below(12), random.below(3) * random.below(12));
    let (mut topology, call) = match window {
        Window::Tumbling => {
            (json!({"kind": "tumbling", "size": width}), format!("tumble({})", interval(width)))
        }
        Window::Hopping => {
            let slide = slide.min(width);
            let call = format!("hop({}, {})", interval(slide), interval(width));
            (json!({"kind": "hopping", "size": width, "slide": slide}), call)
        }
        Window::Sliding => {
            (json!({"kind": "sliding", "size": width}), format!("sliding({})", interval(width)))
        }
        Window::Session => {
            (json!({"kind": "session", "gap": width}), format!("session({})", interval(width)))
        }
    };
    let events = match window {
        // In Kafka Streams a record that is late for some sliding windows is missing in later
        // ones too, which begin as copies of them. Here each open window counts it.
        Window::Sliding => events(random, &[number], |random| match random.below(4) {
            0 => width + grace + 1 + random.below(20),
            _ => random.below(grace + 1),
        }),
        // Few that go on with a closed session.
        Window::Session => events(random, &[number], around(grace)),
        Window::Tumbling | Window::Hopping => events(random, &[number], around(width + grace)),
    };
    topology["grace"] = grace.into();
    topology["final"] = (emit == Emit::Final).into();
    Case {
        topology,
        sql: format!(
            "SELECT k, window_start, window_end, count(*) AS count, sum(v) AS sum, avg(v) AS average \
             FROM a GROUP BY k, {call}"
        ),
        relations: vec![("a", relation(RelationKind::Stream, &["k: string", "v: int64"]))],
        options: QueryOptions { grace: millis(grace), emit, ..QueryOptions::default() },
        appends: false,
        events: ended(1, events),
    }
}

/// Groups that are never over.
pub(crate) fn updating(random: &mut Random) -> Case {
    Case {
        topology: json!({"kind": "updating"}),
        sql: "SELECT k, count(*) AS count, sum(v) AS sum, avg(v) AS average FROM a GROUP BY k"
            .to_owned(),
        relations: vec![("a", relation(RelationKind::Stream, &["k: string", "v: int64"]))],
        options: QueryOptions::default(),
        appends: false,
        events: events(random, &[number], around(20)),
    }
}

/// A table whose rows move from group to group.
pub(crate) fn counted_table(random: &mut Random) -> Case {
    Case {
        topology: json!({"kind": "counted-table"}),
        sql: "SELECT CAST(v % 10 AS string) AS k, count(*) AS count, sum(v) AS sum, avg(v) AS average \
              FROM a GROUP BY CAST(v % 10 AS string)"
            .to_owned(),
        relations: vec![("a", relation(RelationKind::Table, &["k: string", "v: int64"]))],
        options: QueryOptions::default(),
        appends: false,
        events: events(random, &[entry], around(20)),
    }
}

/// Makes the value of a record of an input.
pub(super) type Make = fn(&mut Random) -> Option<Value>;

/// Records of the inputs; a third is behind the newest by what `behind` says, and some come
/// twice.
pub(super) fn events(
    random: &mut Random,
    inputs: &[Make],
    behind: impl Fn(&mut Random) -> i64,
) -> Vec<Event> {
    let mut newest = BEGIN;
    let mut events: Vec<Event> = Vec::new();
    let count = 10 + random.below(60);
    while (events.len() as i64) < count {
        if let Some(last) = events.last().filter(|_| random.percent(8)) {
            let again = last.clone();
            events.push(again);
            continue;
        }
        let step = if random.percent(2) { 200 } else { random.below(5) };
        let timestamp = if random.percent(35) { newest - behind(random) } else { newest + step };
        newest = newest.max(timestamp);
        let input = random.below(inputs.len() as i64) as usize;
        events.push(Event {
            input: INPUTS[input],
            key: random.one_of(&["a", "b", "c"]).to_string(),
            value: inputs[input](random),
            timestamp,
        });
    }
    events
}

/// On time or late by less or more than so much.
pub(super) fn around(edge: i64) -> impl Fn(&mut Random) -> i64 {
    move |random| random.below(edge * 3 / 2 + 2)
}

/// The records, and one by which everything before it is over.
pub(super) fn ended(inputs: usize, mut events: Vec<Event>) -> Vec<Event> {
    for (input, later) in [(0, 1_000_000), (1 % inputs, 2_000_000)] {
        let (key, value) = ("z".to_owned(), Some(0.into()));
        events.push(Event { input: INPUTS[input], key, value, timestamp: BEGIN + later });
    }
    events
}

/// The value of a record of a stream.
pub(super) fn number(random: &mut Random) -> Option<Value> {
    Some(random.below(100).into())
}

/// The value of a record of a table, of which some delete.
pub(super) fn entry(random: &mut Random) -> Option<Value> {
    if random.percent(25) { None } else { number(random) }
}

pub(super) fn interval(millis: i64) -> String {
    format!("INTERVAL '{millis} milliseconds'")
}

pub(super) fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}
