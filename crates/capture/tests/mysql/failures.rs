//! Servers that are not fit, go away, forget or log what cannot be followed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use courant_capture::{CaptureError, Operation, mysql::SnapshotMode, testing::MariaDb};
use mysql_async::prelude::Queryable;
use tokio::sync::Semaphore;

use crate::{
    support::{Mirror, catch_up, kept, next, options, select, source},
    workload,
};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, a INT);
INSERT INTO t VALUES (1, 1)";

#[tokio::test]
async fn all_wrong_settings_are_told_at_once_with_what_mends_them() {
    let wrong = ["--binlog-format=MIXED", "--binlog-row-image=MINIMAL"];
    let Some(server) = MariaDb::start(&wrong).await else { return };
    server.execute(TABLE).await;
    let mut source = source(options(&server), None);
    let CaptureError::Settings { findings, .. } = next(&mut source).await.unwrap_err() else {
        panic!("settings are wrong")
    };
    assert_eq!(findings.len(), 2);
    for finding in findings {
        server.execute(&finding.remedy).await;
    }
    let changes = catch_up(&mut source, &server).await.unwrap();
    assert_eq!(changes.len(), 1);
}

#[tokio::test]
async fn a_server_without_a_binary_log_is_refused() {
    let Some(server) = MariaDb::start(&["--skip-log-bin"]).await else { return };
    server.execute(TABLE).await;
    let error = next(&mut source(options(&server), None)).await.unwrap_err();
    assert!(error.to_string().contains("binary logging is off; mend it with: log-bin"), "{error}");
}

#[tokio::test]
async fn the_rights_that_an_account_lacks_are_named_one_after_the_other() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLE).await;
    server.execute("CREATE USER reader@'%' IDENTIFIED BY 'pass'").await;
    server.execute("GRANT SELECT ON shop.* TO reader@'%'").await;
    let mut options = options(&server);
    options.servers = vec![server.url_of("reader", "pass")];
    let mut given = Vec::new();
    let changes = loop {
        let mut source = source(options.clone(), None);
        match catch_up(&mut source, &server).await {
            Ok(changes) => break changes,
            Err(CaptureError::Settings { findings, .. }) if given.len() < 5 => {
                for finding in findings {
                    server.execute(&finding.remedy).await;
                    given.push(finding.remedy);
                }
            }
            Err(error) => panic!("{error:?} after {given:?}"),
        }
    };
    assert_eq!(changes.len(), 1);
    assert_eq!(given, ["GRANT REPLICATION SLAVE ON *.* TO 'reader'@'%'"]);
}

#[tokio::test]
async fn a_wrong_password_is_no_outage() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    let mut options = options(&server);
    options.servers = vec![server.url_of("nobody", "wrong")];
    let error = next(&mut source(options, None)).await.unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn tables_that_do_not_exist_are_told() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    let mut options = options(&server);
    options.selection.tables = vec!["nothing*".into()];
    let error = next(&mut source(options, None)).await.unwrap_err();
    assert!(error.to_string().contains("shop.nothing*"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_and_killed_in_the_middle_loses_nothing() {
    let Some(mut server) = MariaDb::start(&[]).await else { return };
    server
        .execute(
            "CREATE TABLE orders (orderNumber INT PRIMARY KEY, n INT);
INSERT INTO orders SELECT seq, 0 FROM seq_1_to_5000",
        )
        .await;
    let mut options = options(&server);
    options.chunk_rows = 300;
    options.batch_changes = 20;
    let mut reader = source(options, None);
    let mut mirror = Mirror::default();
    for round in 0..6 {
        let stop = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn(write(server.conn().await, round, Arc::clone(&stop)));
        for _ in 0..12 {
            let batch = next(&mut reader).await.unwrap();
            batch.changes.iter().for_each(|change| mirror.apply(change));
        }
        if round % 2 == 0 {
            server.kill().await;
        } else {
            server.stop().await;
        }
        stop.store(true, Ordering::Relaxed);
        writing.await.unwrap();
        server.run().await;
    }
    let rest = catch_up(&mut reader, &server).await.unwrap();
    rest.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&server).await);
}

