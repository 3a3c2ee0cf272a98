//! Views of a plan: continuous queries over topics, with a store and a topic of results.

use courant_log::AutoOffsetReset;
use courant_model::{Span, TopicName};
use courant_sql::stream::Query;

use super::{ErrorPlan, Guarantee, PipelinePlan, TargetPlan};

/// A view.
#[derive(Debug, Clone)]
pub struct ViewPlan {
    /// The query as the file has it.
    pub sql: String,
    pub query: Query,
    /// The topics that the query reads, each once.
    pub inputs: Vec<ViewInput>,
    /// The topic of the results.
    pub to: TopicName,
    pub emit: ViewEmit,
    /// How long after its end, in event time, a window still takes records.
    pub grace: Span,
    /// An input that was silent for so long is left out of the watermark; `None`: never.
    pub idle: Option<Span>,
    /// Where late records go; `None`: they are counted.
    pub late: Option<TopicName>,
    /// How long a window stays in the store after it is closed, in event time.
    pub keep: Span,
    /// How long a group without a window is kept after its last record, in event time.
    pub ttl: Option<Span>,
    pub group: String,
    pub start: AutoOffsetReset,
    pub guarantee: Guarantee,
    pub on_error: ErrorPlan,
    /// Longest time between two checkpoints.
    pub checkpoint: Span,
}

/// A topic that a view reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewInput {
    pub topic: TopicName,
    /// The query's inputs that are this topic.
    pub reads: Vec<usize>,
    /// How far out of order its records may be.
    pub lateness: Span,
}

/// When a view's results go to its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewEmit {
    /// Whenever they change; with a time, at most once in it for each key.
    Changes { every: Option<Span> },
    /// Once, when their window is closed.
    Final,
}

impl ViewPlan {
    /// What a view has in common with a pipeline: inputs, a group, targets, errors.
    pub(crate) fn pipeline(&self) -> PipelinePlan {
        PipelinePlan {
            from: self.inputs.iter().map(|input| input.topic.clone()).collect(),
            group: self.group.clone(),
            start: self.start,
            guarantee: self.guarantee,
            steps: Vec::new(),
            to: vec![TargetPlan::Topic { topic: self.to.clone() }],
            on_error: self.on_error.clone(),
            freshness_p99: None,
            linger: Span::default(),
            checkpoint: self.checkpoint,
        }
    }

    /// The topics that the view writes to, but for its dead letters.
    pub fn written_topics(&self) -> impl Iterator<Item = &TopicName> {
        std::iter::once(&self.to).chain(&self.late)
    }

    /// Columns that identify a row of the store, a window's last; `None`: rows are only
    /// added, and there is no store.
    pub fn key(&self) -> Option<Vec<&str>> {
        self.query.key()
    }

    /// The topics that the view reads.
    pub fn read_topics(&self) -> impl Iterator<Item = &TopicName> {
        self.inputs.iter().map(|input| &input.topic)
    }
}
