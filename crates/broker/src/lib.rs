//! Kafka's protocol over the embedded log.
//!
//! [`serve`] takes a listener and a log; from there a request flows through `net`
//! (connections, frames, bounds), `api` (which versions are spoken), `dispatch`
//! (bytes to request, response to bytes) into one function of `handlers`, which asks
//! the log. `errors` gives the log's failures their Kafka codes; `security` knows who
//! asks and what they may do.
//!
//! This crate translates and decides nothing: what a topic, a group or a transaction
//! is, the log knows. Record batches pass through as the producer encoded them.

mod api;
mod context;
mod decode;
mod dispatch;
mod errors;
mod handlers;
mod net;
mod options;
mod security;
mod telemetry;

pub use net::serve;
pub use options::{AutoCreation, BrokerOptions, Limits};
pub use security::{
    AclRule, ClientCertificate, Grant, Mechanism, QuotaConfig, QuotaRates, SaslConfig, Security,
    SecurityConfig, SecurityError, TlsConfig, UserConfig,
};
