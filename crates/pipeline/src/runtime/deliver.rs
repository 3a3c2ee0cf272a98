//! Delivery to one target, until it took everything or refused it for good.
//!
//! A target that is away is tried without end, with growing waits; meanwhile its
//! partition reads nothing (backpressure). A record that a connector refuses is offered
//! again as often as the file says, then given up to the dead letters. A failure that
//! waiting does not mend ends the pipeline.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use courant_model::limits::{RETRY_WAIT_MS_MAX, RETRY_WAIT_MS_MIN};
use tokio_util::sync::CancellationToken;

use super::status::Health;
use crate::{
    connector::{ConnectorError, Sink},
    event::Event,
    steps::Rejected,
};

/// Why a task does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Halt {
    /// It was asked to stop.
    Stopping,
    /// The partition is somebody else's.
    Fenced,
    /// Its membership is to begin anew, from what is committed.
    Restart(String),
    /// Nothing but a change by somebody helps.
    Fatal(String),
}

/// What a retry looks at and tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control<'a> {
    pub(crate) stop: &'a CancellationToken,
    pub(crate) health: &'a Health,
}

/// Growing waits between tries: doubled each time, with a jitter of a quarter, so that
/// many tasks do not come back at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Waits before the next try after a failure.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait(
        &mut self,
        control: Control<'_>,
        error: &ConnectorError,
    ) -> Result<(), Halt> {
        if !error.retryable {
            return Err(Halt::Fatal(error.what.clone()));
        }
        if self.tries == 0 {
            tracing::warn!(error = %error.what, "failed, will be tried again");
        }
        control.health.retrying(error.what.clone());
        tokio::select! {
            () = control.stop.cancelled() => Err(Halt::Stopping),
            () = tokio::time::sleep(self.next_wait()) => Ok(()),
        }
    }

    /// Tells that a try succeeded.
    pub(crate) fn succeeded(&mut self, control: Control<'_>) {
        if self.tries > 0 {
            control.health.recovered();
            self.tries = 0;
        }
    }

    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    fn next_wait(&mut self) -> Duration {
        let doubled = RETRY_WAIT_MS_MIN.saturating_mul(1 << self.tries.min(20));
        let wait = doubled.min(RETRY_WAIT_MS_MAX);
        self.tries = self.tries.saturating_add(1);
        let jitter = RandomState::new().hash_one(self.tries) % (wait / 4).max(1);
        Duration::from_millis(wait - jitter)
    }
}

/// A target of a pipeline's partition.
#[derive(Debug)]
pub(crate) struct Target {
    /// As people count: `target 1 (history messages)`.
    pub(crate) label: Arc<str>,
    pub(crate) sink: Box<dyn Sink>,
    /// How often a refused event is offered again; 0 where a refusal is final.
    pub(crate) retries: u32,
}

impl Target {
    /// Writes events until the target took or refused each; answers the refused.
    ///
    /// # Errors
    /// [`Halt`]; nothing, part or all may have been written.
    pub(crate) async fn deliver(
        &mut self,
        events: &[Event],
        control: Control<'_>,
    ) -> Result<Vec<Rejected>, Halt> {
        let mut refused = self.write(events, control).await?;
        let mut waits = Backoff::default();
        while !refused.is_empty() && waits.tries() < self.retries {
            let error = ConnectorError::retryable(refused[0].why.clone());
            waits.wait(control, &error).await?;
            let again: Vec<Event> = refused.into_iter().map(|one| one.event).collect();
            refused = self.write(&again, control).await?;
        }
        waits.succeeded(control);
        Ok(refused)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As [`Target::deliver`].
    pub(crate) async fn flush(&mut self, control: Control<'_>) -> Result<(), Halt> {
        let mut backoff = Backoff::default();
        loop {
            match self.sink.flush().await {
                Ok(()) => {
                    backoff.succeeded(control);
                    return Ok(());
                }
                Err(error) => backoff.wait(control, &self.named(&error)).await?,
            }
        }
    }

    async fn write(
        &mut self,
        events: &[Event],
        control: Control<'_>,
    ) -> Result<Vec<Rejected>, Halt> {
        let mut backoff = Backoff::default();
        let rejections = loop {
            match self.sink.write(events).await {
                Ok(rejections) => break rejections,
                Err(error) => backoff.wait(control, &self.named(&error)).await?,
            }
        };
        backoff.succeeded(control);
        let rejected = rejections.into_iter().filter_map(|rejection| {
            let event = events.get(rejection.index)?.clone();
            Some(Rejected { event, step: Arc::clone(&self.label), why: rejection.why })
        });
        Ok(rejected.collect())
    }

    fn named(&self, error: &ConnectorError) -> ConnectorError {
        ConnectorError { what: format!("{}: {error}", self.label), retryable: error.retryable }
    }
}
