//! What a member of a group holds, and what it does with it at the cluster.
//!
//! Partitions are taken over and given back here, and offsets are committed. Commits
//! pass while their partitions are held here and not longer: the cluster itself would
//! take them from any member.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use courant_log::{
    AutoOffsetReset, Committed, GroupChange, LogError, PartitionReader, Subscription,
};
use courant_model::{Positions, TopicName, TopicPartition};
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tokio::sync::{Notify, RwLock};

use crate::{
    cluster::{CALL, Core, blocking, code_of, is_retryable},
    events::{Events, GroupConsumer, Rebalance, assign, offsets_list, plain_list, unassign},
    reader::{Reader, Slot, Start},
    stream::Stream,
};

/// Between two tries of a commit that a rebalance disturbs.
const COMMIT_AGAIN: Duration = Duration::from_millis(50);

/// What a member holds; commits keep it from changing under them.
#[derive(Default)]
pub(crate) struct Holdings {
    consumer: Option<Arc<GroupConsumer>>,
    held: BTreeSet<TopicPartition>,
}

/// What member, committers, readers and transactions share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) subscription: Subscription,
    pub(crate) events: Arc<Events>,
    pub(crate) holdings: Arc<RwLock<Holdings>>,
}

impl Holdings {
    pub(crate) fn of(consumer: Arc<GroupConsumer>) -> Self {
        Self { consumer: Some(consumer), held: BTreeSet::new() }
    }

    /// Nothing is held any more, and nothing more can be.
    pub(crate) fn clear(&mut self) {
        self.consumer = None;
        self.held.clear();
    }
}

