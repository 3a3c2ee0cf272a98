//! The coordinator: all transactional ids of one log, with time and durability.
//!
//! Every call takes its id's turn ([`super::slots`]), asks the state machine
//! ([`super::machine`]), makes the answer durable and carries it out. What was begun
//! is finished also when the caller has gone away. Ends ([`Shared::complete`]) are
//! tried until every partition has its marker; meanwhile the id keeps its turn, and
//! others are told to come back.
//!
//! What only producers of this process need is kept in memory until the transaction
//! ends: they end with the log, and a start aborts what is open and not accounted for.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_model::{
    Clock, Record, Timestamp, TopicPartition,
    limits::{
        TRANSACTION_CHECK_MS, TRANSACTION_RETRY_MS, TRANSACTION_TIMEOUT_MS_MAX,
        TRANSACTIONAL_ID_BYTES_MAX,
    },
};
use futures::future::join_all;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    machine::{Start, Transaction},
    records,
    slots::{Slot, Slots, Turn},
    types::{ProducerIdentity, TransactionDescription, TransactionFilter, TransactionSummary},
};
use crate::{
    Committed, LogError,
    batch::Marker,
    group::{Coordinator, Membership},
    state::{StateBatch, StateStore},
};

/// What the coordinator needs of the log around it.
#[async_trait]
pub(crate) trait TransactionLog: Send + Sync + std::fmt::Debug + 'static {
    /// A producer id that was never given out before.
    async fn allocate_producer_id(&self) -> Result<i64, LogError>;

    /// The partition that keeps the groups' offsets; it is there when this answers.
    async fn offsets_partition(&self) -> Result<TopicPartition, LogError>;

    /// Fails unless the partition exists and may be written to.
    fn check(&self, partition: &TopicPartition) -> Result<(), LogError>;

    /// Lets the producer's transactional batches in until its next marker; nothing
    /// happens to a partition that has gone.
    fn admit(&self, partition: &TopicPartition, producer: ProducerIdentity);

    /// Writes the end of the producer's transaction into a partition, durably; one
    /// that has gone needs none.
    async fn mark(
        &self,
        partition: &TopicPartition,
        producer: ProducerIdentity,
        marker: Marker,
    ) -> Result<(), LogError>;

    /// All transactions that are open on partitions.
    async fn open_transactions(&self) -> Result<Vec<(TopicPartition, ProducerIdentity)>, LogError>;
}

/// All transactions of one log. Cheap to clone; the last clone stops its task.
#[derive(Debug, Clone)]
pub struct Transactions {
    shared: Arc<Shared>,
    _watch: Arc<Watch>,
}

/// The task that watches time; it ends with the coordinator.
#[derive(Debug)]
struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// When a change of a transaction is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Before it is answered.
    Now,
    /// With the transaction's end.
    WithEnd,
}

type Answer = oneshot::Sender<Result<(), LogError>>;

#[derive(Debug)]
struct Shared {
    store: Arc<dyn StateStore>,
    log: Arc<dyn TransactionLog>,
    groups: Coordinator,
    clock: Arc<dyn Clock>,
    slots: Slots,
}

impl Transactions {
    /// Replays what is kept, finishes the ends that were decided, aborts what nobody
    /// accounts for and lets the producers of open transactions go on.
    ///
    /// # Errors
    /// Storage failures of the replay. An end that cannot be written yet is no
    /// failure; it is tried again.
    pub(crate) async fn open(
        store: Arc<dyn StateStore>,
        log: Arc<dyn TransactionLog>,
        groups: Coordinator,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let slots = Slots::default();
        store
            .replay(&mut |batch| {
                let StateBatch::Records(records) = batch else { return };
                records.iter().for_each(|record| replay(&slots, record));
            })
            .await?;
        let shared = Arc::new(Shared { store, log, groups, clock, slots });
        shared.resume().await?;
        let watch = Watch(tokio::spawn(watch_time(Arc::downgrade(&shared))));
        Ok(Self { shared, _watch: Arc::new(watch) })
    }

