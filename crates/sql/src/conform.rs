//! Makes a result canonical, and refuses what JSON cannot say.
//!
//! Functions answer in whichever Arrow type suits them; between steps and in the
//! encoder only the canonical types of `schema` occur. Values without a JSON form
//! (NaN, infinities, years beyond 9999) are errors here, so that nothing turns into
//! a silent null.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, TimestampMicrosecondArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Date32Type, Field, Float64Type, TimeUnit, TimestampMicrosecondType},
    error::ArrowError,
};
use courant_model::ColumnType;

use crate::{
    civil, encode,
    schema::{arrow_type, column_type_of, item_field, struct_fields},
};

/// Brings the array into the canonical form of the type.
///
/// # Errors
/// When a value does not fit the type or has no JSON form. Which row it is, the
/// caller finds out.
pub(crate) fn conform(array: &ArrayRef, target: &ColumnType) -> Result<ArrayRef, ArrowError> {
    let array = canonical(array, target)?;
    check(&array, target)?;
    Ok(array)
}

fn canonical(array: &ArrayRef, target: &ColumnType) -> Result<ArrayRef, ArrowError> {
    if *array.data_type() == arrow_type(target) {
        return Ok(Arc::clone(array));
    }
    match (target, array.data_type()) {
        (ColumnType::Json, DataType::Map(_, _)) => canonical_map(array.as_map()),
        (ColumnType::Timestamp, DataType::Timestamp(_, zone)) => {
            // The zone is only how the instant would be shown: it is taken off, not applied.
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            let micros = cast(array, &micros)?;
            let micros = micros.as_primitive::<TimestampMicrosecondType>();
            let micros: TimestampMicrosecondArray =
                micros.clone().with_timezone_opt(None::<String>);
            Ok(Arc::new(micros))
        }
        (ColumnType::List(item), source) => canonical_list(array, source, item),
        (ColumnType::Struct(fields), DataType::Struct(_)) => {
            let array = array.as_struct();
            let children = array
                .columns()
                .iter()
                .zip(fields)
                .map(|(child, field)| canonical(child, &field.column_type))
                .collect::<Result<_, _>>()?;
            let nulls = array.nulls().cloned();
            Ok(Arc::new(StructArray::try_new(struct_fields(fields), children, nulls)?))
        }
        (ColumnType::Json, _) => cast(array, &DataType::Utf8),
        _ => cast(array, &arrow_type(target)),
    }
}

fn canonical_list(
    array: &ArrayRef,
    source: &DataType,
    item: &ColumnType,
) -> Result<ArrayRef, ArrowError> {
    let list = match source {
        DataType::List(_) => Arc::clone(array),
        DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => cast(array, &DataType::List(Arc::clone(field)))?,
        _ => return cast(array, &arrow_type(&ColumnType::List(Box::new(item.clone())))),
    };
    let list = list.as_list::<i32>();
    let items = canonical(list.values(), item)?;
    let offsets: OffsetBuffer<i32> = list.offsets().clone();
    let nulls: Option<NullBuffer> = list.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(item_field(item), offsets, items, nulls)?))
}

/// A map becomes the text of an object.
fn canonical_map(map: &MapArray) -> Result<ArrayRef, ArrowError> {
    let side = |array: &ArrayRef| {
        let field = Field::new("", array.data_type().clone(), true);
        let column_type = column_type_of(&field, false).ok_or_else(|| {
            ArrowError::CastError(format!("a map of {} has no JSON form", array.data_type()))
        })?;
        let array = conform(array, &column_type)?;
        Ok::<_, ArrowError>((array, column_type))
    };
    let (keys, key_type) = side(map.keys())?;
    let (values, value_type) = side(map.values())?;
    let entries = StructArray::try_new(
        vec![
            Field::new("key", keys.data_type().clone(), false),
            Field::new("value", values.data_type().clone(), true),
        ]
        .into(),
        vec![keys, values],
        None,
    )?;
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let map =
        MapArray::try_new(field, map.offsets().clone(), entries, map.nulls().cloned(), false)?;
    Ok(Arc::new(encode::map_texts(&map, (&key_type, &value_type))))
}

fn cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Refuses values that have no JSON form.
fn check(array: &ArrayRef, column_type: &ColumnType) -> Result<(), ArrowError> {
    match column_type {
        ColumnType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            match floats.iter().flatten().find(|value| !value.is_finite()) {
                Some(value) => Err(ArrowError::ComputeError(format!(
                    "the result is {value}, which JSON cannot hold"
                ))),
                None => Ok(()),
            }
        }
        ColumnType::Timestamp => {
            let instants = array.as_primitive::<TimestampMicrosecondType>();
            if instants.iter().flatten().all(civil::is_instant) {
                return Ok(());
            }
            Err(ArrowError::ComputeError("the timestamp is outside the years 0 to 9999".into()))
        }
        ColumnType::Date => {
            if array.as_primitive::<Date32Type>().iter().flatten().all(civil::is_day) {
                return Ok(());
            }
            Err(ArrowError::ComputeError("the date is outside the years 0 to 9999".into()))
        }
        ColumnType::List(item) => check(array.as_list::<i32>().values(), item),
        ColumnType::Struct(fields) => {
            let children = array.as_struct().columns();
            children
                .iter()
                .zip(fields)
                .try_for_each(|(child, field)| check(child, &field.column_type))
        }
        _ => Ok(()),
    }
}
