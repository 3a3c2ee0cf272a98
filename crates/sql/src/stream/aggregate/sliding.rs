//! Sliding windows: every set of rows of one key that a span of the width can hold.
//!
//! As in Kafka Streams, instants are milliseconds, both ends of a window belong to it, and
//! there is one window that ends with each row and one that begins just after it, if that
//! one holds any row. None begins before the epoch.
//!
//! Two tables: panes, the states of the rows of one key and instant; and windows that are to
//! close, by their end.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use bytes::Bytes;
use indexmap::IndexMap;

use super::{
    CLOSED_ROWS_MAX, END_BYTES, GROUP, Grouping, Input, Tells,
    functions::{Rows, Stored},
    rows::Groups,
};
use crate::stream::{
    age::Age,
    delta::{Delta, Fact, pick, positions},
    key::{read_i64, write_i64},
    operator::{Operator, OperatorInfo, Run},
    state::StateError,
};

/// A millisecond in microseconds: the distance between neighbouring instants.
const INSTANT: i64 = 1_000;

/// GROUP BY with sliding windows.
#[derive(Debug)]
pub(in crate::stream) struct Sliding {
    pub(in crate::stream) grouping: Grouping,
    /// In microseconds.
    pub(in crate::stream) width: i64,
    /// The table of windows that are still to close.
    pub(in crate::stream) pending: u16,
}

/// The panes of some keys, as they are stored.
#[derive(Default)]
struct Panes {
    values: Vec<Bytes>,
    /// For each key its instants and the places of their values.
    places: IndexMap<Vec<u8>, BTreeMap<i64, usize>>,
}

/// A window: the key of its group, and its end.
type WindowId = (Vec<u8>, i64);

impl Operator for Sliding {
    fn process(&self, _: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        let Some(input) = self.grouping.calculate(&delta, run) else {
            return Ok(Delta::nothing());
        };
        let mut told = Delta::nothing();
        let mut rows = Vec::new();
        for row in 0..input.facts.len() {
            let fact = &input.facts[row];
            let (closed, at) = (self.closed_at(fact), instant(fact.time));
            // What this row's watermark closes must not hold it, so it is told before.
            if self.grouping.tells == Tells::Final && self.is_due(closed, run) {
                told.append(self.take(&input, &std::mem::take(&mut rows), run)?);
                while let Some(delta) = self.close_up_to(closed, run)? {
                    told.append(delta);
                }
            }
            if at.saturating_add(self.width) <= closed {
                run.faults.late.push(fact.row);
                continue;
            }
            if let Some(next) = &mut run.memo.next_end {
                *next = (*next).min(at);
            }
            // Some of its windows are closed, and those must not be told with it.
            if at > closed {
                rows.push(row);
            } else {
                told.append(self.take(&input, &std::mem::take(&mut rows), run)?);
                told.append(self.take(&input, &[row], run)?);
            }
        }
        told.append(self.take(&input, &rows, run)?);
        Ok(told)
    }

    fn close(&self, watermark: i64, run: &mut Run<'_>) -> Result<Option<Delta>, StateError> {
        let closed = self.closed_by(watermark);
        if !self.is_due(closed, run) {
            return Ok(None);
        }
        self.close_up_to(closed, run)
    }

    fn info(&self) -> OperatorInfo {
        let mut info =
            self.grouping.info("a scan of the key's instants within twice the width of the rows");
        info.tables.push(self.pending);
        info
    }
}

impl Sliding {
    /// The end of the last windows that are closed for a row. The end belongs to a window, so
    /// it is open at it.
    fn closed_at(&self, fact: &Fact) -> i64 {
        self.closed_by(fact.watermark)
    }

    fn closed_by(&self, watermark: i64) -> i64 {
        let Grouping { delay, grace, .. } = self.grouping;
        instant(watermark.saturating_sub(delay).saturating_sub(grace)).saturating_sub(INSTANT)
    }

