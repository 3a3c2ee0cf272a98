//! A compiled computation on batches: an optional filter, and results.
//!
//! Evaluation is vectorised, and one bad row fails a whole vector. The batch is then
//! halved, and halved again, until the guilty rows stand alone: those are rejected,
//! the others keep their results. The filter runs first, so that rows it drops
//! cannot fail afterwards.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, TimestampMicrosecondArray, new_empty_array},
    compute::{cast, concat, filter_record_batch},
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use courant_model::ColumnType;
use datafusion_physical_expr::PhysicalExpr;

use crate::{
    batch::{DecodedBatch, Rejection, RunContext},
    civil,
    conform::conform,
    error::plain,
    schema::arrow_type,
};

/// A calculation and where the columns it uses come from.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) inputs: Vec<Input>,
    /// The inputs' fields, in order.
    pub(crate) schema: SchemaRef,
    pub(crate) calculation: Calculation,
}

/// A filter and results over the rows of a table.
#[derive(Debug, Clone)]
pub(crate) struct Calculation {
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) results: Vec<(Arc<dyn PhysicalExpr>, Form)>,
}

/// What an array of results is brought into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// The canonical form of the type, with values that have a JSON form.
    Canonical(ColumnType),
    /// The engine's type as it was planned.
    Planned(DataType),
}

/// Where a column of the program's schema comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// A column of the document.
    Value(usize),
    /// A column of the record itself.
    Metadata(usize),
    /// The run's time.
    Now,
}

/// What a program makes of a batch.
pub(crate) struct Evaluated {
    /// Positions in the batch that have results; `None` when all have.
    pub(crate) kept: Option<Vec<usize>>,
    /// One canonical array for each result, as long as the kept positions.
    pub(crate) arrays: Vec<ArrayRef>,
    /// In the order of the batch; rows as in the batch's input.
    pub(crate) rejected: Vec<Rejection>,
}

/// What a calculation makes of a table.
pub(crate) struct Calculated {
    /// Positions in the table that have results; `None` when all have.
    pub(crate) kept: Option<Vec<usize>>,
    /// One array for each result, as long as the kept positions.
    pub(crate) arrays: Vec<ArrayRef>,
    /// Positions that failed, ascending, and why.
    pub(crate) failed: Vec<(usize, String)>,
}

/// The results of a run of rows that did not fail.
struct Piece {
    start: usize,
    len: usize,
    /// Which rows passed; `None` when all did.
    mask: Option<BooleanArray>,
    arrays: Vec<ArrayRef>,
}

impl Program {
    pub(crate) fn run(&self, batch: &DecodedBatch, context: &RunContext) -> Evaluated {
        let Calculated { kept, arrays, failed } = self.calculation.run(&self.table(batch, context));
        let rejected = failed
            .into_iter()
            .map(|(position, reason)| Rejection { row: batch.rows[position], reason })
            .collect();
        Evaluated { kept, arrays, rejected }
    }

