//! What a query reads, and how it is to answer.

use std::time::Duration;

use courant_model::Columns;

/// A topic, or the output of another view, as a query sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub columns: Columns,
    pub kind: RelationKind,
    /// Columns that identify a row of a table; empty: the record's key does, which is the
    /// column `_key`. Of no meaning for a stream.
    pub key: Vec<String>,
    /// A column of type timestamp; `None`: the record's own timestamp.
    pub event_time: Option<String>,
}

/// What a record of a relation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// Every record is a row of its own.
    Stream,
    /// A record replaces the former one of its key; one without a value deletes it.
    Table,
}

/// How a query answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryOptions {
    /// How long after its end, in event time, a window still takes rows.
    pub grace: Duration,
    pub emit: Emit,
    /// How long a group without a window is kept after its last row, in event time; `None`:
    /// forever. Judged after each batch. Groups of rows that may go are kept for as long as
    /// they have rows.
    pub ttl: Option<Duration>,
}

/// When a window's result comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// After every batch that changed it.
    Changes,
    /// Once, when the window and its grace are over.
    Final,
}

impl Default for QueryOptions {
    /// No grace, changes at once, groups forever.
    fn default() -> Self {
        Self { grace: Duration::ZERO, emit: Emit::Changes, ttl: None }
    }
}
