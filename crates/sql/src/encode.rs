//! Writes rows as JSON, the counterpart of the decoder.
//!
//! Integers stay integers, decimals keep all their digits as JSON numbers, floats
//! have the shortest text that reads back equal, timestamps are RFC 3339 in UTC,
//! bytes are base64, `json` columns are copied verbatim, null is written. The arrays
//! are canonical and their values representable; `conform` has seen to that.

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
        Float64Array, GenericListArray, Int32Array, Int64Array, MapArray, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use courant_model::{Column, ColumnType, Columns};
use serde::Serialize;

use crate::civil;

/// Writes one array's values as JSON.
pub(crate) enum Writer<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, usize),
    String(&'a StringArray),
    Json(&'a StringArray),
    Bytes(&'a BinaryArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    List(&'a GenericListArray<i32>, Box<Self>),
    Struct(&'a StructArray, Vec<Field<'a>>),
}

/// A writer behind its name, which is quoted and has its colon.
pub(crate) struct Field<'a> {
    name: Vec<u8>,
    writer: Writer<'a>,
}

/// Writes every row as an object; all of them share one buffer.
pub(crate) fn objects(columns: &Columns, values: &[ArrayRef], rows: usize) -> Vec<Bytes> {
    let fields = fields_of(columns.iter(), values);
    let mut out = Vec::with_capacity(rows * 32 * values.len().max(1));
    let mut ends = Vec::with_capacity(rows);
    for row in 0..rows {
        write_object(&fields, row, &mut out);
        ends.push(out.len());
    }
    let buffer = Bytes::from(out);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends.iter()).map(|(start, end)| buffer.slice(start..*end)).collect()
}

/// Writes every row of a map as an object; keys become text.
///
/// The caller has made keys and values canonical: `types` tells what they are.
pub(crate) fn map_texts(map: &MapArray, types: (&ColumnType, &ColumnType)) -> StringArray {
    let keys = Writer::new(types.0, map.keys());
    let values = Writer::new(types.1, map.values());
    (0..map.len())
        .map(|row| {
            let range = map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
            map.is_valid(row).then(|| map_text(&keys, &values, range))
        })
        .collect()
}

impl<'a> Writer<'a> {
    /// Builds the writer of a canonical array of the type.
    pub(crate) fn new(column_type: &ColumnType, array: &'a ArrayRef) -> Self {
        if *array.data_type() == DataType::Null {
            return Self::Null;
        }
        match column_type {
            ColumnType::Boolean => Self::Boolean(array.as_boolean()),
            ColumnType::Int32 => Self::Int32(array.as_primitive::<Int32Type>()),
            ColumnType::Int64 => Self::Int64(array.as_primitive::<Int64Type>()),
            ColumnType::Float64 => Self::Float64(array.as_primitive::<Float64Type>()),
            ColumnType::Decimal { scale, .. } => {
                Self::Decimal(array.as_primitive::<Decimal128Type>(), usize::from(*scale))
            }
            ColumnType::String => Self::String(array.as_string()),
            ColumnType::Json => Self::Json(array.as_string()),
            ColumnType::Bytes => Self::Bytes(array.as_binary()),
            ColumnType::Date => Self::Date(array.as_primitive::<Date32Type>()),
            ColumnType::Timestamp => {
                Self::Timestamp(array.as_primitive::<TimestampMicrosecondType>())
            }
            ColumnType::List(item) => {
                let list = array.as_list::<i32>();
                Self::List(list, Box::new(Self::new(item, list.values())))
            }
            ColumnType::Struct(fields) => {
                let array = array.as_struct();
                Self::Struct(array, fields_of(fields.iter(), array.columns()))
            }
        }
    }

    /// Writes the value of a row.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Boolean(array) => write_json(&array.value(row), out),
            Self::Int32(array) => write_json(&array.value(row), out),
            Self::Int64(array) => write_json(&array.value(row), out),
            Self::Float64(array) => write_json(&array.value(row), out),
            Self::Decimal(array, scale) => write_decimal(array.value(row), *scale, out),
            Self::String(array) => write_json(array.value(row), out),
            Self::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Bytes(array) => write_json(&BASE64.encode(array.value(row)), out),
            Self::Date(array) => quoted(out, |out| civil::write_day(array.value(row), out)),
            Self::Timestamp(array) => {
                quoted(out, |out| civil::write_instant(array.value(row), out));
            }
            Self::List(array, items) => {
                let range =
                    array.value_offsets()[row] as usize..array.value_offsets()[row + 1] as usize;
                out.push(b'[');
                for item in range.clone() {
                    if item > range.start {
                        out.push(b',');
                    }
                    items.write(item, out);
                }
                out.push(b']');
            }
            Self::Struct(_, fields) => write_object(fields, row, out),
        }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Boolean(array) => array.is_null(row),
            Self::Int32(array) => array.is_null(row),
            Self::Int64(array) => array.is_null(row),
            Self::Float64(array) => array.is_null(row),
            Self::Decimal(array, _) => array.is_null(row),
            Self::String(array) | Self::Json(array) => array.is_null(row),
            Self::Bytes(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
            Self::List(array, _) => array.is_null(row),
            Self::Struct(array, _) => array.is_null(row),
        }
    }
}

fn fields_of<'a, 'c>(
    columns: impl Iterator<Item = &'c Column>,
    values: &'a [ArrayRef],
) -> Vec<Field<'a>> {
    columns
        .zip(values)
        .map(|(column, array)| {
            let mut name = Vec::new();
            write_json(&column.name, &mut name);
            name.push(b':');
            Field { name, writer: Writer::new(&column.column_type, array) }
        })
        .collect()
}

fn write_object(fields: &[Field<'_>], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&field.name);
        field.writer.write(row, out);
    }
    out.push(b'}');
}

fn map_text(keys: &Writer<'_>, values: &Writer<'_>, range: std::ops::Range<usize>) -> String {
    let (mut out, mut key) = (vec![b'{'], Vec::new());
    for entry in range {
        if out.len() > 1 {
            out.push(b',');
        }
        key.clear();
        keys.write(entry, &mut key);
        if key.first() == Some(&b'"') {
            out.extend_from_slice(&key);
        } else {
            write_json(&String::from_utf8_lossy(&key), &mut out);
        }
        out.push(b':');
        values.write(entry, &mut out);
    }
    out.push(b'}');
    String::from_utf8(out).expect("writers write UTF-8")
}

/// Writes all digits of the scale: 150 at scale 2 is `1.50`.
fn write_decimal(value: i128, scale: usize, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing to memory does not fail");
}
