//! Views at work: a query on one partition number, its state, its store.
//!
//! The task is the one of pipelines, with this as its work. Positions, watermarks and the
//! query's tables are one write, numbered; the number is committed beside the offsets, so
//! that after a crash it tells which of them count. Records whose output is out already,
//! because the state was behind or is gone, are read again for the state only.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use courant_model::{
    Offset, PartitionId, Positions, StoredRecord,
    limits::{PIPELINE_INLINE_EVENTS_MAX, VIEW_CHANGES_BYTES_MAX},
};
use courant_sql::stream::{self, Watermarks};
use tokio::time::Instant;

use super::{
    deliver::Halt,
    partition::COMMIT_METADATA,
    state::StateError,
    work::{Found, Resume},
    worker::Pipeline,
};
use crate::{
    core::CoreOutput,
    view::{ViewCore, ViewOutput},
};

mod running;
mod state;
mod store;
mod tables;

pub(crate) use running::RunningView;
pub use running::{ViewChange, ViewStatus};
pub use store::{ViewError, ViewPage, ViewRow, ViewScan, ViewStore};

use state::{Cache, ViewState, Working};
use tables::{Mark, Tables};

/// The work of a view on one partition number.
#[derive(Debug)]
pub(crate) struct ViewWork {
    pipeline: Arc<Pipeline>,
    view: Arc<RunningView>,
    partition: PartitionId,
    /// Away while a blocking thread has it.
    machine: Option<Box<Machine>>,
    /// Number of the last checkpoint.
    number: u64,
    /// The staged one, which waits for the outcome of its transaction.
    staged: Option<Mark>,
}

/// What a blocking thread needs.
#[derive(Debug)]
struct Machine {
    core: ViewCore,
    state: Arc<ViewState>,
    cache: Cache,
}

impl Machine {
    /// Runs the core on the state, whose lock is held meanwhile.
    fn with_state<R>(
        &mut self,
        work: impl FnOnce(&mut ViewCore, &mut Working<'_>) -> Result<R, stream::StateError>,
    ) -> Result<R, String> {
        let mut working = self.state.lock(&mut self.cache);
        work(&mut self.core, &mut working).map_err(|error| working.failure(&error))
    }
}

impl ViewWork {
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        view: Arc<RunningView>,
        partition: PartitionId,
    ) -> Self {
        let store = &pipeline.state;
        let group = &pipeline.plan.group;
        let tables = Tables::new(&store.database, &store.views, group, partition);
        let state = Arc::new(ViewState::new(tables));
        view.begins(partition, &state);
        let core = ViewCore::new(&view.plan);
        let machine = Some(Box::new(Machine { core, state, cache: Cache::default() }));
        Self { pipeline, view, partition, machine, number: 0, staged: None }
    }

    /// Brings back the state, or begins anew where it does not fit the query; answers where
    /// to go on.
    pub(super) async fn restore(&mut self, found: &[Found]) -> Result<Vec<Resume>, Halt> {
        let numbers = found.iter().filter_map(|one| number_of(&one.committed.as_ref()?.metadata));
        let committed = numbers.max().unwrap_or_default();
        let positions: BTreeMap<_, _> =
            found.iter().map(|one| (one.partition.topic.clone(), one.at)).collect();
        let mark = self
            .blocking(move |machine| {
                machine.state.tables.settle(committed, &positions)?;
                machine.state.tables.mark()
            })
            .await?;
        self.number = mark.as_ref().map_or(0, |mark| mark.number).max(committed);
        match mark {
            Some(mark) if self.fits(&mark, found) => self.go_on(&mark, found).await,
            mark => self.begin_anew(mark.is_some(), found).await,
        }
    }

    /// Whether the state was made by this query, from these topics.
    fn fits(&self, mark: &Mark, found: &[Found]) -> bool {
        let is_known = |one: &Found| mark.positions.contains_key(&one.partition.topic);
        mark.fingerprint == self.view.plan.query.fingerprint() && found.iter().all(is_known)
    }

