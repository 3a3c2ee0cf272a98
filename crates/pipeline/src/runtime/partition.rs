//! The work on one partition of one pipeline: read, run the steps, deliver, checkpoint.
//!
//! A batch is done when every target took its events and its dead letters are in their
//! topic; only then do its position and the changes of the steps' memory count. A
//! checkpoint flushes the targets, stores state and position in one write and commits
//! the offset, in this order: a crash in between repeats output and loses none. What
//! goes to topics exactly once waits for the checkpoint and is part of it (`transact`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use courant_log::{Committed, Committer, ErrorCode, LogError, PartitionReader, Read};
use courant_model::{
    Offset, Positions, StoredRecord, TopicName, TopicPartition,
    limits::{
        PIPELINE_BATCH_BYTES_MAX, PIPELINE_BATCH_RECORDS_MAX, PIPELINE_IDLE_READ_BYTES,
        PIPELINE_INLINE_EVENTS_MAX,
    },
};
use futures::future::try_join_all;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    budget::Share,
    deliver::{Backoff, Control, Halt, Target},
    lookup::Asker,
    state::{Checkpoint, StateError, StateStore},
    status::PartitionStatus,
    transact::Transactions,
    worker::Pipeline,
};
use crate::{
    core::{CoreOutput, Originals, PipelineCore, StepState},
    event::Event,
    sinks::{TopicSink, log_failure},
    steps::{Rejected, StepContext},
};

/// The word beside a committed offset that says that a pipeline wrote it. A reset by
/// hand leaves it empty.
pub(crate) const COMMIT_METADATA: &str = "courant:1";

/// One partition at work.
#[derive(Debug)]
pub(crate) struct PartitionTask {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) partition: TopicPartition,
    pub(crate) reader: Box<dyn PartitionReader>,
    pub(crate) committer: Box<dyn Committer>,
    pub(crate) core: PipelineCore,
    /// Those between the core's segments, in order.
    pub(crate) lookups: Vec<Asker>,
    pub(crate) targets: Vec<Target>,
    pub(crate) routes: BTreeMap<TopicName, Target>,
    pub(crate) dead_letters: TopicSink,
    /// Set: what goes to topics goes there exactly once.
    pub(crate) transactions: Option<Transactions>,
    pub(crate) stop: CancellationToken,
    pub(crate) paused: watch::Receiver<bool>,
    pub(crate) progress: Progress,
}

/// How far a partition is.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The next offset after the last batch that is done.
    pub(super) position: Offset,
    pub(super) committed: Offset,
    /// The partition's end at the last read.
    end: Offset,
    /// Changes of the steps' memory since the last checkpoint.
    changes: StepState,
    /// A checkpoint is staged and waits for the outcome of its transaction.
    staged: bool,
    pins_version: u64,
    checkpoint_at: Instant,
    /// Of the memory, for large reads.
    share: Option<Share>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            position: 0,
            committed: -1,
            end: 0,
            changes: Vec::new(),
            staged: false,
            pins_version: 0,
            checkpoint_at: Instant::now(),
            share: None,
        }
    }
}

impl PartitionTask {
    /// Works until it is stopped; then checkpoints what is done. After a failure nothing
    /// is checkpointed any more: what was done since the last time is done again.
    ///
    /// # Errors
    /// [`Halt`], but for [`Halt::Stopping`].
    pub(crate) async fn run(mut self) -> Result<(), Halt> {
        let mut halt = self.work().await;
        if halt == Err(Halt::Stopping) {
            halt = self.checkpoint().await;
        }
        match halt {
            // The target is still away: what it has is written again by the next one.
            Err(Halt::Stopping) => Ok(()),
            halt => halt,
        }
    }

    async fn work(&mut self) -> Result<(), Halt> {
        self.resume().await?;
        loop {
            let read = self.next_batch().await?;
            self.process(read).await?;
            if self.checkpoint_due() {
                self.checkpoint().await?;
            }
        }
    }

