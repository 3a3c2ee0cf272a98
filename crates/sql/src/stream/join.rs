//! JOIN: rows of two inputs that agree in their keys and meet a condition.
//!
//! Two streams join within an interval of event time: each row waits in the state for as long
//! as a row of the other side may still come, and an outer join tells a row that found none
//! when that time is over. A stream joins a table as the table stands when the row comes. Two
//! tables join for as long as both rows are there.
//!
//! Each side has a table in the state: join key and row → age, how often the row is there,
//! and how many rows of the other side it has met. Sides that time closes have a second one,
//! by the instant at which nothing can meet their rows any more.

use std::{ops::ControlFlow, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, UInt64Array, new_empty_array},
    compute::take,
    datatypes::SchemaRef,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use bytes::Bytes;
use courant_model::ColumnType;
use datafusion_common::HashMap;

use super::{
    age::{AGE_BYTES, Age},
    aggregate::rows::{GroupRows, Groups},
    delta::{Delta, Fact, pick, positions},
    key::{KeyWriter, read_i64, write_i64},
    operator::{Operator, OperatorInfo, Run},
    state::StateError,
};
use crate::program::{Calculated, Calculation};

/// Bytes of an instant before a key.
const INSTANT_BYTES: usize = 8;

/// Rows that are let go at once.
const CLOSED_ROWS_MAX: usize = 8_192;

/// A join of two inputs.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) id: usize,
    pub(super) inputs: [usize; 2],
    pub(super) sides: [Side; 2],
    /// The columns of a pair.
    pub(super) schema: SchemaRef,
    /// For each column of a pair its place among the left's columns followed by the right's.
    pub(super) order: Vec<usize>,
    /// Of no result; its filter says which pairs of one key meet.
    pub(super) condition: Calculation,
    pub(super) kind: Kind,
    pub(super) grace: i64,
    pub(super) delay: i64,
    pub(super) words: String,
}

/// One side of a join.
#[derive(Debug)]
pub(super) struct Side {
    /// Its columns.
    pub(super) schema: SchemaRef,
    /// The key's columns in canonical form.
    pub(super) calculation: Calculation,
    pub(super) keys: Vec<ColumnType>,
    pub(super) rows: GroupRows,
    pub(super) table: u16,
    /// The table of rows by the instant at which they are let go.
    pub(super) ends: u16,
    /// Rows that meet none come out alone.
    pub(super) outer: bool,
}

/// What is joined with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Streams whose rows meet within an interval: how much younger than a row of each side
    /// the other one may be, in microseconds.
    Interval { reach: [i64; 2] },
    /// A stream, which is this side, with a table.
    Lookup { stream: usize },
    /// Tables.
    Tables,
}

/// Rows of one side as they come, with their keys.
struct Coming {
    delta: Delta,
    /// Join key; `None`: a part of it is null, which meets nothing.
    keys: Vec<Option<Vec<u8>>>,
    /// The encoded rows.
    rows: Vec<Vec<u8>>,
}

/// Rows of the other side that may meet those that come.
#[derive(Default)]
struct Others {
    entries: Vec<Entry>,
    columns: Vec<ArrayRef>,
}

/// A row in the state.
struct Entry {
    key: Vec<u8>,
    age: Age,
    count: i64,
    met: i64,
    row: Vec<u8>,
}

/// A row of the result: of which rows it is made.
struct Pair {
    coming: Option<usize>,
    other: Option<usize>,
    fact: Fact,
}

impl Operator for Join {
    fn process(&self, side: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        let coming = self.coming(side, delta, run)?;
        if self.kind == (Kind::Lookup { stream: 1 - side }) {
            for row in 0..coming.rows.len() {
                self.remember(side, &coming, row, 0, run)?;
            }
            return Ok(Delta::nothing());
        }
        let (mut others, candidates) = self.others(side, &coming, run)?;
        let met = self.meeting(side, &coming, &others, &candidates, run);
        let mut pairs = Vec::new();
        for (row, met) in met.iter().enumerate() {
            self.pair(side, &coming, row, met, &mut others, &mut pairs);
            if !matches!(self.kind, Kind::Lookup { .. }) {
                let count = met.iter().map(|other| others.entries[*other].count).sum();
                self.remember(side, &coming, row, count, run)?;
            }
        }
        if self.sides[1 - side].outer && !matches!(self.kind, Kind::Lookup { .. }) {
            self.note_met(side, &met, &others, run);
        }
        Ok(self.rows(side, &coming.delta.columns, &others.columns, &pairs))
    }

