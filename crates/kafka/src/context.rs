//! What librdkafka tells beside its answers: its log, and delivery reports.
//!
//! Its log goes to ours under the cluster's name. Delivery reports end the call that
//! waits for them. Nothing here blocks: librdkafka's threads call it.

use std::sync::Arc;

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::KafkaError,
    message::{DeliveryResult, Message},
    producer::{NoCustomPartitioner, ProducerContext},
};

use crate::produce::Delivery;

/// Passes librdkafka's log on.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) cluster: Arc<str>,
}

impl Context {
    /// One line of librdkafka's; what it repeats while a broker is away is no error of
    /// ours, since the call that suffers from it says so.
    pub(crate) fn line(&self, level: RDKafkaLogLevel, about: &str, line: &str) {
        let cluster = &*self.cluster;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(cluster, about, "{line}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(cluster, about, "{line}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(cluster, about, "{line}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(cluster, about, "{line}"),
        }
    }

    pub(crate) fn failure(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(cluster = &*self.cluster, %error, reason, "Kafka client met an error");
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, about: &str, line: &str) {
        self.line(level, about, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.failure(&error, reason);
    }
}

impl ConsumerContext for Context {}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        delivery.done(match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        });
    }
}