    /// Finds the position to go on from, and brings back the steps' memory.
    async fn resume(&mut self) -> Result<(), Halt> {
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        let mut committed = self.reader.committed().cloned();
        if self.transactions.is_some() {
            committed = self.take_over().await?;
            if let Some(committed) = &committed {
                self.reader.seek(committed.offset);
            }
        }
        let start = self.reader.position();
        self.progress.committed = start;
        self.progress.position = start;
        if committed.as_ref().is_some_and(|committed| committed.metadata == COMMIT_METADATA) {
            let stored = self.state(move |state| {
                state.settle(&group, &at, start)?;
                state.stored(&group, &at)
            });
            let stored = stored.await?;
            for (step, entries) in stored.steps {
                self.core.restore(step, entries);
            }
            // Behind the commit when another worker went on meanwhile, or nothing changed.
            if let Some(position) = stored.position.filter(|position| *position > start) {
                self.progress.position = position.min(self.end_of_partition(position).await);
                self.reader.seek(self.progress.position);
            }
        } else {
            self.forget(committed.as_ref()).await?;
            self.commit().await?;
        }
        self.report();
        Ok(())
    }

    /// Clears the steps' memory: the group starts, or somebody set its offsets by hand.
    async fn forget(&mut self, committed: Option<&Committed>) -> Result<(), Halt> {
        if let Some(committed) = committed {
            let offset = committed.offset;
            tracing::info!(offset, "offset was set by hand; the steps' memory is cleared");
        }
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        self.state(move |state| state.clear(&group, &at)).await
    }

    async fn end_of_partition(&mut self, otherwise: Offset) -> Offset {
        let offsets = self.pipeline.roles.log.offsets(&self.partition).await;
        offsets.map_or(otherwise, |offsets| offsets.end)
    }

