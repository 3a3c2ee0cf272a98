//! A membership in a consumer group of the cluster.
//!
//! librdkafka joins, beats and rebalances (cooperatively: whatever stays is not
//! interrupted); a thread serves it. A rebalance is answered by
//! [`GroupMember::next_change`] only: what is revoked stays ours until the caller has
//! come back, because librdkafka waits for that answer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use courant_log::{
    Committed, Committer, GroupChange, GroupMember, LogError, Subscription, TransactionalProducer,
};
use courant_model::{
    Positions, TopicName, TopicPartition,
    limits::{KAFKA_REBALANCE_MS_MAX, KAFKA_TOPICS_REFRESH_MS, OFFSET_METADATA_BYTES_MAX},
};
use rdkafka::{config::RDKafkaLogLevel, consumer::Consumer, error::KafkaError};
use tokio::{sync::RwLock, task::JoinHandle};

use crate::{
    cluster::{Core, blocking},
    context::Context,
    events::{Events, GroupConsumer, GroupContext, serve},
    membership::{Holdings, Shared},
    read::fetching,
};

/// How often librdkafka tells where partitions end and how far they were read.
const SNAPSHOT_MS: &str = "1000";

/// A membership.
pub(crate) struct Member {
    shared: Arc<Shared>,
    /// Told as revoked, given back by the next call.
    returning: Vec<TopicPartition>,
    /// The rebalance that is being answered.
    answering: Option<JoinHandle<Result<Option<GroupChange>, LogError>>>,
    serving: Option<JoinHandle<()>>,
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
        let holdings = Arc::new(RwLock::new(Holdings::of(Arc::clone(&consumer))));
        let core = Arc::clone(self);
        Ok((Arc::new(Shared { core, subscription, events, holdings }), consumer))
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
