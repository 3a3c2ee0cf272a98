//! Statements from text to result: filter, projection, metadata, time, rejection.

use crate::support::{NOW, columns, rows, told};
use courant_model::Columns;
use courant_sql::{Expression, Statement};

fn orders() -> Columns {
    columns(&["orderNumber: int64", "status: string", "total: decimal(10,2)"])
}

#[test]
fn rows_that_fail_the_condition_are_dropped_and_the_others_keep_their_place() {
    let statement =
        Statement::compile("SELECT * FROM input WHERE status <> 'Cancelled'", &orders()).unwrap();
    assert_eq!(*statement.output(), orders());
    let input = [
        r#"{"orderNumber":1,"status":"Shipped","total":"10.5","more":1}"#,
        r#"{"orderNumber":2,"status":"Cancelled"}"#,
        r#"{"total":12.30,"orderNumber":3,"status":"Open"}"#,
        r#"{"orderNumber":4}"#,
    ];
    assert_eq!(
        told(&statement.run(&rows(&input), &NOW)),
        [
            r#"0 {"orderNumber":1,"status":"Shipped","total":10.50}"#,
            r#"2 {"orderNumber":3,"status":"Open","total":12.30}"#,
        ]
    );
}

#[test]
fn the_records_own_columns_are_there_but_not_in_the_star() {
    let sql = "SELECT orderNumber, _key, _topic, _partition, _offset, _timestamp FROM orders AS o";
    let statement = Statement::compile_from(sql, &orders(), &["orders"]).unwrap();
    let mut input = rows(&[r#"{"orderNumber":1}"#, r#"{"orderNumber":2}"#]);
    input[1].key = Some(b"\xff");
    assert_eq!(
        told(&statement.run(&input, &NOW)),
        [
            r#"0 {"orderNumber":1,"_key":"k0","_topic":"orders","_partition":3,"_offset":100,"_timestamp":"1970-01-01T00:00:01.500Z"}"#,
            r#"1 {"orderNumber":2,"_key":null,"_topic":"orders","_partition":3,"_offset":101,"_timestamp":"1970-01-01T00:00:01.500Z"}"#,
        ]
    );
}

#[test]
fn a_statements_output_is_the_next_ones_input() {
    let first = Statement::compile(
        "SELECT orderNumber AS id, upper(status) AS state FROM input WHERE orderNumber > 1",
        &orders(),
    )
    .unwrap();
    let second =
        Statement::compile("SELECT state, _offset FROM input WHERE id < 4", first.output())
            .unwrap();
    let input: Vec<_> =
        (0..6).map(|n| format!(r#"{{"orderNumber":{n},"status":"s{n}"}}"#)).collect();
    let input: Vec<_> = input.iter().map(String::as_str).collect();
    let between = first.run(&rows(&input), &NOW);
    assert_eq!(
        told(&second.run_decoded(&between.batch, &NOW)),
        [r#"2 {"state":"S2","_offset":102}"#, r#"3 {"state":"S3","_offset":103}"#]
    );
}

#[test]
fn only_the_rows_that_fail_in_evaluation_are_rejected() {
    let statement = Statement::compile(
        "SELECT a / b AS q FROM input WHERE a IS NOT NULL",
        &columns(&["a: int64", "b: int64"]),
    )
    .unwrap();
    let input: Vec<_> = (0..100)
        .map(|n| if n % 10 == 7 { r#"{"a":1,"b":0}"# } else { r#"{"a":8,"b":2}"# })
        .collect();
    let output = statement.run(&rows(&input), &NOW);
    let rejected: Vec<_> = output.rejected.iter().map(|r| (r.row, r.reason.as_str())).collect();
    let expected: Vec<_> = (0..10).map(|n| (10 * n + 7, "division by zero")).collect();
    assert_eq!(rejected, expected);
    assert_eq!(output.batch.len(), 90);
    assert!(output.batch.rows().iter().all(|row| row % 10 != 7));
    assert!(output.batch.encode().iter().all(|value| value.as_ref() == br#"{"q":4}"#));
}

#[test]
fn a_batch_of_failing_rows_is_rejected_as_a_whole() {
    let statement =
        Statement::compile("SELECT a / 0 AS q FROM input", &columns(&["a: int64"])).unwrap();
    let output = statement.run(&rows(&[r#"{"a":1}"#, r#"{"a":2}"#]), &NOW);
    assert_eq!(told(&output), ["0 !division by zero", "1 !division by zero"]);
    assert_eq!(output.batch.columns(), statement.output());
}

#[test]
fn a_row_that_the_filter_drops_cannot_fail() {
    let statement = Statement::compile(
        "SELECT a / b AS q FROM input WHERE b <> 0",
        &columns(&["a: int64", "b: int64"]),
    )
    .unwrap();
    let output = statement.run(&rows(&[r#"{"a":1,"b":0}"#, r#"{"a":4,"b":2}"#]), &NOW);
    assert_eq!(told(&output), [r#"1 {"q":2}"#]);
}

#[test]
fn integers_that_overflow_are_rejected_instead_of_wrapping() {
    let statement =
        Statement::compile("SELECT a + 1 AS b FROM input", &columns(&["a: int64"])).unwrap();
    let output = statement.run(&rows(&[r#"{"a":9223372036854775807}"#, r#"{"a":1}"#]), &NOW);
    assert_eq!(told(&output)[0], r#"1 {"b":2}"#);
    assert!(output.rejected[0].reason.contains("verflow"), "{:?}", output.rejected);
}

#[test]
fn results_that_json_cannot_hold_are_rejected() {
    let statement = Statement::compile(
        "SELECT (a + 1.0) / (a + 1.0) AS r, [a / 0.0] AS l FROM input",
        &columns(&["a: float64"]),
    )
    .unwrap();
    let output = statement.run(&rows(&[r#"{"a":-1}"#, r#"{"a":4}"#, r#"{"a":null}"#]), &NOW);
    assert_eq!(
        told(&output),
        [
            r#"2 {"r":null,"l":[null]}"#,
            "0 !the result is NaN, which JSON cannot hold",
            "1 !the result is inf, which JSON cannot hold",
        ]
    );
}

#[test]
fn time_comes_from_the_run() {
    let statement = Statement::compile(
        "SELECT now() AS n, CURRENT_TIMESTAMP AS c, current_date() AS d, current_time() AS t, \
         now() - INTERVAL '1 day' AS y FROM input",
        &columns(&["a: int64"]),
    )
    .unwrap();
    assert_eq!(
        told(&statement.run(&rows(&["{}"]), &NOW)),
        [
            r#"0 {"n":"2026-01-31T12:30:45.123Z","c":"2026-01-31T12:30:45.123Z","d":"2026-01-31","t":"12:30:45.123","y":"2026-01-30T12:30:45.123Z"}"#
        ]
    );
}

#[test]
fn names_keep_their_case_and_keywords_may_be_columns() {
    let statement = Statement::compile(
        "SELECT customerNumber, user, date, name, \"order\", o.value FROM input o",
        &columns(&[
            "customerNumber: int64",
            "user: string",
            "date: date",
            "name: string",
            "order: string",
            "value: float64",
        ]),
    )
    .unwrap();
    let document =
        r#"{"customerNumber":1,"user":"u","date":"2026-01-31","name":"n","order":"o","value":1.0}"#;
    assert_eq!(told(&statement.run(&rows(&[document]), &NOW)), [format!("0 {document}")]);
}

#[test]
fn a_star_can_leave_out_replace_and_rename() {
    let statement = Statement::compile(
        "SELECT * EXCLUDE (status) REPLACE (total * 2 AS total) RENAME (orderNumber AS id) FROM input",
        &orders(),
    )
    .unwrap();
    let input = rows(&[r#"{"orderNumber":1,"status":"x","total":1.25}"#]);
    assert_eq!(told(&statement.run(&input, &NOW)), [r#"0 {"id":1,"total":2.50}"#]);
}

#[test]
fn json_columns_pass_verbatim_and_nested_fields_are_reached() {
    let input = columns(&[
        "id: int64",
        "payload: json",
        "address: struct<city: string, geo: struct<lat: float64, raw: json>>",
        "tags: list<string>",
    ]);
    let statement = Statement::compile(
        "SELECT payload, address.city, address.geo.lat AS lat, address['geo']['raw'] AS raw, \
         tags[1] AS first, cardinality(tags) AS n, upper(payload) AS text FROM input",
        &input,
    )
    .unwrap();
    let document = r#"{"payload":{"a": [1,  2.50]},"address":{"city":"Oslo","geo":{"lat":59.9,"raw":[ ]}},"tags":["a","b"]}"#;
    assert_eq!(
        told(&statement.run(&rows(&[document, "{}"]), &NOW)),
        [
            r#"0 {"payload":{"a": [1,  2.50]},"city":"Oslo","lat":59.9,"raw":[ ],"first":"a","n":2,"text":"{\"A\": [1,  2.50]}"}"#,
            r#"1 {"payload":null,"city":null,"lat":null,"raw":null,"first":null,"n":null,"text":null}"#,
        ]
    );
}

#[test]
fn a_batch_of_no_rows_gives_no_rows() {
    let statement = Statement::compile("SELECT 1 AS one FROM input", &orders()).unwrap();
    assert!(told(&statement.run(&[], &NOW)).is_empty());
}

#[test]
fn conditions_and_texts_stand_in_the_order_of_the_batch() {
    let input = columns(&["a: int64", "b: int64", "s: string", "t: timestamp"]);
    let decoded = courant_sql::Decoder::new(&input).decode(&rows(&[
        r#"{"a":6,"b":2,"s":"x","t":0}"#,
        r#"{"a":6,"b":0,"s":"y"}"#,
        r#"{"a":"?"}"#,
        r#"{"a":null,"b":1}"#,
    ]));
    assert_eq!(decoded.rejected.len(), 1);
    let condition = Expression::compile_condition("a / b > 2", &input).unwrap();
    let failed = "division by zero";
    assert_eq!(
        condition.conditions(&decoded.batch, &NOW),
        [Ok(true), Err(failed.into()), Ok(false)]
    );
    let texts = |sql: &str| Expression::compile(sql, &input).unwrap().texts(&decoded.batch, &NOW);
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(texts("a / b"), [some("3"), Err(failed.into()), Ok(None)]);
    assert_eq!(texts("s"), [some("x"), some("y"), Ok(None)]);
    assert_eq!(texts("t"), [some("1970-01-01T00:00:00Z"), Ok(None), Ok(None)]);
    assert_eq!(texts("a > 1"), [some("true"), some("true"), Ok(None)]);
    assert_eq!(texts("_key || '-' || _offset")[0], some("k0-100"));
}
