//! The first rows of each partition in an order: `ROW_NUMBER() OVER (…)` below a limit.
//!
//! Rows are kept by partition and order. A batch's rows are put in, and what differs among
//! the first rows is told, place by place. Over rows that only come, what falls behind the
//! limit is forgotten; over rows that may go, all are kept.

use std::{ops::ControlFlow, sync::Arc};

use arrow::{
    array::{ArrayRef, UInt64Array},
    compute::SortOptions,
    datatypes::SchemaRef,
};
use bytes::Bytes;
use courant_model::ColumnType;
use indexmap::IndexMap;

use super::{
    age::{AGE_BYTES, Age},
    aggregate::rows::{GroupRows, Groups},
    delta::{Delta, Fact},
    key::KeyWriter,
    operator::{Operator, OperatorInfo, Run},
    state::{StateError, Visit},
};
use crate::program::{Calculated, Calculation};

/// Marks in a sort key: nulls before or after values.
const NULL_FIRST: u8 = 0;
const VALUE: u8 = 1;
const NULL_LAST: u8 = 2;

/// Numbers the first rows of each partition.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) id: usize,
    pub(super) input: usize,
    pub(super) schema: SchemaRef,
    /// The partition's columns and then the order's, in canonical form.
    pub(super) calculation: Calculation,
    pub(super) partition: Vec<ColumnType>,
    pub(super) order: Vec<(ColumnType, SortOptions)>,
    pub(super) limit: usize,
    /// Place of the number among the columns of the result.
    pub(super) number: usize,
    /// Rows of the input never go.
    pub(super) only_comes: bool,
    pub(super) rows: GroupRows,
    pub(super) table: u16,
    pub(super) words: String,
}

/// The rows of one partition in a batch: the place and the key in the state of each.
#[derive(Default)]
struct Changed {
    entries: Vec<(usize, Vec<u8>)>,
}

/// A row among the first of its partition.
#[derive(Clone, PartialEq, Eq)]
struct Ranked {
    key: Vec<u8>,
    age: Age,
    row: Vec<u8>,
}

/// A row that takes or leaves a place.
struct Move {
    ranked: Ranked,
    number: u64,
    fact: Fact,
}

impl Operator for Top {
    fn process(&self, _: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        let Calculated { kept, arrays, failed } = self.calculation.run(&delta.table(&self.schema));
        run.faults.reject(failed, &delta.facts);
        let delta = match kept {
            None => delta,
            Some(kept) => delta.rows(&kept),
        };
        let mut moves = Vec::new();
        for (partition, changed) in self.changed(&delta, &arrays)? {
            let old = self.first(&partition, run)?;
            for (row, key) in &changed.entries {
                self.apply(key, &delta.facts[*row], run)?;
            }
            let new = self.first(&partition, run)?;
            if self.only_comes {
                self.forget_behind(&partition, run)?;
            }
            let (last, _) = changed.entries.last().expect("a changed partition has a row");
            self.compare(&old, &new, &delta.facts[*last], &mut moves);
        }
        self.told(&moves)
    }

    fn info(&self) -> OperatorInfo {
        OperatorInfo {
            id: self.id,
            inputs: vec![self.input],
            name: "top",
            words: self.words.clone(),
            tables: vec![self.table],
            cost: "two scans of the first rows of each changed partition",
        }
    }
}

impl Top {
    /// The batch's rows by partition, with their keys in the state.
    fn changed(
        &self,
        delta: &Delta,
        arrays: &[ArrayRef],
    ) -> Result<IndexMap<Vec<u8>, Changed>, StateError> {
        let (partition, order) = arrays.split_at(self.partition.len());
        let partition: Vec<_> = self
            .partition
            .iter()
            .zip(partition)
            .map(|(of, array)| KeyWriter::new(of, array))
            .collect();
        let order: Vec<_> = self
            .order
            .iter()
            .zip(order)
            .map(|((of, options), array)| (KeyWriter::new(of, array), *options))
            .collect();
        let mut encoded = Vec::with_capacity(delta.facts.len());
        let groups = Groups { keys: delta.columns.clone(), states: Vec::new() };
        let ages: Vec<Age> = delta.facts.iter().map(Age::of).collect();
        self.rows
            .write(&groups, &ages, |_, value| encoded.push(value))
            .map_err(StateError::broken)?;
        let mut changed: IndexMap<Vec<u8>, Changed> = IndexMap::new();
        for (row, value) in encoded.iter().enumerate() {
            let mut prefix = vec![VALUE];
            partition.iter().for_each(|writer| writer.write(row, &mut prefix));
            let mut key = prefix.clone();
            let mut sort = Vec::new();
            for (writer, options) in &order {
                write_sorted(writer, row, *options, &mut sort);
            }
            let length = u32::try_from(sort.len()).expect("a row is far below 4 GiB");
            key.extend_from_slice(&sort);
            key.extend_from_slice(&value[AGE_BYTES..]);
            key.extend_from_slice(&length.to_be_bytes());
            changed.entry(prefix).or_default().entries.push((row, key));
        }
        Ok(changed)
    }

