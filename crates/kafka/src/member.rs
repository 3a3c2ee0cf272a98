//! A membership in a consumer group of the cluster.
//!
//! librdkafka joins, beats and rebalances (cooperatively: whatever stays is not
//! interrupted); a thread serves it. A rebalance is put into [`Events`] and answered by
//! [`Member::next_change`] only: what is revoked stays ours until the caller has come back, because
//! librdkafka waits for that answer. Commits pass while their partitions are held here
//! and not longer: the cluster itself would take them from any member.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use courant_log::{
    AutoOffsetReset, Committed, Committer, GroupChange, GroupMember, LogError, PartitionReader,
    Subscription, TransactionalProducer,
};
use courant_model::{
    Positions, TopicName, TopicPartition,
    limits::{KAFKA_REBALANCE_MS_MAX, KAFKA_TOPICS_REFRESH_MS, OFFSET_METADATA_BYTES_MAX},
};
use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Offset as KafkaOffset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio::{
    sync::{Notify, RwLock},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{CALL, Core, blocking, code_of},
    context::Context,
    read::fetching,
    reader::{Reader, Slot, Snapshot, Start},
    stream::Stream,
};

/// How long the serving thread waits for an event before it looks whether to stop.
const SERVE: Duration = Duration::from_millis(200);

/// How often librdkafka tells where partitions end and how far they were read.
const SNAPSHOT_MS: &str = "1000";

/// Between two tries of a commit that a rebalance disturbs.
const COMMIT_AGAIN: Duration = Duration::from_millis(50);

pub(crate) type GroupConsumer = BaseConsumer<GroupContext>;

/// What librdkafka tells a member.
#[derive(Debug)]
pub(crate) struct GroupContext {
    context: Context,
    events: Arc<Events>,
}

/// What happened to a member and was not handed out yet.
#[derive(Debug, Default)]
struct Events {
    rebalances: Mutex<VecDeque<Rebalance>>,
    failure: Mutex<Option<KafkaError>>,
    /// Lost, though the member has not been told yet.
    lost: Mutex<BTreeSet<TopicPartition>>,
    slots: Mutex<BTreeMap<TopicPartition, Arc<Slot>>>,
    /// The member leaves: rebalances are answered at once, commits are not repeated.
    leaving: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Clone)]
enum Rebalance {
    Assign(Vec<TopicPartition>),
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
}

/// What a member holds; commits keep it from changing under them.
#[derive(Default)]
pub(crate) struct Holdings {
    pub(crate) consumer: Option<Arc<GroupConsumer>>,
    held: BTreeSet<TopicPartition>,
}

/// What member, committers, readers and transactions share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) subscription: Subscription,
    events: Arc<Events>,
    holdings: Arc<RwLock<Holdings>>,
}

