//! The first rows of each group, and deduplication.

use crate::support::{Bench, changes, compile, shown, told};

fn row(name: &str, user: &str, duration: i64) -> String {
    format!(r#"{{"name":"{name}","user":"{user}","duration":{duration}}}"#)
}

const FIRST: &str = "SELECT name, user, n FROM (SELECT *, ROW_NUMBER() OVER \
     (PARTITION BY name ORDER BY duration DESC) AS n FROM R2) WHERE n <= 2";

#[test]
fn a_row_moves_those_behind_it() {
    let mut bench = Bench::new(compile(FIRST, &changes(0)));
    assert_eq!(bench.query.key(), Some(vec!["name", "n"]));
    let mut push = |row: &str| shown(&bench.push(0, &[("k", row, 0)]).changes);
    assert_eq!(push(&row("a", "x", 5)), [r#"{"name":"a","user":"x","n":1}"#]);
    assert_eq!(push(&row("a", "y", 3)), [r#"{"name":"a","user":"y","n":2}"#]);
    assert!(push(&row("a", "z", 1)).is_empty());
    assert_eq!(push(&row("b", "z", 1)), [r#"{"name":"b","user":"z","n":1}"#]);
    assert_eq!(
        push(&row("a", "w", 9)),
        [r#"{"name":"a","user":"w","n":1}"#, r#"{"name":"a","user":"x","n":2}"#]
    );
    assert_eq!(bench.results().len(), 3);
    assert_eq!(bench.remembered(), 3, "rows behind the limit are forgotten");
}

#[test]
fn nulls_stand_where_the_order_has_them() {
    for (order, first) in [
        ("duration", "1"),
        ("duration DESC", "null"),
        ("duration NULLS FIRST", "null"),
        ("duration DESC NULLS LAST", "12"),
    ] {
        let sql = format!(
            "SELECT duration FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY {order}) AS n FROM R2) WHERE n = 1"
        );
        let mut bench = Bench::new(compile(&sql, &changes(0)));
        let rows = [row("a", "x", 1), r#"{"name":"a"}"#.into(), row("a", "x", 12)];
        rows.iter().for_each(|row| drop(bench.push(0, &[("k", row, 0)])));
        assert_eq!(bench.results(), [format!(r#"{{"duration":{first},"n":1}}"#)], "{order}");
    }
}

#[test]
fn the_first_of_groups_follow_them() {
    let sql = "SELECT name, visits, n FROM (SELECT name, visits, ROW_NUMBER() OVER \
               (ORDER BY visits DESC, name) AS n FROM \
               (SELECT name, count(*) AS visits FROM R2 GROUP BY name)) WHERE n < 3";
    let mut bench = Bench::new(compile(sql, &changes(0)));
    for name in ["a", "b", "c", "c", "b", "b"] {
        bench.push(0, &[("k", &row(name, "x", 1), 0)]);
    }
    assert_eq!(
        bench.results(),
        [r#"{"name":"b","visits":3,"n":1}"#, r#"{"name":"c","visits":2,"n":2}"#]
    );
    assert_eq!(bench.remembered(), 6, "three groups, and all of them in order");
}

#[test]
fn numbers_without_a_limit_are_refused() {
    let expected = "a view takes no window function but ROW_NUMBER, filtered by its number; \
                    select FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) AS n FROM …) WHERE n <= 3";
    for sql in [
        "SELECT name, ROW_NUMBER() OVER (ORDER BY duration) AS n FROM R2",
        "SELECT * FROM (SELECT name, ROW_NUMBER() OVER (ORDER BY duration) AS n FROM R2) WHERE n > 3",
        "SELECT name, sum(duration) OVER (ORDER BY duration) AS n FROM R2",
    ] {
        assert_eq!(told(sql), expected, "{sql}");
    }
}