    async fn go_on(&mut self, mark: &Mark, found: &[Found]) -> Result<Vec<Resume>, Halt> {
        let now = self.pipeline.roles.clock.now_origin();
        if let Some(machine) = &mut self.machine {
            machine.core.clock.restore(&mark.event_times, mark.watermark);
        }
        self.blocking(move |machine| machine.with_state(|core, state| core.restore(now, state)))
            .await?;
        let resume = |one: &Found| {
            let stored = mark.positions.get(&one.partition.topic).copied().unwrap_or(one.start);
            Resume { position: stored.min(one.end), replay_to: one.at }
        };
        let resumes: Vec<Resume> = found.iter().map(resume).collect();
        let records = replayed(&resumes);
        if records > 0 {
            tracing::info!(records, "the view's state is behind; records are read again for it");
        }
        Ok(resumes)
    }

    /// Empties the state. Where the query was changed, everything that the topics have is
    /// read anew and comes out anew; where only the state is missing, nothing comes out
    /// that did before.
    async fn begin_anew(
        &mut self,
        query_changed: bool,
        found: &[Found],
    ) -> Result<Vec<Resume>, Halt> {
        self.clear().await?;
        let resume = |one: &Found| {
            let replay_to = if query_changed { 0 } else { one.at };
            Resume { position: one.start.min(one.at), replay_to }
        };
        let resumes: Vec<Resume> = found.iter().map(resume).collect();
        let records: Offset =
            resumes.iter().zip(found).map(|(resume, one)| one.at - resume.position).sum();
        let why = if query_changed { "the query was changed" } else { "the state is missing" };
        tracing::info!(records, why, "the view's state is built anew from its topics");
        self.view.rebuilds(self.partition, why, records);
        Ok(resumes)
    }

    pub(super) async fn forget(&mut self) -> Result<(), Halt> {
        self.clear().await
    }

    async fn clear(&mut self) -> Result<(), Halt> {
        let plan = Arc::clone(&self.view.plan);
        self.blocking(move |machine| {
            machine.state.forget();
            machine.cache.clear();
            machine.core = ViewCore::new(&plan);
            machine.state.tables.clear()
        })
        .await
    }

    /// Takes records of one input; many of them off the async threads.
    pub(super) async fn run(
        &mut self,
        input: usize,
        records: Vec<StoredRecord>,
    ) -> Result<CoreOutput, Halt> {
        let now = self.pipeline.roles.clock.now_origin();
        let inline = records.len() <= PIPELINE_INLINE_EVENTS_MAX;
        let work = move |machine: &mut Machine| {
            machine.with_state(|core, state| core.run(input, &records, now, state))
        };
        let output = match &mut self.machine {
            Some(machine) if inline => work(machine).map_err(Halt::Fatal)?,
            _ => self.blocking(work).await?,
        };
        Ok(self.note(output))
    }

    /// Tells what a batch led to; answers what goes to topics.
    fn note(&self, output: ViewOutput) -> CoreOutput {
        let watermark = self.machine.as_ref().map(|machine| machine.core.clock.current());
        self.view.progressed(self.partition, watermark.unwrap_or(i64::MIN), output.late);
        self.view.tell(output.changes);
        output.output
    }

    /// When an input has been quiet for too long, or results go that are held back.
    pub(super) fn due(&self, quiet: &[Option<Instant>]) -> Option<Instant> {
        let core = &self.machine.as_ref()?.core;
        let idle = self.idle().and_then(|idle| {
            let awake = quiet.iter().enumerate().filter(|(input, _)| !core.is_left_out(*input));
            awake.filter_map(|(_, since)| Some((*since)? + idle)).min()
        });
        let held_back = core.emit_at().map(|at| {
            let wait = at.as_micros() - self.pipeline.roles.clock.now_micros();
            Instant::now() + Duration::from_micros(u64::try_from(wait).unwrap_or_default())
        });
        idle.into_iter().chain(held_back).min()
    }

    /// How long an input may be quiet; `None`: for ever, as the only one may.
    fn idle(&self) -> Option<Duration> {
        let plan = &self.view.plan;
        (plan.inputs.len() > 1).then_some(plan.idle?.as_duration())
    }

