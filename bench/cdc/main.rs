//! How fast changes come from a binary log: decoded, into the log, and into the history.
//!
//! A MariaDB of the measurement's own logs rows as of an order's lines, 1,000 to a
//! transaction; then they are read while nothing writes. The snapshot of the same rows is
//! measured too, and how long one committed row takes to its topic at 100 a second.

#![allow(clippy::print_stdout, reason = "prints its table")]
#![allow(clippy::cast_precision_loss, reason = "rates for people")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use courant_capture::{
    Source,
    mysql::{MySqlOptions, MySqlSource, SnapshotMode},
    testing::MariaDb,
};
use courant_log::{Log, ReadLimit};
use courant_model::{TopicName, TopicPartition};
use courant_pipeline::runtime::Runtime;
use courant_stores::{Filter, History};
use mysql_async::prelude::Queryable;

#[path = "../world.rs"]
mod world;

use world::{Outcome, World, cpu_seconds};

const ROWS: u64 = 1_000_000;
const ROWS_PER_TRANSACTION: u64 = 1_000;
const LATENCY_ROWS: usize = 2_000;
const LATENCY_PER_SECOND: u64 = 100;
const STOP: Duration = Duration::from_secs(20);

const TABLE: &str = "CREATE TABLE orderdetails (orderNumber INT NOT NULL,
    productCode VARCHAR(15) NOT NULL, quantityOrdered INT NOT NULL,
    priceEach DECIMAL(10,2) NOT NULL, orderLineNumber SMALLINT NOT NULL,
    PRIMARY KEY (orderNumber, productCode))";

const TO_HISTORY: &str = "
pipelines:
  keep:
    from: rows
    to:
      - history: { collection: rows }
";

#[tokio::main]
async fn main() -> Outcome<()> {
    println!("| from the binary log | rows/s | rows per CPU second |");
    println!("|---|---|---|");
    let server = MariaDb::start(&["--innodb-flush-log-at-trx-commit=2"]).await;
    let server = server.ok_or("MariaDB is missing")?;
    server.execute(TABLE).await;
    let mut capture = capture(&server, SnapshotMode::Never)?;
    // The first batch is the place where the rows will begin.
    capture.next().await?;
    let to_log = World::capturing(&server, "never", "").await?;
    to_log.begin().await?;
    let to_history = World::capturing(&server, "never", TO_HISTORY).await?;
    to_history.begin().await?;
    write(&server).await;

    decode("decoded, one thread", capture).await?;
    to_log.read("→ source `mysql` → topic", false).await?;
    to_history.read("→ source `mysql` → topic → history", true).await?;
    println!();
    println!("| snapshot | rows/s | rows per CPU second |");
    println!("|---|---|---|");
    decode("read and decoded", self::capture(&server, SnapshotMode::Initial)?).await?;
    World::capturing(&server, "initial", "").await?.read("→ source `mysql` → topic", false).await?;
    println!();
    println!("| one row at {LATENCY_PER_SECOND}/s | p50 | p99 | max |");
    println!("|---|---|---|---|");
    latency(&server).await
}

fn capture(server: &MariaDb, snapshot: SnapshotMode) -> Outcome<MySqlSource> {
    let servers = vec![server.url()];
    let options = MySqlOptions { servers, snapshot, ..MySqlOptions::default() };
    Ok(MySqlSource::new(options, None)?)
}

/// Writes the rows, by the server itself.
async fn write(server: &MariaDb) {
    let insert = |first: u64| {
        let last = first + ROWS_PER_TRANSACTION - 1;
        format!(
            "INSERT INTO orderdetails SELECT 10100 + seq DIV 9, CONCAT('S18_', 1000 + seq % 9), \
             seq % 90, 20.05 + seq % 180, 1 + seq % 9 FROM seq_{first}_to_{last}"
        )
    };
    let all: Vec<String> = (0..ROWS).step_by(ROWS_PER_TRANSACTION as usize).map(insert).collect();
    server.execute(&all.join(";\n")).await;
}

