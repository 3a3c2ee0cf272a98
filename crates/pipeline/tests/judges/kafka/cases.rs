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

/// Windows of every kind, counted, summed and averaged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    Tumbling,
    Hopping,
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
        events: events(random, &[number], width + grace),
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
        events: events(random, &[number], 20),
    }
}

/// Makes the value of a record of an input.
pub(super) type Make = fn(&mut Random) -> Option<Value>;

/// Records of the inputs, of which about a third is out of order by up to `disorder` and
/// beyond.
pub(super) fn events(random: &mut Random, inputs: &[Make], disorder: i64) -> Vec<Event> {
    let mut now = BEGIN;
    let mut events: Vec<Event> = Vec::new();
    let count = 10 + random.below(60);
    while (events.len() as i64) < count {
        now += random.below(5);
        if random.percent(2) {
            now += 10 * disorder;
        }
        if let Some(last) = events.last().filter(|_| random.percent(8)) {
            let again = last.clone();
            events.push(again);
            continue;
        }
        let input = random.below(inputs.len() as i64) as usize;
        let late = if random.percent(35) { random.below(disorder * 3 / 2 + 2) } else { 0 };
        events.push(Event {
            input: INPUTS[input],
            key: random.one_of(&["a", "b", "c"]).to_string(),
            value: inputs[input](random),
            timestamp: now - late,
        });
    }
    events
}

/// The value of a record of a stream.
pub(super) fn number(random: &mut Random) -> Option<Value> {
    Some(random.below(100).into())
}

pub(super) fn interval(millis: i64) -> String {
    format!("INTERVAL '{millis} milliseconds'")
}

pub(super) fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}
