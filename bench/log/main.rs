//! How fast the log appends and reads, beside plain files.
//!
//! Append: batches of 1 to 10,000 records of 100 B and 1 kB, encoded beforehand as a
//! client would, by 32 appenders at a time on one partition, durable by `fsync` and by
//! `os`. Beside it one thread that writes the same bytes to a plain file, with an
//! `fdatasync` after each batch: the limit that the disk sets without sharing syncs.
//! Read: the same partition as raw batches and as records, beside a plain read.

#![allow(clippy::print_stdout, reason = "prints its table")]
#![allow(clippy::cast_precision_loss, reason = "rates for people")]

use std::{
    error::Error,
    fs::File,
    io::{Read, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use courant_log::{
    Durability, EmbeddedLog, FetchLimit, Log, LogOptions, ReadLimit, TopicSettings, TopicSpec,
    batch::{BatchSpec, Compression, encode},
};
use courant_model::{Record, Timestamp, TopicName, TopicPartition};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const APPENDERS: usize = 32;

/// Bytes of one measurement, and how long it may take before it is cut short.
const BYTES: usize = 256 << 20;
const TIME: Duration = Duration::from_secs(3);

/// One line of the table.
struct Case {
    durability: Durability,
    record_bytes: usize,
    batch_records: usize,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    println!(
        "| durability | record | records a batch | log, records/s | log, MB/s | plain file, records/s | log / plain |"
    );
    println!("|---|---|---|---|---|---|---|");
    for durability in [Durability::Fsync, Durability::Os] {
        for record_bytes in [100, 1_000] {
            for batch_records in [1, 10, 100, 1_000, 10_000] {
                append(&Case { durability, record_bytes, batch_records }).await?;
            }
        }
    }
    println!();
    println!("| record | log, raw batches | log, records | plain read |");
    println!("|---|---|---|---|");
    for record_bytes in [100, 1_000] {
        read(record_bytes).await?;
    }
    Ok(())
}

fn encoded(case: &Case) -> Outcome<Bytes> {
    let record = Record::new(vec![b'x'; case.record_bytes], Timestamp::from_millis(1));
    let records: Vec<(i32, Record)> = (0..case.batch_records)
        .map(|n| Ok((i32::try_from(n)?, record.clone())))
        .collect::<Outcome<_>>()?;
    let spec = BatchSpec::plain(case.batch_records, Compression::None);
    Ok(encode(&spec, records.iter().map(|(delta, record)| (*delta, record)))?.into())
}

async fn open(
    folder: &Path,
    durability: Durability,
) -> Outcome<(Arc<EmbeddedLog>, TopicPartition)> {
    let options = LogOptions { durability, ..LogOptions::default() };
    let (log, _) = EmbeddedLog::open(&folder.join("log"), options).await?;
    let name = TopicName::new("bench")?;
    let settings = TopicSettings::default();
    log.create_topic(&TopicSpec { name: name.clone(), partitions: 1, settings }).await?;
    Ok((Arc::new(log), TopicPartition::new(name, 0)))
}

async fn append(case: &Case) -> Outcome<()> {
    let bytes = encoded(case)?;
    let batches = (BYTES / bytes.len()).max(APPENDERS);
    let folder = tempfile::tempdir_in(".")?;
    let (log, partition) = open(folder.path(), case.durability).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let appenders: Vec<_> = (0..APPENDERS)
        .map(|_| {
            let (log, partition, bytes, next) =
                (Arc::clone(&log), partition.clone(), bytes.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut appended = 0_usize;
                while next.fetch_add(1, Ordering::Relaxed) < batches && start.elapsed() < TIME {
                    log.append_batch(&partition, bytes.clone()).await?;
                    appended += 1;
                }
                Ok::<_, courant_log::LogError>(appended)
            })
        })
        .collect();
    let mut appended = 0;
    for appender in appenders {
        appended += appender.await??;
    }
    let log_rate = (appended * case.batch_records) as f64 / start.elapsed().as_secs_f64();
    log.close().await?;
    let synced = case.durability == Durability::Fsync;
    let plain_rate =
        plain_write(folder.path(), &bytes, batches, synced)? * case.batch_records as f64;
    println!(
        "| {} | {} B | {} | {log_rate:.0} | {:.0} | {plain_rate:.0} | {:.2} |",
        case.durability,
        case.record_bytes,
        case.batch_records,
        log_rate * bytes.len() as f64 / case.batch_records as f64 / 1e6,
        log_rate / plain_rate
    );
    Ok(())
}

/// Batches a second that one thread writes to a plain file.
fn plain_write(folder: &Path, bytes: &[u8], batches: usize, synced: bool) -> Outcome<f64> {
    let mut file = File::create(folder.join("plain"))?;
    let start = Instant::now();
    let mut written = 0;
    while written < batches && start.elapsed() < TIME {
        file.write_all(bytes)?;
        if synced {
            file.sync_data()?;
        }
        written += 1;
    }
    Ok(written as f64 / start.elapsed().as_secs_f64())
}

async fn read(record_bytes: usize) -> Outcome<()> {
    let case = Case { durability: Durability::Os, record_bytes, batch_records: 1_000 };
    let bytes = encoded(&case)?;
    let batches = BYTES / bytes.len();
    let folder = tempfile::tempdir_in(".")?;
    let (log, partition) = open(folder.path(), case.durability).await?;
    for _ in 0..batches {
        log.append_batch(&partition, bytes.clone()).await?;
    }
    let records = (batches * case.batch_records) as f64;
    let end = i64::try_from(batches * case.batch_records)?;

    let start = Instant::now();
    let (mut next, mut fetched_bytes) = (0, 0_usize);
    while next < end {
        let fetched = log
            .fetch(
                &partition,
                next,
                FetchLimit { bytes: 4 << 20, committed: false, wait: Duration::ZERO },
            )
            .await?;
        fetched_bytes += fetched.batches.len();
        next = fetched.next;
    }
    let raw = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let mut next = 0;
    let limit = ReadLimit { records: 8_192, bytes: 4 << 20, wait: Duration::ZERO };
    while next < end {
        next = log.read(&partition, next, limit).await?.next;
    }
    let decoded = start.elapsed().as_secs_f64();

    log.close().await?;
    std::fs::write(folder.path().join("plain"), vec![b'x'; fetched_bytes])?;
    let start = Instant::now();
    let mut file = File::open(folder.path().join("plain"))?;
    let mut buffer = vec![0; 4 << 20];
    while file.read(&mut buffer)? > 0 {}
    let plain = start.elapsed().as_secs_f64();
    println!(
        "| {record_bytes} B | {:.0} records/s | {:.0} records/s | {:.0} records/s |",
        records / raw,
        records / decoded,
        records / plain
    );
    Ok(())
}
