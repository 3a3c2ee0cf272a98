//! What all connections share: places, memory, and the patience of the log's reader.
//!
//! A place is held while a connection is open; memory while a large request is being
//! read and answered. Complaints about clients are bounded, so that a hostile one
//! cannot fill the disk with lines.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use courant_model::limits::{BROKER_ANSWERS_BYTES_MAX, BROKER_COMPLAINTS_PER_SECOND_MAX};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// Bounds over all connections.
#[derive(Debug)]
pub(crate) struct Bounds {
    limits: Limits,
    places: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    memory: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    began: Instant,
    /// Complaints of the current second: the second above, their number in 16 bits.
    complaints: AtomicU64,
}

/// A connection's place; free when dropped.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _place: OwnedSemaphorePermit,
}

impl Bounds {
    pub(crate) fn new(limits: Limits) -> Self {
        let memory = limits.requests_bytes.as_usize().max(limits.request_bytes.as_usize());
        Self {
            limits,
            places: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            by_address: Arc::default(),
            memory: Arc::new(Semaphore::new(memory.min(u32::MAX as usize))),
            answers: Arc::new(Semaphore::new(BROKER_ANSWERS_BYTES_MAX)),
            began: Instant::now(),
            complaints: AtomicU64::new(0),
        }
    }

    /// A place for a connection of an address; `None` when there is none left.
    pub(super) fn place(&self, address: IpAddr) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut by_address = self.by_address.lock();
        let taken = by_address.entry(address).or_default();
        if *taken >= self.limits.connections_per_address {
            return None;
        }
        *taken += 1;
        drop(by_address);
        Some(Place { address, by_address: Arc::clone(&self.by_address), _place: place })
    }

    /// Waits for memory for a large request; never more than there is at all.
    ///
    /// # Cancel safety
    /// Safe; the place in the queue is lost.
    pub(super) async fn memory(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.memory).acquire_many_owned(bytes).await.ok()
    }

    /// Waits for memory for an answer that brings records.
    ///
    /// # Cancel safety
    /// Safe; the place in the queue is lost.
    pub(crate) async fn answer_memory(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.min(BROKER_ANSWERS_BYTES_MAX) as u32;
        Arc::clone(&self.answers).acquire_many_owned(bytes).await.ok()
    }

    /// Whether one more line about a misbehaving client may be written now.
    pub(super) fn may_complain(&self) -> bool {
        let second = self.began.elapsed().as_secs();
        let next = |state: u64| {
            let count = if state >> 16 == second { state & 0xffff } else { 0 };
            (count < BROKER_COMPLAINTS_PER_SECOND_MAX).then_some(second << 16 | (count + 1))
        };
        self.complaints.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock();
        if let Some(taken) = by_address.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    #[test]
    fn one_address_does_not_take_the_places_of_others() {
        let limits = Limits { connections: 3, connections_per_address: 2, ..Limits::default() };
        let bounds = Bounds::new(limits);
        let first = bounds.place(HERE).unwrap();
        let _second = bounds.place(HERE).unwrap();
        assert!(bounds.place(HERE).is_none());
        let _other = bounds.place(THERE).unwrap();
        assert!(bounds.place(THERE).is_none());
        drop(first);
        assert!(bounds.place(HERE).is_some());
    }

    #[test]
    fn complaints_end_within_a_second() {
        let bounds = Bounds::new(Limits::default());
        let said = (0..100_000).filter(|_| bounds.may_complain()).count() as u64;
        let seconds = bounds.began.elapsed().as_secs() + 1;
        assert!(said >= BROKER_COMPLAINTS_PER_SECOND_MAX);
        assert!(said <= BROKER_COMPLAINTS_PER_SECOND_MAX * seconds);
    }
}
