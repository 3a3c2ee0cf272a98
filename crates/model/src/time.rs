//! Instants as the log and the sources write them.
//!
//! Two units, and the type says which: [`Timestamp`] is Kafka's (milliseconds),
//! [`Origin`] is finer (microseconds), because freshness is measured with it.
//! Neither reads a clock; see [`crate::clock`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, as Kafka's record timestamps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Kafka's "no timestamp".
    pub const NONE: Self = Self(-1);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Moves the instant; saturates at the ends of `i64`.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// When a change was committed at its source: microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(i64);

impl Origin {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads the decimal text of the header.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// The origin of a record that says none: its own timestamp.
    pub const fn from_timestamp(timestamp: Timestamp) -> Self {
        Self(timestamp.as_millis().saturating_mul(1_000))
    }

    /// Age at `now`, in microseconds; never negative, clocks differ.
    pub const fn age_micros(self, now: Self) -> i64 {
        let age = now.0.saturating_sub(self.0);
        if age < 0 { 0 } else { age }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
