//! Random transactions while the snapshot runs, a reader that is dropped at random.

use std::{collections::HashSet, sync::Arc};

use courant_capture::{Operation, mysql::Progress, testing::MariaDb};
use mysql_async::{Conn, prelude::Queryable};
use tokio::sync::Semaphore;

use crate::support::{Chance, Mirror, catch_up, kept, next, options, select, source};

pub(crate) const TABLES: &str = "
CREATE TABLE customers (customerNumber INT PRIMARY KEY, customerName VARCHAR(50) NOT NULL,
    city VARCHAR(50) CHARACTER SET latin1, creditLimit DECIMAL(10,2));
CREATE TABLE products (productCode VARCHAR(15) PRIMARY KEY, productName VARCHAR(70), buyPrice DECIMAL(10,2));
CREATE TABLE orders (orderNumber INT PRIMARY KEY, orderDate DATE NOT NULL, status VARCHAR(15) NOT NULL,
    comments TEXT, customerNumber INT, changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
    ON UPDATE CURRENT_TIMESTAMP(6), KEY (customerNumber));
CREATE TABLE orderdetails (orderNumber INT, productCode VARCHAR(15), quantityOrdered INT,
    priceEach DECIMAL(10,2), orderLineNumber SMALLINT, PRIMARY KEY (orderNumber, productCode));
INSERT INTO customers SELECT seq, CONCAT('Customer ', seq), 'Zürich', seq * 1.5 FROM seq_1_to_300;
INSERT INTO products SELECT CONCAT('S', seq), CONCAT('Product ', seq), seq / 4 FROM seq_1_to_100;
INSERT INTO orders (orderNumber, orderDate, status, comments, customerNumber)
    SELECT seq, '2024-01-01' + INTERVAL seq % 400 DAY, 'In Process', NULL, 1 + seq % 300 FROM seq_1_to_2000;
INSERT INTO orderdetails SELECT o.seq, CONCAT('S', 1 + (o.seq * 7 + l.seq * 13) % 100), l.seq, 9.99, l.seq
    FROM seq_1_to_2000 o, seq_1_to_3 l";

/// One transaction of up to 50 rows; some are rolled back.
async fn transaction(conn: &mut Conn, chance: &mut Chance) -> mysql_async::Result<()> {
    conn.query_drop("BEGIN").await?;
    let statements = 1 + chance.below(50);
    for _ in 0..statements {
        let order = 1 + chance.below(2_500);
        let product = 1 + chance.below(100);
        let statement = match chance.below(10) {
            0..=2 => format!(
                "INSERT IGNORE INTO orders (orderNumber, orderDate, status, comments, customerNumber)
                 VALUES ({order}, '2025-02-03', 'New', 'größer', {})", 1 + chance.below(300)
            ),
            3 => format!("UPDATE orders SET status = 'Shipped', comments = UUID() WHERE orderNumber = {order}"),
            4 => format!("DELETE FROM orders WHERE orderNumber = {order}"),
            5 => format!(
                "REPLACE INTO orderdetails VALUES ({order}, 'S{product}', {}, {}.25, 1)",
                chance.below(90), chance.below(500)
            ),
            6 => format!("DELETE FROM orderdetails WHERE orderNumber = {order} LIMIT 1"),
            7 => format!("UPDATE customers SET creditLimit = creditLimit + 0.01 WHERE customerNumber = {}", 1 + chance.below(300)),
            // A key that moves, perhaps over the snapshot's edge.
            8 => format!("UPDATE IGNORE orders SET orderNumber = {} WHERE orderNumber = {order}", 1 + chance.below(2_500)),
            _ => format!("UPDATE products SET buyPrice = buyPrice + 1 WHERE productCode = 'S{product}'"),
        };
        conn.query_drop(statement).await?;
    }
    conn.query_drop(if chance.below(10) == 0 { "ROLLBACK" } else { "COMMIT" }).await
}

