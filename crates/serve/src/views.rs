//! What the HTTP side asks of the running views.
//!
//! As [`crate::Pipelines`], a narrow view of the runtime: states to show, and rows of the
//! stores. Tests put a fake.

use std::fmt;

use async_trait::async_trait;
use courant_model::TopicName;
use courant_pipeline::{
    plan::{ViewEmit, ViewPlan},
    runtime::{Runtime, TaskState, ViewError, ViewPage, ViewScan, ViewStatus},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// The views of a running file.
#[async_trait]
pub trait Views: Send + Sync + fmt::Debug {
    /// Every view, in the order of the file.
    fn views(&self) -> Vec<ViewState>;

    /// Rows of a view's store.
    ///
    /// # Errors
    /// [`ApiError::UnknownView`], [`ApiError::View`].
    async fn scan(&self, view: &str, scan: &ViewScan) -> Result<ViewPage, ApiError>;
}

/// A view as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ViewState {
    pub name: String,
    pub state: TaskState,
    /// The query as the file has it.
    pub sql: String,
    /// Topics that it reads.
    pub from: Vec<TopicName>,
    /// Topic of its results.
    pub to: TopicName,
    pub group: String,
    pub columns: Vec<ViewColumn>,
    /// Columns that a row is found by, a window's last; `None`: results are appended, and
    /// there is no store.
    pub key: Option<Vec<String>>,
    /// `None`: the rows are of no windows.
    pub window: Option<ViewWindow>,
    /// `changes` or `final`.
    pub emit: &'static str,
    /// How long after its end a window still takes records.
    pub grace_millis: i64,
    /// Partitions that it reads here.
    pub partitions: usize,
    pub records_in: u64,
    pub records_out: u64,
    /// Records that came too late for a window of theirs.
    pub late: u64,
    pub dead_letters: u64,
    pub dead_letter_topic: TopicName,
    /// Records read a second, over the last seconds.
    pub rate_per_second: f64,
    /// Records that wait in its topics.
    pub lag: i64,
    /// How far event time has come: the least of its partitions. `None`: nowhere yet.
    pub watermark_micros: Option<i64>,
    /// The same as RFC 3339.
    pub watermark: Option<String>,
    /// Why its state is built anew, and from how many records; `None`: it was kept.
    pub rebuild: Option<ViewRebuild>,
    /// The latest failure, also one that a retry has mended since.
    pub last_error: Option<String>,
    /// Each after those that it takes rows from.
    pub operators: Vec<ViewOperator>,
}

/// A column of a view's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ViewColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub column_type: String,
}

/// The windows that a view's rows are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ViewWindow {
    /// The columns that say when a row's window starts and ends.
    pub start: String,
    pub end: String,
    /// `None`: each has its own length.
    pub width_micros: Option<i64>,
    /// From the start of one window to that of the next; `None`: rows decide.
    pub slide_micros: Option<i64>,
}

/// A state that is built anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ViewRebuild {
    pub why: String,
    pub records: i64,
}

/// A part of a view's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ViewOperator {
    pub id: usize,
    /// The operators that it takes rows from.
    pub inputs: Vec<usize>,
    pub name: String,
    /// What it does, in the query's words.
    pub words: String,
    /// The tables that it keeps.
    pub tables: Vec<String>,
    /// How the cost of a record grows.
    pub cost: String,
}

#[async_trait]
impl Views for Runtime {
    fn views(&self) -> Vec<ViewState> {
        let plans = &self.plan().views;
        let status =
            |status: ViewStatus| Some(ViewState::new(plans.get(&status.task.name)?, status));
        Self::views(self).into_iter().filter_map(status).collect()
    }

    async fn scan(&self, view: &str, scan: &ViewScan) -> Result<ViewPage, ApiError> {
        let unknown = || ApiError::UnknownView { view: view.to_owned() };
        Ok(self.view(view).ok_or_else(unknown)?.scan(scan).await?)
    }
}

