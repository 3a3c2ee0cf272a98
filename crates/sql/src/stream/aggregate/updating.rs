//! GROUP BY over rows that may go again.
//!
//! Counts, sums and averages take a row back by subtraction. Any other aggregate is computed
//! anew from the rows of its group, which are kept with how often each occurs; then a change
//! costs as much as its group is large. A group whose last row has gone is gone.

use std::{ops::ControlFlow, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, Scalar},
    compute::{
        cast, is_null,
        kernels::{numeric::sub_wrapping, zip::zip},
        nullif,
    },
    datatypes::{DataType, Int64Type},
    error::ArrowError,
};
use bytes::Bytes;
use datafusion_common::HashMap;
use indexmap::IndexMap;

use super::{
    GROUP, Grouping, Input, Tells,
    functions::{Rows, States, Stored},
    rows::{GroupRows, Groups},
};
use crate::stream::{
    age::{AGE_BYTES, Age},
    delta::{Delta, Fact, pick, positions},
    operator::{Operator, OperatorInfo, Run},
    state::StateError,
};

/// GROUP BY without windows over rows that come and go.
#[derive(Debug)]
pub(in crate::stream) struct Updating {
    pub(in crate::stream) grouping: Grouping,
    pub(in crate::stream) keeps: Keeps,
}

/// How rows are taken back.
#[derive(Debug)]
pub(in crate::stream) enum Keeps {
    /// For each aggregate the one that counts its values. The last aggregate counts rows.
    Counts(Vec<usize>),
    /// The rows of a group, in a table of their own.
    Rows { table: u16, rows: GroupRows },
}

/// The groups that a batch changes.
struct Changed {
    keys: Vec<Vec<u8>>,
    /// A row of each, for its key columns.
    samples: Vec<usize>,
    facts: Vec<Fact>,
    /// The group of each row.
    of_row: Vec<usize>,
    /// What was stored of the groups that were there.
    old: Vec<(usize, Bytes)>,
}

/// Rows of a group and how often each occurs.
type Members = IndexMap<Vec<u8>, i64>;

impl Operator for Updating {
    fn process(&self, _: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        let Some(input) = self.grouping.calculate(&delta, run) else {
            return Ok(Delta::nothing());
        };
        let changed = self.changed(&input, run)?;
        match &self.keeps {
            Keeps::Counts(counts) => self.subtract(&input, &changed, counts, run),
            Keeps::Rows { table, rows } => self.recompute(&input, &changed, (*table, rows), run),
        }
    }

    fn info(&self) -> OperatorInfo {
        match &self.keeps {
            Keeps::Counts(_) => self
                .grouping
                .info("one read and write of the state for each changed group of a batch"),
            Keeps::Rows { table, .. } => {
                let mut info = self.grouping.info("a scan of all rows of each changed group");
                info.tables.push(*table);
                info
            }
        }
    }
}

impl Updating {
    fn changed(&self, input: &Input, run: &mut Run<'_>) -> Result<Changed, StateError> {
        let writers = self.grouping.key_writers(&input.arrays);
        let mut changed = Changed {
            keys: Vec::new(),
            samples: Vec::new(),
            facts: Vec::new(),
            of_row: Vec::with_capacity(input.facts.len()),
            old: Vec::new(),
        };
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        for (row, fact) in input.facts.iter().enumerate() {
            let mut key = vec![GROUP];
            writers.iter().for_each(|writer| writer.write(row, &mut key));
            let group = *places.entry(key).or_insert_with_key(|key| {
                changed.keys.push(key.clone());
                changed.samples.push(row);
                changed.facts.push(Fact { gone: false, ..*fact });
                changed.keys.len() - 1
            });
            changed.facts[group].absorb(fact);
            changed.of_row.push(group);
        }
        for (group, key) in changed.keys.iter().enumerate() {
            let Some(value) = run.state.get(self.grouping.table, key)? else { continue };
            let age = Age::read(&value)?;
            let fact = &mut changed.facts[group];
            let both = Age::of(fact).with(age);
            (fact.time, fact.origin) = (both.time, both.origin);
            changed.old.push((group, value));
        }
        Ok(changed)
    }

