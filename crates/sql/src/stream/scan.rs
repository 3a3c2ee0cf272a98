//! Where rows enter: decoded once for each input, then handed to every place that reads it.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::TimestampMicrosecondType,
};
use courant_model::{Origin, Timestamp};

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
    pub(super) places: Vec<Place>,
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
        let (mut values, mut kept, rejected) = self.decoder.values(&inputs);
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
                Fact { row: *row, gone: false, time, origin: rows[*row].origin, watermark }
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

    fn event_times(
        &self,
        values: &[ArrayRef],
        kept: &[usize],
        rows: &[RowInput<'_>],
    ) -> Vec<Option<i64>> {
        if let Some(column) = self.event_time {
            return values[column].as_primitive::<TimestampMicrosecondType>().iter().collect();
        }
        let of = |row: &usize| {
            let timestamp = rows[*row].timestamp;
            let known = (timestamp != Timestamp::NONE).then_some(timestamp)?;
            civil::instant_of_millis(known.as_millis())
        };
        kept.iter().map(of).collect()
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
