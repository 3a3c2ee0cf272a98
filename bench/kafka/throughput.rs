//! Records a second, in and out.
//!
//! Producers are threads with a client each, as applications have; all begin together,
//! and the clock stops when the last record of the last one is acknowledged. The bytes
//! of records are random letters, so that compression has work but finds some.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use futures::executor::block_on;
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use serde_json::json;

use crate::{Outcome, Place};

/// Longest silence after which a measurement is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct Produce {
    #[command(flatten)]
    place: Place,
    /// Records of all producers together
    #[arg(long)]
    records: u64,
    #[arg(long)]
    bytes: usize,
    #[arg(long, default_value = "none")]
    compression: String,
    #[arg(long, default_value_t = 1)]
    producers: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    #[command(flatten)]
    place: Place,
    /// Ends after this many
    #[arg(long)]
    records: u64,
}

/// Counts what is acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    done: AtomicU64,
    failed: AtomicU64,
}

struct Counting(Arc<Acknowledged>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.0.done } else { &self.0.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn create(place: &Place, partitions: i32, configs: &[String]) -> Outcome<()> {
    let admin: AdminClient<DefaultClientContext> = place.client().create()?;
    let mut topic = NewTopic::new(&place.topic, partitions, TopicReplication::Fixed(1));
    for config in configs {
        let (name, value) = config.split_once('=').ok_or("--config wants NAME=VALUE")?;
        topic = topic.set(name, value);
    }
    let results = block_on(admin.create_topics([&topic], &AdminOptions::new()))?;
    for result in results {
        result.map_err(|(topic, code)| format!("creating topic {topic:?}: {code}"))?;
    }
    Ok(())
}

impl Produce {
    pub(crate) fn run(&self) -> Outcome<()> {
        let share = self.records / self.producers;
        let begin = Arc::new(Barrier::new(usize::try_from(self.producers)? + 1));
        let payload = letters(self.bytes);
        let mut threads = Vec::new();
        for _ in 0..self.producers {
            let producer = self.producer()?;
            let (begin, payload) = (Arc::clone(&begin), payload.clone());
            let topic = self.place.topic.clone();
            threads.push(thread::spawn(move || {
                begin.wait();
                send(&producer, &topic, &payload, share)
            }));
        }
        begin.wait();
        let started = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| "a producer's thread broke down")??;
        }
        let seconds = started.elapsed().as_secs_f64();
        let records = share * self.producers;
        let line =
            json!({ "records": records, "seconds": seconds, "rate": records as f64 / seconds });
        println!("{line}");
        Ok(())
    }

    fn producer(&self) -> Outcome<(BaseProducer<Counting>, Arc<Acknowledged>)> {
        let counted = Arc::new(Acknowledged::default());
        let producer: BaseProducer<Counting> = self
            .place
            .client()
            .set("acks", "all")
            .set("compression.type", &self.compression)
            .set("linger.ms", "5")
            .set("batch.size", "262144")
            .set("queue.buffering.max.messages", "500000")
            .create_with_context(Counting(Arc::clone(&counted)))?;
        // Connections and metadata are not what is measured.
        producer.client().fetch_metadata(Some(&self.place.topic), SILENCE_MAX)?;
        Ok((producer, counted))
    }
}

/// Sends and waits until all of it is acknowledged.
fn send(
    (producer, counted): &(BaseProducer<Counting>, Arc<Acknowledged>),
    topic: &str,
    payload: &[u8],
    records: u64,
) -> Outcome<()> {
    for n in 0..records {
        let mut record = BaseRecord::<(), [u8]>::to(topic).payload(payload);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        if n.is_multiple_of(1_000) {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(SILENCE_MAX)?;
    let failed = counted.failed.load(Ordering::Relaxed);
    let done = counted.done.load(Ordering::Relaxed);
    if failed > 0 || done < records {
        return Err(format!("{done} of {records} records acknowledged, {failed} failed").into());
    }
    Ok(())
}

impl Consume {
    pub(crate) fn run(&self) -> Outcome<()> {
        let consumer: BaseConsumer = self
            .place
            .client()
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("fetch.message.max.bytes", "4194304")
            .set("queued.min.messages", "200000")
            // With the default of a second a full queue stops the client that long.
            .set("fetch.queue.backoff.ms", "1")
            .create()?;
        let started = Instant::now();
        consumer.assign(&from_the_beginning(&consumer, &self.place.topic)?)?;
        let (mut seen, mut bytes) = (0u64, 0u64);
        let mut first = None;
        while seen < self.records {
            let message = consumer.poll(SILENCE_MAX).ok_or("nothing came for 30 s")??;
            first.get_or_insert_with(Instant::now);
            seen += 1;
            bytes += message.payload_len() as u64;
        }
        let since_first = first.unwrap_or(started).elapsed().as_secs_f64();
        let line = json!({
            "records": seen, "bytes": bytes,
            "seconds": since_first, "rate": seen as f64 / since_first,
            "with_start_seconds": started.elapsed().as_secs_f64(),
        });
        println!("{line}");
        Ok(())
    }
}

/// All partitions of a topic, from their first record.
pub(crate) fn from_the_beginning(
    consumer: &BaseConsumer,
    topic: &str,
) -> Outcome<TopicPartitionList> {
    let metadata = consumer.fetch_metadata(Some(topic), SILENCE_MAX)?;
    let found = metadata.topics().first().ok_or("topic is not in the metadata")?;
    let mut list = TopicPartitionList::new();
    for partition in found.partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    Ok(list)
}

/// Letters from a small generator with a fixed seed.
pub(crate) fn letters(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + u8::try_from(state % 26).unwrap_or(0)
    };
    (0..bytes).map(letter).collect()
}
