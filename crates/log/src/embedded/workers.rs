//! The threads that write: a bounded few, started when there is work.
//!
//! A partition with waiting appends stands once in the queue; a worker runs one
//! round for it and puts it back if more has gathered, so that a busy partition
//! does not starve the others. Workers are blocking tasks of the runtime that the
//! log was opened on; an idle log has none.

use std::{collections::VecDeque, sync::Arc};

use courant_model::limits::APPEND_WORKERS_MAX;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::partition::Partition;

/// Runs rounds of appends.
#[derive(Debug)]
pub(super) struct Workers {
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<Partition>>,
    running: usize,
}

impl Workers {
    pub(super) fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self { runtime, state: Mutex::default() })
    }

    /// Has a worker run the partition's rounds until nothing waits there.
    pub(super) fn schedule(self: &Arc<Self>, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        state.waiting.push_back(partition);
        if state.running < APPEND_WORKERS_MAX {
            state.running += 1;
            drop(state);
            let workers = Arc::clone(self);
            self.runtime.spawn_blocking(move || workers.run());
        }
    }

    fn run(&self) {
        let mut buffer = Vec::new();
        while let Some(partition) = self.next() {
            if partition.run_round(&mut buffer) {
                self.state.lock().waiting.push_back(partition);
            }
        }
    }

    fn next(&self) -> Option<Arc<Partition>> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.running -= 1;
        }
        next
    }
}