/// A transaction for each permit until there are no more to come; deadlocks with another
/// writer are rolled back.
pub(crate) async fn write(mut conn: Conn, seed: u64, pace: Arc<Semaphore>) -> u64 {
    let (mut chance, mut done) = (Chance(seed), 0);
    while let Ok(permit) = pace.acquire().await {
        permit.forget();
        match transaction(&mut conn, &mut chance).await {
            Ok(()) => done += 1,
            Err(mysql_async::Error::Server(said)) if matches!(said.code, 1205 | 1213) => {
                conn.query_drop("ROLLBACK").await.unwrap();
            }
            // The server was stopped under the writer.
            Err(_) => return done,
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_equals_the_tables_although_the_reader_is_dropped_at_random() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLES).await;
    // Writers are as fast as the reader, which is slowed by being dropped.
    let pace = Arc::new(Semaphore::new(60));
    let writers: Vec<_> = [11, 12]
        .into_iter()
        .map(async |seed| tokio::spawn(write(server.conn().await, seed, Arc::clone(&pace))))
        .collect();
    let writers = futures::future::join_all(writers).await;

    let mut options = options(&server);
    options.chunk_rows = 250;
    // Most transactions come in parts.
    options.batch_changes = 10;
    let (mut mirror, mut chance, mut resumed, mut batches) = (Mirror::default(), Chance(5), 0, 0);
    let mut reader = source(options.clone(), None);
    let mut position = None;
    let (mut interleaved, mut in_parts, mut within_table) = (false, false, false);
    loop {
        let batch = next(&mut reader).await.unwrap();
        batches += 1;
        // Fewer changes than are read: the reader comes to each chunk's place.
        pace.add_permits(usize::from(batches % 4 == 0));
        let running = !batch.snapshot_complete;
        interleaved |= running && batch.changes.iter().any(|c| c.operation != Operation::Snapshot);
        in_parts |= batch.position.within.is_some();
        batch.changes.iter().for_each(|change| mirror.apply(change));
        position = kept(&batch.position).or(position);
        if chance.below(6) == 0 {
            // Everything but the kept position is lost.
            within_table |=
                matches!(&batch.position.snapshot, Progress::Running { table: Some(_), .. });
            reader = source(options.clone(), position.clone());
            resumed += 1;
        }
        if !running && batches > 150 {
            break;
        }
    }
    pace.close();
    let mut transactions = 0;
    for writer in writers {
        transactions += writer.await.unwrap();
    }
    let mut reader = source(options, position);
    let rest = catch_up(&mut reader, &server).await.unwrap();
    rest.iter().for_each(|change| mirror.apply(change));
    assert_eq!(mirror.shown(), select(&server).await);
    assert_eq!(mirror.open, None);
    assert!(interleaved, "changes came between the chunks");
    assert!(in_parts && within_table && resumed > 10 && transactions > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_come_whole_when_that_is_wanted() {
    let Some(server) = MariaDb::start(&[]).await else { return };
    server.execute(TABLES).await;
    let mut options = options(&server);
    options.whole_transactions = true;
    options.batch_changes = 1;
    let mut reader = source(options, None);
    let first = catch_up(&mut reader, &server).await.unwrap();
    let mut mirror = Mirror::default();
    first.iter().for_each(|change| mirror.apply(change));

    let (mut conn, mut chance) = (server.conn().await, Chance(9));
    for _ in 0..60 {
        transaction(&mut conn, &mut chance).await.unwrap();
    }
    server.execute("UPDATE orderdetails SET quantityOrdered = quantityOrdered + 1").await;
    let last = crate::support::last_sequence(&server).await;
    let mut seen = HashSet::new();
    let mut largest = 0;
    loop {
        let batch = next(&mut reader).await.unwrap();
        assert_eq!(batch.position.within, None, "a batch ends where a transaction ends");
        let ids: HashSet<_> = batch.changes.iter().map(|c| c.transaction.id.clone()).collect();
        assert!(ids.iter().all(|id| seen.insert(id.clone())), "a transaction is in one batch");
        for changes in batch.changes.chunk_by(|a, b| a.transaction.id == b.transaction.id) {
            let indexes = changes.iter().map(|change| change.index);
            assert!(indexes.eq(0..changes.len() as u64), "all of it, in order");
            assert!(
                changes
                    .iter()
                    .rev()
                    .map(|change| change.last)
                    .eq(std::iter::once(true).chain(std::iter::repeat_n(false, changes.len() - 1)))
            );
            largest = largest.max(changes.len());
        }
        batch.changes.iter().for_each(|change| mirror.apply(change));
        if batch.position.gtids.as_deref().map_or(0, crate::support::sequence) >= last {
            break;
        }
    }
    assert!(largest > 1_000, "one had a whole table: {largest}");
    assert_eq!(mirror.shown(), select(&server).await);
}
