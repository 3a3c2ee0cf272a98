//! Transactions: records of several partitions and a member's offsets, all or
//! nothing.
//!
//! librdkafka keeps the protocol: opening the producer fences older ones of the same
//! id, and whatever fails while records are on their way makes the commit fail. A
//! commit that could not be decided in time is made again by the caller; librdkafka
//! answers it with the one outcome.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_log::{LogError, TransactionalProducer};
use courant_model::{
    PartitionId, Positions, Record, TopicName,
    limits::{KAFKA_DELIVERY_MS_MAX, OFFSET_METADATA_BYTES_MAX},
};
use rdkafka::{
    consumer::Consumer,
    error::{KafkaError, KafkaResult},
    producer::Producer,
    types::RDKafkaErrorCode,
};

use crate::{
    cluster::{CALL, Core, blocking, bury, code_of},
    context::Context,
    events::offsets_list,
    membership::Shared,
    produce::{Sender, sending},
};

/// How long one try of a commit or abort waits; it may be made again.
const END: Duration = Duration::from_millis(KAFKA_DELIVERY_MS_MAX);

/// Opens a producer; it fences older ones and ends what they left open.
pub(crate) async fn open(
    shared: Arc<Shared>,
    id: String,
    timeout: Duration,
) -> Result<Box<dyn TransactionalProducer>, LogError> {
    let mut transactions =
        Transactions { shared, id, timeout, producer: None, state: State::Ready };
    transactions.open().await?;
    Ok(Box::new(transactions))
}

/// Opens the client. Blocks.
fn open_sender(core: &Core, id: &str, timeout: Duration) -> Result<Sender, LogError> {
    let action = format!("opening transactional producer \"{id}\"");
    let failed = |error: KafkaError| core.failure(&action, &error);
    let mut config = sending(&core.options, false);
    config.set("transactional.id", id);
    config.set("transaction.timeout.ms", timeout.as_millis().max(1_000).to_string());
    let context = Context { cluster: Arc::clone(&core.cluster) };
    let producer: Sender = config.create_with_context(context).map_err(failed)?;
    core.asking(|left| producer.init_transactions(left).map_err(failed))?;
    Ok(producer)
}

/// Where a producer stands between its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Open,
    /// Something failed: it can only be aborted.
    Failed,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Open => "ongoing",
            Self::Failed => "failed",
        }
    }
}

struct Transactions {
    shared: Arc<Shared>,
    id: String,
    timeout: Duration,
    /// `None` only before it is opened and while it is dropped.
    producer: Option<Arc<Sender>>,
    state: State,
}

impl Transactions {
    async fn open(&mut self) -> Result<(), LogError> {
        let core = Arc::clone(&self.shared.core);
        core.check_open()?;
        let (cluster, id, timeout) = (Arc::clone(&core.cluster), self.id.clone(), self.timeout);
        let producer = blocking(&cluster, move || open_sender(&core, &id, timeout)).await?;
        if let Some(former) = self.producer.replace(Arc::new(producer)) {
            bury(former);
        }
        Ok(())
    }

    /// Whether the coordinator and the client are of two minds about what is open, which
    /// happens when a transaction is aborted while the one before is being completed.
    fn is_confused(&self) -> bool {
        let fatal = self.producer.as_ref().and_then(|producer| producer.client().fatal_error());
        fatal.is_some_and(|(code, _)| code == RDKafkaErrorCode::InvalidTransactionalState)
    }

    fn producer(&self) -> Result<Arc<Sender>, LogError> {
        self.shared.core.check_open()?;
        self.producer.clone().ok_or(LogError::Closed)
    }

    fn expect(&self, action: &'static str, allowed: &[State]) -> Result<(), LogError> {
        if allowed.contains(&self.state) {
            return Ok(());
        }
        let state = self.state.name();
        Err(LogError::InvalidTransactionState { producer_id: -1, action, state })
    }

    /// Runs a call of librdkafka's that may block.
    async fn call(
        &self,
        what: &str,
        call: impl FnOnce(&Sender) -> KafkaResult<()> + Send + 'static,
    ) -> Result<(), LogError> {
        let producer = self.producer()?;
        let shared = Arc::clone(&self.shared);
        let action = format!("{what} transactional producer \"{}\"", self.id);
        blocking(&self.shared.core.cluster, move || {
            call(&producer).map_err(|error| failure(&shared, &producer, &action, &error))
        })
        .await
    }
}

