//! Rows by chance, out of order, repeated and late, in batches cut by chance: the results are
//! those of a plain recomputation, row by row, for every window, grace and way to emit.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::support::{Bench, changes, compile, last};

/// A row by chance: key, value, milliseconds.
type Given = (usize, i64, i64);

/// Rows of a result: key, start and end of the window in milliseconds → count and sum.
type Expected = BTreeMap<(String, i64, i64), (i64, i64)>;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Hop { slide: i64, width: i64 },
    Session { gap: i64 },
    Sliding { width: i64 },
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (1..20_i64).prop_map(|width| Kind::Hop { slide: width, width }),
        (1..8_i64, 1..20_i64).prop_map(|(slide, width)| Kind::Hop { slide, width }),
        (1..12_i64).prop_map(|gap| Kind::Session { gap }),
        (1..12_i64).prop_map(|width| Kind::Sliding { width }),
    ]
}

/// Times mostly go on, now and then far back.
fn rows() -> impl Strategy<Value = Vec<Given>> {
    let row = (0..KEYS.len(), -3..10_i64, prop_oneof![4 => 0..12_i64, 1 => 0..60_i64]);
    prop::collection::vec(row, 1..60).prop_map(|rows| {
        let times = 0..;
        let back = |(index, (key, value, back)): (i64, (usize, i64, i64))| {
            (key, value, (index * 2 + 5 - back).max(0))
        };
        times.zip(rows).map(back).collect()
    })
}

impl Kind {
    fn sql(self) -> String {
        let ms = |millis: i64| format!("INTERVAL '{millis} milliseconds'");
        match self {
            Self::Hop { slide, width } if slide == width => format!("tumble({})", ms(width)),
            Self::Hop { slide, width } => format!("hop({}, {})", ms(slide), ms(width)),
            Self::Session { gap } => format!("session({})", ms(gap)),
            Self::Sliding { width } => format!("sliding({})", ms(width)),
        }
    }

    /// Results, and how many rows were late.
    fn expected(self, rows: &[Given], grace: i64) -> (Expected, usize) {
        match self {
            Self::Hop { slide, width } => hopping(rows, grace, slide, width),
            Self::Session { gap } => sessions(rows, grace, gap),
            Self::Sliding { width } => sliding(rows, grace, width),
        }
    }
}

/// Every row with the watermark at it.
fn marked(rows: &[Given]) -> impl Iterator<Item = (&str, i64, i64, i64)> {
    rows.iter().scan(i64::MIN, |largest, (key, value, time)| {
        *largest = (*largest).max(*time);
        Some((KEYS[*key], *value, *time, *largest))
    })
}

fn hopping(rows: &[Given], grace: i64, slide: i64, width: i64) -> (Expected, usize) {
    let (mut expected, mut late) = (Expected::new(), 0);
    for (key, value, time, watermark) in marked(rows) {
        let starts = (0..=time).filter(|start| start % slide == 0 && start + width > time);
        let open: Vec<_> = starts.filter(|start| start + width + grace > watermark).collect();
        late += usize::from(open.is_empty());
        for start in open {
            add(&mut expected, (key.to_owned(), start, start + width), value);
        }
    }
    (expected, late)
}

fn add(expected: &mut Expected, window: (String, i64, i64), value: i64) {
    let (count, sum) = expected.entry(window).or_default();
    (*count, *sum) = (*count + 1, *sum + value);
}

fn sessions(rows: &[Given], grace: i64, gap: i64) -> (Expected, usize) {
    // Key, first, last, count, sum.
    let mut all: Vec<(String, i64, i64, i64, i64)> = Vec::new();
    let mut late = 0;
    for (key, value, time, watermark) in marked(rows) {
        let touches = |session: &(String, i64, i64, i64, i64)| {
            session.0 == key
                && session.2 + gap + grace >= watermark
                && session.2 + gap >= time
                && session.1 <= time + gap
        };
        let touched: Vec<_> = all.iter().filter(|session| touches(session)).cloned().collect();
        let end = touched.iter().map(|session| session.2).fold(time, i64::max);
        if end + gap + grace < watermark {
            late += 1;
            continue;
        }
        all.retain(|session| !touches(session));
        let first = touched.iter().map(|session| session.1).fold(time, i64::min);
        let count = touched.iter().map(|session| session.3).sum::<i64>() + 1;
        let sum = touched.iter().map(|session| session.4).sum::<i64>() + value;
        all.push((key.to_owned(), first, end, count, sum));
    }
    let rows = all
        .into_iter()
        .map(|(key, first, end, count, sum)| ((key, first, end + gap), (count, sum)));
    (rows.collect(), late)
}

