//! A transactional producer of this process.
//!
//! Its batches go straight to their partitions and are waited for only where the order
//! asks for it: before the end is decided all of them are durable, together with the
//! offsets. So a transaction over any number of partitions waits for the disk three
//! times: for its records and offsets, for the decision, for the markers. Each of these
//! shares its sync with whoever writes to the same partition.
//!
//! What may have been half done, because a call failed or was dropped, can only be
//! aborted.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use courant_model::{PartitionId, Positions, Record, TopicName, TopicPartition};

use super::{EmbeddedLog, check_public, core::Pending, pack, submit_packed};
use crate::{
    LogError, ProducerIdentity, TransactionalProducer, batch::Marker, group::MemberOffsets,
};

/// A producer with its transaction.
#[derive(Debug)]
pub(super) struct Producer {
    log: EmbeddedLog,
    id: String,
    identity: ProducerIdentity,
    offsets: MemberOffsets,
    stage: Stage,
    /// The coordinator may know of the transaction.
    announced: bool,
    /// What the transaction takes in already.
    joined: BTreeSet<TopicPartition>,
    /// Batches on their way to the disk.
    pending: Vec<Pending>,
}

/// What may be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No transaction is open.
    Idle,
    Open,
    /// A call failed or was dropped: the transaction can only be aborted.
    Doubtful,
    /// Its end is under way; nothing but the same end may follow.
    Ending(Marker),
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Empty",
            Self::Open => "Ongoing",
            Self::Doubtful => "Ongoing, after a call that failed",
            Self::Ending(Marker::Commit) => "PrepareCommit",
            Self::Ending(Marker::Abort) => "PrepareAbort",
        }
    }
}

impl Producer {
    pub(super) async fn start(
        log: EmbeddedLog,
        offsets: MemberOffsets,
        id: &str,
        timeout: Duration,
    ) -> Result<Self, LogError> {
        let identity = log.transactions.init_producer(id, timeout, None).await?;
        Ok(Self {
            log,
            id: id.to_owned(),
            identity,
            offsets,
            stage: Stage::Idle,
            announced: false,
            joined: BTreeSet::new(),
            pending: Vec::new(),
        })
    }

    const fn refused(&self, action: &'static str) -> LogError {
        let (producer_id, state) = (self.identity.id, self.stage.as_str());
        LogError::InvalidTransactionState { producer_id, action, state }
    }

    /// Goes into doubt until [`Self::settle`]: where a call ends early, it stays there.
    fn doubt(&mut self, action: &'static str) -> Result<(), LogError> {
        if self.stage != Stage::Open {
            return Err(self.refused(action));
        }
        self.stage = Stage::Doubtful;
        Ok(())
    }

    const fn settle(&mut self) {
        self.stage = Stage::Open;
    }

    /// Makes partitions part of the transaction.
    async fn join(&mut self, partitions: BTreeSet<TopicPartition>) -> Result<(), LogError> {
        if self.joined.is_superset(&partitions) {
            return Ok(());
        }
        self.announced = true;
        let transactions = &self.log.transactions;
        transactions.join_in(&self.id, self.identity, partitions.clone()).await?;
        self.joined.extend(partitions);
        Ok(())
    }

    /// Waits until everything handed over is durable.
    async fn written(pending: Vec<Pending>) -> Result<(), LogError> {
        let mut first_error = Ok(());
        for one in pending {
            first_error = first_error.and(one.done().await.map(|_| ()));
        }
        first_error
    }

    async fn end(&mut self, marker: Marker) -> Result<(), LogError> {
        self.stage = Stage::Ending(marker);
        if self.announced {
            match self.log.transactions.end(&self.id, self.identity, marker).await {
                // It did not come to begin.
                Err(LogError::InvalidTransactionState { .. }) if marker == Marker::Abort => {}
                ended => ended?,
            }
        }
        self.announced = false;
        self.joined.clear();
        self.stage = Stage::Idle;
        Ok(())
    }
}

#[async_trait]
impl TransactionalProducer for Producer {
    async fn begin(&mut self) -> Result<(), LogError> {
        if self.stage != Stage::Idle {
            return Err(self.refused("begin another"));
        }
        self.stage = Stage::Open;
        Ok(())
    }

    async fn append(
        &mut self,
        topic: &TopicName,
        partition: Option<PartitionId>,
        records: Vec<Record>,
    ) -> Result<(), LogError> {
        check_public(topic)?;
        self.doubt("append")?;
        let topic = self.log.core.topic(topic)?;
        let packed = pack(&self.log.core, &topic, partition, records, Some(self.identity)).await?;
        let name = |batch: &super::produce::Packed| {
            TopicPartition::new(topic.name.clone(), batch.partition)
        };
        let partitions = packed.iter().map(name).collect();
        self.join(partitions).await?;
        let submitted = submit_packed(&self.log.core, &topic, packed).await?;
        self.pending.extend(submitted.into_iter().map(|one| one.pending));
        self.settle();
        Ok(())
    }

    async fn commit_offsets(
        &mut self,
        positions: &Positions,
        metadata: &str,
    ) -> Result<(), LogError> {
        self.doubt("commit offsets")?;
        let place = self.log.transactions.offsets_partition().await?;
        self.join(BTreeSet::from([place])).await?;
        let written = Self::written(std::mem::take(&mut self.pending));
        let (transactions, id, identity) = (&self.log.transactions, &self.id, self.identity);
        let group = self.offsets.group();
        let commit =
            self.offsets.commit_with(positions, metadata, |membership, offsets| {
                let (transactions, id) = (transactions.clone(), id.clone());
                let group = group.to_owned();
                async move {
                    transactions.commit_offsets(&id, identity, &group, &membership, offsets).await
                }
            });
        let (committed, written) = tokio::join!(commit, written);
        written.and(committed)?;
        self.settle();
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        match self.stage {
            Stage::Open => {
                self.doubt("commit")?;
                Self::written(std::mem::take(&mut self.pending)).await?;
            }
            Stage::Ending(Marker::Commit) => {}
            _ => return Err(self.refused("commit")),
        }
        self.end(Marker::Commit).await
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        match self.stage {
            Stage::Open | Stage::Doubtful | Stage::Ending(Marker::Abort) => {}
            Stage::Idle | Stage::Ending(Marker::Commit) => return Err(self.refused("abort")),
        }
        // Whether they are written does not matter; the marker comes behind them.
        self.pending.clear();
        self.end(Marker::Abort).await
    }
}
