//! Where rows enter: decoded once for each input, then handed to every place that reads it.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::concat,
    datatypes::TimestampMicrosecondType,
};
use courant_model::{Column, ColumnType, Origin, Timestamp};

use super::{
    delta::{Delta, Fact, pick, positions},
    operator::{Faults, Operator, OperatorInfo, Run},
    state::StateError,
    watermark::Watermarks,
};
use crate::{
    batch::{Rejection, RowInput, metadata_of},
    civil,
    decode::Decoder,
};

/// One record of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRow<'a> {
    pub row: RowInput<'a>,
    /// When the change was committed at its source, if it is known.
    pub origin: Option<Origin>,
}

/// How the rows of one input are read.
#[derive(Debug)]
pub(super) struct Source {
    /// Of the columns that the query uses.
    pub(super) decoder: Decoder,
    /// Place of the event time among those columns; `None`: the record's timestamp.
    pub(super) event_time: Option<usize>,
    /// The relation is a table: a record without a value deletes a row.
    pub(super) tombstones: Option<Tombstones>,
    pub(super) places: Vec<Place>,
}

/// How records without a value are read: what they hold is in their key.
#[derive(Debug)]
pub(super) struct Tombstones {
    /// Of the same columns, none of them required.
    pub(super) decoder: Decoder,
    /// The columns that identify a row; none: the record's own key does.
    pub(super) key: Vec<Column>,
}

/// A place in the query that reads an input.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) columns: Vec<Origins>,
}

/// Where a column of a scan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origins {
    /// A decoded column.
    Value(usize),
    /// A column of the record itself.
    Metadata(usize),
}

/// Rows that were read, and what their largest event time is.
pub(super) struct Read {
    values: Vec<ArrayRef>,
    metadata: Vec<ArrayRef>,
    facts: Vec<Fact>,
    pub(super) event_time_max: Option<i64>,
}