/// What a failure means for the transaction.
fn failure(shared: &Shared, producer: &Sender, action: &str, error: &KafkaError) -> LogError {
    use RDKafkaErrorCode as Code;
    let fatal = producer.client().fatal_error().map(|(code, _)| code);
    let found = match error {
        KafkaError::Transaction(error) => Some(error.code()),
        other => code_of(other),
    };
    let fencing = |code: Code| {
        matches!(
            code,
            Code::Fenced
                | Code::ProducerFenced
                | Code::InvalidProducerEpoch
                | Code::InvalidProducerIdMapping
        )
    };
    if [fatal, found].into_iter().flatten().any(fencing) {
        return LogError::ProducerFenced { producer_id: -1, found: -1, current: -1 };
    }
    match found {
        Some(
            Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::AssignmentLost,
        ) => shared.stale(),
        // A flush that was not done in time; the commit may be made again.
        _ => shared.core.failure(action, error),
    }
}

#[async_trait]
impl TransactionalProducer for Transactions {
    async fn begin(&mut self) -> Result<(), LogError> {
        self.expect("begin", &[State::Ready])?;
        self.call("beginning a transaction of", |producer| producer.begin_transaction()).await?;
        self.state = State::Open;
        Ok(())
    }

    async fn append(
        &mut self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<(), LogError> {
        self.expect("append", &[State::Open])?;
        let (core, producer) = (Arc::clone(&self.shared.core), self.producer()?);
        let routed = core.route(topic, partition, records).await?;
        if routed.records.is_empty() {
            return Ok(());
        }
        // From here until it is all handed over, a drop of this call leaves half of it.
        self.state = State::Failed;
        for part in routed.parts() {
            let alone = part.is_alone();
            let mut answer = core.send(&producer, topic, &part).await?;
            // A refusal is known at once; the rest is told by the commit.
            let answered = if alone { answer.await.ok() } else { answer.try_recv().ok() };
            if let Some(Err(error)) = answered {
                let action = format!("appending to topic \"{topic}\"");
                let failed = failure(&self.shared, &producer, &action, &error);
                return Err(match failed {
                    LogError::Cluster { .. } => core.append_failure(topic, &part, &error),
                    other => other,
                });
            }
        }
        self.state = State::Open;
        Ok(())
    }

    async fn commit_offsets(
        &mut self,
        positions: &Positions,
        metadata: &str,
    ) -> Result<(), LogError> {
        self.expect("commit offsets", &[State::Open])?;
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
        let producer = self.producer()?;
        let (all, metadata, id) = (positions.clone(), metadata.to_owned(), self.id.clone());
        self.state = State::Failed;
        self.shared
            .holding(positions, move |shared, consumer| {
                let action = format!("committing offsets with transactional producer \"{id}\"");
                let failed = |error| failure(shared, &producer, &action, &error);
                let list = offsets_list(&all, &metadata).map_err(failed)?;
                let group = consumer
                    .group_metadata()
                    .ok_or_else(|| shared.core.refusal(&action, "there is no membership"))?;
                shared.core.asking(|left| {
                    producer.send_offsets_to_transaction(&list, &group, left).map_err(failed)
                })
            })
            .await?;
        self.state = State::Open;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        self.expect("commit", &[State::Open])?;
        let done = self
            .call("committing a transaction of", |producer| producer.commit_transaction(END))
            .await;
        self.state = match &done {
            Ok(()) => State::Ready,
            Err(error) if error.retryable() => State::Open,
            Err(_) => State::Failed,
        };
        done
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        self.expect("abort", &[State::Open, State::Failed])?;
        let aborted =
            self.call("aborting a transaction of", |producer| producer.abort_transaction(END));
        match aborted.await {
            Ok(()) => {}
            // Opening the id again aborts whatever there is.
            Err(_) if self.is_confused() => self.open().await?,
            Err(error) => return Err(error),
        }
        self.state = State::Ready;
        Ok(())
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        if self.state == State::Ready {
            return bury(producer);
        }
        // Aborted on the way out, so that readers need not wait for the time-out.
        bury(AbortOnEnd(producer));
    }
}

struct AbortOnEnd(Arc<Sender>);

impl Drop for AbortOnEnd {
    fn drop(&mut self) {
        let _ = self.0.abort_transaction(CALL);
    }
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions")
            .field("id", &self.id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
