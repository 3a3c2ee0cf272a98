//! A page's WebSocket: its task reads requests, writes the queue and watches for silence.
//!
//! One task a connection, and nothing but its queue between it and the rest. Writing has
//! a deadline and is cut short when the queue overflows, so that a page that does not read
//! holds nobody up. However it ends, the session leaves its channels.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use courant_model::limits::{HTTP_WRITE_STALL_MS_MAX, PUSH_CLOSE_MS_MAX, PUSH_PONG_MS_MAX};
use futures::SinkExt;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    connection::{Batch, Outbox},
    error::ErrorCode,
    frame,
    hub::Hub,
    session::Session,
};

/// Serves a page until it leaves or is sent away.
pub(crate) async fn serve(mut socket: WebSocket, hub: Arc<Hub>) {
    let connection = match hub.admit() {
        Ok(connection) => connection,
        Err(code) => return refuse(socket, code).await,
    };
    let activity = Duration::from_millis(hub.app.activity_timeout_ms);
    connection.outbox.push(frame::established(connection.id, hub.app.activity_timeout_ms));
    let mut session = Session::new(hub, connection);
    if let Some(code) = talk(&mut socket, &mut session, activity).await {
        // Leaving first: the page counts no more while its last words travel.
        session.end();
        close(socket, code).await;
    } else {
        session.end();
    }
}

/// Says why a page may not come, and ends.
pub(crate) async fn refuse(mut socket: WebSocket, code: ErrorCode) {
    let told = socket.send(Message::Text(frame::error(code)));
    // Whoever does not read it hears it from the close frame, or not at all.
    let _ = timeout(Duration::from_millis(PUSH_CLOSE_MS_MAX), told).await;
    close(socket, code).await;
}

/// Reads and writes until the end; gives what the page is to be told then.
async fn talk(
    socket: &mut WebSocket,
    session: &mut Session,
    activity: Duration,
) -> Option<ErrorCode> {
    let connection = Arc::clone(&session.connection);
    let outbox = &connection.outbox;
    let mut silence = Silence { activity, heard: Instant::now(), asked: false };
    let alarm = sleep_until(silence.heard + activity);
    tokio::pin!(alarm);
    loop {
        tokio::select! {
            received = socket.recv() => {
                if silence.heard(Instant::now()) {
                    alarm.as_mut().reset(silence.heard + activity);
                }
                match received {
                    Some(Ok(Message::Text(text))) => session.handle(text.as_str()).await,
                    Some(Ok(Message::Binary(_))) => outbox.close(ErrorCode::Binary),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                }
            }
            () = outbox.ready() => {
                let batch = outbox.take();
                let closing = batch.closing;
                // Nothing to write, and a page that does not read: a flush would wait for it.
                if !batch.messages.is_empty() && !write(socket, batch, outbox).await {
                    return None;
                }
                if closing.is_some() {
                    return closing;
                }
            }
            () = &mut alarm => match silence.next(Instant::now()) {
                Next::Wait(until) => alarm.as_mut().reset(until),
                Next::Ask(until) => {
                    outbox.push(frame::PING);
                    alarm.as_mut().reset(until);
                }
                Next::GiveUp => return Some(ErrorCode::NoPong),
            },
        }
    }
}

/// Writes what waited. `false` when the page is gone, or does not read; cut short when
/// its queue has overflown, which the next look at the queue tells.
async fn write(socket: &mut WebSocket, batch: Batch, outbox: &Outbox) -> bool {
    let writing = async {
        for message in batch.messages {
            socket.feed(Message::Text(message)).await?;
        }
        socket.flush().await
    };
    tokio::select! {
        written = timeout(Duration::from_millis(HTTP_WRITE_STALL_MS_MAX), writing) => {
            matches!(written, Ok(Ok(())))
        }
        () = outbox.cut() => true,
    }
}

/// Ends a connection with a code, and waits a little until the page has heard it.
async fn close(mut socket: WebSocket, code: ErrorCode) {
    let reason = code.message().into();
    let frame = Message::Close(Some(CloseFrame { code: code.number(), reason }));
    let closing = async {
        if socket.send(frame).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // A page that does not answer is cut off.
    let _ = timeout(Duration::from_millis(PUSH_CLOSE_MS_MAX), closing).await;
}

/// How long a page has been silent, and whether it was asked why.
#[derive(Debug)]
struct Silence {
    activity: Duration,
    heard: Instant,
    asked: bool,
}

/// What to do when the alarm rings.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait(Instant),
    Ask(Instant),
    GiveUp,
}

impl Silence {
    /// The page said something; `true` when it was asked to, so that the alarm is to be set
    /// anew.
    fn heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        std::mem::take(&mut self.asked)
    }

    fn next(&mut self, now: Instant) -> Next {
        let until = self.heard + self.activity;
        if self.asked {
            Next::GiveUp
        } else if now < until {
            Next::Wait(until)
        } else {
            self.asked = true;
            Next::Ask(now + Duration::from_millis(PUSH_PONG_MS_MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_page_is_asked_once_and_then_given_up() {
        let activity = Duration::from_secs(120);
        let pong = Duration::from_millis(PUSH_PONG_MS_MAX);
        let start = Instant::now();
        let mut silence = Silence { activity, heard: start, asked: false };
        let heard = start + Duration::from_secs(20);
        assert!(!silence.heard(heard));
        assert_eq!(silence.next(start + activity), Next::Wait(heard + activity));
        let asked = heard + activity;
        assert_eq!(silence.next(asked), Next::Ask(asked + pong));
        assert_eq!(silence.next(asked + pong), Next::GiveUp);
        assert!(silence.heard(asked));
        assert_eq!(silence.next(asked), Next::Wait(asked + activity));
    }
}
