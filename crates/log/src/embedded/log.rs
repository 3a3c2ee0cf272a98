//! The trait, implemented: each call goes to the storage or to the groups.
//!
//! Nothing is decided here but the order between the two: groups hear of topics
//! after they exist, and forget them after they are gone.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_model::{
    Offset, PartitionId, Position, Positions, Record, Timestamp, TopicName, TopicPartition,
};

use super::{EmbeddedLog, append, check_public, core::blocking, is_internal, producer::Producer};
use crate::{
    GroupDescription, GroupMember, GroupSummary, Log, LogError, PartitionOffsets, Read, ReadLimit,
    Subscription, TopicChange, TopicDescription, TopicSpec, TransactionalProducer,
    group::{MemberOffsets, PartitionSource},
};

#[async_trait]
impl Log for EmbeddedLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicDescription, LogError> {
        check_public(&spec.name)?;
        let description = self.core.create_topic(spec).await?;
        self.tell_groups()?;
        Ok(description)
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>, LogError> {
        let topics = self.core.topics()?;
        Ok(topics.iter().filter(|topic| !is_internal(&topic.name)).map(|t| t.describe()).collect())
    }

    async fn topic(&self, name: &TopicName) -> Result<TopicDescription, LogError> {
        Ok(self.core.topic(name)?.describe())
    }

    async fn alter_topic(
        &self,
        name: &TopicName,
        change: &TopicChange,
    ) -> Result<TopicDescription, LogError> {
        check_public(name)?;
        let description = self.core.alter_topic(name, change).await?;
        self.tell_groups()?;
        Ok(description)
    }

    async fn delete_topic(&self, name: &TopicName) -> Result<(), LogError> {
        check_public(name)?;
        self.core.delete_topic(name).await?;
        self.tell_groups()?;
        self.groups.forget_topic(name).await
    }

    async fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Offset,
    ) -> Result<Offset, LogError> {
        let partition = self.core.partition(partition)?;
        blocking(move || partition.delete_records(before)).await
    }

    async fn append(
        &self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<Vec<Position>, LogError> {
        check_public(topic)?;
        append(&self.core, topic, partition, records).await
    }

    async fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError> {
        self.core.read(partition, from, limit).await
    }

    async fn offsets(&self, partition: &TopicPartition) -> Result<PartitionOffsets, LogError> {
        Ok(self.core.partition(partition)?.offsets())
    }

    async fn offset_at(
        &self,
        partition: &TopicPartition,
        at: Timestamp,
    ) -> Result<Option<Offset>, LogError> {
        let partition = self.core.partition(partition)?;
        blocking(move || partition.offset_at(at)).await
    }

    async fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Result<Box<dyn GroupMember>, LogError> {
        self.groups.subscribe(Arc::new(self.clone()), subscription)
    }

    async fn groups(&self) -> Result<Vec<GroupSummary>, LogError> {
        Ok(self.groups.groups())
    }

    async fn group(&self, id: &str) -> Result<GroupDescription, LogError> {
        self.groups.describe(id, self).await
    }

    async fn reset_group(&self, id: &str, positions: &Positions) -> Result<(), LogError> {
        self.groups.reset(id, positions).await
    }

    async fn delete_group(&self, id: &str) -> Result<(), LogError> {
        self.groups.delete(id).await
    }

    async fn close(&self) -> Result<(), LogError> {
        let groups = self.groups.close().await;
        let core = Arc::clone(&self.core);
        blocking(move || core.close()).await.and(groups)
    }
}

#[async_trait]
impl PartitionSource for EmbeddedLog {
    async fn partition_offsets(
        &self,
        partition: &TopicPartition,
    ) -> Result<PartitionOffsets, LogError> {
        self.offsets(partition).await
    }

    async fn read_partition(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError> {
        self.read(partition, from, limit).await
    }

    async fn transactional_producer(
        &self,
        offsets: MemberOffsets,
        id: &str,
        timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        Ok(Box::new(Producer::start(self.clone(), offsets, id, timeout).await?))
    }
}
