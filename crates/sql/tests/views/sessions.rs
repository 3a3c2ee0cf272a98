//! Session and sliding windows, by hand.

use crate::support::{Bench, changes, compile, last, shown};

fn row(name: &str) -> String {
    format!(r#"{{"name":"{name}"}}"#)
}

/// `count start end` of each result, the bounds in seconds.
fn windows(rows: &[String]) -> Vec<String> {
    let window = |row: &String| {
        let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
        let seconds = |name: &str| {
            let text = row[name].as_str().expect("a timestamp");
            text["1970-01-01T00:00:".len()..text.len() - 1].trim_start_matches('0').to_owned()
        };
        format!("{} {} {}", row["n"], seconds("window_start"), seconds("window_end"))
    };
    rows.iter().map(window).collect()
}

#[test]
fn a_row_between_two_sessions_makes_them_one() {
    let sql = "SELECT name, count(*) AS n FROM R2 GROUP BY name, session(INTERVAL '5 seconds')";
    let mut bench = Bench::new(compile(sql, &changes(60_000)));
    let a = row("a");
    bench.push(0, &[("k", &a, 10_000), ("k", &a, 19_000)]);
    assert_eq!(windows(&bench.results()), ["1 10 15", "1 19 24"]);
    let emitted = bench.push(0, &[("k", &a, 14_500)]);
    let gone = emitted.changes.iter().filter(|change| change.value.is_none()).count();
    assert_eq!((gone, emitted.changes.len()), (2, 3), "{:?}", shown(&emitted.changes));
    assert_eq!(windows(&bench.results()), ["3 10 24"]);
    assert_eq!(bench.query.window().unwrap().width_micros, None);
}

#[test]
fn a_session_is_told_finally_when_the_gap_and_the_grace_are_over() {
    let sql = "SELECT name, count(*) AS n FROM R2 GROUP BY name, session(INTERVAL '5 seconds')";
    let mut bench = Bench::new(compile(sql, &last(1_000)));
    let (a, b) = (row("a"), row("b"));
    bench.push(0, &[("k", &a, 10_000), ("k", &b, 16_000)]);
    assert!(bench.results().is_empty(), "a row at 15 s would still join");
    bench.push(0, &[("k", &b, 16_001)]);
    assert_eq!(windows(&bench.results()), ["1 10 15"]);
    let emitted = bench.push(0, &[("k", &a, 9_000)]);
    assert_eq!(emitted.late, [0]);
}

#[test]
fn a_sliding_window_ends_with_each_row_and_one_begins_after_it() {
    let sql = "SELECT name, count(*) AS n FROM R2 GROUP BY name, sliding(INTERVAL '2 seconds')";
    let mut bench = Bench::new(compile(sql, &changes(60_000)));
    let a = row("a");
    bench.push(0, &[("k", &a, 10_000), ("k", &a, 11_000), ("k", &a, 13_000)]);
    assert_eq!(
        windows(&bench.results()),
        ["1 8 10", "2 9 11", "1 10.001 12.001", "2 11 13", "1 11.001 13.001"]
    );
}
