//! A pipeline as a pure machine: a batch of one partition in, what becomes of it out.
//!
//! The same core runs in the runtime and in the driver. It awaits nothing, writes
//! nothing and reads no clock; whoever holds it delivers the events, sets the rejected
//! ones aside and stores the state that it hands out. Where the steps have a lookup, the
//! core stops: its holder gets the answers and has the core go on behind it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use courant_model::{Columns, Header, Offset, Record, StoredRecord, Timestamp, TopicName};

use crate::{
    event::Event,
    lookup::LookupStage,
    plan::PipelinePlan,
    steps::{
        self, NumberedStep, Rejected, Segment, StateChange, StateEntry, StepContext, StepError,
        pins::Pins,
    },
};

/// The steps of one pipeline for one partition of one of its topics.
#[derive(Debug, Default)]
pub struct PipelineCore {
    segments: Vec<Segment>,
}

/// What became of a batch, so far.
#[derive(Debug, Default)]
pub struct CoreOutput {
    /// For every target of the pipeline, in order.
    pub events: Vec<Event>,
    pub routed: BTreeMap<TopicName, Vec<Event>>,
    pub rejected: Vec<Rejected>,
}

impl CoreOutput {
    /// A batch that no step has seen yet.
    pub fn of(events: Vec<Event>) -> Self {
        Self { events, ..Self::default() }
    }

    /// Adds what another run gave out.
    pub(crate) fn extend(&mut self, later: Self) {
        self.events.extend(later.events);
        for (topic, events) in later.routed {
            self.routed.entry(topic).or_default().extend(events);
        }
        self.rejected.extend(later.rejected);
    }
}

/// What the steps of a partition changed in their memory, by the step's number.
pub type StepState = Vec<(usize, StateChange)>;

impl PipelineCore {
    /// Builds the steps for records of `topic`, whose columns are declared or, with
    /// `None`, inferred and pinned.
    ///
    /// # Errors
    /// [`StepError`] when a statement does not fit the declared columns.
    pub fn new(
        plan: &PipelinePlan,
        topic: &TopicName,
        columns: Option<&Columns>,
        pins: &Arc<Pins>,
    ) -> Result<Self, StepError> {
        Ok(Self { segments: steps::build(&plan.steps, topic, columns, pins)? })
    }

    /// How many segments the steps have: one more than they have lookups.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The lookups between the segments, in order.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = &Arc<LookupStage>> {
        self.segments.iter().filter_map(|segment| segment.lookup.as_ref())
    }

    /// Takes a batch of one partition, in the order of its offsets, through one segment
    /// of the steps. Every segment runs once for each batch, in order; the lookup behind
    /// it is answered before the next one.
    pub fn run(
        &mut self,
        segment: usize,
        context: &StepContext,
        mut output: CoreOutput,
    ) -> CoreOutput {
        for (_, step) in self.segments.get_mut(segment).into_iter().flat_map(|one| &mut one.steps) {
            if output.events.is_empty() && !step.has_more() {
                continue;
            }
            let done = step.run(context, std::mem::take(&mut output.events));
            output.events = done.passed;
            output.rejected.extend(done.rejected);
            for (topic, event) in done.routed {
                output.routed.entry(topic).or_default().push(event);
            }
        }
        output
    }

    /// Whether a step held events back: more comes when all segments run again, without new
    /// events, which has to follow before any other.
    pub fn has_more(&self) -> bool {
        self.segments.iter().flat_map(|segment| &segment.steps).any(|(_, step)| step.has_more())
    }

    /// Brings back what a step remembered at the last checkpoint.
    pub fn restore(&mut self, number: usize, entries: Vec<StateEntry>) {
        if let Some((_, step)) = self.steps().find(|(found, _)| *found == number) {
            step.restore(entries);
        }
    }

    /// What changed in the steps' memory since the last call.
    pub fn take_changes(&mut self) -> StepState {
        let changes = |(number, step): &mut NumberedStep| {
            let number = *number;
            step.take_changes().into_iter().map(move |change| (number, change))
        };
        self.steps().flat_map(changes).collect()
    }

    fn steps(&mut self) -> impl Iterator<Item = &mut NumberedStep> {
        self.segments.iter_mut().flat_map(|segment| &mut segment.steps)
    }
}

