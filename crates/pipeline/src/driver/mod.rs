//! The driver: a whole plan in a test, on virtual time.
//!
//! No clock, network, disk or task: topics are lists, stores are maps, time is moved by
//! hand, and when a call returns everything that follows from it has happened. The
//! pipelines are the runtime's own [`PipelineCore`]s, the views its `ViewCore`s, and events become writes by the
//! same functions as there. Every topic has one partition here, so that what it holds
//! has one order; sources do not run, their topics are given records. Lookups ask the
//! stores, or find the answers that were given for them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use courant_model::{
    Offset, Origin, Record, StoredRecord, Timestamp, TopicName,
    json::scalar_text,
    limits::{DRIVER_ROUNDS_MAX, PIPELINE_BATCH_RECORDS_MAX},
};
use courant_stores::Document;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::{
    connector::Answer,
    core::{CoreOutput, Originals, PipelineCore},
    event::Event,
    lookup::{Asked, LookupStage},
    plan::{LookupSource, PipelinePlan, Plan, TargetPlan, ViewPlan},
    sinks::{cache, history},
    steps::{Rejected, StepContext, StepError, pins::Pins},
    view::ViewOutput,
};

mod cases;
mod compare;
#[cfg(test)]
mod jolt_tests;
#[cfg(test)]
mod lookup_tests;
mod stores;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
mod views;

pub use cases::{CaseOutcome, Mismatch, TestReport, run_tests};

use stores::Stores;
use views::DrivenView;

/// A plan on virtual time.
#[derive(Debug)]
pub struct Driver {
    now: Origin,
    topics: BTreeMap<TopicName, Vec<StoredRecord>>,
    stores: Stores,
    pipelines: IndexMap<String, Driven>,
    views: IndexMap<String, DrivenView>,
}

/// A pipeline of the plan.
#[derive(Debug)]
struct Driven {
    plan: PipelinePlan,
    /// For each topic it reads: its steps, and the next offset.
    inputs: BTreeMap<TopicName, (PipelineCore, Offset)>,
    dead_letters: Vec<Record>,
    /// What connectors' sinks would have been given.
    sunk: Vec<Event>,
    /// What connectors' lookups answer.
    answers: Vec<GivenAnswer>,
}

/// What a lookup is to answer in place of what is outside.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenAnswer {
    /// The step's number, from 1.
    pub step: usize,
    /// Values of parameters, by their fields; the question must have them all.
    pub when: Map<String, Value>,
    /// What is found: of a list, each item.
    pub give: Value,
}

/// Why a plan cannot be driven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    #[error("pipeline {pipeline:?}: {source}")]
    Step { pipeline: String, source: StepError },
    #[error("pipelines feed each other without end; stopped after {DRIVER_ROUNDS_MAX} rounds")]
    Endless,
}

impl Driver {
    /// A driver with empty topics and stores, whose clock stands at `now`.
    ///
    /// # Errors
    /// [`DriverError::Step`] when a statement does not fit the declared columns.
    pub fn new(plan: &Plan, now: Timestamp) -> Result<Self, DriverError> {
        let mut pipelines = IndexMap::new();
        for (name, pipeline) in &plan.pipelines {
            let driven = Driven::new(plan, pipeline);
            let failed = |source| DriverError::Step { pipeline: name.clone(), source };
            pipelines.insert(name.clone(), driven.map_err(failed)?);
        }
        let now = Origin::from_timestamp(now);
        let view = |(name, view): (&String, &ViewPlan)| (name.clone(), DrivenView::new(view, now));
        let views = plan.views.iter().map(view).collect();
        Ok(Self { now, topics: BTreeMap::new(), stores: Stores::default(), pipelines, views })
    }

