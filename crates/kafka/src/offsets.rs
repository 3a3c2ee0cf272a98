//! Questions for offsets: where partitions begin and end, and what was when.
//!
//! All partitions of a question are asked for at once, one request for each broker.
//! Everything here blocks.

use std::{collections::BTreeMap, time::Duration};

use courant_log::{LogError, PartitionOffsets};
use courant_model::{Offset, TopicName, TopicPartition};
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList, consumer::Consumer, types::RDKafkaErrorCode,
};

use crate::{
    cluster::{Core, Reader, drain},
    topics::{LOOKS, PAUSE},
};

impl Core {
    /// First, next and last stable offset of partitions that exist. The cluster's
    /// client tells no sizes: they are 0.
    pub(crate) fn partition_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, PartitionOffsets>, LogError> {
        let starts = self.list_offsets(&self.latest, partitions, KafkaOffset::Beginning)?;
        // The last stable offset first: it is never above an end that is asked for later.
        let stable = self.list_offsets(&self.stable, partitions, KafkaOffset::End)?;
        let ends = self.list_offsets(&self.latest, partitions, KafkaOffset::End)?;
        let of = |all: &BTreeMap<TopicPartition, Offset>, at: &TopicPartition| {
            all.get(at).copied().unwrap_or_default()
        };
        let offsets = partitions.iter().map(|partition| {
            let offsets = PartitionOffsets {
                start: of(&starts, partition),
                end: of(&ends, partition),
                last_stable: of(&stable, partition),
                size_bytes: 0,
            };
            (partition.clone(), offsets)
        });
        Ok(offsets.collect())
    }

    /// Ends of partitions that exist.
    pub(crate) fn ends(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        self.list_offsets(&self.latest, partitions, KafkaOffset::End)
    }

    /// The first record of this time or later; the end where there is none.
    pub(crate) fn offset_of_time(
        &self,
        partition: &TopicPartition,
        at_ms: i64,
    ) -> Result<Option<Offset>, LogError> {
        let asked = KafkaOffset::Offset(at_ms.max(0));
        let found = self.list_offsets(&self.stable, std::slice::from_ref(partition), asked)?;
        Ok(found.get(partition).copied())
    }

    fn list_offsets(
        &self,
        client: &Reader,
        partitions: &[TopicPartition],
        asked: KafkaOffset,
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut looks = LOOKS;
        let found = loop {
            let found = self.asking(|left| self.list_offsets_once(client, partitions, asked, left));
            match &found {
                // What the client knows of the topic may be older than the topic.
                Err(LogError::UnknownTopic { topic }) if looks > 0 => {
                    looks -= 1;
                    self.look_with(client, topic)?;
                }
                _ => break found,
            }
        };
        drain(client);
        found
    }

    /// Has a client ask the cluster for a topic again; fails when there is none.
    fn look_with(&self, client: &Reader, topic: &TopicName) -> Result<(), LogError> {
        let action = format!("looking for topic \"{topic}\"");
        let metadata = self.asking(|left| {
            let metadata = client.fetch_metadata(Some(topic.as_str()), left);
            metadata.map_err(|error| self.failure(&action, &error))
        })?;
        let mut found = metadata.topics().iter().filter(|found| found.name() == topic.as_str());
        if found.any(|found| found.error().is_none()) || self.partition_count(topic).is_ok() {
            std::thread::sleep(PAUSE);
            return Ok(());
        }
        Err(LogError::UnknownTopic { topic: topic.clone() })
    }

    fn list_offsets_once(
        &self,
        client: &Reader,
        partitions: &[TopicPartition],
        asked: KafkaOffset,
        left: Duration,
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        let action = "asking for offsets";
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(partition.topic.as_str(), partition.partition, asked)
                .map_err(|error| self.failure(action, &error))?;
        }
        let answered = client.offsets_for_times(list, left);
        let answered = answered.map_err(|error| self.failure(action, &error))?;
        let mut offsets = BTreeMap::new();
        for element in answered.elements() {
            let Ok(topic) = TopicName::new(element.topic()) else { continue };
            let partition = TopicPartition::new(topic, element.partition());
            if let Err(error) = element.error() {
                return Err(self.offset_failure(&partition, &error));
            }
            if let KafkaOffset::Offset(offset) = element.offset() {
                offsets.insert(partition, offset);
            }
        }
        Ok(offsets)
    }

    fn offset_failure(
        &self,
        partition: &TopicPartition,
        error: &rdkafka::error::KafkaError,
    ) -> LogError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => LogError::UnknownTopic { topic: partition.topic.clone() },
            _ => self.failure(&format!("asking for offsets of partition {partition}"), error),
        }
    }
}
