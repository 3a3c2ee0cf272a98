//! What is measured of the broker.
//!
//! Labels are bounded: the names of the version table. Names carry their unit.
//! Handles are made once, because requests are many and small.

use metrics::{Counter, Gauge};

use crate::api::{APIS, Api};

/// The metrics of this crate.
#[derive(Debug, Clone, Copy)]
enum Metric {
    RequestsTotal,
    ConnectionsOpen,
    ConnectionsRefusedTotal,
    ConnectionsBrokenTotal,
    ConnectionsUnauthenticatedTotal,
    ReceivedBytesTotal,
    SentBytesTotal,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::RequestsTotal => "courant_kafka_requests_total",
            Self::ConnectionsOpen => "courant_kafka_connections_open",
            Self::ConnectionsRefusedTotal => "courant_kafka_connections_refused_total",
            Self::ConnectionsBrokenTotal => "courant_kafka_connections_broken_total",
            Self::ConnectionsUnauthenticatedTotal => {
                "courant_kafka_connections_unauthenticated_total"
            }
            Self::ReceivedBytesTotal => "courant_kafka_received_bytes_total",
            Self::SentBytesTotal => "courant_kafka_sent_bytes_total",
        }
    }
}

/// Handles of the metrics.
#[derive(Clone)]
pub(crate) struct Telemetry {
    /// By place in the version table.
    requests: Vec<Counter>,
    connections: Gauge,
    /// Connections that were one too many.
    pub(crate) refused: Counter,
    /// Connections that a frame or a time-out ended.
    pub(crate) broken: Counter,
    /// Connections whose authentication failed.
    pub(crate) unauthenticated: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        let of = |api: &Api| metrics::counter!(Metric::RequestsTotal.name(), "api" => format!("{:?}", api.key));
        Self {
            requests: APIS.iter().map(of).collect(),
            connections: metrics::gauge!(Metric::ConnectionsOpen.name()),
            refused: metrics::counter!(Metric::ConnectionsRefusedTotal.name()),
            broken: metrics::counter!(Metric::ConnectionsBrokenTotal.name()),
            unauthenticated: metrics::counter!(Metric::ConnectionsUnauthenticatedTotal.name()),
            received_bytes: metrics::counter!(Metric::ReceivedBytesTotal.name()),
            sent_bytes: metrics::counter!(Metric::SentBytesTotal.name()),
        }
    }

    /// Counts a request of an API of the table.
    pub(crate) fn request(&self, api: &Api) {
        if let Ok(place) = APIS.binary_search_by_key(&(api.key as i16), |api| api.key as i16) {
            self.requests[place].increment(1);
        }
    }

    /// Counts a connection until the answer is dropped.
    pub(crate) fn connection(&self) -> ConnectionOpen {
        self.connections.increment(1.0);
        ConnectionOpen(self.connections.clone())
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// A connection that is counted.
pub(crate) struct ConnectionOpen(Gauge);

impl Drop for ConnectionOpen {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
