//! The steps of a pipeline: from events to events.
//!
//! A step is synchronous and deterministic. Time comes from its [`StepContext`], what
//! it must remember it hands out as [`StateChange`]s that the runtime stores together
//! with the position, and an event that it cannot take is rejected, never dropped.
//! Tombstones have no fields: steps that look into documents pass them on untouched.

use std::{fmt, sync::Arc};

use courant_model::{Columns, Origin, TopicName};

use crate::{event::Event, lookup::LookupStage, plan::StepPlan};

mod deduplicate;
mod jolt;
mod key;
mod nest;
pub mod pins;
mod route;
mod shape;
mod split;
mod sql;

pub(crate) use key::scalar_at;
use pins::Pins;
use shape::Shape;
pub(crate) use split::put;

/// What a step may know of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepContext {
    pub now: Origin,
}

/// What became of the events that a step was given; order is kept in each list.
#[derive(Debug, Default)]
pub struct StepOutput {
    /// On to the next step, and from the last one to the targets.
    pub passed: Vec<Event>,
    /// Sent to another topic, past the steps that follow.
    pub routed: Vec<(TopicName, Event)>,
    pub rejected: Vec<Rejected>,
}

/// An event that cannot go on.
#[derive(Debug)]
pub struct Rejected {
    /// As it came to the step.
    pub event: Event,
    /// The step or target, as people count: `step 2 (sql)`.
    pub step: Arc<str>,
    pub why: String,
}

/// A change of what a step remembers; `None` forgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Something that a step remembers: its own key, and the value.
pub type StateEntry = (Vec<u8>, Vec<u8>);

/// A step with its number, counted from 1, which names its state.
pub(crate) type NumberedStep = (usize, Box<dyn Step>);

/// One step of one pipeline, working on one partition.
pub trait Step: Send + fmt::Debug {
    /// Takes events through the step.
    fn run(&mut self, context: &StepContext, events: Vec<Event>) -> StepOutput;

    /// Whether the step holds events back, because what it makes of them is more than one
    /// run should give out: it is run again, without new events, before anything else
    /// happens to the partition. They are no part of what it remembers.
    fn has_more(&self) -> bool {
        false
    }

    /// Brings back what the step remembered at the last checkpoint.
    fn restore(&mut self, _entries: Vec<StateEntry>) {}

    /// What changed in the step's memory since the last call.
    fn take_changes(&mut self) -> Vec<StateChange> {
        Vec::new()
    }
}

/// Where a step stands: what it is called and what its documents look like.
#[derive(Debug)]
pub(crate) struct Place {
    label: Arc<str>,
    topic: TopicName,
    number: usize,
}

impl Place {
    fn of(topic: &TopicName, number: usize, kind: &str) -> Self {
        Self { label: Self::label_of(number, kind), topic: topic.clone(), number }
    }

    fn label_of(number: usize, kind: &str) -> Arc<str> {
        format!("step {number} ({kind})").into()
    }

    /// As people count: `step 2 (sql)`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The step's number, from 1.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn reject(&self, event: Event, why: impl Into<String>) -> Rejected {
        Rejected { event, step: Arc::clone(&self.label), why: why.into() }
    }
}

/// Why the steps of a plan cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {why}")]
pub struct StepError {
    pub step: String,
    pub why: String,
}

/// Steps that follow each other without waiting, and the lookup behind them, if any.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub(crate) steps: Vec<NumberedStep>,
    pub(crate) lookup: Option<Arc<LookupStage>>,
}

/// Builds the steps for the records of one topic, cut into segments by the lookups; the
/// last segment has none. Statements that follow each other become one step, so that its
/// documents are decoded and encoded once.
///
/// # Errors
/// [`StepError`] when a statement or condition does not fit the declared columns, or a
/// specification cannot be compiled.
pub(crate) fn build(
    plans: &[StepPlan],
    topic: &TopicName,
    columns: Option<&Columns>,
    pins: &Arc<Pins>,
) -> Result<Vec<Segment>, StepError> {
    let mut shape = Shape::of_topic(columns);
    let (mut segments, mut steps) = (Vec::new(), Vec::new());
    let mut index = 0;
    while let Some(plan) = plans.get(index) {
        let number = index + 1;
        let place = |kind| Place::of(topic, number, kind);
        let step: Box<dyn Step> = match plan {
            StepPlan::Sql { .. } => {
                let texts: Vec<&str> = plans[index..].iter().map_while(sql_text).collect();
                index += texts.len() - 1;
                let step = sql::SqlStep::new(&place("sql"), &texts, &shape, Arc::clone(pins))?;
                shape = step.output();
                Box::new(step)
            }
            StepPlan::Jolt(plan) => {
                shape = Shape::made_by(number);
                Box::new(jolt::JoltStep::new(place("jolt"), plan)?)
            }
            StepPlan::Lookup(plan) => {
                shape = Shape::made_by(number);
                let stage =
                    LookupStage { place: place("lookup"), plan: Arc::new((**plan).clone()) };
                let steps = std::mem::take(&mut steps);
                segments.push(Segment { steps, lookup: Some(Arc::new(stage)) });
                index += 1;
                continue;
            }
            StepPlan::Key { field } => {
                Box::new(key::KeyStep { place: place("key"), field: field.clone() })
            }
            StepPlan::Split { field, into } => {
                shape = Shape::made_by(number);
                let (field, into) = (field.clone(), into.clone());
                Box::new(split::SplitStep { place: place("split"), field, into })
            }
            StepPlan::Route { branches, otherwise } => Box::new(route::RouteStep::new(
                place("route"),
                branches,
                otherwise.clone(),
                shape.clone(),
                Arc::clone(pins),
            )?),
            StepPlan::Nest(plan) => {
                shape = Shape::made_by(number);
                Box::new(nest::NestStep::new(place("nest"), plan))
            }
            StepPlan::Deduplicate { by, within, keys_max } => Box::new(
                deduplicate::DeduplicateStep::new(place("deduplicate"), by, *within, *keys_max),
            ),
        };
        steps.push((number, step));
        index += 1;
    }
    segments.push(Segment { steps, lookup: None });
    Ok(segments)
}

fn sql_text(plan: &StepPlan) -> Option<&str> {
    match plan {
        StepPlan::Sql { text } => Some(text),
        _ => None,
    }
}