/// A membership.
pub(crate) struct Member {
    shared: Arc<Shared>,
    /// Told as revoked, given back by the next call.
    returning: Vec<TopicPartition>,
    /// The rebalance that is being answered.
    answering: Option<JoinHandle<Result<Option<GroupChange>, LogError>>>,
    serving: Option<JoinHandle<()>>,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, about: &str, line: &str) {
        self.context.line(level, about, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.failure(&error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        for (partition, snapshot) in Snapshot::read(json) {
            if let Some(slot) = self.events.slots.lock().get(&partition) {
                slot.update(snapshot);
            }
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &GroupConsumer,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = partitions_of(list);
        let assigns = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.events.leaving.load(Ordering::Acquire) {
            let done = if assigns { assign(consumer, list) } else { unassign(consumer, list) };
            if let Err(error) = done {
                tracing::debug!(%error, "rebalance of a leaving member was not answered");
            }
            return;
        }
        let rebalance = if assigns {
            Rebalance::Assign(partitions)
        } else {
            let lost = consumer.assignment_lost();
            if lost {
                self.events.lost.lock().extend(partitions.iter().cloned());
            }
            Rebalance::Revoke { partitions, lost }
        };
        self.events.rebalances.lock().push_back(rebalance);
        self.events.changed.notify_one();
    }
}

impl Core {
    /// Joins a group. Patterns (`^orders\..*`) are topics of any name that fits.
    pub(crate) async fn join(
        self: &Arc<Self>,
        subscription: Subscription,
        patterns: Vec<String>,
    ) -> Result<Member, LogError> {
        self.check_open()?;
        if subscription.group.is_empty() {
            let (group, why) = (String::new(), "it is empty".to_owned());
            return Err(LogError::InvalidGroup { group, why });
        }
        let core = Arc::clone(self);
        let (shared, consumer) = blocking(&self.cluster, move || {
            for topic in &subscription.topics {
                core.partition_count(topic)?;
            }
            core.open_member(subscription, &patterns)
        })
        .await?;
        let (events, holdings) = (Arc::clone(&shared.events), Arc::clone(&shared.holdings));
        let weak = Arc::downgrade(&shared);
        let closed = self.closed.clone();
        let serving = tokio::task::spawn_blocking(move || {
            serve(&consumer, &events, &holdings, &weak, &closed);
            // The last of its owners: this ends the client, which leaves the group.
            drop(consumer);
        });
        Ok(Member { shared, returning: Vec::new(), answering: None, serving: Some(serving) })
    }

    fn open_member(
        self: &Arc<Self>,
        subscription: Subscription,
        patterns: &[String],
    ) -> Result<(Arc<Shared>, Arc<GroupConsumer>), LogError> {
        let action = format!("joining group \"{}\"", subscription.group);
        let failed = |error: KafkaError| self.failure(&action, &error);
        let session_ms = subscription.session_timeout.as_millis().max(1);
        let mut config = self.options.client_config();
        config.set_log_level(RDKafkaLogLevel::Warning);
        fetching(&mut config);
        config.set("group.id", &subscription.group);
        if let Some(instance) = &subscription.instance_id {
            config.set("group.instance.id", instance);
        }
        config.set("client.id", &subscription.client_id);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", session_ms.to_string());
        config.set("heartbeat.interval.ms", (session_ms / 4).clamp(1, 3_000).to_string());
        let rebalance_ms = session_ms.max(u128::from(KAFKA_REBALANCE_MS_MAX));
        config.set("max.poll.interval.ms", rebalance_ms.to_string());
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("allow.auto.create.topics", "false");
        config.set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true");
        // What retention has removed is stepped over, from the first record that is left.
        config.set("auto.offset.reset", "earliest");
        config.set("topic.metadata.refresh.interval.ms", KAFKA_TOPICS_REFRESH_MS.to_string());
        config.set("statistics.interval.ms", SNAPSHOT_MS);
        let events = Arc::new(Events::default());
        let context = GroupContext {
            context: Context { cluster: Arc::clone(&self.cluster) },
            events: Arc::clone(&events),
        };
        let consumer: GroupConsumer = config.create_with_context(context).map_err(failed)?;
        let consumer = Arc::new(consumer);
        let names = subscription.topics.iter().map(TopicName::as_str);
        let topics: Vec<&str> = names.chain(patterns.iter().map(String::as_str)).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        let holdings = Holdings { consumer: Some(Arc::clone(&consumer)), held: BTreeSet::new() };
        let holdings = Arc::new(RwLock::new(holdings));
        let core = Arc::clone(self);
        Ok((Arc::new(Shared { core, subscription, events, holdings }), consumer))
    }
}

/// Serves librdkafka until the member leaves or the log is closed; then ends the
/// readers and waits for commits that are under way. Blocks for as long.
fn serve(
    consumer: &GroupConsumer,
    events: &Events,
    holdings: &RwLock<Holdings>,
    shared: &Weak<Shared>,
    closed: &CancellationToken,
) {
    while !events.leaving.load(Ordering::Acquire) && !closed.is_cancelled() {
        match consumer.poll(SERVE) {
            None => {}
            Some(Ok(message)) => drop(message),
            Some(Err(error)) => {
                let Some(shared) = shared.upgrade() else { continue };
                if shared.is_worth_telling(&error) {
                    *events.failure.lock() = Some(error);
                    events.changed.notify_one();
                }
            }
        }
    }
    events.leaving.store(true, Ordering::Release);
    let mut holdings = holdings.blocking_write();
    let slots = std::mem::take(&mut *events.slots.lock());
    slots.into_values().for_each(|slot| drop(slot.end()));
    holdings.held.clear();
    holdings.consumer = None;
    drop(holdings);
    // An unanswered rebalance would hold up the end.
    for rebalance in events.rebalances.lock().drain(..) {
        let done = match rebalance {
            Rebalance::Assign(partitions) => assign(consumer, &plain_list(&partitions)),
            Rebalance::Revoke { partitions, .. } => unassign(consumer, &plain_list(&partitions)),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "rebalance of a leaving member was not answered");
        }
    }
}

impl Shared {
    /// Whether a failure outside of any call needs the caller. A topic that is gone
    /// is told to its readers.
    fn is_worth_telling(&self, error: &KafkaError) -> bool {
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

    fn failure(&self, what: &str, error: &KafkaError) -> LogError {
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
    async fn answer(self: Arc<Self>) -> Result<Option<GroupChange>, LogError> {
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

    fn committed_of(
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
    async fn give_back(&self, partitions: Vec<TopicPartition>) -> Result<(), LogError> {
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
    fn commit(
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
            let again = again || code_of(&error).is_some_and(crate::cluster::is_retryable);
            let ours = !self.has_lost(positions) && !self.events.leaving.load(Ordering::Acquire);
            if !again || !ours || Instant::now() >= until {
                return Err(self.failure("committing offsets of", &error));
            }
            std::thread::sleep(COMMIT_AGAIN);
        }
    }

    /// Tells the serving thread to leave; it wakes up at the latest after [`SERVE`]. A
    /// static member gives its seat up only where it says so: by unsubscribing before.
    fn start_leaving(&self, gives_seat_up: bool) {
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

#[async_trait]
impl GroupMember for Member {
    async fn next_change(&mut self) -> Result<GroupChange, LogError> {
        let core = Arc::clone(&self.shared.core);
        loop {
            core.check_open()?;
            if self.answering.is_none() && !self.returning.is_empty() {
                let (shared, returning) = (Arc::clone(&self.shared), self.returning.clone());
                self.answering =
                    Some(tokio::spawn(
                        async move { shared.give_back(returning).await.map(|()| None) },
                    ));
            }
            if self.answering.is_none() {
                if let Some(error) = self.shared.events.failure.lock().take() {
                    return Err(self.shared.failure("being a member of", &error));
                }
                if self.shared.events.rebalances.lock().is_empty() {
                    tokio::select! {
                        () = self.shared.events.changed.notified() => {}
                        () = core.closed.cancelled() => return Err(LogError::Closed),
                    }
                    continue;
                }
                self.answering = Some(tokio::spawn(Arc::clone(&self.shared).answer()));
            }
            let Some(answering) = &mut self.answering else { continue };
            let answered = answering.await;
            self.answering = None;
            let change = answered.map_err(|error| {
                core.refusal("answering a rebalance", format!("its task ended: {error}"))
            })??;
            self.returning = match &change {
                Some(GroupChange::Revoked(partitions)) => partitions.clone(),
                _ => Vec::new(),
            };
            if let Some(change) = change {
                return Ok(change);
            }
        }
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(MemberCommitter { shared: Arc::clone(&self.shared) })
    }

    async fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        if let Some(answering) = self.answering.take() {
            let _ = answering.await;
        }
        self.shared.start_leaving(true);
        if let Some(serving) = self.serving.take() {
            let _ = serving.await;
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        self.shared.start_leaving(self.shared.subscription.instance_id.is_none());
        let mut all = self.shared.core.leaving.lock();
        all.retain(|leaving| !leaving.is_finished());
        all.push(serving);
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Commits for one member.
#[derive(Debug)]
struct MemberCommitter {
    shared: Arc<Shared>,
}

#[async_trait]
impl Committer for MemberCommitter {
    async fn commit(&self, positions: &Positions, metadata: &str) -> Result<(), LogError> {
        if metadata.len() > OFFSET_METADATA_BYTES_MAX {
            return Err(LogError::OffsetMetadataTooLarge {
                group: self.shared.subscription.group.clone(),
                found_bytes: metadata.len(),
                max_bytes: OFFSET_METADATA_BYTES_MAX,
            });
        }
        if positions.is_empty() {
            return Ok(());
        }
        let (all, metadata) = (positions.clone(), metadata.to_owned());
        let commit = move |shared: &Shared, consumer: &GroupConsumer| {
            shared.commit(consumer, &all, &metadata)
        };
        self.shared.holding(positions, commit).await
    }

    async fn committed(&self, partition: &TopicPartition) -> Result<Option<Committed>, LogError> {
        let partition = partition.clone();
        let ask = move |shared: &Shared, consumer: &GroupConsumer| {
            let asked = std::slice::from_ref(&partition);
            let found = shared.core.asking(|left| shared.committed_of(consumer, asked, left))?;
            Ok(found.get(&partition).cloned())
        };
        self.shared.holding(&Positions::new(), ask).await
    }

    async fn transactional_producer(
        &self,
        id: &str,
        timeout: Duration,
    ) -> Result<Box<dyn TransactionalProducer>, LogError> {
        crate::transaction::open(Arc::clone(&self.shared), id.to_owned(), timeout).await
    }

    fn clone_box(&self) -> Box<dyn Committer> {
        Box::new(Self { shared: Arc::clone(&self.shared) })
    }
}

/// Positions as librdkafka takes them.
pub(crate) fn offsets_list(
    positions: &Positions,
    metadata: &str,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (partition, offset) in positions {
        let mut element = list.add_partition(partition.topic.as_str(), partition.partition);
        element.set_offset(KafkaOffset::Offset(*offset))?;
        if !metadata.is_empty() {
            element.set_metadata(metadata);
        }
    }
    Ok(list)
}

/// Partitions without offsets.
pub(crate) fn plain_list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(partition.topic.as_str(), partition.partition);
    }
    list
}

fn assign(consumer: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Eager => consumer.assign(list),
        RebalanceProtocol::Cooperative | RebalanceProtocol::None => {
            consumer.incremental_assign(list)
        }
    }
}

fn unassign(consumer: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Eager => consumer.unassign(),
        RebalanceProtocol::Cooperative | RebalanceProtocol::None => {
            consumer.incremental_unassign(list)
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let partition = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let topic = TopicName::new(element.topic()).ok()?;
        Some(TopicPartition::new(topic, element.partition()))
    };
    elements.iter().filter_map(partition).collect()
}
