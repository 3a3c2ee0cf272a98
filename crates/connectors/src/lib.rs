//! Courant's connectors: how data comes in, and how it goes out.
//!
//! One folder for each, and one visible list, [`all`]. A connector knows the
//! contracts of `courant_pipeline::connector` and nothing else of the engine: it
//! never sees a log, a pipeline or a web server. What several share (record
//! formats, fake data, numbering, delivery) stands beside the folders.

pub mod formats;
pub mod generate;

mod amqp;
mod console;
mod deliver;
mod file;
mod http;
mod kafka;
mod messaging;
mod mqtt;
mod mysql;
mod nats;
mod random;
mod sequence;
mod sql;
mod stdin;
mod template;
mod tls;
mod webhook;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use courant_kafka::ClusterOptions;
use courant_pipeline::connector::{Connectors, LogKind};

/// Every connector of this build, in the order of the reference.
pub fn all() -> Connectors {
    Connectors {
        sources: vec![
            generate::SOURCE,
            http::SOURCE,
            file::SOURCE,
            stdin::SOURCE,
            kafka::SOURCE,
            mqtt::SOURCE,
            amqp::SOURCE,
            nats::SOURCE,
            mysql::SOURCE,
        ],
        sinks: vec![
            console::SINK,
            file::SINK,
            webhook::SINK,
            kafka::SINK,
            mqtt::SINK,
            amqp::SINK,
            nats::SINK,
            sql::SINK,
        ],
        lookups: vec![sql::LOOKUP, http::LOOKUP],
        logs: vec![CLUSTER],
        // Whoever knows push servers adds them.
        pushes: Vec::new(),
    }
}

/// A Kafka cluster as the log of a profile.
const CLUSTER: LogKind = LogKind { schemes: &["kafka", "kafka+ssl"], check: check_cluster };

fn check_cluster(url: &str) -> Result<(), String> {
    url.parse::<ClusterOptions>().map(drop).map_err(|error| error.to_string())
}
