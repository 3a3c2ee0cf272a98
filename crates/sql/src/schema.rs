//! Columns as Arrow sees them, both ways.
//!
//! Every [`ColumnType`] has one Arrow type, its canonical one; all batches between
//! steps hold canonical arrays only. A `json` column is text with a mark in its
//! field. Timestamps are microseconds in UTC without a zone, so that they compare
//! with what SQL calls `TIMESTAMP`.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use courant_model::{Column, ColumnType, Columns};

/// Columns that every record has beside those of its document.
pub(crate) const METADATA_NAMES: [&str; 5] =
    ["_key", "_topic", "_partition", "_offset", "_timestamp"];

const TYPE_MARK: &str = "courant.type";
const JSON: &str = "json";

/// Arrow types of [`METADATA_NAMES`], in their order.
pub(crate) fn metadata_types() -> [DataType; 5] {
    [DataType::Utf8, DataType::Utf8, DataType::Int32, DataType::Int64, timestamp_type()]
}

pub(crate) const fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The fields of the columns, in order.
pub(crate) fn fields_of(columns: &Columns) -> Vec<FieldRef> {
    columns.iter().map(|column| Arc::new(field_of(&column.name, &column.column_type))).collect()
}

/// The canonical field of a column.
pub(crate) fn field_of(name: &str, column_type: &ColumnType) -> Field {
    let field = Field::new(name, arrow_type(column_type), true);
    match column_type {
        ColumnType::Json => {
            field.with_metadata(HashMap::from([(TYPE_MARK.to_owned(), JSON.to_owned())]))
        }
        _ => field,
    }
}

/// The canonical Arrow type of a column type.
pub(crate) fn arrow_type(column_type: &ColumnType) -> DataType {
    match column_type {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int32 => DataType::Int32,
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::Decimal { precision, scale } => {
            DataType::Decimal128(*precision, i8::try_from(*scale).expect("a scale is at most 38"))
        }
        ColumnType::String | ColumnType::Json => DataType::Utf8,
        ColumnType::Bytes => DataType::Binary,
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => timestamp_type(),
        ColumnType::List(item) => DataType::List(item_field(item)),
        ColumnType::Struct(fields) => DataType::Struct(struct_fields(fields)),
    }
}

/// The field of a list's items.
pub(crate) fn item_field(item: &ColumnType) -> FieldRef {
    Arc::new(field_of(Field::LIST_FIELD_DEFAULT_NAME, item))
}

/// The fields of a struct.
pub(crate) fn struct_fields(fields: &[Column]) -> Fields {
    fields.iter().map(|field| field_of(&field.name, &field.column_type)).collect()
}

/// The column type that a result's field becomes, or `None` for types that have no
/// JSON form (intervals, durations).
///
/// The mark of `json` counts only in a `verbatim` result, one that no function has
/// touched: functions may carry the mark on to text that is no JSON.
pub(crate) fn column_type_of(field: &Field, verbatim: bool) -> Option<ColumnType> {
    let of = |field: &FieldRef| column_type_of(field, verbatim);
    Some(match field.data_type() {
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            ColumnType::Int32
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ColumnType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => ColumnType::Float64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal_type(*precision, *scale),
        DataType::Utf8 if verbatim && is_json(field) => ColumnType::Json,
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Null
        | DataType::Time32(_)
        | DataType::Time64(_) => ColumnType::String,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => ColumnType::Bytes,
        DataType::Date32 | DataType::Date64 => ColumnType::Date,
        DataType::Timestamp(_, _) => ColumnType::Timestamp,
        DataType::Map(_, _) => ColumnType::Json,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => ColumnType::List(Box::new(of(item)?)),
        DataType::Struct(fields) if !fields.is_empty() => ColumnType::Struct(
            fields
                .iter()
                .map(|field| Some(Column::new(field.name(), of(field)?)))
                .collect::<Option<_>>()?,
        ),
        DataType::Dictionary(_, value) => {
            column_type_of(&Field::new("", (**value).clone(), true), verbatim)?
        }
        _ => return None,
    })
}

fn is_json(field: &Field) -> bool {
    field.metadata().get(TYPE_MARK).is_some_and(|mark| mark == JSON)
}

/// Arrow allows scales that JSON's columns do not; the nearest that holds the values.
fn decimal_type(precision: u8, scale: i8) -> ColumnType {
    let extra = if scale < 0 { scale.unsigned_abs() } else { 0 };
    let precision = precision.saturating_add(extra).clamp(1, 38);
    ColumnType::Decimal { precision, scale: scale.max(0).unsigned_abs().min(precision) }
}
