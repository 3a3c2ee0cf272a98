//! The checkpoint of a pipeline that promises `exactly_once`: one transaction.
//!
//! What the task has for topics ([`Outbox`]) and the offset it has come to are committed
//! together, under an id of the group and the partition, so that whoever takes the
//! partition over fences the one before. The transaction begins when all of it is known:
//! nothing is open while a target is away, and an aborted one is simply sent again. The
//! steps' memory is staged before and put in force after; what counts in between is
//! decided by the committed offset.

use std::time::Duration;

use courant_log::{Committed, ErrorCode, LogError, TransactionalProducer};
use courant_model::{
    Positions,
    limits::{PIPELINE_FENCED_TRIES_MAX, PIPELINE_TRANSACTION_MS_MAX},
};

use super::{
    deliver::{Backoff, Halt},
    outbox::{Largest, Outbox},
    partition::PartitionTask,
    work::Work,
};
use crate::{connector::ConnectorError, sinks::log_failure};

/// What a task needs for its transactions.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    pub(crate) outbox: Outbox,
    /// There once the partition was taken over.
    producer: Option<Box<dyn TransactionalProducer>>,
    /// A commit was sent and its outcome is not known: nothing but the same commit may
    /// follow.
    in_doubt: bool,
}

impl Transactions {
    /// Sends everything in a transaction of its own; one in doubt is committed again.
    async fn carry(&mut self, positions: &Positions, metadata: &str) -> Result<(), LogError> {
        let producer = self.producer.as_mut().ok_or(LogError::Closed)?;
        if !self.in_doubt {
            producer.begin().await?;
            for (topic, records) in self.outbox.records() {
                producer.append(&topic, None, records).await?;
            }
            producer.commit_offsets(positions, metadata).await?;
            self.in_doubt = true;
        }
        let outcome = producer.commit().await;
        self.in_doubt = outcome.as_ref().is_err_and(LogError::retryable);
        outcome
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        self.producer.as_mut().ok_or(LogError::Closed)?.abort().await
    }
}

impl PartitionTask {
    fn transactional_id(&self) -> String {
        let (group, at) = (&self.pipeline.plan.group, &self.inputs.0[0].partition);
        match &self.work {
            Work::Steps(_) => transactional_id(group, at),
            Work::View(_) => view_transactional_id(group, at.partition),
        }
    }

    /// Fences whoever had the partition before, which also ends what that one left open;
    /// answers what is committed from then on.
    pub(super) async fn take_over(&mut self) -> Result<Vec<Option<Committed>>, Halt> {
        let id = self.transactional_id();
        let partitions: Vec<_> = self.inputs.partitions().cloned().collect();
        let timeout = Duration::from_millis(PIPELINE_TRANSACTION_MS_MAX);
        let mut backoff = Backoff::default();
        loop {
            let taken = async {
                let producer = self.committer.transactional_producer(&id, timeout).await?;
                let mut committed = Vec::new();
                for partition in &partitions {
                    committed.push(self.committer.committed(partition).await?);
                }
                Ok((producer, committed))
            };
            match taken.await {
                Ok((producer, committed)) => {
                    backoff.succeeded(self.control());
                    if let Some(transactions) = &mut self.transactions {
                        transactions.producer = Some(producer);
                    }
                    return Ok(committed);
                }
                Err(error) => self.commit_failed(&error, &mut backoff).await?,
            }
        }
    }

    /// Commits the outbox and the positions, all of it or nothing.
    pub(super) async fn transact(&mut self) -> Result<(), Halt> {
        self.work.stage(self.inputs.positions()).await?;
        let (positions, metadata) = (self.inputs.positions(), self.work.metadata());
        let mut backoff = Backoff::default();
        while let Some(transactions) = &mut self.transactions {
            match transactions.carry(&positions, &metadata).await {
                Ok(()) => break,
                Err(error) => self.carrying_failed(error, &mut backoff).await?,
            }
        }
        backoff.succeeded(self.control());
        self.inputs.commit();
        if let Some(transactions) = &self.transactions {
            self.pipeline.meter.fresh(transactions.outbox.clear().into_iter());
        }
        self.work.settle().await
    }

