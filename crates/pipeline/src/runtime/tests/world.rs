//! What the runtime's tests share: the roles in a folder, and a target whose behaviour
//! a test decides.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_log::{Durability, EmbeddedLog, Log, LogOptions, ReadLimit};
use courant_model::{Record, StoredRecord, SystemClock, TopicPartition};
use courant_stores::{
    CacheOptions, Document, EmbeddedCache, EmbeddedHistory, FindQuery, History, HistoryOptions,
};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    connector::{ConnectorError, Rejection, Sink, SinkContext, SinkFactory},
    event::Event,
    plan::{Plan, TargetPlan},
    runtime::{RoleHandles, Runtime, StartError},
    testing::{name, record},
};

/// How long a condition may take to come true; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The roles, in a folder of their own.
#[derive(Debug)]
pub(super) struct World {
    pub(super) log: Arc<EmbeddedLog>,
    pub(super) history: Arc<EmbeddedHistory>,
    cache: Arc<EmbeddedCache>,
    folder: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions { durability: Durability::Os, ..LogOptions::default() };
        let (log, _) = EmbeddedLog::open(&folder.path().join("log"), options).await.unwrap();
        let options = HistoryOptions { sync: false, ..HistoryOptions::default() };
        let history = EmbeddedHistory::open(folder.path().join("history"), options).unwrap();
        let cache = EmbeddedCache::open(folder.path().join("cache"), CacheOptions::default());
        Self {
            log: Arc::new(log),
            history: Arc::new(history),
            cache: Arc::new(cache.unwrap()),
            folder,
        }
    }

    /// Handles for a worker whose state is in the folder of this name.
    pub(super) fn roles(&self, worker: &str) -> RoleHandles {
        RoleHandles {
            log: Arc::clone(&self.log) as _,
            cache: Arc::clone(&self.cache) as _,
            history: Arc::clone(&self.history) as _,
            clock: Arc::new(SystemClock),
            data: self.folder.path().join(worker),
            routes: Arc::default(),
        }
    }

    pub(super) async fn start(&self, plan: &Plan) -> Runtime {
        self.start_worker("here", plan).await
    }

    /// Starts a worker; waits while the one before still holds the folder.
    pub(super) async fn start_worker(&self, worker: &str, plan: &Plan) -> Runtime {
        self.start_on(worker, self.log.clone(), plan).await
    }

    /// As [`World::start_worker`], on a log that stands before the world's own.
    pub(super) async fn start_on(&self, worker: &str, log: Arc<dyn Log>, plan: &Plan) -> Runtime {
        let started = async {
            loop {
                let roles = RoleHandles { log: Arc::clone(&log), ..self.roles(worker) };
                match Runtime::start(plan.clone(), roles).await {
                    Ok(runtime) => return runtime,
                    Err(StartError::State(_)) => tokio::time::sleep(TICK).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, started).await.expect("the state is free in time")
    }

    pub(super) async fn give(&self, topic: &str, values: impl IntoIterator<Item = Value>) {
        let records = values.into_iter().map(|value| record(&value)).collect();
        self.append(topic, records).await;
    }

    pub(super) async fn append(&self, topic: &str, records: Vec<Record>) {
        self.log.append(&name(topic), None, records).await.unwrap();
    }

    /// All records of a topic, partition by partition.
    pub(super) async fn records(&self, topic: &str) -> Vec<StoredRecord> {
        let topic = self.log.topic(&name(topic)).await.unwrap();
        let limit = ReadLimit { records: 1_000_000, bytes: 1 << 30, wait: Duration::ZERO };
        let mut records = Vec::new();
        for (partition, offsets) in (0..).zip(&topic.partitions) {
            let at = TopicPartition::new(topic.name.clone(), partition);
            let mut from = offsets.start;
            while from < offsets.end {
                let read = self.log.read(&at, from, limit).await.unwrap();
                records.extend(read.records);
                if read.next == from {
                    // The rest belongs to a transaction that is open.
                    break;
                }
                from = read.next;
            }
        }
        records
    }

    pub(super) async fn documents(&self, collection: &str) -> Vec<Document> {
        self.history.find(collection, &FindQuery::default()).await.unwrap()
    }

    pub(super) async fn until_documents(&self, collection: &str, count: usize) {
        let what = format!("{count} documents in {collection}");
        until(&what, async || self.documents(collection).await.len() == count).await;
    }

    pub(super) async fn until_records(&self, topic: &str, count: usize) {
        let what = format!("{count} records in {topic}");
        until(&what, async || self.records(topic).await.len() == count).await;
    }

    /// Where a group stands, all partitions together.
    pub(super) async fn committed(&self, group: &str) -> i64 {
        match self.log.group(group).await {
            Ok(group) => group.offsets.iter().map(|offset| offset.committed).sum(),
            Err(_) => 0,
        }
    }
}

const TICK: Duration = Duration::from_millis(5);

/// Waits until a condition holds.
pub(super) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(TICK).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "never came: {what}");
}

pub(super) async fn stop(runtime: Runtime) {
    assert!(runtime.stop(PATIENCE).await.unwrap(), "everything ends in time");
}

/// A target whose behaviour a test decides, and which remembers what it took.
#[derive(Debug, Clone)]
pub(super) struct Probe(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    taken: Mutex<Vec<Event>>,
    /// How often it was asked to write.
    calls: Mutex<usize>,
    answers: Mutex<VecDeque<Answer>>,
    /// While `false`, writes wait.
    open: watch::Sender<bool>,
}

/// What the target does at a write, instead of taking everything.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Fail(ConnectorError),
    /// Refuses the events whose field `n` is this, and takes the others.
    Refuse(u64),
}

impl Probe {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            taken: Mutex::default(),
            calls: Mutex::default(),
            answers: Mutex::default(),
            open: watch::Sender::new(true),
        }))
    }

    /// What it does at its next writes; then it takes everything.
    pub(super) fn answering(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.0.answers.lock().extend(answers);
        self
    }

    pub(super) fn close(&self) {
        self.0.open.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.0.open.send_replace(true);
    }

    pub(super) fn target(&self) -> TargetPlan {
        TargetPlan::Connector { connector: "probe", factory: Arc::new(self.clone()) }
    }

    /// The documents that it took, in order.
    pub(super) fn taken(&self) -> Vec<Value> {
        let taken = self.0.taken.lock();
        taken.iter().map(|event| event.payload.json().unwrap().clone()).collect()
    }

    pub(super) fn calls(&self) -> usize {
        *self.0.calls.lock()
    }

    pub(super) async fn until_taken(&self, count: usize) {
        let what = format!("{count} events taken");
        until(&what, async || self.0.taken.lock().len() == count).await;
    }
}

impl SinkFactory for Probe {
    fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Sink for Probe {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        *self.0.calls.lock() += 1;
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
        let refused = match self.0.answers.lock().pop_front() {
            Some(Answer::Fail(error)) => return Err(error),
            Some(Answer::Refuse(number)) => Some(number),
            None => None,
        };
        let mut rejections = Vec::new();
        for (index, event) in events.iter().enumerate() {
            if refused.is_some() && event.payload.json().unwrap()["n"].as_u64() == refused {
                rejections.push(Rejection { index, why: "no such number".into() });
            } else {
                self.0.taken.lock().push(event.clone());
            }
        }
        Ok(rejections)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}