/// Key and value of the records of a batch as they came, for dead letters.
#[derive(Debug, Default)]
pub struct Originals(Vec<(Offset, Option<Bytes>, Option<Bytes>)>);

impl Originals {
    /// Remembers the records of a batch, which come in the order of their offsets.
    pub fn of(records: &[StoredRecord]) -> Self {
        let body = |stored: &StoredRecord| {
            (stored.offset, stored.record.key.clone(), stored.record.value.clone())
        };
        Self(records.iter().map(body).collect())
    }

    /// Adds those of a later batch.
    pub(crate) fn extend(&mut self, later: &Self) {
        self.0.extend_from_slice(&later.0);
    }

    /// Bytes of the keys and values.
    pub(crate) fn size_bytes(&self) -> usize {
        let size = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        self.0.iter().map(|(_, key, value)| size(key) + size(value)).sum()
    }

    /// One dead letter for each input record among the rejected, with its first error.
    pub fn dead_letters(
        &self,
        rejected: &[Rejected],
        pipeline: &str,
        now: Timestamp,
    ) -> Vec<Record> {
        let mut first: BTreeMap<Offset, &Rejected> = BTreeMap::new();
        for one in rejected {
            first.entry(one.event.source.offset).or_insert(one);
        }
        first.values().map(|one| self.dead_letter(one, pipeline, now)).collect()
    }

    fn dead_letter(&self, rejected: &Rejected, pipeline: &str, now: Timestamp) -> Record {
        let event = &rejected.event;
        let (key, value) = match self.0.binary_search_by_key(&event.source.offset, |(at, ..)| *at) {
            Ok(index) => (self.0[index].1.clone(), self.0[index].2.clone()),
            Err(_) => (event.key.clone(), event.payload.bytes()),
        };
        let mut headers = event.headers.clone();
        headers.retain(|header| !header.name.starts_with(ERROR_HEADER));
        let mut record = Record { key, value, headers, timestamp: now };
        record.stamp_origin(event.origin);
        let error = Failure {
            what: &rejected.why,
            step: &rejected.step,
            source: event.source.to_string(),
            pipeline,
            timestamp: event.timestamp,
        };
        error.write(&mut record);
        record
    }
}

/// The name of the header with the error, and the beginning of the others about it.
pub const ERROR_HEADER: &str = "courant-error";

/// What a dead letter says of its failure, in headers.
#[derive(Debug)]
pub struct Failure<'a> {
    pub what: &'a str,
    /// The step, target or source that refused it.
    pub step: &'a str,
    /// Where it came from: `orders-3@1042`, or the source's name.
    pub source: String,
    pub pipeline: &'a str,
    /// The record's own timestamp; the dead letter has the time of the failure, so
    /// that retention does not take a late one at once.
    pub timestamp: Timestamp,
}

impl Failure<'_> {
    /// Writes the headers; `record.timestamp` is the time of the failure.
    pub fn write(&self, record: &mut Record) {
        let mut add = |name: &str, value: String| {
            record.headers.push(Header::new(format!("{ERROR_HEADER}{name}"), value));
        };
        add("", self.what.to_owned());
        add("-step", self.step.to_owned());
        add("-source", self.source.clone());
        add("-pipeline", self.pipeline.to_owned());
        add("-timestamp", self.timestamp.as_millis().to_string());
        let now = jiff::Timestamp::from_millisecond(record.timestamp.as_millis());
        let text = now.map_or_else(|_| record.timestamp.to_string(), |now| format!("{now:.3}"));
        record.headers.push(Header::new(format!("{ERROR_HEADER}-time"), text));
    }
}
