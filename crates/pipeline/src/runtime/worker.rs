//! The worker of one pipeline: a member of its group, and a task for each partition.
//!
//! It starts a partition's task when the group assigns it, and ends it, checkpointed,
//! before the group may give it to somebody else. One partition that cannot go on ends
//! the pipeline, because its order would be broken otherwise; other pipelines go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use courant_log::{GroupChange, GroupMember, LogError, PartitionReader, Subscription};
use courant_model::{Columns, TopicName, TopicPartition, limits::PARTITION_DRAIN_MS_MAX};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    RoleHandles,
    budget::Budget,
    deliver::{Backoff, Control, Halt, Target},
    lookup::Asker,
    outbox::Outbox,
    partition::{PartitionTask, Progress},
    state::StateStore,
    status::{PipelineMeter, PipelineStatus, PipelineWords, TaskState},
    transact::Transactions,
};
use crate::{
    connector::{ConnectorError, Sink, SinkContext},
    core::PipelineCore,
    plan::{Guarantee, PipelinePlan, TargetPlan},
    sinks::{
        CacheSink, HistorySink, TopicSink, cache::CachePlace, history::HistoryPlace, log_failure,
    },
    steps::{StepError, pins::Pins},
};

/// How long a member may be silent before the group gives its partitions away.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A pipeline, as its tasks share it.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) plan: PipelinePlan,
    /// Declared columns of its topics.
    pub(crate) columns: BTreeMap<TopicName, Columns>,
    pub(crate) roles: RoleHandles,
    pub(crate) base: std::path::PathBuf,
    pub(crate) state: StateStore,
    pub(crate) pins: Arc<Pins>,
    pub(crate) budget: Budget,
    pub(crate) meter: PipelineMeter,
    pub(crate) paused: watch::Sender<bool>,
}

impl Pipeline {
    /// Builds the steps once for each topic, so that what cannot run is told at the start.
    pub(crate) fn check(&self) -> Result<(), StepError> {
        self.plan.from.iter().try_for_each(|topic| {
            PipelineCore::new(&self.plan, topic, self.columns.get(topic), &self.pins).map(drop)
        })
    }

    pub(crate) fn status(&self) -> PipelineStatus {
        let words = PipelineWords {
            name: &self.name,
            group: &self.plan.group,
            from: &self.plan.from,
            dead_letters: &self.plan.on_error.dead_letters,
            wished_p99: self.plan.freshness_p99,
        };
        self.meter.status(&words, *self.paused.borrow())
    }

    /// Works as a member of the group until it is stopped, or cannot go on.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let health = &self.meter.health;
        let control = Control { stop: &stop, health };
        let mut backoff = Backoff::default();
        let halt = loop {
            match self.serve(&stop, &mut backoff).await {
                Ok(()) => break Halt::Stopping,
                Err(Failure::Task(Halt::Restart(what))) => {
                    let error = ConnectorError::retryable(what);
                    if let Err(halt) = backoff.wait(control, &error).await {
                        break halt;
                    }
                }
                Err(Failure::Task(halt)) => break halt,
                Err(Failure::Group(LogError::Closed)) => break Halt::Stopping,
                Err(Failure::Group(error)) => {
                    if let Err(halt) = backoff.wait(control, &log_failure(&error)).await {
                        break halt;
                    }
                }
            }
        };
        match halt {
            Halt::Fatal(what) => {
                tracing::error!(pipeline = self.name, error = what, "pipeline failed");
                health.failed(what);
            }
            Halt::Stopping | Halt::Fenced | Halt::Restart(_) => health.enter(TaskState::Stopped),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), Failure> {
        let subscription = Subscription {
            group: self.plan.group.clone(),
            topics: self.plan.from.clone(),
            client_id: format!("courant-{}", self.name),
            instance_id: None,
            session_timeout: SESSION_TIMEOUT,
            reset: self.plan.start,
        };
        let mut member = self.roles.log.subscribe(subscription).await.map_err(Failure::Group)?;
        let mut tasks = Tasks::default();
        let served = self.follow(member.as_mut(), &mut tasks, stop, backoff).await;
        let drained = tasks.stop_all().await;
        if let Err(error) = member.leave().await {
            tracing::warn!(pipeline = self.name, %error, "leaving the group failed");
        }
        served.and(drained.map_err(Failure::Task))
    }

