//! What wrong texts are told: the place, what is wrong, the remedy.

use crate::support::columns;
use courant_sql::{Expression, Statement};
use proptest::prelude::*;

fn told(sql: &str) -> String {
    let input = columns(&["orderNumber: int64", "status: string", "at: struct<city: string>"]);
    Statement::compile(sql, &input).expect_err(sql).to_string()
}

#[test]
fn names_that_do_not_exist_get_their_place_and_the_nearest() {
    for (sql, expected) in [
        (
            "SELECT *\nFROM input\nWHERE statsu <> 'x'",
            "3:7: unknown column \"statsu\"; did you mean column \"status\"?",
        ),
        (
            "SELECT ordernumber FROM input",
            "1:8: unknown column \"ordernumber\"; did you mean column \"orderNumber\"?",
        ),
        (
            "SELECT * FROM input WHERE status = \"Cancelled\"",
            "1:36: unknown column \"Cancelled\"; text stands in single quotes: 'Cancelled'",
        ),
        (
            "SELECT price FROM input",
            "1:8: unknown column \"price\"; the columns are orderNumber, status, at",
        ),
        (
            "SELECT * EXCEPT (sttus) FROM input",
            "1:18: unknown column \"sttus\"; did you mean column \"status\"?",
        ),
        (
            "SELECT uper(status) FROM input",
            "1:8: unknown function \"uper\"; did you mean \"upper\"?",
        ),
        (
            "SELECT * FROM orders",
            "1:15: unknown table \"orders\"; the records of the pipeline are the table \"input\"",
        ),
    ] {
        assert_eq!(told(sql), expected, "{sql}");
    }
}

#[test]
fn what_needs_more_than_one_record_is_refused_with_what_to_use() {
    for (sql, expected) in [
        (
            "SELECT status, count(*) FROM input",
            "1:16: a \"sql\" step takes no aggregate function \"count\"; aggregates belong in a view",
        ),
        (
            "SELECT status FROM input GROUP BY status",
            "1:26: a \"sql\" step takes no GROUP BY; aggregates belong in a view",
        ),
        (
            "SELECT DISTINCT status FROM input",
            "1:8: a \"sql\" step takes no DISTINCT; use a `deduplicate` step",
        ),
        (
            "SELECT * FROM input ORDER BY status",
            "1:21: a \"sql\" step takes no ORDER BY; it sees one record at a time",
        ),
        (
            "SELECT * FROM input LIMIT 3",
            "1:21: a \"sql\" step takes no LIMIT; it sees one record at a time",
        ),
        (
            "SELECT * FROM input JOIN other ON true",
            "1:21: a \"sql\" step takes no JOIN; joins belong in a view",
        ),
        (
            "SELECT * FROM input, other",
            "1:10: a \"sql\" step takes no join of several tables; joins belong in a view",
        ),
        (
            "WITH a AS (SELECT 1) SELECT * FROM input",
            "1:1: a \"sql\" step takes no WITH; put one \"sql\" step after another",
        ),
        (
            "SELECT * FROM input UNION SELECT * FROM input",
            "1:21: a \"sql\" step takes no UNION; give the pipeline several topics in `from`",
        ),
        (
            "SELECT row_number() OVER () FROM input",
            "1:8: a \"sql\" step takes no window function \"row_number\"; windows belong in a view",
        ),
        (
            "SELECT (SELECT 1) AS a FROM input",
            "1:9: a \"sql\" step takes no subquery; joins belong in a view",
        ),
        (
            "SELECT * FROM (SELECT 1)",
            "1:10: a \"sql\" step reads the table \"input\" and nothing else; put one \"sql\" step after another instead of a subquery",
        ),
        (
            "SELECT unnest([1]) FROM input",
            "1:8: a \"sql\" step makes one record of one record; use a `split` step instead of unnest",
        ),
        (
            "SELECT random() FROM input",
            "1:8: function \"random\" is not supported: the same record must give the same result; take the value from the record, such as _topic, _partition and _offset",
        ),
    ] {
        assert_eq!(told(sql), expected, "{sql}");
    }
}

