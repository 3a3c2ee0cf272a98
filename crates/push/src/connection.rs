//! A connection as channels see it: its name, and the queue of what it is to be told.
//!
//! Whoever publishes never waits: a message goes into the queue or, when that is full,
//! the connection is marked as too slow and its task closes it. The queue holds shared
//! bytes, so that a slow page costs places and not messages.

use std::{collections::VecDeque, fmt, str::FromStr, sync::Arc};

use axum::extract::ws::Utf8Bytes;
use courant_model::limits::{PUSH_QUEUE_BYTES_MAX, PUSH_QUEUE_MESSAGES_MAX};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::error::ErrorCode;

/// The name of a connection: two numbers with a dot, as the protocol wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SocketId(u32, u32);

impl SocketId {
    /// One that nobody else has, and nobody guesses.
    fn random() -> Self {
        let [a, b, c, d, .., w, x, y, z] = *Uuid::new_v4().as_bytes();
        Self(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([w, x, y, z]))
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for SocketId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, second) = text.split_once('.').ok_or(())?;
        Ok(Self(first.parse().map_err(|_| ())?, second.parse().map_err(|_| ())?))
    }
}

/// What channels hold of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: SocketId,
    pub(crate) outbox: Outbox,
    /// The user who signed in.
    user: Mutex<Option<Arc<str>>>,
}

impl Connection {
    pub(crate) fn new() -> Arc<Self> {
        let outbox = Outbox::default();
        Arc::new(Self { id: SocketId::random(), outbox, user: Mutex::new(None) })
    }

    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.user.lock().clone()
    }

    pub(crate) fn set_user(&self, user: Arc<str>) {
        *self.user.lock() = Some(user);
    }
}

/// A bounded queue with one reader that never makes writers wait.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Something waits, or the end has come.
    ready: Notify,
    /// The end has come, and what is being written does not matter any more.
    cut: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Utf8Bytes>,
    bytes: usize,
    closing: Option<ErrorCode>,
}

/// What a connection is to be told now.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) messages: VecDeque<Utf8Bytes>,
    /// Why it ends after them.
    pub(crate) closing: Option<ErrorCode>,
}

impl Outbox {
    /// Puts a message into the queue. One that does not fit ends the connection.
    pub(crate) fn push(&self, message: Utf8Bytes) {
        let mut waiting = self.waiting.lock();
        if waiting.closing.is_some() {
            return;
        }
        waiting.bytes += message.len();
        if waiting.queue.len() == PUSH_QUEUE_MESSAGES_MAX || waiting.bytes > PUSH_QUEUE_BYTES_MAX {
            *waiting = Waiting { closing: Some(ErrorCode::OverCapacity), ..Waiting::default() };
            drop(waiting);
            self.cut.notify_one();
        } else {
            waiting.queue.push_back(message);
            drop(waiting);
        }
        self.ready.notify_one();
    }

    /// Ends the connection after what waits.
    pub(crate) fn close(&self, code: ErrorCode) {
        self.waiting.lock().closing.get_or_insert(code);
        self.ready.notify_one();
    }

    /// Takes what waits; for the one reader.
    pub(crate) fn take(&self) -> Batch {
        let mut waiting = self.waiting.lock();
        waiting.bytes = 0;
        Batch { messages: std::mem::take(&mut waiting.queue), closing: waiting.closing }
    }

    /// Waits until there may be something to take. Cancel safe.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Waits until the connection was found too slow. Cancel safe.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_id_is_read_as_it_was_written() {
        let id = SocketId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            ["", "1", "1.", ".1", "1.2.3", "-1.2", "a.b"]
                .iter()
                .all(|text| text.parse::<SocketId>().is_err())
        );
    }

    #[test]
    fn a_queue_that_is_full_is_dropped_and_ends_the_connection() {
        let outbox = Outbox::default();
        for _ in 0..=PUSH_QUEUE_MESSAGES_MAX {
            outbox.push(Utf8Bytes::from_static("message"));
        }
        outbox.close(ErrorCode::Reconnect);
        let batch = outbox.take();
        assert_eq!((batch.messages.len(), batch.closing), (0, Some(ErrorCode::OverCapacity)));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let outbox = Outbox::default();
        let large: Utf8Bytes = "x".repeat(PUSH_QUEUE_BYTES_MAX / 4).into();
        (0..4).for_each(|_| outbox.push(large.clone()));
        assert_eq!(outbox.take().messages.len(), 4);
        (0..5).for_each(|_| outbox.push(large.clone()));
        assert_eq!(outbox.take().closing, Some(ErrorCode::OverCapacity));
    }

    #[test]
    fn a_close_comes_after_what_waits() {
        let outbox = Outbox::default();
        outbox.push(Utf8Bytes::from_static("last"));
        outbox.close(ErrorCode::Reconnect);
        outbox.push(Utf8Bytes::from_static("too late"));
        let batch = outbox.take();
        assert_eq!((batch.messages.len(), batch.closing), (1, Some(ErrorCode::Reconnect)));
    }
}
