//! Tables that change while they are followed.

use courant_capture::{
    CaptureError, Operation,
    mysql::{MySqlSource, SnapshotMode},
    testing::MariaDb,
};
use serde_json::{Value, json};

use crate::support::{Mirror, catch_up, next, options, select, source};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, a INT, e ENUM('x','y'));
INSERT INTO t VALUES (1, 10, 'x')";

/// A source that stands before anything below happens.
async fn waiting(server: &MariaDb) -> MySqlSource {
    let mut options = options(server);
    options.snapshot = SnapshotMode::Never;
    let mut source = source(options, None);
    next(&mut source).await.unwrap();
    source
}

#[tokio::test]
async fn rows_are_read_by_the_columns_that_the_table_had_when_they_were_logged() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLE).await;
    let mut source = waiting(&server).await;
    // All of this is in the log before the first of it is read.
    server
        .execute(
            "INSERT INTO t VALUES (2, 20, 'y');
ALTER TABLE t ADD COLUMN first VARCHAR(10) FIRST;
INSERT INTO t VALUES ('f', 3, 30, 'x');
ALTER TABLE t RENAME COLUMN a TO b, MODIFY e ENUM('y','x','z');
UPDATE t SET b = b + 1 WHERE id = 3;
ALTER TABLE t MODIFY b DECIMAL(8,3) UNSIGNED;
INSERT INTO t VALUES ('g', 4, 40.5, 'z');
ALTER TABLE t DROP COLUMN first, DROP PRIMARY KEY, ADD PRIMARY KEY (id, b);
DELETE FROM t WHERE id = 2;
RENAME TABLE t TO u;
INSERT INTO u VALUES (5, 50, 'y');
CREATE TABLE copied SELECT id, b FROM u WHERE id = 5;
DROP TABLE u",
        )
        .await;
    let changes = catch_up(&mut source, &server).await.unwrap();
    let told: Vec<(Operation, Value)> = changes
        .iter()
        .map(|change| {
            let row = change.after.as_ref().or(change.before.as_ref()).unwrap();
            (change.operation, Value::Object(change.table.to_json(row)))
        })
        .collect();
    use Operation::{Delete, Insert, Update};
    assert_eq!(
        told,
        [
            (Insert, json!({ "id": 2, "a": 20, "e": "y" })),
            (Insert, json!({ "first": "f", "id": 3, "a": 30, "e": "x" })),
            (Update, json!({ "first": "f", "id": 3, "b": 31, "e": "x" })),
            (Insert, json!({ "first": "g", "id": 4, "b": "40.500", "e": "z" })),
            (Delete, json!({ "id": 2, "b": "20.000", "e": "y" })),
            (Insert, json!({ "id": 5, "b": "50.000", "e": "y" })),
            (Insert, json!({ "id": 5, "b": "50.000" })),
        ]
    );
    assert_eq!(changes[0].table.key, [0]);
    assert_eq!(changes[4].table.key, [0, 1]);
    assert_eq!(changes[5].table.full_name(), "shop.u");
    assert_eq!(changes[6].table.key, [0_usize; 0]);
}

#[tokio::test]
async fn without_metadata_rows_from_before_a_change_are_refused_not_guessed() {
    let Some(server) = MariaDb::start(&["--binlog-row-metadata=NO_LOG"]).await else { return };
    server.execute(TABLE).await;
    let mut source = waiting(&server).await;
    server.execute("INSERT INTO t VALUES (2, 20, 'y');\nALTER TABLE t MODIFY a BIGINT").await;
    let error = catch_up(&mut source, &server).await.unwrap_err();
    assert!(matches!(error, CaptureError::SchemaMismatch { .. }), "{error}");
    assert!(error.to_string().contains("SET GLOBAL binlog_row_metadata = 'FULL'"), "{error}");
}

