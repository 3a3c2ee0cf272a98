//! Kafka's record batch, version 2: the bytes that the log keeps verbatim.
//!
//! Producers hand batches in, the segment keeps them, consumers get them back;
//! only the base offset and the leader epoch are written by the log, both outside
//! the checksum. [`BatchHeader`] is a view of the first 61 bytes, [`decode`] opens
//! a whole batch, [`encode()`] builds one. Whatever bytes come in, nothing here
//! panics or reserves more than [`limits::BATCH_UNCOMPRESSED_BYTES_MAX`].
//! It knows nothing of files, partitions or producers' states.
//!
//! [`limits::BATCH_UNCOMPRESSED_BYTES_MAX`]: courant_model::limits::BATCH_UNCOMPRESSED_BYTES_MAX

mod compression;
mod control;
mod encode;
mod header;
mod record;
#[cfg(test)]
mod tests;
mod varint;

use bytes::Bytes;
use courant_model::{Offset, Record, Timestamp};

pub(crate) use self::header::{advance_sequence, stamp};
use self::record::{RecordView, RecordViews};
pub use self::{
    compression::Compression,
    control::{Marker, encode_marker},
    encode::{BatchSpec, encode},
    header::{BatchHeader, HEADER_BYTES, Producer, TimestampType, rewrite_place},
};

/// Why bytes are no record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("it ends after {found} bytes, {needed} are needed")]
    Torn { needed: usize, found: usize },
    #[error("its format is version {magic}; only version 2 is kept")]
    Magic { magic: i8 },
    #[error("its length field says {length} bytes")]
    Length { length: i32 },
    #[error("it is {found} bytes large, {max} are allowed")]
    TooLarge { found: usize, max: usize },
    #[error("its checksum is {found:#010x}, its bytes give {computed:#010x}")]
    Checksum { found: u32, computed: u32 },
    #[error("its record count {count} does not fit its last offset delta {last_offset_delta}")]
    Count { count: i32, last_offset_delta: i32 },
    #[error("its compression code {code} is unknown")]
    Compression { code: i16 },
    #[error("its {codec} body does not unpack: {why}")]
    Unpack { codec: &'static str, why: String },
    #[error("its body unfolds to more than {max} bytes")]
    Bomb { max: usize },
    #[error("record {index} in it is malformed: {why}")]
    Record { index: i32, why: &'static str },
    #[error("{found} bytes follow its last record")]
    Trailing { found: usize },
    #[error("it starts at offset {found}, which does not follow on {expected}")]
    OutOfOrder { found: Offset, expected: Offset },
}

impl BatchError {
    /// What is wrong with a batch that arrived whole, so that sending it again is of no
    /// use; `None` for one that was damaged on its way.
    pub const fn malformed(&self) -> Option<&'static str> {
        match self {
            Self::Torn { .. } | Self::Length { .. } | Self::TooLarge { .. } => None,
            Self::Checksum { .. } | Self::OutOfOrder { .. } => None,
            Self::Magic { .. } => Some("its batch is not of version 2"),
            Self::Count { .. } => Some("its batch counts its records wrongly"),
            Self::Compression { .. } => Some("its batch is compressed in an unknown way"),
            Self::Unpack { .. } => Some("its batch does not unpack"),
            Self::Bomb { .. } => Some("its batch unfolds to more than is allowed"),
            Self::Record { .. } => Some("a record of its batch is malformed"),
            Self::Trailing { .. } => Some("bytes follow its batch"),
        }
    }
}

/// A record at its offset, as it comes out of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedRecord {
    pub offset: Offset,
    pub record: Record,
}

/// A batch whose checksum was verified and whose body is unpacked.
#[derive(Debug, Clone)]
pub struct OpenBatch {
    header: BatchHeader,
    body: Bytes,
}

impl OpenBatch {
    /// Verifies and unpacks the batch at the front of `bytes`. Without compression
    /// the body stays a slice of `bytes`.
    ///
    /// # Errors
    /// Any [`BatchError`] of the header, the checksum or the compressed body.
    pub fn open(bytes: &Bytes) -> Result<Self, BatchError> {
        let header = check(bytes)?;
        let body = bytes.slice(HEADER_BYTES..header.size_bytes());
        let body = header.compression()?.unpack(body)?;
        Ok(Self { header, body })
    }

    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records in order. Keys and values are slices of the body, not copies.
    /// The iterator ends after the first error.
    pub fn records(&self) -> impl Iterator<Item = Result<DecodedRecord, BatchError>> + '_ {
        self.records_from(self.header.base_offset)
    }

    /// The records from an offset on; those before it are only stepped over.
    pub fn records_from(
        &self,
        from: Offset,
    ) -> impl Iterator<Item = Result<DecodedRecord, BatchError>> + '_ {
        let skip = from - self.header.base_offset;
        RecordViews::new(&self.body, &self.header)
            .skip_while(move |view| {
                view.as_ref().is_ok_and(|view| i64::from(view.offset_delta) < skip)
            })
            .map(|view| view.and_then(|view| self.materialise(&view)))
    }

    fn materialise(&self, view: &RecordView) -> Result<DecodedRecord, BatchError> {
        let timestamp = match self.header.timestamp_type() {
            TimestampType::Create => self.header.base_timestamp.wrapping_add(view.timestamp_delta),
            TimestampType::LogAppend => self.header.max_timestamp,
        };
        let slice = |range: &std::ops::Range<usize>| self.body.slice(range.clone());
        let record = Record {
            key: view.key.as_ref().map(slice),
            value: view.value.as_ref().map(slice),
            headers: view.headers(&self.body)?,
            timestamp: Timestamp::from_millis(timestamp),
        };
        let offset = self.header.base_offset.saturating_add(i64::from(view.offset_delta));
        Ok(DecodedRecord { offset, record })
    }
}

