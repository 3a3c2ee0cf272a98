//! Every type: snapshot and log hold exactly what a SELECT shows.

use courant_capture::{Operation, mysql::SnapshotMode, testing::MariaDb};

use crate::support::{Mirror, catch_up, next, options, select, source};

const TABLES: &str = "
CREATE TABLE numbers (id INT PRIMARY KEY,
    t TINYINT, tu TINYINT UNSIGNED, s SMALLINT, su SMALLINT UNSIGNED, m MEDIUMINT,
    mu MEDIUMINT UNSIGNED, i INT, iu INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED ZEROFILL,
    f FLOAT, d DOUBLE, du DOUBLE UNSIGNED, de DECIMAL(65,30), dd DECIMAL(10,2), di DECIMAL(18,0),
    b1 BIT(1), b10 BIT(10), b64 BIT(64), bo BOOLEAN);
CREATE TABLE times (id INT PRIMARY KEY,
    d DATE, y YEAR, t0 TIME, t1 TIME(1), t3 TIME(3), t6 TIME(6), dt0 DATETIME, dt2 DATETIME(2),
    dt5 DATETIME(5), dt6 DATETIME(6), ts0 TIMESTAMP NULL, ts4 TIMESTAMP(4) NULL, ts6 TIMESTAMP(6) NULL);
CREATE TABLE texts (id INT PRIMARY KEY,
    c CHAR(5), wide CHAR(255) CHARACTER SET utf8mb4, v VARCHAR(20), long_v VARCHAR(400),
    tt TINYTEXT, te TEXT, mt MEDIUMTEXT, lt LONGTEXT, l1 VARCHAR(20) CHARACTER SET latin1,
    l2 VARCHAR(20) CHARACTER SET latin2, cy VARCHAR(20) CHARACTER SET cp1251,
    dos CHAR(20) CHARACTER SET cp850, g VARCHAR(20) CHARACTER SET greek,
    sj VARCHAR(20) CHARACTER SET sjis, gb VARCHAR(20) CHARACTER SET gbk,
    bi VARCHAR(20) CHARACTER SET big5, kr VARCHAR(20) CHARACTER SET euckr,
    uj VARCHAR(20) CHARACTER SET ujis, u2 VARCHAR(20) CHARACTER SET ucs2,
    u16 TEXT CHARACTER SET utf16, u16l VARCHAR(20) CHARACTER SET utf16le,
    u32 VARCHAR(20) CHARACTER SET utf32, u3 VARCHAR(20) CHARACTER SET utf8mb3,
    uca VARCHAR(20) COLLATE utf8mb4_uca1400_ai_ci,
    e ENUM('small','it''s','x,y','ü'), e1 ENUM('é','b') CHARACTER SET latin1,
    st SET('a','b','c d','ü'), j JSON,
    cv VARCHAR(600) COMPRESSED, ct TEXT COMPRESSED, cl VARCHAR(400) COMPRESSED CHARACTER SET latin1);
CREATE TABLE bytes (id BINARY(4) PRIMARY KEY,
    b BINARY(8), vb VARBINARY(20), long_vb VARBINARY(400), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB,
    lb LONGBLOB, cb BLOB COMPRESSED, u UUID, i4 INET4, i6 INET6,
    p POINT, g GEOMETRY, po POLYGON,
    virt INT AS (LENGTH(vb)) VIRTUAL, stored INT AS (LENGTH(vb) + 1) STORED,
    hidden INT INVISIBLE DEFAULT 7);
CREATE TABLE keyed (a VARCHAR(10), b DECIMAL(20,5), c ENUM('z','y','x'), d DATETIME(3), e BIGINT UNSIGNED,
    n INT, PRIMARY KEY (a, b, c, d, e))";

