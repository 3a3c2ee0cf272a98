//! A view's store, for whoever asks: rows by key, by range, by window, all of them.
//!
//! Answers are as the view's tasks have processed their records, batch by batch; what an
//! answer holds may be ahead of the last checkpoint. A question is answered in pieces, so
//! that it never holds up a task for long: rows that change meanwhile are told as they are
//! when their piece is looked at. Of the partitions of the view only those are asked that
//! run in this process.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use bytes::Bytes;
use courant_model::{
    Columns, Origin, PartitionId,
    limits::{VIEW_SCAN_LIMIT_MAX, VIEW_SCAN_PIECE},
};
use courant_sql::stream::{RESULTS, StoredResult, Visit};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use super::{RunningView, ViewChange, state::ViewState};
use crate::view::window_of;

/// A view's store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ViewStore {
    view: Arc<RunningView>,
}

/// A row of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRow {
    /// A JSON object with the view's columns in order.
    pub row: Bytes,
    /// The largest event time that contributed, in microseconds.
    pub event_time_micros: i64,
    /// The oldest change that contributed.
    pub origin: Option<Origin>,
}

/// Which rows of a store are wanted; all of them by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ViewScan {
    /// Values of the first key columns, by name, which rows must have: of a windowed view,
    /// its group columns for all windows of a group.
    pub prefix: Map<String, Value>,
    /// Least value of the key column behind the prefix.
    pub from: Option<Value>,
    /// Bound of its values, exclusive.
    pub to: Option<Value>,
    /// Only windows that begin at or after this instant, in microseconds.
    pub window_from_micros: Option<i64>,
    /// Only windows that begin before this instant, in microseconds.
    pub window_to_micros: Option<i64>,
    /// How many rows at most; [`VIEW_SCAN_LIMIT_MAX`] unless set, and never more.
    pub limit: Option<usize>,
    /// Where to go on: [`ViewPage::next`] of the page before.
    pub after: Option<String>,
}

/// Rows, in the order of their keys, partition by partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewPage {
    pub rows: Vec<ViewRow>,
    /// Set: there may be more, behind this.
    pub next: Option<String>,
}

/// Why a store does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("view {view:?} has no store: its results are added, none is ever replaced")]
    NoStore { view: String },
    #[error("key of view {view:?} is wrong: {why}")]
    WrongKey { view: String, why: String },
    #[error("view {view:?} has no windows")]
    NoWindows { view: String },
    #[error("continuation {text:?} is none of view {view:?}; begin again without it")]
    WrongContinuation { view: String, text: String },
    #[error("view {view:?} cannot be read: {why}")]
    Storage { view: String, why: String },
}

/// What a scan asks of each partition, in bytes.
#[derive(Debug, Clone)]
struct Bounds {
    from: Vec<u8>,
    to: Vec<u8>,
    /// Instants that a window may begin at.
    windows: Option<Range<i64>>,
    limit: usize,
}

impl ViewStore {
    pub(crate) fn new(view: &Arc<RunningView>) -> Self {
        Self { view: Arc::clone(view) }
    }

    pub fn name(&self) -> &str {
        &self.view.name
    }

    /// Columns of a row, in order.
    pub fn columns(&self) -> &Columns {
        self.view.plan.query.output()
    }

    /// Names of the key's columns, in the order in which rows are sorted; of a windowed view
    /// the window's come last. `None`: there is no store, only changes to watch.
    pub fn key(&self) -> Option<Vec<&str>> {
        self.view.plan.key()
    }

    /// The names of the window's columns, start and end, among those of the key.
    pub fn window(&self) -> Option<(&str, &str)> {
        let window = self.view.plan.query.window()?;
        Some((&window.start, &window.end))
    }

