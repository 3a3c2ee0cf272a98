//! What a task does with the records it reads: a pipeline's steps, or a view's query.
//!
//! The task reads, delivers and checkpoints; this turns records into events and keeps what
//! must be remembered. Both kinds answer the same calls, in this order: `restore` or
//! `forget`; any number of `run` and `tick`; `store`, or `stage` and then `settle`.

use courant_log::Committed;
use courant_model::{Offset, Positions, StoredRecord, TopicPartition};
use tokio::time::Instant;

use super::{
    deliver::{Control, Halt},
    inputs::Inputs,
};
use crate::core::CoreOutput;

mod steps;

pub(crate) use steps::Steps;

/// The work of one task.
#[derive(Debug)]
pub(crate) enum Work {
    Steps(Steps),
    View(Box<super::views::ViewWork>),
}

/// An input as a task finds it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) partition: TopicPartition,
    /// What the group has committed; `None`: nothing yet.
    pub(crate) committed: Option<Committed>,
    /// Where the group stands: what it has committed, or where it begins.
    pub(crate) at: Offset,
    /// First record that is still there.
    pub(crate) start: Offset,
    pub(crate) end: Offset,
}

/// Where a task goes on with an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) position: Offset,
    /// Output of the records below is out already: they are read for the state only.
    pub(crate) replay_to: Offset,
}

impl Work {
    /// Brings back what is remembered at the group's offsets, which this application has
    /// committed; answers where to go on, input by input.
    pub(crate) async fn restore(&mut self, found: &[Found]) -> Result<Vec<Resume>, Halt> {
        match self {
            Self::Steps(steps) => steps.restore(found).await,
            Self::View(view) => view.restore(found).await,
        }
    }

    /// Forgets everything, durably.
    pub(crate) async fn forget(&mut self) -> Result<(), Halt> {
        match self {
            Self::Steps(steps) => steps.forget().await,
            Self::View(view) => view.forget().await,
        }
    }

    /// Takes records of one input, in the order of their offsets.
    pub(crate) async fn run(
        &mut self,
        input: usize,
        records: Vec<StoredRecord>,
        control: Control<'_>,
    ) -> Result<CoreOutput, Halt> {
        match self {
            Self::Steps(steps) => steps.run(records, control).await,
            Self::View(view) => view.run(input, records).await,
        }
    }

    /// Whether something is held back that the next `run` gives out, without records.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Self::Steps(steps) => steps.has_more(),
            Self::View(_) => false,
        }
    }

    /// Notes that a batch is done: what it changed may be stored.
    pub(crate) fn done(&mut self) {
        match self {
            Self::Steps(steps) => steps.done(),
            Self::View(_) => {}
        }
    }

    /// When `tick` is to be called, although no record comes.
    pub(crate) fn due(&self, inputs: &Inputs) -> Option<Instant> {
        match self {
            Self::Steps(_) => None,
            Self::View(view) => view.due(&inputs.quiet_since()),
        }
    }

    /// Does what time alone leads to; told since when each input is quiet.
    pub(crate) async fn tick(&mut self, quiet: Vec<Option<Instant>>) -> Result<CoreOutput, Halt> {
        match self {
            Self::Steps(_) => Ok(CoreOutput::default()),
            Self::View(view) => view.tick(quiet).await,
        }
    }

    /// Whether something is to be stored although no position moved.
    pub(crate) fn has_changes(&self) -> bool {
        match self {
            Self::Steps(_) => false,
            Self::View(view) => view.has_changes(),
        }
    }

    /// Whether as much waits to be stored as may.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Steps(_) => false,
            Self::View(view) => view.is_full(),
        }
    }

    /// The word that is committed beside the offsets of the next checkpoint.
    pub(crate) fn metadata(&self) -> String {
        match self {
            Self::Steps(_) => super::partition::COMMIT_METADATA.to_owned(),
            Self::View(view) => view.metadata(),
        }
    }

    /// Puts what changed in force, with the positions; durable when it answers.
    pub(crate) async fn store(&mut self, positions: Positions) -> Result<(), Halt> {
        match self {
            Self::Steps(steps) => steps.store(&positions).await,
            Self::View(view) => view.store(&positions).await,
        }
    }

    /// Stores what changed beside what is in force; durable when it answers.
    pub(crate) async fn stage(&mut self, positions: Positions) -> Result<(), Halt> {
        match self {
            Self::Steps(steps) => steps.stage(&positions).await,
            Self::View(view) => view.stage(&positions).await,
        }
    }

    /// Puts in force what was staged, now that its offsets are committed.
    pub(crate) async fn settle(&mut self) -> Result<(), Halt> {
        match self {
            Self::Steps(steps) => steps.settle().await,
            Self::View(view) => view.settle().await,
        }
    }
}
