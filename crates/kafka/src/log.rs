//! The role: `courant_log::Log` over a Kafka cluster.
//!
//! Each call goes to the room that knows how; nothing is decided here but that a
//! closed log answers nobody.

use std::sync::Arc;

use async_trait::async_trait;
use courant_log::{
    GroupDescription, GroupMember, GroupSummary, Log, LogError, PartitionOffsets, Read, ReadLimit,
    Subscription, TopicChange, TopicDescription, TopicSpec,
};
use courant_model::{
    Offset, PartitionId, Position, Positions, Record, Timestamp, TopicName, TopicPartition,
};

use crate::{
    ClusterOptions,
    cluster::{Core, blocking},
};

/// A Kafka cluster as the log. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct KafkaLog {
    core: Arc<Core>,
}

impl KafkaLog {
    /// Connects, and waits until a broker answers.
    ///
    /// # Errors
    /// [`LogError::Cluster`]: retryable when nobody answers, else what is wrong with the
    /// options.
    pub async fn connect(options: ClusterOptions) -> Result<Self, LogError> {
        let cluster = options.name();
        let core = blocking(&cluster, move || Core::connect(options)).await?;
        Ok(Self { core: Arc::new(core) })
    }

    /// The cluster's own id.
    pub fn cluster_id(&self) -> &str {
        &self.core.id
    }

    /// Joins a group for all topics that fit one of these, beside those of the
    /// subscription: a pattern begins with `^` and is a regular expression of librdkafka's
    /// (POSIX, extended); anything else is a name. Topics that come later are joined
    /// when they are seen.
    ///
    /// # Errors
    /// As [`Log::subscribe`].
    pub async fn subscribe_matching(
        &self,
        subscription: Subscription,
        patterns: Vec<String>,
    ) -> Result<Box<dyn GroupMember>, LogError> {
        Ok(Box::new(self.core.join(subscription, patterns).await?))
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Core) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.core.check_open()?;
        let core = Arc::clone(&self.core);
        blocking(&self.core.cluster, move || question(&core)).await
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicDescription, LogError> {
        self.core.check_open()?;
        self.core.create(spec).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>, LogError> {
        self.core.check_open()?;
        self.core.describe_all().await
    }

    async fn topic(&self, name: &TopicName) -> Result<TopicDescription, LogError> {
        self.core.check_open()?;
        self.core.describe_one(name).await
    }

    async fn alter_topic(
        &self,
        name: &TopicName,
        change: &TopicChange,
    ) -> Result<TopicDescription, LogError> {
        self.core.check_open()?;
        self.core.alter(name, change).await
    }

    async fn delete_topic(&self, name: &TopicName) -> Result<(), LogError> {
        self.core.check_open()?;
        self.core.delete(name).await
    }

    async fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Offset,
    ) -> Result<Offset, LogError> {
        self.core.check_open()?;
        self.core.delete_before(partition, before).await
    }

    async fn append(
        &self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<Vec<Position>, LogError> {
        self.core.append(topic, partition, records).await
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
        let partition = partition.clone();
        self.ask(move |core| {
            core.check_partition(&partition)?;
            let mut found = core.partition_offsets(std::slice::from_ref(&partition))?;
            Ok(found.remove(&partition).unwrap_or_default())
        })
        .await
    }

    async fn offset_at(
        &self,
        partition: &TopicPartition,
        at: Timestamp,
    ) -> Result<Option<Offset>, LogError> {
        let partition = partition.clone();
        self.ask(move |core| {
            core.check_partition(&partition)?;
            core.offset_of_time(&partition, at.as_millis())
        })
        .await
    }

    async fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Result<Box<dyn GroupMember>, LogError> {
        self.subscribe_matching(subscription, Vec::new()).await
    }

    async fn groups(&self) -> Result<Vec<GroupSummary>, LogError> {
        self.ask(Core::group_summaries).await
    }

    async fn group(&self, id: &str) -> Result<GroupDescription, LogError> {
        let id = id.to_owned();
        self.ask(move |core| core.describe_group(&id)).await
    }

    async fn reset_group(&self, id: &str, positions: &Positions) -> Result<(), LogError> {
        let (id, positions) = (id.to_owned(), positions.clone());
        self.ask(move |core| core.reset_group(&id, &positions)).await
    }

    async fn delete_group(&self, id: &str) -> Result<(), LogError> {
        self.core.check_open()?;
        self.core.forget_group(id).await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.core.check_open()?;
        self.core.closed.cancel();
        let leaving = std::mem::take(&mut *self.core.leaving.lock());
        for member in leaving {
            let _ = member.await;
        }
        let core = Arc::clone(&self.core);
        blocking(&self.core.cluster, move || {
            core.readers.close();
            core.producers.close()
        })
        .await
    }
}
