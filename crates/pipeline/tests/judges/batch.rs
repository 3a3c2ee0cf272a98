//! SQLite as the judge: what a view says in the end is what a batch query says of all the
//! records that were not late.
//!
//! `COURANT_VIEWS_RECORDS` records (default 20,000), of which a half is out of order, some
//! come twice and some too late. Lateness is computed here, by the rule in `docs/views.md`.

use std::collections::BTreeMap;

use courant_sql::stream::{Emit, QueryOptions, RelationKind};
use rusqlite::{Connection, Row as SqlRow, params};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{Engine, Event, Random, Row, millis, relation, setting};

/// The time of the first record.
const BEGIN: i64 = 1_700_000_000_000;

/// Milliseconds by which the watermark stays behind.
const LATENESS: i64 = 1_000;

/// Milliseconds for which a window still takes rows.
const GRACE: i64 = 500;

/// What every window computes of its rows.
const TOTALS: &str = "count(*) AS count, sum(v) AS sum, avg(v) AS average, min(v) AS least, \
                      max(v) AS largest, count(DISTINCT v) AS different";

/// How far a record is behind the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disorder {
    /// Anything around the edge of being late.
    Any,
    /// In bursts of each key; on time, or more than a burst late.
    Bursts,
}

#[test]
fn tumbling_windows_end_as_a_batch_query_says() {
    let sql = format!(
        "SELECT k, ts / 5000 * 5000 AS start, ts / 5000 * 5000 + 5000 AS end, {TOTALS} \
         FROM events WHERE ts / 5000 * 5000 + 5000 + {GRACE} > watermark GROUP BY 1, 2"
    );
    compare("tumble(INTERVAL '5 seconds')", Disorder::Any, &sql);
}

#[test]
fn hopping_windows_end_as_a_batch_query_says() {
    let sql = format!(
        "WITH hops AS (SELECT value AS back FROM json_each('[0, 1, 2, 3]')), \
         windows AS (SELECT *, (ts / 1500 - back) * 1500 AS start FROM events, hops) \
         SELECT k, start, start + 5000 AS end, {TOTALS} FROM windows \
         WHERE start + 5000 > ts AND start + 5000 + {GRACE} > watermark GROUP BY 1, 2"
    );
    compare("hop(INTERVAL '1500 milliseconds', INTERVAL '5 seconds')", Disorder::Any, &sql);
}

#[test]
fn sliding_windows_end_as_a_batch_query_says() {
    let sql = format!(
        "WITH timely AS (SELECT * FROM events WHERE ts + 50 + {GRACE} >= watermark), \
         windows AS (SELECT k, ts - 50 AS start FROM timely WHERE ts + {GRACE} >= watermark \
           UNION SELECT k, ts + 1 FROM timely) \
         SELECT w.k, start, start + 50 AS end, {TOTALS} \
         FROM windows w JOIN events e ON e.k = w.k AND e.ts BETWEEN start AND start + 50 \
           AND start + 50 + {GRACE} >= watermark \
         GROUP BY 1, 2"
    );
    compare("sliding(INTERVAL '50 milliseconds')", Disorder::Any, &sql);
}

#[test]
fn sessions_end_as_a_batch_query_says() {
    let sql = format!(
        "WITH timely AS (SELECT * FROM events WHERE ts + 20 + {GRACE} > watermark), \
         steps AS (SELECT *, ts - lag(ts) OVER (PARTITION BY k ORDER BY ts) AS step FROM timely), \
         sessions AS (SELECT *, sum(step IS NULL OR step > 20) \
           OVER (PARTITION BY k ORDER BY ts ROWS UNBOUNDED PRECEDING) AS session FROM steps) \
         SELECT k, min(ts) AS start, max(ts) + 20 AS end, {TOTALS} \
         FROM sessions GROUP BY k, session"
    );
    compare("session(INTERVAL '20 milliseconds')", Disorder::Bursts, &sql);
}

#[test]
fn streams_join_as_a_batch_query_says() {
    // The later one comes while the other still waits.
    let on = format!(
        "l.k = r.k AND r.ts BETWEEN l.ts - 40 AND l.ts + 60 \
         AND min(l.ts + 60, r.ts + 40) + {GRACE} >= max(l.watermark, r.watermark)"
    );
    let timely = format!(
        "SELECT *, ts + CASE WHEN v % 2 = 0 THEN 60 ELSE 40 END + {GRACE} >= watermark AS timely \
         FROM events"
    );
    let side = |even: i64| format!("(SELECT * FROM ({timely}) WHERE timely AND v % 2 = {even})");
    let (left, right) = (side(0), side(1));
    for how in ["INNER", "LEFT"] {
        let sql = format!(
            "SELECT l.k, l.ts, l.v, r.k, r.ts, r.v FROM {left} l {how} JOIN {right} r ON {on}"
        );
        let expected = pairs(&events(Disorder::Any), &sql);
        let found = joined(how, "evens", "odds", &events(Disorder::Any));
        let differ = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        assert!(
            expected == found,
            "{how}: {} expected, {} found, first {differ:?}",
            expected.len(),
            found.len()
        );
        println!("{how}: {} pairs, the same", found.len());
    }
}

