//! How a group is kept: its key columns and the states of its aggregates in one value.
//!
//! The value is the age and, behind it, Arrow's row encoding of the columns. The format of rows may change between versions of Arrow, so it
//! is part of the query's fingerprint.

use arrow::{
    array::ArrayRef,
    datatypes::DataType,
    error::ArrowError,
    row::{RowConverter, SortField},
};
use bytes::Bytes;

use super::functions::States;
use crate::stream::age::{AGE_BYTES, Age};

/// Writes and reads the values of groups.
#[derive(Debug)]
pub(in crate::stream) struct GroupRows {
    converter: RowConverter,
    keys: usize,
    /// How many state columns each aggregate has.
    widths: Vec<usize>,
}

/// Groups as they are kept, one row each.
#[derive(Debug, Clone)]
pub(in crate::stream) struct Groups {
    pub(in crate::stream) keys: Vec<ArrayRef>,
    pub(in crate::stream) states: States,
}

impl GroupRows {
    /// Builds it for key columns and state columns of these types.
    ///
    /// # Errors
    /// When a type cannot be kept.
    pub(in crate::stream) fn new(
        keys: &[DataType],
        states: &[Vec<DataType>],
    ) -> Result<Self, ArrowError> {
        let types = keys.iter().chain(states.iter().flatten());
        Ok(Self {
            converter: RowConverter::new(types.cloned().map(SortField::new).collect())?,
            keys: keys.len(),
            widths: states.iter().map(Vec::len).collect(),
        })
    }

    /// Writes the value of every group and hands it, with its place, to `put`.
    pub(in crate::stream) fn write(
        &self,
        groups: &Groups,
        ages: &[Age],
        mut put: impl FnMut(usize, Vec<u8>),
    ) -> Result<(), ArrowError> {
        let columns: Vec<ArrayRef> =
            groups.keys.iter().chain(groups.states.iter().flatten()).cloned().collect();
        let rows = match columns.is_empty() {
            true => None,
            false => Some(self.converter.convert_columns(&columns)?),
        };
        for (place, age) in ages.iter().enumerate() {
            let row = rows.as_ref().map_or(&[][..], |rows| rows.row(place).data());
            put(place, age.before(row));
        }
        Ok(())
    }

    /// Reads values that [`Self::write`] has written.
    pub(in crate::stream) fn read(&self, values: &[Bytes]) -> Result<Groups, ArrowError> {
        let parser = self.converter.parser();
        let rows = values.iter().map(|value| parser.parse(&value[AGE_BYTES..]));
        let mut columns = self.converter.convert_rows(rows)?.into_iter();
        let keys = columns.by_ref().take(self.keys).collect();
        let states =
            self.widths.iter().map(|width| columns.by_ref().take(*width).collect()).collect();
        Ok(Groups { keys, states })
    }
}
