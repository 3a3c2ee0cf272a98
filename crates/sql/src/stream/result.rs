//! What comes out of a task: changes of result rows, and rows that made none.

use bytes::Bytes;
use courant_model::Origin;

use super::age::{AGE_BYTES, Age};
use crate::batch::Rejection;

/// A result row that came, changed or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Key of the row in the table [`RESULTS`](super::RESULTS); empty when results are appended.
    pub key: Vec<u8>,
    /// Key of the record that tells the change: the text of a single key column of type
    /// string, else a JSON object of the key columns; `None` when results are appended.
    pub record_key: Option<Bytes>,
    /// The row as a JSON object; `None`: it is gone.
    pub value: Option<Bytes>,
    /// The largest event time that contributed.
    pub event_time_micros: i64,
    /// The oldest origin that contributed.
    pub origin: Option<Origin>,
}

/// What a batch or the passing of time led to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emitted {
    /// In the order in which they happened; one for each key.
    pub changes: Vec<Change>,
    /// Indexes of rows that came too late for all their windows, ascending.
    pub late: Vec<usize>,
    /// Rows set aside, ascending.
    pub rejected: Vec<Rejection>,
    /// The largest event time of the batch's rows.
    pub event_time_max_micros: Option<i64>,
}

/// A row of the table [`RESULTS`](super::RESULTS), as its value holds it: event time and
/// origin (8 bytes each, big endian), then the JSON of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    pub event_time_micros: i64,
    pub origin: Option<Origin>,
    /// A JSON object.
    pub row: Bytes,
}

impl StoredResult {
    /// Reads a value of the table; `None` when it is none.
    pub fn decode(value: &Bytes) -> Option<Self> {
        let Age { time, origin } = Age::read(value).ok()?;
        Some(Self { event_time_micros: time, origin, row: value.slice(AGE_BYTES..) })
    }
}
