//! What stands behind a channel when its memory does not reach far enough.
//!
//! A channel keeps its last messages for pages that come back. What is older, or from
//! before a restart, can only come from where the messages came from: a store's change
//! log. This trait is that hook; without one, pages are told to take a snapshot themselves.

use async_trait::async_trait;

use crate::Position;

/// Knows the past, or the present, of what channels show.
#[async_trait]
pub trait ResumeSource: Send + Sync + std::fmt::Debug + 'static {
    /// Gives what a channel was told after a position, or its present state.
    ///
    /// `after` is the position of the last message that the page has; `None` when it has
    /// none and asks for a snapshot. What is answered must hold everything that was
    /// committed before the call, so that the channel's own messages join without a gap;
    /// the first messages after `after` alone are not enough. An answer beyond
    /// [`PUSH_KEPT_MESSAGES_MAX`](courant_model::limits::PUSH_KEPT_MESSAGES_MAX) messages
    /// or [`PUSH_PAST_BYTES_MAX`](courant_model::limits::PUSH_PAST_BYTES_MAX) bytes is taken as
    /// [`Resumption::Unknown`]. Cancel safe: the call is dropped after
    /// [`PUSH_SOURCE_MS_MAX`](courant_model::limits::PUSH_SOURCE_MS_MAX).
    ///
    /// # Errors
    /// When the source cannot be read; the page then takes a snapshot itself.
    async fn since(
        &self,
        app: &str,
        channel: &str,
        after: Option<Position>,
    ) -> Result<Resumption, SourceError>;

    /// Says where a channel stands: the last position that was, or is about to be,
    /// published on it. A page that subscribes before anything is published then has a
    /// place to resume from, also after a restart. `None`, unless written, when that is
    /// not known. Called under a lock, so it answers from memory.
    fn head(&self, _app: &str, _channel: &str) -> Option<Position> {
        None
    }
}

/// What a page that comes back is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumption {
    /// All that it missed, in order; `head` is where it then stands.
    Missed { messages: Vec<Missed>, head: Position },
    /// What the channel shows now, as JSON, and where that stands.
    Snapshot { data: String, head: Position },
    /// Neither is known here.
    Unknown,
}

/// One message that a page missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The event's name.
    pub event: String,
    /// The data, as a text; mostly JSON.
    pub data: String,
    /// Where it stands.
    pub position: Position,
}

/// A source that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read what was missed: {0}")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
