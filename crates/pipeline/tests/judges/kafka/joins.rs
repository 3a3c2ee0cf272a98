//! Random joins.

use courant_sql::stream::{QueryOptions, Relation, RelationKind};
use serde_json::{Value, json};

use super::cases::{Case, INPUTS, Make, around, ended, entry, events, interval, millis, number};
use crate::support::{Random, relation};

/// What stands on the two sides of a join.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Join {
    Streams,
    StreamTable,
    Tables,
    ForeignKey,
}

/// A join: `inner`, `left` or `full`.
pub(crate) fn join(random: &mut Random, join: Join, how: &str) -> Case {
    let (before, after, grace) = (random.below(12), random.below(12), 1 + random.below(10));
    let outer = if how == "full" { "outer" } else { how };
    let both = ["k: string", "v: int64"];
    let stream = || relation(RelationKind::Stream, &both);
    let keyed = |relation: Relation| Relation { key: vec!["k".to_owned()], ..relation };
    let table = || keyed(relation(RelationKind::Table, &both));
    let (topology, on, relations, makes): (_, _, _, [Make; 2]) = match join {
        Join::Streams => (
            json!({"kind": "stream-stream", "how": outer, "before": before, "after": after, "grace": grace}),
            format!(
                "a.k = b.k AND b._timestamp BETWEEN a._timestamp - {} AND a._timestamp + {}",
                interval(before),
                interval(after)
            ),
            [stream(), stream()],
            [number, number],
        ),
        Join::StreamTable => (
            json!({"kind": "stream-table", "how": outer}),
            "a.k = b.k".to_owned(),
            [stream(), table()],
            [number, entry],
        ),
        Join::Tables => (
            json!({"kind": "table-table", "how": outer}),
            "a.k = b.k".to_owned(),
            [table(), table()],
            [entry, entry],
        ),
        Join::ForeignKey => (
            json!({"kind": "foreign-key", "how": outer}),
            "a.of = b.k".to_owned(),
            [
                keyed(relation(RelationKind::Table, &["k: string", "of: string", "v: int64"])),
                table(),
            ],
            [referring, entry],
        ),
    };
    let events = match join {
        // Kafka Streams also joins what is late, as far as its stores still have it, and tells
        // a row alone while the grace lasts, if it comes after its interval.
        Join::Streams => {
            let least = before.min(after).min(grace).max(1);
            ended(2, events(random, &makes, |random| random.below(least)))
        }
        Join::StreamTable | Join::Tables | Join::ForeignKey => events(random, &makes, around(20)),
    };
    // What identifies a row of two joined tables is both keys.
    let columns = match (join, how) {
        (Join::Tables, _) => "coalesce(a.k, b.k) AS k, a.k AS ka, b.k AS kb",
        (_, "full") => "coalesce(a.k, b.k) AS k",
        _ => "a.k AS k",
    };
    Case {
        topology,
        sql: format!("SELECT {columns}, a.v AS l, b.v AS r FROM a {how} JOIN b ON {on}"),
        relations: INPUTS.into_iter().zip(relations).collect(),
        options: QueryOptions { grace: millis(grace), ..QueryOptions::default() },
        appends: matches!(join, Join::Streams | Join::StreamTable),
        events,
    }
}

/// A row that names a key of the other input, or none.
fn referring(random: &mut Random) -> Option<Value> {
    let of = *random.one_of(&[Some("a"), Some("b"), Some("c"), None]);
    (!random.percent(15)).then(|| json!({"of": of, "v": random.below(100)}))
}
