//! The `sql` step: one or more statements that follow each other.
//!
//! Documents are decoded once, pass between the statements as columns, and are
//! encoded once. Each event keeps its key, headers, time and place. Where the columns
//! are inferred, a statement that does not fit them rejects the events until records
//! come that it does fit.

use std::sync::Arc;

use bytes::Bytes;
use courant_model::{Columns, Timestamp};
use courant_sql::{RunContext, Statement};

use super::{
    Place, Rejected, Step, StepContext, StepError, StepOutput,
    pins::Pins,
    shape::{Decoded, Reader, Shape},
};
use crate::event::{Event, Payload};

#[derive(Debug)]
pub(super) struct SqlStep {
    /// The label of each statement, and its text.
    texts: Vec<(Arc<str>, String)>,
    reader: Reader,
    /// Compiled for these columns.
    compiled: Option<(Arc<Columns>, Vec<Statement>)>,
    output: Shape,
}

/// What became of an event; `None` while nothing is known, so dropped by a filter.
type Fate = Option<Result<Bytes, (Arc<str>, String)>>;

impl SqlStep {
    /// Compiles at once where the columns are known.
    pub(super) fn new(
        place: &Place,
        texts: &[&str],
        shape: &Shape,
        pins: Arc<Pins>,
    ) -> Result<Self, StepError> {
        let labels = (place.number..).map(|number| Place::label_of(number, "sql"));
        let mut step = Self {
            texts: labels.zip(texts.iter().map(|text| (*text).to_owned())).collect(),
            compiled: None,
            output: Shape::of_statement(),
            reader: Reader::new(&place.topic, shape.clone(), pins),
        };
        if let Some(columns) = shape.get() {
            step.compile(&columns)
                .map_err(|(step, why)| StepError { step: step.to_string(), why })?;
        }
        Ok(step)
    }

    /// What the documents look like after the last statement.
    pub(super) fn output(&self) -> Shape {
        self.output.clone()
    }

    fn compile(&mut self, columns: &Arc<Columns>) -> Result<(), (Arc<str>, String)> {
        if self.compiled.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, columns)) {
            return Ok(());
        }
        self.compiled = None;
        let mut statements: Vec<Statement> = Vec::with_capacity(self.texts.len());
        for (label, text) in &self.texts {
            let input = statements.last().map_or(&**columns, Statement::output);
            let statement = Statement::compile(text, input);
            statements.push(statement.map_err(|error| (Arc::clone(label), error.to_string()))?);
        }
        if let Some(last) = statements.last() {
            self.output.set(last.output().clone());
        }
        self.compiled = Some((Arc::clone(columns), statements));
        Ok(())
    }

    fn fates(&mut self, context: &StepContext, events: &[Event]) -> Vec<Fate> {
        let decoded = self.reader.decode(events);
        let mut fates: Vec<Fate> = vec![None; events.len()];
        let first = &self.texts[0].0;
        for (event, why) in &decoded.rejected {
            fates[*event] = Some(Err((Arc::clone(first), why.clone())));
        }
        if let Err(fault) = self.compile(&decoded.columns) {
            for row in decoded.batch.rows() {
                fates[decoded.event_of(*row)] = Some(Err(fault.clone()));
            }
            return fates;
        }
        self.run_statements(context, &decoded, &mut fates);
        fates
    }

    fn run_statements(&self, context: &StepContext, decoded: &Decoded, fates: &mut [Fate]) {
        let now = Timestamp::from_millis(context.now.as_micros().div_euclid(1_000));
        let mut batch = decoded.batch.clone();
        let statements = self.compiled.iter().flat_map(|(_, statements)| statements);
        for ((label, _), statement) in self.texts.iter().zip(statements) {
            let output = statement.run_decoded(&batch, &RunContext { now });
            for rejection in output.rejected {
                let fault = (Arc::clone(label), rejection.reason);
                fates[decoded.event_of(rejection.row)] = Some(Err(fault));
            }
            batch = output.batch;
        }
        for (row, value) in batch.rows().iter().zip(batch.encode()) {
            fates[decoded.event_of(*row)] = Some(Ok(value));
        }
    }
}

impl Step for SqlStep {
    fn run(&mut self, context: &StepContext, events: Vec<Event>) -> StepOutput {
        let fates = self.fates(context, &events);
        let mut output = StepOutput::default();
        for (mut event, fate) in events.into_iter().zip(fates) {
            match fate {
                None if event.payload.is_null() => output.passed.push(event),
                None => {}
                Some(Ok(value)) => {
                    event.payload = Payload::from_bytes(value);
                    output.passed.push(event);
                }
                Some(Err((step, why))) => output.rejected.push(Rejected { event, step, why }),
            }
        }
        output
    }
}