/// Small transactions until told to stop or the server ends.
async fn write(mut conn: mysql_async::Conn, seed: u64, stop: Arc<AtomicBool>) {
    let mut chance = crate::support::Chance(seed + 1);
    while !stop.load(Ordering::Relaxed) {
        let (from, by) = (chance.below(5_000), 1 + chance.below(9));
        let statement = match chance.below(3) {
            0 => format!(
                "UPDATE orders SET n = n + {by} WHERE orderNumber BETWEEN {from} AND {from} + 30"
            ),
            1 => format!("DELETE FROM orders WHERE orderNumber = {from}"),
            _ => format!("INSERT IGNORE INTO orders VALUES ({from}, {by})"),
        };
        if conn.query_drop(statement).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn an_outage_that_is_too_long_is_told_and_the_next_call_goes_on() {
    let Some(mut server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLE).await;
    let mut options = options(&server);
    options.outage_ms = 200;
    let mut source = source(options, None);
    catch_up(&mut source, &server).await.unwrap();
    server.kill().await;
    let error = loop {
        // What was on its way may still come.
        if let Err(error) = next(&mut source).await {
            break error;
        }
    };
    assert!(error.is_retryable(), "{error:?}");
    server.run().await;
    server.execute("INSERT INTO t VALUES (2, 2)").await;
    let changes = catch_up(&mut source, &server).await.unwrap();
    assert_eq!(changes.len(), 1);
}

#[tokio::test]
async fn a_position_whose_log_was_purged_is_told() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLE).await;
    let mut reader = source(options(&server), None);
    catch_up(&mut reader, &server).await.unwrap();
    let position = reader.position().unwrap().clone();
    server
        .execute("INSERT INTO t VALUES (2, 2);\nFLUSH BINARY LOGS;\nINSERT INTO t VALUES (3, 3);\nFLUSH BINARY LOGS")
        .await;
    drop(reader);
    let mut conn = server.conn().await;
    let logs: Vec<(String, u64)> = conn.query("SHOW BINARY LOGS").await.unwrap();
    let last = logs.last().unwrap().0.clone();
    server.execute(&format!("PURGE BINARY LOGS TO '{last}'")).await;
    for by_file in [false, true] {
        let mut old = position.clone();
        if by_file {
            old.gtids = None;
        }
        let error = next(&mut source(options(&server), Some(old))).await.unwrap_err();
        assert!(matches!(error, CaptureError::PositionLost { .. }), "{error:?}");
        assert!(error.to_string().contains("take a new snapshot"), "{error}");
    }
}

#[tokio::test]
async fn a_position_of_a_file_resumes_as_one_of_gtids_does() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLE).await;
    let mut reader = source(options(&server), None);
    catch_up(&mut reader, &server).await.unwrap();
    let position = reader.position().unwrap().clone();
    server
        .execute("INSERT INTO t VALUES (2, 2);\nFLUSH BINARY LOGS;\nDELETE FROM t WHERE id = 1")
        .await;
    let mut by_file = position.clone();
    by_file.gtids = None;
    let mut told = Vec::new();
    for position in [position, by_file] {
        let mut source = source(options(&server), kept(&position));
        let mut changes = Vec::new();
        while changes.len() < 2 {
            changes.extend(next(&mut source).await.unwrap().changes);
        }
        told.push(changes);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0][1].operation, Operation::Delete);
}