/// Reads all rows and does nothing with them.
async fn decode(name: &str, mut capture: MySqlSource) -> Outcome<()> {
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let mut rows = 0;
    while rows < ROWS {
        rows += capture.next().await?.changes.len() as u64;
    }
    tell(name, start, cpu)
}

fn tell(name: &str, start: Instant, cpu: f64) -> Outcome<()> {
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    println!("| {name} | {:.0} | {:.0} |", ROWS as f64 / seconds, ROWS as f64 / cpu);
    Ok(())
}

impl World {
    /// Of a file that captures the rows.
    async fn capturing(server: &MariaDb, snapshot: &str, pipelines: &str) -> Outcome<Self> {
        let file = format!(
            "version: 1\nname: bench\ntopics:\n  rows: {{ partitions: 1 }}\nsources:\n  database:\n    \
             mysql: {{ url: \"{}\", snapshot: {snapshot} }}\n    to: rows\n{pipelines}",
            server.url()
        );
        Self::new(&file, courant_connectors::all()).await
    }

    /// Lets the source keep the present position.
    async fn begin(&self) -> Outcome<()> {
        let runtime = self.start().await?;
        // The position is saved with the first batch, which follows the heartbeat.
        tokio::time::sleep(Duration::from_secs(3)).await;
        runtime.stop(STOP).await?;
        Ok(())
    }

    async fn topic_end(&self) -> Outcome<u64> {
        let at = TopicPartition::new(TopicName::new("rows")?, 0);
        Ok(self.log.offsets(&at).await?.end.try_into()?)
    }

    /// Reads all rows into the topic, and into the history where that is asked for.
    async fn read(&self, name: &str, history: bool) -> Outcome<()> {
        let (start, cpu) = (Instant::now(), cpu_seconds()?);
        let runtime = self.start().await?;
        let there = |runtime: &Runtime| match history {
            true => runtime.pipeline("keep").map_or(0, |status| status.records_out),
            false => runtime.sources().first().map_or(0, |status| status.records),
        };
        while there(&runtime) < ROWS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tell(name, start, cpu)?;
        runtime.stop(STOP).await?;
        assert_eq!(self.topic_end().await?, ROWS, "{name}: each row comes once");
        if history {
            assert_eq!(self.history.count("rows", &Filter::All).await?, ROWS, "{name}");
        }
        Ok(())
    }
}

async fn latency(server: &MariaDb) -> Outcome<()> {
    let bench = World::capturing(server, "never", "").await?;
    bench.begin().await?;
    let runtime = bench.start().await?;
    let at = TopicPartition::new(TopicName::new("rows")?, 0);
    let log = Arc::clone(&bench.log);
    let seen = tokio::spawn(async move {
        let mut seen = Vec::with_capacity(LATENCY_ROWS);
        while seen.len() < LATENCY_ROWS {
            let offset = seen.len() as i64;
            let wait = Duration::from_secs(10);
            let limit = ReadLimit { records: 1_000, bytes: 1 << 20, wait };
            let read = log.read(&at, offset, limit).await?;
            let now = Instant::now();
            seen.extend(read.records.iter().map(|_| now));
        }
        Ok::<_, courant_log::LogError>(seen)
    });
    let mut conn = server.conn().await;
    let mut sent = Vec::with_capacity(LATENCY_ROWS);
    let mut due = tokio::time::interval(Duration::from_millis(1_000 / LATENCY_PER_SECOND));
    for row in 0..LATENCY_ROWS {
        due.tick().await;
        sent.push(Instant::now());
        let insert = format!("INSERT INTO orderdetails VALUES ({row}, 'S1', 1, 1.50, 1)");
        conn.query_drop(insert).await?;
    }
    let seen = seen.await??;
    let mut took: Vec<Duration> =
        seen.iter().zip(&sent).map(|(seen, sent)| seen.saturating_duration_since(*sent)).collect();
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "| statement sent → readable in the topic | {:.2} ms | {:.2} ms | {:.2} ms |",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    runtime.stop(STOP).await?;
    Ok(())
}
