//! SQL in files: compiled where columns are known, followed from step to step.

use super::{Memory, load_from};

const HEAD: &str = "version: 1
name: x
topics:
  open:
  orders:
    columns: { id: int64 not null, status: string, total: 'decimal(10,2)', lines: 'list<struct<code: string, price: int64>>' }
pipelines:
  p:
";

/// What is said about a pipeline; its lines begin at 9.
fn problems_of(pipeline: &str) -> String {
    let files = Memory::default().with("app/courant.yaml", &format!("{HEAD}{pipeline}"));
    match load_from(&files, None) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string().replace("app/courant.yaml:", ""),
    }
}

fn steps_of(from: &str, steps: &str) -> String {
    problems_of(&format!("    from: {from}\n    to: out\n    steps:\n{steps}"))
}

#[test]
fn an_unknown_column_is_told_at_its_place_in_a_block() {
    let steps =
        "      - sql: |\n          SELECT id,\n                 statsu\n          FROM input\n";
    assert_eq!(
        steps_of("orders", steps),
        r#"14:18: unknown column "statsu"; did you mean column "status"?"#
    );
}

#[test]
fn what_a_query_cannot_do_is_told() {
    let query = |sql: &str| steps_of("orders", &format!("      - sql: {sql}\n"));
    assert_eq!(
        query("SELECT count(*) FROM input"),
        r#"12:21: a "sql" step takes no aggregate function "count"; aggregates belong in a view"#
    );
    assert_eq!(
        query("SELECT * FROM orders"),
        r#"12:28: unknown table "orders"; the records of the pipeline are the table "input""#
    );
    assert_eq!(query("SELECT * FRM input"), "12:23: expected end of statement, found: FRM");
    assert_eq!(query("SELECT id, status"), "12:9: the SELECT reads no table; write FROM input");
}

#[test]
fn a_condition_must_be_one() {
    let steps = "      - route: [{ when: total, to: big }, { when: totl > 5, to: big }]\n";
    assert_eq!(
        steps_of("orders", steps),
        r#"12:25: a condition must be boolean; found decimal(10,2); compare it with something
12:51: unknown column "totl"; did you mean column "total"?"#
    );
}

#[test]
fn after_a_query_only_its_columns_are_known() {
    let pipeline = "    from: orders
    steps:
      - sql: SELECT id, status AS state FROM input
      - key: status
      - deduplicate: { by: [id, sate], within: 1h }
      - sql: { query: SELECT total FROM input }
    to:
      - cache: { table: t, key: id, field: state }
";
    assert_eq!(
        problems_of(pipeline),
        r#"12:9: unknown column "status"; did you mean "state"?
13:24: unknown column "sate"; did you mean "state"?
14:30: unknown column "total"; the columns are id, state"#
    );
}

#[test]
fn targets_are_checked_against_the_last_query() {
    let pipeline = "    from: orders
    steps:
      - sql: SELECT id, status AS state FROM input
    to:
      - cache: { table: t, key: i, field: total }
      - history: { collection: c, id: ids, indexes: [state, [id, status]] }
";
    assert_eq!(
        problems_of(pipeline),
        r#"13:28: unknown column "i"; did you mean "id"?
13:36: unknown column "total"; the columns are id, state
14:35: unknown column "ids"; did you mean "id"?
14:44: unknown column "status"; did you mean "state"?"#
    );
}

#[test]
fn items_of_a_split_list_have_its_columns() {
    let split = |field: &str, query: &str| {
        steps_of("orders", &format!("      - split: {field}\n      - sql: {query}\n"))
    };
    assert_eq!(split("lines", "SELECT code, price * 2 AS double FROM input"), "");
    assert_eq!(
        split("lines", "SELECT id FROM input"),
        r#"13:21: unknown column "id"; the columns are code, price"#
    );
    assert_eq!(
        split("status", "SELECT 1 AS one FROM input"),
        r#"12:9: column "status" is string, not a list; split a list into its items"#
    );
}

#[test]
fn where_no_columns_are_declared_nothing_is_guessed() {
    let steps = "      - sql: SELECT whatever FROM input\n      - key: anything\n";
    assert_eq!(steps_of("open", steps), "");
    assert_eq!(steps_of("[orders, open]", steps), "");
}

#[test]
fn fields_that_are_not_declared_may_be_there_before_a_query() {
    assert_eq!(steps_of("orders", "      - key: customer\n"), "");
}
