//! Topics of the cluster: found, created, changed, deleted.
//!
//! Kafka answers a change before every broker knows of it; a change here returns once
//! the broker that is asked next has seen it. Topics whose name begins with `__` are
//! the cluster's own: they are not shown. librdkafka tells no topic ids: [`topic_id`]
//! makes one of the cluster's id and the topic's name, so a topic that is created
//! again has the id it had before.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use courant_log::{LogError, Retention, TopicChange, TopicDescription, TopicSettings, TopicSpec};
use courant_model::{
    Offset, PartitionId, TopicName, TopicPartition,
    limits::{KAFKA_TOPIC_FRESH_MS, PARTITIONS_PER_TOPIC_MAX},
};
use parking_lot::Mutex;
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    admin::{
        AlterConfig, ConfigResource, NewPartitions, NewTopic, OwnedResourceSpecifier,
        ResourceSpecifier, TopicReplication,
    },
    consumer::Consumer,
    metadata::MetadataTopic,
    types::RDKafkaErrorCode,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    cluster::{CALL, Core, blocking, code_of, drain},
    settings,
};

const FRESH: Duration = Duration::from_millis(KAFKA_TOPIC_FRESH_MS);

/// How often, and with what pause, a topic that was there a moment ago is looked for
/// again: another broker may not have heard of it yet.
pub(crate) const LOOKS: u32 = 10;
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// How often changed settings are looked for.
const SETTINGS_LOOKS: u32 = 60;

/// What senders must know of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicFacts {
    pub(crate) partitions: i32,
    /// Whether records need a key.
    pub(crate) compacted: bool,
    pub(crate) message_bytes_max: usize,
}

/// Topics that were there when they were used last, with the facts that are known.
#[derive(Debug, Default)]
pub(crate) struct TopicCache(Mutex<HashMap<TopicName, Option<(TopicFacts, Instant)>>>);

impl TopicCache {
    fn was_there(&self, topic: &TopicName) -> bool {
        self.0.lock().contains_key(topic)
    }

    fn get(&self, topic: &TopicName) -> Option<(TopicFacts, Instant)> {
        self.0.lock().get(topic).copied().flatten()
    }

    fn put(&self, topic: &TopicName, facts: Option<TopicFacts>) {
        self.0.lock().insert(topic.clone(), facts.map(|facts| (facts, Instant::now())));
    }

    pub(crate) fn forget(&self, topic: &TopicName) {
        self.0.lock().remove(topic);
    }
}

/// An id made of the cluster's and the topic's name: the same wherever it is asked for.
pub(crate) fn topic_id(cluster_id: &str, topic: &TopicName) -> Uuid {
    let digest = Sha256::new()
        .chain_update(cluster_id.as_bytes())
        .chain_update([0])
        .chain_update(topic.as_str())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_bytes(bytes).with_version(uuid::Version::Custom).into_uuid()
}

impl Core {
    /// Number of partitions of a topic. Blocks.
    pub(crate) fn partition_count(&self, topic: &TopicName) -> Result<i32, LogError> {
        let known = self.topics.was_there(topic);
        for _ in 0..if known { LOOKS } else { 1 } {
            match self.asking(|left| self.look(topic, left))? {
                Some(count) => return Ok(count),
                None => std::thread::sleep(PAUSE),
            }
        }
        self.topics.forget(topic);
        Err(LogError::UnknownTopic { topic: topic.clone() })
    }