    fn is_due(&self, closed: i64, run: &Run<'_>) -> bool {
        run.memo.next_end.is_none_or(|next| next <= closed)
    }

    /// The end of the last window that an instant has part in.
    fn last_end(&self, instant: i64) -> i64 {
        instant.saturating_add(self.width).saturating_add(INSTANT)
    }

    /// Adds rows to their panes, and tells the windows that change by it.
    fn take(&self, input: &Input, rows: &[usize], run: &mut Run<'_>) -> Result<Delta, StateError> {
        if rows.is_empty() {
            return Ok(Delta::nothing());
        }
        let by_pane = self.by_pane(input, rows);
        let former = self.add(input, &by_pane, run)?;
        let spans = spans(&by_pane);
        let panes = self.load(&spans, run)?;
        let windows = self.changed(input, &by_pane, &former, &panes);
        if self.grouping.tells == Tells::Final {
            for (key, end) in windows.keys() {
                run.state.put(self.pending, &pending_key(key, *end), vec![1]);
            }
            return Ok(Delta::nothing());
        }
        self.results(&windows, &panes)
    }

    /// Rows by the key of their group and their instant.
    fn by_pane(&self, input: &Input, rows: &[usize]) -> IndexMap<WindowId, Vec<usize>> {
        let writers = self.grouping.key_writers(&input.arrays);
        let mut by_pane: IndexMap<WindowId, Vec<usize>> = IndexMap::new();
        for row in rows {
            let mut key = vec![GROUP];
            writers.iter().for_each(|writer| writer.write(*row, &mut key));
            by_pane.entry((key, instant(input.facts[*row].time))).or_default().push(*row);
        }
        by_pane
    }

    /// Stores the rows in their panes; answers which of these were there, ascending.
    fn add(
        &self,
        input: &Input,
        by_pane: &IndexMap<WindowId, Vec<usize>>,
        run: &mut Run<'_>,
    ) -> Result<Vec<usize>, StateError> {
        let (mut facts, mut values, mut stored, mut rows) =
            (Vec::new(), Vec::new(), Stored::default(), Vec::new());
        for (pane, ((key, instant), members)) in by_pane.iter().enumerate() {
            let mut fact = input.facts[members[0]];
            members[1..].iter().for_each(|row| fact.absorb(&input.facts[*row]));
            if let Some(value) = run.state.get(self.grouping.table, &pane_key(key, *instant))? {
                let both = Age::of(&fact).with(Age::read(&value)?);
                (fact.time, fact.origin) = (both.time, both.origin);
                values.push(value);
                stored.groups.push(pane);
            }
            facts.push(fact);
            rows.extend(members.iter().map(|row| (*row, pane)));
        }
        if !values.is_empty() {
            stored.states = self.grouping.rows.read(&values).map_err(StateError::broken)?.states;
        }
        rows.sort_unstable();
        let chosen = positions(rows.iter().map(|(row, _)| *row));
        let groups: Vec<usize> = rows.iter().map(|(_, pane)| *pane).collect();
        let rows = Rows { chosen: Some(&chosen), groups: &groups, groups_total: by_pane.len() };
        let states = self.grouping.aggregates.accumulate(&input.arrays, &rows, &stored);
        let samples = positions(by_pane.values().map(|rows| rows[0]));
        let keys = input.arrays[..self.grouping.keys.len()].iter();
        let groups = Groups {
            keys: keys.map(|array| pick(array, &samples)).collect(),
            states: states.map_err(StateError::broken)?,
        };
        let ages: Vec<Age> = facts.iter().map(Age::of).collect();
        self.grouping
            .rows
            .write(&groups, &ages, |pane, value| {
                let ((key, instant), _) = by_pane.get_index(pane).expect("one value for each pane");
                run.state.put(self.grouping.table, &pane_key(key, *instant), value);
                // The window that begins after it may hold nothing, but reminds of the pane.
                let end = self.last_end(*instant);
                run.state.put(self.pending, &pending_key(key, end), vec![1]);
            })
            .map_err(StateError::broken)?;
        Ok(stored.groups)
    }

