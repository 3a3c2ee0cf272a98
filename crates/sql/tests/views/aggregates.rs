//! Every aggregate, its options, and a state that survives between any two batches.

use std::collections::BTreeMap;

use courant_sql::stream::Query;

use crate::support::{Bench, changes, compile, stream};

const NUMBERS: [&str; 7] = [
    r#"{"k":"a","i":3,"f":1.5,"s":"x","b":true,"d":1.25}"#,
    r#"{"k":"a","i":1,"f":-2.5,"s":"y","b":true,"d":2.50}"#,
    r#"{"k":"b","i":null,"f":null,"s":null,"b":null,"d":null}"#,
    r#"{"k":"a","i":3,"f":4.0,"s":"x","b":false,"d":0.25}"#,
    r#"{"k":"a","i":2,"f":0.5,"s":null,"b":true,"d":1.00}"#,
    r#"{"k":"a","i":null,"f":2.0,"s":"z","b":true,"d":7.77}"#,
    r#"{"k":"b","i":9,"f":9.0,"s":"q","b":false,"d":9.99}"#,
];

fn bench(sql: &str) -> Bench {
    let columns =
        ["k: string", "i: int64", "f: float64", "s: string", "b: boolean", "d: decimal(10,2)"];
    let relations = BTreeMap::from([("n".to_owned(), stream(&columns))]);
    let query = Query::compile(sql, &relations, &changes(0));
    Bench::new(query.unwrap_or_else(|error| panic!("{sql}: {error}")))
}

/// The result of group `a` after all rows, one by one and all at once.
fn result(call: &str) -> String {
    let sql = format!("SELECT k, {call} AS r FROM n GROUP BY k");
    let (mut one, mut many) = (bench(&sql), bench(&sql));
    let rows: Vec<_> = NUMBERS.iter().zip(0..).map(|(row, at)| ("k", *row, at)).collect();
    many.push(0, &rows);
    rows.iter().for_each(|row| drop(one.push(0, &[*row])));
    assert_eq!(one.results(), many.results(), "{call}");
    let row = &one.results()[0];
    row[r#"{"k":"a","r":"#.len()..row.len() - 1].to_owned()
}

#[test]
fn every_aggregate_is_kept_between_batches() {
    for (call, expected) in [
        ("count(*)", "5"),
        ("count(i)", "4"),
        ("count(DISTINCT i)", "3"),
        ("sum(i)", "9"),
        ("sum(DISTINCT i)", "6"),
        ("sum(d)", "12.77"),
        ("avg(f)", "1.1"),
        ("avg(d)", "2.554000"),
        ("min(i)", "1"),
        ("max(s)", "\"z\""),
        ("sum(i) FILTER (WHERE b)", "6"),
        ("count(*) FILTER (WHERE i > 2)", "2"),
        ("median(i)", "2.5"),
        ("bool_and(b)", "false"),
        ("bool_or(b)", "true"),
        ("bit_or(i)", "3"),
        ("stddev_pop(i)", "0.82915619758885"),
        ("var_samp(i)", "0.9166666666666666"),
        ("corr(i, f)", "0.922600691323216"),
        ("covar_pop(i, f)", "1.78125"),
        ("approx_distinct(s)", "3"),
        ("approx_median(i)", "2.75"),
        ("approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY f)", "1.5"),
        ("percentile_cont(0.5) WITHIN GROUP (ORDER BY f)", "1.5"),
        ("array_agg(i)", "[3,1,3,2,null]"),
        ("array_agg(i ORDER BY f DESC)", "[3,null,3,2,1]"),
        ("array_agg(DISTINCT s ORDER BY s)", "[\"x\",\"y\",\"z\",null]"),
        ("string_agg(s, '-')", "\"x-y-x-z\""),
        ("first_value(i)", "3"),
        ("last_value(s)", "\"z\""),
        ("first_value(s ORDER BY f)", "\"y\""),
        ("last_value(i ORDER BY d)", "null"),
        ("nth_value(i, 2 ORDER BY f)", "2"),
        ("regr_slope(f, i)", "2.590909090909091"),
        ("any_value(k)", "\"a\""),
        ("sum(i) + 2 * count(*)", "19"),
        ("CASE WHEN count(*) > 3 THEN 'many' ELSE 'few' END", "\"many\""),
    ] {
        assert_eq!(result(call), expected, "{call}");
    }
}

#[test]
fn aggregates_of_results_that_change_follow_them() {
    let sql = "SELECT visits, count(*) AS pages, sum(total) AS total, max(name) AS greatest FROM \
               (SELECT name, count(*) AS visits, sum(duration) AS total FROM R2 GROUP BY name) \
               GROUP BY visits";
    for sql in [sql.to_owned(), sql.replace("max(name)", "count(name)")] {
        let mut bench = Bench::new(compile(&sql, &changes(0)));
        let greatest = |max: &str, count: i64| match sql.contains("max(name)") {
            true => format!("\"{max}\""),
            false => count.to_string(),
        };
        let row =
            |name: &str, duration: i64| format!(r#"{{"name":"{name}","duration":{duration}}}"#);
        bench.push(0, &[("k", &row("a", 1), 0), ("k", &row("b", 2), 0)]);
        assert_eq!(
            bench.results(),
            [format!(r#"{{"visits":1,"pages":2,"total":3,"greatest":{}}}"#, greatest("b", 2))]
        );
        bench.push(0, &[("k", &row("b", 5), 0)]);
        assert_eq!(
            bench.results(),
            [
                format!(r#"{{"visits":1,"pages":1,"total":1,"greatest":{}}}"#, greatest("a", 1)),
                format!(r#"{{"visits":2,"pages":1,"total":7,"greatest":{}}}"#, greatest("b", 1)),
            ]
        );
        bench.push(0, &[("k", &row("a", 1), 0)]);
        assert_eq!(
            bench.results(),
            [format!(r#"{{"visits":2,"pages":2,"total":9,"greatest":{}}}"#, greatest("b", 2))],
            "a group without rows is gone"
        );
    }
}

#[test]
fn a_sum_over_nothing_left_is_null() {
    let sql = "SELECT big, sum(d) AS s, avg(d) AS a, count(*) AS n FROM \
               (SELECT name, sum(duration) > 5 AS big, max(duration) AS d FROM R2 GROUP BY name) \
               GROUP BY big";
    let mut bench = Bench::new(compile(sql, &changes(0)));
    bench.push(
        0,
        &[("k", r#"{"name":"a","duration":1}"#, 0), ("k", r#"{"name":"b","duration":null}"#, 0)],
    );
    bench.push(0, &[("k", r#"{"name":"c","duration":2}"#, 0)]);
    bench.push(0, &[("k", r#"{"name":"c","duration":7}"#, 0)]);
    assert_eq!(
        bench.results(),
        [
            r#"{"big":null,"s":null,"a":null,"n":1}"#,
            r#"{"big":false,"s":1,"a":1.0,"n":1}"#,
            r#"{"big":true,"s":7,"a":7.0,"n":1}"#,
        ]
    );
}
