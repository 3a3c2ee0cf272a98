//! How far event time has come.
//!
//! The task tells every row's event time as it meets the row and is told the watermark at
//! that row. Lateness is judged by it, so that results do not depend on where batches end.

/// Knows the watermark of a task, in microseconds since the epoch.
pub trait Watermarks {
    /// Takes the event time of the next row of an input and answers the watermark at it: the
    /// largest event time of the input's partition so far, this row's included, less the
    /// allowed lateness; over several inputs the least of those that are not idle;
    /// [`i64::MIN`] while one of them has said nothing.
    fn observe(&mut self, input: usize, event_time_micros: i64) -> i64;

    /// The watermark as it stands.
    fn current(&self) -> i64;
}

/// The watermark of inputs of which none is ever idle: for tests, and for the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTimes {
    lateness_micros: i64,
    /// Largest event time of each input.
    largest: Vec<i64>,
}

impl EventTimes {
    /// Builds a clock of so many inputs that have said nothing yet.
    pub fn new(inputs: usize, lateness_micros: i64) -> Self {
        Self { lateness_micros, largest: vec![i64::MIN; inputs] }
    }
}

impl Watermarks for EventTimes {
    fn observe(&mut self, input: usize, event_time_micros: i64) -> i64 {
        let largest = &mut self.largest[input];
        *largest = event_time_micros.max(*largest);
        self.current()
    }

    fn current(&self) -> i64 {
        let least = self.largest.iter().copied().min().unwrap_or(i64::MIN);
        least.saturating_sub(self.lateness_micros)
    }
}
