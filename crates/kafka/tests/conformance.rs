//! A Kafka cluster passes the conformance suite of the log's role.
//!
//! One node, shared by all behaviours; each opens a log of its own.

use std::sync::Arc;

use async_trait::async_trait;
use courant_kafka::{KafkaLog, testing::Cluster};
use courant_log::{Log, conformance::LogHarness};

#[derive(Clone, Copy)]
struct Shared(&'static Cluster);

#[async_trait]
impl LogHarness for Shared {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(KafkaLog::connect(self.0.options()).await.unwrap())
    }
}

/// The shared cluster, or the end of the test.
macro_rules! shared {
    () => {
        match Cluster::shared() {
            Some(cluster) => Shared(cluster),
            None => return,
        }
    };
}

courant_log::log_conformance!(shared!());
courant_log::transaction_conformance!(shared!());
