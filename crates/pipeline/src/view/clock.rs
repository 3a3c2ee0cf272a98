//! How far event time has come at a view's inputs.
//!
//! Each input has the largest event time of its records, less the lateness that the file
//! allows; the watermark is the least of them, without inputs that have been silent for too
//! long. It never goes back: an input that speaks again does not make it younger.

use courant_sql::stream::Watermarks;

/// The watermark of one partition of a view. Times are microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventClock {
    inputs: Vec<InputTime>,
    watermark: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct InputTime {
    lateness: i64,
    /// [`i64::MIN`]: it has said nothing yet.
    largest: i64,
    idle: bool,
}

impl EventClock {
    /// A clock of inputs that have said nothing yet, with the lateness of each.
    pub(crate) fn new(lateness_micros: impl IntoIterator<Item = i64>) -> Self {
        let input = |lateness| InputTime { lateness, largest: i64::MIN, idle: false };
        let inputs = lateness_micros.into_iter().map(input).collect();
        Self { inputs, watermark: i64::MIN }
    }

    /// The largest event time of each input, to be remembered.
    pub(crate) fn event_times(&self) -> Vec<i64> {
        self.inputs.iter().map(|input| input.largest).collect()
    }

    /// Brings back what was remembered.
    pub(crate) fn restore(&mut self, event_times: &[i64], watermark: i64) {
        for (input, largest) in self.inputs.iter_mut().zip(event_times) {
            input.largest = *largest;
        }
        self.watermark = watermark;
    }

    /// Leaves an input out until it speaks again; answers whether that is news.
    pub(crate) fn leave_out(&mut self, input: usize) -> bool {
        let was_idle = std::mem::replace(&mut self.inputs[input].idle, true);
        self.step();
        !was_idle
    }

    pub(crate) fn is_left_out(&self, input: usize) -> bool {
        self.inputs[input].idle
    }

    fn step(&mut self) {
        let awake = self.inputs.iter().filter(|input| !input.idle);
        let least = awake.map(|input| match input.largest {
            i64::MIN => i64::MIN,
            largest => largest.saturating_sub(input.lateness),
        });
        if let Some(least) = least.min() {
            self.watermark = self.watermark.max(least);
        }
    }
}

impl Watermarks for EventClock {
    fn observe(&mut self, input: usize, event_time_micros: i64) -> i64 {
        let time = &mut self.inputs[input];
        time.largest = time.largest.max(event_time_micros);
        time.idle = false;
        self.step();
        self.watermark
    }

    fn current(&self) -> i64 {
        self.watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_the_inputs_counts_and_the_watermark_never_goes_back() {
        let mut clock = EventClock::new([0, 10]);
        assert_eq!(clock.observe(0, 100), i64::MIN, "the other one has said nothing");
        assert_eq!(clock.observe(1, 60), 50);
        assert_eq!(clock.observe(1, 200), 100);
        assert_eq!(clock.observe(0, 90), 100, "a record that is late moves nothing");
        assert_eq!(clock.observe(0, 150), 150);
    }

    #[test]
    fn a_silent_input_is_left_out_until_it_speaks() {
        let mut clock = EventClock::new([0, 0]);
        clock.observe(0, 100);
        assert!(clock.leave_out(1) && !clock.leave_out(1));
        assert_eq!(clock.current(), 100);
        assert_eq!(clock.observe(1, 50), 100, "it speaks, and the watermark stays");
        assert_eq!(clock.observe(0, 300), 100, "and waits for it again");
        assert_eq!(clock.observe(1, 250), 250);
        let (times, mut again) = (clock.event_times(), EventClock::new([0, 0]));
        again.restore(&times, clock.current());
        assert_eq!(again.observe(0, 310), 250);
    }
}