    /// The panes of each key that windows of the spans' instants may hold.
    fn load(
        &self,
        spans: &IndexMap<Vec<u8>, (i64, i64)>,
        run: &mut Run<'_>,
    ) -> Result<Panes, StateError> {
        let mut panes = Panes::default();
        for (key, (least, most)) in spans {
            let reach = self.width.saturating_add(INSTANT);
            let from = pane_key(key, least.saturating_sub(reach));
            let to = pane_key(key, most.saturating_add(reach).saturating_add(INSTANT));
            let (values, places) =
                (&mut panes.values, panes.places.entry(key.clone()).or_default());
            run.state.scan(self.grouping.table, &from, &to, &mut |entry, value| {
                let instant = read_i64(&entry[key.len()..]).unwrap_or(i64::MAX);
                places.insert(instant, values.len());
                values.push(Bytes::copy_from_slice(value));
                ControlFlow::Continue(())
            })?;
        }
        Ok(panes)
    }

    /// The windows that the rows change and that are open to them, with what is known of
    /// the last such row.
    fn changed(
        &self,
        input: &Input,
        by_pane: &IndexMap<WindowId, Vec<usize>>,
        former: &[usize],
        panes: &Panes,
    ) -> IndexMap<WindowId, Fact> {
        let mut windows = IndexMap::new();
        for (pane, ((key, instant), rows)) in by_pane.iter().enumerate() {
            let is_new = former.binary_search(&pane).is_err();
            let ends = self.ends(*instant, is_new, &panes.places[key]);
            for row in rows {
                let fact = input.facts[*row];
                let closed = self.closed_at(&fact);
                for end in ends.iter().filter(|end| **end > closed) {
                    windows.insert((key.clone(), *end), fact);
                }
            }
        }
        windows
    }

    /// Ends of the windows that a row at the instant, which may be new, changes or brings
    /// about, ascending.
    fn ends(&self, instant: i64, is_new: bool, panes: &BTreeMap<i64, usize>) -> BTreeSet<i64> {
        let mut ends = BTreeSet::new();
        // Windows that end with a row from here on, this one's among them.
        let until = instant.saturating_add(self.width);
        ends.extend(panes.range(instant..=until).map(|(last, _)| self.end_at(*last)));
        // Windows that begin after a former row and reach here.
        let after = instant.saturating_sub(self.width).saturating_sub(INSTANT);
        ends.extend(panes.range(after..instant).map(|(before, _)| self.last_end(*before)));
        // The window that begins after this row, if it holds any; a former row of the instant,
        // or one at the window's end, has brought it about.
        let own = self.last_end(instant);
        let is_told = !is_new || panes.contains_key(&own);
        if !is_told && panes.range(instant + INSTANT..own).next().is_some() {
            ends.insert(own);
        }
        ends
    }

    /// The end of the window that ends with a row, or that begins with the epoch.
    fn end_at(&self, last: i64) -> i64 {
        if last < 0 { last } else { last.max(self.width) }
    }

    /// The results of windows, from their panes.
    fn results(
        &self,
        windows: &IndexMap<WindowId, Fact>,
        panes: &Panes,
    ) -> Result<Delta, StateError> {
        let stored = self.grouping.rows.read(&panes.values).map_err(StateError::broken)?;
        let (mut parts, mut facts, mut samples, mut bounds) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((key, end), fact) in windows {
            let start = end.saturating_sub(self.width);
            let mut held =
                panes.places[key].range(start..=*end).map(|(_, place)| *place).peekable();
            let Some(sample) = held.peek().copied() else { continue };
            let window = bounds.len();
            let mut age = Age::read(&panes.values[sample])?;
            for place in held {
                age = age.with(Age::read(&panes.values[place])?);
                parts.push((place, window));
            }
            facts.push(Fact { time: age.time, origin: age.origin, ..*fact });
            samples.push(sample);
            bounds.push((start, *end));
        }
        if bounds.is_empty() {
            return Ok(Delta::nothing());
        }
        let aggregates = &self.grouping.aggregates;
        let states = aggregates
            .merge(&stored.states, &parts, &Stored::default(), bounds.len())
            .map_err(StateError::broken)?;
        let samples = positions(samples);
        let keys = stored.keys.iter().map(|array| pick(array, &samples)).collect();
        self.grouping.results(&Groups { keys, states }, &bounds, facts)
    }

