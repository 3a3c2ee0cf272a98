//! Session windows: rows of one key that are no more than a gap apart.
//!
//! A row joins every session that it is within the gap of, and makes them one; the sessions
//! it has replaced are told as gone. A session's window ends a gap after its last row. It is
//! closed when the watermark is beyond its end and the grace, and takes nothing more then:
//! a row beside it begins another.
//!
//! Two tables: sessions by key, last row and first row; and the same turned round, by last
//! row and key, so that closing is a scan of a range.

use std::ops::ControlFlow;

use bytes::Bytes;
use indexmap::IndexMap;

use super::{
    GROUP, Grouping, Input, Tells,
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

/// Sessions that are closed at once.
const CLOSED_ROWS_MAX: usize = 8_192;

/// Bytes of an instant in a key.
const INSTANT_BYTES: usize = 8;

/// GROUP BY with sessions.
#[derive(Debug)]
pub(in crate::stream) struct Sessions {
    pub(in crate::stream) grouping: Grouping,
    /// In microseconds.
    pub(in crate::stream) gap: i64,
    /// The table of sessions by their last row.
    pub(in crate::stream) ends: u16,
}

/// A session as it becomes with the rows of a batch.
#[derive(Debug, Clone)]
struct Session {
    span: Span,
    /// Rows of the batch that are in it.
    rows: Vec<usize>,
    /// Places of the stored sessions that it has taken in.
    stored: Vec<usize>,
}

/// First and last row of a session, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: i64,
    last: i64,
}

/// A session as it was stored.
struct Known {
    key: Vec<u8>,
    span: Span,
    value: Bytes,
}

/// A changed session and the group's key.
struct Changed {
    key: Vec<u8>,
    session: Session,
}

impl Operator for Sessions {
    fn process(&self, _: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        let Some(input) = self.grouping.calculate(&delta, run) else {
            return Ok(Delta::nothing());
        };
        let (mut known, mut changed) = (Vec::new(), Vec::new());
        for (key, rows) in self.rows_by_key(&input) {
            let mut sessions = self.near(&key, &rows, &input, &mut known, run)?;
            for row in rows {
                if !self.add(&mut sessions, row, &input.facts[row]) {
                    run.faults.late.push(input.facts[row].row);
                }
            }
            sessions.retain(|session| !session.rows.is_empty());
            changed
                .extend(sessions.into_iter().map(|session| Changed { key: key.clone(), session }));
        }
        if changed.is_empty() {
            return Ok(Delta::nothing());
        }
        self.finish(&input, &changed, &known, run)
    }

    fn close(&self, watermark: i64, run: &mut Run<'_>) -> Result<Option<Delta>, StateError> {
        let closed = watermark
            .saturating_sub(self.grouping.delay)
            .saturating_sub(self.grouping.grace)
            .saturating_sub(self.gap);
        if run.memo.next_end.is_some_and(|last| last >= closed) {
            return Ok(None);
        }
        let entries = self.closed(closed, run)?;
        if entries.is_empty() {
            return Ok(None);
        }
        if self.grouping.tells != Tells::Final {
            return Ok(Some(Delta::nothing()));
        }
        let windows: Vec<_> = entries.iter().map(|known| self.window(known.span)).collect();
        let entries: Vec<_> = entries.into_iter().map(|known| (known.key, known.value)).collect();
        self.grouping.results_of(&entries, &windows).map(Some)
    }

    fn info(&self) -> OperatorInfo {
        let mut info = self.grouping.info(
            "a scan of the key's sessions near the rows, a read and write of each changed one",
        );
        info.tables.push(self.ends);
        info
    }
}

impl Sessions {
    /// Rows by the bytes of their group's key, each in the order in which they came.
    fn rows_by_key(&self, input: &Input) -> IndexMap<Vec<u8>, Vec<usize>> {
        let writers = self.grouping.key_writers(&input.arrays);
        let mut rows: IndexMap<Vec<u8>, Vec<usize>> = IndexMap::new();
        for row in 0..input.facts.len() {
            let mut key = vec![GROUP];
            writers.iter().for_each(|writer| writer.write(row, &mut key));
            rows.entry(key).or_default().push(row);
        }
        rows
    }

    /// The stored sessions of a key that the rows may touch.
    fn near(
        &self,
        key: &[u8],
        rows: &[usize],
        input: &Input,
        known: &mut Vec<Known>,
        run: &mut Run<'_>,
    ) -> Result<Vec<Session>, StateError> {
        let times = || rows.iter().map(|row| input.facts[*row].time);
        let (Some(least), Some(most)) = (times().min(), times().max()) else {
            return Ok(Vec::new());
        };
        let (mut from, mut to) = (key.to_vec(), key.to_vec());
        write_i64(least.saturating_sub(self.gap), &mut from);
        to.extend_from_slice(&[u8::MAX; INSTANT_BYTES + 1]);
        let mut sessions = Vec::new();
        run.state.scan(self.grouping.table, &from, &to, &mut |entry, value| {
            let span = span_of(&entry[key.len()..]);
            if span.first > most.saturating_add(self.gap) {
                return ControlFlow::Break(());
            }
            sessions.push(Session { span, rows: Vec::new(), stored: vec![known.len()] });
            let value = Bytes::copy_from_slice(value);
            known.push(Known { key: entry.to_vec(), span, value });
            ControlFlow::Continue(())
        })?;
        Ok(sessions)
    }