    /// Adds what came to the stored states and takes off what went.
    fn subtract(
        &self,
        input: &Input,
        changed: &Changed,
        counts: &[usize],
        run: &mut Run<'_>,
    ) -> Result<Delta, StateError> {
        let total = changed.keys.len();
        let stored = self.stored(changed)?;
        let signed = |gone: bool, stored: &Stored| {
            let rows = (0..input.facts.len()).filter(|row| input.facts[*row].gone == gone);
            let rows: Vec<usize> = rows.collect();
            let groups: Vec<usize> = rows.iter().map(|row| changed.of_row[*row]).collect();
            let chosen = positions(rows);
            let rows = Rows { chosen: Some(&chosen), groups: &groups, groups_total: total };
            let states = self.grouping.aggregates.accumulate(&input.arrays, &rows, stored);
            states.map_err(StateError::broken)
        };
        let (came, went) = (signed(false, &stored)?, signed(true, &Stored::default())?);
        let states = difference(&came, &went, counts).map_err(StateError::broken)?;
        let weights: &Int64Array =
            states.last().expect("the last aggregate counts rows")[0].as_primitive::<Int64Type>();
        let left: Vec<bool> = weights.iter().map(|weight| weight.unwrap_or(0) > 0).collect();
        let groups = Groups { keys: self.keys(input, changed), states };
        self.store(&groups, changed, &left, run)?;
        let new = self.grouping.results(&groups, &[], changed.facts.clone())?;
        let old =
            Groups { keys: self.keys_of_old(&groups, changed), states: stored.states.clone() };
        self.tell(&old, &new, changed, &left)
    }

    /// Computes the groups anew from their rows.
    fn recompute(
        &self,
        input: &Input,
        changed: &Changed,
        (table, rows): (u16, &GroupRows),
        run: &mut Run<'_>,
    ) -> Result<Delta, StateError> {
        let mut members = self.members(changed, table, run)?;
        let old = self.computed(&members, rows)?;
        let given = Groups { keys: input.arrays.clone(), states: Vec::new() };
        let ages: Vec<Age> = input.facts.iter().map(Age::of).collect();
        let mut touched = Vec::new();
        rows.write(&given, &ages, |row, value| {
            let group = changed.of_row[row];
            let member = value[AGE_BYTES..].to_vec();
            let weight = if input.facts[row].gone { -1 } else { 1 };
            *members[group].entry(member.clone()).or_insert(0) += weight;
            touched.push((group, member));
        })
        .map_err(StateError::broken)?;
        for (group, member) in touched {
            let key = [changed.keys[group].as_slice(), &member].concat();
            match members[group].get(&member).copied().unwrap_or(0) {
                ..=0 => {
                    members[group].shift_remove(&member);
                    run.state.remove(table, &key);
                }
                count => run.state.put(table, &key, count.to_be_bytes().to_vec()),
            }
        }
        let left: Vec<bool> = members.iter().map(|members| !members.is_empty()).collect();
        let states = self.computed(&members, rows)?;
        let groups = Groups { keys: self.keys(input, changed), states };
        let kept = Groups { keys: groups.keys.clone(), states: Vec::new() };
        self.store(&kept, changed, &left, run)?;
        let new = self.grouping.results(&groups, &[], changed.facts.clone())?;
        let there = positions(changed.old.iter().map(|(group, _)| *group));
        let of_old =
            |arrays: &Vec<ArrayRef>| arrays.iter().map(|array| pick(array, &there)).collect();
        let old = Groups {
            keys: self.keys_of_old(&groups, changed),
            states: old.iter().map(of_old).collect(),
        };
        self.tell(&old, &new, changed, &left)
    }

    /// The stored rows of each changed group.
    fn members(
        &self,
        changed: &Changed,
        table: u16,
        run: &mut Run<'_>,
    ) -> Result<Vec<Members>, StateError> {
        let mut all: Vec<Members> = vec![Members::new(); changed.keys.len()];
        for (group, _) in &changed.old {
            let key = &changed.keys[*group];
            let mut to = key.clone();
            to.extend_from_slice(&[u8::MAX; 32]);
            run.state.scan(table, key, &to, &mut |entry, value| {
                let count = value.first_chunk().map_or(1, |bytes| i64::from_be_bytes(*bytes));
                all[*group].insert(entry[key.len()..].to_vec(), count);
                ControlFlow::Continue(())
            })?;
        }
        Ok(all)
    }