/// Rows whose ids begin with the given digit.
fn rows(group: u32) -> String {
    let long = "lang ".repeat(70);
    format!(
        "SET SESSION sql_mode = '';
INSERT INTO numbers VALUES
    ({group}0, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295,
     -9223372036854775808, 18446744073709551615, -1.17549435e-38, 2.2250738585072014e-308, 0.1,
     -12345678901234567890123456789012345.123456789012345678901234567891, -0.01, 999999999999999999,
     1, 513, 18446744073709551615, TRUE),
    ({group}1, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807, 0, 3.4028235e38,
     1.7976931348623157e308, 0, 99999999999999999999999999999999999.999999999999999999999999999999,
     12345678.90, -999999999999999999, 0, 0, 0, FALSE),
    ({group}2, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, 1.1, -0.1, 1e10, 0.000000000000000000000000000001,
     1000000.00, 1000000000, b'1', b'1111111111', 1, 5),
    ({group}3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SET SESSION time_zone = '+05:30';
INSERT INTO times VALUES
    ({group}0, '9999-12-31', 2155, '838:59:59', '-838:59:58.9', '-00:00:00.001', '12:34:56.789012',
     '9999-12-31 23:59:59', '1000-01-01 00:00:00.01', '2024-02-29 12:00:00.12345',
     '2024-02-29 23:59:59.999999', '1971-01-01 00:00:01', '2038-01-19 03:14:07.9999', '2000-02-29 00:00:00.000001'),
    ({group}1, '0000-00-00', 0, '-00:00:01', '00:00:00.1', '-12:34:56.500', '-838:59:58.000001',
     '0000-00-00 00:00:00', '2024-00-00 01:02:03.04', '0001-01-01 00:00:00', '1970-01-01 00:00:00.5',
     '0000-00-00 00:00:00', '1999-12-31 23:59:59.0001', '2024-06-30 12:00:00'),
    ({group}2, '1000-01-01', 1901, '00:00:00', '-00:00:00.1', '100:00:00', '-00:00:00.000001',
     '1582-10-15 00:00:00', '2024-01-01 00:00:00.99', '2024-01-01 00:00:00', '2024-01-01 00:00:00', NULL, NULL, NULL),
    ({group}3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO texts VALUES
    ({group}0, 'ab  ', REPEAT('😀', 255), 'x  ', '{long}', 'é', 'ß', 'm', '{long}', 'café €',
     'Łódź', 'Привет', 'Çé½', 'Ελλάδα', '日本', '你好', '你好', '한국', '日本語', 'ä語', '😀z', '😀', '😀', '語', 'ñ',
     'x,y', 'é', 'a,c d,ü', '{{\"a\": [1, \"ü\", null]}}', '{long}', '{long}{long}', REPEAT('é', 300)),
    ({group}1, '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '',
     'it''s', 'b', '', '[]', '', '', 'é'),
    ({group}2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ({group}3, 'é', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'ÿ', 'ä', 'Ё', '╬', 'Ω', 'ｱ', '中', '中', '글', 'ｱ', 'z',
     'z', 'z', 'z', 'z', 'z', 'ü', 'é', 'ü', '1', REPEAT('q', 600), 'short', 'b');
INSERT INTO bytes (id, b, vb, long_vb, tb, bl, mb, lb, cb, u, i4, i6, p, g, po) VALUES
    (X'{group}0000000', X'0100', X'0100', X'00', X'FF', REPEAT(X'00', 5000), X'01', X'FFFE', REPEAT(X'AB', 900),
     '123e4567-e89b-12d3-a456-426614174000', '1.2.3.0', '2001:db8::1:0', POINT(1, -2.5),
     ST_GeomFromText('LINESTRING(0 0, 1 1)', 4326), ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')),
    (X'{group}0000100', X'', X'', X'', X'', X'', X'', X'', X'', 'ffffffff-ffff-4fff-bfff-ffffffffff00', '0.0.0.0', '::',
     POINT(0, 0), ST_GeomFromText('MULTIPOINT(1 2, 3 4)'), NULL),
    (X'{group}00001FF', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '00000000-0000-0000-0000-000000000000',
     '255.255.255.255', '::ffff:1.2.3.4', NULL, NULL, NULL),
    (X'{group}0FF0000', X'FF', X'FF', X'FF', X'00', X'00', X'00', X'00', X'01', NULL, NULL, '::1.2.3.4', NULL, NULL, NULL);
INSERT INTO keyed SELECT CONCAT('{group}', seq % 3), seq % 5 - 2.00001, 1 + seq % 3,
    '2024-01-01 00:00:00.250' + INTERVAL seq % 7 SECOND, 18446744073709551615 - seq, seq FROM seq_1_to_40"
    )
}

/// Changes every row in some column that is no key, and some keys.
const UPDATES: &str = "UPDATE numbers SET i = 7, id = id + 1000;
UPDATE times SET y = 2000;
UPDATE texts SET v = CONCAT(COALESCE(v, ''), 'ü');
UPDATE bytes SET vb = X'000100', hidden = hidden + 1;
UPDATE keyed SET n = -n, c = 'y' WHERE n % 2 = 0;
DELETE FROM keyed WHERE n % 5 = 0";

async fn every_type_is_exact(arguments: &[&str]) {
    let Some(server) = MariaDb::start(arguments).await else { return };
    server.execute(TABLES).await;
    server.execute(&rows(1)).await;
    let mut mirror = Mirror::default();
    let mut options = options(&server);
    // Chunks end within all kinds of keys.
    options.chunk_rows = 3;
    let mut source = source(options, None);
    let snapshot = catch_up(&mut source, &server).await.unwrap();
    assert!(snapshot.iter().all(|change| change.operation == Operation::Snapshot));
    snapshot.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&server).await, "the snapshot");
    let tables: Vec<_> =
        ["numbers", "times", "texts", "bytes", "keyed"].map(|t| format!("shop.{t}")).into();
    let before: Vec<_> = tables.iter().map(|name| mirror.table(name).clone()).collect();

    for statements in [rows(2), UPDATES.to_owned(), "DELETE FROM texts WHERE id % 2 = 0".into()] {
        server.execute(&statements).await;
        let changes = catch_up(&mut source, &server).await.unwrap();
        assert!(!changes.is_empty());
        changes.iter().for_each(|change| mirror.apply(change));
        assert_eq!(mirror.shown(), select(&server).await, "{statements}");
    }
    let after: Vec<_> = tables.iter().map(|name| mirror.table(name).clone()).collect();
    assert_eq!(before, after, "catalogue and log describe the same tables");
}

#[tokio::test]
async fn every_type_is_exact_with_full_metadata() {
    every_type_is_exact(&[]).await;
}

#[tokio::test]
async fn every_type_is_exact_without_metadata() {
    every_type_is_exact(&["--binlog-row-metadata=NO_LOG"]).await;
}

#[tokio::test]
async fn every_type_is_exact_with_minimal_metadata() {
    every_type_is_exact(&["--binlog-row-metadata=MINIMAL"]).await;
}

#[tokio::test]
async fn every_type_is_exact_in_a_compressed_log_without_checksums() {
    let compressed = ["--log-bin-compress=ON", "--log-bin-compress-min-len=10"];
    every_type_is_exact(&[&compressed[..], &["--binlog-checksum=NONE"]].concat()).await;
}

#[tokio::test]
async fn columns_and_tables_that_are_not_chosen_stay_away() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server
        .execute(
            "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(20), password VARCHAR(20), note TEXT);
CREATE TABLE people_old (id INT PRIMARY KEY);
CREATE TABLE other (id INT PRIMARY KEY);
INSERT INTO people VALUES (1, 'Ada', 'secret', NULL)",
        )
        .await;
    let mut options = options(&server);
    options.selection.tables = vec!["people*".into()];
    options.selection.tables_except = vec!["*_old".into()];
    options.selection.columns_except = vec!["people.pass*".into()];
    let mut source = source(options, None);
    let mut changes = catch_up(&mut source, &server).await.unwrap();
    server
        .execute(
            "INSERT INTO other VALUES (1);
INSERT INTO people_old VALUES (1);
UPDATE people SET password = 'other', note = 'n'",
        )
        .await;
    changes.extend(catch_up(&mut source, &server).await.unwrap());
    let json: Vec<_> = changes
        .iter()
        .map(|change| (change.operation, change.table.to_json(change.after.as_ref().unwrap())))
        .map(|(operation, row)| (operation, serde_json::Value::Object(row).to_string()))
        .collect();
    assert_eq!(
        json,
        [
            (Operation::Snapshot, r#"{"id":1,"name":"Ada","note":null}"#.to_owned()),
            (Operation::Update, r#"{"id":1,"name":"Ada","note":"n"}"#.to_owned()),
        ]
    );
}

#[tokio::test]
async fn without_a_snapshot_only_later_changes_come() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute("CREATE TABLE t (id INT PRIMARY KEY);\nINSERT INTO t VALUES (1)").await;
    let mut options = options(&server);
    options.snapshot = SnapshotMode::Never;
    let mut source = source(options, None);
    // The first batch is the position to start from.
    assert!(next(&mut source).await.unwrap().changes.is_empty());
    server.execute("INSERT INTO t VALUES (2)").await;
    let changes = catch_up(&mut source, &server).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].operation, Operation::Insert);
}
