//! MQTT against a real Mosquitto.

use std::{sync::Arc, time::Duration};

use courant_model::{Header, Record};
use courant_pipeline::{
    connector::{Sink, SourceFactory},
    event::Event,
};
use serde_json::{Value, json};

use super::{sink, source};
use crate::testing::{
    World, event,
    servers::{
        Server,
        mosquitto::{self, Kind, USER},
    },
    suite, with,
};

fn source_with(port: u16, more: Value) -> Arc<dyn SourceFactory> {
    let options = json!({
        "url": format!("mqtt://127.0.0.1:{port}"), "topics": ["a/#"], "client_id": "source",
    });
    source::parse(&with(options, more)).unwrap()
}

fn sink_with(port: u16, more: Value) -> Box<dyn Sink> {
    let options = json!({ "url": format!("mqtt://127.0.0.1:{port}"), "topic": "a/b" });
    sink::parse(&with(options, more)).unwrap().open(World::new().sink_context()).unwrap()
}

/// Waits until a source with an id of its own has subscribed: it remembers that.
async fn subscribed(world: &World) {
    let wait = async {
        while world.state.saves() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("source does not subscribe");
}

fn feed(port: u16) -> impl AsyncFn(&World, &[&str]) {
    async move |world: &World, values: &[&str]| {
        subscribed(world).await;
        let mut sink = sink_with(port, json!({}));
        let events: Vec<Event> =
            (0..).zip(values).map(|(n, value)| event(n, (*value).to_owned())).collect();
        assert_eq!(suite::write_all(&mut *sink, &events).await, []);
    }
}

/// The records that a source got, once it has so many.
async fn records(world: &World, count: usize) -> Vec<Record> {
    world.emit.wait_until("records", |emit| emit.records().len() >= count).await;
    world.emit.records()
}

fn value(record: &Record, header: &str) -> Option<String> {
    let value = record.header(header)?.value.clone()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[tokio::test]
async fn the_source_passes_the_suite() {
    let Some(server) = mosquitto::start(Kind::Open).await else { return };
    for version in ["v3", "v5"] {
        for qos in [1, 2] {
            let options = |id: &str| json!({ "version": version, "qos": qos, "client_id": format!("{id}-{version}-{qos}") });
            let world = World::new();
            let source = source_with(server.port, options("order"));
            suite::stops_promptly(&world, &*source).await;
            suite::arrives_in_order(&world, &*source, feed(server.port)).await;
            let (world, source) = (World::new(), source_with(server.port, options("resume")));
            suite::resumes_where_it_stopped(&world, &*source, feed(server.port)).await;
            let (world, source) = (World::new(), source_with(server.port, options("bad")));
            suite::sets_bad_input_aside(&world, &*source, feed(server.port)).await;
        }
    }
}

#[tokio::test]
async fn the_sink_passes_the_suite() {
    let Some(server) = mosquitto::start(Kind::Open).await else { return };
    for (id, version, qos) in [("a", "v3", 1), ("b", "v5", 1), ("c", "v3", 2), ("d", "v5", 2)] {
        let world = World::new();
        let options = json!({ "client_id": id, "topics": [format!("{id}/#")], "format": "bytes" });
        let running = suite::start(&world, &*source_with(server.port, options));
        subscribed(&world).await;
        let options = json!({ "topic": format!("{id}/{{n}}"), "version": version, "qos": qos });
        let mut sink = sink_with(server.port, options);
        let read = async || {
            world.emit.wait_until("150 values", |emit| emit.values().len() >= 150).await;
            world.emit.values()
        };
        suite::writes_in_order(&mut *sink, read).await;
        running.stop().await;

        let world = World::new();
        let options_in = json!({ "client_id": format!("{id}2"), "topics": [format!("{id}/#")] });
        let running = suite::start(&world, &*source_with(server.port, options_in));
        subscribed(&world).await;
        let read = async || {
            world.emit.wait_until("2 values", |emit| emit.values().len() >= 2).await;
            world.emit.values()
        };
        suite::names_what_it_refuses(&mut *sink, "{\"m\":0}", read).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn topic_headers_and_properties_survive_a_round_trip() {
    let Some(server) = mosquitto::start(Kind::Open).await else { return };
    let world = World::new();
    let running = suite::start(&world, &*source_with(server.port, json!({ "topic_as_key": true })));
    subscribed(&world).await;
    let options = json!({ "topic": "a/{n}/{$key}/{$topic}", "content_type": "application/json" });
    let mut sink = sink_with(server.port, options);
    let mut sent = event(0, "{\"n\":1}");
    sent.headers = vec![
        Header::new("trace", "x"),
        Header::new("trace", "y"),
        Header::new("mqtt-response-topic", "answers"),
        Header::new("mqtt-correlation-data", vec![0_u8, 255]),
    ];
    assert_eq!(sink.write(&[sent.clone()]).await.unwrap(), []);
    let mut plain = sink_with(server.port, json!({ "version": "v3" }));
    assert_eq!(plain.write(&[sent]).await.unwrap(), []);
    let records = records(&world, 2).await;
    let [with, without] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(with.key.as_deref(), Some(b"a/1/key/topic".as_slice()));
    assert_eq!(value(with, "mqtt-topic").unwrap(), "a/1/key/topic");
    assert_eq!(value(with, "content-type").unwrap(), "application/json");
    assert_eq!(value(with, "mqtt-response-topic").unwrap(), "answers");
    let data = with.header("mqtt-correlation-data").unwrap().value.clone().unwrap();
    assert_eq!(data.as_ref(), [0, 255]);
    let traces: Vec<_> = with.headers.iter().filter(|header| header.name == "trace").collect();
    assert_eq!(traces, [&Header::new("trace", "x"), &Header::new("trace", "y")]);
    // When the change was made at its source is known behind the broker too.
    assert_eq!(with.origin(), Some(event(0, "").origin));
    assert_eq!(without.headers, [Header::new("mqtt-topic", "a/b")]);
    running.stop().await;
}

#[tokio::test]
async fn a_retained_message_is_marked_and_comes_once_for_a_session() {
    let Some(server) = mosquitto::start(Kind::Open).await else { return };
    let mut sink = sink_with(server.port, json!({ "retain": true }));
    assert_eq!(sink.write(&[event(0, "{\"n\":1}")]).await.unwrap(), []);
    let (world, source) = (World::new(), source_with(server.port, json!({})));
    let running = suite::start(&world, &*source);
    let kept = records(&world, 1).await;
    assert_eq!(value(&kept[0], "mqtt-retained").as_deref(), Some("true"));
    running.stop().await;
    let running = suite::start(&world, &*source);
    let mut sink = sink_with(server.port, json!({}));
    assert_eq!(sink.write(&[event(1, "{\"n\":2}")]).await.unwrap(), []);
    let all = records(&world, 2).await;
    assert_eq!(world.emit.values(), ["{\"n\":1}", "{\"n\":2}"]);
    assert_eq!(value(&all[1], "mqtt-retained"), None);
    running.stop().await;
    // A tombstone clears what is retained.
    let mut sink = sink_with(server.port, json!({ "retain": true }));
    let mut tombstone = event(2, "");
    tombstone.payload = courant_pipeline::event::Payload::null();
    assert_eq!(sink.write(&[tombstone]).await.unwrap(), []);
    let world = World::new();
    let other = source_with(server.port, json!({ "client_id": "other" }));
    let running = suite::start(&world, &*other);
    feed(server.port)(&world, &["{\"n\":3}"]).await;
    world.emit.wait_for(&["{\"n\":3}"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_session_follows_its_options() {
    let Some(server) = mosquitto::start(Kind::Open).await else { return };
    let world = World::new();
    let running = suite::start(&world, &*source_with(server.port, json!({ "topics": ["x", "y"] })));
    subscribed(&world).await;
    running.stop().await;
    let saves = world.state.saves();
    let running = suite::start(&world, &*source_with(server.port, json!({ "topics": ["y", "z"] })));
    let wait = async {
        while world.state.saves() == saves {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    let mut sink = sink_with(server.port, json!({ "topic": "{to}" }));
    let events = ["x", "y", "z"].map(|to| event(0, format!("{{\"to\":\"{to}\"}}")));
    assert_eq!(sink.write(&events).await.unwrap(), []);
    world.emit.wait_for(&["{\"to\":\"y\"}", "{\"to\":\"z\"}"]).await;
    running.stop().await;
}

#[tokio::test]
async fn sources_share_a_subscription() {
    let Some(server) = mosquitto::start(Kind::Open).await else { return };
    let worlds = [World::new(), World::new()];
    let mut running = Vec::new();
    for (n, world) in worlds.iter().enumerate() {
        let options = json!({ "topics": ["$share/group/a/#"], "client_id": format!("member-{n}") });
        running.push(suite::start(world, &*source_with(server.port, options)));
        subscribed(world).await;
    }
    let mut sink = sink_with(server.port, json!({}));
    suite::write_numbers(&mut *sink, 0..200).await;
    let count = || worlds.iter().map(|world| world.emit.values().len()).sum::<usize>();
    let wait = async {
        while count() < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("messages are missing");
    assert_eq!(count(), 200);
    assert!(worlds.iter().all(|world| !world.emit.values().is_empty()));
    for one in running {
        one.stop().await;
    }
}

/// Feeds numbers while something happens to the server; nothing is lost.
async fn feed_through(
    server: &mut Server,
    numbers: i64,
    options: Value,
    disturb: impl AsyncFn(&mut Server, &World),
) -> usize {
    let world = World::new();
    let mut sink = sink_with(server.port, json!({ "qos": options["qos"] }));
    let running = suite::supervise(&world, source_with(server.port, options));
    subscribed(&world).await;
    let feeding = tokio::spawn(async move { suite::write_numbers(&mut *sink, 0..numbers).await });
    disturb(server, &world).await;
    feeding.await.unwrap();
    let repeated = suite::arrived(&world, numbers).await;
    running.stop().await;
    repeated
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_stopped_and_started_in_the_middle() {
    for qos in [1, 2] {
        let Some(mut server) = mosquitto::start(Kind::Open).await else { return };
        let options = json!({ "qos": qos });
        let repeated = feed_through(&mut server, 3_000, options, async |server, world| {
            for after in [300, 1_000] {
                let enough = |emit: &crate::testing::MemoryEmit| emit.values().len() >= after;
                world.emit.wait_until("some values", enough).await;
                server.stop().await;
                server.start().await;
            }
        })
        .await;
        // A session is kept over a clean stop, so little more than what was on its way
        // can come again.
        assert!(repeated < 1_500, "{repeated}");
    }
}

#[tokio::test]
async fn source_and_sink_go_on_after_the_server_was_killed() {
    let Some(mut server) = mosquitto::start(Kind::Open).await else { return };
    let world = World::new();
    let running = suite::supervise(&world, source_with(server.port, json!({})));
    subscribed(&world).await;
    let mut sink = sink_with(server.port, json!({}));
    for round in 0..3 {
        // Mosquitto forgets what it had in memory, so each round is waited for.
        suite::write_numbers(&mut *sink, round * 100..(round + 1) * 100).await;
        suite::arrived(&world, (round + 1) * 100).await;
        server.kill().await;
        let error = sink.write(&[event(0, "{\"n\":0}")]).await.unwrap_err();
        assert!(error.retryable, "{error}");
        let saves = world.state.saves();
        server.start().await;
        let wait = async {
            while world.state.saves() == saves {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no new subscription");
    }
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_source_crashes_anywhere() {
    for qos in [1, 2] {
        let Some(server) = mosquitto::start(Kind::Open).await else { return };
        let world = World::new();
        let source = source_with(server.port, json!({ "qos": qos }));
        let mut running = suite::start(&world, &*source);
        subscribed(&world).await;
        let mut sink = sink_with(server.port, json!({ "qos": qos }));
        let feeding = tokio::spawn(async move { suite::write_numbers(&mut *sink, 0..2_000).await });
        for round in 1..6 {
            let enough = |emit: &crate::testing::MemoryEmit| emit.values().len() >= round * 150;
            world.emit.wait_until("some values", enough).await;
            running.crash().await;
            running = suite::supervise(&world, Arc::clone(&source));
        }
        feeding.await.unwrap();
        suite::arrived(&world, 2_000).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn refusals_say_why_and_show_no_secret() {
    let Some(server) = mosquitto::start(Kind::Users).await else { return };
    let port = server.port;
    let url = |password: &str| format!("mqtt://someone:{password}@127.0.0.1:{port}");
    for version in ["v3", "v5"] {
        let wrong = json!({ "url": url("wr0ng"), "version": version });
        let error = suite::start(&World::new(), &*source_with(port, wrong.clone())).ended().await;
        let error = error.unwrap_err();
        assert!(!error.retryable && error.what.contains("refused by the broker"), "{error}");
        assert!(error.what.contains(&format!("mqtt://127.0.0.1:{port}")), "{error}");
        assert!(!error.what.contains("wr0ng"), "{error}");
        let error = sink_with(port, wrong).write(&[event(0, "{}")]).await.unwrap_err();
        assert!(!error.retryable && !error.what.contains("wr0ng"), "{error}");
    }
    assert_eq!(USER.1, "pass word");
    let mut sink = sink_with(port, json!({ "url": url("pass%20word"), "topic": "{to}" }));
    let events = ["forbidden", "allowed/x"].map(|to| event(0, format!("{{\"to\":\"{to}\"}}")));
    // A value brings no level into a topic.
    assert!(sink.write(&events[1..]).await.unwrap()[0].why.contains("'/'"));
    let rejections = sink.write(&events[..1]).await.unwrap();
    assert_eq!(rejections[0].why, "refused by the broker: NotAuthorized");
    let mut sink = sink_with(port, json!({ "url": url("pass%20word"), "topic": "allowed/{to}" }));
    assert_eq!(sink.write(&events[..1]).await.unwrap(), []);
}

#[tokio::test]
async fn a_server_that_is_away_is_worth_a_retry() {
    let port = courant_testing::free_port();
    let error = suite::start(&World::new(), &*source_with(port, json!({}))).ended().await;
    assert!(error.unwrap_err().retryable);
    let error = sink_with(port, json!({})).write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.retryable && error.what.contains("connection to mqtt://"), "{error}");
}

#[tokio::test]
async fn tls_is_spoken_with_a_trusted_server_only() {
    let Some(server) = mosquitto::start(Kind::Tls).await else { return };
    let url = format!("mqtts://localhost:{}", server.port);
    let ca = server.folder().join("cert.pem");
    let options = json!({ "url": url, "ca": ca });
    for version in ["v3", "v5"] {
        let world = World::new();
        let id = json!({ "version": version, "client_id": version, "url": url, "ca": ca });
        let running = suite::start(&world, &*source_with(server.port, id));
        subscribed(&world).await;
        let mut sink = sink_with(server.port, options.clone());
        assert_eq!(sink.write(&[event(0, "{\"n\":1}")]).await.unwrap(), []);
        world.emit.wait_for(&["{\"n\":1}"]).await;
        running.stop().await;
    }
    let mut sink = sink_with(server.port, json!({ "url": url }));
    let error = sink.write(&[event(0, "{}")]).await.unwrap_err();
    assert!(error.what.contains("certificate"), "{error}");
}

#[test]
fn all_problems_of_the_options_are_found() {
    let options = json!({ "url": "http://x", "topics": ["a/#/b", "ok"] });
    let paths: Vec<String> =
        source::parse(&options).unwrap_err().iter().map(|one| one.path.join(".")).collect();
    assert_eq!(paths, ["topics.0", "url"]);
    let options = json!({ "url": "x", "topic": "a/#", "expiry": "0s" });
    let paths: Vec<String> =
        sink::parse(&options).unwrap_err().iter().map(|one| one.path.join(".")).collect();
    assert_eq!(paths, ["url", "topic", "expiry"]);
    let url = "mqtt://u:secret@h";
    let shown = [
        format!("{:?}", source::parse(&json!({ "url": url, "topics": ["a"] })).unwrap()),
        format!("{:?}", sink::parse(&json!({ "url": url, "topic": "a" })).unwrap()),
    ];
    assert!(shown.iter().all(|shown| !shown.contains("secret")), "{shown:?}");
    assert!(source::parse(&json!({ "url": "mqtt://h", "topics": [] })).is_err());
    assert!(source::parse(&json!({ "url": "mqtt://h", "topics": ["a"], "qos": 3 })).is_err());
    assert!(sink::parse(&json!({ "url": "mqtt://h", "topic": "a", "qos": 0 })).is_err());
}