    /// The states of groups that have these rows.
    fn computed(&self, members: &[Members], rows: &GroupRows) -> Result<States, StateError> {
        let (mut values, mut chosen, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for (group, members) in members.iter().enumerate() {
            for (member, count) in members {
                let times = usize::try_from(*count).unwrap_or(0);
                chosen.extend(std::iter::repeat_n(values.len(), times));
                groups.extend(std::iter::repeat_n(group, times));
                let age = Age { time: 0, origin: None };
                values.push(Bytes::from(age.before(member)));
            }
        }
        let arrays = rows.read(&values).map_err(StateError::broken)?.keys;
        let chosen = positions(chosen);
        let rows = Rows { chosen: Some(&chosen), groups: &groups, groups_total: members.len() };
        let states = self.grouping.aggregates.accumulate(&arrays, &rows, &Stored::default());
        states.map_err(StateError::broken)
    }

    fn stored(&self, changed: &Changed) -> Result<Stored, StateError> {
        if changed.old.is_empty() {
            return Ok(Stored::default());
        }
        let values: Vec<Bytes> = changed.old.iter().map(|(_, value)| value.clone()).collect();
        let states = self.grouping.rows.read(&values).map_err(StateError::broken)?.states;
        Ok(Stored { states, groups: changed.old.iter().map(|(group, _)| *group).collect() })
    }

    fn keys(&self, input: &Input, changed: &Changed) -> Vec<ArrayRef> {
        let samples = positions(changed.samples.iter().copied());
        let keys = input.arrays[..self.grouping.keys.len()].iter();
        keys.map(|array| pick(array, &samples)).collect()
    }

    fn keys_of_old(&self, groups: &Groups, changed: &Changed) -> Vec<ArrayRef> {
        let there = positions(changed.old.iter().map(|(group, _)| *group));
        groups.keys.iter().map(|array| pick(array, &there)).collect()
    }

    fn store(
        &self,
        groups: &Groups,
        changed: &Changed,
        left: &[bool],
        run: &mut Run<'_>,
    ) -> Result<(), StateError> {
        let ages: Vec<Age> = changed.facts.iter().map(Age::of).collect();
        self.grouping
            .rows
            .write(groups, &ages, |group, value| match left[group] {
                true => run.state.put(self.grouping.table, &changed.keys[group], value),
                false => run.state.remove(self.grouping.table, &changed.keys[group]),
            })
            .map_err(StateError::broken)
    }

    /// The old rows as gone, where they are wanted or nothing is left, and the new ones.
    fn tell(
        &self,
        old: &Groups,
        new: &Delta,
        changed: &Changed,
        left: &[bool],
    ) -> Result<Delta, StateError> {
        let mut told = Delta::nothing();
        if !changed.old.is_empty() {
            // Gone at the time of what made them go.
            let facts =
                changed.old.iter().map(|(group, _)| Fact { gone: true, ..changed.facts[*group] });
            let gone = self.grouping.results(old, &[], facts.collect())?;
            let wanted = (0..changed.old.len()).filter(|place| {
                self.grouping.tells == Tells::OldAndNew || !left[changed.old[*place].0]
            });
            told.append(gone.rows(&wanted.collect::<Vec<_>>()));
        }
        let stays: Vec<usize> = (0..left.len()).filter(|group| left[*group]).collect();
        told.append(new.rows(&stays));
        Ok(told)
    }
}

/// What came less what went, state column by state column. A sum's state is null where no
/// value is left that it would be of.
fn difference(came: &States, went: &States, counts: &[usize]) -> Result<States, ArrowError> {
    let mut states = Vec::with_capacity(came.len());
    for (came, went) in came.iter().zip(went) {
        let columns = came.iter().zip(went).map(|(came, went)| less(came, went));
        states.push(columns.collect::<Result<Vec<_>, _>>()?);
    }
    for (aggregate, count) in counts.iter().enumerate() {
        if *count == aggregate {
            continue;
        }
        let nothing = nothing_of(&states[*count][0])?;
        for column in &mut states[aggregate] {
            *column = nullif(column, &nothing)?;
        }
    }
    Ok(states)
}

fn less(came: &ArrayRef, went: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    sub_wrapping(&or_zero(came)?, &or_zero(went)?)
}

fn or_zero(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if array.null_count() == 0 {
        return Ok(Arc::clone(array));
    }
    let zero = cast(&Int64Array::from(vec![0]), array.data_type())?;
    zip(&is_null(array)?, &Scalar::new(zero), array)
}

fn nothing_of(counts: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    let counts = cast(counts, &DataType::Int64)?;
    let counts = counts.as_primitive::<Int64Type>();
    Ok(counts.iter().map(|count| Some(count.unwrap_or(0) == 0)).collect())
}
