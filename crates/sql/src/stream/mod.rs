//! Continuous SQL: a query compiled to operators, and one partition's share of its work.
//!
//! The flow: [`Query::compile`] turns a `SELECT` over [`Relation`]s into a tree of operators;
//! a [`Task`] feeds it the rows of one partition number and keeps what must be remembered in
//! a [`State`]; what changes in the result comes out as [`Change`]s. The invariant: a task is
//! a pure machine. It does no I/O, reads no clock and remembers nothing outside its state, so
//! that the same rows, watermarks and state give the same changes, wherever batches end and
//! however often it is stopped between two of them.
//!
//! Watermarks are the caller's to tell ([`Watermarks`]); positions, topics, transactions and
//! the expiry of results are the runtime's.

mod age;
mod aggregate;
mod calculate;
mod delta;
mod join;
mod key;
mod names;
mod operator;
mod plan;
mod query;
mod relation;
mod result;
mod scan;
mod sink;
mod state;
mod table;
mod task;
mod top;
mod union;
mod watermark;
mod window;

pub use names::relations;
pub use operator::OperatorInfo;
pub use query::{Input, Query, Spread, WindowColumns};
pub use relation::{Emit, QueryOptions, Relation, RelationKind};
pub use result::{Change, Emitted, StoredResult};
pub use scan::StreamRow;
pub use state::{MemoryState, RESULTS, State, StateError, Visit};
pub use task::Task;
pub use watermark::{EventTimes, Watermarks};
