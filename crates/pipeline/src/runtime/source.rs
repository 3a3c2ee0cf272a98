//! Sources at work: a supervisor for each, and what a source is handed.
//!
//! The supervisor opens a source, runs it and opens it again after a failure that may
//! pass. The emitter stamps origins, sets keys and appends within the memory budget;
//! its answer means durable. Nothing of a call is appended when one of its records can
//! never be.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use courant_log::LogError;
use courant_model::{Position, Record, TopicName, limits::RETRY_WAIT_MS_MAX};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    RoleHandles,
    budget::Budget,
    deliver::{Backoff, Control, Halt},
    state::StateStore,
    status::{SourceMeter, SourceStatus, TaskState},
};
use crate::{
    connector::{ConnectorError, Emit, EmitError, SourceContext, SourceState},
    core::Failure,
    event::Payload,
    plan::SourcePlan,
    steps::scalar_at,
};

/// A source, as its supervisor and emitter share it.
#[derive(Debug)]
pub(crate) struct RunningSource {
    pub(crate) name: String,
    pub(crate) plan: SourcePlan,
    pub(crate) roles: RoleHandles,
    pub(crate) base: std::path::PathBuf,
    /// Name of its state: the file's name and the source's.
    pub(crate) state_name: String,
    pub(crate) state: StateStore,
    pub(crate) budget: Budget,
    pub(crate) meter: SourceMeter,
}

impl RunningSource {
    pub(crate) fn status(&self) -> SourceStatus {
        self.meter.status(&self.name, self.plan.connector, &self.plan.to)
    }

    /// Runs the source until its input ends, it is stopped, or cannot go on.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let health = &self.meter.health;
        let control = Control { stop: &stop, health };
        let mut backoff = Backoff::default();
        let halt = loop {
            let started = Instant::now();
            let Err(error) = self.run_once(&stop).await else { break None };
            if started.elapsed() > Duration::from_millis(RETRY_WAIT_MS_MAX) {
                backoff = Backoff::default();
            }
            if let Err(halt) = backoff.wait(control, &error).await {
                break Some(halt);
            }
        };
        match halt {
            Some(Halt::Fatal(what)) => {
                tracing::error!(source = self.name, error = what, "source failed");
                health.failed(what);
            }
            None if !stop.is_cancelled() => health.enter(TaskState::Finished),
            _ => health.enter(TaskState::Stopped),
        }
    }

    async fn run_once(self: &Arc<Self>, stop: &CancellationToken) -> Result<(), ConnectorError> {
        let context = SourceContext {
            name: self.name.clone(),
            topic: self.plan.to.clone(),
            has_key: self.plan.key.is_some(),
            emitter: Arc::new(Emitter { source: Arc::clone(self) }),
            state: Arc::new(State { name: self.state_name.clone(), store: self.state.clone() }),
            routes: Arc::clone(&self.roles.routes),
            clock: Arc::clone(&self.roles.clock),
            stop: stop.clone(),
            base: self.base.clone(),
        };
        let source = self.plan.factory.open(context)?;
        self.meter.health.enter(TaskState::Running);
        source.run().await
    }
}

/// Takes a source's records into the log.
#[derive(Debug)]
struct Emitter {
    source: Arc<RunningSource>,
}

#[async_trait]
impl Emit for Emitter {
    async fn emit(
        &self,
        topic: Option<&TopicName>,
        mut records: Vec<Record>,
    ) -> Result<Vec<Position>, EmitError> {
        let (source, count) = (&self.source, records.len());
        let origin = source.roles.clock.now_origin();
        let mut bytes = 0;
        for (index, record) in records.iter_mut().enumerate() {
            set_key(record, &source.plan).map_err(|why| EmitError::Rejected { index, why })?;
            record.stamp_origin(origin);
            bytes += record.size_bytes();
        }
        let _share = source.budget.acquire(bytes).await;
        let topic = topic.unwrap_or(&source.plan.to);
        // Sizes of an oversized call's records, to name the culprit.
        let sizes: Vec<usize> = records.iter().map(Record::size_bytes).collect();
        let positions = source.roles.log.append(topic, None, records).await;
        let positions = positions.map_err(|error| rejection(error, &sizes))?;
        source.meter.emitted(count);
        source.meter.health.recovered();
        Ok(positions)
    }

    async fn reject(&self, original: Bytes, why: String) -> Result<(), EmitError> {
        let source = &self.source;
        source.meter.rejected(&why);
        let Some(topic) = &source.plan.dead_letters else {
            tracing::warn!(source = source.name, why, "input is no record and was left out");
            return Ok(());
        };
        let now = source.roles.clock.now();
        let mut record = Record::new(original, now);
        record.stamp_origin(source.roles.clock.now_origin());
        let failure = Failure {
            what: &why,
            step: "source",
            source: source.name.clone(),
            pipeline: "",
            timestamp: now,
        };
        failure.write(&mut record);
        source.roles.log.append(topic, None, vec![record]).await?;
        Ok(())
    }
}

/// Gives a record the key that the file says, where it has none.
fn set_key(record: &mut Record, plan: &SourcePlan) -> Result<(), String> {
    let (Some(field), None, Some(value)) = (&plan.key, &record.key, &record.value) else {
        return Ok(());
    };
    let payload = Payload::from_bytes(value.clone());
    let document = payload.json().map_err(|error| error.to_string())?;
    record.key = Some(scalar_at(document, field, "a key")?.into());
    Ok(())
}

/// An append's failure as a source sees it: too large is a record's own fault.
fn rejection(error: LogError, sizes: &[usize]) -> EmitError {
    match error {
        LogError::RecordTooLarge { .. } => {
            let largest = sizes.iter().enumerate().max_by_key(|(_, size)| **size);
            let index = largest.map_or(0, |(index, _)| index);
            EmitError::Rejected { index, why: error.to_string() }
        }
        error => EmitError::Log(error),
    }
}

/// A source's small memory.
#[derive(Debug)]
struct State {
    name: String,
    store: StateStore,
}

#[async_trait]
impl SourceState for State {
    async fn load(&self) -> Result<Option<Bytes>, ConnectorError> {
        let name = self.name.clone();
        let saved = self.store.run(move |store| store.source(&name)).await;
        saved.map(|saved| saved.map(Bytes::from)).map_err(|error| failure(&error))
    }

    async fn save(&self, state: Bytes) -> Result<(), ConnectorError> {
        let name = self.name.clone();
        let saved = self.store.run(move |store| store.save_source(&name, &state)).await;
        saved.map_err(|error| failure(&error))
    }
}

fn failure(error: &super::state::StateError) -> ConnectorError {
    ConnectorError::retryable(error.to_string())
}
