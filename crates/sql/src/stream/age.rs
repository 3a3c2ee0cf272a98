//! Event time and origin, as they stand before every value of the state.

use courant_model::Origin;

use super::{
    delta::{Fact, oldest},
    state::StateError,
};

/// Bytes of an age: event time and origin in microseconds, big endian.
pub(super) const AGE_BYTES: usize = 16;

/// Stands for an origin that is not known.
const NO_ORIGIN: i64 = i64::MAX;

/// Event time and origin of what a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Age {
    /// The largest that contributed, in microseconds.
    pub(super) time: i64,
    /// The oldest that contributed.
    pub(super) origin: Option<Origin>,
}

impl Age {
    pub(super) fn of(fact: &Fact) -> Self {
        Self { time: fact.time, origin: fact.origin }
    }

    /// The age of both together.
    pub(super) fn with(self, other: Self) -> Self {
        Self { time: self.time.max(other.time), origin: oldest(self.origin, other.origin) }
    }

    /// Writes a value: the age, then its content.
    pub(super) fn before(self, content: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(AGE_BYTES + content.len());
        value.extend_from_slice(&self.time.to_be_bytes());
        let origin = self.origin.map_or(NO_ORIGIN, Origin::as_micros);
        value.extend_from_slice(&origin.to_be_bytes());
        value.extend_from_slice(content);
        value
    }

    /// Reads the age of a value.
    ///
    /// # Errors
    /// When the value is too short to have one: no task has written it.
    pub(super) fn read(value: &[u8]) -> Result<Self, StateError> {
        let number = |at: usize| Some(i64::from_be_bytes(*value.get(at..)?.first_chunk()?));
        let (Some(time), Some(origin)) = (number(0), number(8)) else {
            return Err(StateError::broken("a value of the state is too short"));
        };
        let origin = (origin != NO_ORIGIN).then(|| Origin::from_micros(origin));
        Ok(Self { time, origin })
    }
}
