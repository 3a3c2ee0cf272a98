//! The source: a member of a consumer group of the other cluster.
//!
//! Each of its partitions has a task that reads, emits and then commits, so that a
//! partition that is held up holds up no other. A partition is given back once its task
//! has stopped; what it had emitted and not committed comes again elsewhere.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_kafka::{ClusterOptions, KafkaLog};
use courant_log::{
    AutoOffsetReset, Committer, GroupChange, Log, LogError, PartitionReader, Subscription,
};
use courant_model::{
    Positions, Record, StoredRecord, TopicName, TopicPartition,
    limits::{
        RETRY_WAIT_MS_MAX, RETRY_WAIT_MS_MIN, SOURCE_BATCH_BYTES_MAX, SOURCE_BATCH_RECORDS_MAX,
    },
};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Access, failure, problem};
use crate::deliver::deliver;

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "kafka",
        summary: "Reads topics of a Kafka cluster as a member of a consumer group.",
        guarantee: "At least once, in order within a partition. Key, value, headers and timestamp \
                    stay as they are. Offsets are committed in the cluster after the records are \
                    safe; aborted transactions are left out.",
        example: "kafka: { brokers: [\"kafka:9092\"], topics: [\"^orders\\\\..*\"], group: courant }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `kafka`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Some of the cluster's brokers: host:port, or a host with port 9092.
    #[schemars(length(min = 1))]
    brokers: Vec<String>,
    /// Topics by name; one that begins with ^ is a regular expression for names.
    #[schemars(length(min = 1))]
    topics: Vec<String>,
    /// The consumer group. Sources of one group share the partitions.
    #[schemars(length(min = 1))]
    group: String,
    /// Where to begin in a partition without a committed offset. Default: earliest.
    #[serde(default)]
    start: Start,
    /// Name of a header that gets topic, partition and offset of origin, as
    /// orders-3@42. Default: none.
    #[serde(default)]
    #[schemars(length(min = 1))]
    place_header: Option<String>,
    /// User, password and encryption.
    #[serde(default)]
    access: Access,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Start {
    /// With the first record that is there.
    #[default]
    Earliest,
    /// With the first record that comes.
    Latest,
}

/// What the source needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    brokers: Vec<String>,
    topics: Vec<TopicName>,
    patterns: Vec<String>,
    group: String,
    reset: AutoOffsetReset,
    place_header: Option<String>,
    access: Access,
}

fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = options.access.problems(&options.brokers);
    let (mut topics, mut patterns) = (Vec::new(), Vec::new());
    for (index, topic) in options.topics.iter().enumerate() {
        if topic.starts_with('^') {
            patterns.push(topic.clone());
            continue;
        }
        match TopicName::new(topic) {
            Ok(name) => topics.push(name),
            Err(error) => {
                let remedy = "write a topic's name, or a regular expression that begins with ^";
                problems.push(problem(&["topics", &index.to_string()], error.to_string(), remedy));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Arc::new(Settings {
        brokers: options.brokers,
        topics,
        patterns,
        group: options.group,
        reset: match options.start {
            Start::Earliest => AutoOffsetReset::Earliest,
            Start::Latest => AutoOffsetReset::Latest,
        },
        place_header: options.place_header,
        access: options.access,
    }))
}

impl SourceFactory for Settings {
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        let cluster = self.access.cluster(&self.brokers, &context.base);
        cluster.check().map_err(|error| ConnectorError::fatal(error.to_string()))?;
        Ok(Box::new(KafkaSource { settings: self.clone(), cluster, context }))
    }
}

#[derive(Debug)]
struct KafkaSource {
    settings: Settings,
    cluster: ClusterOptions,
    context: SourceContext,
}

/// What every partition's task has.
#[derive(Debug)]
struct Shared {
    context: SourceContext,
    place_header: Option<String>,
    /// Where the first failure goes.
    failed: mpsc::Sender<ConnectorError>,
}

#[async_trait]
impl Source for KafkaSource {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let Self { settings, cluster, context } = *self;
        let stop = context.stop.clone();
        let log = tokio::select! {
            log = KafkaLog::connect(cluster) => log.map_err(|error| failure(&error))?,
            () = stop.cancelled() => return Ok(()),
        };
        let subscription = Subscription {
            group: settings.group,
            topics: settings.topics,
            client_id: format!("courant-{}", context.name),
            instance_id: None,
            session_timeout: Duration::from_secs(10),
            reset: settings.reset,
        };
        let member = log.subscribe_matching(subscription, settings.patterns).await;
        let mut member = member.map_err(|error| failure(&error))?;
        let committer = member.committer();
        let (failed, mut failures) = mpsc::channel(1);
        let shared = Shared { context, place_header: settings.place_header, failed };
        let mut partitions = Partitions { shared: Arc::new(shared), tasks: BTreeMap::new() };
        let done = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(error) = failures.recv() => break Err(error),
                change = member.next_change() => match change {
                    Ok(change) => partitions.apply(change, committer.as_ref()).await,
                    Err(error) => break Err(failure(&error)),
                },
            }
        };
        partitions.stop_all().await;
        let left = member.leave().await.map_err(|error| failure(&error));
        let closed = log.close().await.map_err(|error| failure(&error));
        done.and(left).and(closed)
    }
}

