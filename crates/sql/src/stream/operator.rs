//! What an operator is: rows in, rows out, all memory in the state.
//!
//! A new operator, a join say, is one more file with one more implementation, and a place in
//! `plan/translate.rs` that builds it. Its rules: it keeps nothing of a row outside the state
//! but what it can find there again ([`Memo`]); it gives out at once what a batch changed,
//! and what time closes from [`Operator::close`]; it judges lateness by the watermark of each
//! row, never by the end of a batch.

use std::fmt;

use super::{
    delta::{Delta, Fact},
    state::{State, StateError},
};
use crate::batch::Rejection;

/// One operator of a query, shared by its tasks.
pub(super) trait Operator: fmt::Debug + Send + Sync {
    /// Takes rows of one of its inputs and gives out what they change.
    fn process(&self, side: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError>;

    /// Gives out what the watermark closes, a bounded piece at a time; `None`: nothing is
    /// left that it closes.
    fn close(&self, watermark: i64, run: &mut Run<'_>) -> Result<Option<Delta>, StateError> {
        let _ = (watermark, run);
        Ok(None)
    }

    /// What `EXPLAIN` tells.
    fn info(&self) -> OperatorInfo;
}

/// What an operator may touch while it runs.
pub(super) struct Run<'a> {
    pub(super) state: &'a mut dyn State,
    pub(super) memo: &'a mut Memo,
    pub(super) faults: &'a mut Faults,
}

/// What an operator knows of its state without looking.
#[derive(Debug, Clone, Default)]
pub(super) struct Memo {
    /// No window in the state ends before; `None`: unknown.
    pub(super) next_end: Option<i64>,
}

/// Input rows that made no result, in the order of being found.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) late: Vec<usize>,
    pub(super) rejected: Vec<Rejection>,
}

impl Faults {
    /// Sets the rows at the failed positions aside.
    pub(super) fn reject(&mut self, failed: Vec<(usize, String)>, facts: &[Fact]) {
        let rejections = failed
            .into_iter()
            .map(|(position, reason)| Rejection { row: facts[position].row, reason });
        self.rejected.extend(rejections);
    }
}

/// An operator as `EXPLAIN` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorInfo {
    /// Place in the list.
    pub id: usize,
    /// Places of the operators that it reads.
    pub inputs: Vec<usize>,
    /// `scan`, `calculate`, `aggregate` and so on.
    pub name: &'static str,
    /// What it does, in words.
    pub words: String,
    /// Numbers of its tables in the state.
    pub tables: Vec<u16>,
    /// What a row costs.
    pub cost: &'static str,
}
