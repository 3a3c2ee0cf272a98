//! Numbers that never repeat, also after a crash.
//!
//! A block of numbers is reserved with one durable write before the first of them
//! is given out; what a crash leaves unused of a block is skipped. So a number
//! costs nothing, and gaps are the price.

use std::sync::Arc;

use bytes::Bytes;
use courant_model::limits::SEQUENCE_RESERVE;
use courant_pipeline::connector::{ConnectorError, SourceState};

/// Gives out numbers in order.
#[derive(Debug)]
pub(crate) struct Sequence {
    state: Arc<dyn SourceState>,
    /// The next number, once the state was read, and the first that is not reserved.
    range: Option<(u64, u64)>,
    first: u64,
}

impl Sequence {
    /// A sequence from this number, or from where the state says.
    pub(crate) fn new(state: Arc<dyn SourceState>, first: u64) -> Self {
        Self { state, range: None, first }
    }

    /// Takes `count` numbers; answers the first of them. Cancel safe: numbers of a
    /// call that is dropped are skipped.
    ///
    /// # Errors
    /// The state's, and a state that another kind of source wrote.
    pub(crate) async fn take(&mut self, count: u64) -> Result<u64, ConnectorError> {
        let (next, reserved) = match self.range {
            Some(range) => range,
            None => {
                let next = self.load().await?.max(self.first);
                (next, next)
            }
        };
        let after = next.saturating_add(count);
        let reserved = if after > reserved {
            let reserved = after.saturating_add(SEQUENCE_RESERVE);
            self.state.save(Bytes::from(reserved.to_string())).await?;
            reserved
        } else {
            reserved
        };
        self.range = Some((after, reserved));
        Ok(next)
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
}