    /// Makes ready for another try, or says why there is none.
    async fn carrying_failed(
        &mut self,
        error: LogError,
        backoff: &mut Backoff,
    ) -> Result<(), Halt> {
        if self.transactions.as_ref().is_some_and(|transactions| transactions.in_doubt) {
            return backoff.wait(self.control(), &log_failure(&error)).await;
        }
        match error.code() {
            ErrorCode::Closed => return Err(Halt::Stopping),
            // By a successor, or because the transaction took too long: which of the two,
            // the group tells when it is joined again.
            ErrorCode::ProducerFenced | ErrorCode::InvalidTxnState => {
                return Err(Halt::Restart(error.to_string()));
            }
            _ => {}
        }
        self.abort(backoff).await?;
        match &error {
            LogError::RecordTooLarge { topic, .. } => {
                self.set_largest_aside(topic, &error.to_string())
            }
            error if is_about_membership(error) => {
                // Between two generations of the group; if the partition is somebody
                // else's, the group says so and this task ends.
                if backoff.tries() >= PIPELINE_FENCED_TRIES_MAX {
                    return Err(Halt::Restart(error.to_string()));
                }
                backoff.wait(self.control(), &ConnectorError::retryable(error.to_string())).await
            }
            // What a cluster lets us abort it lets us try again, also where the commit
            // itself could not be repeated.
            LogError::Cluster { .. } => {
                backoff.wait(self.control(), &ConnectorError::retryable(error.to_string())).await
            }
            error => backoff.wait(self.control(), &log_failure(error)).await,
        }
    }

    async fn abort(&mut self, backoff: &mut Backoff) -> Result<(), Halt> {
        while let Some(transactions) = &mut self.transactions {
            match transactions.abort().await {
                Ok(()) => break,
                Err(LogError::Closed) => return Err(Halt::Stopping),
                Err(error) if error.retryable() => {
                    backoff.wait(self.control(), &log_failure(&error)).await?;
                }
                Err(error) => return Err(Halt::Restart(error.to_string())),
            }
        }
        Ok(())
    }

    /// Makes a dead letter of the largest record for a topic.
    fn set_largest_aside(
        &mut self,
        topic: &courant_model::TopicName,
        why: &str,
    ) -> Result<(), Halt> {
        let Some(Transactions { outbox, .. }) = &self.transactions else { return Ok(()) };
        let Some(Largest::Event(rejected)) = outbox.take_largest(topic, why) else {
            return Err(Halt::Fatal(format!("dead letter is lost: {why}")));
        };
        let meter = &self.pipeline.meter;
        meter.health.error(format!("{}: {}", rejected.step, rejected.why));
        let now = self.pipeline.roles.clock.now();
        let letters = outbox.dead_letters(&[*rejected], &self.pipeline.name, now);
        meter.delivered(0, 0, letters.len());
        outbox.add_dead_letters(&self.pipeline.plan.on_error.dead_letters, letters);
        Ok(())
    }
}

fn is_about_membership(error: &LogError) -> bool {
    matches!(
        error.code(),
        ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId
    )
}

/// The same for every owner of the partition. A topic's name holds no `/`, so no two
/// partitions share an id; the group comes first, for rules about prefixes.
fn transactional_id(group: &str, at: &courant_model::TopicPartition) -> String {
    format!("{group}/{}/{}", at.topic, at.partition)
}

/// That of a view's task, which reads this partition of every topic: one that its query
/// reads today it may not read tomorrow.
fn view_transactional_id(group: &str, partition: courant_model::PartitionId) -> String {
    format!("{group}//{partition}")
}

#[cfg(test)]
mod tests {
    use courant_model::TopicPartition;

    use super::*;
    use crate::testing::name;

    #[test]
    fn no_two_partitions_share_a_transactional_id() {
        let id = |group: &str, topic: &str, partition| {
            transactional_id(group, &TopicPartition::new(name(topic), partition))
        };
        assert_eq!(id("shop.lines", "orders", 3), "shop.lines/orders/3");
        assert_ne!(id("a", "b.c", 0), id("a.b", "c", 0));
        assert_ne!(id("a", "b-1", 1), id("a", "b", 11));
    }
}
