//! GROUP BY: aggregates by key, and by tumbling or hopping window.
//!
//! A batch's rows are gathered by (key, pane), the panes' states spread over their windows,
//! what is stored of those (key, window) merged in, and the new states stored. The key of a
//! window's state begins with the window's end, so that closing windows is a scan of a range.
//! Other windows have a file each.

pub(super) mod functions;
pub(super) mod rows;
pub(super) mod session;
pub(super) mod sliding;
pub(super) mod updating;

use std::{ops::ControlFlow, sync::Arc};

use arrow::{
    array::{ArrayRef, TimestampMicrosecondArray},
    datatypes::SchemaRef,
};
use bytes::Bytes;
use courant_model::ColumnType;
use datafusion_common::HashMap;

use self::{
    functions::{Aggregates, Rows, States, Stored},
    rows::{GroupRows, Groups},
};
use super::{
    age::Age,
    delta::{Delta, Fact, pick, positions},
    key::{KeyWriter, read_i64, write_i64},
    operator::{Operator, OperatorInfo, Run},
    state::StateError,
    window::Panes,
};
use crate::program::Calculation;

/// Windows that are closed at once; more go out in several pieces.
const CLOSED_ROWS_MAX: usize = 8_192;

/// Bytes of a window's end before a key.
const END_BYTES: usize = 8;

/// First byte of the key of a group without a window, whose key may be empty.
const GROUP: u8 = 1;

/// What an operator of aggregates knows whatever its windows.
#[derive(Debug)]
pub(super) struct Grouping {
    pub(super) id: usize,
    pub(super) input: usize,
    /// The input's columns.
    pub(super) schema: SchemaRef,
    /// Key columns first, then what else is needed.
    pub(super) calculation: Calculation,
    /// For each key column its canonical type, and where it stands in that form.
    pub(super) keys: Vec<(ColumnType, usize)>,
    /// The columns of the result before those of the aggregates.
    pub(super) layout: Vec<GroupColumn>,
    /// Those of the SELECT, then those that only help.
    pub(super) aggregates: Aggregates,
    /// How many aggregates are of the SELECT.
    pub(super) told: usize,
    pub(super) rows: GroupRows,
    pub(super) table: u16,
    pub(super) tells: Tells,
    pub(super) grace: i64,
    /// How much the event time of the input's rows may be behind the watermark.
    pub(super) delay: i64,
    pub(super) words: String,
}

/// A column of GROUP BY in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupColumn {
    Key(usize),
    WindowStart,
    WindowEnd,
}

/// What is told of a group that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    /// Its new row.
    New,
    /// Its old row as gone, then its new one.
    OldAndNew,
    /// Its row when the window closes.
    Final,
}

/// GROUP BY with or without tumbling or hopping windows.
#[derive(Debug)]
pub(super) struct Aggregated {
    pub(super) grouping: Grouping,
    pub(super) window: Option<Panes>,
    /// When groups without a window are forgotten.
    pub(super) expiry: Option<Expiry>,
}

/// Forgets groups to which nothing has come for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiry {
    /// In microseconds of event time.
    pub(super) ttl: i64,
    /// The table of groups by their event time.
    pub(super) times: u16,
}

/// The groups of a batch.
#[derive(Default)]
struct Gathered {
    /// Key in the state, or in the batch, of each group.
    keys: Vec<Vec<u8>>,
    /// A row of each group, for its key columns.
    samples: Vec<usize>,
    facts: Vec<Fact>,
    places: HashMap<Vec<u8>, usize>,
}

impl Operator for Aggregated {
    fn process(&self, _: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        let Some(mut input) = self.grouping.calculate(&delta, run) else {
            return Ok(Delta::nothing());
        };
        let mut gathered = Gathered::default();
        let groups = self.gather(&mut input, &mut gathered, run);
        if groups.is_empty() {
            return Ok(Delta::nothing());
        }
        match self.window {
            Some(panes) if !panes.is_whole() => self.spread(&input, &groups, &gathered, panes, run),
            _ => {
                let stored = self.load(&mut gathered, run)?;
                let rows = input.rows(&groups, gathered.keys.len());
                let states = self.grouping.aggregates.accumulate(&input.arrays, &rows, &stored.0);
                self.finish(&input, &gathered, states.map_err(StateError::broken)?, &stored, run)
            }
        }
    }