impl Shared {
    /// Whether a failure outside of any call needs the caller. A topic that is gone
    /// is told to its readers.
    pub(crate) fn is_worth_telling(&self, error: &KafkaError) -> bool {
        use RDKafkaErrorCode as Code;
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return true;
        }
        match code_of(error) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                self.tell_readers_of_gone_topics();
                false
            }
            Some(
                Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed
                | Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::InconsistentGroupProtocol
                | Code::InvalidGroupId
                | Code::InvalidSessionTimeout
                | Code::GroupMaxSizeReached
                | Code::FencedInstanceId,
            ) => true,
            _ => false,
        }
    }

    fn tell_readers_of_gone_topics(&self) {
        let slots = self.events.slots.lock().clone();
        let topics: BTreeSet<_> = slots.keys().map(|partition| &partition.topic).collect();
        for topic in topics {
            if let Err(LogError::UnknownTopic { .. }) = self.core.partition_count(topic) {
                let theirs = slots.iter().filter(|(partition, _)| partition.topic == *topic);
                theirs.for_each(|(_, slot)| slot.topic_is_gone());
            }
        }
    }

    fn action(&self, what: &str) -> String {
        format!("{what} group \"{}\"", self.subscription.group)
    }

    pub(crate) fn failure(&self, what: &str, error: &KafkaError) -> LogError {
        use RDKafkaErrorCode as Code;
        let group = self.subscription.group.clone();
        let code = match error {
            KafkaError::Transaction(error) => Some(error.code()),
            other => code_of(other),
        };
        match code {
            // After a fatal failure, which `next_change` tells, nothing is held any more.
            Some(
                Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::AssignmentLost
                | Code::Fatal,
            ) => self.stale(),
            Some(Code::FencedInstanceId) => {
                let instance = self.subscription.instance_id.clone().unwrap_or_default();
                LogError::FencedInstance { group, instance }
            }
            Some(Code::InconsistentGroupProtocol) => LogError::InconsistentProtocol { group },
            Some(Code::RebalanceInProgress) => LogError::RebalanceInProgress { group },
            Some(Code::InvalidGroupId) => {
                LogError::InvalidGroup { group, why: "the cluster refuses it".to_owned() }
            }
            _ => self.core.failure(&self.action(what), error),
        }
    }

    pub(crate) fn stale(&self) -> LogError {
        let group = self.subscription.group.clone();
        LogError::IllegalGeneration { group, found: -1, expected: -1 }
    }

    /// Answers the rebalance at the head of the line.
    pub(crate) async fn answer(self: Arc<Self>) -> Result<Option<GroupChange>, LogError> {
        let Some(rebalance) = self.events.rebalances.lock().front().cloned() else {
            return Ok(None);
        };
        let change = match rebalance {
            Rebalance::Assign(partitions) => self.take(partitions).await?,
            Rebalance::Revoke { partitions, lost: false } if !partitions.is_empty() => {
                Some(GroupChange::Revoked(partitions))
            }
            Rebalance::Revoke { partitions, .. } => {
                self.give_back(partitions.clone()).await?;
                (!partitions.is_empty()).then_some(GroupChange::Lost(partitions))
            }
        };
        self.events.rebalances.lock().pop_front();
        Ok(change)
    }

    /// Takes partitions over, each from its committed offset.
    async fn take(
        self: &Arc<Self>,
        partitions: Vec<TopicPartition>,
    ) -> Result<Option<GroupChange>, LogError> {
        let mut holdings = Arc::clone(&self.holdings).write_owned().await;
        let Some(consumer) = holdings.consumer.clone() else { return Err(LogError::Closed) };
        let shared = Arc::clone(self);
        let slots = blocking(&self.core.cluster, move || {
            let starts = shared.starts(&consumer, &partitions)?;
            let slots = shared.assign(&consumer, starts)?;
            holdings.held.extend(partitions);
            Ok(slots)
        })
        .await?;
        let reader = |slot: Arc<Slot>| {
            Box::new(Reader::new(Arc::clone(self), slot)) as Box<dyn PartitionReader>
        };
        let readers: Vec<_> = slots.into_iter().map(reader).collect();
        Ok((!readers.is_empty()).then_some(GroupChange::Assigned(readers)))
    }

    /// Where each partition begins: its committed offset, or what the subscription says.
    fn starts(
        &self,
        consumer: &GroupConsumer,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Start>, LogError> {
        let committed = self.core.asking(|left| self.committed_of(consumer, partitions, left))?;
        let offsets = self.core.partition_offsets(partitions)?;
        let start = |partition: &TopicPartition| {
            let committed = committed.get(partition).cloned();
            let found = offsets.get(partition).copied().unwrap_or_default();
            let begin = match (&committed, self.subscription.reset) {
                (Some(committed), _) => committed.offset,
                (None, AutoOffsetReset::Earliest) => found.start,
                (None, AutoOffsetReset::Latest) => found.end,
            };
            Start { partition: partition.clone(), committed, begin, end: found.end }
        };
        Ok(partitions.iter().map(start).collect())
    }

    pub(crate) fn committed_of(
        &self,
        consumer: &GroupConsumer,
        partitions: &[TopicPartition],
        left: Duration,
    ) -> Result<BTreeMap<TopicPartition, Committed>, LogError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let what = "asking for committed offsets of";
        let answered = consumer.committed_offsets(plain_list(partitions), left);
        let answered = answered.map_err(|error| self.failure(what, &error))?;
        let mut committed = BTreeMap::new();
        for element in answered.elements() {
            element.error().map_err(|error| self.failure(what, &error))?;
            if let (Ok(topic), KafkaOffset::Offset(offset)) =
                (TopicName::new(element.topic()), element.offset())
            {
                let metadata = element.metadata().to_owned();
                let partition = TopicPartition::new(topic, element.partition());
                committed.insert(partition, Committed { offset, metadata });
            }
        }
        Ok(committed)
    }

    /// Splits the partitions' queues off and tells librdkafka to fetch.
    fn assign(
        &self,
        consumer: &Arc<GroupConsumer>,
        starts: Vec<Start>,
    ) -> Result<Vec<Arc<Slot>>, LogError> {
        let what = "taking partitions over in";
        let failed = |error: KafkaError| self.failure(what, &error);
        let mut list = TopicPartitionList::with_capacity(starts.len());
        let mut slots = Vec::with_capacity(starts.len());
        for start in starts {
            let partition = &start.partition;
            let (topic, number) = (partition.topic.as_str(), partition.partition);
            let from = KafkaOffset::Offset(start.begin);
            list.add_partition_offset(topic, number, from).map_err(failed)?;
            let ready = Arc::new(Notify::new());
            let stream = Stream::split(consumer, partition, &ready).ok_or_else(|| {
                self.core.refusal(&self.action(what), "the client has no queue for a partition")
            })?;
            slots.push(Arc::new(Slot::new(stream, start, ready)));
        }
        assign(consumer, &list).map_err(failed)?;
        let mut lost = self.events.lost.lock();
        let mut all = self.events.slots.lock();
        for slot in &slots {
            lost.remove(slot.partition());
            all.insert(slot.partition().clone(), Arc::clone(slot));
        }
        Ok(slots)
    }

    /// Gives partitions up, once no commit is under way for them.
    pub(crate) async fn give_back(&self, partitions: Vec<TopicPartition>) -> Result<(), LogError> {
        let mut holdings = Arc::clone(&self.holdings).write_owned().await;
        let Some(consumer) = holdings.consumer.clone() else { return Ok(()) };
        let mut streams = Vec::new();
        for partition in &partitions {
            holdings.held.remove(partition);
            if let Some(slot) = self.events.slots.lock().remove(partition) {
                streams.extend(slot.end());
            }
        }
        let (core, action) = (Arc::clone(&self.core), self.action("giving partitions back in"));
        blocking(&self.core.cluster, move || {
            let _unchanged = holdings;
            let done = unassign(&consumer, &plain_list(&partitions));
            drop(streams);
            done.map_err(|error| core.failure(&action, &error))
        })
        .await
    }

    /// Runs something for partitions that are held, and that stay held while it runs.
    pub(crate) async fn holding<T: Send + 'static>(
        self: &Arc<Self>,
        positions: &Positions,
        work: impl FnOnce(&Shared, &GroupConsumer) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.core.check_open()?;
        let holdings = Arc::clone(&self.holdings).read_owned().await;
        let held = positions.keys().all(|partition| holdings.held.contains(partition));
        let Some(consumer) = holdings.consumer.clone().filter(|_| held) else {
            return Err(self.stale());
        };
        let shared = Arc::clone(self);
        blocking(&self.core.cluster, move || {
            let done = work(&shared, &consumer);
            drop((consumer, holdings));
            done
        })
        .await
    }

    /// The member's client, while it is a member.
    pub(crate) async fn consumer(&self) -> Option<Arc<GroupConsumer>> {
        self.holdings.read().await.consumer.clone()
    }

    /// Whether any of these was lost since, though nobody was told yet.
    fn has_lost(&self, positions: &Positions) -> bool {
        let lost = self.events.lost.lock();
        positions.keys().any(|partition| lost.contains(partition))
    }

    /// Commits; a rebalance in the middle is waited for while the partitions stay ours.
    pub(crate) fn commit(
        &self,
        consumer: &GroupConsumer,
        positions: &Positions,
        metadata: &str,
    ) -> Result<(), LogError> {
        let list = offsets_list(positions, metadata)
            .map_err(|error| self.failure("committing offsets of", &error))?;
        let until = Instant::now() + CALL;
        loop {
            let Err(error) = consumer.commit(&list, CommitMode::Sync) else { return Ok(()) };
            let again = matches!(
                code_of(&error),
                Some(RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration)
            );
            let again = again || code_of(&error).is_some_and(is_retryable);
            let ours = !self.has_lost(positions) && !self.events.leaving.load(Ordering::Acquire);
            if !again || !ours || Instant::now() >= until {
                return Err(self.failure("committing offsets of", &error));
            }
            std::thread::sleep(COMMIT_AGAIN);
        }
    }

    /// Tells the serving thread to leave; it wakes up at the latest after 200 ms. A
    /// static member gives its seat up only where it says so: by unsubscribing before.
    pub(crate) fn start_leaving(&self, gives_seat_up: bool) {
        self.events.leaving.store(true, Ordering::Release);
        if !gives_seat_up {
            return;
        }
        if let Ok(holdings) = self.holdings.try_read()
            && let Some(consumer) = &holdings.consumer
        {
            consumer.unsubscribe();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("subscription", &self.subscription).finish_non_exhaustive()
    }
}
