//! The storage as the transactions' coordinator sees it.
//!
//! Partitions let producers in and take markers; the groups' own topic is written by
//! the groups' coordinator alone, so its markers go there. A topic that was deleted in
//! the middle of a transaction is no failure of the transaction.

use std::sync::Arc;

use async_trait::async_trait;
use courant_model::TopicPartition;

use super::{
    check_public,
    core::{Core, blocking},
    produce,
    state_topic::StateTopic,
};
use crate::{
    LogError, ProducerIdentity, batch::Marker, group::Coordinator, transaction::TransactionLog,
};

#[derive(Debug)]
pub(super) struct Participants {
    core: Arc<Core>,
    offsets: Arc<StateTopic>,
    groups: Coordinator,
}

impl Participants {
    pub(super) const fn new(
        core: Arc<Core>,
        offsets: Arc<StateTopic>,
        groups: Coordinator,
    ) -> Self {
        Self { core, offsets, groups }
    }
}

#[async_trait]
impl TransactionLog for Participants {
    async fn allocate_producer_id(&self) -> Result<i64, LogError> {
        let core = Arc::clone(&self.core);
        blocking(move || core.allocate_producer_id()).await
    }

    async fn offsets_partition(&self) -> Result<TopicPartition, LogError> {
        self.offsets.ensure().await?;
        Ok(self.offsets.partition().clone())
    }

    fn check(&self, partition: &TopicPartition) -> Result<(), LogError> {
        check_public(&partition.topic)?;
        self.core.partition(partition).map(|_| ())
    }

    fn admit(&self, partition: &TopicPartition, producer: ProducerIdentity) {
        if let Ok(found) = self.core.partition(partition) {
            found.admit(producer);
        }
    }

    async fn mark(
        &self,
        partition: &TopicPartition,
        producer: ProducerIdentity,
        marker: Marker,
    ) -> Result<(), LogError> {
        if partition == self.offsets.partition() {
            return self.groups.end_transaction(producer, marker).await;
        }
        let found = self.core.partition(partition);
        let marked = async {
            produce::submit_marker(&self.core, found?, producer, marker).await?.done().await
        };
        match marked.await {
            Ok(_) | Err(LogError::UnknownTopic { .. } | LogError::UnknownPartition { .. }) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn open_transactions(&self) -> Result<Vec<(TopicPartition, ProducerIdentity)>, LogError> {
        let core = Arc::clone(&self.core);
        blocking(move || {
            let topics = core.topics()?;
            let partitions = topics.iter().flat_map(|topic| topic.partitions());
            let open = partitions.flat_map(|partition| {
                let name = partition.name().clone();
                let open = partition.open_transactions().into_iter();
                open.map(move |producer| (name.clone(), producer)).collect::<Vec<_>>()
            });
            Ok(open.collect())
        })
        .await
    }
}
