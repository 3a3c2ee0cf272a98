//! A Kafka cluster as the log.
//!
//! [`KafkaLog`] is `courant_log::Log` over librdkafka, the client that most languages
//! use; [`ClusterOptions`] says which cluster and how to reach it, for the log as for
//! connectors. Inside: `cluster` (connections and failures), `topics` and `offsets`
//! (questions), `produce`, `read`, `member`,
//! `membership`, `events` and `reader` (groups), `transaction`.
//!
//! Calls that block run on blocking threads, and so does the end of every client. No
//! secret is printed, by nothing here.

mod cluster;
mod context;
mod events;
mod groups;
mod log;
mod member;
mod membership;
mod offsets;
mod options;
mod produce;
mod read;
mod reader;
mod settings;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod topics;
mod transaction;

pub use log::KafkaLog;
pub use options::{ClusterOptions, Compression, OptionError, Sasl, SaslMechanism, Tls};
