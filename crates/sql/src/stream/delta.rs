//! What flows between operators: rows as columns, and what is known about each of them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, UInt64Array},
    compute::{concat, take},
    datatypes::SchemaRef,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use courant_model::Origin;

/// Rows that came and rows that went, in order.
#[derive(Debug, Clone)]
pub(super) struct Delta {
    /// As long as `facts`, of the types that the operator's schema says.
    pub(super) columns: Vec<ArrayRef>,
    pub(super) facts: Vec<Fact>,
}

/// What is known about a row beside its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fact {
    /// The input row that led to it last.
    pub(super) row: usize,
    /// The row went instead of coming.
    pub(super) gone: bool,
    /// Event time, in microseconds: the largest that contributed.
    pub(super) time: i64,
    /// The oldest origin that contributed.
    pub(super) origin: Option<Origin>,
    /// The watermark at the input row; [`i64::MIN`]: the row is late for nothing.
    pub(super) watermark: i64,
}

impl Fact {
    /// Takes in what is known about another contributor, which came later.
    pub(super) fn absorb(&mut self, later: &Self) {
        self.row = later.row;
        self.watermark = later.watermark;
        self.time = self.time.max(later.time);
        self.origin = oldest(self.origin, later.origin);
    }
}

impl Delta {
    /// No rows; nobody looks at the columns of those.
    pub(super) const fn nothing() -> Self {
        Self { columns: Vec::new(), facts: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The columns as a table of the schema, which has one field for each of them.
    pub(super) fn table(&self, schema: &SchemaRef) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(self.facts.len()));
        RecordBatch::try_new_with_options(Arc::clone(schema), self.columns.clone(), &options)
            .expect("an operator's rows have the columns of its schema")
    }

    /// The rows at the positions.
    pub(super) fn rows(&self, chosen: &[usize]) -> Self {
        let picked = positions(chosen.iter().copied());
        Self {
            columns: self.columns.iter().map(|column| pick(column, &picked)).collect(),
            facts: chosen.iter().map(|position| self.facts[*position]).collect(),
        }
    }

    /// Puts the rows of another delta behind these.
    pub(super) fn append(&mut self, later: Self) {
        if later.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = later;
            return;
        }
        for (column, more) in self.columns.iter_mut().zip(&later.columns) {
            *column = concat(&[column, more]).expect("both have the operator's columns");
        }
        self.facts.extend(later.facts);
    }
}

/// The rows at the positions.
pub(super) fn pick(array: &ArrayRef, positions: &UInt64Array) -> ArrayRef {
    take(array, positions, None).expect("positions lie in the array")
}

/// Positions as the kernels take them.
pub(super) fn positions(positions: impl IntoIterator<Item = usize>) -> UInt64Array {
    positions.into_iter().map(|position| position as u64).collect()
}

/// The older of two origins, of which none may be known.
pub(super) fn oldest(one: Option<Origin>, other: Option<Origin>) -> Option<Origin> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
