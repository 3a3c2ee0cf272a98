//! Views on virtual time: the runtime's own core over a state in memory.
//!
//! Records are taken one by one, in the order of their timestamps over the view's topics,
//! so that every change is seen. An input is left out of the watermark once the clock has
//! moved on for long enough without a record of it.

use std::{collections::BTreeMap, sync::Arc};

use courant_model::{Offset, Origin, Record, StoredRecord, TopicName};
use courant_sql::stream::{MemoryState, RESULTS, StateError, StoredResult};
use serde_json::Value;

use crate::{
    plan::ViewPlan,
    view::{ViewCore, ViewOutput},
};

/// A view of the plan.
#[derive(Debug)]
pub(super) struct DrivenView {
    pub(super) plan: Arc<ViewPlan>,
    core: ViewCore,
    state: MemoryState,
    /// For each input: the next offset, and when its last record came.
    inputs: Vec<(Offset, Origin)>,
    pub(super) dead_letters: Vec<Record>,
    pub(super) late: usize,
}

impl DrivenView {
    pub(super) fn new(plan: &ViewPlan, now: Origin) -> Self {
        let plan = Arc::new(plan.clone());
        Self {
            core: ViewCore::new(&plan),
            state: MemoryState::new(),
            inputs: vec![(0, now); plan.inputs.len()],
            dead_letters: Vec::new(),
            late: 0,
            plan,
        }
    }

    /// Takes the oldest record of the view's topics that was not read yet; `None`: there is
    /// none.
    pub(super) fn step(
        &mut self,
        topics: &BTreeMap<TopicName, Vec<StoredRecord>>,
        now: Origin,
    ) -> Option<(StoredRecord, ViewOutput)> {
        let unread = self.plan.inputs.iter().zip(&self.inputs).enumerate();
        let heads = unread.filter_map(|(index, (input, (next, _)))| {
            let record = topics.get(&input.topic)?.get(usize::try_from(*next).ok()?)?;
            Some((record.record.timestamp, index, record.clone()))
        });
        let (_, index, record) = heads.min_by_key(|(timestamp, index, _)| (*timestamp, *index))?;
        self.inputs[index] = (record.offset + 1, now);
        let records = std::slice::from_ref(&record);
        let output = in_memory(self.core.run(index, records, now, &mut self.state));
        self.late += output.late;
        Some((record, output))
    }

    /// Does what time alone leads to.
    pub(super) fn tick(&mut self, now: Origin) -> ViewOutput {
        let mut all = in_memory(self.core.emit_held_back(now, &mut self.state));
        let idle = self.plan.idle.filter(|_| self.inputs.len() > 1);
        let Some(idle) = idle.map(|idle| idle.as_millis().saturating_mul(1_000)) else {
            return all;
        };
        for (index, (_, last)) in self.inputs.iter().enumerate() {
            if now.as_micros() - last.as_micros() >= idle {
                all.extend(in_memory(self.core.leave_out(index, now, &mut self.state)));
            }
        }
        in_memory(self.core.sweep(&mut self.state));
        all
    }

    /// The rows of the store, in the order of their keys.
    pub(super) fn rows(&self) -> Vec<Value> {
        let stored = self.state.entries(RESULTS).filter_map(|(_, value)| {
            serde_json::from_slice(&StoredResult::decode(value)?.row).ok()
        });
        stored.collect()
    }
}

/// A state in memory can always be read.
fn in_memory<T: Default>(done: Result<T, StateError>) -> T {
    debug_assert!(done.is_ok(), "{done:?}", done = done.as_ref().err());
    done.unwrap_or_default()
}
