//! What happens by itself: retention and compaction, and syncs by interval.
//!
//! Two tasks at most, which end with the log. They only call what anybody may call
//! with a time of their own ([`super::EmbeddedLog::housekeep`]); the clock is the
//! log's, so that tests move it by hand.

use std::{sync::Arc, time::Duration};

use courant_model::Timestamp;
use tokio::task::JoinHandle;

use super::core::{Core, blocking};
use crate::{Durability, LogError, LogOptions};

/// The running tasks; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Upkeep(Vec<JoinHandle<()>>);

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Upkeep {
    pub(super) fn start(core: &Arc<Core>, options: &LogOptions) -> Self {
        let mut tasks = Vec::new();
        if let Durability::Interval(span) = options.durability {
            tasks.push(every(core, span.as_duration(), |core| {
                core.flush();
                Ok(())
            }));
        }
        if let Some(interval) = options.housekeeping {
            tasks.push(every(core, interval, |core| core.housekeep(core.environment.clock.now())));
        }
        Self(tasks)
    }
}

/// Runs a blocking call again and again, never twice at once.
fn every(
    core: &Arc<Core>,
    interval: Duration,
    call: impl Fn(&Core) -> Result<(), LogError> + Send + Sync + Copy + 'static,
) -> JoinHandle<()> {
    let core = Arc::downgrade(core);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let Some(core) = core.upgrade() else { return };
            match blocking(move || call(&core)).await {
                Ok(()) => {}
                Err(LogError::Closed) => return,
                Err(error) => tracing::error!(%error, "upkeep failed; it is tried again"),
            }
        }
    })
}

impl Core {
    /// Removes old records and compacts, everywhere; blocks.
    pub(super) fn housekeep(&self, now: Timestamp) -> Result<(), LogError> {
        let mut first_error = Ok(());
        for topic in self.topics()? {
            for partition in topic.partitions() {
                first_error = first_error.and(partition.housekeep(now));
            }
        }
        first_error
    }
}