/// Key, time and value of both rows of a pair.
type Side = Option<(String, i64, i64)>;

/// What SQLite says of the pairs, sorted.
fn pairs(events: &[Event], sql: &str) -> Vec<(Side, Side)> {
    let database = Connection::open_in_memory().expect("SQLite opens");
    load(&database, events);
    let mut query = database.prepare(sql).expect("a query");
    let side = |row: &SqlRow<'_>, at: usize| -> rusqlite::Result<Side> {
        let Some(key) = row.get(at)? else { return Ok(None) };
        Ok(Some((key, row.get(at + 1)?, row.get(at + 2)?)))
    };
    let rows = query.query_map([], |row| Ok((side(row, 0)?, side(row, 3)?))).expect("it runs");
    let mut pairs: Vec<_> = rows.collect::<Result<_, _>>().expect("rows");
    pairs.sort();
    pairs
}

/// What the view says of the pairs, sorted: the even values and the odd ones are a stream each.
fn joined(
    how: &str,
    left: &'static str,
    right: &'static str,
    events: &[Event],
) -> Vec<(Side, Side)> {
    let sql = format!(
        "SELECT l.k AS lk, l._timestamp AS lt, l.v AS lv, r.k AS rk, r._timestamp AS rt, r.v AS rv \
         FROM {left} l {how} JOIN {right} r ON l.k = r.k AND r._timestamp BETWEEN \
         l._timestamp - INTERVAL '40 milliseconds' AND l._timestamp + INTERVAL '60 milliseconds'"
    );
    let grace = Duration::from_millis(GRACE.unsigned_abs());
    let options = QueryOptions { grace, ..QueryOptions::default() };
    let stream = || relation(RelationKind::Stream, &["k: string", "v: int64"]);
    let relations = [(left, stream()), (right, stream())];
    let mut engine = Engine::new(&sql, &relations, &options).with_lateness(LATENESS);
    let is_even =
        |event: &Event| event.value.as_ref().and_then(Value::as_i64).is_some_and(|v| v % 2 == 0);
    let events: Vec<Event> = events
        .iter()
        .map(|event| Event { input: if is_even(event) { left } else { right }, ..event.clone() })
        .collect();
    let mut rows = Vec::new();
    for batch in events.chunks(1_000) {
        rows.extend(engine.push(&batch.iter().collect::<Vec<_>>()));
    }
    rows.extend(engine.end());
    let side = |row: &Value, of: char| {
        let field = |name: char| &row[format!("{of}{name}")];
        let key = field('k').as_str()?.to_owned();
        let time = millis(field('t').as_str().expect("a time"));
        Some((key, time, field('v').as_i64().expect("a number")))
    };
    let mut pairs: Vec<_> = rows
        .iter()
        .map(|row| row.value.as_ref().expect("pairs are appended"))
        .map(|row| (side(row, 'l'), side(row, 'r')))
        .collect();
    pairs.sort();
    pairs
}

/// Runs the records through the window in both emit modes, and through SQLite.
fn compare(window: &str, disorder: Disorder, sql: &str) {
    let events = events(disorder);
    let expected = batch(&events, sql);
    assert!(expected.len() > 100, "{} windows", expected.len());
    for emit in [Emit::Changes, Emit::Final] {
        let found = streamed(window, emit, &events);
        differ(&expected, &found, &format!("{window}, {emit:?}"));
    }
    println!("{} records, {} windows, the same", events.len(), expected.len());
}

/// Rows by key and window.
type Results = BTreeMap<(String, i64, i64), Value>;

/// Says the first few differences.
fn differ(expected: &Results, found: &Results, what: &str) {
    let keys = expected.keys().chain(found.keys());
    let mut different: Vec<_> = keys.filter(|key| expected.get(key) != found.get(key)).collect();
    different.dedup();
    let told: Vec<_> = different
        .iter()
        .take(5)
        .map(|key| format!("{key:?}: expected {:?}, found {:?}", expected.get(key), found.get(key)))
        .collect();
    assert!(different.is_empty(), "{what}: {} differ\n{}", different.len(), told.join("\n"));
}

