//! How an embedded log is to behave: durability, time, compression, upkeep.
//!
//! Everything has a default that loses nothing. Settings of single topics are
//! [`crate::TopicSettings`].

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use courant_model::{Clock, Span, SystemClock};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{batch::Compression, group::GroupOptions};

/// When an append is answered and visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once it is synced to the disk; appends that arrive together share a sync.
    #[default]
    Fsync,
    /// Once it is written; synced this often. A power cut loses at most as much, a
    /// crash of the process nothing.
    Interval(Span),
    /// Once it is written; synced when the operating system likes, when a segment
    /// is full and on close.
    Os,
}

/// Why a text is no durability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown durability {text:?}; use fsync, interval(DURATION) such as interval(100ms), or os"
)]
pub struct DurabilityError {
    pub text: String,
}

/// How an embedded log is to behave.
#[derive(Debug, Clone)]
pub struct LogOptions {
    pub durability: Durability,
    /// Tells the time to retention, segments' ages and records without a timestamp.
    pub clock: Arc<dyn Clock>,
    /// For batches built inside the process; producers over the network choose for
    /// themselves. Default none: on fast disks every codec costs more than it saves.
    pub compression: Compression,
    /// How often old records go and compaction looks for work. Default 30 s; `None`
    /// leaves it to calls of [`crate::EmbeddedLog::housekeep`].
    pub housekeeping: Option<Duration>,
    /// How consumer groups behave.
    pub groups: GroupOptions,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            clock: Arc::new(SystemClock),
            compression: Compression::None,
            housekeeping: Some(Duration::from_secs(30)),
            groups: GroupOptions::default(),
        }
    }
}

impl FromStr for Durability {
    type Err = DurabilityError;

    fn from_str(text: &str) -> Result<Self, DurabilityError> {
        let refused = || DurabilityError { text: text.chars().take(80).collect() };
        match text.trim() {
            "fsync" => Ok(Self::Fsync),
            "os" => Ok(Self::Os),
            other => {
                let inside = other.strip_prefix("interval(").and_then(|t| t.strip_suffix(')'));
                let span: Span = inside.and_then(|t| t.parse().ok()).ok_or_else(refused)?;
                if span.as_duration().is_zero() { Err(refused()) } else { Ok(Self::Interval(span)) }
            }
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fsync => f.write_str("fsync"),
            Self::Interval(span) => write!(f, "interval({span})"),
            Self::Os => f.write_str("os"),
        }
    }
}

impl Serialize for Durability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Durability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durability_is_read_as_it_is_written() {
        for text in ["fsync", "interval(100ms)", "os"] {
            assert_eq!(text.parse::<Durability>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "interval", "interval()", "interval(0ms)", "interval(5)", "always"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }
}
