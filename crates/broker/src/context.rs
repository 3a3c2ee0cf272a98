//! What a handler gets beside its request: the log, the options, who asks.
//!
//! A [`Context`] lives for one request; [`Broker`] for the whole server;
//! [`Connection`] for one client's connection. Handlers keep nothing themselves, and
//! ask [`Context::allows`] before they do anything.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use courant_log::EmbeddedLog;
use kafka_protocol::{messages::BrokerId, protocol::StrBytes};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    BrokerOptions,
    net::Bounds,
    security::{Account, Charge, Operation, Principal, Resource},
    telemetry::Telemetry,
};

/// The one broker of this cluster.
pub(crate) const BROKER_ID: BrokerId = BrokerId(1);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) options: BrokerOptions,
    pub(crate) bounds: Bounds,
    pub(crate) telemetry: Telemetry,
}

impl Broker {
    /// The cluster's id as Kafka writes it: 22 characters of base64.
    pub(crate) fn cluster_id(&self) -> StrBytes {
        StrBytes::from_string(BASE64_URL_SAFE_NO_PAD.encode(self.log.cluster_id().as_bytes()))
    }
}

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// The address that the client reached.
    pub(crate) local: SocketAddr,
    /// Cancelled when nobody waits for answers any more: the client has gone or the
    /// broker stops. What waits for long is to end then.
    pub(crate) closing: CancellationToken,
    /// The principal of the client's TLS certificate, if it has one.
    pub(crate) certificate: Option<Principal>,
    /// Whether the client has said who it is, or need not.
    pub(crate) authenticated: AtomicBool,
    /// Until then a quota keeps the client waiting.
    pub(crate) muted_until: Mutex<Option<Instant>>,
}

impl Connection {
    /// A connection that has just opened.
    pub(crate) fn new(
        addresses: Addresses,
        closing: CancellationToken,
        certificate: Option<Principal>,
    ) -> Self {
        let Addresses { peer, local } = addresses;
        let (authenticated, muted_until) = (AtomicBool::new(false), Mutex::new(None));
        Self { peer, local, closing, certificate, authenticated, muted_until }
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Relaxed)
    }

    /// Takes nothing more from the client for a while.
    pub(crate) fn mute(&self, time: Duration) {
        if !time.is_zero() {
            let until = Some(Instant::now() + time);
            let mut muted = self.muted_until.lock();
            *muted = until.max(*muted);
        }
    }

    /// Waits until the client need not wait, or nobody waits any more.
    pub(crate) async fn unmuted(&self) {
        let until = *self.muted_until.lock();
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// What a handler gets beside its request.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) broker: Arc<Broker>,
    pub(crate) connection: Arc<Connection>,
    /// Cancelled when the answer is wanted now rather than better: another request waits
    /// behind this one, the client has gone, or the broker stops.
    pub(crate) hurry: CancellationToken,
    /// What the client calls itself; empty where it says nothing.
    pub(crate) client_id: StrBytes,
    /// Who asks.
    pub(crate) principal: Principal,
    /// What the principal's quotas are paid from; `None` without any.
    pub(crate) account: Option<Arc<Account>>,
    /// How long the client is kept waiting for this request and earlier ones.
    pub(crate) throttle: Duration,
}

impl Context {
    pub(crate) fn log(&self) -> &EmbeddedLog {
        &self.broker.log
    }

    /// Whether who asks may do this; every handler asks before it acts.
    pub(crate) fn allows(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.broker.options.security.authorizer.allows(&self.principal, operation, resource)
    }

    /// Whether who asks may produce idempotently: to any topic, or to the log as a whole.
    pub(crate) fn may_write_idempotently(&self) -> bool {
        self.allows(Operation::IdempotentWrite, Resource::Cluster)
            || self.broker.options.security.authorizer.may_write_somewhere(&self.principal)
    }

    /// What who asks may do to a resource, as Kafka's bit field.
    pub(crate) fn authorized_operations(&self, resource: Resource<'_>) -> i32 {
        self.broker.options.security.authorizer.authorized_operations(&self.principal, resource)
    }

    /// `throttle_time_ms` of an answer that costs nothing more.
    pub(crate) fn throttle_ms(&self) -> i32 {
        i32::try_from(self.throttle.as_millis()).unwrap_or(i32::MAX)
    }

    /// Pays for the bytes of a fetch's answer; its `throttle_time_ms`.
    pub(crate) fn charge_fetch(&self, bytes: usize) -> i32 {
        let Some(account) = &self.account else { return 0 };
        let wait = account.charge(Charge::FetchBytes, bytes, Instant::now());
        self.connection.mute(wait);
        i32::try_from(wait.max(self.throttle).as_millis()).unwrap_or(i32::MAX)
    }

    /// Host and port that this client is to connect to.
    pub(crate) fn advertised(&self) -> (StrBytes, i32) {
        match &self.broker.options.advertised {
            Some((host, port)) => (StrBytes::from_string(host.clone()), i32::from(*port)),
            None => {
                let local = self.connection.local;
                let host = local.ip().to_canonical().to_string();
                (StrBytes::from_string(host), i32::from(local.port()))
            }
        }
    }
}