/// What the view says after the last watermark.
fn streamed(window: &str, emit: Emit, events: &[Event]) -> Results {
    let sql =
        format!("SELECT k, window_start, window_end, {TOTALS} FROM events GROUP BY k, {window}");
    let grace = Duration::from_millis(GRACE.unsigned_abs());
    let options = QueryOptions { grace, emit, ..QueryOptions::default() };
    let relations = [("events", relation(RelationKind::Stream, &["k: string", "v: int64"]))];
    let mut engine = Engine::new(&sql, &relations, &options).with_lateness(LATENESS);
    let mut random = Random::from_seed(7);
    let (mut results, mut rest) = (Results::new(), events);
    while !rest.is_empty() {
        let size = (1 + random.below(5_000)) as usize;
        let (batch, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        take(engine.push(&batch.iter().collect::<Vec<_>>()), emit, &mut results);
    }
    take(engine.end(), emit, &mut results);
    results
}

/// Takes changes in; a final result comes once and never goes.
fn take(rows: Vec<Row>, emit: Emit, results: &mut Results) {
    for Row { key, window, value, .. } in rows {
        let (start, end) = window.expect("a window");
        let key = (key, start, end);
        let old = match value {
            Some(mut value) => {
                for name in ["k", "window_start", "window_end"] {
                    value.as_object_mut().expect("a row").shift_remove(name);
                }
                results.insert(key, value)
            }
            None => {
                assert_eq!(emit, Emit::Changes, "a final result goes");
                results.remove(&key)
            }
        };
        assert!(emit == Emit::Changes || old.is_none(), "a final result comes twice");
    }
}

/// What SQLite says of all the records.
fn batch(events: &[Event], sql: &str) -> Results {
    let database = Connection::open_in_memory().expect("SQLite opens");
    load(&database, events);
    let mut query = database.prepare(sql).expect("a query");
    let rows = query.query_map([], result).expect("it runs");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn result(row: &SqlRow<'_>) -> rusqlite::Result<((String, i64, i64), Value)> {
    let totals = json!({
        "count": row.get::<_, i64>("count")?,
        "sum": row.get::<_, i64>("sum")?,
        "average": row.get::<_, f64>("average")?,
        "least": row.get::<_, i64>("least")?,
        "largest": row.get::<_, i64>("largest")?,
        "different": row.get::<_, i64>("different")?,
    });
    Ok(((row.get("k")?, row.get("start")?, row.get("end")?), totals))
}

/// Fills the table `events`, each with the watermark at it.
fn load(database: &Connection, events: &[Event]) {
    let table = "CREATE TABLE events (k TEXT, v INTEGER, ts INTEGER, watermark INTEGER)";
    database.execute_batch(table).expect("a table");
    database.execute_batch("BEGIN").expect("a transaction");
    let mut insert =
        database.prepare("INSERT INTO events VALUES (?, ?, ?, ?)").expect("a statement");
    let mut largest = i64::MIN;
    for event in events {
        largest = largest.max(event.timestamp);
        let value = event.value.as_ref().and_then(Value::as_i64);
        let row = params![event.key, value, event.timestamp, largest - LATENESS];
        insert.execute(row).expect("a row");
    }
    database.execute_batch("CREATE INDEX by_key ON events (k, ts)").expect("an index");
    database.execute_batch("COMMIT").expect("it commits");
}

/// Records, one a millisecond.
fn events(disorder: Disorder) -> Vec<Event> {
    let count = setting("COURANT_VIEWS_RECORDS", 20_000);
    let mut random = Random::from_seed(setting("COURANT_VIEWS_SEED", 1).unsigned_abs());
    let mut events: Vec<Event> = Vec::new();
    for at in 0..count {
        if random.percent(4) && at > 100 {
            let again = events[(at - 1 - random.below(100)) as usize].clone();
            events.push(again);
            continue;
        }
        let (key, timestamp) = match disorder {
            Disorder::Any => (random.below(40), BEGIN + at - behind(&mut random)),
            Disorder::Bursts => burst(&mut random, BEGIN + at),
        };
        let value = Some(random.below(1_000).into());
        events.push(Event { input: "events", key: format!("key-{key}"), value, timestamp });
    }
    events
}

/// Milliseconds behind the newest record: half of them none, most less than two seconds.
fn behind(random: &mut Random) -> i64 {
    match random.below(100) {
        0..50 => 0,
        50..97 => random.below(2_000),
        _ => random.below(60_000),
    }
}

/// A key that is in its burst at this time, and a time within lateness and grace; or one whole
/// rounds of bursts ago.
fn burst(random: &mut Random, now: i64) -> (i64, i64) {
    const BURST: i64 = 500;
    const TURNS: i64 = 20;
    let key = random.below(10) * TURNS + now / BURST % TURNS;
    let behind = random.below(LATENESS + GRACE).min(now % BURST);
    let ago = if random.percent(3) { (1 + random.below(3)) * TURNS * BURST } else { 0 };
    (key, now - behind - ago)
}