    fn close(&self, watermark: i64, run: &mut Run<'_>) -> Result<Option<Delta>, StateError> {
        if let Some(expiry) = self.expiry {
            return self.expire(expiry, watermark, run);
        }
        let Some(panes) = self.window else { return Ok(None) };
        let closed =
            watermark.saturating_sub(self.grouping.delay).saturating_sub(self.grouping.grace);
        if run.memo.next_end.is_some_and(|end| end > closed) {
            return Ok(None);
        }
        let entries = self.closed(self.grouping.table, closed, run)?;
        for (key, _) in &entries {
            run.state.remove(self.grouping.table, key);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        if self.grouping.tells != Tells::Final {
            return Ok(Some(Delta::nothing()));
        }
        let ends: Vec<i64> = entries.iter().filter_map(|(key, _)| read_i64(key)).collect();
        let windows = ends.iter().map(|end| (end - panes.width, *end)).collect::<Vec<_>>();
        self.grouping.results_of(&entries, &windows).map(Some)
    }

    fn info(&self) -> OperatorInfo {
        let mut info = self.grouping.info(match self.window {
            None => "one read and write of the state for each changed group of a batch",
            Some(_) => "one read and write of the state for each changed window of a batch",
        });
        info.tables.extend(self.expiry.map(|expiry| expiry.times));
        info
    }
}

impl Aggregated {
    /// Gives every row that is not late its group, and takes the late ones out.
    fn gather(&self, input: &mut Input, gathered: &mut Gathered, run: &mut Run<'_>) -> Vec<usize> {
        let writers = self.grouping.key_writers(&input.arrays);
        let (mut groups, mut chosen) = (Vec::with_capacity(input.facts.len()), Vec::new());
        let mut key = Vec::new();
        for (row, fact) in input.facts.iter().enumerate() {
            key.clear();
            if !self.write_head(fact, &mut key) {
                run.faults.late.push(fact.row);
                continue;
            }
            writers.iter().for_each(|writer| writer.write(row, &mut key));
            groups.push(gathered.add(&key, row, fact));
            chosen.push(row);
        }
        if chosen.len() < input.facts.len() {
            input.chosen = Some(positions(chosen));
        }
        groups
    }

    /// What stands before the key of a row's group; `false`: the row is late.
    fn write_head(&self, fact: &Fact, key: &mut Vec<u8>) -> bool {
        let Some(panes) = self.window else {
            key.push(GROUP);
            return true;
        };
        let closed = self.grouping.closed_at(fact);
        let Some(first_open) = panes.ends_of(fact.time).find(|end| *end > closed) else {
            return false;
        };
        write_i64(first_open, key);
        if !panes.is_whole() {
            write_i64(panes.pane_of(fact.time), key);
        }
        true
    }

    /// Panes to windows: the states of the panes are merged into those of their windows.
    fn spread(
        &self,
        input: &Input,
        groups: &[usize],
        panes_gathered: &Gathered,
        panes: Panes,
        run: &mut Run<'_>,
    ) -> Result<Delta, StateError> {
        let rows = input.rows(groups, panes_gathered.keys.len());
        let aggregates = &self.grouping.aggregates;
        let states = aggregates
            .accumulate(&input.arrays, &rows, &Stored::default())
            .map_err(StateError::broken)?;
        let (mut windows, mut parts, mut key) = (Gathered::default(), Vec::new(), Vec::new());
        for (pane, head) in panes_gathered.keys.iter().enumerate() {
            let first_open = read_i64(head).expect("gathered with its first open window");
            let start = read_i64(&head[END_BYTES..]).expect("gathered with its pane");
            for end in panes.ends_of(start).filter(|end| *end >= first_open) {
                key.clear();
                write_i64(end, &mut key);
                key.extend_from_slice(&head[2 * END_BYTES..]);
                let sample = panes_gathered.samples[pane];
                parts.push((pane, windows.add(&key, sample, &panes_gathered.facts[pane])));
            }
        }
        let stored = self.load(&mut windows, run)?;
        let states = aggregates
            .merge(&states, &parts, &stored.0, windows.keys.len())
            .map_err(StateError::broken)?;
        self.finish(input, &windows, states, &stored, run)
    }

