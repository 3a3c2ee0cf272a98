//! The runtime: a plan's sources and pipelines as tasks, on the roles it is given.
//!
//! Starting makes the topics and collections that the plan needs, then starts the
//! pipelines, then the sources; stopping goes the other way, so that what was read is
//! delivered and committed. The runtime owns its tasks and the folder `state/`; the
//! roles are its caller's to open and close.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use courant_log::{Log, LogError};
use courant_model::{ByteSize, Clock};
use courant_stores::{Cache, History, StoreError};
use indexmap::IndexMap;
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    plan::{Plan, ViewPlan},
    routes::RouteTable,
    steps::{StepError, pins::Pins},
};

mod budget;
mod deliver;
mod ensure;
mod freshness;
mod inputs;
mod lookup;
mod outbox;
mod partition;
mod source;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod transact;
mod views;
mod work;
mod worker;

pub use state::StateError;
pub use status::{
    ErrorStatus, FreshnessStatus, PartitionStatus, PipelineStatus, SourceStatus, TaskState,
};

pub use views::{ViewChange, ViewError, ViewPage, ViewRow, ViewScan, ViewStatus, ViewStore};

use budget::Budget;
use source::RunningSource;
use state::StateStore;
use status::{PipelineMeter, SourceMeter};
use views::RunningView;
use worker::Pipeline;

/// What a plan runs on.
#[derive(Debug, Clone)]
pub struct RoleHandles {
    pub log: Arc<dyn Log>,
    pub cache: Arc<dyn Cache>,
    pub history: Arc<dyn History>,
    pub clock: Arc<dyn Clock>,
    /// Folder of the process's data; the runtime keeps `state/` in it.
    pub data: PathBuf,
    pub routes: Arc<RouteTable>,
}

/// A plan at work. Dropping it without [`Runtime::stop`] is as good as a crash: nothing
/// is lost, the next start may repeat output.
#[derive(Debug)]
pub struct Runtime {
    plan: Plan,
    roles: RoleHandles,
    pipelines: IndexMap<String, Arc<Pipeline>>,
    views: IndexMap<String, Arc<Pipeline>>,
    sources: IndexMap<String, Arc<RunningSource>>,
    pipeline_tasks: Tasks,
    source_tasks: Tasks,
}

/// Why a runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("pipeline {pipeline:?}: {source}")]
    Step { pipeline: String, source: StepError },
}

/// There is no such pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pipeline {name:?} does not exist")]
pub struct UnknownPipeline {
    pub name: String,
}

impl Runtime {
    /// Starts a plan.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs.
    pub async fn start(plan: Plan, roles: RoleHandles) -> Result<Self, StartError> {
        let folder = roles.data.join("state");
        let opened = tokio::task::spawn_blocking(move || StateStore::open(&folder)).await;
        let state = opened.map_err(|error| {
            LogError::storage("opening the state", std::io::Error::other(error))
        })??;
        ensure::topics(roles.log.as_ref(), &plan).await?;
        ensure::collections(roles.history.as_ref(), &plan).await?;
        // Half and half, so that targets that are away cannot stop the taking-in.
        let half = ByteSize::from_bytes(plan.memory.as_bytes() / 2);
        let tasks = Budget::new(half);
        let runtime = Self {
            pipelines: pipelines(&plan, &roles, &state, &tasks)?,
            views: views(&plan, &roles, &state, &tasks),
            sources: sources(&plan, &roles, &state, &Budget::new(half)),
            plan,
            roles,
            pipeline_tasks: Tasks::default(),
            source_tasks: Tasks::default(),
        };
        for pipeline in runtime.pipelines.values().chain(runtime.views.values()) {
            let stop = runtime.pipeline_tasks.stop.clone();
            runtime.pipeline_tasks.spawn(Arc::clone(pipeline).run(stop)).await;
        }
        for source in runtime.sources.values() {
            let stop = runtime.source_tasks.stop.clone();
            let span = tracing::info_span!("source", name = source.name);
            runtime.source_tasks.spawn(Arc::clone(source).run(stop).instrument(span)).await;
        }
        Ok(runtime)
    }

    /// Stops: sources end, pipelines deliver and commit what they have read, groups are
    /// left, the cache is flushed. What is not done by the deadline is cut off and done
    /// again by the next start. A second call changes nothing. Answers whether
    /// everything ended in time.
    ///
    /// # Errors
    /// Failures of the last flush.
    pub async fn stop(&self, deadline: Duration) -> Result<bool, StoreError> {
        let deadline = Instant::now() + deadline;
        let sources = self.source_tasks.stop(deadline).await;
        let pipelines = self.pipeline_tasks.stop(deadline).await;
        self.roles.cache.flush().await?;
        Ok(sources && pipelines)
    }

