//! A view as a pure machine: records of one partition number in, results out.
//!
//! The same core runs in the runtime and in the driver. It gives the query its rows with
//! their watermarks, holds back results where the file limits their rate, and removes from
//! the store what is over. It awaits nothing and reads no clock; everything that it
//! remembers is in the [`State`] that it is given, or in its [`EventClock`].

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use courant_model::{
    Origin, Position, StoredRecord, Timestamp, TopicPartition, limits::VIEW_SWEPT_RESULTS,
};
use courant_sql::{
    RowInput,
    stream::{
        Change, Emitted, RESULTS, State, StateError, StoredResult, StreamRow, Task, Watermarks,
    },
};

use crate::{
    core::CoreOutput,
    event::{Event, Payload},
    plan::{ViewEmit, ViewPlan},
    steps::Rejected,
};

mod clock;

pub(crate) use clock::EventClock;

/// The table of results that wait for their time: key of the result → event time (8 bytes)
/// and the key of its record. The query's own tables have small numbers.
const HELD_BACK: u16 = u16::MAX;

/// The query of a view on one partition.
#[derive(Debug)]
pub(crate) struct ViewCore {
    plan: Arc<ViewPlan>,
    task: Task,
    pub(crate) clock: EventClock,
    /// When the results go that are held back; `None`: there are none.
    emit_at: Option<Origin>,
    /// Behind the last result that was looked at, to remove what is over.
    swept: Vec<u8>,
}

/// What a batch, or time, led to.
#[derive(Debug, Default)]
pub(crate) struct ViewOutput {
    /// Every change of the store.
    pub(crate) changes: Vec<Change>,
    /// What goes to topics.
    pub(crate) output: CoreOutput,
    /// How many records came too late.
    pub(crate) late: usize,
}

impl ViewOutput {
    /// Adds what followed.
    pub(crate) fn extend(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.output.extend(later.output);
        self.late += later.late;
    }
}

impl ViewCore {
    pub(crate) fn new(plan: &Arc<ViewPlan>) -> Self {
        let mut lateness = vec![0; plan.query.inputs().len()];
        for input in &plan.inputs {
            for read in &input.reads {
                lateness[*read] = input.lateness.as_millis().saturating_mul(1_000);
            }
        }
        Self {
            task: Task::new(&plan.query),
            clock: EventClock::new(lateness),
            plan: Arc::clone(plan),
            emit_at: None,
            swept: Vec::new(),
        }
    }

    /// Notes that the state holds what an earlier core has held back.
    pub(crate) fn restore(&mut self, now: Origin, state: &mut dyn State) -> Result<(), StateError> {
        let mut waits = false;
        state.scan(HELD_BACK, &[], END, &mut |_, _| {
            waits = true;
            ControlFlow::Break(())
        })?;
        self.emit_at = waits.then_some(now);
        Ok(())
    }