/// The partitions that are ours now, each with its task.
#[derive(Debug)]
struct Partitions {
    shared: Arc<Shared>,
    tasks: BTreeMap<TopicPartition, Running>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Partitions {
    async fn apply(&mut self, change: GroupChange, committer: &dyn Committer) {
        match change {
            GroupChange::Assigned(readers) => {
                for reader in readers {
                    let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
                    let partition = reader.partition().clone();
                    let shared = Arc::clone(&self.shared);
                    task.spawn(run(shared, reader, committer.clone_box(), stop.clone()));
                    self.tasks.insert(partition, Running { stop, task });
                }
            }
            GroupChange::Revoked(gone) => {
                let gone: Vec<_> =
                    gone.iter().filter_map(|partition| self.tasks.remove(partition)).collect();
                finish(gone).await;
            }
            // Somebody else's already: nothing of it can be committed.
            GroupChange::Lost(gone) => {
                for partition in gone {
                    self.tasks.remove(&partition);
                }
            }
        }
    }

    async fn stop_all(&mut self) {
        finish(std::mem::take(&mut self.tasks).into_values().collect()).await;
    }
}

/// Lets tasks end with what they are at.
async fn finish(running: Vec<Running>) {
    running.iter().for_each(|running| running.stop.cancel());
    for mut running in running {
        while running.task.join_next().await.is_some() {}
    }
}

/// Reads, emits and commits until it is stopped.
async fn run(
    shared: Arc<Shared>,
    mut reader: Box<dyn PartitionReader>,
    committer: Box<dyn Committer>,
    stop: CancellationToken,
) {
    let partition = reader.partition().clone();
    loop {
        let read = tokio::select! {
            () = stop.cancelled() => return,
            read = reader.next(SOURCE_BATCH_RECORDS_MAX, SOURCE_BATCH_BYTES_MAX) => read,
        };
        let done = match read {
            Ok(read) => {
                let emitted = shared.emit(read.records).await;
                match emitted {
                    Ok(()) => commit(committer.as_ref(), &partition, read.next, &stop).await,
                    failed => failed,
                }
            }
            // The topic is gone, and soon its partitions are taken back.
            Err(LogError::UnknownTopic { topic }) => {
                tracing::info!(%topic, "topic of a source was deleted");
                return;
            }
            Err(error) => Err(failure(&error)),
        };
        if let Err(error) = done {
            // One failure is enough to end the source.
            let _ = shared.failed.try_send(error);
            return;
        }
    }
}

impl Shared {
    async fn emit(&self, stored: Vec<StoredRecord>) -> Result<(), ConnectorError> {
        let record = |stored: StoredRecord| match &self.place_header {
            None => stored.record,
            Some(header) => {
                let place = stored.position().to_string();
                stored.record.with_header(header, place)
            }
        };
        let records: Vec<Record> = stored.into_iter().map(record).collect();
        deliver(self.context.emitter.as_ref(), &self.context.topic, records).await
    }
}

/// Commits, again while that may help; what is somebody else's by now is let go.
async fn commit(
    committer: &dyn Committer,
    partition: &TopicPartition,
    next: i64,
    stop: &CancellationToken,
) -> Result<(), ConnectorError> {
    let positions = Positions::from([(partition.clone(), next)]);
    let mut wait = Duration::from_millis(RETRY_WAIT_MS_MIN);
    loop {
        match committer.commit(&positions, "").await {
            Ok(()) => return Ok(()),
            Err(LogError::IllegalGeneration { .. }) => {
                tracing::debug!(%partition, "partition is another member's by now");
                return Ok(());
            }
            Err(error) if error.retryable() && !stop.is_cancelled() => {
                tracing::debug!(%partition, %error, "commit is tried again");
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => {}
                }
                wait = (wait * 2).min(Duration::from_millis(RETRY_WAIT_MS_MAX));
            }
            // Stopped: what was not committed comes again.
            Err(error) if error.retryable() => {
                tracing::warn!(%partition, %error, "last records of a source come again");
                return Ok(());
            }
            Err(error) => return Err(failure(&error)),
        }
    }
}
