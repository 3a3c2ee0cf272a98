//! Tumbling and hopping windows: results, grace, late rows, both ways to emit.

use courant_model::Origin;
use courant_sql::stream::{RESULTS, Spread, StoredResult};

use crate::support::{Bench, changes, compile, last, shown, text, told};

const VISITS: &str = "SELECT name, count(*) AS visits, avg(duration) AS average FROM R2 \
     GROUP BY name, tumble(INTERVAL '1 second')";

#[test]
fn a_window_is_told_anew_after_every_batch_that_changed_it() {
    let mut bench = Bench::new(compile(VISITS, &changes(0)));
    let emitted = bench.push(
        0,
        &[
            ("k", r#"{"name":"P1","duration":10}"#, 100),
            ("k", r#"{"name":"P2","duration":1}"#, 200),
            ("k", r#"{"name":"P1","duration":20}"#, 900),
        ],
    );
    let second = r#""window_start":"1970-01-01T00:00:00Z","window_end":"1970-01-01T00:00:01Z"}"#;
    assert_eq!(
        shown(&emitted.changes),
        [
            format!(r#"{{"name":"P1","visits":2,"average":15.0,{second}"#),
            format!(r#"{{"name":"P2","visits":1,"average":1.0,{second}"#),
        ]
    );
    let first = &emitted.changes[0];
    assert_eq!(text(first.record_key.as_deref().unwrap()), format!(r#"{{"name":"P1",{second}"#));
    assert_eq!(
        (first.event_time_micros, first.origin),
        (900_000, Some(Origin::from_micros(1_000)))
    );
    let emitted = bench.push(0, &[("k", r#"{"name":"P1","duration":30}"#, 500)]);
    assert_eq!(
        shown(&emitted.changes),
        [format!(r#"{{"name":"P1","visits":3,"average":20.0,{second}"#)]
    );
    assert_eq!(emitted.changes[0].event_time_micros, 900_000, "the largest that contributed");
    assert_eq!(bench.results().len(), 2);
}

#[test]
fn what_identifies_a_result_is_in_it_and_in_its_key() {
    let query = compile(VISITS, &changes(0));
    assert_eq!(query.key(), Some(vec!["name", "window_start", "window_end"]));
    let window = query.window().unwrap();
    assert_eq!((window.start.as_str(), window.width_micros), ("window_start", Some(1_000_000)));
    assert_eq!(query.inputs()[0].partition_by, Spread::By(vec!["name".into()]));
    let named = "SELECT window_end AS until, count(*) AS n, window_start FROM R2 \
                 GROUP BY tumble(INTERVAL '1 second'), upper(name)";
    let query = compile(named, &changes(0));
    let names: Vec<_> = query.output().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["until", "n", "window_start", "upper(R2.name)"]);
    assert_eq!(query.key(), Some(vec!["upper(R2.name)", "window_start", "until"]));
}

#[test]
fn keys_are_found_by_their_values_and_by_the_first_of_them() {
    let mut bench = Bench::new(compile(VISITS, &changes(0)));
    bench.push(
        0,
        &[
            ("k", r#"{"name":"a","duration":1}"#, 100),
            ("k", r#"{"name":"a\u0000","duration":1}"#, 1_100),
        ],
    );
    let key = |json: &str| bench.query.key_bytes(json.as_bytes());
    let whole = key(
        r#"{"name":"a","window_start":"1970-01-01T00:00:00Z","window_end":"1970-01-01T00:00:01Z"}"#,
    );
    let found: Vec<_> = bench.state.entries(RESULTS).map(|(key, _)| key.to_vec()).collect();
    assert_eq!(whole.unwrap(), found[0]);
    let prefix = key(r#"{"name":"a"}"#).unwrap();
    assert_eq!(found.iter().filter(|key| key.starts_with(&prefix)).count(), 1);
    assert_eq!(
        key(r#"{"window_start":0}"#).unwrap_err(),
        r#"column "name" of the key is missing before others"#
    );
    assert_eq!(
        key(r#"{"visits":0}"#).unwrap_err(),
        r#""visits" is not of the key, which is name, window_start, window_end"#
    );
}

#[test]
fn a_final_result_comes_once_when_the_grace_is_over() {
    let mut bench = Bench::new(compile(VISITS, &last(500)));
    let row = |name: &str| format!(r#"{{"name":"{name}","duration":1}}"#);
    let (a, b) = (row("a"), row("b"));
    assert!(bench.push(0, &[("k", &a, 100), ("k", &b, 1_200)]).changes.is_empty());
    assert!(bench.push(0, &[("k", &a, 999), ("k", &b, 1_499)]).changes.is_empty());
    let emitted = bench.push(0, &[("k", &b, 1_500), ("k", &a, 998)]);
    assert_eq!(emitted.late, [1], "its window closed with the row before");
    assert_eq!(
        shown(&emitted.changes),
        [
            r#"{"name":"a","visits":2,"average":1.0,"window_start":"1970-01-01T00:00:00Z","window_end":"1970-01-01T00:00:01Z"}"#
        ]
    );
    assert_eq!(bench.advance(2_499).changes.len(), 0);
    assert_eq!(bench.advance(2_500).changes.len(), 1);
    assert_eq!(bench.state.entries(1).count(), 0, "closed windows are forgotten");
    assert_eq!(bench.results().len(), 2, "their results are not");
}

#[test]
fn a_row_is_in_every_window_that_holds_it() {
    let sql = "SELECT name, count(*) AS n FROM R2 \
               GROUP BY name, hop(INTERVAL '1 second', INTERVAL '3 seconds')";
    let mut bench = Bench::new(compile(sql, &changes(0)));
    bench.push(
        0,
        &[
            ("k", r#"{"name":"a"}"#, 3_500),
            ("k", r#"{"name":"a"}"#, 4_500),
            ("k", r#"{"name":"a"}"#, 4_600),
        ],
    );
    let counts: Vec<_> = bench
        .results()
        .iter()
        .map(|row| row.split("\"window_end\":\"1970-01-01T00:00:").collect::<Vec<_>>().join(" "))
        .map(|row| (row[16..17].to_owned(), row[row.len() - 5..row.len() - 3].to_owned()))
        .collect();
    let expected = [("1", "04"), ("3", "05"), ("3", "06"), ("2", "07")];
    assert_eq!(counts, expected.map(|(n, end)| (n.to_owned(), end.to_owned())));
}

#[test]
fn having_takes_a_result_away_again() {
    let sql = "SELECT name, sum(duration) AS total FROM R2 \
               GROUP BY name, tumble(INTERVAL '1 second') HAVING sum(duration) > 10";
    let mut bench = Bench::new(compile(sql, &changes(0)));
    let mut push = |duration: i64| {
        let row = format!(r#"{{"name":"a","duration":{duration}}}"#);
        let emitted = bench.push(0, &[("k", &row, 0)]);
        shown(&emitted.changes).into_iter().map(|row| row[..20].to_owned()).collect::<Vec<_>>()
    };
    assert!(push(5).is_empty(), "nothing was told, so nothing is gone");
    assert_eq!(push(6), [r#"{"name":"a","total":"#]);
    assert_eq!(push(-6), [r#"-{"name":"a","window"#]);
    assert!(push(-6).is_empty());
    assert!(bench.results().is_empty());
}

#[test]
fn rows_that_do_not_fit_are_set_aside_and_hurt_no_other() {
    let sql = "SELECT name, sum(10 / duration) AS total FROM R2 GROUP BY name";
    let mut bench = Bench::new(compile(sql, &changes(0)));
    let emitted = bench.push(
        0,
        &[
            ("k", r#"{"name":"a","duration":5}"#, 0),
            ("k", r#"{"name":"a","duration":0}"#, 0),
            ("k", r#"{"name":1}"#, 0),
            ("k", r#"{"name":"a","duration":1}"#, -1),
            ("k", r#"{"name":"a","duration":2}"#, 0),
        ],
    );
    let reasons: Vec<_> = emitted.rejected.iter().map(|r| (r.row, r.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (1, "division by zero"),
            (2, r#"field "name": expected string, found number 1"#),
            (3, "the record has no timestamp, which is its event time"),
        ]
    );
    assert_eq!(bench.results(), [r#"{"name":"a","total":7}"#]);
}

#[test]
fn event_time_may_be_a_column() {
    let mut relations = crate::support::relations();
    let mut relation = crate::support::stream(&["name: string", "at: timestamp"]);
    relation.event_time = Some("at".into());
    relations.insert("timed".into(), relation);
    let sql = "SELECT count(*) AS n FROM timed GROUP BY tumble(INTERVAL '1 minute')";
    let query = courant_sql::stream::Query::compile(sql, &relations, &changes(0)).unwrap();
    let mut bench = Bench::new(query);
    let emitted =
        bench.push(0, &[("k", r#"{"at":"2026-01-31T12:30:45Z"}"#, 5), ("k", r#"{"at":null}"#, 5)]);
    assert_eq!(emitted.rejected[0].reason, "the event time, column \"at\", is null");
    assert_eq!(
        bench.results(),
        [r#"{"n":1,"window_start":"2026-01-31T12:30:00Z","window_end":"2026-01-31T12:31:00Z"}"#]
    );
}

#[test]
fn rows_without_groups_are_appended() {
    let query = compile("SELECT upper(name) AS page, _key FROM R2 WHERE duration > 1", &changes(0));
    assert_eq!((query.key(), &query.inputs()[0].partition_by), (None, &Spread::Any));
    let mut bench = Bench::new(query);
    let emitted = bench.push(
        0,
        &[("k", r#"{"name":"a","duration":1}"#, 0), ("k", r#"{"name":"b","duration":2}"#, 0)],
    );
    assert_eq!(shown(&emitted.changes), [r#"{"page":"B","_key":"k"}"#]);
    assert!(bench.results().is_empty());
}

#[test]
fn groups_without_windows_are_updated_for_ever() {
    let sql = "SELECT name, count(*) AS n, min(duration) AS least, max(user) AS most FROM R2 GROUP BY name";
    let mut bench = Bench::new(compile(sql, &changes(0)));
    bench.push(0, &[("k", r#"{"name":"a","duration":7,"user":"x"}"#, 10_000)]);
    let emitted = bench.push(0, &[("k", r#"{"name":"a","duration":9,"user":"y"}"#, 0)]);
    assert_eq!(shown(&emitted.changes), [r#"{"name":"a","n":2,"least":7,"most":"y"}"#]);
    let (key, value) = bench.state.entries(RESULTS).next().unwrap();
    assert_eq!(key, bench.query.key_bytes(br#"{"name":"a"}"#).unwrap());
    let stored = StoredResult::decode(value).unwrap();
    assert_eq!(
        (stored.event_time_micros, stored.origin),
        (10_000_000, Some(Origin::from_micros(1_000)))
    );
}

#[test]
fn a_result_without_groups_is_one_row() {
    let query = compile("SELECT count(*) AS n FROM R2", &changes(0));
    assert_eq!((query.key(), &query.inputs()[0].partition_by), (Some(vec![]), &Spread::One));
    let mut bench = Bench::new(query);
    bench.push(0, &[("k", "{}", 0)]);
    bench.push(0, &[("k", "{}", 0)]);
    assert_eq!(bench.results(), [r#"{"n":2}"#]);
}

#[test]
fn distinct_rows_are_told_once() {
    let mut bench = Bench::new(compile("SELECT DISTINCT name FROM R2", &changes(0)));
    let a = ("k", r#"{"name":"a"}"#, 0);
    assert_eq!(bench.push(0, &[a, a]).changes.len(), 1);
    assert_eq!(bench.push(0, &[a, ("k", r#"{"name":"b"}"#, 0)]).changes.len(), 1);
    assert_eq!(bench.results(), [r#"{"name":"a"}"#, r#"{"name":"b"}"#]);
}

#[test]
fn wrong_texts_are_told_their_place_and_the_remedy() {
    for (sql, expected) in [
        ("SELECT * FROM R3", r#"1:15: unknown table "R3"; did you mean "R2"?"#),
        ("SELECT nam FROM R2", r#"1:8: unknown column "nam"; did you mean column "name"?"#),
        (
            "SELECT name FROM R2 GROUP BY name, tumble(INTERVAL '1 month')",
            "1:52: a window has one width; months and years have none; write tumble(INTERVAL '…' /* width */)",
        ),
        (
            "SELECT name FROM R2 GROUP BY name, hop(INTERVAL '1 second')",
            "1:36: hop takes 2 intervals; found 1; write hop(INTERVAL '…' /* slide */, INTERVAL '…' /* width */)",
        ),
        (
            "SELECT now() AS n FROM R2",
            "1:8: function \"now\" is not supported: the same records must give the same results; use a time of the record, such as _timestamp",
        ),
        (
            "SELECT name FROM R2 ORDER BY name",
            "1:21: a view takes no ORDER BY; the rows of a view are kept by their key",
        ),
        (
            "SELECT window_start FROM R2",
            "1:8: unknown column \"window_start\"; it needs a window in the GROUP BY of the same SELECT",
        ),
        (
            "SELECT tumble(INTERVAL '1 second') FROM R2",
            "1:8: a window such as tumble stands in GROUP BY only; select window_start and window_end",
        ),
        ("SELECT 1 AS one", "the SELECT reads no table; write FROM and a topic"),
    ] {
        assert_eq!(told(sql), expected, "{sql}");
    }
}

#[test]
fn a_group_to_which_nothing_comes_is_forgotten_after_its_time_to_live() {
    let ttl = Some(std::time::Duration::from_secs(10));
    let options = courant_sql::stream::QueryOptions { ttl, ..changes(0) };
    let mut bench =
        Bench::new(compile("SELECT name, count(*) AS n FROM R2 GROUP BY name", &options));
    let (a, b) = (r#"{"name":"a"}"#, r#"{"name":"b"}"#);
    bench.push(0, &[("k", a, 0), ("k", b, 1_000)]);
    bench.push(0, &[("k", a, 5_000)]);
    assert!(bench.advance(11_000).changes.is_empty());
    assert_eq!(shown(&bench.advance(11_001).changes), ["-b"]);
    assert_eq!(bench.remembered(), 2, "the group a and its time");
    let emitted = bench.push(0, &[("k", b, 15_001)]);
    assert_eq!(shown(&emitted.changes), [r#"{"name":"b","n":1}"#, "-a"]);
    assert_eq!(bench.results(), [r#"{"name":"b","n":1}"#]);
}
