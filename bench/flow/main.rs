//! How fast records flow: topic → sql step → topic, topic → history, and rows of a database
//! → nested documents (`nest`).
//!
//! Throughput: a topic is filled first, then a pipeline of the real runtime empties it;
//! records per second, and per second of CPU time of the whole process. Latency:
//! records are appended at 1,000 a second, one by one, and the history's change stream
//! tells when each was stored; from before the append to the change being seen.

#![allow(clippy::print_stdout, reason = "prints its table")]
#![allow(clippy::cast_precision_loss, reason = "rates for people")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use courant_log::{Log, ReadLimit};
use courant_model::{Clock, Record, SystemClock, TopicName, TopicPartition};
use courant_pipeline::{connector::Connectors, runtime::Runtime};
use courant_stores::{Filter, History, WatchFrom};

mod nest;

#[path = "../world.rs"]
mod world;

use world::{Outcome, World, cpu_seconds};

const RECORDS: usize = 1_000_000;
const LATENCY_RECORDS: usize = 20_000;
const STOP: Duration = Duration::from_secs(20);

const HEAD: &str = "
version: 1
name: bench
topics:
  in:
    partitions: 2
    columns: { id: int64, name: string, user: string, duration: int64 }
  out: { partitions: 2 }
pipelines:
  flow:
    from: in
";

const TO_TOPIC: &str = "
    steps:
      - sql: SELECT id, upper(name) AS name, duration * 2 AS duration FROM input WHERE duration > 10
    to: out
";

const TO_HISTORY: &str = "
    to:
      - history: { collection: events }
";

#[tokio::main]
async fn main() -> Outcome<()> {
    println!("| flow | records/s | records per CPU second |");
    println!("|---|---|---|");
    throughput("topic → sql → topic", TO_TOPIC).await?;
    throughput("topic → history", TO_HISTORY).await?;
    nest::measure().await?;
    println!();
    println!("| produce → stored at 1,000/s | p50 | p99 | max |");
    println!("|---|---|---|---|");
    latency().await
}

fn record(id: usize) -> Record {
    let page = id % 2 + 1;
    let value = format!(
        "{{\"id\":{id},\"name\":\"p{page}\",\"user\":\"u{page}\",\"duration\":{}}}",
        11 + id % 900
    );
    Record::new(value, SystemClock.now()).with_key(id.to_string())
}

async fn throughput(name: &str, pipeline: &str) -> Outcome<()> {
    let bench = World::new(&format!("{HEAD}{pipeline}"), Connectors::default()).await?;
    // The first start makes the topics; then they are filled while nothing reads.
    bench.start().await?.stop(STOP).await?;
    let topic = TopicName::new("in")?;
    for first in (0..RECORDS).step_by(10_000) {
        bench.log.append(&topic, None, (first..first + 10_000).map(record).collect()).await?;
    }
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let runtime = bench.start().await?;
    let finished = |runtime: &Runtime| {
        runtime.pipeline("flow").is_some_and(|status| status.records_out as usize >= RECORDS)
    };
    while !finished(&runtime) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    runtime.stop(STOP).await?;
    let stored = if pipeline == TO_TOPIC {
        count(&bench, "out").await?
    } else {
        bench.history.count("events", &Filter::All).await?
    };
    assert_eq!(stored, RECORDS as u64, "{name} did not deliver everything once");
    println!("| {name} | {:.0} | {:.0} |", RECORDS as f64 / seconds, RECORDS as f64 / cpu);
    Ok(())
}

/// How many records a topic of two partitions has; the markers of transactions are none.
async fn count(bench: &World, topic: &str) -> Outcome<u64> {
    let limit = ReadLimit { records: 8_192, bytes: 4 << 20, wait: Duration::ZERO };
    let mut records = 0;
    for partition in 0..2 {
        let at = TopicPartition::new(TopicName::new(topic)?, partition);
        let mut next = 0;
        loop {
            let read = bench.log.read(&at, next, limit).await?;
            records += read.records.len() as u64;
            if read.next == next {
                break;
            }
            next = read.next;
        }
    }
    Ok(records)
}

async fn latency() -> Outcome<()> {
    let bench = World::new(&format!("{HEAD}{TO_HISTORY}"), Connectors::default()).await?;
    let runtime = bench.start().await?;
    let mut changes = bench.history.watch("events", WatchFrom::Now).await?;
    let start = Instant::now();
    let sent_at = |id: usize| Duration::from_millis(id as u64);
    let seen = tokio::spawn(async move {
        let mut seen = vec![Duration::ZERO; LATENCY_RECORDS];
        let mut left = LATENCY_RECORDS;
        while left > 0 {
            for change in changes.next(1_000).await? {
                let now = start.elapsed();
                let id = change.document.as_ref().and_then(|d| d["id"].as_u64()).unwrap_or(0);
                if let Some(at) = seen.get_mut(usize::try_from(id).unwrap_or(usize::MAX)) {
                    *at = now;
                    left -= 1;
                }
            }
        }
        Ok::<_, courant_stores::StoreError>(seen)
    });
    let topic = TopicName::new("in")?;
    let mut appends = Vec::with_capacity(LATENCY_RECORDS);
    for id in 0..LATENCY_RECORDS {
        // Each has its own due time, so that a slow one delays no other (no omission).
        tokio::time::sleep_until((start + sent_at(id)).into()).await;
        let (log, topic) = (Arc::clone(&bench.log), topic.clone());
        appends.push(tokio::spawn(async move { log.append(&topic, None, vec![record(id)]).await }));
    }
    for append in appends {
        append.await??;
    }
    let seen = seen.await??;
    let mut took: Vec<Duration> =
        seen.iter().enumerate().map(|(id, at)| at.saturating_sub(sent_at(id))).collect();
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("| topic → history | {:.2} ms | {:.2} ms | {:.2} ms |", at(0.5), at(0.99), at(1.0));
    runtime.stop(STOP).await?;
    Ok(())
}
