//! Typed builders whose last row can be cut off again.
//!
//! Arrow's own builders only grow; a record that fails half-way would leave its
//! first half behind. These are plain vectors: [`Slot::truncate`] cuts back to any
//! number of rows, nested ones included, and [`Slot::finish`] hands the vectors to
//! Arrow without copying.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array,
        Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    buffer::{Buffer, NullBuffer, OffsetBuffer},
};
use courant_model::{Column, ColumnType};

use crate::schema::{item_field, struct_fields};

/// The builder of one column.
pub(super) struct Slot {
    pub(super) column_type: ColumnType,
    pub(super) required: bool,
    pub(super) values: Values,
    valid: BooleanBufferBuilder,
}

/// Values, one for each row; nulls have a place holder.
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Decimal { values: Vec<i128>, precision: u8, scale: u8 },
    String(Blobs),
    Bytes(Blobs),
    Json(Blobs),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    List { ends: Vec<i32>, items: Box<Slot> },
    Struct(Fields),
}

/// Byte strings end to end.
#[derive(Default)]
pub(super) struct Blobs {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

/// The builders of an object's fields, found by name.
pub(super) struct Fields {
    pub(super) slots: Vec<(String, Slot)>,
    index: HashMap<String, usize>,
    pub(super) strict: bool,
}

impl Slot {
    fn new(column: &Column, strict: bool, capacity: usize) -> Self {
        Self {
            column_type: column.column_type.clone(),
            required: column.required,
            values: Values::new(&column.column_type, strict, capacity),
            valid: BooleanBufferBuilder::new(capacity),
        }
    }

    /// Rows written.
    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    /// Counts the value that was just written.
    pub(super) fn wrote(&mut self) {
        self.valid.append(true);
    }

    pub(super) fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::String(blobs) | Values::Bytes(blobs) | Values::Json(blobs) => blobs.push(b""),
            Values::List { ends, items } => ends.push(offset(items.len())),
            Values::Struct(fields) => {
                fields.slots.iter_mut().for_each(|(_, slot)| slot.push_null());
            }
        }
        self.valid.append(false);
    }

    /// Cuts back to the rows, and off whatever a failed row left behind.
    pub(super) fn truncate(&mut self, rows: usize) {
        let truncate_bits = |bits: &mut BooleanBufferBuilder| {
            if bits.len() > rows {
                bits.truncate(rows);
            }
        };
        match &mut self.values {
            Values::Boolean(values) => truncate_bits(values),
            Values::Int32(values) | Values::Date(values) => values.truncate(rows),
            Values::Int64(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::String(blobs) | Values::Bytes(blobs) | Values::Json(blobs) => {
                blobs.truncate(rows);
            }
            Values::List { ends, items } => {
                ends.truncate(rows);
                items.truncate(ends.last().map_or(0, |end| length(*end)));
            }
            Values::Struct(fields) => fields.truncate(rows),
        }
        truncate_bits(&mut self.valid);
    }

    fn finish(mut self) -> ArrayRef {
        let nulls =
            Some(NullBuffer::new(self.valid.finish())).filter(|nulls| nulls.null_count() > 0);
        match self.values {
            Values::Boolean(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int32(values) => Arc::new(Int32Array::new(values.into(), nulls)),
            Values::Int64(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Decimal { values, precision, scale } => {
                let scale = i8::try_from(scale).expect("a scale is at most 38");
                let array = Decimal128Array::new(values.into(), nulls);
                Arc::new(
                    array
                        .with_precision_and_scale(precision, scale)
                        .expect("column types are checked when they are read"),
                )
            }
            Values::String(blobs) | Values::Json(blobs) => {
                let (offsets, bytes) = blobs.finish();
                Arc::new(StringArray::new(offsets, bytes, nulls))
            }
            Values::Bytes(blobs) => {
                let (offsets, bytes) = blobs.finish();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Values::Date(values) => Arc::new(Date32Array::new(values.into(), nulls)),
            Values::Timestamp(values) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls))
            }
            Values::List { ends, items } => {
                let field = item_field(&items.column_type);
                Arc::new(ListArray::new(field, offsets_of(&ends), items.finish(), nulls))
            }
            Values::Struct(fields) => {
                let ColumnType::Struct(columns) = &self.column_type else {
                    unreachable!("a struct slot is of struct type")
                };
                let arrays = fields.finish();
                Arc::new(StructArray::new(struct_fields(columns), arrays, nulls))
            }
        }
    }
}

impl Values {
    fn new(column_type: &ColumnType, strict: bool, capacity: usize) -> Self {
        match column_type {
            ColumnType::Boolean => Self::Boolean(BooleanBufferBuilder::new(capacity)),
            ColumnType::Int32 => Self::Int32(Vec::with_capacity(capacity)),
            ColumnType::Int64 => Self::Int64(Vec::with_capacity(capacity)),
            ColumnType::Float64 => Self::Float64(Vec::with_capacity(capacity)),
            ColumnType::Decimal { precision, scale } => Self::Decimal {
                values: Vec::with_capacity(capacity),
                precision: *precision,
                scale: *scale,
            },
            ColumnType::String => Self::String(Blobs::default()),
            ColumnType::Bytes => Self::Bytes(Blobs::default()),
            ColumnType::Json => Self::Json(Blobs::default()),
            ColumnType::Date => Self::Date(Vec::with_capacity(capacity)),
            ColumnType::Timestamp => Self::Timestamp(Vec::with_capacity(capacity)),
            ColumnType::List(item) => {
                let item = Column::new("", (**item).clone());
                Self::List { ends: Vec::new(), items: Box::new(Slot::new(&item, strict, capacity)) }
            }
            ColumnType::Struct(fields) => {
                Self::Struct(Fields::new(fields.iter(), strict, capacity))
            }
        }
    }
}

impl Blobs {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(offset(self.bytes.len()));
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |end| length(*end)));
    }

    fn finish(self) -> (OffsetBuffer<i32>, Buffer) {
        (offsets_of(&self.ends), Buffer::from_vec(self.bytes))
    }
}

impl Fields {
    pub(super) fn new<'c>(
        columns: impl Iterator<Item = &'c Column>,
        strict: bool,
        capacity: usize,
    ) -> Self {
        let slots: Vec<_> = columns
            .map(|column| (column.name.clone(), Slot::new(column, strict, capacity)))
            .collect();
        let index = slots.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { slots, index, strict }
    }

    /// The field's index; `guess` is tried first, for records keep their order.
    pub(super) fn find(&self, name: &str, guess: usize) -> Option<usize> {
        match self.slots.get(guess) {
            Some((expected, _)) if expected == name => Some(guess),
            _ => self.index.get(name).copied(),
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.slots.iter_mut().for_each(|(_, slot)| slot.truncate(rows));
    }

    pub(super) fn finish(self) -> Vec<ArrayRef> {
        self.slots.into_iter().map(|(_, slot)| slot.finish()).collect()
    }
}

pub(super) fn offset(length: usize) -> i32 {
    i32::try_from(length).expect("a batch holds less than 2 GiB")
}

fn length(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets are never negative")
}

fn offsets_of(ends: &[i32]) -> OffsetBuffer<i32> {
    let offsets: Vec<i32> = std::iter::once(0).chain(ends.iter().copied()).collect();
    OffsetBuffer::new(offsets.into())
}