    fn close(&self, watermark: i64, run: &mut Run<'_>) -> Result<Option<Delta>, StateError> {
        let Kind::Interval { .. } = self.kind else { return Ok(None) };
        let closed = self.closed(watermark);
        if run.memo.next_end.is_some_and(|end| end >= closed) {
            return Ok(None);
        }
        let mut told = Delta::nothing();
        let (mut next, mut any) = (i64::MAX, false);
        for side in 0..2 {
            let (entries, side_next) = self.take_closed(side, closed, run)?;
            any |= !entries.is_empty();
            next = next.min(side_next);
            if self.sides[side].outer {
                told.append(self.alone(side, entries)?);
            }
        }
        run.memo.next_end = Some(next);
        Ok(any.then_some(told))
    }

    fn info(&self) -> OperatorInfo {
        let mut tables = vec![self.sides[0].table, self.sides[1].table];
        if let Kind::Interval { .. } = self.kind {
            tables.extend([self.sides[0].ends, self.sides[1].ends]);
        }
        OperatorInfo {
            id: self.id,
            inputs: self.inputs.to_vec(),
            name: "join",
            words: self.words.clone(),
            tables,
            cost: "a scan of the other side's rows of the same key",
        }
    }
}

impl Join {
    /// The rows with their keys, without those that fail or are late.
    fn coming(&self, side: usize, delta: Delta, run: &mut Run<'_>) -> Result<Coming, StateError> {
        let Side { schema, calculation, keys, rows, .. } = &self.sides[side];
        let Calculated { kept, arrays, failed } = calculation.run(&delta.table(schema));
        run.faults.reject(failed, &delta.facts);
        let delta = match kept {
            None => delta,
            Some(kept) => delta.rows(&kept),
        };
        let (mut timely, late): (Vec<usize>, Vec<usize>) =
            (0..delta.facts.len()).partition(|row| !self.is_late(side, &delta.facts[*row]));
        run.faults.late.extend(late.iter().map(|row| delta.facts[*row].row));
        let writers: Vec<_> =
            keys.iter().zip(&arrays).map(|(of, array)| KeyWriter::new(of, array)).collect();
        let key = |row: usize| {
            let known = arrays.iter().all(|array| array.is_valid(row));
            known.then(|| {
                let mut key = Vec::new();
                writers.iter().for_each(|writer| writer.write(row, &mut key));
                key
            })
        };
        // A row that meets nothing and is not told alone need not be remembered.
        timely.retain(|row| self.sides[side].outer || key(*row).is_some());
        let keys = timely.iter().map(|row| key(*row)).collect();
        let delta = delta.rows(&timely);
        let groups = Groups { keys: delta.columns.clone(), states: Vec::new() };
        let ages: Vec<Age> = delta.facts.iter().map(Age::of).collect();
        let mut encoded = Vec::with_capacity(timely.len());
        rows.write(&groups, &ages, |_, value| encoded.push(value[AGE_BYTES..].to_vec()))
            .map_err(StateError::broken)?;
        Ok(Coming { delta, keys, rows: encoded })
    }

