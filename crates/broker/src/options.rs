//! How a broker is to behave: its address, its bounds, what it creates unasked.
//!
//! Everything has a default. What topics and groups do is the log's business, not
//! set here.

use std::{sync::Arc, time::Duration};

use courant_model::{ByteSize, limits};

use crate::security::Security;

/// How a broker is to behave.
#[derive(Debug, Clone, Default)]
pub struct BrokerOptions {
    /// Host and port that clients are told to connect to (`advertised.listeners`).
    /// Default: the address that the client reached, which suits one network.
    pub advertised: Option<(String, u16)>,
    /// TLS, SASL, access rules and quotas. Default: everybody may do everything.
    pub security: Arc<Security>,
    pub limits: Limits,
    /// Topics created because a client named them (`auto.create.topics.enable`).
    /// Default: they are, with one partition.
    pub auto_creation: AutoCreation,
}

/// Topics created because a client named them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoCreation {
    pub enabled: bool,
    /// Partitions of a topic whose creator does not say (`num.partitions`). Default 1.
    pub partitions: i32,
}

impl Default for AutoCreation {
    fn default() -> Self {
        Self { enabled: true, partitions: 1 }
    }
}

/// What clients may take; the names in brackets are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time (`max.connections`). Default
    /// [`limits::BROKER_CONNECTIONS_MAX`]; one more is closed at once.
    pub connections: usize,
    /// Connections of one address (`max.connections.per.ip`). Default: no other bound
    /// than [`Self::connections`].
    pub connections_per_address: usize,
    /// Silence after which a connection is closed (`connections.max.idle.ms`).
    /// Default 10 minutes.
    pub idle: Duration,
    /// Bytes of one produce request (`socket.request.max.bytes`). Default 100 MiB;
    /// other requests are bounded by [`limits::BROKER_REQUEST_BYTES_MAX`].
    pub request_bytes: ByteSize,
    /// Bytes of large requests in memory, all connections together
    /// (`queued.max.request.bytes`); connections that would exceed it are not read
    /// until others are done. Default 256 MiB, never less than one request.
    pub requests_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::BROKER_CONNECTIONS_MAX,
            connections_per_address: limits::BROKER_CONNECTIONS_MAX,
            idle: Duration::from_secs(600),
            request_bytes: ByteSize::from_bytes(limits::BROKER_PRODUCE_BYTES_MAX as u64),
            requests_bytes: ByteSize::from_bytes(limits::BROKER_REQUESTS_BYTES_DEFAULT as u64),
        }
    }
}
