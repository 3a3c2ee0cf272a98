//! A log whose transactions fail where a test says; everything else is the log's own.
//!
//! A fault strikes one call of one producer: before it is made, or after it was made
//! and its answer got lost; it is an error, or silence, as of a process that is gone.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_log::{
    Committed, Committer, GroupChange, GroupDescription, GroupMember, GroupSummary, Log, LogError,
    PartitionOffsets, Read, ReadLimit, Subscription, TopicChange, TopicDescription, TopicSpec,
    TransactionalProducer,
};
use courant_model::{
    Offset, PartitionId, Position, Positions, Record, Timestamp, TopicName, TopicPartition,
};
use parking_lot::Mutex;

/// A call of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Producer,
    Begin,
    Append,
    Offsets,
    Commit,
    Abort,
}

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// It is not made, and fails.
    Refused(LogError),
    /// It is made, and fails all the same.
    AnswerLost(LogError),
    /// It is not made, and nothing is ever heard.
    SilentBefore,
    /// It is made, and nothing is ever heard.
    SilentAfter,
}

/// The faults to come, shared by a log and all that it hands out.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<VecDeque<(Call, Fault)>>>);

impl Faults {
    pub(super) fn of(faults: impl IntoIterator<Item = (Call, Fault)>) -> Self {
        Self(Arc::new(Mutex::new(faults.into_iter().collect())))
    }

    /// Whether all of them have struck.
    pub(super) fn are_over(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn take(&self, call: Call) -> Option<Fault> {
        let mut faults = self.0.lock();
        let is_next = faults.front().is_some_and(|(next, _)| *next == call);
        if is_next { faults.pop_front().map(|(_, fault)| fault) } else { None }
    }

    async fn strike<T>(
        &self,
        call: Call,
        made: impl Future<Output = Result<T, LogError>>,
    ) -> Result<T, LogError> {
        match self.take(call) {
            None => made.await,
            Some(Fault::Refused(error)) => Err(error),
            Some(Fault::AnswerLost(error)) => made.await.and(Err(error)),
            Some(Fault::SilentBefore) => std::future::pending().await,
            Some(Fault::SilentAfter) => {
                let _ = made.await;
                std::future::pending().await
            }
        }
    }
}

/// A log with faults.
#[derive(Debug)]
pub(super) struct FaultyLog {
    pub(super) log: Arc<dyn Log>,
    pub(super) faults: Faults,
}

#[async_trait]
impl Log for FaultyLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicDescription, LogError> {
        self.log.create_topic(spec).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>, LogError> {
        self.log.topics().await
    }

    async fn topic(&self, name: &TopicName) -> Result<TopicDescription, LogError> {
        self.log.topic(name).await
    }

    async fn alter_topic(
        &self,
        name: &TopicName,
        change: &TopicChange,
    ) -> Result<TopicDescription, LogError> {
        self.log.alter_topic(name, change).await
    }

    async fn delete_topic(&self, name: &TopicName) -> Result<(), LogError> {
        self.log.delete_topic(name).await
    }

    async fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Offset,
    ) -> Result<Offset, LogError> {
        self.log.delete_records(partition, before).await
    }

    async fn append(
        &self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<Vec<Position>, LogError> {
        self.log.append(topic, partition, records).await
    }

    async fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Read, LogError> {
        self.log.read(partition, from, limit).await
    }

    async fn offsets(&self, partition: &TopicPartition) -> Result<PartitionOffsets, LogError> {
        self.log.offsets(partition).await
    }

    async fn offset_at(
        &self,
        partition: &TopicPartition,
        at: Timestamp,
    ) -> Result<Option<Offset>, LogError> {
        self.log.offset_at(partition, at).await
    }

    async fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Result<Box<dyn GroupMember>, LogError> {
        let member = self.log.subscribe(subscription).await?;
        Ok(Box::new(FaultyMember { member, faults: self.faults.clone() }))
    }

    async fn groups(&self) -> Result<Vec<GroupSummary>, LogError> {
        self.log.groups().await
    }

    async fn group(&self, id: &str) -> Result<GroupDescription, LogError> {
        self.log.group(id).await
    }

    async fn reset_group(&self, id: &str, positions: &Positions) -> Result<(), LogError> {
        self.log.reset_group(id, positions).await
    }

    async fn delete_group(&self, id: &str) -> Result<(), LogError> {
        self.log.delete_group(id).await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.log.close().await
    }
}

#[derive(Debug)]
struct FaultyMember {
    member: Box<dyn GroupMember>,
    faults: Faults,
}

#[async_trait]
impl GroupMember for FaultyMember {
    async fn next_change(&mut self) -> Result<GroupChange, LogError> {
        self.member.next_change().await
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(FaultyCommitter {
            committer: self.member.committer(),
            faults: self.faults.clone(),
        })
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.member.leave().await
    }
}

#[derive(Debug)]
struct FaultyCommitter {
    committer: Box<dyn Committer>,
    faults: Faults,
}

#[async_trait]
impl Committer for FaultyCommitter {
    async fn commit(&self, positions: &Positions, metadata: &str) -> Result<(), LogError> {
        self.committer.commit(positions, metadata).await
    }

    async fn committed(&self, partition: &TopicPartition) -> Result<Option<Committed>, LogError> {
        self.committer.committed(partition).await
    }

    async fn transactional_producer(
        &self,
        id: &str,
        timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        let made = self.committer.transactional_producer(id, timeout);
        let producer = self.faults.strike(Call::Producer, made).await?;
        Ok(Box::new(FaultyProducer { producer, faults: self.faults.clone() }))
    }

    fn clone_box(&self) -> Box<dyn Committer> {
        let (committer, faults) = (self.committer.clone_box(), self.faults.clone());
        Box::new(Self { committer, faults })
    }
}

#[derive(Debug)]
struct FaultyProducer {
    producer: Box<dyn TransactionalProducer>,
    faults: Faults,
}

#[async_trait]
impl TransactionalProducer for FaultyProducer {
    async fn begin(&mut self) -> Result<(), LogError> {
        self.faults.strike(Call::Begin, self.producer.begin()).await
    }

    async fn append(
        &mut self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<(), LogError> {
        let made = self.producer.append(topic, partition, records);
        self.faults.strike(Call::Append, made).await
    }

    async fn commit_offsets(
        &mut self,
        positions: &Positions,
        metadata: &str,
    ) -> Result<(), LogError> {
        let made = self.producer.commit_offsets(positions, metadata);
        self.faults.strike(Call::Offsets, made).await
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        self.faults.strike(Call::Commit, self.producer.commit()).await
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        self.faults.strike(Call::Abort, self.producer.abort()).await
    }
}
