//! Windows of event time: which of them a row belongs to.
//!
//! Tumbling and hopping windows are aligned to the epoch and hold their start, not their
//! end. Rows are first gathered by pane, the largest span that no window cuts, so that the
//! cost of a row does not grow with the overlap of windows.

use std::fmt;

/// The window of a GROUP BY; all spans in microseconds, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// `tumble(width)` is `hop(width, width)`.
    Hop { slide: i64, width: i64 },
    /// Rows of one key that are no more than the gap apart.
    Session { gap: i64 },
    /// Every set of rows that a span of this width can hold.
    Sliding { width: i64 },
}

/// A hopping window's panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panes {
    pub(super) slide: i64,
    pub(super) width: i64,
    pane: i64,
}

impl Panes {
    pub(super) fn new(slide: i64, width: i64) -> Self {
        Self { slide, width, pane: gcd(slide, width) }
    }

    /// Whether every window is one pane.
    pub(super) fn is_whole(&self) -> bool {
        self.pane == self.width && self.slide == self.width
    }

    /// Start of the pane that holds the instant.
    pub(super) fn pane_of(&self, time: i64) -> i64 {
        time - time.rem_euclid(self.pane)
    }

    /// Ends of the windows that hold the instant, ascending.
    ///
    /// As in Kafka Streams, no window of an instant since the epoch begins before it.
    pub(super) fn ends_of(&self, time: i64) -> impl Iterator<Item = i64> + use<> {
        let (slide, width) = (self.slide, self.width);
        let last = time - time.rem_euclid(slide);
        let least = time.saturating_sub(width);
        let count = (last - least).saturating_add(slide - 1) / slide;
        let starts = (0..count.max(0)).rev().map(move |back| last - back * slide);
        starts
            .filter(move |start| *start > least && (time < 0 || *start >= 0))
            .map(move |start| start.saturating_add(width))
    }
}

impl Window {
    /// How much older than the watermark's row an emitted row may be, beside the grace.
    pub(super) fn span(&self) -> i64 {
        match self {
            Self::Hop { width, .. } | Self::Sliding { width } => *width,
            Self::Session { gap } => *gap,
        }
    }

    /// The width that all windows have; sessions have none.
    pub(super) fn width(&self) -> Option<i64> {
        match self {
            Self::Hop { width, .. } | Self::Sliding { width } => Some(*width),
            Self::Session { .. } => None,
        }
    }

    /// From the start of one window to that of the next, where the rows do not decide it.
    pub(super) fn slide(&self) -> Option<i64> {
        match self {
            Self::Hop { slide, .. } => Some(*slide),
            Self::Session { .. } | Self::Sliding { .. } => None,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hop { slide, width } if slide == width => write!(f, "tumble({})", Span(*width)),
            Self::Hop { slide, width } => write!(f, "hop({}, {})", Span(*slide), Span(*width)),
            Self::Session { gap } => write!(f, "session({})", Span(*gap)),
            Self::Sliding { width } => write!(f, "sliding({})", Span(*width)),
        }
    }
}

/// Microseconds, in the largest unit that divides them.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (86_400_000_000, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "m"),
            (1_000_000, "s"),
            (1_000, "ms"),
        ];
        match units.iter().find(|(micros, _)| self.0 % micros == 0) {
            Some((micros, unit)) => write!(f, "{}{unit}", self.0 / micros),
            None => write!(f, "{}us", self.0),
        }
    }
}

fn gcd(one: i64, other: i64) -> i64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_belongs_to_every_window_that_holds_it() {
        let ends = |slide, width, time| Panes::new(slide, width).ends_of(time).collect::<Vec<_>>();
        assert_eq!(ends(10, 10, 29), [30]);
        assert_eq!(ends(10, 10, 30), [40]);
        assert_eq!(ends(2, 5, 7), [9, 11]);
        assert_eq!(ends(2, 5, 8), [9, 11, 13]);
        assert_eq!(ends(1, 3, 1), [3, 4], "none begins before the epoch");
        assert_eq!(ends(10, 10, -1), [0]);
        assert!(ends(5, 2, 3).is_empty(), "windows may leave gaps");
    }

    #[test]
    fn a_pane_lies_whole_in_its_windows() {
        let panes = Panes::new(4, 6);
        for time in 0..40 {
            let pane = panes.pane_of(time);
            assert!(panes.ends_of(pane).eq(panes.ends_of(time)), "{time}");
        }
    }

    #[test]
    fn windows_are_told_in_the_units_of_the_file() {
        assert_eq!(Window::Hop { slide: 1_000_000, width: 5_000_000 }.to_string(), "hop(1s, 5s)");
        assert_eq!(Window::Hop { slide: 60_000_000, width: 60_000_000 }.to_string(), "tumble(1m)");
        assert_eq!(Window::Session { gap: 1_500_000 }.to_string(), "session(1500ms)");
    }
}