    /// Gives a producer its identity: the next epoch of its id. Earlier producers of
    /// the id are fenced, and what they left open is ended before this answers. A
    /// producer that goes on after an error says who it is in `current`, so that it
    /// does not fence a successor.
    ///
    /// # Cancel safety
    /// Dropped, the epoch may have moved all the same.
    ///
    /// # Errors
    /// [`LogError::InvalidTransactionalId`], [`LogError::InvalidTransactionTimeout`] for
    /// none or more than 15 minutes, [`LogError::ProducerFenced`] for a `current` that
    /// is not; [`LogError::ConcurrentTransactions`] asks to come back; storage failures.
    pub async fn init_producer(
        &self,
        id: &str,
        timeout: Duration,
        current: Option<ProducerIdentity>,
    ) -> Result<ProducerIdentity, LogError> {
        check_id(id)?;
        let timeout_ms = check_timeout(id, timeout)?;
        let slot = self.shared.slots.ensure(id)?;
        let shared = Arc::clone(&self.shared);
        finish(async move { shared.init(slot, timeout_ms, current).await }).await
    }

    /// Makes partitions part of the producer's transaction, which begins with the
    /// first. Only then they take its batches.
    ///
    /// # Cancel safety
    /// Dropped, they may have become part of it.
    ///
    /// # Errors
    /// [`LogError::InvalidProducerIdMapping`], [`LogError::ProducerFenced`];
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`],
    /// [`LogError::InvalidTopic`] for the log's own, and then none was added;
    /// [`LogError::ConcurrentTransactions`] asks to come back; storage failures.
    pub async fn add_partitions(
        &self,
        id: &str,
        producer: ProducerIdentity,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<(), LogError> {
        for partition in partitions {
            self.shared.log.check(partition)?;
        }
        self.add(id, producer, partitions.clone(), Keep::Now).await
    }

    /// Makes offsets of groups part of the producer's transaction.
    ///
    /// # Cancel safety
    /// As [`Self::add_partitions`].
    ///
    /// # Errors
    /// As [`Self::add_partitions`].
    pub async fn add_offsets(&self, id: &str, producer: ProducerIdentity) -> Result<(), LogError> {
        let offsets = self.shared.log.offsets_partition().await?;
        self.add(id, producer, BTreeSet::from([offsets]), Keep::Now).await
    }

    /// As the two above for a producer of this process: a crash ends it too, so that
    /// nothing needs to be durable before its transaction ends.
    pub(crate) async fn join_in(
        &self,
        id: &str,
        producer: ProducerIdentity,
        partitions: BTreeSet<TopicPartition>,
    ) -> Result<(), LogError> {
        self.add(id, producer, partitions, Keep::WithEnd).await
    }

    /// The partition that stands for groups' offsets in [`Self::join_in`].
    pub(crate) async fn offsets_partition(&self) -> Result<TopicPartition, LogError> {
        self.shared.log.offsets_partition().await
    }

    async fn add(
        &self,
        id: &str,
        producer: ProducerIdentity,
        partitions: BTreeSet<TopicPartition>,
        keep: Keep,
    ) -> Result<(), LogError> {
        let slot = self.shared.slot_of(id, producer)?;
        let shared = Arc::clone(&self.shared);
        finish(async move { shared.add(slot, producer, &partitions, keep).await }).await
    }

    /// Commits offsets within the producer's transaction: they count once it commits.
    /// Fenced by the membership as [`Coordinator::commit`]; [`Membership::none`] is
    /// somebody who knows of no members, as older clients are. Durable when it answers.
    ///
    /// # Cancel safety
    /// Dropped, they may have become part of it.
    ///
    /// # Errors
    /// [`LogError::InvalidProducerIdMapping`], [`LogError::ProducerFenced`],
    /// [`LogError::InvalidTransactionState`] without [`Self::add_offsets`]; the group's
    /// refusals; [`LogError::ConcurrentTransactions`] asks to come back; storage failures.
    pub async fn commit_offsets(
        &self,
        id: &str,
        producer: ProducerIdentity,
        group: &str,
        membership: &Membership,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), LogError> {
        let place = self.shared.log.offsets_partition().await?;
        let slot = self.shared.slot_of(id, producer)?;
        let shared = Arc::clone(&self.shared);
        let (group, membership) = (group.to_owned(), membership.clone());
        finish(async move {
            // The turn keeps the end away until the offsets are where it finds them.
            let turn = slot.turn().await?;
            let Some(transaction) = turn.transaction() else {
                return Err(unmapped(turn.id(), producer));
            };
            transaction.check_holds(producer, &place)?;
            shared.groups.commit_in_transaction(&group, &membership, producer, offsets).await
        })
        .await
    }

    /// Ends the producer's transaction and answers when all of it is visible, or all
    /// of it is gone. The same end may be asked for again. After a storage failure
    /// that came once the end was decided it is written as soon as possible.
    ///
    /// # Cancel safety
    /// Dropped, the transaction may end all the same.
    ///
    /// # Errors
    /// [`LogError::InvalidProducerIdMapping`], [`LogError::ProducerFenced`],
    /// [`LogError::InvalidTransactionState`] with nothing to end, or ended otherwise;
    /// [`LogError::ConcurrentTransactions`] asks to come back; storage failures.
    pub async fn end(
        &self,
        id: &str,
        producer: ProducerIdentity,
        marker: Marker,
    ) -> Result<(), LogError> {
        let slot = self.shared.slot_of(id, producer)?;
        let (answer, answered) = oneshot::channel();
        tokio::spawn(Arc::clone(&self.shared).end(slot, producer, marker, answer));
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    /// The transactional ids that the filter lets through, by id.
    pub fn list(&self, filter: &TransactionFilter) -> Vec<TransactionSummary> {
        let now = self.shared.clock.now();
        let wanted = |transaction: &Transaction| {
            let age = transaction.started_at.map(|at| now.as_millis() - at.as_millis());
            let age = age.and_then(|age| u64::try_from(age).ok()).map(Duration::from_millis);
            let of_state = |states: &[_]| states.is_empty() || states.contains(&transaction.state);
            let of_producer =
                |ids: &[i64]| ids.is_empty() || ids.contains(&transaction.producer.id);
            let is_old = filter.open_for.is_none_or(|least| age.is_some_and(|age| age > least));
            of_state(&filter.states) && of_producer(&filter.producer_ids) && is_old
        };
        let summary = |transaction: &Transaction| {
            wanted(transaction).then(|| TransactionSummary {
                id: transaction.id.to_string(),
                producer_id: transaction.producer.id,
                state: transaction.state,
            })
        };
        self.shared.slots.all().iter().filter_map(|slot| slot.look(summary).flatten()).collect()
    }

    /// The latest transaction of an id.
    ///
    /// # Errors
    /// [`LogError::UnknownTransactionalId`].
    pub fn describe(&self, id: &str) -> Result<TransactionDescription, LogError> {
        let found = self.shared.slots.get(id).and_then(|slot| slot.look(Transaction::describe));
        found.ok_or_else(|| LogError::UnknownTransactionalId { id: id.to_owned() })
    }

    /// Aborts what has been open for too long as of `now` and forgets ids that were
    /// not used for 7 days. Runs by itself every second.
    ///
    /// # Errors
    /// The first storage failure; the other ids were looked after all the same.
    pub async fn expire(&self, now: Timestamp) -> Result<(), LogError> {
        self.shared.expire(now).await
    }
}

impl Shared {
    /// The place of an id that has a producer; who is another is told later.
    fn slot_of(&self, id: &str, producer: ProducerIdentity) -> Result<Arc<Slot>, LogError> {
        check_id(id)?;
        self.slots.get(id).ok_or_else(|| unmapped(id, producer))
    }

    /// Makes a change durable and puts it in place.
    async fn keep(&self, turn: &Turn, next: Transaction) -> Result<(), LogError> {
        self.append(records::encode(&next)).await?;
        turn.set(Some(next));
        Ok(())
    }

    async fn append(&self, record: Record) -> Result<(), LogError> {
        self.store.append(vec![StateBatch::Records(vec![record])]).await
    }

    async fn init(
        self: Arc<Self>,
        slot: Arc<Slot>,
        timeout_ms: i32,
        mut current: Option<ProducerIdentity>,
    ) -> Result<ProducerIdentity, LogError> {
        loop {
            let turn = Arc::clone(&slot).turn().await?;
            let now = self.clock.now();
            let next = match turn.transaction() {
                None => {
                    let producer_id = self.log.allocate_producer_id().await?;
                    Transaction::new(Arc::clone(turn.id()), producer_id, timeout_ms, now)
                }
                Some(known) => match known.start(timeout_ms, current, now)? {
                    Start::Known => return Ok(known.producer),
                    Start::Next(next) => next,
                    Start::Exhausted => {
                        let producer_id = self.log.allocate_producer_id().await?;
                        known.rotated(producer_id, timeout_ms, current, now)
                    }
                    Start::Abort(aborted) => {
                        self.keep(&turn, aborted).await?;
                        self.complete_soon(turn).await?;
                        // It was the producer it said it was; the next epoch is its own.
                        current = None;
                        continue;
                    }
                },
            };
            let producer = next.producer;
            self.keep(&turn, next).await?;
            return Ok(producer);
        }
    }

    async fn add(
        &self,
        slot: Arc<Slot>,
        producer: ProducerIdentity,
        partitions: &BTreeSet<TopicPartition>,
        keep: Keep,
    ) -> Result<(), LogError> {
        let turn = slot.turn().await?;
        let Some(known) = turn.transaction() else { return Err(unmapped(turn.id(), producer)) };
        let Some(next) = known.add(producer, partitions, self.clock.now())? else { return Ok(()) };
        match keep {
            Keep::Now => self.keep(&turn, next).await?,
            Keep::WithEnd => turn.set(Some(next)),
        }
        partitions.iter().for_each(|partition| self.log.admit(partition, producer));
        Ok(())
    }

    async fn end(
        self: Arc<Self>,
        slot: Arc<Slot>,
        producer: ProducerIdentity,
        marker: Marker,
        answer: Answer,
    ) {
        match self.prepare_end(slot, producer, marker).await {
            Ok(Some(turn)) => self.complete(turn, answer).await,
            Ok(None) => tell(answer, Ok(())),
            Err(error) => tell(answer, Err(error)),
        }
    }

    /// Decides on the end, durably; `None` if it was complete before.
    async fn prepare_end(
        &self,
        slot: Arc<Slot>,
        producer: ProducerIdentity,
        marker: Marker,
    ) -> Result<Option<Turn>, LogError> {
        let turn = slot.turn().await?;
        let Some(known) = turn.transaction() else { return Err(unmapped(turn.id(), producer)) };
        let Some(next) = known.end(producer, marker, self.clock.now())? else { return Ok(None) };
        self.keep(&turn, next).await?;
        Ok(Some(turn))
    }

    /// Completes an end in a task of its own; answers when the markers are written, or
    /// when that failed for the first time.
    async fn complete_soon(self: &Arc<Self>, turn: Turn) -> Result<(), LogError> {
        let (answer, answered) = oneshot::channel();
        tokio::spawn(Arc::clone(self).complete(turn, answer));
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    /// Writes the markers of an end that is decided, answers, and notes that it is
    /// complete. The turn is kept to the end: were a next transaction durable before
    /// that note is, a start would write these markers into it.
    async fn complete(self: Arc<Self>, turn: Turn, answer: Answer) {
        let Some(ending) = turn.transaction() else { return };
        let Some(marker) = ending.marker() else { return };
        if self.mark_all(ending.partitions.clone(), ending.producer, marker, answer).await.is_err()
        {
            return;
        }
        loop {
            match self.keep(&turn, ending.complete(self.clock.now())).await {
                Ok(()) | Err(LogError::Closed) => return,
                Err(error) => {
                    tracing::warn!(id = %turn.id(), %error, "a transaction's end is noted later");
                    pause().await;
                }
            }
        }
    }

    /// Writes a marker into every partition, again and again until all have it; tells
    /// the first outcome. Fails only once the log is closed.
    async fn mark_all(
        &self,
        mut partitions: BTreeSet<TopicPartition>,
        producer: ProducerIdentity,
        marker: Marker,
        answer: Answer,
    ) -> Result<(), LogError> {
        let mut answer = Some(answer);
        loop {
            let mark = |partition: TopicPartition| async move {
                self.log.mark(&partition, producer, marker).await.map(|()| partition)
            };
            let outcomes = join_all(partitions.iter().cloned().map(mark)).await;
            let mut first_error = Ok(());
            for outcome in outcomes {
                match outcome {
                    Ok(marked) => drop(partitions.remove(&marked)),
                    Err(error) => first_error = first_error.and(Err(error)),
                }
            }
            if let Some(answer) = answer.take() {
                tell(answer, first_error.clone());
            }
            match first_error {
                Ok(()) => return Ok(()),
                Err(LogError::Closed) => return Err(LogError::Closed),
                Err(error) => {
                    let left = partitions.len();
                    tracing::warn!(producer = producer.id, left, %error,
                        "a transaction's end is not everywhere yet; it is tried again");
                    pause().await;
                }
            }
        }
    }

    /// What a start does before anybody else comes.
    async fn resume(self: &Arc<Self>) -> Result<(), LogError> {
        let open = self.log.open_transactions().await?;
        let mut waiting = Vec::new();
        for slot in self.slots.all() {
            let Some(known) = slot.transaction() else { continue };
            if known.marker().is_none() {
                known.partitions.iter().for_each(|one| self.log.admit(one, known.producer));
                continue;
            }
            if let Some(turn) = slot.try_turn() {
                waiting.push(tokio::spawn(Arc::clone(self).complete_now(turn)));
            }
        }
        for (producer, partitions) in self.strays(open) {
            waiting.push(tokio::spawn(Arc::clone(self).abort_strays(producer, partitions)));
        }
        for told in join_all(waiting).await {
            if let Ok(Err(error)) = told {
                tracing::warn!(%error, "transactions that a crash left open end later");
            }
        }
        Ok(())
    }

    async fn complete_now(self: Arc<Self>, turn: Turn) -> Result<(), LogError> {
        self.complete_soon(turn).await
    }

    /// Open transactions that no id accounts for, by producer.
    fn strays(
        &self,
        open: Vec<(TopicPartition, ProducerIdentity)>,
    ) -> Vec<(ProducerIdentity, BTreeSet<TopicPartition>)> {
        let slots = self.slots.all();
        let mut strays: Vec<(ProducerIdentity, BTreeSet<TopicPartition>)> = Vec::new();
        for (partition, producer) in open {
            let accounts = |slot: &Arc<Slot>| {
                slot.look(|known| known.accounts_for(producer.id, &partition)).unwrap_or(false)
            };
            if slots.iter().any(accounts) {
                continue;
            }
            match strays.iter_mut().find(|(known, _)| *known == producer) {
                Some((_, partitions)) => drop(partitions.insert(partition)),
                None => strays.push((producer, BTreeSet::from([partition]))),
            }
        }
        strays
    }

    /// Aborts open transactions that nobody accounts for. Their producer's id has to
    /// wait for it, or its next transaction would be what is aborted.
    async fn abort_strays(
        self: Arc<Self>,
        producer: ProducerIdentity,
        partitions: BTreeSet<TopicPartition>,
    ) -> Result<(), LogError> {
        let is_its = |slot: &Arc<Slot>| slot.look(|known| known.producer.id) == Some(producer.id);
        let turn = self.slots.all().into_iter().find(is_its).and_then(Slot::try_turn);
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self);
        tokio::spawn(async move {
            let _turn = turn;
            shared.mark_all(partitions, producer, Marker::Abort, answer).await
        });
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    async fn expire(self: &Arc<Self>, now: Timestamp) -> Result<(), LogError> {
        let mut first_error = Ok(());
        for slot in self.slots.all() {
            let is_due = |known: &Transaction| known.is_overdue(now) || known.is_expired(now);
            if slot.look(is_due) != Some(true) {
                continue;
            }
            let Some(turn) = slot.try_turn() else { continue };
            first_error = first_error.and(self.expire_one(turn, now).await);
        }
        self.slots.sweep();
        first_error
    }

    async fn expire_one(self: &Arc<Self>, turn: Turn, now: Timestamp) -> Result<(), LogError> {
        let Some(known) = turn.transaction() else { return Ok(()) };
        if known.is_overdue(now) {
            tracing::info!(id = %turn.id(), "a transaction was open for too long and is aborted");
            self.keep(&turn, known.fence(now)).await?;
            return self.complete_soon(turn).await;
        }
        if known.is_expired(now) {
            self.append(records::tombstone(turn.id(), now)).await?;
            turn.set(None);
        }
        Ok(())
    }
}

fn replay(slots: &Slots, record: &Record) {
    match records::decode(record) {
        Ok(Some(kept)) => slots.put(&kept.id, kept.transaction),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "a transaction's record is skipped"),
    }
}

/// Looks for transactions that are open for too long, now and then.
async fn watch_time(shared: std::sync::Weak<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_millis(TRANSACTION_CHECK_MS)).await;
        let Some(shared) = shared.upgrade() else { return };
        match shared.expire(shared.clock.now()).await {
            Ok(()) => {}
            Err(LogError::Closed) => return,
            Err(error) => tracing::warn!(%error, "transactions stay open for now"),
        }
    }
}

/// Carries a call to its end, also when the caller goes away.
async fn finish<T: Send + 'static>(
    call: impl Future<Output = Result<T, LogError>> + Send + 'static,
) -> Result<T, LogError> {
    tokio::spawn(call).await.unwrap_or(Err(LogError::Closed))
}

/// Answers a caller; one that has gone away needs no answer.
fn tell(to: Answer, outcome: Result<(), LogError>) {
    let _ = to.send(outcome);
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(TRANSACTION_RETRY_MS)).await;
}

fn unmapped(id: &str, producer: ProducerIdentity) -> LogError {
    LogError::InvalidProducerIdMapping { id: id.to_owned(), producer_id: producer.id }
}

fn check_id(id: &str) -> Result<(), LogError> {
    let max = TRANSACTIONAL_ID_BYTES_MAX;
    let why = if id.is_empty() {
        format!("it is empty; give it 1 to {max} bytes")
    } else if id.len() > max {
        format!("it has {} bytes, {max} are allowed", id.len())
    } else {
        return Ok(());
    };
    Err(LogError::InvalidTransactionalId { id: id.chars().take(max).collect(), why })
}

fn check_timeout(id: &str, timeout: Duration) -> Result<i32, LogError> {
    let found_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let max_ms = TRANSACTION_TIMEOUT_MS_MAX;
    match i32::try_from(found_ms) {
        Ok(timeout_ms @ 1..) if found_ms <= max_ms => Ok(timeout_ms),
        _ => Err(LogError::InvalidTransactionTimeout { id: id.to_owned(), found_ms, max_ms }),
    }
}
