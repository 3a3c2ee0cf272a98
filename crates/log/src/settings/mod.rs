//! What a topic can be told: its settings, with their defaults and reasons.
//!
//! [`TopicSettings`] is what the log acts on and what stands in a topic's file.
//! Kafka's names and texts for the same settings, and the settings of Kafka's that
//! are only remembered here, are the business of [`kafka`]. Whether a topic may be
//! as its settings say is checked where topics are made.

mod kafka;
mod ratio;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use courant_model::{ByteSize, Span};
use serde::{Deserialize, Serialize};

pub use self::{
    kafka::{ConfigEntry, ConfigError, ConfigKind},
    ratio::{Ratio, RatioError},
};
use crate::batch::Compression;

/// A topic's settings; the names in brackets are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicSettings {
    /// Records older than this go (`retention.ms`). Default 7 days; `None` keeps all.
    pub retention_time: Option<Span>,
    /// A partition larger than this loses its oldest segments (`retention.bytes`).
    pub retention_bytes: Option<ByteSize>,
    /// `delete`, `compact` or both (`cleanup.policy`).
    pub cleanup: Retention,
    /// A segment is closed at this size (`segment.bytes`). Default 256 MiB.
    pub segment_bytes: ByteSize,
    /// … or at this age (`segment.ms`). Default 7 days.
    pub segment_time: Span,
    /// How long a tombstone stays after compaction (`delete.retention.ms`). Default 1 day.
    pub tombstone_retention: Span,
    /// Largest record batch (`max.message.bytes`). Default 16 MiB.
    pub message_bytes_max: ByteSize,
    /// Whose clock a record's timestamp is from (`message.timestamp.type`).
    pub timestamps: TimestampSource,
    /// A producer's record is refused when its timestamp lies further behind the
    /// log's clock (`message.timestamp.before.max.ms`). Default `None`: never.
    pub timestamp_behind_max: Option<Span>,
    /// … or further ahead of it (`message.timestamp.after.max.ms`). Default `None`,
    /// unlike Kafka's hour: an event's own time is often not this machine's.
    pub timestamp_ahead_max: Option<Span>,
    /// How batches are packed on disk (`compression.type`). Default `None`: as the
    /// producer packed them, which costs nothing.
    pub compression: Option<Compression>,
    /// A record stays at least this long before compaction may take it away
    /// (`min.compaction.lag.ms`). Default none.
    pub compaction_lag_min: Span,
    /// Compaction looks at a record after this long at the latest
    /// (`max.compaction.lag.ms`). Default `None`: when it is worth while.
    pub compaction_lag_max: Option<Span>,
    /// Compaction waits until so much of the closed segments is new
    /// (`min.cleanable.dirty.ratio`). Default a half.
    pub dirty_ratio_min: Ratio,
    /// Settings of Kafka's that change nothing here, by Kafka's names; kept so that
    /// tools read back what they wrote.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, String>,
}

/// What happens to old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    Delete,
    Compact,
    CompactAndDelete,
}

/// Whose clock a record's timestamp is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampSource {
    /// The producer's: when the record was made (`CreateTime`).
    #[default]
    Producer,
    /// The log's: when the record was appended (`LogAppendTime`).
    Log,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            retention_time: Some(Span::from_duration(Duration::from_secs(7 * 86_400))),
            retention_bytes: None,
            cleanup: Retention::Delete,
            segment_bytes: ByteSize::from_bytes(256 << 20),
            segment_time: Span::from_duration(Duration::from_secs(7 * 86_400)),
            tombstone_retention: Span::from_duration(Duration::from_secs(86_400)),
            message_bytes_max: ByteSize::from_bytes(
                courant_model::limits::MESSAGE_BYTES_MAX as u64,
            ),
            timestamps: TimestampSource::default(),
            timestamp_behind_max: None,
            timestamp_ahead_max: None,
            compression: None,
            compaction_lag_min: Span::default(),
            compaction_lag_max: None,
            dirty_ratio_min: Ratio::HALF,
            kept: BTreeMap::new(),
        }
    }
}
