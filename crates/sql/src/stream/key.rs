//! Keys whose bytes are in the order of their values.
//!
//! One column after the other, each as one byte (0: null, 1: a value follows) and the value:
//! numbers big endian with the sign turned over, texts and bytes with 0 written as `00 FF`
//! and `00 00` at the end, lists as `02` before each item and `00` at the end, structs field
//! by field. So null comes first, a shorter text before a longer one, and the first columns
//! of a key are a prefix of its bytes.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{
        Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
    },
};
use courant_model::ColumnType;

const NULL: u8 = 0;
const VALUE: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 0;

/// Writes the values of one canonical array.
pub(super) struct KeyWriter<'a> {
    column_type: &'a ColumnType,
    array: &'a ArrayRef,
    /// Of a list its items, of a struct its fields.
    children: Vec<KeyWriter<'a>>,
}

impl<'a> KeyWriter<'a> {
    /// Builds the writer of a canonical array of the type.
    pub(super) fn new(column_type: &'a ColumnType, array: &'a ArrayRef) -> Self {
        let children = match column_type {
            ColumnType::List(item) => vec![Self::new(item, array.as_list::<i32>().values())],
            ColumnType::Struct(fields) => fields
                .iter()
                .zip(array.as_struct().columns())
                .map(|(field, child)| Self::new(&field.column_type, child))
                .collect(),
            _ => Vec::new(),
        };
        Self { column_type, array, children }
    }

    /// Appends the value of a row.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            return out.push(NULL);
        }
        out.push(VALUE);
        match self.column_type {
            ColumnType::Boolean => out.push(u8::from(self.array.as_boolean().value(row))),
            ColumnType::Int32 => write_i32(self.array.as_primitive::<Int32Type>().value(row), out),
            ColumnType::Date => write_i32(self.array.as_primitive::<Date32Type>().value(row), out),
            ColumnType::Int64 => write_i64(self.array.as_primitive::<Int64Type>().value(row), out),
            ColumnType::Timestamp => {
                write_i64(self.array.as_primitive::<TimestampMicrosecondType>().value(row), out);
            }
            ColumnType::Float64 => {
                write_f64(self.array.as_primitive::<Float64Type>().value(row), out);
            }
            ColumnType::Decimal { .. } => {
                let value = self.array.as_primitive::<Decimal128Type>().value(row);
                out.extend_from_slice(&(value ^ i128::MIN).to_be_bytes());
            }
            ColumnType::String | ColumnType::Json => {
                write_bytes(self.array.as_string::<i32>().value(row).as_bytes(), out);
            }
            ColumnType::Bytes => write_bytes(self.array.as_binary::<i32>().value(row), out),
            ColumnType::List(_) => {
                let offsets = self.array.as_list::<i32>().value_offsets();
                for item in offsets[row]..offsets[row + 1] {
                    out.push(ITEM);
                    self.children[0].write(item as usize, out);
                }
                out.push(END);
            }
            ColumnType::Struct(_) => {
                self.children.iter().for_each(|child| child.write(row, out));
            }
        }
    }
}

/// Appends a number so that bytes are in its order.
pub(super) fn write_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value ^ i64::MIN).to_be_bytes());
}

/// Reads what [`write_i64`] has written.
pub(super) fn read_i64(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.first_chunk()?) ^ i64::MIN)
}

fn write_i32(value: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value ^ i32::MIN).to_be_bytes());
}

/// Both zeros are one value; canonical arrays hold no NaN.
fn write_f64(value: f64, out: &mut Vec<u8>) {
    let bits = (value + 0.0).to_bits();
    let negative = bits >> 63 == 1;
    let ordered = if negative { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&ordered.to_be_bytes());
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}