    /// Appends records to a topic; a record without a timestamp
    /// ([`Timestamp::NONE`]) gets the clock's. Everything that follows happens.
    ///
    /// # Errors
    /// [`DriverError::Endless`].
    pub fn give(
        &mut self,
        topic: &TopicName,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<(), DriverError> {
        for mut record in records {
            if record.timestamp == Timestamp::NONE {
                record.timestamp = self.timestamp();
            }
            self.append(topic, record);
        }
        self.settle()
    }

    /// Sets what a pipeline's lookup answers; of those that fit a question the first
    /// counts, and without one nothing is found.
    pub fn answer(&mut self, pipeline: &str, answer: GivenAnswer) {
        if let Some(driven) = self.pipelines.get_mut(pipeline) {
            driven.answers.push(answer);
        }
    }

    /// Moves the clock forward. Everything that follows happens.
    ///
    /// # Errors
    /// [`DriverError::Endless`].
    pub fn advance(&mut self, by: Duration) -> Result<(), DriverError> {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now = Origin::from_micros(self.now.as_micros().saturating_add(micros));
        for index in 0..self.views.len() {
            let output = self.views[index].tick(self.now);
            self.deliver_view(index, output, &Originals::default());
        }
        self.settle()
    }

    /// The records of a topic, in order.
    pub fn topic(&self, name: &TopicName) -> &[StoredRecord] {
        self.topics.get(name).map_or(&[], Vec::as_slice)
    }

    /// The documents of a collection, in the order of their insertion.
    pub fn history(&self, collection: &str) -> Vec<&Document> {
        self.stores.documents(collection)
    }

    /// What a cache key holds now: its value, or an object of its fields.
    pub fn cache(&self, table: &str, key: &str) -> Option<Value> {
        self.stores.cached(table, key, self.now)
    }

    /// The rows of a view's store, in the order of their keys.
    pub fn view(&self, name: &str) -> Vec<Value> {
        self.views.get(name).map(DrivenView::rows).unwrap_or_default()
    }

    /// How many records came too late for a view.
    pub fn late(&self, view: &str) -> usize {
        self.views.get(view).map_or(0, |driven| driven.late)
    }

    /// What a pipeline, or a view, set aside, in order.
    pub fn dead_letters(&self, name: &str) -> &[Record] {
        let pipeline = self.pipelines.get(name).map(|driven| &driven.dead_letters);
        let view = || self.views.get(name).map(|driven| &driven.dead_letters);
        pipeline.or_else(view).map_or(&[], Vec::as_slice)
    }

    /// What the connectors among a pipeline's targets were given, in order.
    pub fn sunk(&self, pipeline: &str) -> &[Event] {
        self.pipelines.get(pipeline).map_or(&[], |driven| &driven.sunk)
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.now.as_micros().div_euclid(1_000))
    }

    fn append(&mut self, topic: &TopicName, record: Record) {
        let records = self.topics.entry(topic.clone()).or_default();
        let offset = Offset::try_from(records.len()).expect("memory ends first");
        records.push(StoredRecord { topic: topic.clone(), partition: 0, offset, record });
    }

    /// Runs the pipelines and views until none has anything left to read.
    fn settle(&mut self) -> Result<(), DriverError> {
        for _ in 0..DRIVER_ROUNDS_MAX {
            let mut quiet = true;
            for index in 0..self.pipelines.len() {
                while let Some(batch) = self.pipelines[index].next_batch(&self.topics) {
                    quiet = false;
                    self.deliver(index, batch);
                }
            }
            for index in 0..self.views.len() {
                while let Some((record, output)) = self.views[index].step(&self.topics, self.now) {
                    quiet = false;
                    self.deliver_view(index, output, &Originals::of(&[record]));
                }
            }
            if quiet {
                return Ok(());
            }
        }
        Err(DriverError::Endless)
    }

    fn deliver(&mut self, index: usize, (topic, records): (TopicName, Vec<StoredRecord>)) {
        let originals = Originals::of(&records);
        let context = StepContext { now: self.now };
        let driven = &mut self.pipelines[index];
        let (core, _) = driven.inputs.get_mut(&topic).expect("it reads this topic");
        let events = records.into_iter().map(Event::from_stored).collect();
        let stages: Vec<_> = core.lookups().cloned().collect();
        let round = |core: &mut PipelineCore, events| {
            let mut output = core.run(0, &context, CoreOutput::of(events));
            for (segment, stage) in (1..).zip(&stages) {
                look_up(stage, &driven.answers, &self.stores, self.now, &mut output);
                output = core.run(segment, &context, output);
            }
            output
        };
        let mut output = round(core, events);
        while core.has_more() {
            output.extend(round(core, Vec::new()));
        }
        // Nobody stores them: what a core remembers lasts as long as the driver.
        core.take_changes();
        let CoreOutput { events, routed, mut rejected } = output;
        for (number, target) in (1..).zip(driven.plan.to.clone()) {
            rejected.extend(self.write(index, number, &target, &events));
        }
        for (topic, events) in routed {
            events.iter().for_each(|event| self.append(&topic, event.to_record()));
        }
        self.set_aside(index, &rejected, &originals);
    }

    fn deliver_view(&mut self, index: usize, output: ViewOutput, originals: &Originals) {
        let CoreOutput { events, routed, rejected } = output.output;
        let now = self.timestamp();
        let (name, driven) = self.views.get_index_mut(index).expect("it is one of them");
        let letters = originals.dead_letters(&rejected, name, now);
        driven.dead_letters.extend(letters.iter().cloned());
        let plan = Arc::clone(&driven.plan);
        events.iter().for_each(|event| self.append(&plan.to, event.to_record()));
        for (topic, events) in routed {
            events.iter().for_each(|event| self.append(&topic, event.to_record()));
        }
        let dead_letters = &plan.on_error.dead_letters;
        letters.into_iter().for_each(|letter| self.append(dead_letters, letter));
    }

