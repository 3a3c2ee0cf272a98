//! The owner's side of a membership: takes changes out and hands partitions back.
//!
//! Each call of [`GroupMember::next_change`] compares what the group assigned with
//! what the owner holds and answers one difference: lost before revoked before
//! assigned. Nothing is remembered between calls but the standing itself, so a
//! dropped call loses nothing. The protocol runs beside it ([`super::driver`]).

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use courant_model::TopicPartition;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{
    coordinator::Coordinator,
    driver::Driver,
    reader::{GroupReader, PartitionSource},
    seat::{MemberOffsets, Seat, Standing},
};
use crate::{
    AutoOffsetReset, Committer, GroupChange, GroupMember, LogError, PartitionReader, Subscription,
};

impl Coordinator {
    /// Makes a member of this process, which reads from `source`. Dropped, it leaves
    /// its group at once; a static member only by [`GroupMember::leave`], or when its
    /// session ends, so that a restart in time finds its partitions as they were.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`]; the group's refusals.
    pub fn subscribe(
        &self,
        source: Arc<dyn PartitionSource>,
        subscription: Subscription,
    ) -> Result<Box<dyn GroupMember>, LogError> {
        self.check_subscription(&subscription)?;
        let seat = Arc::new(Seat {
            coordinator: self.clone(),
            source,
            group: subscription.group,
            instance_id: subscription.instance_id,
            standing: watch::Sender::new(Standing { generation: -1, ..Standing::default() }),
        });
        let driver = Driver {
            seat: Arc::clone(&seat),
            topics: subscription.topics,
            client_id: subscription.client_id,
            session_timeout: subscription.session_timeout,
            previous: BTreeSet::new(),
            led: None,
        };
        let mut joining = driver.join()?;
        if let Ok(answer) = joining.answer.try_recv() {
            // Refused at once, or alone in the group and in already.
            let (answer_to, ready) = oneshot::channel();
            let _ = answer_to.send(Ok(answer?));
            joining.answer = ready;
        }
        let driver = tokio::spawn(driver.run(joining));
        Ok(Box::new(Member { seat, reset: subscription.reset, driver }))
    }

    fn check_subscription(&self, subscription: &Subscription) -> Result<(), LogError> {
        let known = self.topics();
        let known = known.borrow();
        if let Some(topic) = subscription.topics.iter().find(|topic| !known.contains_key(*topic)) {
            return Err(LogError::UnknownTopic { topic: topic.clone() });
        }
        if subscription.topics.is_empty() {
            let why = "a member subscribes to no topic".to_owned();
            return Err(LogError::InvalidGroup { group: subscription.group.clone(), why });
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Member {
    seat: Arc<Seat>,
    reset: AutoOffsetReset,
    driver: JoinHandle<()>,
}

/// What the owner has to be told next.
enum Step {
    Change(GroupChange),
    Assign(BTreeSet<TopicPartition>),
    Wait,
}

impl Member {
    fn next_step(&self) -> Result<Step, LogError> {
        let mut step = Ok(Step::Wait);
        self.seat.standing.send_if_modified(|standing| {
            if !standing.lost.is_empty() {
                let lost = std::mem::take(&mut standing.lost);
                standing.held.retain(|partition| !lost.contains(partition));
                step = Ok(Step::Change(GroupChange::Lost(lost.into_iter().collect())));
                return true;
            }
            if let Some(error) = &standing.ended {
                step = Err(error.clone());
                return false;
            }
            let revoked: BTreeSet<_> =
                standing.held.difference(&standing.target).cloned().collect();
            if !revoked.is_empty() {
                standing.revoking.clone_from(&revoked);
                step = Ok(Step::Change(GroupChange::Revoked(revoked.into_iter().collect())));
                return true;
            }
            let added: BTreeSet<_> = standing.target.difference(&standing.held).cloned().collect();
            if !added.is_empty() {
                step = Ok(Step::Assign(added));
            }
            false
        });
        step
    }

    /// Opens readers and takes the partitions that are still assigned by then. One
    /// whose topic has just been deleted is left out; the group is about to notice.
    async fn take(
        &self,
        added: BTreeSet<TopicPartition>,
    ) -> Result<Vec<Box<dyn PartitionReader>>, LogError> {
        let mut readers = Vec::with_capacity(added.len());
        for partition in added {
            let committed = self.seat.coordinator.committed_on(&self.seat.group, &partition);
            let source = Arc::clone(&self.seat.source);
            match GroupReader::open(source, partition, committed, self.reset).await {
                Ok(reader) => readers.push(Box::new(reader) as Box<dyn PartitionReader>),
                Err(LogError::UnknownTopic { .. } | LogError::UnknownPartition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.seat.standing.send_if_modified(|standing| {
            readers.retain(|reader| standing.target.contains(reader.partition()));
            standing.held.extend(readers.iter().map(|reader| reader.partition().clone()));
            !readers.is_empty()
        });
        Ok(readers)
    }
}

#[async_trait]
impl GroupMember for Member {
    async fn next_change(&mut self) -> Result<GroupChange, LogError> {
        self.seat.standing.send_if_modified(Standing::give_back);
        let mut news = self.seat.standing.subscribe();
        loop {
            // Marked before the look: what changes from here on wakes the wait below.
            news.mark_unchanged();
            match self.next_step()? {
                Step::Change(change) => return Ok(change),
                Step::Assign(added) => {
                    let readers = self.take(added).await?;
                    if !readers.is_empty() {
                        return Ok(GroupChange::Assigned(readers));
                    }
                }
                Step::Wait => {}
            }
            news.changed().await.map_err(|_| LogError::Closed)?;
        }
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(MemberOffsets(Arc::clone(&self.seat)))
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.seat.quit(true)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.driver.abort();
        let is_dynamic = self.seat.instance_id.is_none();
        if let Err(error) = self.seat.quit(is_dynamic) {
            tracing::debug!(group = self.seat.group, %error, "left without telling the group");
        }
    }
}