    /// Puts a row in, or takes it out.
    fn apply(&self, key: &[u8], fact: &Fact, run: &mut Run<'_>) -> Result<(), StateError> {
        let known = run.state.get(self.table, key)?;
        let (age, count) = match &known {
            None => (Age::of(fact), 0),
            Some(value) => (Age::read(value)?.with(Age::of(fact)), count_of(value)?),
        };
        match if fact.gone { count - 1 } else { count + 1 } {
            ..=0 => run.state.remove(self.table, key),
            count => run.state.put(self.table, key, age.before(&count.to_be_bytes())),
        }
        Ok(())
    }

    /// The first rows of a partition.
    fn first(&self, partition: &[u8], run: &mut Run<'_>) -> Result<Vec<Ranked>, StateError> {
        let (mut first, mut broken) = (Vec::new(), None);
        self.scan(partition, run, &mut |key, value| {
            match (Age::read(value), count_of(value)) {
                (Ok(age), Ok(count)) => {
                    let row = row_of(key, partition.len());
                    let ranked = Ranked { key: key.to_vec(), age, row: row.to_vec() };
                    let times = usize::try_from(count).unwrap_or(0).min(self.limit - first.len());
                    first.extend(std::iter::repeat_n(ranked, times));
                }
                (Err(error), _) | (_, Err(error)) => broken = Some(error),
            }
            match first.len() < self.limit && broken.is_none() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        broken.map_or(Ok(first), Err)
    }

    /// Forgets the rows that can never be among the first again.
    fn forget_behind(&self, partition: &[u8], run: &mut Run<'_>) -> Result<(), StateError> {
        let (mut seen, mut behind) = (0, Vec::new());
        self.scan(partition, run, &mut |key, value| {
            if seen >= self.limit {
                behind.push(key.to_vec());
            }
            seen += count_of(value).map_or(1, |count| usize::try_from(count).unwrap_or(1));
            ControlFlow::Continue(())
        })?;
        behind.iter().for_each(|key| run.state.remove(self.table, key));
        Ok(())
    }

    fn scan(
        &self,
        partition: &[u8],
        run: &mut Run<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StateError> {
        let mut to = partition.to_vec();
        to.extend_from_slice(&[u8::MAX; 32]);
        run.state.scan(self.table, partition, &to, visit)
    }

    /// What differs, place by place: the row that leaves it and the one that takes it.
    fn compare(&self, old: &[Ranked], new: &[Ranked], fact: &Fact, moves: &mut Vec<Move>) {
        for place in 0..old.len().max(new.len()) {
            let (left, taken) = (old.get(place), new.get(place));
            if left.map(|ranked| &ranked.key) == taken.map(|ranked| &ranked.key) {
                continue;
            }
            let told = |ranked: &Ranked, gone: bool| Move {
                ranked: ranked.clone(),
                number: place as u64 + 1,
                fact: Fact { gone, time: ranked.age.time, origin: ranked.age.origin, ..*fact },
            };
            moves.extend(left.map(|ranked| told(ranked, true)));
            moves.extend(taken.map(|ranked| told(ranked, false)));
        }
    }

    fn told(&self, moves: &[Move]) -> Result<Delta, StateError> {
        if moves.is_empty() {
            return Ok(Delta::nothing());
        }
        let values =
            moves.iter().map(|moved| Bytes::from(moved.ranked.age.before(&moved.ranked.row)));
        let values: Vec<Bytes> = values.collect();
        let mut columns = self.rows.read(&values).map_err(StateError::broken)?.keys;
        let numbers: UInt64Array = moves.iter().map(|moved| moved.number).collect();
        columns.insert(self.number, Arc::new(numbers));
        Ok(Delta { columns, facts: moves.iter().map(|moved| moved.fact).collect() })
    }
}

/// Appends a value so that the bytes are in the wanted order.
fn write_sorted(writer: &KeyWriter<'_>, row: usize, options: SortOptions, out: &mut Vec<u8>) {
    let start = out.len();
    writer.write(row, out);
    if out.len() == start + 1 {
        out[start] = if options.nulls_first { NULL_FIRST } else { NULL_LAST };
        return;
    }
    out[start] = VALUE;
    if options.descending {
        out[start + 1..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The encoded row within a key, which ends with the length of its sort key.
fn row_of(key: &[u8], partition: usize) -> &[u8] {
    let (rest, length) = key.split_last_chunk().expect("a key ends with a length");
    &rest[partition + u32::from_be_bytes(*length) as usize..]
}

fn count_of(value: &[u8]) -> Result<i64, StateError> {
    let count = value.get(AGE_BYTES..).and_then(|rest| rest.first_chunk());
    count
        .map(|bytes| i64::from_be_bytes(*bytes))
        .ok_or_else(|| StateError::broken("the entry of a numbered row is too short"))
}
