//! A whole HTTP side in a temporary folder, and short words to talk to it.
//!
//! The pipelines are a fake that keeps what it is told; everything else is real.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, BodyDataStream},
    http::{HeaderMap, Method, Request, StatusCode},
    response::Response,
};
use courant_log::{EmbeddedLog, Log, LogOptions, TopicSettings, TopicSpec};
use courant_model::{Record, SystemClock, Timestamp, TopicName};
use courant_pipeline::{
    plan::{EdgeKind, EndpointPlan, Graph, GraphEdge, GraphNode, NodeKind},
    routes::RouteTable,
    runtime::{TaskState, UnknownPipeline, ViewPage, ViewRow, ViewScan},
};
use courant_serve::{
    About, ApiError, PipelineView, Pipelines, Readiness, Security, ServeContext, SourceView,
    ViewColumn, ViewOperator, ViewState, ViewWindow, Views,
};
use courant_stores::{
    CacheOptions, CollectionSpec, EmbeddedCache, EmbeddedHistory, Filter, History, HistoryOptions,
    HistoryWrite, Order, SortKey,
};
use futures::StreamExt;
use indexmap::IndexMap;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Long enough for a slow machine; nothing waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole HTTP side.
pub(crate) struct Bench {
    pub(crate) router: Router,
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) history: Arc<EmbeddedHistory>,
    pub(crate) cache: Arc<EmbeddedCache>,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) stop: CancellationToken,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of an error of the API.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Security::default()).await
    }

    pub(crate) async fn with(security: Security) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) =
            EmbeddedLog::open(&folder.path().join("log"), LogOptions::default()).await.unwrap();
        let log = Arc::new(log);
        let history =
            EmbeddedHistory::open(folder.path().join("history"), HistoryOptions::default());
        let cache = EmbeddedCache::open(folder.path().join("cache"), CacheOptions::default());
        let (history, cache) = (Arc::new(history.unwrap()), Arc::new(cache.unwrap()));
        let mut bench = Self {
            router: Router::new(),
            log,
            history,
            cache,
            routes: Arc::new(RouteTable::default()),
            readiness: watch::Sender::new(Readiness::Ready),
            stop: CancellationToken::new(),
            _folder: folder,
        };
        bench.router = courant_serve::router(bench.context(endpoints(), security)).unwrap();
        bench
    }

    pub(crate) fn context(
        &self,
        endpoints: IndexMap<String, EndpointPlan>,
        security: Security,
    ) -> ServeContext {
        ServeContext {
            about: About {
                name: "test".into(),
                version: "0.0.0".into(),
                profile: "embedded".into(),
                ports: BTreeMap::from([("http".into(), 8080)]),
                push: None,
            },
            log: Arc::clone(&self.log) as _,
            cache: Arc::clone(&self.cache) as _,
            history: Arc::clone(&self.history) as _,
            pipelines: Arc::new(FakePipelines::default()),
            views: Arc::new(FakeViews),
            endpoints,
            routes: Arc::clone(&self.routes),
            clock: Arc::new(SystemClock),
            metrics: None,
            readiness: self.readiness.subscribe(),
            security,
            push: None,
            stop: self.stop.clone(),
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request(Method::DELETE, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as(path, "application/json", body.to_string()).await
    }

    pub(crate) async fn post_as(
        &self,
        path: &str,
        media_type: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let request = request(Method::POST, path).header("content-type", media_type);
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Opens a stream, which must be one.
    pub(crate) async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let response = self.open(path, headers).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events::new(response)
    }

    pub(crate) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = request(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) -> TopicName {
        let name = TopicName::new(name).unwrap();
        let settings = TopicSettings::default();
        let spec = TopicSpec { name: name.clone(), partitions, settings };
        self.log.create_topic(&spec).await.unwrap();
        name
    }

    /// Appends JSON values to one partition, with timestamps 1,000 apart.
    pub(crate) async fn append(&self, topic: &TopicName, partition: i32, values: &[Value]) {
        let records = (1..)
            .zip(values)
            .map(|(n, value)| Record::new(value.to_string(), Timestamp::from_millis(n * 1_000)))
            .collect();
        self.log.append(topic, Some(partition), records).await.unwrap();
    }

    pub(crate) async fn collection(&self, name: &str) {
        let spec = CollectionSpec { name: name.into(), indexes: Vec::new() };
        self.history.ensure_collection(&spec).await.unwrap();
    }

    pub(crate) async fn upsert(&self, collection: &str, id: &str, document: Value) {
        let document = document.as_object().cloned().unwrap();
        let write = HistoryWrite::Upsert { id: id.into(), document, version: None };
        for written in self.history.write(collection, vec![write]).await.unwrap() {
            written.unwrap();
        }
    }
}

/// A request as a program on this machine sends it.
pub(crate) fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "127.0.0.1:8080")
}