    pub(super) async fn tick(&mut self, quiet: Vec<Option<Instant>>) -> Result<CoreOutput, Halt> {
        let (now, instant) = (self.pipeline.roles.clock.now_origin(), Instant::now());
        let idle = self.idle();
        let is_over = move |since: Option<Instant>| {
            since.zip(idle).is_some_and(|(at, idle)| at + idle <= instant)
        };
        let work = move |machine: &mut Machine| {
            machine.with_state(|core, state| {
                let mut all = core.emit_held_back(now, state)?;
                for input in (0..quiet.len()).filter(|input| is_over(quiet[*input])) {
                    all.extend(core.leave_out(input, now, state)?);
                }
                Ok(all)
            })
        };
        let output = self.blocking(work).await?;
        Ok(self.note(output))
    }

    pub(super) fn has_changes(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.state.has_changes())
    }

    pub(super) fn is_full(&self) -> bool {
        let bytes = self.machine.as_ref().map_or(0, |machine| machine.state.changed_bytes());
        bytes >= VIEW_CHANGES_BYTES_MAX
    }

    pub(super) fn metadata(&self) -> String {
        format!("{COMMIT_METADATA}/{}", self.number)
    }

    pub(super) async fn store(&mut self, positions: &Positions) -> Result<(), Halt> {
        let mark = self.next_mark(positions).await?;
        self.blocking(move |machine| {
            let state = &machine.state;
            state.with_changes(|changes| state.tables.store(&mark, changes))?;
            state.stored(&mut machine.cache);
            Ok::<_, StateError>(())
        })
        .await
    }

    pub(super) async fn stage(&mut self, positions: &Positions) -> Result<(), Halt> {
        let mark = self.next_mark(positions).await?;
        self.staged = Some(mark.clone());
        self.blocking(move |machine| {
            let state = &machine.state;
            state.with_changes(|changes| state.tables.stage(&mark, changes))
        })
        .await
    }

    pub(super) async fn settle(&mut self) -> Result<(), Halt> {
        let Some(mark) = self.staged.take() else { return Ok(()) };
        self.blocking(move |machine| {
            let state = &machine.state;
            state.with_changes(|changes| state.tables.confirm(&mark, changes))?;
            state.stored(&mut machine.cache);
            Ok::<_, StateError>(())
        })
        .await
    }

    /// The mark of the next checkpoint, with what is over gone from the store.
    async fn next_mark(&mut self, positions: &Positions) -> Result<Mark, Halt> {
        self.blocking(|machine| machine.with_state(|core, state| core.sweep(state))).await?;
        self.number += 1;
        let positions: BTreeMap<_, _> =
            positions.iter().map(|(at, position)| (at.topic.clone(), *position)).collect();
        let clock = self.machine.as_ref().map(|machine| &machine.core.clock);
        Ok(Mark {
            number: self.number,
            fingerprint: self.view.plan.query.fingerprint().to_owned(),
            positions,
            event_times: clock.map(|clock| clock.event_times()).unwrap_or_default(),
            watermark: clock.map_or(i64::MIN, |clock| clock.current()),
        })
    }

    /// Works on the machine off the async threads.
    async fn blocking<R: Send + 'static, E: ToString + Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Machine) -> Result<R, E> + Send + 'static,
    ) -> Result<R, Halt> {
        let broken = || Halt::Fatal("the view's query broke down".to_owned());
        let mut machine = self.machine.take().ok_or_else(broken)?;
        let run = tokio::task::spawn_blocking(move || {
            let done = work(&mut machine);
            (machine, done)
        });
        let (machine, done) =
            run.await.map_err(|error| Halt::Fatal(format!("the query broke down: {error}")))?;
        self.machine = Some(machine);
        done.map_err(|error| Halt::Fatal(error.to_string()))
    }
}

impl Drop for ViewWork {
    fn drop(&mut self) {
        self.view.ends(self.partition);
    }
}

/// Records that are read again.
fn replayed(resumes: &[Resume]) -> Offset {
    resumes.iter().map(|resume| (resume.replay_to - resume.position).max(0)).sum()
}

/// The checkpoint's number in a word that was committed.
fn number_of(metadata: &str) -> Option<u64> {
    metadata.strip_prefix(COMMIT_METADATA)?.strip_prefix('/')?.parse().ok()
}
