//! Numbers that never repeat, also after a crash.
//!
//! A block of numbers is reserved with one durable write before the first of them
//! is given out; what a crash leaves unused of a block is skipped. So a number
//! costs nothing, and gaps are the price. Several sequences with the same step and
//! different first numbers within it never give the same number.

use std::sync::Arc;

use bytes::Bytes;
use courant_model::limits::{SEQUENCE_MAX, SEQUENCE_RESERVE};
use courant_pipeline::connector::{ConnectorError, SourceState};

/// Gives out numbers in order.
#[derive(Debug)]
pub(crate) struct Sequence {
    state: Arc<dyn SourceState>,
    /// The next number, once the state was read, and the first that is not reserved.
    range: Option<(u64, u64)>,
    first: u64,
    step: u64,
}

impl Sequence {
    /// A sequence from this number, or from where the state says.
    pub(crate) fn new(state: Arc<dyn SourceState>, first: u64) -> Self {
        Self::with_step(state, first, 1)
    }

    /// A sequence of `first`, `first + step`, …; the step is at least 1.
    pub(crate) fn with_step(state: Arc<dyn SourceState>, first: u64, step: u64) -> Self {
        Self { state, range: None, first, step: step.max(1) }
    }

    /// Takes `count` numbers; answers the first of them. Cancel safe: numbers of a
    /// call that is dropped are skipped.
    ///
    /// # Errors
    /// The state's, a state that another kind of source wrote, and numbers that have
    /// come to [`SEQUENCE_MAX`].
    pub(crate) async fn take(&mut self, count: u64) -> Result<u64, ConnectorError> {
        let (next, reserved) = self.range().await?;
        let after = next.saturating_add(count.saturating_mul(self.step));
        if after > SEQUENCE_MAX {
            return Err(ConnectorError::fatal(format!(
                "numbers are used up: {next} is next and {SEQUENCE_MAX} the last; rename the \
                 source to begin anew"
            )));
        }
        self.advance(after, reserved).await?;
        Ok(next)
    }

    /// Takes note of a number that somebody else gave: those that come are larger. Cancel
    /// safe.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) async fn pass(&mut self, number: u64) -> Result<(), ConnectorError> {
        let (next, reserved) = self.range().await?;
        if number < next {
            return Ok(());
        }
        self.advance(self.aligned(number.saturating_add(1)), reserved).await
    }

    /// Makes `next` the next number once it is reserved.
    async fn advance(&mut self, next: u64, reserved: u64) -> Result<(), ConnectorError> {
        let reserved = if next > reserved {
            let reserved = next.saturating_add(SEQUENCE_RESERVE * self.step);
            self.state.save(Bytes::from(reserved.to_string())).await?;
            reserved
        } else {
            reserved
        };
        self.range = Some((next, reserved));
        Ok(())
    }

    async fn range(&mut self) -> Result<(u64, u64), ConnectorError> {
        if let Some(range) = self.range {
            return Ok(range);
        }
        let next = self.aligned(self.load().await?);
        Ok((next, next))
    }

    /// The sequence's first number that is at least this one.
    fn aligned(&self, number: u64) -> u64 {
        let above = number.saturating_sub(self.first);
        self.first.saturating_add(above.div_ceil(self.step).saturating_mul(self.step))
    }

    async fn load(&self) -> Result<u64, ConnectorError> {
        let Some(saved) = self.state.load().await? else { return Ok(0) };
        let number = std::str::from_utf8(&saved).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| {
            ConnectorError::fatal(
                "source's saved state is no number; another kind of source had this name: rename it",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryState;

    #[tokio::test]
    async fn no_number_comes_twice_after_a_restart() {
        let state = Arc::new(MemoryState::default());
        let mut sequence = Sequence::new(state.clone(), 10);
        assert_eq!(sequence.take(1).await.unwrap(), 10);
        assert_eq!(sequence.take(5).await.unwrap(), 11);
        assert_eq!(state.saves(), 1);
        let mut again = Sequence::new(state.clone(), 10);
        assert!(again.take(1).await.unwrap() >= 16);
        state.save(Bytes::from("{}")).await.unwrap();
        assert!(Sequence::new(state, 10).take(1).await.is_err());
    }

    #[tokio::test]
    async fn a_number_that_was_given_from_outside_is_passed_also_after_a_restart() {
        let state = Arc::new(MemoryState::default());
        let mut sequence = Sequence::with_step(state.clone(), 2, 3);
        assert_eq!(sequence.take(1).await.unwrap(), 2);
        assert_eq!(sequence.take(1).await.unwrap(), 5);
        sequence.pass(1).await.unwrap();
        sequence.pass(10).await.unwrap();
        assert_eq!(sequence.take(1).await.unwrap(), 11);
        sequence.pass(1_000_000).await.unwrap();
        let mut again = Sequence::with_step(state.clone(), 2, 3);
        let number = again.take(1).await.unwrap();
        assert!(number > 1_000_000 && number % 3 == 2, "{number}");
        again.pass(SEQUENCE_MAX).await.unwrap();
        assert!(!again.take(1).await.unwrap_err().retryable);
    }
}
