//! What goes wrong: bad records, locks, servers that die, tables that change.

use super::*;
use crate::testing::servers::certificate;

const TABLE: &str = "CREATE TABLE numbers (n INTEGER PRIMARY KEY, note VARCHAR(3));\n";

#[tokio::test]
async fn bad_records_are_found_and_harm_no_other() {
    for database in Database::each().await {
        database
            .execute(
                "CREATE TABLE owners (id INTEGER PRIMARY KEY);\nINSERT INTO owners VALUES (1);\n",
            )
            .await;
        let make = "CREATE TABLE pets (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL, owner INTEGER, \
                    FOREIGN KEY (owner) REFERENCES owners (id));\n";
        database.execute(make).await;
        let mut sink = database.sink(json!({ "table": "pets" }));
        let pet = |id: i64| match id {
            17 => json!({ "id": id, "name": "x", "owner": 2 }),
            40 | 41 => json!({ "id": id, "owner": 1 }),
            99 => json!({ "id": id, "name": null }),
            _ => json!({ "id": id, "name": "x", "owner": 1 }),
        };
        let rejections = write(&mut *sink, &events((0..100).map(pet))).await;
        let indices: Vec<usize> = rejections.iter().map(|rejection| rejection.index).collect();
        assert_eq!(indices, [17, 40, 41, 99], "{rejections:?}");
        assert!(rejections[0].why.starts_with("table \"pets\" refuses the record: "));
        assert_eq!(database.rows("SELECT COUNT(*) FROM pets").await, ["96"]);
    }
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_told_with_the_remedy() {
    for database in Database::each().await {
        database.execute("CREATE TABLE loose (a INTEGER, b INTEGER);\n").await;
        database.execute(TABLE).await;
        for (options, words) in [
            (json!({ "table": "missing" }), "table \"missing\" does not exist; create it"),
            (json!({ "table": "loose" }), "no primary key"),
            (json!({ "table": "loose", "key": "a" }), "no unique index over exactly (a)"),
            (json!({ "table": "numbers", "key": "m" }), "has no column \"m\""),
            (json!({ "table": "numbers", "columns": ["x"] }), "it has n, note"),
            (json!({ "table": "loose", "mode": "update" }), "set \"key\""),
        ] {
            let error =
                database.sink(options).write(&events([json!({ "n": 1 })])).await.unwrap_err();
            assert!(!error.retryable && error.what.contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed_again_and_again() {
    let (mariadb, postgres) = (MariaDb::start(&[]).await, Postgres::start().await);
    if let Some(mut server) = mariadb {
        server.execute(TABLE).await;
        let database = Database::sink_of(&server.url());
        let writing = tokio::spawn(write_numbers(database));
        for _ in 0..3 {
            let (at, count) = (server.conn().await, "SELECT COUNT(*) FROM numbers");
            wait_for_more(at, count).await;
            server.kill().await;
            server.run().await;
        }
        writing.await.unwrap();
        let database = Database::MariaDb(Box::new(server));
        assert_eq!(database.rows("SELECT COUNT(*), SUM(n) FROM numbers").await, [sum()]);
    }
    if let Some(mut server) = postgres {
        server.client().await.batch_execute(TABLE).await.unwrap();
        let writing = tokio::spawn(write_numbers(Database::sink_of(&server.url())));
        for _ in 0..3 {
            server.kill().await;
            server.run().await;
        }
        writing.await.unwrap();
        let database = Database::Postgres(Box::new(server));
        assert_eq!(database.rows("SELECT COUNT(*), SUM(n) FROM numbers").await, [sum()]);
    }
}

const NUMBERS: i64 = 3_000;

fn sum() -> String {
    format!("{NUMBERS}|{}", NUMBERS * (NUMBERS - 1) / 2)
}

async fn write_numbers(mut sink: Box<dyn Sink>) {
    suite::write_numbers(&mut *sink, 0..NUMBERS).await;
}

/// Waits until a count has grown or cannot be asked any more.
async fn wait_for_more(mut conn: mysql_async::Conn, count: &str) {
    let first: Option<i64> = conn.query_first(count).await.unwrap();
    while first.is_some_and(|first| first < NUMBERS) {
        let now: Option<i64> = conn.query_first(count).await.unwrap();
        if now > first {
            return;
        }
        tokio::task::yield_now().await;
    }
}

impl Database {
    fn sink_of(url: &str) -> Box<dyn Sink> {
        let options = json!({ "url": url, "table": "numbers" });
        parse(&options).unwrap().open(World::new().sink_context()).unwrap()
    }
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_waited_for() {
    let Some(server) = MariaDb::start(&["--innodb-lock-wait-timeout=1"]).await else { return };
    server.execute(TABLE).await;
    server.execute("INSERT INTO numbers VALUES (1, 'a')").await;
    let mut holder = server.conn().await;
    holder.query_drop("BEGIN").await.unwrap();
    holder.query_drop("UPDATE numbers SET note = 'b' WHERE n = 1").await.unwrap();
    let mut sink = Database::sink_of(&server.url());
    let all = events([json!({ "n": 1, "note": "c" })]);
    let writing = tokio::spawn(async move { suite::write_all(&mut *sink, &all).await });
    let mut conn = server.conn().await;
    loop {
        let ask = "SHOW STATUS LIKE 'Innodb_row_lock_waits'";
        let (_, waits): (String, u64) = conn.query_first(ask).await.unwrap().unwrap();
        // The second wait: the first one ended in a timeout and was tried again.
        if waits >= 2 {
            break;
        }
        tokio::task::yield_now().await;
    }
    holder.query_drop("COMMIT").await.unwrap();
    assert_eq!(writing.await.unwrap(), []);
    let note: Option<String> = conn.query_first("SELECT note FROM numbers").await.unwrap();
    assert_eq!(note.as_deref(), Some("c"));
}

#[tokio::test]
async fn a_column_that_is_dropped_while_writing_is_left_out_from_then_on() {
    for database in Database::each().await {
        database.execute(TABLE).await;
        let mut sink = database.sink(json!({ "table": "numbers" }));
        assert_eq!(write(&mut *sink, &events([json!({ "n": 1, "note": "a" })])).await, []);
        database.execute("ALTER TABLE numbers DROP COLUMN note;\n").await;
        let next = events([json!({ "n": 2, "note": "b" })]);
        assert_eq!(suite::write_all(&mut *sink, &next).await, [], "{database:?}");
        assert_eq!(database.rows("SELECT n FROM numbers ORDER BY n").await, ["1", "2"]);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_worth_a_retry_and_shows_no_password() {
    let url = format!("127.0.0.1:{}/shop", courant_testing::free_port());
    for scheme in ["mysql", "postgres"] {
        let mut sink = Database::sink_of(&format!("{scheme}://me:secret@{url}"));
        let error = sink.write(&events([json!({ "n": 1 })])).await.unwrap_err();
        assert!(error.retryable && error.what.contains(&url), "{error}");
        assert!(!error.what.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn tls_is_checked_against_the_certificates_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key) =
        (format!("--ssl-cert={}", at("cert.pem")), format!("--ssl-key={}", at("key.pem")));
    let write_over = async |url: String, ca: Option<String>| {
        let mut options = json!({ "url": url, "table": "numbers" });
        if let Some(ca) = ca {
            options["ca"] = json!(ca);
        }
        let mut sink = parse(&options).unwrap().open(World::new().sink_context()).unwrap();
        sink.write(&events([json!({ "n": 1 })])).await
    };
    if let Some(server) = MariaDb::start(&[&cert, &key]).await {
        server.execute(TABLE).await;
        let url = server.url().replace("127.0.0.1", "localhost") + "?require_ssl=true";
        assert_eq!(write_over(url.clone(), Some(at("cert.pem"))).await.unwrap(), []);
        assert!(write_over(url, None).await.is_err());
    }
    if let Some(server) = Postgres::start().await {
        server.client().await.batch_execute(TABLE).await.unwrap();
        let ca = server.folder().join("cert.pem").display().to_string();
        let url = server.url() + "&sslmode=require";
        assert_eq!(write_over(url.clone(), Some(ca)).await.unwrap(), []);
        assert!(write_over(url, None).await.is_err());
    }
}