    fn set_aside(&mut self, index: usize, rejected: &[Rejected], originals: &Originals) {
        let (now, name) = (self.timestamp(), self.pipelines.get_index(index));
        let name = name.map(|(name, _)| name.clone()).unwrap_or_default();
        let letters = originals.dead_letters(rejected, &name, now);
        let driven = &mut self.pipelines[index];
        let topic = driven.plan.on_error.dead_letters.clone();
        driven.dead_letters.extend(letters.iter().cloned());
        letters.into_iter().for_each(|letter| self.append(&topic, letter));
    }

    /// Writes events into a target; answers those that it refuses.
    fn write(
        &mut self,
        index: usize,
        number: usize,
        target: &TargetPlan,
        events: &[Event],
    ) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for event in events {
            let written = match target {
                TargetPlan::Topic { topic } => {
                    self.append(topic, event.to_record());
                    Ok(())
                }
                TargetPlan::Cache { table, key, field, ttl, version } => {
                    let (key, field, version) = (key.clone(), field.clone(), version.clone());
                    let ttl = ttl.map(courant_model::Span::as_duration);
                    let place = cache::CachePlace { key, field, ttl, version };
                    let write = cache::write_of(event, &place);
                    write.and_then(|write| self.stores.apply(table, write, self.now))
                }
                TargetPlan::History { collection, id, version, .. } => {
                    let place = history::HistoryPlace { id: id.clone(), version: version.clone() };
                    let write = history::write_of(event, &place);
                    write.and_then(|write| self.stores.write(collection, write))
                }
                TargetPlan::Connector { .. } => {
                    self.pipelines[index].sunk.push(event.clone());
                    Ok(())
                }
            };
            if let Err(why) = written {
                let step = target.label(number).into();
                rejected.push(Rejected { event: event.clone(), step, why });
            }
        }
        rejected
    }
}

impl Driven {
    fn new(plan: &Plan, pipeline: &PipelinePlan) -> Result<Self, StepError> {
        let pins = Arc::new(Pins::default());
        let input = |topic: &TopicName| {
            let columns = plan.topics.get(topic).and_then(|topic| topic.columns.as_ref());
            let core = PipelineCore::new(pipeline, topic, columns, &pins)?;
            Ok((topic.clone(), (core, 0)))
        };
        let inputs = pipeline.from.iter().map(input).collect::<Result<_, StepError>>()?;
        let plan = pipeline.clone();
        let (dead_letters, sunk, answers) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { plan, inputs, dead_letters, sunk, answers })
    }

    /// The next records of a topic that has some.
    fn next_batch(
        &mut self,
        topics: &BTreeMap<TopicName, Vec<StoredRecord>>,
    ) -> Option<(TopicName, Vec<StoredRecord>)> {
        self.inputs.iter_mut().find_map(|(topic, (_, next))| {
            let read = usize::try_from(*next).unwrap_or(usize::MAX);
            let unread = topics.get(topic)?.iter().skip(read);
            let records: Vec<_> = unread.take(PIPELINE_BATCH_RECORDS_MAX).cloned().collect();
            *next = records.last()?.offset + 1;
            Some((topic.clone(), records))
        })
    }
}

/// Answers what the events of a batch ask, one after the other.
fn look_up(
    stage: &LookupStage,
    answers: &[GivenAnswer],
    stores: &Stores,
    now: Origin,
    output: &mut CoreOutput,
) {
    for event in std::mem::take(&mut output.events) {
        let asked = stage.asked(&event);
        let answer = match &asked {
            Asked::Question(question) => Some(found(stage, question, answers, stores, now)),
            Asked::Nothing | Asked::Missing | Asked::Refused(_) => None,
        };
        stage.settle(event, asked, answer.as_ref(), output);
    }
}

fn found(
    stage: &LookupStage,
    question: &[Value],
    answers: &[GivenAnswer],
    stores: &Stores,
    now: Origin,
) -> Answer {
    let text = |at: usize| question.get(at).and_then(scalar_text).unwrap_or_default();
    let found = match &stage.plan.source {
        LookupSource::Cache { table, field, .. } => {
            let held = stores.cached(table, &text(0), now);
            if field.is_some() { held.and_then(|held| held.get(text(1)).cloned()) } else { held }
        }
        LookupSource::History { collection, .. } => {
            stores.document(collection, &text(0)).cloned().map(Value::Object)
        }
        LookupSource::Connector { .. } => {
            let fields: Vec<String> =
                stage.plan.parameters().iter().map(ToString::to_string).collect();
            let fits = |answer: &&GivenAnswer| {
                let has = |(name, value): (&String, &Value)| {
                    fields.iter().position(|field| field == name).map(|at| &question[at])
                        == Some(value)
                };
                answer.step == stage.place.number() && answer.when.iter().all(has)
            };
            answers.iter().find(fits).map(|answer| answer.give.clone())
        }
    };
    Answer::Found(match found {
        Some(Value::Array(items)) if stage.plan.many => items,
        Some(Value::Null) | None => Vec::new(),
        Some(found) => vec![found],
    })
}
