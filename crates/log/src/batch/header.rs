//! The first 61 bytes of a record batch, as a view.
//!
//! Field by field as Kafka's `DefaultRecordBatch` lays them out, big-endian. The
//! checksum covers everything from the attributes on, so that base offset and
//! leader epoch can be rewritten without computing it again. Parsing bounds every
//! field; whether the checksum holds is asked in the parent module.

use courant_model::{
    Offset, Timestamp,
    limits::{BATCH_RECORDS_MAX, MESSAGE_BYTES_MAX},
};

use super::{BatchError, Compression};
use crate::ProducerIdentity;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// Base offset and length: what stands before the bytes that the length counts.
const LENGTH_PREFIX_BYTES: usize = 12;

/// The checksum covers the batch from the attributes to its end.
pub(super) const CRC_COVERS_FROM: usize = 21;

/// Room above [`MESSAGE_BYTES_MAX`] for the header and the record's own fields.
const BATCH_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;

const COMPRESSION_MASK: i16 = 0b0000_0111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// The header of a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes after the length field.
    pub length: i32,
    pub leader_epoch: i32,
    pub crc: u32,
    /// Compression, timestamp type, transactional, control, delete horizon.
    pub attributes: i16,
    /// Offset of the last record less the base offset, also after compaction took
    /// that record away.
    pub last_offset_delta: i32,
    /// What timestamp deltas are added to; the delete horizon where there is one.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer: Producer,
    /// Records in the batch; 0 where compaction kept the shell for its sequence.
    pub count: i32,
}

/// Who wrote a batch, for idempotence and transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// -1: not idempotent.
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

/// What the timestamps of a batch mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    Create,
    /// The log's, the same for all records of the batch.
    LogAppend,
}

impl Producer {
    /// A producer without idempotence.
    pub const NONE: Self = Self { id: -1, epoch: -1, base_sequence: -1 };

    /// The producer without its place in the sequence.
    pub const fn identity(&self) -> ProducerIdentity {
        ProducerIdentity { id: self.id, epoch: self.epoch }
    }

    /// Whether sequences are to be checked.
    pub const fn is_idempotent(&self) -> bool {
        self.id >= 0
    }
}

impl BatchHeader {
    /// Reads the header at the front of `bytes` and bounds its fields; the records
    /// need not be there yet.
    ///
    /// # Errors
    /// [`BatchError::Torn`], [`BatchError::Length`], [`BatchError::TooLarge`],
    /// [`BatchError::Magic`], [`BatchError::Count`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Torn { needed: HEADER_BYTES, found: bytes.len() });
        };
        let header = Self::read(bytes);
        let found = usize::try_from(header.length).unwrap_or(0) + LENGTH_PREFIX_BYTES;
        if found < HEADER_BYTES || header.base_offset < 0 {
            return Err(BatchError::Length { length: header.length });
        }
        if found > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge { found, max: BATCH_BYTES_MAX });
        }
        let magic = i8::from_be_bytes([bytes[16]]);
        if magic != 2 {
            return Err(BatchError::Magic { magic });
        }
        let Self { count, last_offset_delta, .. } = header;
        let in_bounds = (0..=BATCH_RECORDS_MAX as i32).contains(&count);
        let fits = last_offset_delta >= 0 && count <= last_offset_delta.saturating_add(1);
        let ends = header.base_offset.checked_add(i64::from(last_offset_delta) + 1).is_some();
        if !(in_bounds && fits && ends) {
            return Err(BatchError::Count { count, last_offset_delta });
        }
        Ok(header)
    }

    fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            length: i32::from_be_bytes(field(bytes, 8)),
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer: Producer {
                id: i64::from_be_bytes(field(bytes, 43)),
                epoch: i16::from_be_bytes(field(bytes, 51)),
                base_sequence: i32::from_be_bytes(field(bytes, 53)),
            },
            count: i32::from_be_bytes(field(bytes, 57)),
        }
    }

    /// Writes the header before the body that follows it in `batch`, with length
    /// and checksum computed from what is there.
    pub(super) fn seal(mut self, batch: &mut [u8]) {
        self.length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).unwrap_or(i32::MAX);
        batch[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        batch[8..12].copy_from_slice(&self.length.to_be_bytes());
        batch[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        batch[16] = 2;
        batch[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        batch[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        batch[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[43..51].copy_from_slice(&self.producer.id.to_be_bytes());
        batch[51..53].copy_from_slice(&self.producer.epoch.to_be_bytes());
        batch[53..57].copy_from_slice(&self.producer.base_sequence.to_be_bytes());
        batch[57..61].copy_from_slice(&self.count.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }

    /// Bytes of the whole batch, header included.
    pub fn size_bytes(&self) -> usize {
        usize::try_from(self.length).unwrap_or(0) + LENGTH_PREFIX_BYTES
    }

    /// Offset of the last record, also where compaction took it away.
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Sequence number of the last record; sequences wrap to 0 after `i32::MAX`.
    pub fn last_sequence(&self) -> i32 {
        advance_sequence(self.producer.base_sequence, self.last_offset_delta)
    }

    /// The same batch with its body packed another way, or not at all.
    pub(super) const fn packed_by(mut self, compression: Compression) -> Self {
        self.attributes = (self.attributes & !COMPRESSION_MASK) | compression.code();
        self
    }

    /// How the records are packed.
    ///
    /// # Errors
    /// [`BatchError::Compression`] for a code that Kafka does not know.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_code(self.attributes & COMPRESSION_MASK)
    }

    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME == 0 {
            TimestampType::Create
        } else {
            TimestampType::LogAppend
        }
    }

    /// Whether the batch belongs to a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a transaction's end marker instead of data.
    pub const fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When tombstones and markers of this batch may go, in milliseconds since the
    /// epoch; set by the first compaction that met them.
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }
}

/// The attribute bits of a batch.
pub(super) fn attributes(
    compression: Compression,
    timestamp_type: TimestampType,
    transactional: bool,
    control: bool,
    delete_horizon: bool,
) -> i16 {
    let bit = |set: bool, bit: i16| if set { bit } else { 0 };
    compression.code()
        | bit(timestamp_type == TimestampType::LogAppend, LOG_APPEND_TIME)
        | bit(transactional, TRANSACTIONAL)
        | bit(control, CONTROL)
        | bit(delete_horizon, DELETE_HORIZON)
}

/// Writes a batch's place, which lies outside its checksum.
///
/// # Panics
/// If `batch` is shorter than a header: callers have validated it.
pub fn rewrite_place(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Gives a batch the log's own time, in its bytes and in `header`.
///
/// # Panics
/// As [`rewrite_place`].
pub(crate) fn stamp(batch: &mut [u8], header: &mut BatchHeader, at: Timestamp) {
    header.attributes |= LOG_APPEND_TIME;
    header.max_timestamp = at.as_millis();
    batch[21..23].copy_from_slice(&header.attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&header.max_timestamp.to_be_bytes());
    header.crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    batch[17..21].copy_from_slice(&header.crc.to_be_bytes());
}

/// The sequence number `by` steps on; Kafka's wrap to 0 after `i32::MAX`.
pub(crate) fn advance_sequence(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