    /// The instant before which rows are let go.
    fn closed(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.delay).saturating_sub(self.grace)
    }

    /// When nothing can meet a row any more.
    fn end(&self, side: usize, time: i64) -> i64 {
        match self.kind {
            Kind::Interval { reach } => time.saturating_add(reach[side]),
            Kind::Lookup { .. } | Kind::Tables => i64::MAX,
        }
    }

    fn is_late(&self, side: usize, fact: &Fact) -> bool {
        self.end(side, fact.time) < self.closed(fact.watermark)
    }

    /// Rows of the other side with the keys of those that come, and which may meet which.
    fn others(
        &self,
        side: usize,
        coming: &Coming,
        run: &mut Run<'_>,
    ) -> Result<(Others, Vec<(usize, usize)>), StateError> {
        let table = self.sides[1 - side].table;
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<&[u8], std::ops::Range<usize>> = HashMap::new();
        let mut candidates = Vec::new();
        for (row, key) in coming.keys.iter().enumerate() {
            let Some(key) = key else { continue };
            if !places.contains_key(key.as_slice()) {
                let start = entries.len();
                scan_key(table, key, run, &mut entries)?;
                places.insert(key, start..entries.len());
            }
            let closed = self.closed(coming.delta.facts[row].watermark);
            let open = places[key.as_slice()]
                .clone()
                .filter(|other| self.end(1 - side, entries[*other].age.time) >= closed);
            candidates.extend(open.map(|other| (row, other)));
        }
        let values: Vec<Bytes> =
            entries.iter().map(|entry| entry.age.before(&entry.row).into()).collect();
        let read = self.sides[1 - side].rows.read(&values).map_err(StateError::broken)?;
        Ok((Others { entries, columns: read.keys }, candidates))
    }

    /// For each row that comes the others that it meets.
    fn meeting(
        &self,
        side: usize,
        coming: &Coming,
        others: &Others,
        candidates: &[(usize, usize)],
        run: &mut Run<'_>,
    ) -> Vec<Vec<usize>> {
        let mut met = vec![Vec::new(); coming.rows.len()];
        let kept = match self.condition.filter.is_some() && !candidates.is_empty() {
            false => None,
            true => {
                let own = positions(candidates.iter().map(|(row, _)| *row));
                let other = positions(candidates.iter().map(|(_, other)| *other));
                let own = coming.delta.columns.iter().map(|array| pick(array, &own)).collect();
                let other = others.columns.iter().map(|array| pick(array, &other)).collect();
                let table = self.table(side, own, other, candidates.len());
                let facts: Vec<Fact> =
                    candidates.iter().map(|(row, _)| coming.delta.facts[*row]).collect();
                let Calculated { kept, failed, .. } = self.condition.run(&table);
                run.faults.reject(failed, &facts);
                kept
            }
        };
        match kept {
            None => candidates.iter().for_each(|(row, other)| met[*row].push(*other)),
            Some(kept) => kept.iter().for_each(|place| {
                let (row, other) = candidates[*place];
                met[row].push(other);
            }),
        }
        met
    }

    fn table(
        &self,
        side: usize,
        own: Vec<ArrayRef>,
        other: Vec<ArrayRef>,
        rows: usize,
    ) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = self.in_order(side, own, other);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .expect("a pair has the columns of both sides")
    }

    /// The columns of pairs.
    fn in_order(&self, side: usize, own: Vec<ArrayRef>, other: Vec<ArrayRef>) -> Vec<ArrayRef> {
        let (mut both, right) = if side == 0 { (own, other) } else { (other, own) };
        both.extend(right);
        self.order.iter().map(|place| Arc::clone(&both[*place])).collect()
    }

    /// What a row that comes or goes makes of the pairs.
    fn pair(
        &self,
        side: usize,
        coming: &Coming,
        row: usize,
        met: &[usize],
        others: &mut Others,
        pairs: &mut Vec<Pair>,
    ) {
        let fact = coming.delta.facts[row];
        let is_told_at_once = !matches!(self.kind, Kind::Interval { .. });
        for place in met {
            let other = &mut others.entries[*place];
            let own = Age::of(&fact);
            // A row of a stream keeps its time, however new what it finds in a table is.
            let both = match self.kind {
                Kind::Lookup { .. } => own,
                Kind::Interval { .. } | Kind::Tables => own.with(other.age),
            };
            let pair = Fact { time: both.time, origin: both.origin, ..fact };
            let alone = |gone: bool| Pair {
                coming: None,
                other: Some(*place),
                fact: Fact { gone, ..pair },
            };
            let padded = self.sides[1 - side].outer && self.kind == Kind::Tables;
            let times = usize::try_from(other.count).unwrap_or(0);
            if !fact.gone && other.met == 0 && padded {
                pairs.extend((0..times).map(|_| alone(true)));
            }
            let told = || Pair { coming: Some(row), other: Some(*place), fact: pair };
            pairs.extend((0..times).map(|_| told()));
            other.met += if fact.gone { -1 } else { 1 };
            if fact.gone && other.met == 0 && padded {
                pairs.extend((0..times).map(|_| alone(false)));
            }
        }
        if met.is_empty() && self.sides[side].outer && is_told_at_once {
            pairs.push(Pair { coming: Some(row), other: None, fact });
        }
    }

    /// Notes a row that came, or forgets one that went.
    fn remember(
        &self,
        side: usize,
        coming: &Coming,
        row: usize,
        met: i64,
        run: &mut Run<'_>,
    ) -> Result<(), StateError> {
        let fact = &coming.delta.facts[row];
        let table = self.sides[side].table;
        let key = state_key(coming.keys[row].as_deref(), &coming.rows[row]);
        let known = run.state.get(table, &key)?.map(|value| entry_of(&value)).transpose()?;
        let (age, count, _) = known.unwrap_or((Age::of(fact), 0, 0));
        let count = if fact.gone { count - 1 } else { count + 1 };
        if count <= 0 {
            run.state.remove(table, &key);
            return Ok(());
        }
        let age = age.with(Age::of(fact));
        run.state.put(table, &key, entry_value(age, count, met));
        if let Kind::Interval { .. } = self.kind {
            let end = self.end(side, age.time);
            run.state.put(self.sides[side].ends, &end_key(end, &key), vec![1]);
            if let Some(next) = &mut run.memo.next_end {
                *next = (*next).min(end);
            }
        }
        Ok(())
    }

    /// Stores how many rows the others have met.
    fn note_met(&self, side: usize, met: &[Vec<usize>], others: &Others, run: &mut Run<'_>) {
        let mut touched: Vec<usize> = met.iter().flatten().copied().collect();
        touched.sort_unstable();
        touched.dedup();
        for other in touched {
            let Entry { key, age, count, met, .. } = &others.entries[other];
            run.state.put(self.sides[1 - side].table, key, entry_value(*age, *count, *met));
        }
    }

    /// The rows of the result.
    fn rows(&self, side: usize, coming: &[ArrayRef], others: &[ArrayRef], pairs: &[Pair]) -> Delta {
        let index = |place: Option<usize>| place.map(|place| place as u64);
        let own: UInt64Array = pairs.iter().map(|pair| index(pair.coming)).collect();
        let other: UInt64Array = pairs.iter().map(|pair| index(pair.other)).collect();
        let of = |arrays: &[ArrayRef], places: &UInt64Array| -> Vec<ArrayRef> {
            let arrays = arrays.iter();
            arrays.map(|array| take(array, places, None).expect("places lie in it")).collect()
        };
        let columns = self.in_order(side, of(coming, &own), of(others, &other));
        Delta { columns, facts: pairs.iter().map(|pair| pair.fact).collect() }
    }

    /// Takes rows that nothing can meet any more out of the state; tells the end of the next.
    fn take_closed(
        &self,
        side: usize,
        closed: i64,
        run: &mut Run<'_>,
    ) -> Result<(Vec<Entry>, i64), StateError> {
        let Side { table, ends, .. } = self.sides[side];
        let mut from = Vec::new();
        write_i64(run.memo.next_end.unwrap_or(i64::MIN), &mut from);
        let (mut over, mut next) = (Vec::new(), i64::MAX);
        run.state.scan(ends, &from, &[u8::MAX; INSTANT_BYTES + 1], &mut |key, _| {
            let end = read_i64(key).unwrap_or(i64::MAX);
            if end >= closed || over.len() == CLOSED_ROWS_MAX {
                next = end;
                return ControlFlow::Break(());
            }
            over.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        let mut entries = Vec::with_capacity(over.len());
        for end in over {
            run.state.remove(ends, &end);
            let key = &end[INSTANT_BYTES..];
            let Some(value) = run.state.get(table, key)? else { continue };
            run.state.remove(table, key);
            let (age, count, met) = entry_of(&value)?;
            let row = row_of(key)?.to_vec();
            entries.push(Entry { key: key.to_vec(), age, count, met, row });
        }
        Ok((entries, next))
    }

    /// Rows that have met none.
    fn alone(&self, side: usize, mut entries: Vec<Entry>) -> Result<Delta, StateError> {
        entries.retain(|entry| entry.met == 0);
        if entries.is_empty() {
            return Ok(Delta::nothing());
        }
        let values: Vec<Bytes> =
            entries.iter().map(|entry| entry.age.before(&entry.row).into()).collect();
        let own = self.sides[side].rows.read(&values).map_err(StateError::broken)?.keys;
        let other: Vec<ArrayRef> = self.sides[1 - side]
            .schema
            .fields()
            .iter()
            .map(|field| new_empty_array(field.data_type()))
            .collect();
        let mut pairs = Vec::new();
        for (place, Entry { age, count, .. }) in entries.iter().enumerate() {
            let fact = Fact {
                row: 0,
                gone: false,
                time: age.time,
                origin: age.origin,
                watermark: i64::MIN,
            };
            pairs.extend((0..*count).map(|_| Pair { coming: Some(place), other: None, fact }));
        }
        Ok(self.rows(side, &own, &other, &pairs))
    }
}

/// The entries of a join key.
fn scan_key(
    table: u16,
    key: &[u8],
    run: &mut Run<'_>,
    entries: &mut Vec<Entry>,
) -> Result<(), StateError> {
    let prefix = state_key(Some(key), &[]);
    let mut to = prefix.clone();
    to.extend_from_slice(&[u8::MAX; 32]);
    let mut broken = None;
    run.state.scan(table, &prefix, &to, &mut |entry, value| match entry_of(value) {
        Ok((age, count, met)) => {
            let row = entry[prefix.len()..].to_vec();
            entries.push(Entry { key: entry.to_vec(), age, count, met, row });
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(()), Err)
}

/// Length of the join key (4 bytes, big endian; all ones: it is null), the join key, the row.
fn state_key(key: Option<&[u8]>, row: &[u8]) -> Vec<u8> {
    let length = key.map_or(u32::MAX, |key| u32::try_from(key.len()).unwrap_or(u32::MAX - 1));
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(key.unwrap_or_default());
    bytes.extend_from_slice(row);
    bytes
}

/// The row within a key of [`state_key`].
fn row_of(key: &[u8]) -> Result<&[u8], StateError> {
    let short = || StateError::broken("the key of a joined row is too short");
    let (length, rest) = key.split_first_chunk().ok_or_else(short)?;
    match u32::from_be_bytes(*length) {
        u32::MAX => Ok(rest),
        length => rest.get(length as usize..).ok_or_else(short),
    }
}

fn end_key(end: i64, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(INSTANT_BYTES + key.len());
    write_i64(end, &mut bytes);
    bytes.extend_from_slice(key);
    bytes
}

fn entry_value(age: Age, count: i64, met: i64) -> Vec<u8> {
    age.before(&[count.to_be_bytes(), met.to_be_bytes()].concat())
}

/// Age, how often the row is there, how many rows it has met.
fn entry_of(value: &[u8]) -> Result<(Age, i64, i64), StateError> {
    let number = |at: usize| Some(i64::from_be_bytes(*value.get(at..)?.first_chunk()?));
    match (number(AGE_BYTES), number(AGE_BYTES + 8)) {
        (Some(count), Some(met)) => Ok((Age::read(value)?, count, met)),
        _ => Err(StateError::broken("the entry of a joined row is too short")),
    }
}