    /// Takes records of one of the view's topics, in the order of their offsets.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(crate) fn run(
        &mut self,
        input: usize,
        records: &[StoredRecord],
        now: Origin,
        state: &mut dyn State,
    ) -> Result<ViewOutput, StateError> {
        let Some(last) = records.last() else { return Ok(ViewOutput::default()) };
        let rows: Vec<StreamRow<'_>> = records.iter().map(row).collect();
        let plan = Arc::clone(&self.plan);
        let mut all = ViewOutput::default();
        for read in &plan.inputs[input].reads {
            let emitted = self.task.push(*read, &rows, &mut self.clock, state)?;
            self.set_aside(&emitted, records, &mut all);
            let source = last.position();
            self.emit(emitted, &source, now, state, &mut all)?;
        }
        Ok(all)
    }

    /// Goes on without an input that is silent; answers nothing where that is no news.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn leave_out(
        &mut self,
        input: usize,
        now: Origin,
        state: &mut dyn State,
    ) -> Result<ViewOutput, StateError> {
        let plan = Arc::clone(&self.plan);
        let mut is_news = false;
        for read in &plan.inputs[input].reads {
            is_news |= self.clock.leave_out(*read);
        }
        let mut all = ViewOutput::default();
        if is_news {
            let emitted = self.task.advance(self.clock.current(), state)?;
            let source = self.nowhere();
            self.emit(emitted, &source, now, state, &mut all)?;
        }
        Ok(all)
    }

    /// Whether an input is left out of the watermark.
    pub(crate) fn is_left_out(&self, input: usize) -> bool {
        self.plan.inputs[input].reads.iter().all(|read| self.clock.is_left_out(*read))
    }

    /// When results go that are held back.
    pub(crate) fn emit_at(&self) -> Option<Origin> {
        self.emit_at
    }

    /// Gives out what was held back, once its time has come.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn emit_held_back(
        &mut self,
        now: Origin,
        state: &mut dyn State,
    ) -> Result<ViewOutput, StateError> {
        let mut all = ViewOutput::default();
        if self.emit_at.is_none_or(|at| now < at) {
            return Ok(all);
        }
        self.emit_at = None;
        let mut held = Vec::new();
        state.scan(HELD_BACK, &[], END, &mut |key, value| {
            held.push((key.to_vec(), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        let source = self.nowhere();
        for (key, value) in held {
            state.remove(HELD_BACK, &key);
            let stored = state.get(RESULTS, &key)?;
            let stored = stored.as_ref().and_then(StoredResult::decode);
            let event_time = value.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
            let change = Change {
                key,
                record_key: Some(value.slice(8..)),
                event_time_micros: stored
                    .as_ref()
                    .map_or(event_time, |stored| stored.event_time_micros),
                origin: stored.as_ref().and_then(|stored| stored.origin),
                value: stored.map(|stored| stored.row),
            };
            all.output.events.push(event(&change, &source, now));
        }
        Ok(all)
    }

    /// Removes windows from the store whose time is over, a piece of it at a time.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn sweep(&mut self, state: &mut dyn State) -> Result<(), StateError> {
        if self.plan.query.window().is_none() {
            return Ok(());
        }
        let kept = (self.plan.grace.as_millis().saturating_add(self.plan.keep.as_millis()))
            .saturating_mul(1_000);
        let over = self.clock.current().saturating_sub(kept);
        let (mut looked_at, mut gone) = (0, Vec::new());
        let mut last = Vec::new();
        state.scan(RESULTS, &self.swept, END, &mut |key, _| {
            looked_at += 1;
            if window_of(key).is_some_and(|(_, end)| end <= over) {
                gone.push(key.to_vec());
            }
            if looked_at < VIEW_SWEPT_RESULTS {
                return ControlFlow::Continue(());
            }
            last = key.to_vec();
            ControlFlow::Break(())
        })?;
        self.swept = last;
        gone.iter().for_each(|key| state.remove(RESULTS, key));
        Ok(())
    }

    /// Rows that made no result, to their topics.
    fn set_aside(&self, emitted: &Emitted, records: &[StoredRecord], all: &mut ViewOutput) {
        all.late += emitted.late.len();
        if let Some(topic) = &self.plan.late {
            let events = emitted.late.iter().map(|row| Event::from_stored(records[*row].clone()));
            all.output.routed.entry(topic.clone()).or_default().extend(events);
        }
        let rejected = emitted.rejected.iter().map(|rejection| Rejected {
            event: Event::from_stored(records[rejection.row].clone()),
            step: "query".into(),
            why: rejection.reason.clone(),
        });
        all.output.rejected.extend(rejected);
    }

    /// Changes of the result, to its topic: at once, or held back.
    fn emit(
        &mut self,
        emitted: Emitted,
        source: &Position,
        now: Origin,
        state: &mut dyn State,
        all: &mut ViewOutput,
    ) -> Result<(), StateError> {
        let every = match self.plan.emit {
            ViewEmit::Changes { every } => every,
            ViewEmit::Final => None,
        };
        for change in &emitted.changes {
            match (every, &change.record_key) {
                (Some(every), Some(record_key)) => {
                    let mut value = change.event_time_micros.to_be_bytes().to_vec();
                    value.extend_from_slice(record_key);
                    state.put(HELD_BACK, &change.key, value);
                    let micros = every.as_millis().saturating_mul(1_000);
                    let at = Origin::from_micros(now.as_micros().saturating_add(micros));
                    self.emit_at.get_or_insert(at);
                }
                _ => all.output.events.push(event(change, source, now)),
            }
        }
        all.changes.extend(emitted.changes);
        Ok(())
    }

    /// Where results come from that no record led to.
    fn nowhere(&self) -> Position {
        Position { partition: TopicPartition::new(self.plan.to.clone(), 0), offset: -1 }
    }
}

/// Above every key of a table.
const END: &[u8] = &[u8::MAX; 32];

/// Start and end of the window that a key of the results names, in microseconds: its last
/// two columns, each a byte and a number with its sign turned over.
pub(crate) fn window_of(key: &[u8]) -> Option<(i64, i64)> {
    let (_, [_, window @ ..]) = key.split_last_chunk::<18>()?;
    let (start, end) = (window.first_chunk::<8>()?, window.last_chunk::<8>()?);
    Some((i64::from_be_bytes(*start) ^ i64::MIN, i64::from_be_bytes(*end) ^ i64::MIN))
}

fn row(stored: &StoredRecord) -> StreamRow<'_> {
    StreamRow { row: RowInput::from(stored), origin: stored.record.origin() }
}

/// The record that tells a change.
fn event(change: &Change, source: &Position, now: Origin) -> Event {
    let millis = change.event_time_micros.div_euclid(1_000);
    Event {
        source: source.clone(),
        part: 0,
        key: change.record_key.clone(),
        headers: Vec::new(),
        timestamp: Timestamp::from_millis(millis),
        origin: change.origin.unwrap_or(now),
        payload: change.value.clone().map_or_else(Payload::null, Payload::from_bytes),
    }
}
