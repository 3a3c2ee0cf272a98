//! Every type keeps its value, or the record is refused.

use super::*;

/// Writes one value into each column, and tells the whole row.
async fn kept(database: &Database, columns: &[(&str, Value)]) -> Vec<String> {
    let define = |(at, (sql_type, _)): (usize, &(&str, Value))| format!("c{at} {sql_type}");
    let defined: Vec<String> = columns.iter().enumerate().map(define).collect();
    database
        .execute(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, {});\n", defined.join(", ")))
        .await;
    let mut value = json!({ "id": 1 });
    for (at, (_, cell)) in columns.iter().enumerate() {
        value[format!("c{at}")] = cell.clone();
    }
    let mut sink = database.sink(json!({ "table": "t" }));
    assert_eq!(write(&mut *sink, &events([value])).await, []);
    let names: Vec<String> = (0..columns.len()).map(|at| format!("c{at}")).collect();
    let row = database.rows(&format!("SELECT {} FROM t", names.join(", "))).await.remove(0);
    row.split('|').map(str::to_owned).collect()
}

#[tokio::test]
async fn mariadb_keeps_every_type() {
    let Some(database) = Database::mariadb(&[]).await else { return };
    let kept = kept(
        &database,
        &[
            ("DECIMAL(30, 10)", json!("12345678901234567890.0123456789")),
            ("BIGINT UNSIGNED", json!(u64::MAX)),
            ("BIGINT", json!(i64::MIN)),
            ("TINYINT(1)", json!(true)),
            ("DOUBLE", json!(0.1)),
            ("DATE", json!("2024-02-29")),
            ("DATETIME(6)", json!("2026-01-02T03:04:05.123456")),
            ("TIMESTAMP(3) NULL", json!("2026-01-02T03:04:05.5+01:00")),
            ("TIME(2)", json!("-12:30:00.25")),
            ("YEAR", json!(2026)),
            ("ENUM('a', 'b')", json!("b")),
            ("SET('x', 'y')", json!("x,y")),
            ("JSON", json!({ "a": [1, "ü"] })),
            ("JSON", json!("text")),
            ("VARBINARY(4)", json!("QUI=")),
            ("BIT(12)", json!(65)),
            ("TEXT CHARACTER SET latin1", json!("é")),
            ("VARCHAR(9)", Value::Null),
        ],
    )
    .await;
    let expected = [
        "12345678901234567890.0123456789",
        "18446744073709551615",
        "-9223372036854775808",
        "1",
        "0.1",
        "2024-02-29",
        "2026-01-02 03:04:05.123456",
        "2026-01-02 02:04:05.500",
        "-12:30:00.25",
        "2026",
        "b",
        "x,y",
        "{\"a\":[1,\"ü\"]}",
        "\"text\"",
        "AB",
        "\0A",
        "é",
        "null",
    ];
    // The reader's session has this machine's zone; a test runs with UTC or says so.
    let at_zone = 7;
    let zone = database
        .rows(
            "SELECT CAST(c7 AS CHAR), @@session.time_zone, TIMEDIFF(NOW(), UTC_TIMESTAMP()) FROM t",
        )
        .await;
    for (at, (kept, expected)) in kept.iter().zip(expected).enumerate() {
        if at != at_zone || zone[0].ends_with("|00:00:00") {
            assert_eq!(kept, expected, "column {at}");
        }
    }
}

#[tokio::test]
async fn a_mariadb_geometry_keeps_its_shape_and_system() {
    let Some(database) = Database::mariadb(&[]).await else { return };
    database.execute("CREATE TABLE places (id INTEGER PRIMARY KEY, at POINT);\n").await;
    let mut sink = database.sink(json!({ "table": "places" }));
    let wkb = "AQEAAAAAAAAAAADwPwAAAAAAAABA";
    let value = json!({ "id": 1, "at": { "srid": 4326, "wkb": wkb } });
    assert_eq!(write(&mut *sink, &events([value])).await, []);
    assert_eq!(
        database.rows("SELECT ST_AsText(at), ST_SRID(at) FROM places").await,
        ["POINT(1 2)|4326"]
    );
}

