//! Kafka's protocol over the embedded log.
