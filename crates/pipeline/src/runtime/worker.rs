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
use courant_model::{
    Columns, PartitionId, TopicName, TopicPartition, limits::PARTITION_DRAIN_MS_MAX,
};
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
    inputs::{Input, Inputs},
    lookup::Asker,
    outbox::Outbox,
    partition::PartitionTask,
    state::StateStore,
    status::{PipelineMeter, PipelineStatus, PipelineWords, TaskState},
    transact::Transactions,
    views::{RunningView, ViewStatus, ViewWork},
    work::{Steps, Work},
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
    /// Set: its work is a view's query, not steps.
    pub(crate) view: Option<Arc<RunningView>>,
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

    /// How the view is doing, if it is one.
    pub(crate) fn view_status(&self) -> Option<ViewStatus> {
        Some(self.view.as_ref()?.status(self.status()))
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
        // Assigned, and without the others of their number so far.
        let mut waiting: Readers = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = tasks.next_end() => ended.map_err(Failure::Task)?,
                change = member.next_change() => match change.map_err(Failure::Group)? {
                    GroupChange::Assigned(readers) => {
                        backoff.succeeded(control);
                        self.meter.health.change(TaskState::Starting, TaskState::Running);
                        waiting.extend(readers);
                        for readers in self.gather(&mut waiting) {
                            let task = self.task(readers, member).map_err(Failure::Task)?;
                            tasks.start(task);
                        }
                        self.warn_of(&waiting);
                    }
                    GroupChange::Revoked(partitions) => {
                        waiting.retain(|reader| !partitions.contains(reader.partition()));
                        tasks.stop(&partitions).await.map_err(Failure::Task)?;
                    }
                    GroupChange::Lost(partitions) => {
                        waiting.retain(|reader| !partitions.contains(reader.partition()));
                        tasks.abort(&partitions);
                    }
                },
            }
        }
    }

    /// A task for partitions of the same number.
    fn task(
        self: &Arc<Self>,
        readers: Vec<Box<dyn PartitionReader>>,
        member: &dyn GroupMember,
    ) -> Result<PartitionTask, Halt> {
        let transactions =
            (self.plan.guarantee == Guarantee::ExactlyOnce).then(Transactions::default);
        let outbox = transactions.as_ref().map(|transactions| &transactions.outbox);
        let partition = readers[0].partition().clone();
        Ok(PartitionTask {
            work: self.work(&partition)?,
            targets: self.targets(outbox).map_err(|error| Halt::Fatal(error.what))?,
            routes: self.routes(outbox),
            dead_letters: self.dead_letters(),
            transactions,
            pipeline: Arc::clone(self),
            inputs: Inputs(readers.into_iter().map(Input::new).collect()),
            committer: member.committer(),
            stop: CancellationToken::new(),
            paused: self.paused.subscribe(),
            checkpoint_at: Instant::now(),
        })
    }

    fn work(self: &Arc<Self>, partition: &TopicPartition) -> Result<Work, Halt> {
        if let Some(view) = &self.view {
            let work = ViewWork::new(Arc::clone(self), Arc::clone(view), partition.partition);
            return Ok(Work::View(Box::new(work)));
        }
        let columns = self.columns.get(&partition.topic);
        let core = PipelineCore::new(&self.plan, &partition.topic, columns, &self.pins);
        let core = core.map_err(|error| Halt::Fatal(error.to_string()))?;
        let asker = |stage| Asker::open(stage, &self.roles, &self.name, &self.base);
        let lookups = core.lookups().map(asker).collect::<Result<_, ConnectorError>>();
        let lookups = lookups.map_err(|error| Halt::Fatal(error.what))?;
        Ok(Work::Steps(Steps::new(Arc::clone(self), partition.clone(), core, lookups)))
    }

    /// Readers that belong together: of a pipeline each partition by itself, of a view
    /// those of one number, once all of its topics are there.
    fn gather(&self, waiting: &mut Vec<Box<dyn PartitionReader>>) -> Vec<Readers> {
        if self.view.is_none() {
            return waiting.drain(..).map(|reader| vec![reader]).collect();
        }
        let mut numbers: BTreeMap<PartitionId, Readers> = BTreeMap::new();
        for reader in waiting.drain(..) {
            numbers.entry(reader.partition().partition).or_default().push(reader);
        }
        let (whole, parts): (Vec<_>, Vec<_>) =
            numbers.into_values().partition(|readers| readers.len() == self.plan.from.len());
        waiting.extend(parts.into_iter().flatten());
        let place = |topic: &TopicName| self.plan.from.iter().position(|from| from == topic);
        let mut whole = whole;
        for readers in &mut whole {
            readers.sort_by_key(|reader| place(&reader.partition().topic));
        }
        whole
    }

    /// Says what is not worked on, because others of its number are elsewhere.
    fn warn_of(&self, waiting: &[Box<dyn PartitionReader>]) {
        if !waiting.is_empty() {
            let partitions: Vec<String> =
                waiting.iter().map(|reader| reader.partition().to_string()).collect();
            tracing::warn!(
                view = self.name,
                ?partitions,
                "partitions wait for those of the same number of the view's other topics"
            );
        }
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

    /// A target for each topic that a route of the pipeline names, or that takes a view's
    /// late records.
    fn routes(&self, outbox: Option<&Outbox>) -> BTreeMap<TopicName, Target> {
        let target = |topic: &TopicName| {
            self.topic_target(format!("route to topic {topic}").into(), topic, outbox)
        };
        let late = self.view.iter().filter_map(|view| view.plan.late.as_ref());
        let topics = self.plan.routed_topics().chain(late);
        topics.map(|topic| (topic.clone(), target(topic))).collect()
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
    /// By each partition of a task.
    running: BTreeMap<TopicPartition, (CancellationToken, AbortHandle)>,
    set: JoinSet<(Vec<TopicPartition>, Result<(), Halt>)>,
}

/// Readers that belong to one task.
type Readers = Vec<Box<dyn PartitionReader>>;

impl Tasks {
    fn start(&mut self, task: PartitionTask) {
        let partitions: Vec<_> = task.inputs.partitions().cloned().collect();
        let (partition, stop) = (&partitions[0], task.stop.clone());
        let span = tracing::info_span!("partition", pipeline = task.pipeline.name, %partition);
        let abort = self.set.spawn({
            let partitions = partitions.clone();
            async move { (partitions, task.run().await) }.instrument(span)
        });
        for partition in partitions {
            self.running.insert(partition, (stop.clone(), abort.clone()));
        }
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
        ended: Result<(Vec<TopicPartition>, Result<(), Halt>), JoinError>,
    ) -> Result<(), Halt> {
        match ended {
            Ok((partitions, result)) => {
                for partition in &partitions {
                    self.running.remove(partition);
                }
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