    /// Tells windows that end at `closed` or before, and forgets panes that no window needs.
    fn close_up_to(&self, closed: i64, run: &mut Run<'_>) -> Result<Option<Delta>, StateError> {
        let mut from = Vec::new();
        write_i64(run.memo.next_end.unwrap_or(i64::MIN), &mut from);
        let (mut due, mut next) = (Vec::new(), i64::MAX);
        run.state.scan(self.pending, &from, &[u8::MAX; END_BYTES + 1], &mut |key, _| {
            let end = read_i64(key).unwrap_or(i64::MAX);
            if end > closed || due.len() == CLOSED_ROWS_MAX {
                next = end;
                return ControlFlow::Break(());
            }
            due.push((key[END_BYTES..].to_vec(), end));
            ControlFlow::Continue(())
        })?;
        run.memo.next_end = Some(next);
        if due.is_empty() {
            return Ok(None);
        }
        let told = match self.grouping.tells {
            Tells::Final => self.told(&due, run)?,
            _ => Delta::nothing(),
        };
        self.forget(&due, closed, run)?;
        Ok(Some(told))
    }

    fn told(&self, due: &[WindowId], run: &mut Run<'_>) -> Result<Delta, StateError> {
        let mut spans: IndexMap<Vec<u8>, (i64, i64)> = IndexMap::new();
        for (key, end) in due {
            let span = spans.entry(key.clone()).or_insert((*end, *end));
            *span = (span.0.min(end.saturating_sub(self.width)), span.1.max(*end));
        }
        let panes = self.load(&spans, run)?;
        let fact = Fact { row: 0, gone: false, time: 0, origin: None, watermark: i64::MIN };
        let windows = due.iter().cloned().map(|window| (window, fact)).collect();
        self.results(&windows, &panes)
    }

    fn forget(&self, due: &[WindowId], closed: i64, run: &mut Run<'_>) -> Result<(), StateError> {
        for (key, end) in due {
            run.state.remove(self.pending, &pending_key(key, *end));
            // Instants whose last window is closed too.
            let from = pane_key(key, i64::MIN);
            let last = closed.saturating_sub(self.width).saturating_sub(INSTANT);
            let to = pane_key(key, last.saturating_add(1));
            let mut over = Vec::new();
            run.state.scan(self.grouping.table, &from, &to, &mut |entry, _| {
                over.push(entry.to_vec());
                ControlFlow::Continue(())
            })?;
            over.iter().for_each(|pane| run.state.remove(self.grouping.table, pane));
        }
        Ok(())
    }
}

/// The millisecond of an event time.
fn instant(time: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(INSTANT))
}

/// The least and the greatest instant of each key.
fn spans(by_pane: &IndexMap<WindowId, Vec<usize>>) -> IndexMap<Vec<u8>, (i64, i64)> {
    let mut spans: IndexMap<Vec<u8>, (i64, i64)> = IndexMap::new();
    for (key, instant) in by_pane.keys() {
        let span = spans.entry(key.clone()).or_insert((*instant, *instant));
        *span = (span.0.min(*instant), span.1.max(*instant));
    }
    spans
}

fn pane_key(key: &[u8], instant: i64) -> Vec<u8> {
    let mut bytes = key.to_vec();
    write_i64(instant, &mut bytes);
    bytes
}

fn pending_key(key: &[u8], end: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(END_BYTES + key.len());
    write_i64(end, &mut bytes);
    bytes.extend_from_slice(key);
    bytes
}
