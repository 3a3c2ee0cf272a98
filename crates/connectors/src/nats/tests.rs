//! NATS against a real server with JetStream.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_nats::jetstream;
use courant_model::{Header, Record};
use courant_pipeline::{
    connector::{Sink, SourceFactory},
    event::Event,
};
use serde_json::{Value, json};

use super::{sink, source};
use crate::testing::{
    MemoryEmit, World, event,
    servers::{
        Server,
        nats::{self, Kind},
    },
    suite, with,
};

fn source_with(port: u16, more: Value) -> Arc<dyn SourceFactory> {
    let options = json!({
        "url": format!("nats://127.0.0.1:{port}"), "stream": "S", "create": ["a.>"],
        "durable": "courant",
    });
    source::parse(&with(options, more)).unwrap()
}

/// A source without JetStream.
fn plain_source(port: u16, more: Value) -> Arc<dyn SourceFactory> {
    let options = json!({
        "url": format!("nats://127.0.0.1:{port}"), "jetstream": false, "subject": "a.>",
    });
    source::parse(&with(options, more)).unwrap()
}

fn sink_with(port: u16, more: Value) -> Box<dyn Sink> {
    let options = json!({ "url": format!("nats://127.0.0.1:{port}"), "subject": "a.b" });
    sink::parse(&with(options, more)).unwrap().open(World::new().sink_context()).unwrap()
}

/// A client that is not ours.
async fn client(port: u16) -> async_nats::Client {
    async_nats::connect(format!("nats://127.0.0.1:{port}")).await.unwrap()
}

async fn make_stream(port: u16, name: &str, subject: &str) -> jetstream::stream::Stream {
    let context = jetstream::new(client(port).await);
    let config = jetstream::stream::Config {
        name: name.into(),
        subjects: vec![subject.into()],
        ..jetstream::stream::Config::default()
    };
    context.create_stream(config).await.unwrap()
}

