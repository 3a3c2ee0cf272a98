//! The time from the producer's call to the consumer's hands, at a fixed rate.
//!
//! Producer and consumer are two clients of one process, so that they share a clock; the
//! record carries the moment when it was due, not when it was sent, so that a producer
//! held back by its broker does not hide the wait (no coordinated omission).

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;

use crate::{Outcome, Place, throughput};

/// Records before counting starts: connections, caches, the JVM's compiler.
const WARM_UP: Duration = Duration::from_secs(5);

/// A broker that is this far behind does not hold the rate.
const BEHIND_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Latency {
    #[command(flatten)]
    place: Place,
    /// Records a second
    #[arg(long)]
    rate: u64,
    /// How long is measured, after five seconds of warming up
    #[arg(long)]
    seconds: u64,
    #[arg(long)]
    bytes: usize,
}

impl Latency {
    pub(crate) fn run(&self) -> Outcome<()> {
        let consumer: BaseConsumer = self
            .place
            .client()
            .set("group.id", "bench-latency")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.min.bytes", "1")
            .create()?;
        consumer.assign(&throughput::from_the_beginning(&consumer, &self.place.topic)?)?;
        let producer: BaseProducer =
            self.place.client().set("acks", "all").set("linger.ms", "0").create()?;
        let started = Instant::now();
        let total = self.rate * (WARM_UP.as_secs() + self.seconds);
        let (topic, rate, bytes) = (self.place.topic.clone(), self.rate, self.bytes);
        let sending = thread::spawn(move || send(&producer, &topic, started, rate, total, bytes));
        let received = receive(&consumer, started, total);
        sending.join().map_err(|_| "the producer's thread broke down")??;
        let mut micros = received?;
        micros.sort_unstable();
        let at = |share: f64| {
            let index = ((micros.len() as f64 * share).ceil() as usize).clamp(1, micros.len()) - 1;
            micros[index] as f64 / 1_000.0
        };
        let line = json!({
            "records": micros.len(), "p50_ms": at(0.5), "p99_ms": at(0.99),
            "p999_ms": at(0.999), "max_ms": at(1.0),
        });
        println!("{line}");
        Ok(())
    }
}

fn send(
    producer: &BaseProducer,
    topic: &str,
    started: Instant,
    rate: u64,
    total: u64,
    bytes: usize,
) -> Outcome<()> {
    let mut payload = throughput::letters(bytes.max(8));
    for n in 0..total {
        let due = Duration::from_nanos(n * 1_000_000_000 / rate);
        while let Some(early) = due.checked_sub(started.elapsed()) {
            producer.poll(Duration::ZERO);
            // Sleeping is too coarse for the last stretch, spinning too costly for all.
            if early > Duration::from_micros(200) {
                thread::sleep(early - Duration::from_micros(100));
            } else {
                thread::yield_now();
            }
        }
        payload[..8].copy_from_slice(&u64::try_from(due.as_nanos())?.to_be_bytes());
        let mut record = BaseRecord::<(), [u8]>::to(topic).payload(&payload);
        while let Err((error, back)) = producer.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full || started.elapsed() > due + BEHIND_MAX {
                return Err(format!("the broker does not keep up with the rate: {error}").into());
            }
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        if n.is_multiple_of(64) {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(30))?;
    Ok(())
}

/// Microseconds of each record after the warm-up.
fn receive(consumer: &BaseConsumer, started: Instant, total: u64) -> Outcome<Vec<u64>> {
    let mut micros = Vec::new();
    for _ in 0..total {
        let message = consumer.poll(Duration::from_secs(30)).ok_or("nothing came for 30 s")??;
        let now = started.elapsed();
        let stamp = message.payload().and_then(|payload| payload.first_chunk::<8>());
        let due = Duration::from_nanos(u64::from_be_bytes(*stamp.ok_or("a record is too short")?));
        if due >= WARM_UP {
            micros.push(u64::try_from(now.saturating_sub(due).as_micros())?);
        }
    }
    Ok(micros)
}
