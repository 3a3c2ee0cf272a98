//! What librdkafka tells a member, and the thread that serves it.
//!
//! A rebalance is put into [`Events`] and left unanswered: librdkafka waits, and the
//! member answers it when its caller asks for the next change. Only a member that
//! leaves is not asked. Nothing here decides what becomes of partitions.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use courant_model::{Positions, TopicName, TopicPartition};
use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Offset as KafkaOffset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::sync::{Notify, RwLock};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    membership::{Holdings, Shared},
    reader::{Slot, Snapshot},
};

/// How long the serving thread waits for an event before it looks whether to stop.
const SERVE: Duration = Duration::from_millis(200);

pub(crate) type GroupConsumer = BaseConsumer<GroupContext>;

/// What librdkafka tells a member.
#[derive(Debug)]
pub(crate) struct GroupContext {
    pub(crate) context: Context,
    pub(crate) events: Arc<Events>,
}

/// What happened to a member and was not handed out yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) rebalances: Mutex<VecDeque<Rebalance>>,
    pub(crate) failure: Mutex<Option<KafkaError>>,
    /// Lost, though the member has not been told yet.
    pub(crate) lost: Mutex<BTreeSet<TopicPartition>>,
    pub(crate) slots: Mutex<BTreeMap<TopicPartition, Arc<Slot>>>,
    /// The member leaves: rebalances are answered at once, commits are not repeated.
    pub(crate) leaving: AtomicBool,
    pub(crate) changed: Notify,
}

#[derive(Debug, Clone)]
pub(crate) enum Rebalance {
    Assign(Vec<TopicPartition>),
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
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

/// Serves librdkafka until the member leaves or the log is closed; then ends the
/// readers and waits for commits that are under way. Blocks for as long.
pub(crate) fn serve(
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
    holdings.clear();
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

pub(crate) fn assign(consumer: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Eager => consumer.assign(list),
        RebalanceProtocol::Cooperative | RebalanceProtocol::None => {
            consumer.incremental_assign(list)
        }
    }
}

pub(crate) fn unassign(consumer: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
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