    /// Puts a row into its session; `false`: it is late.
    fn add(&self, sessions: &mut Vec<Session>, row: usize, fact: &Fact) -> bool {
        let closed = self.grouping.closed_at(fact).saturating_sub(self.gap);
        let time = fact.time;
        let touches = |session: &Session| {
            session.span.last >= closed
                && session.span.last.saturating_add(self.gap) >= time
                && session.span.first <= time.saturating_add(self.gap)
        };
        let touched = sessions.iter().filter(|session| touches(session));
        let last = touched.map(|session| session.span.last).fold(time, i64::max);
        if last < closed {
            return false;
        }
        let mut whole =
            Session { span: Span { first: time, last }, rows: Vec::new(), stored: Vec::new() };
        sessions.retain(|session| {
            let touched = touches(session);
            if touched {
                whole.span.first = whole.span.first.min(session.span.first);
                whole.rows.extend(&session.rows);
                whole.stored.extend(&session.stored);
            }
            !touched
        });
        whole.rows.push(row);
        sessions.push(whole);
        true
    }

    /// Stores the changed sessions in the place of those they have taken in.
    fn finish(
        &self,
        input: &Input,
        changed: &[Changed],
        known: &[Known],
        run: &mut Run<'_>,
    ) -> Result<Delta, StateError> {
        let mut stored_of: Vec<(usize, usize)> = Vec::new();
        for (group, changed) in changed.iter().enumerate() {
            stored_of.extend(changed.session.stored.iter().map(|place| (*place, group)));
        }
        let values: Vec<Bytes> =
            stored_of.iter().map(|(place, _)| known[*place].value.clone()).collect();
        let old = match values.is_empty() {
            true => None,
            false => Some(self.grouping.rows.read(&values).map_err(StateError::broken)?),
        };
        let facts = facts_of(input, changed, known)?;
        let states = self.states(input, changed, old.as_ref(), &stored_of)?;
        let samples = positions(changed.iter().map(|changed| changed.session.rows[0]));
        let keys = input.arrays[..self.grouping.keys.len()].iter();
        let groups = Groups { keys: keys.map(|array| pick(array, &samples)).collect(), states };
        for (place, _) in &stored_of {
            self.remove(&known[*place], run);
        }
        self.store(&groups, changed, &facts, run)?;
        if self.grouping.tells == Tells::Final {
            return Ok(Delta::nothing());
        }
        let mut told = match old {
            Some(old) => self.gone(&old, &stored_of, changed, known, &facts)?,
            None => Delta::nothing(),
        };
        let windows: Vec<_> =
            changed.iter().map(|changed| self.window(changed.session.span)).collect();
        told.append(self.grouping.results(&groups, &windows, facts)?);
        Ok(told)
    }

    fn states(
        &self,
        input: &Input,
        changed: &[Changed],
        old: Option<&Groups>,
        stored_of: &[(usize, usize)],
    ) -> Result<super::functions::States, StateError> {
        let in_groups = changed.iter().enumerate();
        let mut rows: Vec<(usize, usize)> = in_groups
            .flat_map(|(group, changed)| changed.session.rows.iter().map(move |row| (*row, group)))
            .collect();
        rows.sort_unstable();
        let chosen = positions(rows.iter().map(|(row, _)| *row));
        let groups: Vec<usize> = rows.iter().map(|(_, group)| *group).collect();
        let rows = Rows { chosen: Some(&chosen), groups: &groups, groups_total: changed.len() };
        let stored = match old {
            None => Stored::default(),
            Some(old) => Stored {
                states: old.states.clone(),
                groups: stored_of.iter().map(|(_, group)| *group).collect(),
            },
        };
        let states = self.grouping.aggregates.accumulate(&input.arrays, &rows, &stored);
        states.map_err(StateError::broken)
    }

