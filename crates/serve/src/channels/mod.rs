//! Channels: the changes of collections, as messages that pages hear.
//!
//! A feed for each channel of the file follows its collection from a durable place,
//! numbers every change, keeps the messages in a journal and then publishes them. The
//! number is the message's position: what a page missed, also while the process was
//! down, is read from the journal and joined to what is live. No history's token leaves
//! this room, so any history does. Nothing is pushed that the history has not committed.

mod feed;
mod journal;
mod message;
mod outlet;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use async_trait::async_trait;
use courant_model::Clock;
use courant_pipeline::plan::ChannelPlan;
use courant_push::{Position, ResumeSource, Resumption, SourceError};
use courant_stores::History;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use self::{feed::Feed, journal::Journal};
pub use self::{journal::JournalError, outlet::Outlet};

/// The channels of a file.
#[derive(Debug)]
pub struct Channels {
    feeds: Vec<Feed>,
}

impl Channels {
    /// Opens the journal in a folder of its own; nothing is watched yet. A channel that
    /// was not there before begins with the changes after now.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub async fn open(
        folder: PathBuf,
        plans: Vec<ChannelPlan>,
        clock: &dyn Clock,
    ) -> Result<Self, JournalError> {
        if plans.is_empty() {
            return Ok(Self { feeds: Vec::new() });
        }
        let now_micros = clock.now_micros();
        let journal = Journal::open(folder).await?;
        let mut feeds = Vec::with_capacity(plans.len());
        for plan in plans {
            feeds.push(Feed::open(plan, &journal, now_micros).await?);
        }
        Ok(Self { feeds })
    }

    /// Pushes every change until `stop` is cancelled. What was committed by then and not
    /// pushed is pushed by the next start.
    pub async fn run(
        &self,
        history: &dyn History,
        outlet: &Outlet,
        clock: &dyn Clock,
        stop: &CancellationToken,
    ) {
        let feeds = self.feeds.iter().map(|feed| feed.run(history, outlet, clock, stop));
        join_all(feeds).await;
    }

    /// The feed that publishes on a channel; the file's names cannot meet.
    fn feed(&self, channel: &str) -> Option<&Feed> {
        self.feeds.iter().find(|feed| feed.is_for(channel))
    }
}

#[async_trait]
impl ResumeSource for Channels {
    async fn since(
        &self,
        _app: &str,
        channel: &str,
        after: Option<Position>,
    ) -> Result<Resumption, SourceError> {
        let (Some(feed), Some(after)) = (self.feed(channel), after) else {
            return Ok(Resumption::Unknown);
        };
        let missed = feed.since(channel, after).await;
        missed.map_err(|error| SourceError(Box::new(error)))
    }

    fn head(&self, _app: &str, channel: &str) -> Option<Position> {
        self.feed(channel).map(Feed::head)
    }
}