    /// What is stored of the groups, and its old ages; the groups' facts take the ages in.
    fn load(
        &self,
        gathered: &mut Gathered,
        run: &mut Run<'_>,
    ) -> Result<(Stored, Vec<Age>), StateError> {
        let (mut values, mut groups, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        for (group, key) in gathered.keys.iter().enumerate() {
            let Some(value) = run.state.get(self.grouping.table, key)? else { continue };
            let age = Age::read(&value)?;
            let fact = &mut gathered.facts[group];
            let both = Age::of(fact).with(age);
            (fact.time, fact.origin) = (both.time, both.origin);
            values.push(value);
            groups.push(group);
            ages.push(age);
        }
        if values.is_empty() {
            return Ok((Stored::default(), ages));
        }
        let states = self.grouping.rows.read(&values).map_err(StateError::broken)?.states;
        Ok((Stored { states, groups }, ages))
    }

    /// Stores the new states and tells what they change.
    fn finish(
        &self,
        input: &Input,
        gathered: &Gathered,
        states: States,
        (stored, ages): &(Stored, Vec<Age>),
        run: &mut Run<'_>,
    ) -> Result<Delta, StateError> {
        let samples = positions(gathered.samples.iter().copied());
        let keys = input.arrays[..self.grouping.keys.len()].iter();
        let groups = Groups { keys: keys.map(|array| pick(array, &samples)).collect(), states };
        let new: Vec<Age> = gathered.facts.iter().map(Age::of).collect();
        let (state, table) = (&mut *run.state, self.grouping.table);
        self.grouping
            .rows
            .write(&groups, &new, |group, value| state.put(table, &gathered.keys[group], value))
            .map_err(StateError::broken)?;
        self.remember_ends(gathered, run);
        if let Some(expiry) = self.expiry {
            self.remember_times(expiry, gathered, (&stored.groups, ages), run);
        }
        let told = self.grouping.news(gathered.facts.len(), &stored.groups);
        match self.grouping.tells {
            Tells::Final => Ok(Delta::nothing()),
            Tells::New => self.new_rows(&groups, gathered, told),
            Tells::OldAndNew => {
                let mut delta = self.old_rows(&groups, gathered, stored, ages)?;
                delta.append(self.new_rows(&groups, gathered, told)?);
                Ok(delta)
            }
        }
    }

    fn remember_ends(&self, gathered: &Gathered, run: &mut Run<'_>) {
        if self.window.is_none() {
            return;
        }
        if let Some(next) = &mut run.memo.next_end {
            let ends = gathered.keys.iter().filter_map(|key| read_i64(key));
            *next = ends.fold(*next, i64::min);
        }
    }

    /// Puts groups to their new event time.
    fn remember_times(
        &self,
        expiry: Expiry,
        gathered: &Gathered,
        (groups, ages): (&[usize], &[Age]),
        run: &mut Run<'_>,
    ) {
        for (group, age) in groups.iter().zip(ages) {
            run.state.remove(expiry.times, &time_key(age.time, &gathered.keys[*group]));
        }
        for (key, fact) in gathered.keys.iter().zip(&gathered.facts) {
            run.state.put(expiry.times, &time_key(fact.time, key), vec![1]);
            if let Some(next) = &mut run.memo.next_end {
                *next = (*next).min(fact.time);
            }
        }
    }

    /// Forgets groups that are older than their time to live, and tells them as gone.
    fn expire(
        &self,
        expiry: Expiry,
        watermark: i64,
        run: &mut Run<'_>,
    ) -> Result<Option<Delta>, StateError> {
        let over = watermark.saturating_sub(self.grouping.delay).saturating_sub(expiry.ttl);
        if run.memo.next_end.is_some_and(|time| time >= over) {
            return Ok(None);
        }
        let times = self.closed(expiry.times, over.saturating_sub(1), run)?;
        let mut entries = Vec::with_capacity(times.len());
        for (time_key, _) in times {
            run.state.remove(expiry.times, &time_key);
            let key = &time_key[END_BYTES..];
            if let Some(value) = run.state.get(self.grouping.table, key)? {
                run.state.remove(self.grouping.table, key);
                entries.push((key.to_vec(), value));
            }
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let mut gone = self.grouping.results_of(&entries, &[])?;
        gone.facts.iter_mut().for_each(|fact| fact.gone = true);
        Ok(Some(gone))
    }

    fn new_rows(
        &self,
        groups: &Groups,
        gathered: &Gathered,
        told: Option<Vec<usize>>,
    ) -> Result<Delta, StateError> {
        let windows = self.windows(&gathered.keys);
        let delta = self.grouping.results(groups, &windows, gathered.facts.clone())?;
        Ok(match told {
            None => delta,
            Some(told) => delta.rows(&told),
        })
    }

    fn old_rows(
        &self,
        groups: &Groups,
        gathered: &Gathered,
        stored: &Stored,
        ages: &[Age],
    ) -> Result<Delta, StateError> {
        if self.grouping.aggregates.0.is_empty() || stored.groups.is_empty() {
            return Ok(Delta::nothing());
        }
        let picked = positions(stored.groups.iter().copied());
        let old = Groups {
            keys: groups.keys.iter().map(|array| pick(array, &picked)).collect(),
            states: stored.states.clone(),
        };
        let facts = stored.groups.iter().zip(ages).map(|(group, age)| {
            let fact = gathered.facts[*group];
            Fact { gone: true, time: age.time, origin: age.origin, ..fact }
        });
        let windows = self.windows(&gathered.keys);
        let windows: Vec<_> = match windows.is_empty() {
            true => windows,
            false => stored.groups.iter().map(|group| windows[*group]).collect(),
        };
        self.grouping.results(&old, &windows, facts.collect())
    }

    /// Start and end of each group's window.
    fn windows(&self, keys: &[Vec<u8>]) -> Vec<(i64, i64)> {
        let Some(panes) = self.window else { return Vec::new() };
        let ends = keys.iter().filter_map(|key| read_i64(key));
        ends.map(|end| (end - panes.width, end)).collect()
    }

    /// Entries whose key begins with `closed` or an earlier instant; notes the next instant.
    fn closed(
        &self,
        table: u16,
        closed: i64,
        run: &mut Run<'_>,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StateError> {
        let mut from = Vec::new();
        write_i64(run.memo.next_end.unwrap_or(i64::MIN), &mut from);
        let (mut entries, mut next) = (Vec::new(), i64::MAX);
        run.state.scan(table, &from, &[u8::MAX; END_BYTES + 1], &mut |key, value| {
            let end = read_i64(key).unwrap_or(i64::MAX);
            if end > closed || entries.len() == CLOSED_ROWS_MAX {
                next = end;
                return ControlFlow::Break(());
            }
            entries.push((key.to_vec(), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        run.memo.next_end = Some(next);
        Ok(entries)
    }
}

/// By event time and key.
fn time_key(time: i64, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(END_BYTES + key.len());
    write_i64(time, &mut bytes);
    bytes.extend_from_slice(key);
    bytes
}

/// Rows that an aggregate takes: calculated, without those that failed.
pub(super) struct Input {
    pub(super) arrays: Vec<ArrayRef>,
    pub(super) facts: Vec<Fact>,
    /// Rows that count, when not all do.
    chosen: Option<arrow::array::UInt64Array>,
}

impl Input {
    fn rows<'a>(&'a self, groups: &'a [usize], groups_total: usize) -> Rows<'a> {
        Rows { chosen: self.chosen.as_ref(), groups, groups_total }
    }
}

impl Gathered {
    /// The group of the key, into which the row's fact is taken.
    fn add(&mut self, key: &[u8], row: usize, fact: &Fact) -> usize {
        if let Some(group) = self.places.get(key) {
            self.facts[*group].absorb(fact);
            return *group;
        }
        let group = self.keys.len();
        self.places.insert(key.to_vec(), group);
        self.keys.push(key.to_vec());
        self.samples.push(row);
        self.facts.push(*fact);
        group
    }
}

impl Grouping {
    /// The rows' keys and arguments; `None` when none is left.
    pub(super) fn calculate(&self, delta: &Delta, run: &mut Run<'_>) -> Option<Input> {
        if delta.is_empty() {
            return None;
        }
        let calculated = self.calculation.run(&delta.table(&self.schema));
        run.faults.reject(calculated.failed, &delta.facts);
        let facts: Vec<Fact> = match &calculated.kept {
            None => delta.facts.clone(),
            Some(kept) => kept.iter().map(|position| delta.facts[*position]).collect(),
        };
        (!facts.is_empty()).then_some(Input { arrays: calculated.arrays, facts, chosen: None })
    }

    /// The instant up to which windows are closed for the row.
    pub(super) fn closed_at(&self, fact: &Fact) -> i64 {
        fact.watermark.saturating_sub(self.delay).saturating_sub(self.grace)
    }

    fn key_writers<'a>(&'a self, arrays: &'a [ArrayRef]) -> Vec<KeyWriter<'a>> {
        let keys = self.keys.iter();
        keys.map(|(column_type, place)| KeyWriter::new(column_type, &arrays[*place])).collect()
    }

    /// Which groups have something new to tell; `None`: all. Without aggregates, a group is
    /// told when it is seen first.
    fn news(&self, groups_total: usize, stored: &[usize]) -> Option<Vec<usize>> {
        if !self.aggregates.0.is_empty() || stored.is_empty() {
            return None;
        }
        let mut known = stored.iter().copied().peekable();
        Some((0..groups_total).filter(|group| known.next_if_eq(group).is_none()).collect())
    }

    /// The rows of groups, whose windows are given where they have some.
    pub(super) fn results(
        &self,
        groups: &Groups,
        windows: &[(i64, i64)],
        facts: Vec<Fact>,
    ) -> Result<Delta, StateError> {
        let bounds = |bound: fn(&(i64, i64)) -> i64| {
            let bounds: TimestampMicrosecondArray =
                windows.iter().map(bound).collect::<Vec<_>>().into();
            Arc::new(bounds) as ArrayRef
        };
        let layout = self.layout.iter().map(|column| match column {
            GroupColumn::Key(key) => Arc::clone(&groups.keys[*key]),
            GroupColumn::WindowStart => bounds(|(start, _)| *start),
            GroupColumn::WindowEnd => bounds(|(_, end)| *end),
        });
        let mut columns: Vec<ArrayRef> = layout.collect();
        let results = self.aggregates.evaluate(&groups.states, facts.len());
        columns.extend(results.map_err(StateError::broken)?.into_iter().take(self.told));
        Ok(Delta { columns, facts })
    }

    /// The final rows of entries of the state.
    fn results_of(
        &self,
        entries: &[(Vec<u8>, Bytes)],
        windows: &[(i64, i64)],
    ) -> Result<Delta, StateError> {
        let values: Vec<Bytes> = entries.iter().map(|(_, value)| value.clone()).collect();
        let groups = self.rows.read(&values).map_err(StateError::broken)?;
        let fact = |value: &Bytes| {
            let Age { time, origin } = Age::read(value)?;
            Ok(Fact { row: 0, gone: false, time, origin, watermark: i64::MIN })
        };
        let facts = values.iter().map(fact).collect::<Result<_, StateError>>()?;
        self.results(&groups, windows, facts)
    }

    pub(super) fn info(&self, cost: &'static str) -> OperatorInfo {
        OperatorInfo {
            id: self.id,
            inputs: vec![self.input],
            name: "aggregate",
            words: self.words.clone(),
            tables: vec![self.table],
            cost,
        }
    }
}