    /// The rows of replaced sessions, as gone. Who replaces rows by their key need not hear
    /// of those whose window is as before.
    fn gone(
        &self,
        old: &Groups,
        stored_of: &[(usize, usize)],
        changed: &[Changed],
        known: &[Known],
        facts: &[Fact],
    ) -> Result<Delta, StateError> {
        let windows: Vec<_> =
            stored_of.iter().map(|(place, _)| self.window(known[*place].span)).collect();
        let mut old_facts = Vec::with_capacity(stored_of.len());
        for (place, group) in stored_of {
            let Age { time, origin } = Age::read(&known[*place].value)?;
            old_facts.push(Fact { gone: true, time, origin, ..facts[*group] });
        }
        let told: Vec<usize> = (0..stored_of.len())
            .filter(|index| {
                let (place, group) = stored_of[*index];
                self.grouping.tells == Tells::OldAndNew
                    || known[place].span != changed[group].session.span
            })
            .collect();
        Ok(self.grouping.results(old, &windows, old_facts)?.rows(&told))
    }

    fn store(
        &self,
        groups: &Groups,
        changed: &[Changed],
        facts: &[Fact],
        run: &mut Run<'_>,
    ) -> Result<(), StateError> {
        let ages: Vec<Age> = facts.iter().map(Age::of).collect();
        let state = &mut *run.state;
        self.grouping
            .rows
            .write(groups, &ages, |group, value| {
                let Changed { key, session } = &changed[group];
                state.put(self.ends, &end_key(key, session.span), vec![1]);
                state.put(self.grouping.table, &session_key(key, session.span), value);
            })
            .map_err(StateError::broken)?;
        if let Some(next) = &mut run.memo.next_end {
            let lasts = changed.iter().map(|changed| changed.session.span.last);
            *next = lasts.fold(*next, i64::min);
        }
        Ok(())
    }

    fn remove(&self, known: &Known, run: &mut Run<'_>) {
        let key = &known.key[..known.key.len() - 2 * INSTANT_BYTES];
        run.state.remove(self.ends, &end_key(key, known.span));
        run.state.remove(self.grouping.table, &known.key);
    }

    /// Takes sessions whose last row is before `closed` out of the state.
    fn closed(&self, closed: i64, run: &mut Run<'_>) -> Result<Vec<Known>, StateError> {
        let mut from = Vec::new();
        write_i64(run.memo.next_end.unwrap_or(i64::MIN), &mut from);
        let (mut ends, mut next) = (Vec::new(), i64::MAX);
        run.state.scan(self.ends, &from, &[u8::MAX; INSTANT_BYTES + 1], &mut |key, _| {
            let last = read_i64(key).unwrap_or(i64::MAX);
            if last >= closed || ends.len() == CLOSED_ROWS_MAX {
                next = last;
                return ControlFlow::Break(());
            }
            ends.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        run.memo.next_end = Some(next);
        let mut entries = Vec::with_capacity(ends.len());
        for end in ends {
            let (key, span) = key_and_span(&end);
            let key = session_key(key, span);
            let value = run.state.get(self.grouping.table, &key)?;
            let value = value.ok_or_else(|| StateError::broken("a session is missing"))?;
            let known = Known { key, span, value };
            self.remove(&known, run);
            entries.push(known);
        }
        Ok(entries)
    }

    fn window(&self, span: Span) -> (i64, i64) {
        (span.first, span.last.saturating_add(self.gap))
    }
}

/// What is known of each changed session, what it has taken in included.
fn facts_of(input: &Input, changed: &[Changed], known: &[Known]) -> Result<Vec<Fact>, StateError> {
    let fact = |changed: &Changed| {
        let mut rows = changed.session.rows.iter();
        let first = rows.next().expect("a changed session has a row");
        let mut fact = input.facts[*first];
        rows.for_each(|row| fact.absorb(&input.facts[*row]));
        for place in &changed.session.stored {
            let both = Age::of(&fact).with(Age::read(&known[*place].value)?);
            (fact.time, fact.origin) = (both.time, both.origin);
        }
        Ok(fact)
    };
    changed.iter().map(fact).collect()
}

/// By key, last row, first row.
fn session_key(key: &[u8], span: Span) -> Vec<u8> {
    let mut bytes = key.to_vec();
    write_i64(span.last, &mut bytes);
    write_i64(span.first, &mut bytes);
    bytes
}

/// By last row, key, first row.
fn end_key(key: &[u8], span: Span) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 2 * INSTANT_BYTES);
    write_i64(span.last, &mut bytes);
    bytes.extend_from_slice(key);
    write_i64(span.first, &mut bytes);
    bytes
}

fn span_of(bytes: &[u8]) -> Span {
    let last = read_i64(bytes).expect("a session's key has its last row");
    let first = read_i64(&bytes[INSTANT_BYTES..]).expect("a session's key has its first row");
    Span { first, last }
}

fn key_and_span(end_key: &[u8]) -> (&[u8], Span) {
    let last = read_i64(end_key).expect("an end has its last row");
    let (key, first) = end_key[INSTANT_BYTES..].split_at(end_key.len() - 2 * INSTANT_BYTES);
    let first = read_i64(first).expect("an end has its first row");
    (key, Span { first, last })
}