/// Verifies length, version, counts and checksum of the batch at the front of
/// `bytes`, without looking at its records.
///
/// # Errors
/// Any [`BatchError`] of the header or the checksum.
pub fn check(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    let size = header.size_bytes();
    if bytes.len() < size {
        return Err(BatchError::Torn { needed: size, found: bytes.len() });
    }
    let computed = crc32c::crc32c(&bytes[header::CRC_COVERS_FROM..size]);
    if computed != header.crc {
        return Err(BatchError::Checksum { found: header.crc, computed });
    }
    Ok(header)
}

/// Verifies all that [`check`] does and every record too, as a producer's batch
/// must be: dense offsets, nothing after it, at least one record. Nothing is
/// copied unless the body is compressed.
///
/// # Errors
/// Any [`BatchError`].
pub fn validate(bytes: &Bytes) -> Result<BatchHeader, BatchError> {
    let open = OpenBatch::open(bytes)?;
    let header = open.header;
    if bytes.len() > header.size_bytes() {
        return Err(BatchError::Trailing { found: bytes.len() - header.size_bytes() });
    }
    if header.count == 0 || header.count != header.last_offset_delta.saturating_add(1) {
        let BatchHeader { count, last_offset_delta, .. } = header;
        return Err(BatchError::Count { count, last_offset_delta });
    }
    for (index, view) in (0..).zip(RecordViews::new(&open.body, &header)) {
        if view?.offset_delta != index {
            return Err(BatchError::Record { index, why: "its offset is not dense" });
        }
    }
    Ok(header)
}

/// Packs a batch's body another way; everything but its size stays.
///
/// # Errors
/// Any [`BatchError`] of a body that does not unpack.
pub fn repack(bytes: &Bytes, compression: Compression) -> Result<(BatchHeader, Bytes), BatchError> {
    let open = OpenBatch::open(bytes)?;
    let mut batch = vec![0; HEADER_BYTES];
    compression.pack(&open.body, &mut batch)?;
    open.header.packed_by(compression).seal(&mut batch);
    Ok((BatchHeader::parse(&batch)?, batch.into()))
}

/// The smallest and the largest timestamp of a batch's records.
///
/// # Errors
/// Any [`BatchError`].
pub fn timestamps(bytes: &Bytes) -> Result<Option<(Timestamp, Timestamp)>, BatchError> {
    let open = OpenBatch::open(bytes)?;
    let mut range: Option<(i64, i64)> = None;
    for view in RecordViews::new(&open.body, &open.header) {
        let at = open.header.base_timestamp.wrapping_add(view?.timestamp_delta);
        range = Some(range.map_or((at, at), |(min, max)| (min.min(at), max.max(at))));
    }
    Ok(range.map(|(min, max)| (Timestamp::from_millis(min), Timestamp::from_millis(max))))
}

/// Whether every record of a validated batch has a key.
pub fn has_keys(bytes: &Bytes) -> bool {
    OpenBatch::open(bytes).is_ok_and(|open| {
        RecordViews::new(&open.body, &open.header)
            .all(|view| view.is_ok_and(|view| view.key.is_some()))
    })
}

/// Decodes the batch at the front of `bytes` into its header and records.
///
/// # Errors
/// Any [`BatchError`].
pub fn decode(bytes: &Bytes) -> Result<(BatchHeader, Vec<DecodedRecord>), BatchError> {
    let open = OpenBatch::open(bytes)?;
    let records = open.records().collect::<Result<_, _>>()?;
    Ok((open.header, records))
}

/// Splits concatenated batches without verifying checksums; ends at the first
/// bytes that are no whole batch.
pub fn split(bytes: &Bytes) -> impl Iterator<Item = (BatchHeader, Bytes)> {
    let mut rest = bytes.clone();
    std::iter::from_fn(move || {
        let header = BatchHeader::parse(&rest).ok()?;
        let size = header.size_bytes();
        (size <= rest.len()).then(|| (header, rest.split_to(size)))
    })
}
