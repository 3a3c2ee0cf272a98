//! The work on one partition of a pipeline or a view: read, work, deliver, checkpoint.
//!
//! A batch is done when every target took its events and its dead letters are in their
//! topic; only then do its position and the changes of what is remembered count. A
//! checkpoint flushes the targets, stores state and positions in one write and commits
//! the offsets, in this order: a crash in between repeats output and loses none. What
//! goes to topics exactly once waits for the checkpoint and is part of it (`transact`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use courant_log::{Committed, Committer, ErrorCode, LogError};
use courant_model::{
    Offset, StoredRecord, TopicName,
    limits::{PIPELINE_BATCH_BYTES_MAX, PIPELINE_BATCH_RECORDS_MAX},
};
use futures::future::try_join_all;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    deliver::{Backoff, Control, Halt, Target},
    inputs::{Batch, Inputs},
    transact::Transactions,
    work::{Found, Work},
    worker::Pipeline,
};
use crate::{
    core::{CoreOutput, Originals},
    sinks::{TopicSink, log_failure},
    steps::Rejected,
};

/// What the word beside a committed offset begins with when a pipeline or a view wrote it.
/// A reset by hand leaves it empty.
pub(crate) const COMMIT_METADATA: &str = "courant:1";

/// One partition at work.
#[derive(Debug)]
pub(crate) struct PartitionTask {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) inputs: Inputs,
    pub(crate) committer: Box<dyn Committer>,
    pub(crate) work: Work,
    pub(crate) targets: Vec<Target>,
    pub(crate) routes: BTreeMap<TopicName, Target>,
    pub(crate) dead_letters: TopicSink,
    /// Set: what goes to topics goes there exactly once.
    pub(crate) transactions: Option<Transactions>,
    pub(crate) stop: CancellationToken,
    pub(crate) paused: watch::Receiver<bool>,
    pub(crate) checkpoint_at: Instant,
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

    /// Finds the positions to go on from, and brings back what is remembered.
    async fn resume(&mut self) -> Result<(), Halt> {
        let mut committed = self.inputs.committed();
        if self.transactions.is_some() {
            committed = self.take_over().await?;
        }
        let found = self.found(&committed).await;
        let (by_hand, ours): (Vec<_>, Vec<_>) =
            committed.iter().flatten().partition(|one| !one.metadata.starts_with(COMMIT_METADATA));
        if by_hand.is_empty() && !ours.is_empty() {
            let resumes = self.work.restore(&found).await?;
            for (input, resume) in self.inputs.0.iter_mut().zip(resumes) {
                input.seek(resume.position);
                input.replay_to = resume.replay_to;
            }
            // A view that is made anew stands before what it had committed.
            if !self.inputs.replaying() && self.inputs.behind_commit() {
                self.commit().await?;
            }
        } else {
            self.forget(&by_hand).await?;
            self.commit().await?;
        }
        self.report();
        Ok(())
    }

    /// The inputs as they are found; each stands at what is committed, or where the group
    /// begins.
    async fn found(&mut self, committed: &[Option<Committed>]) -> Vec<Found> {
        let mut found = Vec::with_capacity(committed.len());
        for (input, committed) in self.inputs.0.iter_mut().zip(committed) {
            if let Some(committed) = committed {
                input.reader.seek(committed.offset);
            }
            let at = input.reader.position();
            input.committed = at;
            input.position = at;
            let offsets = self.pipeline.roles.log.offsets(&input.partition).await;
            let (start, end) =
                offsets.map_or((at, Offset::MAX), |offsets| (offsets.start, offsets.end));
            input.end = if end == Offset::MAX { at } else { end };
            let (partition, committed) = (input.partition.clone(), committed.clone());
            found.push(Found { partition, committed, at, start, end });
        }
        found
    }

    /// Clears what is remembered: the group starts, or somebody set its offsets by hand.
    async fn forget(&mut self, by_hand: &[&Committed]) -> Result<(), Halt> {
        if let Some(committed) = by_hand.first() {
            let offset = committed.offset;
            tracing::info!(offset, "offset was set by hand; what is remembered is cleared");
        }
        self.work.forget().await
    }

    /// Waits for records; meanwhile checkpoints in time and honours a pause.
    async fn next_batch(&mut self) -> Result<Batch, Halt> {
        let mut backoff = Backoff::default();
        loop {
            if *self.paused.borrow_and_update() {
                self.checkpoint().await?;
                self.wait_while_paused().await?;
            }
            let (dirty, checkpoint_at) = (self.dirty(), self.checkpoint_at);
            let due = self.work.due(&self.inputs);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Stopping),
                changed = self.paused.changed() => {
                    changed.map_err(|_| Halt::Stopping)?;
                }
                batch = self.inputs.next(&self.pipeline.budget) => match batch {
                    Ok(batch) => return self.linger(batch).await,
                    Err(error) => self.reading_failed(&mut backoff, &error).await?,
                },
                () = sleep_until(due), if due.is_some() => self.tick().await?,
                () = tokio::time::sleep_until(checkpoint_at), if dirty => self.checkpoint().await?,
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
    async fn linger(&mut self, mut read: Batch) -> Result<Batch, Halt> {
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
                more = self.inputs.more(room) => match more {
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

    async fn process(&mut self, batch: Batch) -> Result<(), Halt> {
        let Batch { input, records, next, end } = batch;
        let (count, replayed) = (records.len(), self.inputs.replaying());
        let originals = Originals::of(&records);
        let control = Control { stop: &self.stop, health: &self.pipeline.meter.health };
        let mut output = self.work.run(input, records, control).await?;
        if replayed {
            output = CoreOutput::default();
        }
        let (mut out, mut dead) = self.deliver(output, &originals).await?;
        // All of it comes before the next checkpoint: what is held back is in no state.
        while self.work.has_more() {
            let control = Control { stop: &self.stop, health: &self.pipeline.meter.health };
            let output = self.work.run(input, Vec::new(), control).await?;
            let more = self.deliver(output, &Originals::default()).await?;
            (out, dead) = (out + more.0, dead + more.1);
        }
        self.work.done();
        self.inputs.done(input, next, end);
        self.pipeline.meter.delivered(count, out, dead);
        self.report();
        Ok(())
    }

    /// Does what time alone leads to.
    async fn tick(&mut self) -> Result<(), Halt> {
        let output = self.work.tick(self.inputs.quiet_since()).await?;
        let (out, dead) = self.deliver(output, &Originals::default()).await?;
        self.pipeline.meter.delivered(0, out, dead);
        if self.checkpoint_due() { self.checkpoint().await } else { Ok(()) }
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
        self.inputs.moved() || self.work.has_changes()
    }

    /// Whether enough time went by since the last checkpoint, so that after a quiet
    /// time a record's checkpoint follows at once and under load one serves many; or
    /// there is as much for topics, or for the state, as may wait.
    fn checkpoint_due(&self) -> bool {
        let is_full = || {
            let outbox = self.transactions.as_ref().is_some_and(|all| all.outbox.is_full());
            outbox || self.work.is_full()
        };
        self.dirty() && (Instant::now() >= self.checkpoint_at || is_full())
    }

    /// Flushes the targets, stores state and positions, commits the offsets; in one
    /// transaction with what there is for topics. What is replayed is committed already.
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
            self.work.store(self.inputs.positions()).await?;
            if !self.inputs.replaying() {
                self.commit().await?;
            }
        }
        let span: Duration = self.pipeline.plan.checkpoint.as_duration();
        self.checkpoint_at = Instant::now() + span;
        self.report();
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Halt> {
        let (positions, metadata) = (self.inputs.positions(), self.work.metadata());
        let mut backoff = Backoff::default();
        loop {
            match self.committer.commit(&positions, &metadata).await {
                Ok(()) => {
                    backoff.succeeded(self.control());
                    self.inputs.commit();
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

    pub(super) fn control(&self) -> Control<'_> {
        Control { stop: &self.stop, health: &self.pipeline.meter.health }
    }

    fn report(&self) {
        for input in &self.inputs.0 {
            self.pipeline.meter.partition(input.status());
        }
    }
}

/// Sleeps until then; without a time, for ever.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Drop for PartitionTask {
    /// Also when it is cut off.
    fn drop(&mut self) {
        for partition in self.inputs.partitions() {
            self.pipeline.meter.gone(partition);
        }
    }
}
