//! UNION ALL: the rows of several inputs, one after the other.

use super::{
    delta::Delta,
    operator::{Operator, OperatorInfo, Run},
    state::StateError,
};

/// Passes the rows of every input on.
#[derive(Debug)]
pub(super) struct Union {
    pub(super) id: usize,
    pub(super) inputs: Vec<usize>,
    /// Columns of the result; inputs may have more behind.
    pub(super) columns: usize,
}

impl Operator for Union {
    fn process(&self, _: usize, mut delta: Delta, _: &mut Run<'_>) -> Result<Delta, StateError> {
        delta.columns.truncate(self.columns);
        Ok(delta)
    }

    fn info(&self) -> OperatorInfo {
        OperatorInfo {
            id: self.id,
            inputs: self.inputs.clone(),
            name: "union",
            words: "rows of all inputs".into(),
            tables: Vec::new(),
            cost: "constant",
        }
    }
}
