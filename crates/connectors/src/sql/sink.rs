//! The running sink: batches in transactions, and whose fault a failure is.
//!
//! A batch is one transaction. One that the data is at fault for is cut in halves until
//! the record is found, so that it alone is refused; one that a deadlock took is tried
//! again; whatever else fails gives up the connection and is left to the runtime. A write
//! that answers has committed, so that a flush has nothing left to do.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_model::limits::{DATABASE_RETRY_MS_MIN, DATABASE_TRIES_MAX};
use courant_pipeline::{
    connector::{ConnectorError, Rejection, Sink},
    event::Event,
};

use super::{
    Settings,
    batch::work_of,
    layout::{Change, Layout},
    session::{self, Fault, Purpose, Session},
};

/// The sink at work.
#[derive(Debug)]
pub(super) struct SqlSink {
    settings: Arc<Settings>,
    base: PathBuf,
    /// The connection and the tables as they are, until something fails.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    session: Box<dyn Session>,
    layout: Arc<Layout>,
}

/// What a record does, and its place within the call.
type Numbered = (usize, Change);

impl SqlSink {
    pub(super) fn new(settings: Arc<Settings>, base: PathBuf) -> Self {
        Self { settings, base, open: None }
    }

    async fn open(&self) -> Result<Open, Fault> {
        let mut session =
            session::connect(&self.settings.address, &self.base, Purpose::Write).await?;
        let mut tables = Vec::new();
        for name in self.settings.tables() {
            let table = session.describe(name).await?.ok_or_else(|| {
                Fault::Refused(format!("table \"{name}\" does not exist; create it"))
            })?;
            tables.push(table);
        }
        let layout = Layout::new(&self.settings, tables).map_err(Fault::Refused)?;
        Ok(Open { session, layout: Arc::new(layout) })
    }

    /// Writes events in transactions; answers the refused.
    async fn write_all(&mut self, events: &[Event]) -> Result<Vec<Rejection>, Fault> {
        let mut rejections = Vec::new();
        let mut first = 0;
        for batch in self.batches(events) {
            // Taken out while it is at work: a call that is dropped half-way drops it too.
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.open().await?,
            };
            let mut changes = Vec::with_capacity(batch.len());
            for (index, event) in (first..).zip(batch) {
                match open.layout.change(event) {
                    Ok(change) => changes.extend(change.map(|change| (index, change))),
                    Err(why) => rejections.push(Rejection { index, why }),
                }
            }
            open.apply(&changes, &mut rejections).await?;
            self.open = Some(open);
            first += batch.len();
        }
        rejections.sort_by_key(|rejection| rejection.index);
        Ok(rejections)
    }

    /// Cuts events by the bounds of a transaction.
    fn batches<'a>(&self, events: &'a [Event]) -> Vec<&'a [Event]> {
        let size = |event: &Event| event.payload.bytes().map_or(0, |bytes| bytes.len());
        let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (end, event) in events.iter().enumerate() {
            let size = size(event);
            let full = end - start >= self.settings.batch_records
                || bytes + size > self.settings.batch_bytes;
            if full && end > start {
                batches.push(&events[start..end]);
                (start, bytes) = (end, 0);
            }
            bytes += size;
        }
        if start < events.len() {
            batches.push(&events[start..]);
        }
        batches
    }
}

impl Open {
    /// Writes changes in one transaction, or in as many as it takes to find the records
    /// that the data is at fault for; order is kept.
    async fn apply(
        &mut self,
        changes: &[Numbered],
        rejections: &mut Vec<Rejection>,
    ) -> Result<(), Fault> {
        let mut waiting = vec![changes];
        while let Some(part) = waiting.pop() {
            match (self.transact(part).await, part) {
                (Ok(()), _) => {}
                (Err(Fault::Data(why)), [(index, _)]) => {
                    let table = &self.layout.tables[0].name;
                    let why = format!("table \"{table}\" refuses the record: {why}");
                    rejections.push(Rejection { index: *index, why });
                }
                (Err(Fault::Data(_)), part) => {
                    let (front, back) = part.split_at(part.len() / 2);
                    waiting.extend([back, front]);
                }
                (Err(fault), _) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn transact(&mut self, changes: &[Numbered]) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        let changes: Vec<&Change> = changes.iter().map(|(_, change)| change).collect();
        let work = work_of(&self.layout, &changes);
        let mut wait = Duration::from_millis(DATABASE_RETRY_MS_MIN);
        for _ in 1..DATABASE_TRIES_MAX {
            match self.session.write(&self.layout.tables, work.clone()).await {
                Err(Fault::Busy(_)) => tokio::time::sleep(wait).await,
                done => return done,
            }
            wait *= 2;
        }
        self.session.write(&self.layout.tables, work).await
    }
}

#[async_trait]
impl Sink for SqlSink {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        self.write_all(events).await.map_err(|fault| {
            let Settings { address, table, .. } = &*self.settings;
            fault.into_error(&format!("write to table \"{table}\" of {address}"))
        })
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}
