//! What a handler gets beside its request: the log, the options, who asks.
//!
//! A [`Context`] lives for one request; [`Broker`] for the whole server;
//! [`Connection`] for one client's connection. Handlers keep nothing themselves.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use courant_log::EmbeddedLog;
use kafka_protocol::{messages::BrokerId, protocol::StrBytes};
use tokio_util::sync::CancellationToken;

use crate::{BrokerOptions, net::Bounds, telemetry::Telemetry};

/// The one broker of this cluster.
pub(crate) const BROKER_ID: BrokerId = BrokerId(1);

/// The leader's only epoch; see the log's batches.
pub(crate) const LEADER_EPOCH: i32 = 0;

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
}

/// What a handler gets beside its request.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) broker: Arc<Broker>,
    pub(crate) connection: Arc<Connection>,
    /// What the client calls itself; empty where it says nothing.
    pub(crate) client_id: StrBytes,
}

impl Context {
    pub(crate) fn log(&self) -> &EmbeddedLog {
        &self.broker.log
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
