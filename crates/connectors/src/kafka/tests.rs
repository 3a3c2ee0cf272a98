//! Source and sink against a real cluster of one node.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use courant_kafka::{KafkaLog, testing::Cluster};
use courant_log::{Log, ReadLimit, TopicSettings, TopicSpec};
use courant_model::{ByteSize, Header, Record, StoredRecord, Timestamp, TopicName, TopicPartition};
use courant_pipeline::{
    connector::{Sink, SourceFactory},
    event::{Event, Payload},
};
use serde_json::{Value, json};

use super::*;
use crate::testing::{World, event, suite};

/// The shared cluster with a topic of one partition, and our own view of it.
struct Outside {
    cluster: &'static Cluster,
    log: KafkaLog,
    topic: TopicName,
}

/// A name that no other test uses.
fn fresh(of: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{of}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Outside {
    /// `None` where there is no Kafka.
    async fn new() -> Option<Self> {
        let cluster = tokio::task::spawn_blocking(Cluster::shared).await.unwrap()?;
        let log = KafkaLog::connect(cluster.options()).await.unwrap();
        let outside = Self { cluster, log, topic: TopicName::new(&fresh("topic")).unwrap() };
        outside.create(&outside.topic, TopicSettings::default()).await;
        Some(outside)
    }

    async fn create(&self, name: &TopicName, settings: TopicSettings) {
        let spec = TopicSpec { name: name.clone(), partitions: 1, settings };
        self.log.create_topic(&spec).await.unwrap();
    }

    async fn feed(&self, values: &[&str]) {
        let record = |value: &&str| Record::new((*value).to_owned(), now());
        let records = values.iter().map(record).collect();
        self.log.append(&self.topic, Some(0), records).await.unwrap();
    }

    async fn records(&self, topic: &TopicName) -> Vec<StoredRecord> {
        let at = TopicPartition::new(topic.clone(), 0);
        let limit = ReadLimit { records: 1_000, bytes: 1 << 24, wait: Default::default() };
        let (mut all, mut next) = (Vec::new(), 0);
        loop {
            let read = self.log.read(&at, next, limit).await.unwrap();
            if read.next == next {
                return all;
            }
            all.extend(read.records);
            next = read.next;
        }
    }

    async fn values(&self) -> Vec<String> {
        let value = |stored: StoredRecord| {
            String::from_utf8(stored.record.value.unwrap_or_default().to_vec()).unwrap()
        };
        self.records(&self.topic).await.into_iter().map(value).collect()
    }

    fn source(&self, more: Value) -> Arc<dyn SourceFactory> {
        let mut options = json!({
            "brokers": self.cluster.brokers(),
            "topics": [self.topic.as_str()],
            "group": fresh("group"),
        });
        overlay(&mut options, more);
        (SOURCE.parse)(&options).unwrap()
    }

    fn sink(&self, more: Value) -> Box<dyn Sink> {
        let mut options = json!({ "brokers": self.cluster.brokers() });
        overlay(&mut options, more);
        (SINK.parse)(&options).unwrap().open(World::new().sink_context()).unwrap()
    }
}

fn overlay(options: &mut Value, more: Value) {
    let (Value::Object(options), Value::Object(more)) = (options, more) else { panic!() };
    options.extend(more);
}

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(now.as_millis() as i64)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_arrive_in_order_and_the_source_stops_when_told() {
    let Some(outside) = Outside::new().await else { return };
    let world = World::new();
    let factory = outside.source(json!({}));
    suite::stops_promptly(&world, factory.as_ref()).await;
    let feed = async |_: &World, values: &[&str]| outside.feed(values).await;
    suite::arrives_in_order(&world, factory.as_ref(), feed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_resumes_where_its_group_committed() {
    let Some(outside) = Outside::new().await else { return };
    let factory = outside.source(json!({}));
    let feed = async |_: &World, values: &[&str]| outside.feed(values).await;
    suite::resumes_where_it_stopped(&World::new(), factory.as_ref(), feed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_before_it_is_safe() {
    let Some(outside) = Outside::new().await else { return };
    outside.feed(&["a", "b"]).await;
    let factory = outside.source(json!({}));
    let world = World::new();
    world.emit.fail_with(LogError::DiskFull { action: "append".into() });
    let error = suite::start(&world, factory.as_ref()).ended().await.unwrap_err();
    assert!(error.retryable, "{error}");
    let world = World::new();
    let running = suite::start(&world, factory.as_ref());
    world.emit.wait_for(&["a", "b"]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_fit_an_expression_are_read_also_those_that_come_later() {
    let Some(outside) = Outside::new().await else { return };
    let name = |end: &str| TopicName::new(&format!("{}.{end}", outside.topic)).unwrap();
    let (first, other, later) = (name("in.1"), name("out.1"), name("in.2"));
    outside.create(&first, TopicSettings::default()).await;
    outside.create(&other, TopicSettings::default()).await;
    let one = |value: &str| vec![Record::new(value.to_owned(), now())];
    outside.log.append(&first, None, one("first")).await.unwrap();
    outside.log.append(&other, None, one("other")).await.unwrap();
    let world = World::new();
    let topics = json!({ "topics": [format!("^{}\\.in\\..*", outside.topic)] });
    let running = suite::start(&world, outside.source(topics).as_ref());
    world.emit.wait_for(&["first"]).await;
    outside.create(&later, TopicSettings::default()).await;
    outside.log.append(&later, None, one("later")).await.unwrap();
    world.emit.wait_for(&["first", "later"]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_starts_late_leaves_out_what_was() {
    let Some(outside) = Outside::new().await else { return };
    outside.feed(&["before"]).await;
    let world = World::new();
    let factory = outside.source(json!({ "start": "latest", "place_header": "from" }));
    let running = suite::start(&world, factory.as_ref());
    // Fed until one comes: the first may have been written before the source stood.
    let feeding = async {
        loop {
            outside.feed(&["after"]).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = world.emit.wait_until("a record", |emit| !emit.values().is_empty()) => {}
        () = feeding => {}
    }
    assert!(world.emit.values().iter().all(|value| value == "after"));
    let record = world.emit.records().remove(0);
    let place = record.header("from").and_then(|header| header.value.clone()).unwrap();
    let place = String::from_utf8(place.to_vec()).unwrap();
    assert!(place.starts_with(&format!("{}-0@", outside.topic)), "{place}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_keeps_keys_headers_timestamps_and_tombstones() {
    let Some(outside) = Outside::new().await else { return };
    let records = vec![
        Record {
            key: Some("k".into()),
            value: Some("{\"n\":1}".into()),
            headers: vec![
                Header::new("courant-origin", "5"),
                Header::new("h", "x"),
                Header { name: "null".into(), value: None },
            ],
            timestamp: now(),
        },
        Record {
            key: Some("k".into()),
            value: None,
            headers: vec![Header::new("courant-origin", "6")],
            timestamp: now(),
        },
    ];
    outside.log.append(&outside.topic, Some(0), records.clone()).await.unwrap();
    let world = World::new();
    let running = suite::start(&world, outside.source(json!({})).as_ref());
    world.emit.wait_until("two records", |emit| emit.values().len() == 2).await;
    running.stop().await;
    let events: Vec<Event> = (0..)
        .zip(world.emit.records())
        .map(|(offset, record)| {
            let (topic, partition) = (outside.topic.clone(), 0);
            Event::from_stored(StoredRecord { topic, partition, offset, record })
        })
        .collect();
    let target = TopicName::new(&fresh("target")).unwrap();
    outside.create(&target, TopicSettings::default()).await;
    let mut sink = outside.sink(json!({ "topic": target.as_str() }));
    assert_eq!(sink.write(&events).await.unwrap(), []);
    sink.flush().await.unwrap();
    let carried = outside.records(&target).await;
    assert_eq!(carried.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_writes_in_order_and_names_what_it_refuses() {
    let Some(outside) = Outside::new().await else { return };
    let mut sink = outside.sink(json!({ "topic": outside.topic.as_str() }));
    suite::writes_in_order(sink.as_mut(), async || outside.values().await).await;

    let small = Outside::new().await.unwrap();
    small.log.delete_topic(&small.topic).await.unwrap();
    let message_bytes_max = ByteSize::from_bytes(1_000);
    small.create(&small.topic, TopicSettings { message_bytes_max, ..Default::default() }).await;
    let mut sink = small.sink(json!({ "topic": small.topic.as_str() }));
    let bad = format!("\"{}\"", "x".repeat(2_000));
    suite::names_what_it_refuses(sink.as_mut(), &bad, async || small.values().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_records_topic_comes_from_where_the_sink_is_told() {
    let Some(outside) = Outside::new().await else { return };
    let to = outside.topic.as_str();
    let event = |value: Value, header: Option<&str>| Event {
        headers: header.map(|name| Header::new("to", name.to_owned())).into_iter().collect(),
        payload: Payload::from_json(value),
        ..event(0, "")
    };
    let mut sink = outside.sink(json!({ "topic_field": "to" }));
    let events = [
        event(json!({ "to": to, "n": 1 }), None),
        event(json!({ "to": "no-such-topic", "n": 2 }), None),
        event(json!({ "n": 3 }), None),
        event(json!({ "to": "not a name", "n": 4 }), None),
    ];
    let refused = sink.write(&events).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [1, 2, 3]);
    let mut sink = outside.sink(json!({ "topic_header": "to" }));
    let events = [event(json!({ "n": 5 }), Some(to)), event(json!({ "n": 6 }), None)];
    let refused = sink.write(&events).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [1]);
    let mut sink = outside.sink(json!({}));
    let mut same = event(json!({ "n": 7 }), None);
    same.source.partition.topic = outside.topic.clone();
    assert_eq!(sink.write(&[same]).await.unwrap(), []);
    let expected = [format!("{{\"to\":\"{to}\",\"n\":1}}"), "{\"n\":5}".into(), "{\"n\":7}".into()];
    assert_eq!(outside.values().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_topic_that_is_missing_holds_the_sink() {
    let Some(outside) = Outside::new().await else { return };
    let mut sink = outside.sink(json!({ "topic": "comes-later" }));
    let error = sink.write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.retryable && error.what.contains("comes-later"), "{error}");
    outside.create(&TopicName::new("comes-later").unwrap(), TopicSettings::default()).await;
    assert_eq!(sink.write(&[event(0, "{}")]).await.unwrap(), []);
}

#[test]
fn options_that_cannot_be_are_told_all_at_once() {
    let source = json!({
        "brokers": ["a:b"],
        "topics": ["no good", "^fine.*"],
        "group": "g",
        "access": { "password": "hidden" },
    });
    let problems = (SOURCE.parse)(&source).unwrap_err();
    let told = format!("{problems:?}");
    for what in ["a:b", "no good", "password has no user"] {
        assert!(told.contains(what), "{what}: {told}");
    }
    assert!(!told.contains("hidden"));
    let empty = json!({ "brokers": [], "topics": [], "group": "" });
    let paths: Vec<_> = (SOURCE.parse)(&empty).unwrap_err().into_iter().map(|p| p.path).collect();
    assert_eq!(paths, [["brokers"], ["topics"], ["group"]]);
    let sink = json!({
        "brokers": ["a"],
        "topic": "t",
        "topic_field": "f",
        "access": { "certificate": "c.pem", "properties": { "acks": "0" } },
    });
    let told = format!("{:?}", (SINK.parse)(&sink).unwrap_err());
    for what in ["two ways", "belong together", "acks"] {
        assert!(told.contains(what), "{what}: {told}");
    }
}
