//! When how many records are due.
//!
//! Pure arithmetic on the time that has passed, so that nothing drifts: what is due
//! is computed from the start, never summed up from ticks. A log that cannot keep
//! up is not chased forever: what is overdue beyond a second is let go.

use std::{fmt, str::FromStr, time::Duration};

use courant_model::limits::SOURCE_BATCH_RECORDS_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// How fast the source makes records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// So long between the end of one and the start of the next.
    Every(Duration),
    Rate(Rate),
}

/// Records per second, written `10000/s`, `30/m` or `5/h`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    per_second: f64,
}

/// Why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "rate {text:?} cannot be read; write a number above 0 and a unit, such as 10000/s, 30/m or 5/h"
)]
pub struct RateError {
    text: String,
}

/// Shortest time between two batches: short enough to look steady, long enough
/// for one durable write to serve many records.
const TICK: Duration = Duration::from_millis(10);

/// Counts what was made against what is due.
#[derive(Debug)]
pub struct Schedule {
    rate: Rate,
    /// Records that count as made: those that were, and those that were let go.
    done: f64,
}

impl Schedule {
    /// Nothing was made yet.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, done: 0.0 }
    }

    /// How many records to make, this long after the start; they then count as made.
    /// At most [`SOURCE_BATCH_RECORDS_MAX`].
    pub fn due(&mut self, elapsed: Duration) -> usize {
        let target = (elapsed.as_secs_f64() * self.rate.per_second).floor();
        self.done = self.done.max(target - self.rate.per_second.max(1.0));
        let due = (target - self.done).clamp(0.0, SOURCE_BATCH_RECORDS_MAX as f64).floor();
        self.done += due;
        due as usize
    }

    /// How long to wait, from now on, until records are due again.
    pub fn wait(&self, elapsed: Duration) -> Duration {
        let next = (self.done.floor() + 1.0) / self.rate.per_second;
        let until = Duration::try_from_secs_f64(next).unwrap_or(Duration::MAX);
        let until = until.saturating_sub(elapsed);
        let is_behind = elapsed.as_secs_f64() * self.rate.per_second - self.done
            >= SOURCE_BATCH_RECORDS_MAX as f64;
        if is_behind { Duration::ZERO } else { until.max(TICK) }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let read = || {
            let (number, unit) = text.split_once('/')?;
            let number: f64 = number.trim().parse().ok()?;
            let seconds = match unit.trim() {
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                _ => return None,
            };
            let per_second = number / seconds;
            (per_second > 0.0 && per_second <= 1e9).then_some(Self { per_second })
        };
        read().ok_or_else(|| RateError { text: text.chars().take(80).collect() })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9.]+ ?/ ?(s|m|h)$",
            "description": "Records per second, minute or hour, such as 10000/s.",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_rates_so() {
        assert_eq!("10000/s".parse::<Rate>().unwrap().per_second, 10_000.0);
        assert_eq!("30/m".parse::<Rate>().unwrap().to_string(), "0.5/s");
        for bad in ["10000", "0/s", "-1/s", "x/s", "5/d", "NaN/s", "inf/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_that_stood_still_is_not_chased_for_more_than_a_second() {
        let mut schedule = Schedule::new("100/s".parse().unwrap());
        assert_eq!(schedule.due(Duration::from_secs(3_600)), 100);
        assert_eq!(schedule.due(Duration::from_secs(3_600)), 0);
    }

    #[test]
    fn a_slow_rate_waits_for_its_next_record() {
        let mut schedule = Schedule::new("30/m".parse().unwrap());
        assert_eq!(schedule.due(Duration::ZERO), 0);
        assert_eq!(schedule.wait(Duration::from_millis(500)), Duration::from_millis(1_500));
        assert_eq!(schedule.due(Duration::from_secs(2)), 1);
    }

    proptest! {
        #[test]
        fn a_rate_does_not_drift(rate in 1u32..200_000, waits in prop::collection::vec(1u64..50, 1..200)) {
            let mut schedule = Schedule::new(format!("{rate}/s").parse().unwrap());
            let (mut elapsed, mut made) = (Duration::ZERO, 0);
            for wait in waits {
                elapsed += Duration::from_millis(wait);
                made += schedule.due(elapsed);
            }
            let expected = (elapsed.as_secs_f64() * f64::from(rate)).floor();
            prop_assert!((expected - made as f64).abs() <= 1.0, "{} {}", expected, made);
        }
    }
}
