//! The `route` step: each event goes where the first condition that holds says.
//!
//! Conditions are SQL over the document's columns; null does not hold. An event whose
//! condition cannot be evaluated is rejected unless an earlier one held. Tombstones
//! have no columns, so no condition holds for them.

use std::sync::Arc;

use courant_model::{Columns, Timestamp};
use courant_sql::{Expression, RunContext};

use super::{
    Place, Step, StepContext, StepError, StepOutput,
    pins::Pins,
    shape::{Reader, Shape},
};
use crate::{
    event::Event,
    plan::{Branch, Destination},
};

#[derive(Debug)]
pub(super) struct RouteStep {
    place: Place,
    branches: Vec<Branch>,
    otherwise: Destination,
    reader: Reader,
    /// Conditions, compiled for these columns.
    compiled: Option<(Arc<Columns>, Vec<Expression>)>,
}

impl RouteStep {
    /// Compiles at once where the columns are known.
    pub(super) fn new(
        place: Place,
        branches: &[Branch],
        otherwise: Destination,
        shape: Shape,
        pins: Arc<Pins>,
    ) -> Result<Self, StepError> {
        let known = shape.get();
        let reader = Reader::new(&place.topic, shape, pins);
        let branches = branches.to_vec();
        let mut step = Self { place, branches, otherwise, reader, compiled: None };
        if let Some(columns) = known {
            let label = step.place.label.to_string();
            step.compile(&columns).map_err(|why| StepError { step: label, why })?;
        }
        Ok(step)
    }

    fn compile(&mut self, columns: &Arc<Columns>) -> Result<(), String> {
        if self.compiled.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, columns)) {
            return Ok(());
        }
        self.compiled = None;
        let condition = |branch: &Branch| Expression::compile_condition(&branch.when, columns);
        let conditions = self.branches.iter().map(condition).collect::<Result<Vec<_>, _>>();
        let conditions = conditions.map_err(|error| error.to_string())?;
        self.compiled = Some((Arc::clone(columns), conditions));
        Ok(())
    }

    /// For each event where it goes, or why it cannot be said.
    fn destinations(
        &mut self,
        context: &StepContext,
        events: &[Event],
    ) -> Vec<Result<Destination, String>> {
        let decoded = self.reader.decode(events);
        let mut destinations = vec![Ok(self.otherwise.clone()); events.len()];
        for (event, why) in &decoded.rejected {
            destinations[*event] = Err(why.clone());
        }
        if let Err(why) = self.compile(&decoded.columns) {
            for row in decoded.batch.rows() {
                destinations[decoded.event_of(*row)] = Err(why.clone());
            }
            return destinations;
        }
        let context =
            RunContext { now: Timestamp::from_millis(context.now.as_micros().div_euclid(1_000)) };
        let conditions = self.compiled.iter().flat_map(|(_, conditions)| conditions);
        let answers: Vec<_> =
            conditions.map(|condition| condition.conditions(&decoded.batch, &context)).collect();
        for (position, row) in decoded.batch.rows().iter().enumerate() {
            let held = self.branches.iter().zip(&answers).find_map(|(branch, answers)| {
                match &answers[position] {
                    Ok(true) => Some(Ok(branch.to.clone())),
                    Ok(false) => None,
                    Err(why) => Some(Err(why.clone())),
                }
            });
            if let Some(held) = held {
                destinations[decoded.event_of(*row)] = held;
            }
        }
        destinations
    }
}

impl Step for RouteStep {
    fn run(&mut self, context: &StepContext, events: Vec<Event>) -> StepOutput {
        let destinations = self.destinations(context, &events);
        let mut output = StepOutput::default();
        for (event, destination) in events.into_iter().zip(destinations) {
            match destination {
                Ok(Destination::Next) => output.passed.push(event),
                Ok(Destination::Topic(topic)) => output.routed.push((topic, event)),
                Ok(Destination::Drop) => {}
                Err(why) => output.rejected.push(self.place.reject(event, why)),
            }
        }
        output
    }
}