    fn table(&self, batch: &DecodedBatch, context: &RunContext) -> RecordBatch {
        let arrays = self
            .inputs
            .iter()
            .map(|input| match input {
                Input::Value(index) => Arc::clone(&batch.values[*index]),
                Input::Metadata(index) => Arc::clone(&batch.metadata[*index]),
                Input::Now => {
                    let micros = civil::instant_of_millis(context.now.as_millis());
                    let instants = std::iter::repeat_n(micros, batch.len());
                    Arc::new(instants.collect::<TimestampMicrosecondArray>())
                }
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .expect("a batch has the columns that the program was compiled for")
    }
}

impl Calculation {
    pub(crate) fn run(&self, table: &RecordBatch) -> Calculated {
        let (mut pieces, mut failed) = (Vec::new(), Vec::new());
        self.solve(table, 0, &mut pieces, &mut failed);
        let kept = kept_positions(&pieces, table.num_rows());
        Calculated { kept, arrays: self.join(pieces), failed }
    }

    fn solve(
        &self,
        table: &RecordBatch,
        start: usize,
        pieces: &mut Vec<Piece>,
        failed: &mut Vec<(usize, String)>,
    ) {
        let len = table.num_rows();
        match self.attempt(table) {
            Ok((mask, arrays)) => pieces.push(Piece { start, len, mask, arrays }),
            Err(reason) if len <= 1 => failed.extend((len == 1).then_some((start, reason))),
            Err(_) => {
                let half = len / 2;
                self.solve(&table.slice(0, half), start, pieces, failed);
                self.solve(&table.slice(half, len - half), start + half, pieces, failed);
            }
        }
    }

    /// Evaluates all rows at once, or fails at once. A panic within a function is a failure.
    fn attempt(
        &self,
        table: &RecordBatch,
    ) -> Result<(Option<BooleanArray>, Vec<ArrayRef>), String> {
        catch_unwind(AssertUnwindSafe(|| self.evaluate(table)))
            .unwrap_or_else(|_| Err("a function failed on this value".into()))
    }

    fn evaluate(
        &self,
        table: &RecordBatch,
    ) -> Result<(Option<BooleanArray>, Vec<ArrayRef>), String> {
        let mask = self.mask(table)?;
        let filtered;
        let table = match &mask {
            None => table,
            Some(mask) => {
                filtered = filter_record_batch(table, mask).map_err(|error| error.to_string())?;
                &filtered
            }
        };
        let arrays = self
            .results
            .iter()
            .map(|(expression, form)| {
                let value = expression.evaluate(table).map_err(|error| plain(&error))?;
                let array = value.into_array(table.num_rows()).map_err(|error| plain(&error))?;
                form.of(array).map_err(|error| plain(&error.into()))
            })
            .collect::<Result<_, _>>()?;
        Ok((mask, arrays))
    }

    fn join(&self, mut pieces: Vec<Piece>) -> Vec<ArrayRef> {
        if pieces.len() == 1 {
            return pieces.remove(0).arrays;
        }
        let results = self.results.iter().enumerate();
        results
            .map(|(result, (_, form))| {
                let parts: Vec<&dyn Array> =
                    pieces.iter().map(|piece| piece.arrays[result].as_ref()).collect();
                if parts.is_empty() {
                    return new_empty_array(&form.data_type());
                }
                concat(&parts).expect("all parts have the result's type")
            })
            .collect()
    }

    /// The rows that the filter lets pass; `None` when all do.
    fn mask(&self, table: &RecordBatch) -> Result<Option<BooleanArray>, String> {
        let Some(filter) = &self.filter else { return Ok(None) };
        let value = filter.evaluate(table).map_err(|error| plain(&error))?;
        let array = value.into_array(table.num_rows()).map_err(|error| plain(&error))?;
        let Some(mask) = array.as_boolean_opt() else {
            // The only other type that compiles is null, which lets nothing pass.
            return Ok(Some(std::iter::repeat_n(Some(false), array.len()).collect()));
        };
        Ok((mask.true_count() < mask.len()).then(|| mask.clone()))
    }
}

impl Form {
    pub(crate) fn of(&self, array: ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Canonical(column_type) => conform(&array, column_type),
            Self::Planned(data_type) if array.data_type() == data_type => Ok(array),
            Self::Planned(data_type) => cast(&array, data_type),
        }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Canonical(column_type) => arrow_type(column_type),
            Self::Planned(data_type) => data_type.clone(),
        }
    }
}

fn kept_positions(pieces: &[Piece], rows: usize) -> Option<Vec<usize>> {
    if let [Piece { mask: None, len, .. }] = pieces
        && *len == rows
    {
        return None;
    }
    let mut kept = Vec::new();
    for piece in pieces {
        match &piece.mask {
            None => kept.extend(piece.start..piece.start + piece.len),
            Some(mask) => {
                let passed = mask.iter().enumerate().filter(|(_, pass)| *pass == Some(true));
                kept.extend(passed.map(|(row, _)| piece.start + row));
            }
        }
    }
    Some(kept)
}