    /// The plan that runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How the pipelines are doing, in the order of the file.
    pub fn pipelines(&self) -> Vec<PipelineStatus> {
        self.pipelines.values().map(|pipeline| pipeline.status()).collect()
    }

    /// How one pipeline is doing.
    pub fn pipeline(&self, name: &str) -> Option<PipelineStatus> {
        Some(self.pipelines.get(name)?.status())
    }

    /// How the views are doing, in the order of the file.
    pub fn views(&self) -> Vec<ViewStatus> {
        self.views.values().filter_map(|view| view.view_status()).collect()
    }

    /// The store of a view.
    pub fn view(&self, name: &str) -> Option<ViewStore> {
        Some(ViewStore::new(self.views.get(name)?.view.as_ref()?))
    }

    /// How the sources are doing, in the order of the file.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.sources.values().map(|source| source.status()).collect()
    }

    /// Makes a pipeline stop reading; it keeps its partitions.
    ///
    /// # Errors
    /// [`UnknownPipeline`].
    pub fn pause(&self, name: &str) -> Result<(), UnknownPipeline> {
        self.set_paused(name, true)
    }

    /// Makes a pipeline read on.
    ///
    /// # Errors
    /// [`UnknownPipeline`].
    pub fn resume(&self, name: &str) -> Result<(), UnknownPipeline> {
        self.set_paused(name, false)
    }

    fn set_paused(&self, name: &str, paused: bool) -> Result<(), UnknownPipeline> {
        let unknown = || UnknownPipeline { name: name.to_owned() };
        let running = self.pipelines.get(name).or_else(|| self.views.get(name));
        running.ok_or_else(unknown)?.paused.send_replace(paused);
        Ok(())
    }
}

fn pipelines(
    plan: &Plan,
    roles: &RoleHandles,
    state: &StateStore,
    budget: &Budget,
) -> Result<IndexMap<String, Arc<Pipeline>>, StartError> {
    let mut pipelines = IndexMap::new();
    for (name, pipeline) in &plan.pipelines {
        let columns = pipeline
            .from
            .iter()
            .filter_map(|topic| Some((topic.clone(), plan.topics.get(topic)?.columns.clone()?)));
        let running = Pipeline {
            name: name.clone(),
            columns: columns.collect(),
            roles: roles.clone(),
            base: plan.base.clone(),
            state: state.clone(),
            pins: Arc::new(Pins::new(state.pins(&pipeline.group)?)),
            budget: budget.clone(),
            meter: PipelineMeter::new(name, Arc::clone(&roles.clock)),
            paused: watch::Sender::new(false),
            plan: pipeline.clone(),
            view: None,
        };
        running.check().map_err(|source| StartError::Step { pipeline: name.clone(), source })?;
        pipelines.insert(name.clone(), Arc::new(running));
    }
    Ok(pipelines)
}

/// Views, as pipelines whose work is their query.
fn views(
    plan: &Plan,
    roles: &RoleHandles,
    state: &StateStore,
    budget: &Budget,
) -> IndexMap<String, Arc<Pipeline>> {
    let running = |(name, view): (&String, &ViewPlan)| Pipeline {
        name: name.clone(),
        columns: BTreeMap::new(),
        roles: roles.clone(),
        base: plan.base.clone(),
        state: state.clone(),
        pins: Arc::default(),
        budget: budget.clone(),
        meter: PipelineMeter::new(name, Arc::clone(&roles.clock)),
        paused: watch::Sender::new(false),
        plan: view.pipeline(),
        view: Some(Arc::new(RunningView::new(name, view))),
    };
    plan.views.iter().map(|one| (one.0.clone(), Arc::new(running(one)))).collect()
}

fn sources(
    plan: &Plan,
    roles: &RoleHandles,
    state: &StateStore,
    budget: &Budget,
) -> IndexMap<String, Arc<RunningSource>> {
    let source = |name: &String| RunningSource {
        name: name.clone(),
        plan: plan.sources[name].clone(),
        roles: roles.clone(),
        base: plan.base.clone(),
        state_name: format!("{}.{name}", plan.name),
        state: state.clone(),
        budget: budget.clone(),
        meter: SourceMeter::new(name, Arc::clone(&roles.clock)),
    };
    plan.sources.keys().map(|name| (name.clone(), Arc::new(source(name)))).collect()
}

/// Tasks that stop together.
#[derive(Debug, Default)]
struct Tasks {
    stop: CancellationToken,
    set: Mutex<JoinSet<()>>,
}

impl Tasks {
    async fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.set.lock().await.spawn(task);
    }

    /// Stops the tasks; answers whether all ended before the deadline.
    async fn stop(&self, deadline: Instant) -> bool {
        self.stop.cancel();
        let mut set = self.set.lock().await;
        let all = async { while set.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, all).await.is_ok() {
            return true;
        }
        set.shutdown().await;
        false
    }
}