#[tokio::test]
async fn another_server_with_the_same_gtids_takes_over() {
    let Some(mut first) = MariaDb::start(&["--gtid-domain-id=3"]).await else { return };
    let replica = ["--gtid-domain-id=3", "--log-slave-updates", "--replicate-do-db=shop"];
    let Some(second) = MariaDb::start(&replica).await else { return };
    // Both begin with the same empty database and no transactions.
    for server in [&first, &second] {
        server.execute("DROP DATABASE shop;\nRESET MASTER").await;
    }
    second.execute("SET GLOBAL gtid_slave_pos = ''").await;
    let port = first.url().split(':').nth(3).unwrap().split('/').next().unwrap().to_owned();
    second
        .execute(&format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root', MASTER_USE_GTID = slave_pos;
START SLAVE"
        ))
        .await;
    first.execute("CREATE DATABASE shop").await;
    first.execute("CREATE TABLE t (id INT PRIMARY KEY, a INT)").await;
    first.execute("INSERT INTO t SELECT seq, seq FROM seq_1_to_50").await;
    let mut options = options(&first);
    options.servers.push(second.url());
    options.chunk_rows = 20;
    let mut reader = source(options, None);
    let mut mirror = Mirror::default();
    let changes = catch_up(&mut reader, &first).await.unwrap();
    changes.iter().for_each(|change| mirror.apply(change));
    first.execute("UPDATE t SET a = a + 1 WHERE id < 10").await;
    let last = crate::support::last_sequence(&first).await;
    while crate::support::last_sequence(&second).await < last {
        tokio::task::yield_now().await;
    }
    first.kill().await;
    second.execute("STOP SLAVE;\nDELETE FROM t WHERE id > 40").await;
    let changes = catch_up(&mut reader, &second).await.unwrap();
    changes.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&second).await);
    assert_eq!(changes.len(), 9 + 10);
}

/// What a session logs after the source began, and the words of the refusal.
async fn is_refused(statements: &str, words: &str) {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLE).await;
    let mut options = options(&server);
    options.snapshot = SnapshotMode::Never;
    let mut source = source(options, None);
    next(&mut source).await.unwrap();
    server.execute(statements).await;
    let error = catch_up(&mut source, &server).await.unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

/// An event that opens a transaction, in the form of a file, for its last file.
fn begin_event(server: &MariaDb) -> (std::path::PathBuf, Vec<u8>) {
    let files = std::fs::read_dir(server.data()).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |path: &std::path::PathBuf| {
        path.file_name().unwrap().to_string_lossy().starts_with("binlog.0")
    };
    let last = files.filter(is_log).max().unwrap();
    let end = std::fs::metadata(&last).unwrap().len() as u32 + 42;
    // Header: time, kind, server, length, end, flags; body: sequence, domain, flags.
    let mut event = [&[0; 4][..], &[162], &1_u32.to_le_bytes(), &42_u32.to_le_bytes()].concat();
    event.extend([&end.to_le_bytes()[..], &[0; 2], &9_999_u64.to_le_bytes(), &[0; 11]].concat());
    event.extend(crc32fast::hash(&event).to_le_bytes());
    (last, event)
}

#[tokio::test]
async fn a_log_that_a_crash_cut_off_goes_on_in_the_next_file() {
    use std::io::Write;
    let arguments = ["--master-verify-checksum=OFF", "--binlog-checksum=CRC32"];
    let Some(mut server) = MariaDb::start(&arguments).await else { return };
    server.execute(TABLE).await;
    let mut reader = source(options(&server), None);
    let mut mirror = Mirror::default();
    // Within an event, and between two of a transaction.
    for (id, bytes) in [(2, 30), (3, 42)] {
        let changes = catch_up(&mut reader, &server).await.unwrap();
        changes.iter().for_each(|change| mirror.apply(change));
        server.kill().await;
        let (file, event) = begin_event(&server);
        let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
        file.write_all(&event[..bytes]).unwrap();
        server.run().await;
        server.execute(&format!("INSERT INTO t VALUES ({id}, 1)")).await;
        let changes = catch_up(&mut reader, &server).await.unwrap();
        assert_eq!(changes.len(), 1, "{changes:?}");
        changes.iter().for_each(|change| mirror.apply(change));
        // Also for a reader that begins before it.
        let mut again = source(options(&server), kept(reader.position().unwrap()));
        server.execute("UPDATE t SET a = a + 1 WHERE id = 1").await;
        assert_eq!(catch_up(&mut again, &server).await.unwrap().len(), 1);
    }
    let changes = catch_up(&mut reader, &server).await.unwrap();
    changes.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&server).await);
}

