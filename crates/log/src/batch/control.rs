//! Control batches: the markers that end a transaction on a partition.
//!
//! One record each; its key says the kind (version 0, then 0 for abort and 1 for
//! commit, as `int16`), its value the coordinator's epoch. They take offsets like
//! data and are hidden from readers.

use bytes::{BufMut, Bytes, BytesMut};
use courant_model::{Record, Timestamp};

use super::{BatchError, BatchSpec, Compression, OpenBatch, Producer, encode};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
}

impl Marker {
    /// Reads the marker of a control batch; `None` for a kind that is not a
    /// transaction's end, which readers step over.
    ///
    /// # Errors
    /// Any [`BatchError`] of the record.
    pub fn of(batch: &OpenBatch) -> Result<Option<Self>, BatchError> {
        let Some(record) = batch.records().next().transpose()? else { return Ok(None) };
        let Some(key) = record.record.key else { return Ok(None) };
        Ok(match key.get(2..4) {
            Some([0, 0]) => Some(Self::Abort),
            Some([0, 1]) => Some(Self::Commit),
            _ => None,
        })
    }
}

/// Builds the control batch that ends a producer's transaction.
///
/// # Errors
/// None that is known; it shares [`encode()`]'s signature.
pub fn encode_marker(
    marker: Marker,
    producer_id: i64,
    epoch: i16,
    now: Timestamp,
) -> Result<Bytes, BatchError> {
    let mut key = BytesMut::with_capacity(4);
    key.put_i16(0);
    key.put_i16(match marker {
        Marker::Abort => 0,
        Marker::Commit => 1,
    });
    let mut value = BytesMut::with_capacity(6);
    value.put_i16(0);
    value.put_i32(0);
    let record = Record::new(value.freeze(), now).with_key(key.freeze());
    let spec = BatchSpec {
        transactional: true,
        control: true,
        producer: Producer { id: producer_id, epoch, base_sequence: -1 },
        ..BatchSpec::plain(1, Compression::None)
    };
    encode(&spec, [(0, &record)]).map(Bytes::from)
}