#[test]
fn texts_that_are_no_select_are_refused() {
    for (sql, expected) in [
        ("", "a \"sql\" step takes exactly one SELECT"),
        ("SELECT 1", "the SELECT reads no table; write FROM input"),
        ("SELECT * FROM input; SELECT * FROM input", "a \"sql\" step takes exactly one SELECT"),
        ("DELETE FROM input", "1:1: a \"sql\" step takes a SELECT, not another statement"),
        ("SELECT * FRM input", "1:10: expected end of statement, found: FRM"),
        ("SELECT 'open FROM input", "1:8: unterminated string literal"),
        ("SELECT $1 FROM input", "1:8: a \"sql\" step takes no parameters or variables"),
    ] {
        assert_eq!(told(sql), expected, "{sql}");
    }
}

#[test]
fn types_that_do_not_fit_are_told() {
    for (sql, expected) in [
        (
            "SELECT * FROM input WHERE orderNumber",
            "1:27: WHERE needs a condition; found int64; compare it with something",
        ),
        (
            "SELECT 1 AS a, 2 AS a FROM input",
            "1:16: two columns are named \"a\"; give one of them another name with AS",
        ),
        (
            "SELECT INTERVAL '1 day' AS a FROM input",
            "1:17: a result of type Interval(MonthDayNano) has no JSON form; write extract(epoch FROM …) for seconds, or CAST(… AS VARCHAR)",
        ),
    ] {
        assert_eq!(told(sql), expected, "{sql}");
    }
    let error = told("SELECT sqrt(at) FROM input");
    assert!(error.starts_with("1:8: "), "{error}");
}

#[test]
fn a_condition_must_be_boolean_and_a_single_expression() {
    let input = columns(&["a: int64"]);
    let told = |sql: &str| Expression::compile_condition(sql, &input).unwrap_err().to_string();
    assert_eq!(
        told("a + 1"),
        "1:1: a condition must be boolean; found int64; compare it with something"
    );
    assert_eq!(told("a > 1 b"), "1:7: expected the end of the expression, found b");
}

#[test]
fn a_text_beyond_the_bounds_is_refused_and_not_fatal() {
    let chain = format!("SELECT 1 AS a FROM input WHERE {}", vec!["orderNumber"; 3_000].join("+"));
    assert!(told(&chain).contains("deeper than 256 levels"), "{}", &told(&chain)[..200]);
    let nested = format!("SELECT {}1{} FROM input", "(".repeat(5_000), ")".repeat(5_000));
    assert!(told(&nested).contains("nests too deeply"));
    let long = format!("SELECT '{}' FROM input", "x".repeat(70_000));
    assert_eq!(told(&long), "the SQL text has 70020 bytes; 65536 are allowed");
    let many = format!("SELECT {} FROM input", vec!["1"; 20_000].join(","));
    assert!(told(&many).ends_with("tokens; 16384 are allowed"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_is_fatal(words in prop::collection::vec(prop::sample::select(WORDS), 1..25)) {
        let input = columns(&["a: int64", "b: string", "c: struct<d: list<int64>>"]);
        let text = words.join(" ");
        let errors = [
            Statement::compile(&text, &input).err(),
            Statement::compile(&format!("SELECT {text} FROM input"), &input).err(),
            Expression::compile(&text, &input).err(),
        ];
        for error in errors.into_iter().flatten() {
            prop_assert!(!error.message.contains("beyond the planner's means"), "{text}");
        }
    }
}

/// What texts are thrown together from.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "input",
    "WHERE",
    "a",
    "b",
    "c.d",
    "c.d[1]",
    "*",
    "+",
    "-",
    "/",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'x'",
    "\"a\"",
    "1",
    "0",
    "2.5",
    "NULL",
    "AND",
    "NOT",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "CAST(",
    "AS",
    "INT",
    "DATE",
    "upper(",
    "sum(",
    "now()",
    "INTERVAL",
    "'1 day'",
    "IN",
    "LIKE",
    "BETWEEN",
    "IS",
    "::",
    "||",
    "GROUP BY",
    "é",
    ";",
    "--",
    "/*",
    "$1",
    "@v",
    "EXCLUDE",
    "make_array(",
    "substr(",
    "array_slice(",
    "-9223372036854775808",
    "1e400",
];
