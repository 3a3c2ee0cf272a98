//! One partition's share of a query, as a pure machine.

use std::sync::Arc;

use super::{
    delta::Delta,
    operator::{Faults, Memo, Run},
    query::{Compiled, Query},
    result::{Change, Emitted},
    scan::StreamRow,
    state::{State, StateError},
    watermark::Watermarks,
};

/// Runs a query over the rows of one partition number.
///
/// It may be dropped between any two calls and built again over the same state.
#[derive(Debug, Clone)]
pub struct Task {
    compiled: Arc<Compiled>,
    /// One for each operator.
    memos: Vec<Memo>,
}

/// What the operators do their work on.
struct Work<'a> {
    state: &'a mut dyn State,
    faults: Faults,
    changes: Vec<Change>,
}

impl Task {
    /// Builds a task, which knows nothing yet.
    pub fn new(query: &Query) -> Self {
        let compiled = Arc::clone(&query.compiled);
        let memos = vec![Memo::default(); compiled.nodes.len()];
        Self { compiled, memos }
    }

    /// Feeds rows of one input, in the order of their offsets, and closes what the watermark
    /// passes.
    ///
    /// # Errors
    /// When the state fails; the task is then to be dropped, and the state put back.
    pub fn push(
        &mut self,
        input: usize,
        rows: &[StreamRow<'_>],
        clock: &mut dyn Watermarks,
        state: &mut dyn State,
    ) -> Result<Emitted, StateError> {
        let mut work = Work { state, faults: Faults::default(), changes: Vec::new() };
        let compiled = Arc::clone(&self.compiled);
        let source = &compiled.sources[input];
        let read = source.read(input, rows, clock, &mut work.faults);
        for place in &source.places {
            self.flow(place.node, 0, read.at(place), &mut work)?;
        }
        self.close(clock.current(), &mut work)?;
        Ok(work.emitted(read.event_time_max))
    }

    /// Lets time go on without rows: windows close that the watermark passes.
    ///
    /// # Errors
    /// When the state fails.
    pub fn advance(
        &mut self,
        watermark_micros: i64,
        state: &mut dyn State,
    ) -> Result<Emitted, StateError> {
        let mut work = Work { state, faults: Faults::default(), changes: Vec::new() };
        self.close(watermark_micros, &mut work)?;
        Ok(work.emitted(None))
    }

    /// Hands rows to an operator, and what comes out to the one above, up to the sink.
    fn flow(
        &mut self,
        node: usize,
        side: usize,
        delta: Delta,
        work: &mut Work<'_>,
    ) -> Result<(), StateError> {
        let (mut place, mut delta) = (Some((node, side)), delta);
        while let Some((node, side)) = place
            && !delta.is_empty()
        {
            let mut run = work.run(&mut self.memos[node]);
            delta = self.compiled.nodes[node].operator.process(side, delta, &mut run)?;
            place = self.compiled.nodes[node].parent;
        }
        match place {
            None => self.compiled.sink.take(&delta, work.state, &mut work.changes),
            Some(_) => Ok(()),
        }
    }

    /// Closes windows, those of lower operators first: what they give out may still belong
    /// to windows above.
    fn close(&mut self, watermark: i64, work: &mut Work<'_>) -> Result<(), StateError> {
        for node in 0..self.compiled.nodes.len() {
            loop {
                let mut run = work.run(&mut self.memos[node]);
                let operator = &self.compiled.nodes[node].operator;
                let Some(delta) = operator.close(watermark, &mut run)? else { break };
                match self.compiled.nodes[node].parent {
                    Some((parent, side)) => self.flow(parent, side, delta, work)?,
                    None => self.compiled.sink.take(&delta, work.state, &mut work.changes)?,
                }
            }
        }
        Ok(())
    }
}

impl<'a> Work<'a> {
    fn run<'r>(&'r mut self, memo: &'r mut Memo) -> Run<'r>
    where
        'a: 'r,
    {
        Run { state: &mut *self.state, memo, faults: &mut self.faults }
    }

    fn emitted(self, event_time_max_micros: Option<i64>) -> Emitted {
        let Faults { mut late, mut rejected } = self.faults;
        late.sort_unstable();
        late.dedup();
        rejected.sort_by_key(|rejection| rejection.row);
        rejected.dedup_by_key(|rejection| rejection.row);
        Emitted { changes: self.changes, late, rejected, event_time_max_micros }
    }
}
