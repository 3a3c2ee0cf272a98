//! JSON record values into columns, once, row by row, in one pass over the text.
//!
//! The parser drives typed builders directly; no tree is built in between. A record
//! that does not fit leaves no trace: its half-written row is cut off again, and the
//! reason names the field, what was expected and what was found. The invariant: all
//! builders hold equally many rows between two records.
//!
//! Rules: missing and null are null; unknown fields are ignored (or refused, when
//! strict); of a repeated key the last counts; integers are written as integers and
//! fit; decimals are exact.

mod scalars;
mod slots;
#[cfg(test)]
mod tests;
mod visit;

use std::sync::Arc;

use arrow::array::ArrayRef;
use courant_model::Columns;
use serde::Deserializer as _;

use crate::{
    batch::{DecodedBatch, Output, Rejection, RowInput, metadata_of},
    decode::{
        slots::Fields,
        visit::{Fault, RowVisitor},
    },
};

/// Reads records of known columns. Cheap to clone; used by reference.
#[derive(Debug, Clone)]
pub struct Decoder {
    columns: Arc<Columns>,
    strict: bool,
}

impl Decoder {
    /// Builds a decoder that ignores fields it has no column for.
    pub fn new(columns: &Columns) -> Self {
        Self::of(Arc::new(columns.clone()))
    }

    pub(crate) const fn of(columns: Arc<Columns>) -> Self {
        Self { columns, strict: false }
    }

    /// Makes the decoder refuse records with fields it has no column for.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Reads the rows; those that do not fit are rejected, the others go on.
    ///
    /// # Panics
    /// When the values together exceed 2 GiB; pipelines take far less at a time.
    pub fn decode(&self, rows: &[RowInput<'_>]) -> Output {
        let (values, kept, rejected) = self.values(rows);
        let metadata = metadata_of(kept.iter().map(|row| &rows[*row]));
        let columns = Arc::clone(&self.columns);
        Output { batch: DecodedBatch { columns, values, metadata, rows: kept.into() }, rejected }
    }

    /// The columns of the rows that fit, which rows those are, and the others.
    pub(crate) fn values(
        &self,
        rows: &[RowInput<'_>],
    ) -> (Vec<ArrayRef>, Vec<usize>, Vec<Rejection>) {
        let mut fields = Fields::new(self.columns.iter(), self.strict, rows.len());
        let (mut kept, mut rejected) = (Vec::with_capacity(rows.len()), Vec::new());
        for (row, input) in rows.iter().enumerate() {
            match decode_row(&mut fields, kept.len(), input.value) {
                Ok(()) => kept.push(row),
                Err(reason) => {
                    fields.truncate(kept.len());
                    rejected.push(Rejection { row, reason });
                }
            }
        }
        (fields.finish(), kept, rejected)
    }
}

fn decode_row(fields: &mut Fields, row: usize, value: Option<&[u8]>) -> Result<(), String> {
    let Some(value) = value else {
        return Err("the record has no value (a tombstone); a JSON object is expected".into());
    };
    if let Some(found) = not_an_object(value) {
        return Err(format!("the value is not a JSON object; found {found}"));
    }
    let mut fault = Fault::default();
    let mut parser = serde_json::Deserializer::from_slice(value);
    (&mut parser)
        .deserialize_map(RowVisitor { fields, row, fault: &mut fault })
        .and_then(|()| parser.end())
        .map_err(|error| fault.tell(&error))
}

fn not_an_object(value: &[u8]) -> Option<&'static str> {
    let first = value.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    match first {
        Some(b'{') => None,
        None => Some("nothing"),
        Some(b'[') => Some("an array"),
        Some(b'"') => Some("a string"),
        Some(b'-' | b'0'..=b'9') => Some("a number"),
        Some(b't' | b'f' | b'n') => Some("a literal"),
        Some(_) => Some("text that is no JSON"),
    }
}
