//! A pipeline's steps on one partition, with what they remember.

use std::{collections::BTreeMap, sync::Arc};

use courant_model::{
    Offset, Positions, StoredRecord, TopicPartition, limits::PIPELINE_INLINE_EVENTS_MAX,
};

use super::{Found, Resume};
use crate::{
    core::{CoreOutput, PipelineCore, StepState},
    event::Event,
    runtime::{
        deliver::{Control, Halt},
        lookup::Asker,
        state::{Checkpoint, StateError, StateStore},
        worker::Pipeline,
    },
    steps::StepContext,
};

/// The steps of one partition.
#[derive(Debug)]
pub(crate) struct Steps {
    pipeline: Arc<Pipeline>,
    partition: TopicPartition,
    core: PipelineCore,
    /// Those between the core's segments, in order.
    lookups: Vec<Asker>,
    /// Changes of the steps' memory since the last checkpoint.
    changes: StepState,
    /// Position of a checkpoint that is staged and waits for the outcome of its transaction.
    staged: Option<Offset>,
    pins_version: u64,
}

impl Steps {
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        partition: TopicPartition,
        core: PipelineCore,
        lookups: Vec<Asker>,
    ) -> Self {
        let (changes, staged, pins_version) = (Vec::new(), None, 0);
        Self { pipeline, partition, core, lookups, changes, staged, pins_version }
    }

    /// Brings back the steps' memory; answers where to go on.
    pub(super) async fn restore(&mut self, found: &[Found]) -> Result<Vec<Resume>, Halt> {
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        let found = &found[0];
        let start = found.at;
        let stored = self.state(move |state| {
            state.settle(&group, &at, start)?;
            state.stored(&group, &at)
        });
        let stored = stored.await?;
        for (step, entries) in stored.steps {
            self.core.restore(step, entries);
        }
        // Behind the commit when another worker went on meanwhile, or nothing changed.
        let position = stored.position.unwrap_or(start).min(found.end).max(start);
        Ok(vec![Resume { position, replay_to: 0 }])
    }

    pub(super) async fn forget(&mut self) -> Result<(), Halt> {
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        self.state(move |state| state.clear(&group, &at)).await
    }

    /// Takes records through all steps, with what they look up in between.
    pub(super) async fn run(
        &mut self,
        records: Vec<StoredRecord>,
        control: Control<'_>,
    ) -> Result<CoreOutput, Halt> {
        let events = records.into_iter().map(Event::from_stored).collect();
        let mut output = self.run_core(0, CoreOutput::of(events)).await?;
        for segment in 1..self.core.segments() {
            output = self.look_up(segment - 1, output, control).await?;
            output = self.run_core(segment, output).await?;
        }
        Ok(output)
    }

    pub(super) fn has_more(&self) -> bool {
        self.core.has_more()
    }

    pub(super) fn done(&mut self) {
        self.changes.extend(self.core.take_changes());
    }

    /// Waits for what the events of a batch ask between two segments.
    async fn look_up(
        &mut self,
        number: usize,
        output: CoreOutput,
        control: Control<'_>,
    ) -> Result<CoreOutput, Halt> {
        let now = self.pipeline.roles.clock.now_origin();
        match self.lookups.get_mut(number) {
            Some(asker) => asker.ask(output, now, control).await,
            None => Ok(output),
        }
    }

    /// Runs a segment of the steps; a large batch does so off the async threads.
    async fn run_core(&mut self, segment: usize, output: CoreOutput) -> Result<CoreOutput, Halt> {
        let context = StepContext { now: self.pipeline.roles.clock.now_origin() };
        if output.events.len() <= PIPELINE_INLINE_EVENTS_MAX && !self.core.has_more() {
            return Ok(self.core.run(segment, &context, output));
        }
        let mut core = std::mem::take(&mut self.core);
        let run = tokio::task::spawn_blocking(move || {
            let output = core.run(segment, &context, output);
            (core, output)
        });
        let (core, output) =
            run.await.map_err(|error| Halt::Fatal(format!("a step broke down: {error}")))?;
        self.core = core;
        Ok(output)
    }

    /// Stores position and state, where there is state to store.
    pub(super) async fn store(&mut self, positions: &Positions) -> Result<(), Halt> {
        let Some((version, checkpoint)) = self.take_checkpoint(positions) else { return Ok(()) };
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        self.state(move |state| state.checkpoint(&group, &at, checkpoint)).await?;
        self.pins_version = version;
        Ok(())
    }

    /// Stores position and state beside what is in force, where there is state to store.
    pub(super) async fn stage(&mut self, positions: &Positions) -> Result<(), Halt> {
        let Some((version, checkpoint)) = self.take_checkpoint(positions) else { return Ok(()) };
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        let position = checkpoint.position;
        self.state(move |state| state.stage(&group, &at, &checkpoint)).await?;
        self.pins_version = version;
        self.staged = Some(position);
        Ok(())
    }

    /// Puts in force what was staged, now that its position is committed.
    pub(super) async fn settle(&mut self) -> Result<(), Halt> {
        if let Some(committed) = self.staged.take() {
            let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
            self.state(move |state| state.settle(&group, &at, committed)).await?;
        }
        Ok(())
    }

    /// What changed since the last checkpoint, if anything, with the version of the pins.
    fn take_checkpoint(&mut self, positions: &Positions) -> Option<(u64, Checkpoint)> {
        let pins = self.pipeline.pins.changed_since(self.pins_version);
        if self.changes.is_empty() && pins.is_none() {
            return None;
        }
        let (version, pins) = pins.unwrap_or((self.pins_version, BTreeMap::new()));
        let changes = std::mem::take(&mut self.changes);
        let position = positions.get(&self.partition).copied().unwrap_or_default();
        Some((version, Checkpoint { position, changes, pins }))
    }

    async fn state<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&StateStore) -> Result<R, StateError> + Send + 'static,
    ) -> Result<R, Halt> {
        // The state's folder is on this machine: when it fails, somebody has to look.
        self.pipeline.state.run(work).await.map_err(|error| Halt::Fatal(error.to_string()))
    }
}