    /// The row of a key, by the values of all of its columns.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn get(&self, key: &Map<String, Value>) -> Result<Option<ViewRow>, ViewError> {
        let columns = self.key().unwrap_or_default();
        if let Some(missing) = columns.iter().find(|name| !key.contains_key(**name)) {
            return Err(self.wrong_key(format!("column {missing:?} is missing")));
        }
        let scan = ViewScan { prefix: key.clone(), limit: Some(1), ..ViewScan::default() };
        Ok(self.scan(&scan).await?.rows.pop())
    }

    /// Rows by the first columns of their key, by ranges, by windows; or all, page by page.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn scan(&self, scan: &ViewScan) -> Result<ViewPage, ViewError> {
        let bounds = self.bounds(scan)?;
        let (first, after) = match &scan.after {
            None => (PartitionId::MIN, None),
            Some(text) => {
                let (partition, key) = self.continuation(text)?;
                (partition, Some(key))
            }
        };
        let states = self.view.states();
        let found = tokio::task::spawn_blocking(move || page(&states, first, after, &bounds));
        self.answered(found.await)
    }

    /// How many rows the store has here.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn count(&self) -> Result<u64, ViewError> {
        let bounds = self.bounds(&ViewScan::default())?;
        let states = self.view.states();
        let found = tokio::task::spawn_blocking(move || {
            let mut rows = 0;
            for (_, state) in &states {
                pieces(state, bounds.from.clone(), &bounds.to, &mut |_, _| {
                    rows += 1;
                    ControlFlow::Continue(())
                })?;
            }
            Ok(rows)
        });
        self.answered(found.await)
    }

    /// Changes from now on, as they happen; of a view without a store the rows that are
    /// added. A receiver that falls too far behind is told how many it missed, and does well
    /// to scan the store again.
    pub fn watch(&self) -> broadcast::Receiver<ViewChange> {
        self.view.watch()
    }

    fn bounds(&self, scan: &ViewScan) -> Result<Bounds, ViewError> {
        let view = || self.view.name.clone();
        let Some(columns) = self.key() else { return Err(ViewError::NoStore { view: view() }) };
        let prefix = self.encode(&scan.prefix)?;
        let bound = |value: &Value| {
            let Some(column) = columns.get(scan.prefix.len()) else {
                let why = "no column is left behind the prefix for a range".to_owned();
                return Err(self.wrong_key(why));
            };
            let mut values = scan.prefix.clone();
            values.insert((*column).to_owned(), value.clone());
            self.encode(&values)
        };
        let from = scan.from.as_ref().map_or_else(|| Ok(prefix.clone()), bound)?;
        let to = scan.to.as_ref().map_or_else(|| Ok(after(&prefix)), bound)?;
        let windows = match (scan.window_from_micros, scan.window_to_micros) {
            (None, None) => None,
            (Some(_), _) | (_, Some(_)) if self.window().is_none() => {
                return Err(ViewError::NoWindows { view: view() });
            }
            (from, to) => Some(from.unwrap_or(i64::MIN)..to.unwrap_or(i64::MAX)),
        };
        let limit = scan.limit.unwrap_or(VIEW_SCAN_LIMIT_MAX).min(VIEW_SCAN_LIMIT_MAX);
        Ok(Bounds { from, to, windows, limit })
    }

    /// The bytes of the first columns of a key.
    fn encode(&self, values: &Map<String, Value>) -> Result<Vec<u8>, ViewError> {
        if values.is_empty() && self.key().is_some_and(|key| !key.is_empty()) {
            return Ok(Vec::new());
        }
        let text = serde_json::to_vec(values).unwrap_or_default();
        self.view.plan.query.key_bytes(&text).map_err(|why| self.wrong_key(why))
    }

    fn wrong_key(&self, why: String) -> ViewError {
        ViewError::WrongKey { view: self.view.name.clone(), why }
    }

    /// `partition:key`, the key in hexadecimal digits.
    fn continuation(&self, text: &str) -> Result<(PartitionId, Vec<u8>), ViewError> {
        let read = || {
            let (partition, digits) = text.split_once(':')?;
            let pairs = digits.as_bytes().chunks_exact(2);
            let key =
                pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
            Some((partition.parse().ok()?, key.collect::<Option<Vec<u8>>>()?))
        };
        read().ok_or_else(|| ViewError::WrongContinuation {
            view: self.view.name.clone(),
            text: text.chars().take(100).collect(),
        })
    }

    fn answered<R>(
        &self,
        found: Result<Result<R, String>, tokio::task::JoinError>,
    ) -> Result<R, ViewError> {
        let found = found.unwrap_or_else(|error| Err(error.to_string()));
        found.map_err(|why| ViewError::Storage { view: self.view.name.clone(), why })
    }
}

/// Looks through the partitions, from the one and the key on where the last page ended.
fn page(
    states: &[(PartitionId, Arc<ViewState>)],
    first: PartitionId,
    mut after: Option<Vec<u8>>,
    bounds: &Bounds,
) -> Result<ViewPage, String> {
    let mut page = ViewPage::default();
    for (number, state) in states.iter().filter(|(number, _)| *number >= first) {
        let after = after.take().filter(|_| *number == first);
        let from = after.map_or_else(|| bounds.from.clone(), next_key);
        let mut full = None;
        pieces(state, from, &bounds.to, &mut |key, value| {
            if page.rows.len() == bounds.limit {
                full = Some(());
                return ControlFlow::Break(());
            }
            if bounds.is_in_window(key)
                && let Some(stored) = StoredResult::decode(&Bytes::copy_from_slice(value))
            {
                let StoredResult { event_time_micros, origin, row } = stored;
                page.rows.push(ViewRow { row, event_time_micros, origin });
                page.next = Some(format!("{number}:{}", digits(key)));
            }
            ControlFlow::Continue(())
        })?;
        if full.is_some() {
            return Ok(page);
        }
    }
    page.next = None;
    Ok(page)
}

impl Bounds {
    fn is_in_window(&self, key: &[u8]) -> bool {
        let Some(windows) = &self.windows else { return true };
        window_of(key).is_some_and(|(start, _)| windows.contains(&start))
    }
}

/// Visits results in pieces, between which the view's task can go on.
fn pieces(
    state: &ViewState,
    mut from: Vec<u8>,
    to: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), String> {
    loop {
        let (mut seen, mut last, mut ended) = (0, Vec::new(), false);
        let scanned = state.scan(RESULTS, (&from, to), &mut |key, value| {
            seen += 1;
            ended = visit(key, value).is_break();
            if ended || seen == VIEW_SCAN_PIECE {
                last = key.to_vec();
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| error.to_string())?;
        if ended || last.is_empty() {
            return Ok(());
        }
        from = next_key(last);
    }
}

/// The first key behind one.
fn next_key(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The first key behind all that begin with a prefix.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if last < u8::MAX {
            after.push(last + 1);
            return after;
        }
    }
    vec![u8::MAX; 32]
}

fn digits(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