    /// Follows the group's changes.
    async fn follow(
        self: &Arc<Self>,
        member: &mut dyn GroupMember,
        tasks: &mut Tasks,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), Failure> {
        let control = Control { stop, health: &self.meter.health };
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = tasks.next_end() => ended.map_err(Failure::Task)?,
                change = member.next_change() => match change.map_err(Failure::Group)? {
                    GroupChange::Assigned(readers) => {
                        backoff.succeeded(control);
                        self.meter.health.change(TaskState::Starting, TaskState::Running);
                        for reader in readers {
                            let task = self.task(reader, member).map_err(Failure::Task)?;
                            tasks.start(task);
                        }
                    }
                    GroupChange::Revoked(partitions) => {
                        tasks.stop(&partitions).await.map_err(Failure::Task)?;
                    }
                    GroupChange::Lost(partitions) => tasks.abort(&partitions),
                },
            }
        }
    }

    fn task(
        self: &Arc<Self>,
        reader: Box<dyn PartitionReader>,
        member: &dyn GroupMember,
    ) -> Result<PartitionTask, Halt> {
        let partition = reader.partition().clone();
        let columns = self.columns.get(&partition.topic);
        let core = PipelineCore::new(&self.plan, &partition.topic, columns, &self.pins);
        let transactions =
            (self.plan.guarantee == Guarantee::ExactlyOnce).then(Transactions::default);
        let outbox = transactions.as_ref().map(|transactions| &transactions.outbox);
        let core = core.map_err(|error| Halt::Fatal(error.to_string()))?;
        let asker = |stage| Asker::open(stage, &self.roles, &self.name, &self.base);
        let lookups = core.lookups().map(asker).collect::<Result<_, ConnectorError>>();
        Ok(PartitionTask {
            lookups: lookups.map_err(|error| Halt::Fatal(error.what))?,
            core,
            targets: self.targets(outbox).map_err(|error| Halt::Fatal(error.what))?,
            routes: self.routes(outbox),
            dead_letters: self.dead_letters(),
            transactions,
            pipeline: Arc::clone(self),
            partition,
            reader,
            committer: member.committer(),
            stop: CancellationToken::new(),
            paused: self.paused.subscribe(),
            progress: Progress::new(),
        })
    }

    fn targets(&self, outbox: Option<&Outbox>) -> Result<Vec<Target>, ConnectorError> {
        let number = |(index, plan): (usize, &TargetPlan)| {
            self.target(plan.label(index + 1).into(), plan, outbox)
        };
        self.plan.to.iter().enumerate().map(number).collect()
    }

    fn target(
        &self,
        label: Arc<str>,
        plan: &TargetPlan,
        outbox: Option<&Outbox>,
    ) -> Result<Target, ConnectorError> {
        let roles = &self.roles;
        // Courant's own targets refuse for good; a connector's outside may think again.
        let mut retries = 0;
        let sink: Box<dyn Sink> = match plan {
            TargetPlan::Topic { topic } => return Ok(self.topic_target(label, topic, outbox)),
            TargetPlan::Cache { table, key, field, ttl, version } => {
                let (key, field, version) = (key.clone(), field.clone(), version.clone());
                let ttl = ttl.map(courant_model::Span::as_duration);
                let place = CachePlace { key, field, ttl, version };
                Box::new(CacheSink::new(Arc::clone(&roles.cache), table.clone(), place))
            }
            TargetPlan::History { collection, id, version, .. } => {
                let history = Arc::clone(&roles.history);
                let place = HistoryPlace { id: id.clone(), version: version.clone() };
                Box::new(HistorySink::new(history, collection.clone(), place))
            }
            TargetPlan::Connector { factory, .. } => {
                retries = self.plan.on_error.retries;
                factory.open(SinkContext {
                    pipeline: self.name.clone(),
                    clock: Arc::clone(&roles.clock),
                    base: self.base.clone(),
                })?
            }
        };
        Ok(Target { label, sink, retries })
    }

    /// A target for each topic that a route of the pipeline names.
    fn routes(&self, outbox: Option<&Outbox>) -> BTreeMap<TopicName, Target> {
        let target = |topic: &TopicName| {
            self.topic_target(format!("route to topic {topic}").into(), topic, outbox)
        };
        self.plan.routed_topics().map(|topic| (topic.clone(), target(topic))).collect()
    }

    /// A topic as a target: of the checkpoint's transaction, or appended to at once.
    fn topic_target(&self, label: Arc<str>, topic: &TopicName, outbox: Option<&Outbox>) -> Target {
        let sink: Box<dyn Sink> = match outbox {
            Some(outbox) => Box::new(outbox.sink(topic.clone(), Arc::clone(&label))),
            None => Box::new(TopicSink::new(Arc::clone(&self.roles.log), topic.clone())),
        };
        Target { label, sink, retries: 0 }
    }

    fn dead_letters(&self) -> TopicSink {
        TopicSink::new(Arc::clone(&self.roles.log), self.plan.on_error.dead_letters.clone())
    }
}

