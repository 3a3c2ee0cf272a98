//! The running generator: paces, makes, appends.

use std::time::Duration;

use async_trait::async_trait;
use courant_model::{
    Record,
    limits::{SOURCE_BATCH_BYTES_MAX, SOURCE_BATCH_RECORDS_MAX},
};
use courant_pipeline::connector::{ConnectorError, Source, SourceContext, SourceFactory};
use tokio::time::Instant;

use super::{Generator, Pace, Settings, pace::Schedule};
use crate::{deliver::deliver, sequence::Sequence};

impl SourceFactory for Settings {
    fn finite(&self) -> bool {
        self.count.is_some()
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        let clock = context.clock.clone();
        let generator = Generator::new(self.template.clone(), self.seed, clock);
        let left = self.count.unwrap_or(u64::MAX);
        Ok(Box::new(Running { settings: self.clone(), generator, left, context }))
    }
}

#[derive(Debug)]
struct Running {
    settings: Settings,
    generator: Generator,
    /// Records until the end.
    left: u64,
    context: SourceContext,
}

#[async_trait]
impl Source for Running {
    async fn run(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let stop = self.context.stop.clone();
        match stop.run_until_cancelled(self.make_all()).await {
            Some(result) => result,
            None => Ok(()),
        }
    }
}

impl Running {
    async fn make_all(&mut self) -> Result<(), ConnectorError> {
        let mut numbers = Sequence::new(self.context.state.clone(), 0);
        let start = Instant::now();
        let (mut schedule, delay) = match self.settings.pace {
            Pace::Rate(rate) => (Some(Schedule::new(rate)), Duration::ZERO),
            Pace::Every(delay) => (None, delay),
        };
        while self.left > 0 {
            let due = match &mut schedule {
                Some(schedule) => schedule.due(start.elapsed()),
                None => 1,
            };
            let due = due.min(usize::try_from(self.left).unwrap_or(usize::MAX));
            if due > 0 {
                // A seed promises the same numbers each time; else they go on.
                if self.settings.seed.is_none() {
                    let first = numbers.take(due as u64).await?;
                    self.generator.continue_at(first);
                }
                self.emit(due).await?;
                self.left -= due as u64;
            }
            if self.left > 0 {
                tokio::time::sleep(match &schedule {
                    Some(schedule) => schedule.wait(start.elapsed()),
                    None => delay,
                })
                .await;
            }
        }
        Ok(())
    }

    /// Makes and appends so many records, in batches within the bounds.
    async fn emit(&mut self, count: usize) -> Result<(), ConnectorError> {
        let (mut records, mut bytes) = (Vec::with_capacity(count), 0);
        for _ in 0..count {
            let document = self.generator.next_document();
            let record = Record::new(document.to_string(), self.context.clock.now());
            bytes += record.size_bytes();
            records.push(record);
            if bytes >= SOURCE_BATCH_BYTES_MAX || records.len() >= SOURCE_BATCH_RECORDS_MAX {
                self.deliver(std::mem::take(&mut records)).await?;
                bytes = 0;
            }
        }
        self.deliver(records).await
    }

    async fn deliver(&self, records: Vec<Record>) -> Result<(), ConnectorError> {
        deliver(&*self.context.emitter, &self.context.topic, records).await
    }
}