/// The events of a stream, one by one.
pub(crate) struct Events {
    body: BodyDataStream,
    text: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    fn parse(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", name) => event.name = name.into(),
                ("id", id) => event.id = id.into(),
                ("data", data) => event.data.push_str(data),
                _ => {}
            }
        }
        event
    }
}

impl Events {
    pub(crate) fn new(response: Response) -> Self {
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event with data; `None` at the stream's end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = Event::parse(event);
                self.text = rest.to_owned();
                if !event.data.is_empty() {
                    return Some(event);
                }
                continue;
            }
            let more = tokio::time::timeout(PATIENCE, self.body.next());
            let bytes = more.await.expect("no event in time")?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

/// One pipeline that can be switched.
#[derive(Debug, Default)]
pub(crate) struct FakePipelines {
    paused: std::sync::atomic::AtomicBool,
}

impl FakePipelines {
    fn switch(&self, pipeline: &str, paused: bool) -> Result<(), UnknownPipeline> {
        if pipeline != "messages" {
            return Err(UnknownPipeline { name: pipeline.into() });
        }
        self.paused.store(paused, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

impl Pipelines for FakePipelines {
    fn pipelines(&self) -> Vec<PipelineView> {
        let paused = self.paused.load(std::sync::atomic::Ordering::SeqCst);
        vec![PipelineView {
            name: "messages".into(),
            state: if paused { TaskState::Paused } else { TaskState::Running },
            group: "message-processing-group".into(),
            from: vec![TopicName::new("data-stream").unwrap()],
            partitions: 1,
            records_in: 5,
            records_out: 4,
            dead_letters: 1,
            dead_letter_topic: TopicName::new("messages.dead").unwrap(),
            rate_per_second: 1.0,
            lag: 0,
            last_error: None,
            freshness_p50_micros: Some(900),
            freshness_p99_micros: None,
        }]
    }

    fn sources(&self) -> Vec<SourceView> {
        Vec::new()
    }

    fn graph(&self) -> Graph {
        let node = |id: &str, kind, name: &str| GraphNode {
            id: id.into(),
            kind,
            name: name.into(),
            detail: None,
        };
        let nodes = vec![
            node("topic:data-stream", NodeKind::Topic, "data-stream"),
            node("pipeline:messages", NodeKind::Pipeline, "messages"),
        ];
        let (from, to) = (nodes[0].id.clone(), nodes[1].id.clone());
        let edge = GraphEdge { from, to, kind: EdgeKind::Data };
        Graph { nodes, edges: vec![edge] }
    }

    fn pause(&self, pipeline: &str) -> Result<(), UnknownPipeline> {
        self.switch(pipeline, true)
    }

    fn resume(&self, pipeline: &str) -> Result<(), UnknownPipeline> {
        self.switch(pipeline, false)
    }
}

/// One view, whose windows of 5 s start every 5 s: three of page P1 and two of P2.
#[derive(Debug)]
struct FakeViews;

#[async_trait]
impl Views for FakeViews {
    fn views(&self) -> Vec<ViewState> {
        let column = |name: &str, column_type: &str| ViewColumn {
            name: name.into(),
            column_type: column_type.into(),
        };
        let operator = |id: usize, name: &str| ViewOperator {
            id,
            inputs: (0..id).collect(),
            name: name.into(),
            words: String::new(),
            tables: Vec::new(),
            cost: "constant".into(),
        };
        vec![ViewState {
            name: "counts".into(),
            state: TaskState::Running,
            sql: "SELECT …".into(),
            from: vec![TopicName::new("visits").unwrap()],
            to: TopicName::new("counts").unwrap(),
            group: "test.counts".into(),
            columns: vec![
                column("name", "string"),
                column("window_start", "timestamp"),
                column("window_end", "timestamp"),
                column("visits", "int64"),
            ],
            key: Some(vec!["name".into(), "window_start".into(), "window_end".into()]),
            window: Some(ViewWindow {
                start: "window_start".into(),
                end: "window_end".into(),
                width_micros: Some(5_000_000),
                slide_micros: Some(5_000_000),
            }),
            emit: "changes",
            grace_millis: 0,
            partitions: 1,
            records_in: 15,
            records_out: 15,
            late: 0,
            dead_letters: 0,
            dead_letter_topic: TopicName::new("counts.dead").unwrap(),
            rate_per_second: 1.0,
            lag: 0,
            watermark_micros: Some(10_000_000),
            watermark: Some("1970-01-01T00:00:10Z".into()),
            rebuild: None,
            last_error: None,
            operators: vec![operator(0, "scan"), operator(1, "aggregate")],
        }]
    }

    async fn scan(&self, _: &str, scan: &ViewScan) -> Result<ViewPage, ApiError> {
        let rows = [("P1", 0, 1), ("P1", 5, 2), ("P1", 10, 3), ("P2", 0, 4), ("P2", 5, 5)];
        let bound = |value: &Option<Value>, otherwise: &str| {
            value.as_ref().map_or(otherwise.to_owned(), |value| value.as_str().unwrap().to_owned())
        };
        let (from, to) = (bound(&scan.from, ""), bound(&scan.to, "~"));
        let windows =
            scan.window_from_micros.unwrap_or(i64::MIN)..scan.window_to_micros.unwrap_or(i64::MAX);
        let after: usize = scan.after.as_ref().map_or(0, |text| text.parse().unwrap());
        let is_meant = |(name, start, _): &&(&str, i64, i64)| {
            scan.prefix.get("name").is_none_or(|wanted| wanted == name)
                && (from.as_str()..to.as_str()).contains(name)
                && windows.contains(&(start * 1_000_000))
        };
        let found: Vec<_> = rows.iter().filter(is_meant).skip(after).collect();
        let limit = scan.limit.unwrap_or(usize::MAX);
        let row = |(name, start, visits): &&(&str, i64, i64)| ViewRow {
            row: json!({
                "name": name,
                "window_start": format!("1970-01-01T00:00:{start:02}Z"),
                "window_end": format!("1970-01-01T00:00:{:02}Z", start + 5),
                "visits": visits,
            })
            .to_string()
            .into(),
            event_time_micros: start * 1_000_000,
            origin: None,
        };
        Ok(ViewPage {
            rows: found.iter().take(limit).map(row).collect(),
            next: (found.len() > limit).then(|| (after + limit).to_string()),
        })
    }
}

/// The endpoints of the file that every test serves.
fn endpoints() -> IndexMap<String, EndpointPlan> {
    let cache = |table: &str, field: Option<&str>| EndpointPlan::Cache {
        table: table.into(),
        key: "customer".into(),
        field: field.map(Into::into),
    };
    let list = |filter: Value| EndpointPlan::HistoryList {
        collection: "messages".into(),
        filter: Filter::parse(&filter).unwrap(),
        sort: vec![SortKey::inserted(Order::Descending)],
        limit: 3,
    };
    let document =
        EndpointPlan::HistoryDocument { collection: "messages".into(), parameter: "id".into() };
    IndexMap::from([
        ("/messages".into(), list(json!({}))),
        ("/messages/{id}".into(), document),
        ("/loud".into(), list(json!({ "loud": true }))),
        ("/customers/{customer}/orders".into(), cache("orders", None)),
        ("/customers/{customer}/orders/{order}".into(), cache("orders", Some("order"))),
    ])
}