#[tokio::test]
async fn a_statement_in_place_of_rows_is_refused() {
    let statements = "SET SESSION binlog_format = 'STATEMENT';\nUPDATE t SET a = 2";
    is_refused(statements, "SET GLOBAL binlog_format = 'ROW'").await;
}

#[tokio::test]
async fn rows_without_all_columns_are_refused() {
    let statements = "SET SESSION binlog_row_image = 'MINIMAL';\nUPDATE t SET a = 2";
    is_refused(statements, "SET GLOBAL binlog_row_image = 'FULL'").await;
}

#[tokio::test]
async fn an_xa_transaction_is_refused() {
    let statements =
        "XA START 'x';\nUPDATE t SET a = 2;\nXA END 'x';\nXA PREPARE 'x';\nXA COMMIT 'x'";
    is_refused(statements, "an XA transaction").await;
}

#[tokio::test]
async fn a_quiet_table_s_position_moves_on_with_the_log() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLE).await;
    server.execute("CREATE TABLE busy (id INT PRIMARY KEY)").await;
    let mut options = options(&server);
    options.selection.tables = vec!["t".into()];
    let mut source = source(options, None);
    catch_up(&mut source, &server).await.unwrap();
    let before = source.position().unwrap().clone();
    server.execute("INSERT INTO busy VALUES (1), (2)").await;
    assert!(catch_up(&mut source, &server).await.unwrap().is_empty());
    let after = source.position().unwrap();
    assert!(after.offset > before.offset && after.gtids != before.gtids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_loses_nothing() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server
        .execute(
            "CREATE TABLE orders (orderNumber INT PRIMARY KEY, n INT);
INSERT INTO orders SELECT seq, 0 FROM seq_1_to_3000",
        )
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(server.conn().await, 7, Arc::clone(&stop)));
    let mut options = options(&server);
    options.chunk_rows = 200;
    let mut reader = source(options, None);
    let (mut mirror, mut chance, mut batches) = (Mirror::default(), crate::support::Chance(3), 0);
    while batches < 60 {
        // Gives the call up after some polls, wherever it is.
        let mut polls = 1 + chance.below(300);
        let mut call = std::pin::pin!(courant_capture::Source::next(&mut reader));
        let batch = std::future::poll_fn(|context| {
            use std::task::Poll;
            match call.as_mut().poll(context) {
                Poll::Ready(batch) => Poll::Ready(Some(batch.unwrap())),
                Poll::Pending if polls == 0 => Poll::Ready(None),
                Poll::Pending => {
                    polls -= 1;
                    Poll::Pending
                }
            }
        });
        if let Some(batch) = batch.await {
            batch.changes.iter().for_each(|change| mirror.apply(change));
            batches += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    let rest = catch_up(&mut reader, &server).await.unwrap();
    rest.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_that_restarts_during_the_snapshot_loses_nothing() {
    let Some(mut server) = MariaDb::start(&[]).await else { return };
    server.execute(workload::TABLES).await;
    let mut options = options(&server);
    options.chunk_rows = 100;
    let mut reader = source(options, None);
    let mut mirror = Mirror::default();
    for round in 0..3 {
        let pace = Arc::new(Semaphore::new(10_000));
        let writing = workload::write(server.conn().await, 20 + round, pace);
        let writing = tokio::spawn(writing);
        for _ in 0..15 {
            let batch = next(&mut reader).await.unwrap();
            batch.changes.iter().for_each(|change| mirror.apply(change));
        }
        server.kill().await;
        writing.await.unwrap();
        server.run().await;
    }
    let rest = catch_up(&mut reader, &server).await.unwrap();
    rest.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&server).await);
}