/// Why a worker's membership ended.
#[derive(Debug)]
enum Failure {
    Task(Halt),
    Group(LogError),
}

/// The partitions' tasks of one membership.
#[derive(Debug, Default)]
struct Tasks {
    running: BTreeMap<TopicPartition, (CancellationToken, AbortHandle)>,
    set: JoinSet<(TopicPartition, Result<(), Halt>)>,
}

impl Tasks {
    fn start(&mut self, task: PartitionTask) {
        let (partition, stop) = (task.partition.clone(), task.stop.clone());
        let span = tracing::info_span!("partition", pipeline = task.pipeline.name, %partition);
        let abort = self.set.spawn({
            let partition = partition.clone();
            async move { (partition, task.run().await) }.instrument(span)
        });
        self.running.insert(partition, (stop, abort));
    }

    /// Waits for a task to end by itself; never without tasks.
    ///
    /// # Cancel safety
    /// Safe.
    async fn next_end(&mut self) -> Result<(), Halt> {
        match self.set.join_next().await {
            Some(ended) => self.ended(ended),
            None => std::future::pending().await,
        }
    }

    /// Stops tasks and waits until they have checkpointed; one that takes too long is
    /// cut off, and what it did not commit is done again elsewhere.
    async fn stop(&mut self, partitions: &[TopicPartition]) -> Result<(), Halt> {
        let open: BTreeSet<_> = partitions
            .iter()
            .filter_map(|at| {
                let (stop, _) = self.running.get(at)?;
                stop.cancel();
                Some(at.clone())
            })
            .collect();
        let deadline = Instant::now() + Duration::from_millis(PARTITION_DRAIN_MS_MAX);
        let mut first = Ok(());
        while open.iter().any(|at| self.running.contains_key(at)) {
            match tokio::time::timeout_at(deadline, self.set.join_next()).await {
                Ok(Some(ended)) => first = first.and(self.ended(ended)),
                Ok(None) => break,
                Err(_) => {
                    let late: Vec<_> = open.iter().cloned().collect();
                    tracing::warn!(partitions = ?late, "partitions did not finish in time");
                    self.abort(&late);
                }
            }
        }
        first
    }

    async fn stop_all(&mut self) -> Result<(), Halt> {
        let all: Vec<_> = self.running.keys().cloned().collect();
        self.stop(&all).await
    }

    fn abort(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some((_, abort)) = self.running.remove(partition) {
                abort.abort();
            }
        }
    }

    fn ended(
        &mut self,
        ended: Result<(TopicPartition, Result<(), Halt>), JoinError>,
    ) -> Result<(), Halt> {
        match ended {
            Ok((partition, result)) => {
                self.running.remove(&partition);
                match result {
                    // The group tells that it is lost.
                    Err(Halt::Fenced) | Ok(()) => Ok(()),
                    Err(halt) => Err(halt),
                }
            }
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(Halt::Fatal(format!("a partition's task broke down: {error}"))),
        }
    }
}
