//! Where a record stands: topic, partition, offset.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::TopicName;

/// Number of a partition within its topic, from 0; Kafka's `int32`.
pub type PartitionId = i32;

/// Number of a record within its partition, from 0; Kafka's `int64`.
pub type Offset = i64;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: TopicName,
    pub partition: PartitionId,
}

impl TopicPartition {
    pub const fn new(topic: TopicName, partition: PartitionId) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The place of one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    #[serde(flatten)]
    pub partition: TopicPartition,
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

/// For each partition the offset of the next record to read.
pub type Positions = BTreeMap<TopicPartition, Offset>;