#[tokio::test]
async fn postgresql_keeps_every_type() {
    let Some(server) = Postgres::start().await else { return };
    let database = Database::Postgres(Box::new(server));
    database.execute("CREATE TYPE mood AS ENUM ('sad', 'fine');\n").await;
    database.execute("CREATE DOMAIN small AS integer CHECK (VALUE < 10);\n").await;
    let kept = kept(
        &database,
        &[
            ("numeric(30, 10)", json!("12345678901234567890.0123456789")),
            ("bigint", json!(i64::MIN)),
            ("boolean", json!(true)),
            ("double precision", json!(0.1)),
            ("date", json!("2024-02-29")),
            ("timestamp", json!("2026-01-02T03:04:05.5+01:00")),
            ("timestamptz", json!("2026-01-02T03:04:05.123456Z")),
            ("time", json!("12:30:00.25")),
            ("uuid", json!("6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b")),
            ("jsonb", json!({ "a": [1, "ü"] })),
            ("json", json!("text")),
            ("bytea", json!("AP8=")),
            ("integer[]", json!([1, null, 3])),
            ("text[]", json!(["a\"b\\", "c,d"])),
            ("mood", json!("fine")),
            ("small", json!(9)),
            ("inet", json!("10.0.0.1")),
            ("char(3)", json!("ab")),
            ("interval", json!("PT1H30M")),
            ("bit(4)", json!("1010")),
            ("varchar(9)", Value::Null),
        ],
    )
    .await;
    let expected = [
        "12345678901234567890.0123456789",
        "-9223372036854775808",
        "t",
        "0.1",
        "2024-02-29",
        "2026-01-02 02:04:05.5",
        "2026-01-02 03:04:05.123456+00",
        "12:30:00.25",
        "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b",
        "{\"a\": [1, \"ü\"]}",
        "\"text\"",
        "\\x00ff",
        "{1,NULL,3}",
        r#"{"a\"b\\","c,d"}"#,
        "fine",
        "9",
        "10.0.0.1",
        "ab ",
        "01:30:00",
        "1010",
        "null",
    ];
    // The reader's session shows instants in this machine's zone.
    for (at, (kept, expected)) in kept.iter().zip(expected).enumerate() {
        assert_eq!(kept, expected, "column {at}");
    }
}

#[tokio::test]
async fn sqlite_keeps_what_its_types_hold() {
    let kept = kept(
        &Database::sqlite(),
        &[
            ("INTEGER", json!(i64::MIN)),
            ("BOOLEAN", json!(true)),
            ("REAL", json!(0.1)),
            ("TEXT", json!("12345678901234567890.0123456789")),
            ("BLOB", json!("AP8=")),
            ("JSON", json!({ "a": 1 })),
            ("DATETIME", json!("2026-01-02T03:04:05Z")),
            ("", json!(5)),
            ("TEXT", Value::Null),
        ],
    )
    .await;
    let expected = [
        "-9223372036854775808",
        "1",
        "0.1",
        "12345678901234567890.0123456789",
        "[0, 255]",
        "{\"a\":1}",
        "2026-01-02T03:04:05Z",
        "5",
        "null",
    ];
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn a_value_that_does_not_fit_its_column_is_refused_and_never_cut() {
    for database in Database::each().await {
        if matches!(database, Database::Sqlite(_)) {
            continue;
        }
        let make =
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(3), n SMALLINT, at DATE);\n";
        database.execute(make).await;
        let mut sink = database.sink(json!({ "table": "t" }));
        let rejections = write(
            &mut *sink,
            &events([
                json!({ "id": 1, "name": "abcd" }),
                json!({ "id": 2, "n": 40_000 }),
                json!({ "id": 3, "at": "no date" }),
                json!({ "id": 4, "n": 1.5 }),
                json!({ "id": 5, "name": "abc", "n": -5, "at": "2026-01-02" }),
            ]),
        )
        .await;
        let indices: Vec<usize> = rejections.iter().map(|rejection| rejection.index).collect();
        assert_eq!(indices, [0, 1, 2, 3], "{rejections:?}");
        assert_eq!(database.rows("SELECT id, name, n, at FROM t").await, ["5|abc|-5|2026-01-02"]);
    }
}
