//! Building a record batch from records.
//!
//! Used by appends from inside the process, which have no batch yet, and by
//! compaction, which writes what is left of one: there offsets have gaps, the
//! sequence stays, and the base timestamp may carry the delete horizon.

use courant_model::{Offset, Record};

use super::{
    BatchError, Compression, HEADER_BYTES, Producer, TimestampType,
    header::{self, BatchHeader},
    record,
};

/// What a batch is to say besides its records.
#[derive(Debug, Clone, Copy)]
pub struct BatchSpec {
    pub base_offset: Offset,
    /// At least the last record's; more where compaction took records away.
    pub last_offset_delta: i32,
    pub compression: Compression,
    pub timestamp_type: TimestampType,
    pub transactional: bool,
    pub control: bool,
    pub producer: Producer,
    /// When tombstones and markers may go, in milliseconds since the epoch.
    pub delete_horizon: Option<i64>,
    /// The largest timestamp; that of the records if `None`.
    pub max_timestamp: Option<i64>,
}

impl BatchSpec {
    /// A batch of so many records from no producer in particular, without a place.
    pub fn plain(records: usize, compression: Compression) -> Self {
        Self {
            base_offset: 0,
            last_offset_delta: i32::try_from(records.saturating_sub(1)).unwrap_or(i32::MAX),
            compression,
            timestamp_type: TimestampType::Create,
            transactional: false,
            control: false,
            producer: Producer::NONE,
            delete_horizon: None,
            max_timestamp: None,
        }
    }
}

/// Builds a batch of records, each with its offset less the batch's base offset.
///
/// # Errors
/// [`BatchError::Unpack`] if a codec fails, which it does for no bytes that we know.
pub fn encode<'a>(
    spec: &BatchSpec,
    records: impl IntoIterator<Item = (i32, &'a Record)>,
) -> Result<Vec<u8>, BatchError> {
    let mut records = records.into_iter().peekable();
    let first = records.peek().map(|(_, record)| record.timestamp.as_millis());
    let base_timestamp = spec.delete_horizon.or(first).or(spec.max_timestamp).unwrap_or(-1);
    let (mut count, mut max_timestamp) = (0, i64::MIN);
    let mut body = Vec::new();
    if spec.compression == Compression::None {
        body.resize(HEADER_BYTES, 0);
    }
    for (offset_delta, record) in records {
        let timestamp = record.timestamp.as_millis();
        record::write(&mut body, offset_delta, timestamp.wrapping_sub(base_timestamp), record);
        max_timestamp = max_timestamp.max(timestamp);
        count += 1;
    }
    let mut batch = body;
    if spec.compression != Compression::None {
        let body = std::mem::replace(&mut batch, vec![0; HEADER_BYTES]);
        spec.compression.pack(&body, &mut batch)?;
    }
    let found = if count == 0 { -1 } else { max_timestamp };
    let header = BatchHeader {
        base_offset: spec.base_offset,
        length: 0,
        leader_epoch: 0,
        crc: 0,
        attributes: header::attributes(
            spec.compression,
            spec.timestamp_type,
            spec.transactional,
            spec.control,
            spec.delete_horizon.is_some(),
        ),
        last_offset_delta: spec.last_offset_delta,
        base_timestamp,
        max_timestamp: spec.max_timestamp.unwrap_or(found),
        producer: spec.producer,
        count,
    };
    header.seal(&mut batch);
    Ok(batch)
}
