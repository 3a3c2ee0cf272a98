//! The running source: a reader ahead, and whoever appends what it read.
//!
//! One task reads the log, this one makes records, appends them and keeps the position,
//! in this order; so reading goes on while the disk writes. What waits is appended
//! together and its last position kept once: a busy server costs few writes, a quiet one
//! waits for nobody. A failure is told once everything before it is safe.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use courant_capture::{
    Batch, CaptureError, Change, Source as _,
    mysql::{MySqlOptions, MySqlPosition, MySqlSource},
};
use courant_model::{
    Record,
    limits::{CAPTURE_BATCHES_WAITING_MAX, SOURCE_BATCH_BYTES_MAX, SOURCE_BATCH_RECORDS_MAX},
};
use courant_pipeline::connector::{ConnectorError, Source, SourceContext};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use super::record::{Form, Scene};
use crate::deliver::{deliver, set_aside};

/// What the reader brings.
type Read = Result<Batch<MySqlPosition>, CaptureError>;

/// A source that was opened.
#[derive(Debug)]
pub(super) struct Capturing {
    pub(super) capture: MySqlOptions,
    pub(super) form: Form,
    /// Appends transactions whole.
    pub(super) whole: bool,
    pub(super) context: SourceContext,
}

#[async_trait]
impl Source for Capturing {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let position = load(&self.context).await?;
        let source = MySqlSource::new(self.capture.clone(), position.clone());
        let source = source.map_err(|error| failure(&self.context, &error))?;
        let (batches, mut incoming) = mpsc::channel(CAPTURE_BATCHES_WAITING_MAX);
        // Ends with this future.
        let mut reading = JoinSet::new();
        reading.spawn(read(source, batches));
        let mut kept = position;
        loop {
            let first = tokio::select! {
                biased;
                () = self.context.stop.cancelled() => return Ok(()),
                first = incoming.recv() => first,
            };
            let mut waiting: VecDeque<Read> = first.into_iter().collect();
            while waiting.len() < CAPTURE_BATCHES_WAITING_MAX
                && let Ok(next) = incoming.try_recv()
            {
                waiting.push_back(next);
            }
            if waiting.is_empty() {
                return Err(ConnectorError::retryable("capture's reader ended without a reason"));
            }
            let (changes, position, error) = join(waiting);
            self.take(&changes).await?;
            if let Some(position) = position
                && kept.as_ref() != Some(&position)
            {
                save(&self.context, &position).await?;
                kept = Some(position);
            }
            if let Some(error) = error {
                return Err(failure(&self.context, &error));
            }
        }
    }
}

impl Capturing {
    /// Appends the records of changes; all are durable when it answers.
    async fn take(&self, changes: &[Change]) -> Result<(), ConnectorError> {
        let context = &self.context;
        let now = context.clock.now_origin();
        let scene = Scene { source: &context.name, has_key: context.has_key, now };
        let (mut records, mut bytes) = (Vec::new(), 0);
        for change in changes {
            if !self.form.tells(change) {
                self.append(&mut records, &mut bytes).await?;
                self.tell_truncation(change).await?;
                continue;
            }
            let before = records.len();
            self.form.add(change, scene, &mut records);
            bytes += records[before..].iter().map(Record::size_bytes).sum::<usize>();
            let full = records.len() >= SOURCE_BATCH_RECORDS_MAX || bytes >= SOURCE_BATCH_BYTES_MAX;
            if full && (change.last || !self.whole) {
                self.append(&mut records, &mut bytes).await?;
            }
        }
        self.append(&mut records, &mut bytes).await
    }

    async fn append(
        &self,
        records: &mut Vec<Record>,
        bytes: &mut usize,
    ) -> Result<(), ConnectorError> {
        *bytes = 0;
        if records.is_empty() {
            return Ok(());
        }
        deliver(self.context.emitter.as_ref(), &self.context.topic, std::mem::take(records)).await
    }

    /// A truncated table's rows are gone without a word on each; the one on all is set
    /// aside, where people look for what could not be a record.
    async fn tell_truncation(&self, change: &Change) -> Result<(), ConnectorError> {
        let table = change.table.full_name();
        let id = &change.transaction.id;
        let original = json!({ "operation": "truncate", "table": table, "transaction": id });
        let why = format!(
            "table {table:?} was truncated; its rows have no deletes: empty what was made of \
             them, or use DELETE FROM {table}"
        );
        set_aside(self.context.emitter.as_ref(), Bytes::from(original.to_string()), why).await
    }
}

/// Reads ahead until nobody takes it or a failure ends it.
async fn read(mut source: MySqlSource, batches: mpsc::Sender<Read>) {
    loop {
        let batch = source.next().await;
        let failed = batch.is_err();
        if batches.send(batch).await.is_err() || failed {
            return;
        }
    }
}

/// What waits as one: changes, the position after them, and the failure that ended it.
fn join(waiting: VecDeque<Read>) -> (Vec<Change>, Option<MySqlPosition>, Option<CaptureError>) {
    let (mut changes, mut position) = (Vec::new(), None);
    for read in waiting {
        match read {
            Ok(batch) => {
                match changes.is_empty() {
                    true => changes = batch.changes,
                    false => changes.extend(batch.changes),
                }
                position = Some(batch.position);
            }
            Err(error) => return (changes, position, Some(error)),
        }
    }
    (changes, position, None)
}

async fn load(context: &SourceContext) -> Result<Option<MySqlPosition>, ConnectorError> {
    let Some(saved) = context.state.load().await? else { return Ok(None) };
    serde_json::from_slice(&saved).map(Some).map_err(|error| {
        ConnectorError::fatal(format!(
            "saved state of source {:?} is no position in a binary log ({error}); another kind \
             of source had this name: rename it",
            context.name
        ))
    })
}

async fn save(context: &SourceContext, position: &MySqlPosition) -> Result<(), ConnectorError> {
    let bytes = serde_json::to_vec(position)
        .map_err(|error| ConnectorError::fatal(format!("write a capture's position: {error}")))?;
    context.state.save(bytes.into()).await
}

/// A capture's failure with its causes, and what mends it here.
fn failure(context: &SourceContext, error: &CaptureError) -> ConnectorError {
    let mut what = format!("capture changes for source {:?}: {error}", context.name);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        what = format!("{what}: {error}");
        cause = error.source();
    }
    if matches!(error, CaptureError::PositionLost { .. }) {
        what.push_str("; a source starts without a position under another name");
    }
    ConnectorError { what, retryable: error.is_retryable() }
}