#[tokio::test]
async fn without_metadata_a_change_that_was_seen_in_time_is_followed() {
    let Some(server) = MariaDb::start(&["--binlog-row-metadata=NO_LOG"]).await else { return };
    server.execute(TABLE).await;
    let mut source = waiting(&server).await;
    let mut mirror = Mirror::default();
    for statements in [
        "INSERT INTO t VALUES (2, 20, 'y'), (3, 0, NULL)",
        "ALTER TABLE t MODIFY a BIGINT UNSIGNED FIRST;\nUPDATE t SET a = 18446744073709551615",
        "ALTER TABLE t ADD n VARCHAR(9) DEFAULT 'ü';\nUPDATE t SET a = 1",
    ] {
        server.execute(statements).await;
        let changes = catch_up(&mut source, &server).await.unwrap();
        // Images from before the last change of columns are no concern of the mirror's.
        mirror = Mirror::default();
        changes.iter().for_each(|change| mirror.apply(change));
    }
    assert_eq!(mirror.shown(), select(&server).await);
}

#[tokio::test]
async fn a_table_that_changes_during_its_snapshot_is_read_right() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server
        .execute(
            "CREATE TABLE t (id INT PRIMARY KEY, a INT);
CREATE TABLE gone (id INT PRIMARY KEY);
CREATE TABLE u (id INT PRIMARY KEY, a INT);
INSERT INTO t SELECT seq, seq FROM seq_1_to_100;
INSERT INTO u SELECT seq, seq FROM seq_1_to_100",
        )
        .await;
    let mut options = options(&server);
    options.chunk_rows = 10;
    let mut source = source(options, None);
    let mut rows = std::collections::BTreeMap::new();
    let mut step = 0;
    let last = loop {
        let batch = next(&mut source).await.unwrap();
        for change in batch.changes {
            if change.operation == Operation::Truncate {
                rows.retain(|(table, _), _| *table != change.table.name);
                continue;
            }
            let after = change.after.as_ref().unwrap();
            let row = change.table.to_json(after);
            rows.insert((change.table.name.clone(), row["id"].as_i64()), Value::Object(row));
        }
        step += 1;
        match step {
            3 => server.execute("ALTER TABLE t ADD COLUMN z INT DEFAULT 0 FIRST").await,
            5 => server.execute("DROP TABLE gone;\nUPDATE t SET z = id").await,
            8 => server.execute("ALTER TABLE u DROP COLUMN a, ADD COLUMN b INT DEFAULT 1").await,
            14 => server.execute("TRUNCATE TABLE u;\nINSERT INTO u VALUES (1000, 2)").await,
            _ => {}
        }
        if batch.snapshot_complete {
            break catch_up(&mut source, &server);
        }
    };
    for change in last.await.unwrap() {
        let row = change.table.to_json(change.after.as_ref().unwrap());
        rows.insert((change.table.name.clone(), row["id"].as_i64()), Value::Object(row));
    }
    for id in 1..=100 {
        let row = json!({ "z": id, "id": id, "a": id });
        assert_eq!(rows[&("t".to_owned(), Some(id))], row);
    }
    let left: Vec<_> = rows.iter().filter(|((table, _), _)| table == "u").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(*left[0].1, json!({ "id": 1000, "b": 2 }));
}

#[tokio::test]
async fn a_table_without_a_key_has_changes_but_no_snapshot() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute("CREATE TABLE t (a INT, b INT);\nINSERT INTO t VALUES (1, 2)").await;
    let mut refused = source(options(&server), None);
    next(&mut refused).await.unwrap();
    let error = next(&mut refused).await.unwrap_err();
    assert!(error.to_string().contains("ALTER TABLE shop.t ADD PRIMARY KEY"), "{error}");

    let mut source = waiting(&server).await;
    server.execute("UPDATE t SET b = 3").await;
    let changes = catch_up(&mut source, &server).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].table.to_json(changes[0].before.as_ref().unwrap())["b"], 2);
}
