//! AMQP against a real RabbitMQ. A node takes seconds to start, so each test asks
//! several things of its own one.

use std::sync::Arc;

use courant_model::{Header, Record};
use courant_pipeline::connector::{Sink, SourceFactory};
use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};

use super::{sink, source};
use crate::testing::{
    MemoryEmit, World, event,
    servers::rabbitmq::{self, Node},
    suite, with,
};

fn source_with(port: u16, more: Value) -> Arc<dyn SourceFactory> {
    let options = json!({
        "url": format!("amqp://127.0.0.1:{port}"), "queue": "q", "declare": "durable",
    });
    source::parse(&with(options, more)).unwrap()
}

fn sink_with(port: u16, more: Value) -> Box<dyn Sink> {
    let options = json!({ "url": format!("amqp://127.0.0.1:{port}"), "routing_key": "q" });
    sink::parse(&with(options, more)).unwrap().open(World::new().sink_context()).unwrap()
}

/// Makes exchange `ex` (topic), and queue `q` where it is asked for.
async fn make(port: u16, queues: &[&str]) {
    let url = format!("amqp://127.0.0.1:{port}");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    channel.exchange_declare("ex".into(), ExchangeKind::Topic, options, none()).await.unwrap();
    for queue in queues {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare((*queue).into(), options, none()).await.unwrap();
        let binding = QueueBindOptions::default();
        let key = format!("dead.{queue}");
        channel
            .queue_bind((*queue).into(), "ex".into(), key.into(), binding, none())
            .await
            .unwrap();
    }
    connection.close(200, "made".into()).await.unwrap();
}

fn feed(port: u16, queue: &'static str) -> impl AsyncFn(&World, &[&str]) {
    async move |_: &World, values: &[&str]| {
        make(port, &[queue]).await;
        let mut sink = sink_with(port, json!({ "routing_key": queue }));
        let values = (0..).zip(values).map(|(n, value)| event(n, (*value).to_owned()));
        assert_eq!(suite::write_all(&mut *sink, &values.collect::<Vec<_>>()).await, []);
    }
}