impl ViewState {
    fn new(plan: &ViewPlan, status: ViewStatus) -> Self {
        let columns = plan.query.output().iter().map(|column| ViewColumn {
            name: column.name.clone(),
            column_type: column.column_type.to_string(),
        });
        let operators = plan.query.operators().into_iter().map(|operator| ViewOperator {
            id: operator.id,
            inputs: operator.inputs,
            name: operator.name.to_owned(),
            words: operator.words,
            tables: operator.tables.iter().map(ToString::to_string).collect(),
            cost: operator.cost.to_owned(),
        });
        let task = status.task;
        Self {
            columns: columns.collect(),
            operators: operators.collect(),
            window: plan.query.window().map(|window| ViewWindow {
                start: window.start.clone(),
                end: window.end.clone(),
                width_micros: window.width_micros,
                slide_micros: window.slide_micros,
            }),
            emit: match plan.emit {
                ViewEmit::Changes { .. } => "changes",
                ViewEmit::Final => "final",
            },
            grace_millis: plan.grace.as_millis(),
            name: task.name,
            state: task.state,
            sql: status.sql,
            from: task.from,
            to: status.to,
            group: task.group,
            key: status.key,
            partitions: task.partitions.len(),
            records_in: task.records_in,
            records_out: task.records_out,
            late: status.late,
            dead_letters: task.records_dead,
            dead_letter_topic: task.dead_letters,
            rate_per_second: task.rate_per_second,
            lag: task.lag,
            watermark_micros: status.watermark_micros,
            watermark: status.watermark_micros.and_then(time_text),
            rebuild: status.rebuild.map(|rebuild| ViewRebuild {
                why: rebuild.why.to_owned(),
                records: rebuild.records,
            }),
            last_error: task.last_error.map(|error| error.what),
        }
    }

    /// Reads a key as people write it: a JSON object of the first key columns, a JSON list of
    /// their values, or the first value as JSON or as plain text.
    ///
    /// # Errors
    /// [`ViewError::WrongKey`] for more values than the key has columns;
    /// [`ViewError::NoStore`].
    pub(crate) fn key_of(&self, text: &str) -> Result<Map<String, Value>, ViewError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(Value::Array(values)) => self.named(values),
            _ => self.key_of_parts(&[text.to_owned()]),
        }
    }

    /// Reads the values of a path, one for each of the first key columns.
    ///
    /// # Errors
    /// As [`Self::key_of`].
    pub(crate) fn key_of_parts(&self, parts: &[String]) -> Result<Map<String, Value>, ViewError> {
        let values = parts.iter().enumerate().map(|(place, part)| self.key_value(place, part));
        self.named(values.collect())
    }

    /// A text as a value of a key column: itself where the column holds text.
    pub(crate) fn key_value(&self, place: usize, text: &str) -> Value {
        let column = self.key.as_ref().and_then(|key| key.get(place));
        let column = self.columns.iter().find(|known| Some(&known.name) == column);
        let holds_text = column.is_some_and(|column| {
            matches!(column.column_type.as_str(), "string" | "bytes" | "date")
        });
        match serde_json::from_str(text) {
            Ok(value) if !holds_text || matches!(value, Value::String(_)) => value,
            _ => Value::String(text.to_owned()),
        }
    }

    fn named(&self, values: Vec<Value>) -> Result<Map<String, Value>, ViewError> {
        let view = || self.name.clone();
        let columns = self.key.as_ref().ok_or_else(|| ViewError::NoStore { view: view() })?;
        if values.len() > columns.len() {
            let names = columns.join(", ");
            let why = format!("it has {} values, and its columns are: {names}", values.len());
            return Err(ViewError::WrongKey { view: view(), why });
        }
        Ok(columns.iter().cloned().zip(values).collect())
    }
}

/// RFC 3339 in UTC; `None` beyond its years.
fn time_text(micros: i64) -> Option<String> {
    jiff::Timestamp::from_microsecond(micros).ok().map(|at| at.to_string())
}
