//! Any bytes as a request to an `http` source: an answer, never a panic; what was
//! answered with success was emitted, and only then.

#![no_main]

use std::{
    path::PathBuf,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use courant_model::{Position, Record, SystemClock, TopicName, TopicPartition};
use courant_pipeline::{
    connector::{ConnectorError, Emit, EmitError, SourceContext, SourceState},
    routes::{RouteMatch, RouteRequest, RouteTable},
};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Counts what it takes.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Emit for Counting {
    async fn emit(&self, _: Option<&TopicName>, records: Vec<Record>) -> Result<Vec<Position>, EmitError> {
        self.0.fetch_add(records.len(), Ordering::Relaxed);
        let partition = TopicPartition::new(TopicName::new("t").expect("a name"), 0);
        Ok((0..).zip(records).map(|(offset, _)| Position { partition: partition.clone(), offset }).collect())
    }

    async fn reject(&self, _: Bytes, _: String) -> Result<(), EmitError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Forgetful;

#[async_trait]
impl SourceState for Forgetful {
    async fn load(&self) -> Result<Option<Bytes>, ConnectorError> {
        Ok(None)
    }

    async fn save(&self, _: Bytes) -> Result<(), ConnectorError> {
        Ok(())
    }
}

struct Running {
    runtime: Runtime,
    routes: Arc<RouteTable>,
    emitted: Arc<Counting>,
}

static RUNNING: LazyLock<Running> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let (routes, emitted) = (Arc::new(RouteTable::default()), Arc::new(Counting::default()));
    let kinds = courant_connectors::all();
    let kind = kinds.source("http").expect("the http source");
    let options = serde_json::json!({ "method": "POST", "path": "/in" });
    let factory = (kind.parse)(&options).expect("right options");
    let context = SourceContext {
        name: "in".into(),
        topic: TopicName::new("t").expect("a name"),
        emitter: Arc::clone(&emitted) as _,
        state: Arc::new(Forgetful),
        routes: Arc::clone(&routes),
        clock: Arc::new(SystemClock),
        stop: CancellationToken::new(),
        base: PathBuf::new(),
    };
    let source = factory.open(context).expect("it opens");
    runtime.spawn(source.run());
    while matches!(routes.find("POST", "/in"), RouteMatch::Unknown) {
        std::thread::yield_now();
    }
    Running { runtime, routes, emitted }
});

fuzz_target!(|input: (bool, &[u8])| {
    let (lines, body) = input;
    let RouteMatch::Found { handler, params } = RUNNING.routes.find("POST", "/in") else {
        panic!("the route is gone");
    };
    let kind = if lines { "application/x-ndjson" } else { "application/json" };
    let request = RouteRequest {
        method: "POST".into(),
        path: "/in".into(),
        params,
        headers: vec![("content-type".into(), kind.into())],
        body: Bytes::copy_from_slice(body),
        ..RouteRequest::default()
    };
    let before = RUNNING.emitted.0.load(Ordering::Relaxed);
    let answer = RUNNING.runtime.block_on(handler.handle(request));
    let emitted = RUNNING.emitted.0.load(Ordering::Relaxed) - before;
    assert_eq!((200..300).contains(&answer.status), emitted > 0, "status {}", answer.status);
});
