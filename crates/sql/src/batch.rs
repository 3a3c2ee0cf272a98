//! What goes into SQL and what comes out: rows, batches, rejections.
//!
//! A [`DecodedBatch`] passes between steps without becoming JSON again. Each of its
//! rows knows which input row it came from, so that keys, headers and offsets stay
//! with the caller. The invariant: rows stand in the order of the input, and every
//! input row is in the batch, rejected, or dropped by a filter, never two of them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, StringBuilder, TimestampMicrosecondArray, UInt64Array,
};
use bytes::Bytes;
use courant_model::{Columns, StoredRecord, Timestamp};

use crate::{civil, encode};

/// One record as SQL sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowInput<'a> {
    pub key: Option<&'a [u8]>,
    /// JSON text; `None` is a tombstone, which no statement takes.
    pub value: Option<&'a [u8]>,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
}

/// What a run may know beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunContext {
    /// The time that `now()` and its kin give, the same for a whole batch.
    pub now: Timestamp,
}

/// An input row set aside, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Index of the row in the input.
    pub row: usize,
    /// What did not fit; lower case, no full stop.
    pub reason: String,
}

/// The result of decoding or of a statement: the rows that passed, and those set aside.
#[derive(Debug, Clone)]
pub struct Output {
    pub batch: DecodedBatch,
    /// In the order of the input.
    pub rejected: Vec<Rejection>,
}

/// Rows as columns. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DecodedBatch {
    pub(crate) columns: Arc<Columns>,
    /// One canonical array for each column, as long as `rows`.
    pub(crate) values: Vec<ArrayRef>,
    /// One array for each of the metadata columns.
    pub(crate) metadata: Vec<ArrayRef>,
    pub(crate) rows: Arc<[usize]>,
}

impl<'a> From<&'a StoredRecord> for RowInput<'a> {
    fn from(stored: &'a StoredRecord) -> Self {
        Self {
            key: stored.record.key.as_deref(),
            value: stored.record.value.as_deref(),
            topic: stored.topic.as_str(),
            partition: stored.partition,
            offset: stored.offset,
            timestamp: stored.record.timestamp,
        }
    }
}

impl DecodedBatch {
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Index in the input of every row of the batch, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes every row as a JSON object with the columns in order.
    ///
    /// The values share one buffer, which lives as long as any of them: whoever keeps
    /// a value for long copies it.
    pub fn encode(&self) -> Vec<Bytes> {
        encode::objects(&self.columns, &self.values, self.len())
    }

    /// Takes the rows at the positions, which ascend.
    pub(crate) fn take_metadata(&self, positions: &[usize]) -> (Vec<ArrayRef>, Arc<[usize]>) {
        let indices: UInt64Array = positions.iter().map(|position| *position as u64).collect();
        let metadata = self
            .metadata
            .iter()
            .map(|array| {
                arrow::compute::take(array, &indices, None).expect("positions lie in the batch")
            })
            .collect();
        (metadata, positions.iter().map(|position| self.rows[*position]).collect())
    }
}

/// The metadata columns of the rows.
pub(crate) fn metadata_of<'a>(
    rows: impl ExactSizeIterator<Item = &'a RowInput<'a>> + Clone,
) -> Vec<ArrayRef> {
    let (mut keys, mut topics) = (StringBuilder::new(), StringBuilder::new());
    for row in rows.clone() {
        keys.append_option(row.key.and_then(|key| std::str::from_utf8(key).ok()));
        topics.append_value(row.topic);
    }
    let timestamp = |row: &RowInput<'_>| {
        (row.timestamp != Timestamp::NONE)
            .then(|| civil::instant_of_millis(row.timestamp.as_millis()))?
    };
    vec![
        Arc::new(keys.finish()),
        Arc::new(topics.finish()),
        Arc::new(rows.clone().map(|row| row.partition).collect::<Int32Array>()),
        Arc::new(rows.clone().map(|row| row.offset).collect::<Int64Array>()),
        Arc::new(rows.map(timestamp).collect::<TimestampMicrosecondArray>()),
    ]
}
