//! The memory budget for what is on its way through the process.
//!
//! A source holds a share while it appends, and waits for it, in turn. A partition that
//! is behind holds one for its reads, and reads little when none is free, so that a
//! target that is away cannot stop the others. What is larger than the whole budget
//! takes all of it: nothing ever waits for more than there is.

use std::sync::Arc;

use courant_model::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit: fine enough for small records, coarse enough for a counter.
const UNIT_BYTES: u64 = 1024;

/// A budget of bytes; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    units: u32,
}

/// A share of the budget, given back when dropped.
pub(crate) type Share = OwnedSemaphorePermit;

impl Budget {
    pub(crate) fn new(size: ByteSize) -> Self {
        let most = u64::try_from(Semaphore::MAX_PERMITS).unwrap_or(u64::MAX).min(u32::MAX.into());
        let units = u32::try_from((size.as_bytes() / UNIT_BYTES).clamp(1, most)).unwrap_or(1);
        Self { permits: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits for a share of this size.
    ///
    /// # Cancel safety
    /// Safe; the place in the queue is given up.
    pub(crate) async fn acquire(&self, bytes: usize) -> Share {
        let permits = Arc::clone(&self.permits);
        permits
            .acquire_many_owned(self.units_of(bytes))
            .await
            .expect("the semaphore is never closed")
    }

    /// A share of this size if it is free now.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<Share> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.units_of(bytes)).ok()
    }

    fn units_of(&self, bytes: usize) -> u32 {
        let units = (bytes as u64).div_ceil(UNIT_BYTES);
        u32::try_from(units).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_larger_than_the_budget_takes_all_of_it() {
        let budget = Budget::new(ByteSize::from_bytes(10_000));
        let all = budget.acquire(usize::MAX).await;
        assert!(budget.try_acquire(1).is_none());
        drop(all);
        assert!(budget.try_acquire(1).is_some());
    }

    #[tokio::test]
    async fn a_share_that_was_given_back_is_the_next_ones() {
        let budget = Budget::new(ByteSize::from_bytes(2_048));
        let first = budget.acquire(2_048).await;
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(1_000).await }
        });
        drop(first);
        let _second = waiting.await.unwrap();
        assert!(budget.try_acquire(1_024).is_some());
    }
}