    /// Partitions of a topic as one broker knows it now, once all have a leader.
    fn look(&self, topic: &TopicName, left: Duration) -> Result<Option<i32>, LogError> {
        let action = format!("looking for topic \"{topic}\"");
        let metadata = self.latest.fetch_metadata(Some(topic.as_str()), left);
        let metadata = metadata.map_err(|error| self.failure(&action, &error))?;
        drain(&self.latest);
        let found = metadata.topics().iter().find(|found| found.name() == topic.as_str());
        let Some(found) = found else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(found.partitions().len() as i32)),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::InvalidTopic,
            ) => Ok(None),
            Some(code) => Err(self.refused(&action, code)),
        }
    }

    /// Checks that a partition exists. Blocks.
    pub(crate) fn check_partition(&self, partition: &TopicPartition) -> Result<(), LogError> {
        let within = |count: i32| (0..count).contains(&partition.partition);
        if let Some((facts, at)) = self.topics.get(&partition.topic)
            && at.elapsed() < FRESH
            && within(facts.partitions)
        {
            return Ok(());
        }
        let partitions = self.partition_count(&partition.topic)?;
        if within(partitions) {
            return Ok(());
        }
        let (topic, partition) = (partition.topic.clone(), partition.partition);
        Err(LogError::UnknownPartition { topic, partition, partitions })
    }

    /// What a sender must know of a topic; asked for again every few seconds.
    pub(crate) async fn facts(self: &Arc<Self>, topic: &TopicName) -> Result<TopicFacts, LogError> {
        let known = self.topics.get(topic);
        if let Some((facts, at)) = known
            && at.elapsed() < FRESH
        {
            return Ok(facts);
        }
        match self.fresh_facts(topic).await {
            // What was true a moment ago will do until somebody answers again.
            Err(error) if error.retryable() => known.map(|(facts, _)| facts).ok_or(error),
            done => done,
        }
    }

    async fn fresh_facts(self: &Arc<Self>, topic: &TopicName) -> Result<TopicFacts, LogError> {
        let (core, name) = (Arc::clone(self), topic.clone());
        let partitions = blocking(&self.cluster, move || core.partition_count(&name)).await?;
        let settings = self.settings_of(std::slice::from_ref(topic)).await?;
        let settings = settings.get(topic).cloned().unwrap_or_default();
        let facts = TopicFacts {
            partitions,
            compacted: settings.cleanup != Retention::Delete,
            message_bytes_max: settings.message_bytes_max.as_usize(),
        };
        self.topics.put(topic, Some(facts));
        Ok(facts)
    }

    /// Every topic that is not the cluster's own.
    pub(crate) async fn describe_all(self: &Arc<Self>) -> Result<Vec<TopicDescription>, LogError> {
        loop {
            let core = Arc::clone(self);
            let list = move || core.asking(|left| core.list(left));
            match self.describe(blocking(&self.cluster, list).await?).await {
                // Deleted since it was listed.
                Err(LogError::UnknownTopic { topic }) => tracing::debug!(%topic, "topic is gone"),
                done => return done,
            }
        }
    }

    pub(crate) async fn describe_one(
        self: &Arc<Self>,
        topic: &TopicName,
    ) -> Result<TopicDescription, LogError> {
        let (core, name) = (Arc::clone(self), topic.clone());
        let count = blocking(&self.cluster, move || core.partition_count(&name)).await?;
        let mut found = self.describe(BTreeMap::from([(topic.clone(), count)])).await?;
        found.pop().ok_or_else(|| LogError::UnknownTopic { topic: topic.clone() })
    }

    /// Topics and their numbers of partitions. Blocks.
    pub(crate) fn list(&self, left: Duration) -> Result<BTreeMap<TopicName, i32>, LogError> {
        let metadata = self.latest.fetch_metadata(None, left);
        let metadata = metadata.map_err(|error| self.failure("listing topics", &error))?;
        drain(&self.latest);
        let public = |topic: &&MetadataTopic| !topic.name().starts_with("__");
        let counted = metadata.topics().iter().filter(public).filter_map(|topic| {
            Some((TopicName::new(topic.name()).ok()?, topic.partitions().len() as i32))
        });
        Ok(counted.collect())
    }

    async fn describe(
        self: &Arc<Self>,
        counts: BTreeMap<TopicName, i32>,
    ) -> Result<Vec<TopicDescription>, LogError> {
        let names: Vec<_> = counts.keys().cloned().collect();
        let mut settings = self.settings_of(&names).await?;
        let partitions = all_partitions(&counts);
        let core = Arc::clone(self);
        let mut offsets =
            blocking(&self.cluster, move || core.partition_offsets(&partitions)).await?;
        let describe = |(name, count): (TopicName, i32)| TopicDescription {
            id: topic_id(&self.id, &name),
            settings: settings.remove(&name).unwrap_or_default(),
            partitions: (0..count)
                .map(|number| TopicPartition::new(name.clone(), number))
                .map(|partition| offsets.remove(&partition).unwrap_or_default())
                .collect(),
            name,
        };
        Ok(counts.into_iter().map(describe).collect())
    }

    async fn settings_of(
        &self,
        topics: &[TopicName],
    ) -> Result<HashMap<TopicName, TopicSettings>, LogError> {
        let configs = self.configs(topics).await?;
        Ok(configs
            .iter()
            .map(|(name, config)| (name.clone(), settings::from_kafka(config)))
            .collect())
    }

    async fn configs(
        &self,
        topics: &[TopicName],
    ) -> Result<HashMap<TopicName, ConfigResource>, LogError> {
        if topics.is_empty() {
            return Ok(HashMap::new());
        }
        let action = "asking for the settings of topics";
        let asked: Vec<_> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(topic.as_str())).collect();
        let found = self.admin.describe_configs(&asked, &Self::admin_options()).await;
        let found = found.map_err(|error| self.failure(action, &error))?;
        let mut configs = HashMap::new();
        for config in found {
            let config = config.map_err(|code| self.refused(action, code))?;
            if let OwnedResourceSpecifier::Topic(name) = &config.specifier
                && let Ok(name) = TopicName::new(name)
            {
                configs.insert(name, config);
            }
        }
        Ok(configs)
    }

    pub(crate) async fn create(
        self: &Arc<Self>,
        spec: &TopicSpec,
    ) -> Result<TopicDescription, LogError> {
        check_count(&spec.name, spec.partitions)?;
        let _one = self.changes.acquire().await;
        let mut config = settings::to_kafka(&spec.settings);
        if let Some(min_insync) = self.options.min_insync {
            config.push(("min.insync.replicas".to_owned(), min_insync.to_string()));
        }
        // -1: the cluster's default.
        let replication = TopicReplication::Fixed(self.options.replication.unwrap_or(-1));
        let mut topic = NewTopic::new(spec.name.as_str(), spec.partitions, replication);
        for (name, value) in &config {
            topic = topic.set(name, value);
        }
        let action = format!("creating topic \"{}\"", spec.name);
        let done = self.admin.create_topics([&topic], &Self::admin_options()).await;
        let done = done.map_err(|error| self.failure(&action, &error))?;
        for result in done {
            result.map_err(|(_, code)| self.topic_refusal(&spec.name, &action, code))?;
        }
        self.seen(&spec.name, spec.partitions).await?;
        self.describe_one(&spec.name).await
    }

    pub(crate) async fn alter(
        self: &Arc<Self>,
        name: &TopicName,
        change: &TopicChange,
    ) -> Result<TopicDescription, LogError> {
        let _one = self.changes.acquire().await;
        let (core, topic) = (Arc::clone(self), name.clone());
        let count = blocking(&self.cluster, move || core.partition_count(&topic)).await?;
        let action = format!("changing topic \"{name}\"");
        if let Some(wanted) = change.partitions.filter(|wanted| *wanted != count) {
            check_count(name, wanted)?;
            if wanted < count {
                let why = format!("it has {count} partitions; they can only grow, not to {wanted}");
                return Err(LogError::InvalidTopic { topic: name.to_string(), why });
            }
            let partitions = NewPartitions::new(name.as_str(), wanted as usize);
            let done = self.admin.create_partitions([&partitions], &Self::admin_options()).await;
            for result in done.map_err(|error| self.failure(&action, &error))? {
                result.map_err(|(_, code)| self.topic_refusal(name, &action, code))?;
            }
            self.topics.forget(name);
            self.seen(name, wanted).await?;
        }
        if let Some(settings) = &change.settings {
            self.change_settings(name, settings, &action).await?;
            self.topics.forget(name);
        }
        self.describe_one(name).await
    }

    async fn change_settings(
        &self,
        name: &TopicName,
        settings: &TopicSettings,
        action: &str,
    ) -> Result<(), LogError> {
        let configs = self.configs(std::slice::from_ref(name)).await?;
        let Some(found) = configs.get(name) else {
            return Err(LogError::UnknownTopic { topic: name.clone() });
        };
        let all = settings::overlaid(found, settings);
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(name.as_str()));
        for (name, value) in &all {
            config = config.set(name, value);
        }
        let done = self.admin.alter_configs([&config], &Self::admin_options()).await;
        for result in done.map_err(|error| self.failure(action, &error))? {
            result.map_err(|(_, code)| self.topic_refusal(name, action, code))?;
        }
        self.has_settings(name, &all).await
    }

    /// Waits until the settings are told as they were set; a value that the cluster
    /// writes otherwise is not waited for without end.
    async fn has_settings(
        &self,
        name: &TopicName,
        all: &[(String, String)],
    ) -> Result<(), LogError> {
        for _ in 0..SETTINGS_LOOKS {
            let configs = self.configs(std::slice::from_ref(name)).await?;
            let value = |key: &str| configs.get(name)?.get(key)?.value.as_deref();
            if all.iter().all(|(key, wanted)| value(key) == Some(wanted)) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    pub(crate) async fn delete(self: &Arc<Self>, name: &TopicName) -> Result<(), LogError> {
        let _one = self.changes.acquire().await;
        let action = format!("deleting topic \"{name}\"");
        let done = self.admin.delete_topics(&[name.as_str()], &Self::admin_options()).await;
        for result in done.map_err(|error| self.failure(&action, &error))? {
            result.map_err(|(_, code)| self.topic_refusal(name, &action, code))?;
        }
        self.topics.forget(name);
        let (core, name) = (Arc::clone(self), name.clone());
        blocking(&self.cluster, move || {
            core.until(|left| Ok(core.look(&name, left)?.is_none()), &action)
        })
        .await
    }

    pub(crate) async fn delete_before(
        self: &Arc<Self>,
        partition: &TopicPartition,
        before: Offset,
    ) -> Result<Offset, LogError> {
        let (core, name) = (Arc::clone(self), partition.clone());
        blocking(&self.cluster, move || core.check_partition(&name)).await?;
        let action = format!("deleting records of partition {partition}");
        let mut list = TopicPartitionList::with_capacity(1);
        let (topic, number) = (partition.topic.as_str(), partition.partition);
        list.add_partition_offset(topic, number, KafkaOffset::Offset(before))
            .map_err(|error| self.failure(&action, &error))?;
        let done = self.admin.delete_records(&list, &Self::admin_options()).await;
        let (error, start) = match &done {
            Err(error) => (Some(error.clone()), None),
            Ok(done) => match done.find_partition(topic, number) {
                Some(found) => (found.error().err(), Some(found.offset())),
                None => (None, None),
            },
        };
        match (error, start) {
            (Some(error), _) if code_of(&error) == Some(RDKafkaErrorCode::OffsetOutOfRange) => {
                let (core, asked) = (Arc::clone(self), partition.clone());
                Err(blocking(&self.cluster, move || core.out_of_range(&asked, before)).await?)
            }
            (Some(error), _) => Err(self.failure(&action, &error)),
            (None, Some(KafkaOffset::Offset(start))) => Ok(start),
            (None, _) => Err(self.refusal(&action, "the answer names no offset")),
        }
    }

    /// The error for an offset outside of a partition. Blocks.
    pub(crate) fn out_of_range(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<LogError, LogError> {
        let found = self.partition_offsets(std::slice::from_ref(partition))?;
        let found = found.get(partition).copied().unwrap_or_default();
        let (start, end) = (found.start, found.end);
        Ok(LogError::OffsetOutOfRange { partition: partition.clone(), offset, start, end })
    }

    /// Waits until a topic is seen with so many partitions, each with a leader.
    async fn seen(self: &Arc<Self>, name: &TopicName, partitions: i32) -> Result<(), LogError> {
        let (core, name) = (Arc::clone(self), name.clone());
        let action = format!("waiting for topic \"{name}\"");
        blocking(&self.cluster, move || {
            core.until(|left| Ok(core.led(&name, left)? >= partitions), &action)?;
            // From here on a broker that lags behind is asked again.
            core.topics.put(&name, None);
            Ok(())
        })
        .await
    }

    /// How many partitions of a topic have a leader.
    fn led(&self, topic: &TopicName, left: Duration) -> Result<i32, LogError> {
        let metadata = self.latest.fetch_metadata(Some(topic.as_str()), left);
        let metadata = metadata.map_err(|error| self.failure("looking for a new topic", &error))?;
        let found = metadata.topics().iter().filter(|found| found.name() == topic.as_str());
        let led = found.flat_map(|found| found.partitions()).filter(|p| p.leader() >= 0);
        Ok(led.count() as i32)
    }

    fn until(
        &self,
        holds: impl Fn(Duration) -> Result<bool, LogError>,
        action: &str,
    ) -> Result<(), LogError> {
        let until = Instant::now() + CALL;
        while !self.asking(&holds)? {
            if Instant::now() >= until {
                return Err(self.refused(action, RDKafkaErrorCode::OperationTimedOut));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn topic_refusal(&self, name: &TopicName, action: &str, code: RDKafkaErrorCode) -> LogError {
        use RDKafkaErrorCode as Code;
        match code {
            Code::TopicAlreadyExists => LogError::TopicExists { topic: name.clone() },
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                LogError::UnknownTopic { topic: name.clone() }
            }
            Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::InvalidRequest
            | Code::PolicyViolation => {
                let why = match self.refused(action, code) {
                    LogError::Cluster { why, .. } => why,
                    other => other.to_string(),
                };
                LogError::InvalidTopic { topic: name.to_string(), why }
            }
            code => self.refused(action, code),
        }
    }
}

/// Every partition of these topics.
pub(crate) fn all_partitions(counts: &BTreeMap<TopicName, i32>) -> Vec<TopicPartition> {
    let of = |(name, count): (&TopicName, &i32)| {
        let name = name.clone();
        (0..*count).map(move |number: PartitionId| TopicPartition::new(name.clone(), number))
    };
    counts.iter().flat_map(of).collect()
}

fn check_count(name: &TopicName, partitions: i32) -> Result<(), LogError> {
    if (1..=PARTITIONS_PER_TOPIC_MAX).contains(&partitions) {
        return Ok(());
    }
    let why = format!("it has {partitions} partitions; use 1 to {PARTITIONS_PER_TOPIC_MAX}");
    Err(LogError::InvalidTopic { topic: name.to_string(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_for_the_same_topic_of_a_cluster_only() {
        let (a, b) = (TopicName::new("a").unwrap(), TopicName::new("b").unwrap());
        assert_eq!(topic_id("c", &a), topic_id("c", &a));
        assert_ne!(topic_id("c", &a), topic_id("c", &b));
        assert_ne!(topic_id("c", &a), topic_id("d", &a));
        assert_eq!(topic_id("c", &a).get_version_num(), 8);
    }
}