fn sliding(rows: &[Given], grace: i64, width: i64) -> (Expected, usize) {
    let rows: Vec<_> = marked(rows).collect();
    let accepted: Vec<_> =
        rows.iter().filter(|(_, _, time, mark)| time + width + grace >= *mark).collect();
    let mut expected = Expected::new();
    for (key, _, time, mark) in &accepted {
        let left = (*time).max(width);
        let ends = [(left, left + grace >= *mark), (time + 1 + width, true)];
        for (end, _) in ends.into_iter().filter(|(_, exists)| *exists) {
            let held = accepted.iter().filter(|(other, _, at, mark)| {
                other == key && *at >= end - width && *at <= end && end + grace >= *mark
            });
            let (count, sum) = held.fold((0, 0), |(count, sum), row| (count + 1, sum + row.1));
            if count > 0 {
                expected.insert(((*key).to_owned(), end - width, end), (count, sum));
            }
        }
    }
    (expected, rows.len() - accepted.len())
}

/// Feeds the rows in batches of these lengths, again and again.
fn feed(bench: &mut Bench, rows: &[Given], lengths: &[usize]) -> usize {
    let documents: Vec<_> = rows
        .iter()
        .map(|(key, value, time)| {
            (format!(r#"{{"name":"{}","duration":{value}}}"#, KEYS[*key]), *time)
        })
        .collect();
    let (mut late, mut rest) = (0, documents.as_slice());
    for length in lengths.iter().cycle() {
        let (batch, after) = rest.split_at(rest.len().min(*length));
        let batch: Vec<_> = batch.iter().map(|(row, time)| ("k", row.as_str(), *time)).collect();
        late += bench.push(0, &batch).late.len();
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    late
}

fn found(bench: &Bench) -> Expected {
    let rows = bench.results();
    let found = rows.iter().map(|row| {
        let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
        let millis = |name: &str| {
            let text = row[name].as_str().expect("a timestamp");
            let seconds: f64 = text["1970-01-01T00:00:".len()..text.len() - 1].parse().unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "below a minute")]
            let millis = (seconds * 1_000.0).round() as i64;
            millis
        };
        let number = |name: &str| row[name].as_i64().expect("a number");
        let name = row["name"].as_str().expect("a name").to_owned();
        ((name, millis("window_start"), millis("window_end")), (number("n"), number("total")))
    });
    found.collect()
}

fn query(kind: Kind) -> String {
    format!(
        "SELECT name, count(*) AS n, sum(duration) AS total FROM R2 GROUP BY name, {}",
        kind.sql()
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn changes_lead_to_the_results_of_a_recomputation(
        kind in kinds(), rows in rows(), grace in 0..15_i64,
        lengths in prop::collection::vec(1..20_usize, 1..5),
    ) {
        let (expected, late) = kind.expected(&rows, grace);
        let mut bench = Bench::new(compile(&query(kind), &changes(grace.unsigned_abs())));
        prop_assert_eq!(feed(&mut bench, &rows, &lengths), late);
        prop_assert_eq!(found(&bench), expected);
        bench.advance(1_000_000);
        prop_assert_eq!(bench.remembered(), 0, "all windows are closed and forgotten");
    }

    #[test]
    fn final_results_are_those_of_a_recomputation(
        kind in kinds(), rows in rows(), grace in 0..15_i64,
        lengths in prop::collection::vec(1..20_usize, 1..5),
    ) {
        let (expected, late) = kind.expected(&rows, grace);
        let mut bench = Bench::new(compile(&query(kind), &last(grace.unsigned_abs())));
        prop_assert_eq!(feed(&mut bench, &rows, &lengths), late);
        bench.advance(1_000_000);
        prop_assert_eq!(bench.told_twice(), Vec::<String>::new());
        prop_assert_eq!(found(&bench), expected);
        prop_assert_eq!(bench.remembered(), 0, "all windows are closed and forgotten");
    }

    #[test]
    fn a_change_is_told_for_every_row_whatever_the_batches(
        kind in kinds(), rows in rows(), lengths in prop::collection::vec(2..20_usize, 1..5),
    ) {
        let mut one = Bench::new(compile(&query(kind), &changes(3)));
        feed(&mut one, &rows, &[1]);
        let mut many = Bench::new(compile(&query(kind), &changes(3)));
        feed(&mut many, &rows, &lengths);
        prop_assert_eq!(&one.state, &many.state);
    }
}
