//! A topic as a target: events are appended, with their origin in the header.
//!
//! Durable when a write answers. A repeated write appends again: this is the way of a
//! pipeline that promises `at_least_once`; exactly once goes through the runtime's outbox.

use std::sync::Arc;

use async_trait::async_trait;
use courant_log::{Log, LogError};
use courant_model::{Record, TopicName};

use super::log_failure;
use crate::{
    connector::{ConnectorError, Rejection, Sink},
    event::Event,
};

#[derive(Debug)]
pub struct TopicSink {
    log: Arc<dyn Log>,
    topic: TopicName,
}

impl TopicSink {
    pub fn new(log: Arc<dyn Log>, topic: TopicName) -> Self {
        Self { log, topic }
    }

    /// Appends records; those that are too large are left out and named.
    ///
    /// # Errors
    /// The log's failures; then part of them may have been appended.
    pub(crate) async fn append(
        &self,
        records: Vec<Record>,
    ) -> Result<Vec<Rejection>, ConnectorError> {
        let mut rejections = Vec::new();
        // Nothing of a call with a record that is too large is appended, so halves are
        // tried until only such records are left out. The left half goes first.
        let mut open = vec![(0, records)];
        while let Some((first, mut records)) = open.pop() {
            match self.log.append(&self.topic, None, records.clone()).await {
                Ok(_) => {}
                Err(LogError::RecordTooLarge { .. }) if records.len() > 1 => {
                    let middle = records.len() / 2;
                    let right = records.split_off(middle);
                    open.push((first + middle, right));
                    open.push((first, records));
                }
                Err(error @ LogError::RecordTooLarge { .. }) => {
                    rejections.push(Rejection { index: first, why: error.to_string() });
                }
                Err(error) => return Err(log_failure(&error)),
            }
        }
        Ok(rejections)
    }
}

#[async_trait]
impl Sink for TopicSink {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        self.append(events.iter().map(Event::to_record).collect()).await
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}
