//! Freshness and rates, measured as they happen, in a few kilobytes.
//!
//! Freshness goes into a log-linear histogram (32 steps for each power of two, so a
//! quantile is at most 3 % off) over the last half to full minute; a rate counts the
//! last full seconds. Both are told the time, they read no clock.

/// Width of a histogram's window, in microseconds.
const WINDOW_MICROS: i64 = 30_000_000;

/// Seconds that a rate looks back on.
const RATE_SECONDS: i64 = 5;

const SUB_BITS: u32 = 5;
/// Ages up to 2⁴⁰ µs (12 days) are told apart; older ones count as that old.
const EXPONENT_MAX: u32 = 40;
const BUCKETS: usize = ((EXPONENT_MAX - SUB_BITS + 2) << SUB_BITS) as usize;

/// Ages of the records of the last windows.
#[derive(Debug)]
pub(crate) struct Freshness {
    current: Histogram,
    previous: Histogram,
    window: i64,
}

#[derive(Debug)]
struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Default for Freshness {
    fn default() -> Self {
        Self { current: Histogram::default(), previous: Histogram::default(), window: i64::MIN }
    }
}

impl Freshness {
    /// Counts one record of this age.
    pub(crate) fn record(&mut self, age_micros: i64, now_micros: i64) {
        self.turn(now_micros);
        let bucket = bucket_of(u64::try_from(age_micros).unwrap_or(0));
        self.current.counts[bucket] = self.current.counts[bucket].saturating_add(1);
        self.current.total += 1;
    }

    /// The age in microseconds that this share of the records (0 to 1) does not
    /// exceed; `None` without records.
    pub(crate) fn quantile(&mut self, share: f64, now_micros: i64) -> Option<u64> {
        self.turn(now_micros);
        let total = self.current.total + self.previous.total;
        if total == 0 {
            return None;
        }
        let rank = (share * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let both = self.current.counts.iter().zip(self.previous.counts.iter());
        for (bucket, (current, previous)) in both.enumerate() {
            seen += u64::from(*current) + u64::from(*previous);
            if seen >= rank {
                return Some(highest_of(bucket));
            }
        }
        None
    }

    fn turn(&mut self, now_micros: i64) {
        let window = now_micros.div_euclid(WINDOW_MICROS);
        if window != self.window {
            let ended = std::mem::take(&mut self.current);
            let next = self.window.saturating_add(1) == window;
            self.previous = if next { ended } else { Histogram::default() };
            self.window = window;
        }
    }
}

fn bucket_of(value: u64) -> usize {
    let value = value.clamp(1, (1 << (EXPONENT_MAX + 1)) - 1);
    let exponent = value.ilog2();
    if exponent < SUB_BITS {
        return value as usize;
    }
    let sub = (value >> (exponent - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    (((exponent - SUB_BITS + 1) << SUB_BITS) as u64 + sub) as usize
}

/// The largest value of a bucket.
fn highest_of(bucket: usize) -> u64 {
    let (bucket, steps) = (bucket as u64, 1_u64 << SUB_BITS);
    if bucket < steps {
        return bucket;
    }
    let (shift, sub) = (bucket / steps - 1, bucket % steps);
    ((steps + sub + 1) << shift) - 1
}

/// Records per second over the last full seconds.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// Counts by second, modulo the length: the running one and those looked back on.
    slots: [(i64, u64); RATE_SECONDS as usize + 1],
}

impl Rate {
    pub(crate) fn count(&mut self, records: u64, now_micros: i64) {
        let second = now_micros.div_euclid(1_000_000);
        let slot = &mut self.slots[second.rem_euclid(RATE_SECONDS + 1) as usize];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 += records;
    }

    pub(crate) fn per_second(&self, now_micros: i64) -> f64 {
        let second = now_micros.div_euclid(1_000_000);
        let counted =
            self.slots.iter().filter(|(at, _)| (second - RATE_SECONDS..second).contains(at));
        counted.map(|(_, count)| *count as f64).sum::<f64>() / RATE_SECONDS as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_cover_the_last_windows_only() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.quantile(0.5, 0), None);
        for age in 1..=1_000 {
            freshness.record(age, 0);
        }
        let median = freshness.quantile(0.5, WINDOW_MICROS).unwrap();
        assert!((500..=516).contains(&median), "{median}");
        assert_eq!(freshness.quantile(0.5, 3 * WINDOW_MICROS), None);
    }

    #[test]
    fn a_rate_forgets_what_is_long_ago() {
        let mut rate = Rate::default();
        for second in 0..5 {
            rate.count(100, second * 1_000_000);
        }
        assert!((rate.per_second(5_000_000) - 100.0).abs() < f64::EPSILON);
        assert!(rate.per_second(20_000_000).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_thirtieth_wide(value in 1_u64..1 << 40) {
            let highest = highest_of(bucket_of(value));
            prop_assert!(highest >= value);
            prop_assert!(highest - value <= value / 30, "{value} in a bucket to {highest}");
        }
    }
}