    /// Waits for records; meanwhile checkpoints in time and honours a pause.
    async fn next_batch(&mut self) -> Result<Read, Halt> {
        let mut backoff = Backoff::default();
        loop {
            if *self.paused.borrow_and_update() {
                self.checkpoint().await?;
                self.wait_while_paused().await?;
            }
            let bytes_max = self.reserve();
            let (dirty, due) = (self.dirty(), self.progress.checkpoint_at);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Stopping),
                changed = self.paused.changed() => {
                    changed.map_err(|_| Halt::Stopping)?;
                }
                read = self.reader.next(PIPELINE_BATCH_RECORDS_MAX, bytes_max) => match read {
                    Ok(read) => return self.linger(read).await,
                    Err(error) => self.reading_failed(&mut backoff, &error).await?,
                },
                () = tokio::time::sleep_until(due), if dirty => self.checkpoint().await?,
            }
        }
    }

    async fn wait_while_paused(&mut self) -> Result<(), Halt> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Halt::Stopping),
            resumed = self.paused.wait_for(|paused| !paused) => {
                resumed.map(|_| ()).map_err(|_| Halt::Stopping)
            }
        }
    }

    /// How much the next read may bring. A task that is behind takes a share of the
    /// memory for large reads; without one, or waiting for news, it reads little, so that
    /// everybody gets on and quiet partitions hold nothing.
    fn reserve(&mut self) -> usize {
        if self.progress.end <= self.progress.position {
            self.progress.share = None;
        } else if self.progress.share.is_none() {
            self.progress.share = self.pipeline.budget.try_acquire(PIPELINE_BATCH_BYTES_MAX);
        }
        match self.progress.share {
            Some(_) => PIPELINE_BATCH_BYTES_MAX,
            None => PIPELINE_IDLE_READ_BYTES,
        }
    }

    async fn reading_failed(
        &mut self,
        backoff: &mut Backoff,
        error: &LogError,
    ) -> Result<(), Halt> {
        match error {
            LogError::Closed => Err(Halt::Stopping),
            error => backoff.wait(self.control(), &log_failure(error)).await,
        }
    }

    /// Waits for more records where the file says so.
    async fn linger(&mut self, mut read: Read) -> Result<Read, Halt> {
        let linger = self.pipeline.plan.linger.as_duration();
        if linger.is_zero() {
            return Ok(read);
        }
        let until = Instant::now() + linger;
        let size = |records: &[StoredRecord]| -> usize {
            records.iter().map(|stored| stored.record.size_bytes()).sum()
        };
        let mut bytes = size(&read.records);
        while read.records.len() < PIPELINE_BATCH_RECORDS_MAX && bytes < PIPELINE_BATCH_BYTES_MAX {
            let room = PIPELINE_BATCH_RECORDS_MAX - read.records.len();
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(until) => break,
                more = self.reader.next(room, PIPELINE_IDLE_READ_BYTES) => match more {
                    Ok(more) => {
                        bytes += size(&more.records);
                        read.records.extend(more.records);
                        (read.next, read.end) = (more.next, more.end);
                    }
                    // The next read meets it again.
                    Err(_) => break,
                },
            }
        }
        Ok(read)
    }

    async fn process(&mut self, read: Read) -> Result<(), Halt> {
        let records = read.records.len();
        let originals = Originals::of(&read.records);
        let events = read.records.into_iter().map(Event::from_stored).collect();
        let output = self.run_steps(events).await?;
        let (mut out, mut dead) = self.deliver(output, &originals).await?;
        // All of it comes before the next checkpoint: what is held back is in no state.
        while self.core.has_more() {
            let output = self.run_steps(Vec::new()).await?;
            let more = self.deliver(output, &Originals::default()).await?;
            (out, dead) = (out + more.0, dead + more.1);
        }
        self.progress.changes.extend(self.core.take_changes());
        self.progress.position = read.next;
        self.progress.end = read.end;
        self.pipeline.meter.delivered(records, out, dead);
        self.report();
        Ok(())
    }

    /// Takes events through all steps, with what they look up in between.
    async fn run_steps(&mut self, events: Vec<Event>) -> Result<CoreOutput, Halt> {
        let mut output = self.run_core(0, CoreOutput::of(events)).await?;
        for segment in 1..self.core.segments() {
            output = self.look_up(segment - 1, output).await?;
            output = self.run_core(segment, output).await?;
        }
        Ok(output)
    }

    /// Waits for what the events of a batch ask between two segments.
    async fn look_up(&mut self, number: usize, output: CoreOutput) -> Result<CoreOutput, Halt> {
        let now = self.pipeline.roles.clock.now_origin();
        let control = Control { stop: &self.stop, health: &self.pipeline.meter.health };
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

    /// Brings a batch to all targets at once, then what was refused to the dead letters.
    /// Answers how many events went out and how many records were set aside.
    async fn deliver(
        &mut self,
        output: CoreOutput,
        originals: &Originals,
    ) -> Result<(usize, usize), Halt> {
        let control = Control { stop: &self.stop, health: &self.pipeline.meter.health };
        let CoreOutput { events, routed, mut rejected } = output;
        let mut deliveries = Vec::with_capacity(self.targets.len());
        if !events.is_empty() {
            deliveries
                .extend(self.targets.iter_mut().map(|target| target.deliver(&events, control)));
        }
        for (topic, target) in &mut self.routes {
            if let Some(events) = routed.get(topic) {
                deliveries.push(target.deliver(events, control));
            }
        }
        let refused: Vec<Rejected> =
            try_join_all(deliveries).await?.into_iter().flatten().collect();
        let origins = || events.iter().chain(routed.values().flatten()).map(|event| event.origin);
        let out = origins().count().saturating_sub(refused.len());
        rejected.extend(refused);
        let dead = self.set_aside(&rejected, originals).await?;
        let outbox = self.transactions.as_ref().map(|transactions| &transactions.outbox);
        if !outbox.is_some_and(|outbox| outbox.keep(originals, origins())) {
            self.pipeline.meter.fresh(origins());
        }
        Ok((out, dead))
    }

    /// Appends dead letters, durable when it answers; or leaves them to the checkpoint.
    async fn set_aside(
        &mut self,
        rejected: &[Rejected],
        originals: &Originals,
    ) -> Result<usize, Halt> {
        let Some(first) = rejected.first() else { return Ok(0) };
        self.pipeline.meter.health.error(format!("{}: {}", first.step, first.why));
        let now = self.pipeline.roles.clock.now();
        let letters = originals.dead_letters(rejected, &self.pipeline.name, now);
        if let Some(Transactions { outbox, .. }) = &self.transactions {
            let count = letters.len();
            outbox.add_dead_letters(&self.pipeline.plan.on_error.dead_letters, letters);
            return Ok(count);
        }
        let mut backoff = Backoff::default();
        loop {
            match self.dead_letters.append(letters.clone()).await {
                Ok(refused) => {
                    backoff.succeeded(self.control());
                    return match refused.first() {
                        None => Ok(letters.len()),
                        Some(one) => Err(Halt::Fatal(format!("dead letter is lost: {}", one.why))),
                    };
                }
                Err(error) => backoff.wait(self.control(), &error).await?,
            }
        }
    }

    fn dirty(&self) -> bool {
        self.progress.position != self.progress.committed
    }

    /// Whether enough time went by since the last checkpoint, so that after a quiet
    /// time a record's checkpoint follows at once and under load one serves many; or
    /// there is as much for topics as may wait.
    fn checkpoint_due(&self) -> bool {
        let is_full = || self.transactions.as_ref().is_some_and(|all| all.outbox.is_full());
        self.dirty() && (Instant::now() >= self.progress.checkpoint_at || is_full())
    }

    /// Flushes the targets, stores state and position, commits the offset; in one
    /// transaction with what there is for topics.
    async fn checkpoint(&mut self) -> Result<(), Halt> {
        if !self.dirty() {
            return Ok(());
        }
        let control = Control { stop: &self.stop, health: &self.pipeline.meter.health };
        let targets = self.targets.iter_mut();
        try_join_all(targets.map(|target| target.flush(control))).await?;
        if self.transactions.as_ref().is_some_and(|all| !all.outbox.is_empty()) {
            self.transact().await?;
        } else {
            self.store().await?;
            self.commit().await?;
        }
        let span: Duration = self.pipeline.plan.checkpoint.as_duration();
        self.progress.checkpoint_at = Instant::now() + span;
        self.report();
        Ok(())
    }

    /// Stores position and state, where there is state to store.
    async fn store(&mut self) -> Result<(), Halt> {
        let Some((version, checkpoint)) = self.take_checkpoint() else { return Ok(()) };
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        self.state(move |state| state.checkpoint(&group, &at, checkpoint)).await?;
        self.progress.pins_version = version;
        Ok(())
    }

    /// Stores position and state beside what is in force, where there is state to store.
    pub(super) async fn stage(&mut self) -> Result<(), Halt> {
        let Some((version, checkpoint)) = self.take_checkpoint() else { return Ok(()) };
        let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
        self.state(move |state| state.stage(&group, &at, &checkpoint)).await?;
        self.progress.pins_version = version;
        self.progress.staged = true;
        Ok(())
    }

    /// Puts in force what was staged, now that its position is committed.
    pub(super) async fn settle(&mut self) -> Result<(), Halt> {
        if std::mem::take(&mut self.progress.staged) {
            let (group, at) = (self.pipeline.plan.group.clone(), self.partition.clone());
            let committed = self.progress.committed;
            self.state(move |state| state.settle(&group, &at, committed)).await?;
        }
        Ok(())
    }

    /// What changed since the last checkpoint, if anything, with the version of the pins.
    fn take_checkpoint(&mut self) -> Option<(u64, Checkpoint)> {
        let pins = self.pipeline.pins.changed_since(self.progress.pins_version);
        if self.progress.changes.is_empty() && pins.is_none() {
            return None;
        }
        let (version, pins) = pins.unwrap_or((self.progress.pins_version, BTreeMap::new()));
        let changes = std::mem::take(&mut self.progress.changes);
        Some((version, Checkpoint { position: self.progress.position, changes, pins }))
    }

    async fn commit(&mut self) -> Result<(), Halt> {
        let positions = Positions::from([(self.partition.clone(), self.progress.position)]);
        let mut backoff = Backoff::default();
        loop {
            match self.committer.commit(&positions, COMMIT_METADATA).await {
                Ok(()) => {
                    backoff.succeeded(self.control());
                    self.progress.committed = self.progress.position;
                    return Ok(());
                }
                Err(error) => self.commit_failed(&error, &mut backoff).await?,
            }
        }
    }

    /// Waits before a commit is tried again, where that may help.
    pub(super) async fn commit_failed(
        &mut self,
        error: &LogError,
        backoff: &mut Backoff,
    ) -> Result<(), Halt> {
        match error.code() {
            ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId
            | ErrorCode::FencedInstanceId => Err(Halt::Fenced),
            ErrorCode::Closed => Err(Halt::Stopping),
            _ => backoff.wait(self.control(), &log_failure(error)).await,
        }
    }

    async fn state<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&StateStore) -> Result<R, StateError> + Send + 'static,
    ) -> Result<R, Halt> {
        // The state's folder is on this machine: when it fails, somebody has to look.
        self.pipeline.state.run(work).await.map_err(|error| Halt::Fatal(error.to_string()))
    }

    pub(super) fn control(&self) -> Control<'_> {
        Control { stop: &self.stop, health: &self.pipeline.meter.health }
    }

    fn report(&self) {
        self.pipeline.meter.partition(PartitionStatus {
            partition: self.partition.clone(),
            position: self.progress.position,
            committed: self.progress.committed,
            end: self.progress.end.max(self.progress.position),
        });
    }
}

impl Drop for PartitionTask {
    /// Also when it is cut off.
    fn drop(&mut self) {
        self.pipeline.meter.gone(&self.partition);
    }
}
