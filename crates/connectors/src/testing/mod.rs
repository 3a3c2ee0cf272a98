//! What the connectors' tests share: a topic in memory, a state in memory, and the
//! conformance suites of [`suite`].
//!
//! The fakes do what the contracts of `courant_pipeline::connector` promise, and
//! no more: appends are all or nothing, positions are in order, states survive a
//! source. They can be told to refuse or to fail.

pub(crate) mod servers;
pub(crate) mod suite;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use courant_log::LogError;
use courant_model::{Clock, ManualClock, Position, Record, Timestamp, TopicName, TopicPartition};
use courant_pipeline::{
    connector::{ConnectorError, Emit, EmitError, SinkContext, SourceContext, SourceState},
    event::{Event, Payload},
    routes::RouteTable,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Everything around a source, in memory.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) emit: Arc<MemoryEmit>,
    pub(crate) state: Arc<MemoryState>,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            emit: Arc::default(),
            state: Arc::default(),
            routes: Arc::default(),
            clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_767_225_600_000))),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn context(&self, stop: CancellationToken) -> SourceContext {
        SourceContext {
            name: "source".into(),
            topic: TopicName::new("topic").unwrap(),
            has_key: false,
            emitter: self.emit.clone(),
            state: self.state.clone(),
            routes: self.routes.clone(),
            clock: self.clock.clone(),
            stop,
            base: self.folder.path().into(),
        }
    }

    pub(crate) fn sink_context(&self) -> SinkContext {
        let clock: Arc<dyn Clock> = self.clock.clone();
        SinkContext { pipeline: "pipeline".into(), clock, base: self.folder.path().into() }
    }

    /// Waits until the source has saved a state.
    pub(crate) async fn wait_for_state(&self) {
        let saved = async {
            while self.state.saves() == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let within = std::time::Duration::from_secs(120);
        tokio::time::timeout(within, saved).await.expect("source saves no state");
    }

    /// Writes a file of the folder.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Appends to a file of the folder.
    pub(crate) fn append(&self, name: &str, text: &str) {
        use std::io::Write;
        let path = self.folder.path().join(name);
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

/// Topics in memory, each of one partition.
#[derive(Debug, Default)]
pub(crate) struct MemoryEmit {
    inner: Mutex<Emitted>,
    changed: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Emitted {
    records: Vec<(Option<TopicName>, Record)>,
    rejected: Vec<(String, String)>,
    refuse: Option<String>,
    failure: Option<LogError>,
    /// Topics that exist beside the source's own.
    topics: Vec<String>,
}

impl MemoryEmit {
    /// Values of all records, as text.
    pub(crate) fn values(&self) -> Vec<String> {
        let inner = self.inner.lock();
        inner.records.iter().map(|(_, record)| text(record.value.as_ref())).collect()
    }

    /// All records.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.inner.lock().records.iter().map(|(_, record)| record.clone()).collect()
    }

    /// The records of a topic other than the source's own.
    pub(crate) fn values_of(&self, topic: &str) -> Vec<String> {
        let inner = self.inner.lock();
        let of = inner
            .records
            .iter()
            .filter(|(to, _)| to.as_ref().is_some_and(|to| to.as_str() == topic));
        of.map(|(_, record)| text(record.value.as_ref())).collect()
    }

    /// Inputs that were set aside, with the reasons.
    pub(crate) fn rejected(&self) -> Vec<(String, String)> {
        self.inner.lock().rejected.clone()
    }

    /// Refuses records whose value contains this text.
    pub(crate) fn refuse_values_with(&self, text: &str) {
        self.inner.lock().refuse = Some(text.into());
    }

    /// Fails every append so.
    pub(crate) fn fail_with(&self, failure: LogError) {
        self.inner.lock().failure = Some(failure);
    }

    pub(crate) fn add_topic(&self, topic: &str) {
        self.inner.lock().topics.push(topic.into());
    }

    /// Waits until this holds; the limit is far beyond what a working source needs.
    pub(crate) async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        let within = std::time::Duration::from_secs(120);
        let done = tokio::time::timeout(within, wait).await;
        assert!(
            done.is_ok(),
            "never: {what}; values {:?}, set aside {:?}",
            self.values(),
            self.rejected()
        );
    }

    pub(crate) async fn wait_for(&self, values: &[&str]) {
        self.wait_until(&format!("{values:?}"), |emit| emit.values().len() >= values.len()).await;
        assert_eq!(self.values(), values);
    }
}

#[async_trait]
impl Emit for MemoryEmit {
    async fn emit(
        &self,
        topic: Option<&TopicName>,
        records: Vec<Record>,
    ) -> Result<Vec<Position>, EmitError> {
        let mut inner = self.inner.lock();
        if let Some(failure) = &inner.failure {
            return Err(EmitError::Log(failure.clone()));
        }
        if let Some(topic) = topic
            && topic.as_str() != "topic"
            && !inner.topics.iter().any(|known| known == topic.as_str())
        {
            return Err(LogError::UnknownTopic { topic: topic.clone() }.into());
        }
        if let Some(refuse) = &inner.refuse
            && let Some(index) =
                records.iter().position(|record| text(record.value.as_ref()).contains(refuse))
        {
            return Err(EmitError::Rejected { index, why: format!("value contains {refuse:?}") });
        }
        let to = topic.cloned().unwrap_or_else(|| TopicName::new("topic").unwrap());
        let mut positions = Vec::new();
        for record in records {
            let offset = inner.records.len() as i64;
            positions.push(Position { partition: TopicPartition::new(to.clone(), 0), offset });
            inner.records.push((topic.cloned(), record));
        }
        self.changed.notify_waiters();
        Ok(positions)
    }

    async fn reject(&self, original: Bytes, why: String) -> Result<(), EmitError> {
        self.inner.lock().rejected.push((text(Some(&original)), why));
        self.changed.notify_waiters();
        Ok(())
    }
}

/// A state in memory; outlives the sources of its world.
#[derive(Debug, Default)]
pub(crate) struct MemoryState(Mutex<(Option<Bytes>, usize)>);

impl MemoryState {
    /// How often it was saved.
    pub(crate) fn saves(&self) -> usize {
        self.0.lock().1
    }
}

#[async_trait]
impl SourceState for MemoryState {
    async fn load(&self) -> Result<Option<Bytes>, ConnectorError> {
        Ok(self.0.lock().0.clone())
    }

    async fn save(&self, state: Bytes) -> Result<(), ConnectorError> {
        let mut inner = self.0.lock();
        *inner = (Some(state), inner.1 + 1);
        Ok(())
    }
}

/// Options with others added, or put in their place.
pub(crate) fn with(mut options: Value, more: Value) -> Value {
    if let (Value::Object(options), Value::Object(more)) = (&mut options, more) {
        options.extend(more);
    }
    options
}

/// An event of partition 0 of topic `topic` with this value.
pub(crate) fn event(offset: i64, value: impl Into<Bytes>) -> Event {
    let partition = TopicPartition::new(TopicName::new("topic").unwrap(), 0);
    let timestamp = Timestamp::from_millis(1_767_225_600_000);
    Event {
        source: Position { partition, offset },
        part: 0,
        key: Some(Bytes::from_static(b"key")),
        headers: Vec::new(),
        timestamp,
        origin: courant_model::Origin::from_timestamp(timestamp),
        payload: Payload::from_bytes(value.into()),
    }
}

fn text(bytes: Option<&Bytes>) -> String {
    bytes.map_or_else(|| "null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}
