//! What stands between a client's frames and the handlers: who it is, and its quotas.
//!
//! One guard for each connection. Until the client has said who it is, only the
//! exchange that says so passes, for a while; afterwards every request is paid for
//! before it is worked on, and the debt keeps the next one waiting. What a request may
//! do is the handlers' question.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use courant_model::limits::BROKER_AUTHENTICATION_MS_MAX;
use kafka_protocol::messages::ApiKey;
use tokio::time::{Instant, timeout_at};

use super::{
    connection::{Broken, Frames},
    frame::Frame,
};
use crate::{
    context::{Broker, Connection, Context},
    dispatch::{self, Call, Refused, Reply},
    security::{Account, Admission, Charge, Session},
};

/// The guard of one connection.
#[derive(Debug)]
pub(super) struct Guard {
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    session: Session,
    account: Option<Arc<Account>>,
    deadline: Instant,
}

impl Guard {
    pub(super) fn new(broker: &Arc<Broker>, connection: &Arc<Connection>) -> Self {
        let session =
            Session::new(broker.options.security.sasl.clone(), connection.certificate.clone());
        let mut guard = Self {
            broker: Arc::clone(broker),
            connection: Arc::clone(connection),
            session,
            account: None,
            deadline: Instant::now() + Duration::from_millis(BROKER_AUTHENTICATION_MS_MAX),
        };
        guard.open();
        guard
    }

    /// The next frame, once quotas allow one; `None` when there are no more.
    ///
    /// # Errors
    /// [`Broken::Unauthenticated`] when the client takes too long to say who it is.
    pub(super) async fn next(&mut self, frames: &mut Frames) -> Result<Option<Frame>, Broken> {
        self.connection.unmuted().await;
        if self.session.is_open() {
            return Ok(frames.next().await);
        }
        let late = |_| Broken::Unauthenticated("the client did not authenticate in time");
        timeout_at(self.deadline, frames.next()).await.map_err(late)
    }

    /// Lets a request in, paid for.
    ///
    /// # Errors
    /// [`Broken::Unauthenticated`] before the client has said who it is.
    pub(super) fn admit(&self, call: &Call, size: usize) -> Result<Context, Broken> {
        let now = Instant::now();
        if let Admission::Close(why) = self.session.admit(call.key(), now) {
            return Err(Broken::Unauthenticated(why));
        }
        let throttle = self.account.as_ref().map_or(Duration::ZERO, |account| {
            let request = account.charge(Charge::Requests, 1, now);
            match call.key() {
                ApiKey::Produce => request.max(account.charge(Charge::ProduceBytes, size, now)),
                _ => request,
            }
        });
        self.connection.mute(throttle);
        Ok(Context {
            broker: Arc::clone(&self.broker),
            connection: Arc::clone(&self.connection),
            hurry: self.connection.closing.child_token(),
            client_id: call.client_id.clone(),
            principal: self.session.principal().clone(),
            account: self.account.clone(),
            throttle,
        })
    }

    /// Works on a request that says who the client is.
    ///
    /// # Errors
    /// [`Refused`] ends the connection.
    pub(super) async fn authenticate(
        &mut self,
        context: &Context,
        call: &Call,
    ) -> Result<Reply, Refused> {
        let reply = dispatch::authenticate(context, &mut self.session, call).await?;
        if self.session.has_failed() {
            self.broker.telemetry.unauthenticated.increment(1);
            tracing::debug!(peer = %self.connection.peer, "authentication failed");
        }
        self.open();
        Ok(reply)
    }

    /// Whether the next frame is a message of the authentication, without a header.
    pub(super) const fn expects_bare_message(&self) -> bool {
        self.session.expects_bare_message()
    }

    /// Takes a message of the authentication; the answer as a frame.
    ///
    /// # Errors
    /// [`Broken::Unauthenticated`] when it fails: there is no answer that says so.
    pub(super) async fn authenticate_bare(&mut self, message: &[u8]) -> Result<Bytes, Broken> {
        let step = self.session.authenticate(message).await.map_err(|_| {
            self.broker.telemetry.unauthenticated.increment(1);
            Broken::Unauthenticated("authentication failed")
        })?;
        self.open();
        let mut frame = BytesMut::with_capacity(4 + step.message.len());
        frame.put_i32(step.message.len() as i32);
        frame.put_slice(&step.message);
        Ok(frame.freeze())
    }

    /// Whether the connection is to end after the answer.
    pub(super) const fn has_failed(&self) -> bool {
        self.session.has_failed()
    }

    /// Takes note of who the client is, once it is known.
    fn open(&mut self) {
        if self.session.is_open() {
            let quotas = &self.broker.options.security.quotas;
            self.account = quotas.account(self.session.principal(), Instant::now());
            self.connection.authenticated.store(true, Ordering::Relaxed);
        }
    }
}