fn value(record: &Record, header: &str) -> Option<String> {
    let value = record.header(header)?.value.clone()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[tokio::test]
async fn source_and_sink_pass_the_suites() {
    let Some(node) = rabbitmq::start().await else { return };
    let port = node.port;
    let world = World::new();
    let source = |queue: &str| source_with(port, json!({ "queue": queue }));
    suite::stops_promptly(&world, &*source("order")).await;
    suite::arrives_in_order(&world, &*source("order"), feed(port, "order")).await;
    suite::resumes_where_it_stopped(&World::new(), &*source("resume"), feed(port, "resume")).await;
    suite::sets_bad_input_aside(&World::new(), &*source("bad"), feed(port, "bad")).await;

    make(port, &[]).await;
    let world = World::new();
    let bindings = json!([{ "exchange": "ex", "routing_key": "n.#" }]);
    let options = json!({ "queue": "sink", "declare": "quorum", "bindings": bindings });
    let running = suite::start(&world, &*source_with(port, options));
    let options = json!({ "exchange": "ex", "routing_key": "n.{n}" });
    let mut sink = sink_with(port, options);
    // Until the queue is bound, the broker gives the message back.
    let wait = async {
        while !sink.write(&[event(0, "{\"n\":0}")]).await.unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("no queue");
    let read = async || {
        world.emit.wait_until("151 values", |emit| emit.values().len() >= 151).await;
        world.emit.values()[1..].to_vec()
    };
    suite::writes_in_order(&mut *sink, read).await;
    let read = async || {
        world.emit.wait_until("153 values", |emit| emit.values().len() >= 153).await;
        world.emit.values()[151..].to_vec()
    };
    suite::names_what_it_refuses(&mut *sink, "{\"m\":1}", read).await;
    running.stop().await;
}

#[tokio::test]
async fn properties_survive_and_refusals_say_why() {
    let Some(node) = rabbitmq::start().await else { return };
    let port = node.port;
    make(port, &["q"]).await;
    a_round_trip_keeps_the_properties(port).await;
    what_reaches_no_queue_is_refused(port).await;
    what_is_no_record_can_be_the_brokers_dead_letter(port).await;
    bad_credentials_and_absent_queues_are_told(port).await;
    tls_is_spoken_with_a_trusted_server_only(&node).await;
}

async fn a_round_trip_keeps_the_properties(port: u16) {
    let world = World::new();
    let running = suite::start(&world, &*source_with(port, json!({ "routing_key_as_key": true })));
    let mut sink = sink_with(port, json!({}));
    let mut sent = event(7, "{\"n\":1}");
    let headers = [
        ("trace", "x"),
        ("content-encoding", "utf-8"),
        ("amqp-correlation-id", "c"),
        ("amqp-reply-to", "answers"),
        ("amqp-type", "order"),
        ("amqp-app-id", "shop"),
    ];
    sent.headers = headers.map(|(name, value)| Header::new(name, value)).to_vec();
    assert_eq!(sink.write(&[sent.clone()]).await.unwrap(), []);
    world.emit.wait_for(&["{\"n\":1}"]).await;
    let record = world.emit.records().remove(0);
    assert_eq!(record.key.as_deref(), Some(b"q".as_slice()));
    for (name, text) in headers {
        assert_eq!(value(&record, name).as_deref(), Some(text), "{name}");
    }
    assert_eq!(value(&record, "amqp-routing-key").unwrap(), "q");
    assert_eq!(value(&record, "amqp-message-id").unwrap(), "topic-0-7");
    assert_eq!(value(&record, "content-type").unwrap(), "application/json");
    assert_eq!(record.timestamp, sent.timestamp);
    assert_eq!(record.origin(), Some(sent.origin));
    running.stop().await;
}

async fn what_reaches_no_queue_is_refused(port: u16) {
    let options = json!({ "exchange": "ex", "routing_key": "{to}" });
    let mut sink = sink_with(port, options.clone());
    let events = ["nowhere", "dead.q", "{"].map(|to| event(0, format!("{{\"to\":\"{to}\"}}")));
    let rejections = sink.write(&events).await.unwrap();
    assert_eq!(rejections.iter().map(|one| one.index).collect::<Vec<_>>(), [0, 2]);
    let expected = "exchange \"ex\" has no queue for routing key \"nowhere\"";
    assert!(rejections[0].why.starts_with(expected), "{rejections:?}");
    let mut options = options;
    options["mandatory"] = json!(false);
    assert_eq!(sink_with(port, options).write(&events).await.unwrap(), []);
    let error = sink_with(port, json!({ "exchange": "none" })).write(&events).await.unwrap_err();
    assert!(error.retryable && error.what.contains("no exchange 'none'"), "{error}");
}

async fn what_is_no_record_can_be_the_brokers_dead_letter(port: u16) {
    make(port, &["letters"]).await;
    let options = json!({
        "queue": "dead.letters", "dead_letter_exchange": "ex", "refused": "reject",
    });
    let world = World::new();
    let running = suite::start(&world, &*source_with(port, options));
    let letters = World::new();
    let options = json!({ "queue": "letters", "declare": "existing", "format": "bytes" });
    let reading = suite::start(&letters, &*source_with(port, options));
    let mut sink = sink_with(port, json!({ "routing_key": "dead.letters" }));
    let events = ["1", "oops", "2", "oh no"].map(|value| event(0, value));
    let wait = async {
        while !sink.write(&events[..1]).await.unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("no queue");
    assert_eq!(sink.write(&events[1..]).await.unwrap(), []);
    world.emit.wait_for(&["1", "2"]).await;
    letters.emit.wait_for(&["oops", "oh no"]).await;
    assert!(letters.emit.records()[0].header("x-death").is_some());
    assert!(world.emit.rejected().is_empty());
    reading.stop().await;
    running.stop().await;
}

async fn bad_credentials_and_absent_queues_are_told(port: u16) {
    for url in ["guest:wr0ng@127.0.0.1", "guest:guest@127.0.0.1"] {
        let vhost = if url.contains("wr0ng") { "" } else { "/wr0ng" };
        let options = json!({ "url": format!("amqp://{url}:{port}{vhost}") });
        let wrong = source_with(port, options.clone());
        let error = suite::start(&World::new(), &*wrong).ended().await.unwrap_err();
        assert!(!error.retryable, "{error}");
        assert!(error.what.contains("check user, password and virtual host"), "{error}");
        assert!(error.what.contains(&format!("amqp://127.0.0.1:{port}")), "{error}");
        let error = sink_with(port, options).write(&[event(0, "{}")]).await.unwrap_err();
        assert!(!error.retryable && !error.what.contains("guest:wr0ng"), "{error}");
    }
    let absent = source_with(port, json!({ "queue": "absent", "declare": "existing" }));
    let error = suite::start(&World::new(), &*absent).ended().await.unwrap_err();
    assert!(error.retryable && error.what.contains("find queue \"absent\""), "{error}");
    assert!(error.what.contains("declare: durable"), "{error}");
    let other = source_with(port, json!({ "queue": "q", "declare": "quorum" }));
    let error = suite::start(&World::new(), &*other).ended().await.unwrap_err();
    assert!(error.what.contains("x-queue-type"), "{error}");
}

async fn tls_is_spoken_with_a_trusted_server_only(node: &Node) {
    let url = format!("amqps://localhost:{}", node.tls_port);
    let ca = node.folder().join("cert.pem");
    let mut sink = sink_with(node.tls_port, json!({ "url": url, "ca": ca }));
    assert_eq!(sink.write(&[event(0, "{\"n\":1}")]).await.unwrap(), []);
    let world = World::new();
    let source = source_with(node.tls_port, json!({ "url": url, "ca": ca, "format": "bytes" }));
    let running = suite::start(&world, &*source);
    let came = |emit: &MemoryEmit| emit.values().contains(&"{\"n\":1}".to_owned());
    world.emit.wait_until("the message", came).await;
    running.stop().await;
    let mut sink = sink_with(node.tls_port, json!({ "url": url }));
    let error = sink.write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.what.contains("certificate"), "{error}");
}

#[tokio::test]
async fn nothing_is_lost_when_server_or_source_end_in_the_middle() {
    let Some(mut node) = rabbitmq::start().await else { return };
    let port = node.port;
    make(port, &["q"]).await;
    let world = World::new();
    let source = source_with(port, json!({}));
    let mut running = suite::supervise(&world, Arc::clone(&source));
    let mut sink = sink_with(port, json!({}));
    let feeding = tokio::spawn(async move { suite::write_numbers(&mut *sink, 0..4_000).await });
    for round in 1..=5_usize {
        let enough = |emit: &MemoryEmit| emit.values().len() >= round * 300;
        world.emit.wait_until("some values", enough).await;
        match round {
            1 => node.stop().await,
            2 | 3 => node.kill().await,
            _ => {
                running.crash().await;
                running = suite::supervise(&world, Arc::clone(&source));
                continue;
            }
        }
        node.start().await;
    }
    feeding.await.unwrap();
    let repeated = suite::arrived(&world, 4_000).await;
    assert!(repeated < 2_000, "{repeated}");
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_worth_a_retry() {
    let port = courant_testing::free_port();
    let error = suite::start(&World::new(), &*source_with(port, json!({}))).ended().await;
    assert!(error.unwrap_err().retryable);
    let error = sink_with(port, json!({})).write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.retryable && error.what.contains("connect to amqp://"), "{error}");
}

#[test]
fn all_problems_of_the_options_are_found() {
    let options = json!({ "url": "http://x", "queue": "q", "dead_letter_exchange": "x" });
    let paths: Vec<String> =
        source::parse(&options).unwrap_err().iter().map(|one| one.path.join(".")).collect();
    assert_eq!(paths, ["dead_letter_exchange", "url"]);
    let options = json!({ "url": "x", "routing_key": "{" });
    let paths: Vec<String> =
        sink::parse(&options).unwrap_err().iter().map(|one| one.path.join(".")).collect();
    assert_eq!(paths, ["url", "routing_key"]);
    let url = "amqp://u:secret@h/vhost";
    let shown = [
        format!("{:?}", source::parse(&json!({ "url": url, "queue": "q" })).unwrap()),
        format!("{:?}", sink::parse(&json!({ "url": url, "routing_key": "q" })).unwrap()),
    ];
    assert!(shown.iter().all(|shown| !shown.contains("secret")), "{shown:?}");
}
