//! Where a feed's messages go: to the push server of this process, or to one elsewhere.
//!
//! Here, publishing never waits: whoever is too slow is disconnected, and resumes.
//! Elsewhere it waits until the server has taken each message, in order, for as long as it
//! takes; what that server refuses for good is left out with a line in the log. There is
//! nothing to resume from elsewhere, so the journal keeps the place alone.

use std::time::Duration;

use courant_model::limits::{
    PUSH_BATCH_EVENTS_MAX, PUSH_FEED_CHANGES_MAX, RETRY_WAIT_MS_MAX, RETRY_WAIT_MS_MIN,
};
use courant_push::{Message, Outside, OutsideError, OutsideEvent, Position, Push};
use tokio::time::sleep;

use super::journal::Numbered;
use crate::telemetry;

/// Where messages are published.
#[derive(Debug)]
pub enum Outlet {
    /// This process's push server, and the app on it.
    Here { push: Push, app: String },
    /// A server elsewhere.
    Outside(Outside),
}

impl Outlet {
    /// Changes to read in one go: what a crash pushes again elsewhere.
    pub(super) fn changes_max(&self) -> usize {
        match self {
            Self::Here { .. } => PUSH_FEED_CHANGES_MAX,
            Self::Outside(_) => PUSH_BATCH_EVENTS_MAX,
        }
    }

    /// Whether pages can ask for what they missed.
    pub(super) fn resumes(&self) -> bool {
        matches!(self, Self::Here { .. })
    }

    /// Publishes messages of a channel of the file in their order.
    ///
    /// # Cancel safety
    /// Elsewhere, some of a call that was dropped may have been published.
    pub(super) async fn publish(&self, feed: &str, generation: u64, messages: &[Numbered]) {
        match self {
            Self::Here { push, app } => {
                here(push, app, generation, messages);
                telemetry::pushed(feed, messages.len());
            }
            Self::Outside(outside) => {
                for batch in messages.chunks(PUSH_BATCH_EVENTS_MAX) {
                    elsewhere(outside, feed, batch).await;
                }
            }
        }
    }
}

fn here(push: &Push, app: &str, generation: u64, messages: &[Numbered]) {
    for Numbered { sequence, told } in messages {
        let message = Message {
            channel: &told.channel,
            event: &told.event,
            data: &told.data,
            position: Some(Position { generation, sequence: *sequence }),
        };
        if let Err(error) = push.publish(app, message) {
            tracing::error!(channel = told.channel, %error, "a message was not pushed");
        }
    }
}

/// Publishes a batch; one that is refused is tried message by message, so that one that
/// is too large holds back no other.
async fn elsewhere(outside: &Outside, feed: &str, batch: &[Numbered]) {
    if patiently(outside, feed, batch).await.is_ok() {
        return;
    }
    for one in batch {
        if let Err(error) = patiently(outside, feed, std::slice::from_ref(one)).await {
            telemetry::not_pushed(feed);
            let (channel, event) = (&one.told.channel, &one.told.event);
            tracing::error!(channel, event, %error, "a message was not pushed");
        }
    }
}

/// Publishes as soon as the server takes it.
///
/// # Errors
/// When it never will.
async fn patiently(outside: &Outside, feed: &str, batch: &[Numbered]) -> Result<(), OutsideError> {
    let events: Vec<_> = batch.iter().map(event).collect();
    let mut wait = Duration::from_millis(RETRY_WAIT_MS_MIN);
    loop {
        match outside.publish(&events).await {
            Err(error @ OutsideError::Away { .. }) => {
                tracing::warn!(channel = feed, %error, ?wait, "pushing waits for its server");
                sleep(wait).await;
                wait = (wait * 2).min(Duration::from_millis(RETRY_WAIT_MS_MAX));
            }
            Ok(()) => {
                telemetry::pushed(feed, batch.len());
                return Ok(());
            }
            refused => return refused,
        }
    }
}

fn event(one: &Numbered) -> OutsideEvent<'_> {
    OutsideEvent { name: &one.told.event, channel: &one.told.channel, data: &one.told.data }
}