/// Feeds a stream as another program would, so that no id removes repeated values.
fn feed(port: u16, subject: &'static str) -> impl AsyncFn(&World, &[&str]) {
    async move |_: &World, values: &[&str]| {
        let context = jetstream::new(client(port).await);
        for value in values {
            let payload = (*value).to_owned().into();
            let wait = async {
                // The stream is made by the source, which has just been started.
                loop {
                    let sent = context.publish(subject, bytes::Bytes::clone(&payload)).await;
                    match sent.unwrap().await {
                        Ok(_) => return,
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no stream");
        }
    }
}

fn value(record: &Record, header: &str) -> Option<String> {
    let value = record.header(header)?.value.clone()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[tokio::test]
async fn the_source_passes_the_suite() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    let port = server.port;
    let world = World::new();
    let source = source_with(port, json!({ "stream": "A", "create": ["order"] }));
    suite::stops_promptly(&world, &*source).await;
    suite::arrives_in_order(&world, &*source, feed(port, "order")).await;
    let (world, source) =
        (World::new(), source_with(port, json!({ "stream": "B", "create": ["resume"] })));
    suite::resumes_where_it_stopped(&world, &*source, feed(port, "resume")).await;
    let (world, source) =
        (World::new(), source_with(port, json!({ "stream": "C", "create": ["bad"] })));
    suite::sets_bad_input_aside(&world, &*source, feed(port, "bad")).await;
}

#[tokio::test]
async fn the_sink_passes_the_suite() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    let port = server.port;
    for (stream, jetstream) in [("one", true), ("two", false)] {
        make_stream(port, stream, &format!("{stream}.>")).await;
        let world = World::new();
        let options = json!({ "stream": stream, "create": [], "format": "bytes" });
        let running = suite::start(&world, &*source_with(port, options));
        let options = json!({ "subject": format!("{stream}.{{n}}"), "jetstream": jetstream });
        let mut sink = sink_with(port, options);
        let read = async || {
            world.emit.wait_until("150 values", |emit| emit.values().len() >= 150).await;
            world.emit.values()
        };
        suite::writes_in_order(&mut *sink, read).await;
        let read = async || {
            world.emit.wait_until("152 values", |emit| emit.values().len() >= 152).await;
            world.emit.values()[150..].to_vec()
        };
        // The ids are those of records written before, but for the pipeline's name.
        let options = json!({ "subject": format!("{stream}.x.{{n}}"), "jetstream": jetstream });
        let mut sink = sink_with(port, options);
        suite::names_what_it_refuses(&mut *sink, "{\"n\":\"a.b\"}", read).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn subject_headers_and_time_survive_a_round_trip() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    make_stream(server.port, "S", "a.>").await;
    let world = World::new();
    let running =
        suite::start(&world, &*source_with(server.port, json!({ "subject_as_key": true })));
    let mut sink = sink_with(server.port, json!({ "subject": "a.{n}.{$key}.{$topic}" }));
    let mut sent = event(7, "{\"n\":1}");
    sent.headers = vec![
        Header::new("trace", "x"),
        Header::new("trace", "y"),
        Header::new("Nats-Rollup", "all"),
    ];
    assert_eq!(sink.write(&[sent]).await.unwrap(), []);
    world.emit.wait_for(&["{\"n\":1}"]).await;
    let record = world.emit.records().remove(0);
    assert_eq!(record.key.as_deref(), Some(b"a.1.key.topic".as_slice()));
    assert_eq!(value(&record, "nats-subject").unwrap(), "a.1.key.topic");
    assert_eq!(value(&record, "nats-sequence").unwrap(), "1");
    let id = value(&record, "Nats-Msg-Id").unwrap();
    assert_eq!(id, "pipeline/a.1.key.topic/topic-0-7@1767225600000");
    assert_eq!(value(&record, "Nats-Rollup"), None);
    let traces: Vec<_> = record.headers.iter().filter(|header| header.name == "trace").collect();
    assert_eq!(traces, [&Header::new("trace", "x"), &Header::new("trace", "y")]);
    assert_eq!(record.origin(), Some(event(0, "").origin));
    // The time is the server's, not that of the source's clock.
    assert!(record.timestamp.as_millis() > 1_767_225_600_000);
    running.stop().await;
}

#[tokio::test]
async fn a_repeated_write_is_left_out_by_the_stream() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    let mut stream = make_stream(server.port, "S", "a.>").await;
    let events: Vec<Event> = (0..20).map(|n| event(n, format!("{{\"n\":{n}}}"))).collect();
    for _ in 0..2 {
        let mut sink = sink_with(server.port, json!({}));
        assert_eq!(sink.write(&events).await.unwrap(), []);
    }
    assert_eq!(stream.info().await.unwrap().state.messages, 20);
    // Another target of the pipeline is no repeat.
    let mut sink = sink_with(server.port, json!({ "subject": "a.c" }));
    assert_eq!(sink.write(&events).await.unwrap(), []);
    assert_eq!(stream.info().await.unwrap().state.messages, 40);
}

#[tokio::test]
async fn a_consumer_begins_where_it_is_told_and_reads_its_subjects_only() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    make_stream(server.port, "S", "a.>").await;
    let feed = |subject| feed(server.port, subject);
    feed("a.x")(&World::new(), &["1", "2"]).await;
    feed("a.y")(&World::new(), &["3"]).await;
    for (durable, start, expected) in
        [("d1", "all", vec!["1", "2", "3"]), ("d2", "last_per_subject", vec!["2", "3"])]
    {
        let world = World::new();
        let options = json!({ "durable": durable, "start": start, "subject": "a.>" });
        let running = suite::start(&world, &*source_with(server.port, options));
        world.emit.wait_for(&expected).await;
        running.stop().await;
    }
    let world = World::new();
    let options = json!({ "durable": "d3", "subject": "a.y" });
    let running = suite::start(&world, &*source_with(server.port, options));
    world.emit.wait_for(&["3"]).await;
    feed("a.x")(&world, &["4"]).await;
    feed("a.y")(&world, &["5"]).await;
    world.emit.wait_for(&["3", "5"]).await;
    running.stop().await;
}

#[tokio::test]
async fn sources_of_the_same_name_share_the_messages() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    make_stream(server.port, "S", "a.>").await;
    let worlds = [World::new(), World::new()];
    let few = json!({ "unacknowledged": 20 });
    let sources =
        worlds.iter().map(|world| suite::start(world, &*source_with(server.port, few.clone())));
    let running: Vec<_> = sources.collect();
    let mut sink = sink_with(server.port, json!({}));
    suite::write_numbers(&mut *sink, 0..500).await;
    let values = || worlds.iter().flat_map(|world| world.emit.values());
    let wait = async {
        while values().count() < 500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("messages are missing");
    assert_eq!(values().collect::<BTreeSet<_>>().len(), 500);
    for one in running {
        one.stop().await;
    }
}

/// Feeds numbers while something happens to the server; nothing is lost.
async fn feed_through(disturb: impl AsyncFn(&mut Server)) -> Option<usize> {
    let mut server = nats::start(Kind::Open).await?;
    make_stream(server.port, "S", "a.>").await;
    let world = World::new();
    let running = suite::supervise(&world, source_with(server.port, json!({})));
    let mut sink = sink_with(server.port, json!({}));
    let feeding = tokio::spawn(async move { suite::write_numbers(&mut *sink, 0..3_000).await });
    for after in [300, 1_000, 2_000] {
        let enough = |emit: &MemoryEmit| emit.values().len() >= after;
        world.emit.wait_until("some values", enough).await;
        disturb(&mut server).await;
        server.start().await;
    }
    feeding.await.unwrap();
    let repeated = suite::arrived(&world, 3_000).await;
    running.stop().await;
    Some(repeated)
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_stopped_and_started_in_the_middle() {
    let repeated = feed_through(async |server| server.stop().await).await;
    assert!(repeated.is_none_or(|repeated| repeated < 1_000), "{repeated:?}");
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed_in_the_middle() {
    // The server writes acknowledgements later, so anything may come again.
    feed_through(async |server| server.kill().await).await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_source_crashes_anywhere() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    make_stream(server.port, "S", "a.>").await;
    let world = World::new();
    let source = source_with(server.port, json!({ "ack_wait": "1s" }));
    let mut running = suite::start(&world, &*source);
    let mut sink = sink_with(server.port, json!({}));
    let feeding = tokio::spawn(async move { suite::write_numbers(&mut *sink, 0..2_000).await });
    for round in 1..6 {
        let enough = |emit: &MemoryEmit| emit.values().len() >= round * 150;
        world.emit.wait_until("some values", enough).await;
        running.crash().await;
        running = suite::supervise(&world, Arc::clone(&source));
    }
    feeding.await.unwrap();
    suite::arrived(&world, 2_000).await;
    running.stop().await;
}

#[tokio::test]
async fn without_jetstream_what_is_sent_meanwhile_arrives_and_groups_share() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    let worlds = [World::new(), World::new()];
    let running = worlds
        .each_ref()
        .map(|world| suite::start(world, &*plain_source(server.port, json!({ "group": "g" }))));
    let mut sink = sink_with(server.port, json!({ "jetstream": false, "subject": "a.probe" }));
    // There is no telling when a subscription stands but by what arrives.
    let wait = async {
        while worlds.iter().any(|world| world.emit.values().is_empty()) {
            assert_eq!(sink.write(&[event(0, "0")]).await.unwrap(), []);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("nothing arrives");
    suite::write_numbers(&mut *sink, 0..300).await;
    let numbers = || {
        let values = worlds.iter().flat_map(|world| world.emit.values());
        values.filter(|value| value != "0").collect::<Vec<_>>()
    };
    let wait = async {
        while numbers().len() < 300 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("messages are missing");
    assert_eq!(numbers().into_iter().collect::<BTreeSet<_>>().len(), 300);
    for one in running {
        one.stop().await;
    }
}

#[tokio::test]
async fn refusals_say_why_and_show_no_secret() {
    let Some(server) = nats::start(Kind::Users).await else { return };
    let port = server.port;
    let url =
        |password: &str| json!({ "url": format!("nats://someone:{password}@127.0.0.1:{port}") });
    let wrong = source_with(port, url("wr0ng"));
    let error = suite::start(&World::new(), &*wrong).ended().await.unwrap_err();
    assert!(!error.retryable && error.what.contains("check user and password"), "{error}");
    assert!(error.what.contains(&format!("nats://127.0.0.1:{port}")), "{error}");
    assert!(!error.what.contains("wr0ng"), "{error}");
    let error = sink_with(port, url("wr0ng")).write(&[event(0, "{}")]).await.unwrap_err();
    assert!(!error.retryable && !error.what.contains("wr0ng"), "{error}");

    let mut right = url("pass%20word");
    right["create"] = json!([]);
    let absent = source_with(port, right);
    let error = suite::start(&World::new(), &*absent).ended().await.unwrap_err();
    assert!(error.retryable && error.what.contains("stream \"S\" does not exist"), "{error}");
    let mut sink = sink_with(port, url("pass%20word"));
    let error = sink.write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.retryable && error.what.contains("make a stream that has it"), "{error}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_rest_is_written() {
    let Some(server) = nats::start(Kind::Open).await else { return };
    let mut stream = make_stream(server.port, "S", "a.>").await;
    for jetstream in [true, false] {
        let subject = format!("a.{jetstream}");
        let mut sink =
            sink_with(server.port, json!({ "jetstream": jetstream, "subject": subject }));
        let large = event(1, format!("\"{}\"", "x".repeat(200_000)));
        let rejections = sink.write(&[event(0, "0"), large, event(2, "2")]).await.unwrap();
        assert_eq!(rejections.iter().map(|one| one.index).collect::<Vec<_>>(), [1]);
    }
    assert_eq!(stream.info().await.unwrap().state.messages, 4);
}

#[tokio::test]
async fn a_server_that_is_away_is_worth_a_retry() {
    let port = courant_testing::free_port();
    let error = suite::start(&World::new(), &*source_with(port, json!({}))).ended().await;
    assert!(error.unwrap_err().retryable);
    let error = sink_with(port, json!({})).write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.retryable && error.what.contains("connect to nats://"), "{error}");
}

#[tokio::test]
async fn tls_is_spoken_with_a_trusted_server_only() {
    let Some(server) = nats::start(Kind::Tls).await else { return };
    let url = format!("tls://localhost:{}", server.port);
    let ca = server.folder().join("cert.pem");
    let world = World::new();
    let running =
        suite::supervise(&world, source_with(server.port, json!({ "url": url, "ca": ca })));
    let mut sink = sink_with(server.port, json!({ "url": url, "ca": ca }));
    assert_eq!(suite::write_all(&mut *sink, &[event(0, "{\"n\":1}")]).await, []);
    world.emit.wait_for(&["{\"n\":1}"]).await;
    running.stop().await;
    let mut sink = sink_with(server.port, json!({ "url": url }));
    let error = sink.write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.what.contains("certificate"), "{error}");
}

#[test]
fn all_problems_of_the_options_are_found() {
    let paths = |options: Value| -> Vec<String> {
        source::parse(&options).unwrap_err().iter().map(|one| one.path.join(".")).collect()
    };
    let options = json!({
        "url": "http://x", "stream": "a.b", "create": ["a..b"], "subject": "a*", "ack_wait": "0s",
        "group": "g",
    });
    assert_eq!(
        paths(options),
        ["url", "subject", "create", "group", "stream", "durable", "ack_wait"]
    );
    let options =
        json!({ "url": "nats://h", "stream": "s", "durable": "d", "start": "last_per_subject" });
    assert_eq!(paths(options), ["subject"]);
    let options = json!({ "url": "nats://h", "jetstream": false, "durable": "d" });
    assert_eq!(paths(options), ["durable", "subject"]);
    let options = json!({ "url": "nats://h", "subject": "a.>" });
    assert_eq!(sink::parse(&options).unwrap_err()[0].path, ["subject"]);
    let url = "nats://u:secret@h";
    let shown = [
        format!(
            "{:?}",
            source::parse(&json!({ "url": url, "stream": "s", "durable": "d" })).unwrap()
        ),
        format!("{:?}", sink::parse(&json!({ "url": url, "subject": "a" })).unwrap()),
    ];
    assert!(shown.iter().all(|shown| !shown.contains("secret")), "{shown:?}");
}
