//! From records to batches: what an append from inside the process does.
//!
//! Gives every record its partition, packs the records of a partition into batches
//! of a bounded size, and refuses the whole call if one record is too large. The
//! packing is pure; handing over and waiting is done by the caller. Markers, which
//! end transactions, are built here too.

use std::sync::Arc;

use bytes::Bytes;
use courant_model::{PartitionId, Record, Timestamp, TopicName, limits};

use super::{
    core::{Core, Pending},
    topic::Topic,
};
use crate::{
    LogError, ProducerIdentity, Retention,
    batch::{
        self, BatchHeader, BatchSpec, Compression, HEADER_BYTES, Marker, Producer, encode,
        encode_marker,
    },
    partition::Partition,
    partition_of,
};

/// A batch for a partition, with the places of its records in the call.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) partition: PartitionId,
    pub(super) batch: Bytes,
    pub(super) header: BatchHeader,
    /// Indexes into the caller's records, in order.
    pub(super) places: Vec<usize>,
}

/// Why a compacted topic refuses a record.
pub(super) const NEEDS_KEY: &str = "it has no key, and the topic is compacted by key";

/// Lengths and deltas around a record's bodies, at most.
const RECORD_OVERHEAD_BYTES: usize = 48;
/// The same for each of its headers.
const HEADER_OVERHEAD_BYTES: usize = 10;

/// How the batches of a call are to be built.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    pub(super) compression: Compression,
    pub(super) now: Timestamp,
    /// Whose transaction the records belong to, if any.
    pub(super) producer: Option<ProducerIdentity>,
}

/// Packs the records of one call.
///
/// # Errors
/// [`LogError::RecordTooLarge`]; [`LogError::InvalidRecord`] for a record without a
/// key in a compacted topic or with too many headers.
pub(super) fn pack(
    topic: &Topic,
    partition: Option<PartitionId>,
    mut records: Vec<Record>,
    packing: Packing,
) -> Result<Vec<Packed>, LogError> {
    let settings = topic.settings();
    let needs_key = settings.cleanup != Retention::Delete;
    for record in &mut records {
        check(&topic.name, record, needs_key)?;
        if record.timestamp == Timestamp::NONE {
            record.timestamp = packing.now;
        }
    }
    let bytes_max = settings.message_bytes_max.as_usize();
    let mut packed = Vec::new();
    for (partition, places) in by_partition(topic, partition, &records)? {
        let mut rest = places.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(&records, rest, bytes_max));
            packed.push(pack_one(&topic.name, partition, &records, batch, packing, bytes_max)?);
            rest = after;
        }
    }
    Ok(packed)
}

/// Hands the end of a producer's transaction over to a partition.
///
/// # Errors
/// [`LogError::Closed`].
pub(super) async fn submit_marker(
    core: &Core,
    partition: Arc<Partition>,
    producer: ProducerIdentity,
    marker: Marker,
) -> Result<Pending, LogError> {
    let corrupt = |error: batch::BatchError| LogError::CorruptBatch {
        partition: partition.name().clone(),
        why: error.to_string(),
    };
    let now = core.environment.clock.now();
    let bytes = encode_marker(marker, producer.id, producer.epoch, now).map_err(corrupt)?;
    let header = BatchHeader::parse(&bytes).map_err(corrupt)?;
    core.submit(partition, bytes, header, Some(marker)).await
}

fn check(topic: &TopicName, record: &Record, needs_key: bool) -> Result<(), LogError> {
    let why = if needs_key && record.key.is_none() {
        NEEDS_KEY
    } else if record.headers.len() > limits::HEADERS_PER_RECORD_MAX {
        "it has more headers than are allowed"
    } else {
        return Ok(());
    };
    Err(LogError::InvalidRecord { topic: topic.clone(), why })
}

/// The places of the records by partition, in order within each.
fn by_partition(
    topic: &Topic,
    partition: Option<PartitionId>,
    records: &[Record],
) -> Result<Vec<(PartitionId, Vec<usize>)>, LogError> {
    let count = topic.count();
    if let Some(partition) = partition.or((count == 1).then_some(0)) {
        topic.partition(partition)?;
        return Ok(vec![(partition, (0..records.len()).collect())]);
    }
    let mut turn = None;
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); count as usize];
    for (place, record) in records.iter().enumerate() {
        let partition = match &record.key {
            Some(key) => partition_of(key, count),
            None => *turn.get_or_insert_with(|| topic.next_turn()) % count,
        };
        places[partition as usize].push(place);
    }
    Ok((0..).zip(places).filter(|(_, places)| !places.is_empty()).collect())
}

/// How many of these records go into one batch; at least one.
fn batch_length(records: &[Record], places: &[usize], bytes_max: usize) -> usize {
    let room = limits::APPEND_BATCH_BYTES.min(bytes_max.saturating_sub(HEADER_BYTES));
    let mut bytes = 0;
    let fits = places.iter().take(limits::BATCH_RECORDS_MAX).take_while(|place| {
        let record = &records[**place];
        bytes += record.size_bytes()
            + RECORD_OVERHEAD_BYTES
            + record.headers.len() * HEADER_OVERHEAD_BYTES;
        bytes <= room
    });
    fits.count().max(1)
}

fn pack_one(
    topic: &TopicName,
    partition: PartitionId,
    records: &[Record],
    places: &[usize],
    packing: Packing,
    bytes_max: usize,
) -> Result<Packed, LogError> {
    let numbered = || (0..).zip(places.iter().map(|place| &records[*place]));
    let corrupt = |error: batch::BatchError| LogError::CorruptBatch {
        partition: courant_model::TopicPartition::new(topic.clone(), partition),
        why: error.to_string(),
    };
    let Packing { compression, producer, .. } = packing;
    let spec = BatchSpec {
        transactional: producer.is_some(),
        producer: producer.map_or(Producer::NONE, ProducerIdentity::without_sequence),
        ..BatchSpec::plain(places.len(), compression)
    };
    let mut batch = encode(&spec, numbered()).map_err(corrupt)?;
    if batch.len() > bytes_max && compression != Compression::None {
        // What does not compress may grow a little; it may still fit as it is.
        batch = encode(&BatchSpec { compression: Compression::None, ..spec }, numbered())
            .map_err(corrupt)?;
    }
    if batch.len() > bytes_max {
        let (found_bytes, max_bytes) = (batch.len(), bytes_max);
        return Err(LogError::RecordTooLarge { topic: topic.clone(), found_bytes, max_bytes });
    }
    let header = BatchHeader::parse(&batch).map_err(corrupt)?;
    Ok(Packed { partition, batch: Bytes::from(batch), header, places: places.to_vec() })
}