impl Source {
    /// Decodes the rows, and tells their event times to the clock.
    pub(super) fn read(
        &self,
        input: usize,
        rows: &[StreamRow<'_>],
        clock: &mut dyn Watermarks,
        faults: &mut Faults,
    ) -> Read {
        let inputs: Vec<RowInput<'_>> = rows.iter().map(|row| row.row).collect();
        let (mut values, mut kept, rejected) = match &self.tombstones {
            Some(tombstones) if inputs.iter().any(|row| row.value.is_none()) => {
                self.values_and_tombstones(&inputs, tombstones)
            }
            _ => self.decoder.values(&inputs),
        };
        faults.rejected.extend(rejected);
        let times = self.event_times(&values, &kept, &inputs);
        if times.iter().any(Option::is_none) {
            let timed = self.without_untimed(&times, &kept, faults);
            let picked = positions(timed.iter().copied());
            values = values.iter().map(|array| pick(array, &picked)).collect();
            kept = timed.iter().map(|position| kept[*position]).collect();
        }
        let facts = kept.iter().zip(times.into_iter().flatten());
        let facts: Vec<Fact> = facts
            .map(|(row, time)| {
                let watermark = clock.observe(input, time);
                let gone = inputs[*row].value.is_none();
                Fact { row: *row, gone, time, origin: rows[*row].origin, watermark }
            })
            .collect();
        let needs = |place: &Place| {
            place.columns.iter().any(|column| matches!(column, Origins::Metadata(_)))
        };
        let metadata = match self.places.iter().any(needs) {
            true => metadata_of(kept.iter().map(|row| &inputs[*row])),
            false => Vec::new(),
        };
        let event_time_max = facts.iter().map(|fact| fact.time).max();
        Read { values, metadata, facts, event_time_max }
    }

    /// Decodes rows of which some have no value; in the order of the input.
    fn values_and_tombstones(
        &self,
        rows: &[RowInput<'_>],
        tombstones: &Tombstones,
    ) -> (Vec<ArrayRef>, Vec<usize>, Vec<Rejection>) {
        let documents: Vec<_> = rows
            .iter()
            .map(|row| row.value.is_none().then(|| tombstones.document(row.key)))
            .collect();
        let of = |gone: bool| -> Vec<usize> {
            (0..rows.len()).filter(|row| documents[*row].is_some() == gone).collect()
        };
        let (there, gone) = (of(false), of(true));
        let decode = |decoder: &Decoder, which: &[usize]| {
            let inputs: Vec<_> = which
                .iter()
                .map(|row| RowInput {
                    value: documents[*row].as_deref().or(rows[*row].value),
                    ..rows[*row]
                })
                .collect();
            let (values, kept, mut rejected) = decoder.values(&inputs);
            rejected.iter_mut().for_each(|rejection| rejection.row = which[rejection.row]);
            (values, kept.into_iter().map(|row| which[row]).collect::<Vec<_>>(), rejected)
        };
        let (values, mut kept, mut rejected) = decode(&self.decoder, &there);
        let (gone_values, gone_kept, gone_rejected) = decode(&tombstones.decoder, &gone);
        kept.extend(gone_kept);
        rejected.extend(gone_rejected);
        let mut order: Vec<usize> = (0..kept.len()).collect();
        order.sort_unstable_by_key(|position| kept[*position]);
        let picked = positions(order.iter().copied());
        let values = values.iter().zip(&gone_values).map(|(there, gone)| {
            let all = concat(&[there, gone]).expect("both are of the column's type");
            pick(&all, &picked)
        });
        (values.collect(), order.iter().map(|position| kept[*position]).collect(), rejected)
    }

    fn event_times(
        &self,
        values: &[ArrayRef],
        kept: &[usize],
        rows: &[RowInput<'_>],
    ) -> Vec<Option<i64>> {
        let column =
            self.event_time.map(|column| values[column].as_primitive::<TimestampMicrosecondType>());
        let of = |(position, row): (usize, &usize)| {
            // A record without a value has its timestamp only.
            if let Some(column) = column.filter(|_| rows[*row].value.is_some()) {
                return column.is_valid(position).then(|| column.value(position));
            }
            let timestamp = rows[*row].timestamp;
            let known = (timestamp != Timestamp::NONE).then_some(timestamp)?;
            civil::instant_of_millis(known.as_millis())
        };
        kept.iter().enumerate().map(of).collect()
    }

    /// Positions of rows that have an event time; the others are set aside.
    fn without_untimed(
        &self,
        times: &[Option<i64>],
        kept: &[usize],
        faults: &mut Faults,
    ) -> Vec<usize> {
        let (timed, untimed): (Vec<_>, Vec<_>) =
            (0..times.len()).partition(|position| times[*position].is_some());
        let reason =
            match self.event_time.and_then(|column| self.decoder.columns().iter().nth(column)) {
                Some(column) => format!("the event time, column {:?}, is null", column.name),
                None => "the record has no timestamp, which is its event time".to_owned(),
            };
        let rejections = untimed
            .into_iter()
            .map(|position| Rejection { row: kept[position], reason: reason.clone() });
        faults.rejected.extend(rejections);
        timed
    }
}

impl Tombstones {
    /// What a record without a value says of its row, from its key: a JSON object of the key
    /// columns, or the only one of them as text.
    fn document(&self, key: Option<&[u8]>) -> Vec<u8> {
        let key = key.unwrap_or_default();
        match self.key.as_slice() {
            [] => b"{}".to_vec(),
            _ if key.first() == Some(&b'{') => key.to_vec(),
            [column, ..] => {
                let text = String::from_utf8_lossy(key);
                let is_text = !matches!(
                    column.column_type,
                    ColumnType::Boolean
                        | ColumnType::Int32
                        | ColumnType::Int64
                        | ColumnType::Float64
                        | ColumnType::Decimal { .. }
                );
                let name = serde_json::Value::from(column.name.as_str());
                let value =
                    if is_text { serde_json::Value::from(text).to_string() } else { text.into() };
                format!("{{{name}:{value}}}").into_bytes()
            }
        }
    }
}

impl Read {
    /// The rows as one of the places reads them.
    pub(super) fn at(&self, place: &Place) -> Delta {
        let column = |origin: &Origins| match origin {
            Origins::Value(index) => Arc::clone(&self.values[*index]),
            Origins::Metadata(index) => Arc::clone(&self.metadata[*index]),
        };
        Delta { columns: place.columns.iter().map(column).collect(), facts: self.facts.clone() }
    }
}

/// The rows of a stream, as they come.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) id: usize,
    pub(super) words: String,
}

impl Operator for Scan {
    fn process(&self, _: usize, delta: Delta, _: &mut Run<'_>) -> Result<Delta, StateError> {
        Ok(delta)
    }

    fn info(&self) -> OperatorInfo {
        OperatorInfo {
            id: self.id,
            inputs: Vec::new(),
            name: "scan",
            words: self.words.clone(),
            tables: Vec::new(),
            cost: "decodes the columns that are used",
        }
    }
}
