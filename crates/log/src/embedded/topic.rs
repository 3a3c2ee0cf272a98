//! A topic of the embedded log: its settings and its open partitions.
//!
//! Shared by everybody who reads or appends; the number of partitions only grows.
//! Checks what a topic may be. Files are the business of `meta` and the partitions.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use courant_model::{
    PartitionId, TopicName, TopicPartition,
    limits::{MESSAGE_BYTES_MAX, PARTITIONS_PER_TOPIC_MAX, SEGMENT_BYTES_MAX},
};
use parking_lot::RwLock;
use uuid::Uuid;

use super::meta::TopicMeta;
use crate::{
    LogError, TopicDescription, TopicSettings,
    partition::{Environment, Partition, RecoveryReport},
};

/// Smallest segment: below it a roll costs more than what it holds.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 1024;

/// An open topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) id: Uuid,
    folder: PathBuf,
    settings: RwLock<Arc<TopicSettings>>,
    partitions: RwLock<Vec<Arc<Partition>>>,
    /// Where the next records without a key go.
    turn: AtomicU32,
}

impl Topic {
    /// Opens all partitions of a topic.
    pub(super) fn open(
        environment: &Environment,
        meta: &TopicMeta,
        folder: PathBuf,
    ) -> Result<(Self, Vec<RecoveryReport>), LogError> {
        let topic = Self {
            name: meta.name.clone(),
            id: meta.id,
            folder,
            settings: RwLock::new(Arc::new(meta.settings.clone())),
            partitions: RwLock::default(),
            turn: AtomicU32::new(0),
        };
        let reports = topic.grow(environment, meta.partitions)?;
        Ok((topic, reports))
    }

    /// Opens further partitions, up to so many in all.
    pub(super) fn grow(
        &self,
        environment: &Environment,
        partitions: i32,
    ) -> Result<Vec<RecoveryReport>, LogError> {
        let mut all_reports = Vec::new();
        for number in self.count()..partitions {
            let name = TopicPartition::new(self.name.clone(), number);
            let folder = self.folder.join(number.to_string());
            let settings = self.settings();
            let (partition, reports) =
                Partition::open(environment.clone(), name, folder, settings)?;
            all_reports.extend(reports);
            self.partitions.write().push(Arc::new(partition));
        }
        Ok(all_reports)
    }

    pub(super) fn settings(&self) -> Arc<TopicSettings> {
        Arc::clone(&self.settings.read())
    }

    pub(super) fn set_settings(&self, settings: &TopicSettings) {
        let settings = Arc::new(settings.clone());
        *self.settings.write() = Arc::clone(&settings);
        for partition in self.partitions() {
            partition.set_settings(Arc::clone(&settings));
        }
    }

    pub(super) fn meta(&self) -> TopicMeta {
        let settings = self.settings().as_ref().clone();
        TopicMeta::new(self.name.clone(), self.id, self.count(), settings)
    }

    pub(super) fn count(&self) -> i32 {
        self.partitions.read().len() as i32
    }

    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().clone()
    }

    pub(super) fn partition(&self, number: PartitionId) -> Result<Arc<Partition>, LogError> {
        let partitions = self.partitions.read();
        let found = usize::try_from(number).ok().and_then(|number| partitions.get(number));
        found.cloned().ok_or_else(|| LogError::UnknownPartition {
            topic: self.name.clone(),
            partition: number,
            partitions: partitions.len() as i32,
        })
    }

    /// The partition for the records without a key of one call.
    pub(super) fn next_turn(&self) -> PartitionId {
        (self.turn.fetch_add(1, Ordering::Relaxed) % self.count().max(1) as u32) as i32
    }

    pub(super) fn describe(&self) -> TopicDescription {
        TopicDescription {
            name: self.name.clone(),
            id: self.id,
            settings: self.settings().as_ref().clone(),
            partitions: self.partitions.read().iter().map(|p| p.offsets()).collect(),
        }
    }
}

/// Checks what a topic is to be.
///
/// # Errors
/// [`LogError::InvalidTopic`] with the bound that is broken.
pub(super) fn check(
    name: &TopicName,
    partitions: i32,
    settings: &TopicSettings,
) -> Result<(), LogError> {
    let segment_bytes = settings.segment_bytes.as_bytes();
    let message_bytes = settings.message_bytes_max.as_bytes();
    let why = if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&partitions) {
        format!("it has {partitions} partitions; use 1 to {PARTITIONS_PER_TOPIC_MAX}")
    } else if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) {
        format!(
            "its segments are of {}; use 1KiB to {}",
            settings.segment_bytes,
            courant_model::ByteSize::from_bytes(SEGMENT_BYTES_MAX)
        )
    } else if message_bytes == 0 || message_bytes > MESSAGE_BYTES_MAX as u64 {
        let max = courant_model::ByteSize::from_bytes(MESSAGE_BYTES_MAX as u64);
        format!("its largest message is {}; use up to {max}", settings.message_bytes_max)
    } else {
        return Ok(());
    };
    Err(LogError::InvalidTopic { topic: name.to_string(), why })
}
