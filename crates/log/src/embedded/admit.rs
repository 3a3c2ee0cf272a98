//! What a producer's batch must be before it is queued.
//!
//! Everything that the batch and the topic's settings tell is decided here, before
//! the batch has a place: size, format, keys, timestamps, packing. Who wrote it, and
//! whether it repeats an earlier one, is decided by the partition.

use bytes::Bytes;
use courant_model::{Timestamp, TopicPartition, limits::APPEND_UNPACK_BYTES_MAX};

use super::produce;
use crate::{
    LogError, Retention, TimestampSource, TopicSettings,
    batch::{self, BatchError, BatchHeader, Compression, TimestampType},
};

/// Whether a batch may take long to check: unpacking is what costs, and a few bytes may
/// unfold to many.
pub(super) fn takes_long(settings: &TopicSettings, bytes: &[u8]) -> bool {
    let codec = BatchHeader::parse(bytes).and_then(|header| header.compression());
    let is_packed = codec.is_ok_and(|codec| codec != Compression::None);
    bytes.len() > APPEND_UNPACK_BYTES_MAX && (is_packed || settings.compression.is_some())
}

/// Checks a batch and gives it the topic's packing.
///
/// # Errors
/// [`LogError::RecordTooLarge`], [`LogError::CorruptBatch`], [`LogError::InvalidRecord`],
/// [`LogError::InvalidTimestamp`].
pub(super) fn admit(
    partition: &TopicPartition,
    settings: &TopicSettings,
    bytes: Bytes,
    now: Timestamp,
) -> Result<(Bytes, BatchHeader), LogError> {
    let max_bytes = settings.message_bytes_max.as_usize();
    if bytes.len() > max_bytes {
        let (topic, found_bytes) = (partition.topic.clone(), bytes.len());
        return Err(LogError::RecordTooLarge { topic, found_bytes, max_bytes });
    }
    let refused = |why: String| LogError::CorruptBatch { partition: partition.clone(), why };
    let corrupt = |error: BatchError| refused(error.to_string());
    let header = batch::validate(&bytes).map_err(|error| match error.malformed() {
        Some(why) => LogError::InvalidRecord { topic: partition.topic.clone(), why },
        None => corrupt(error),
    })?;
    let producer = header.producer;
    let why = if header.is_control() {
        "its batch is a control batch, which only the log itself writes"
    } else if header.is_transactional() && !producer.is_idempotent() {
        "its batch belongs to a transaction of no producer"
    } else if producer.is_idempotent() && producer.base_sequence < 0 {
        "its batch has a producer, and no sequence"
    } else {
        ""
    };
    if !why.is_empty() {
        return Err(LogError::InvalidRecord { topic: partition.topic.clone(), why });
    }
    if settings.cleanup != Retention::Delete && !batch::has_keys(&bytes) {
        let (topic, why) = (partition.topic.clone(), produce::NEEDS_KEY);
        return Err(LogError::InvalidRecord { topic, why });
    }
    check_timestamps(partition, settings, &bytes, &header, now)?;
    match settings.compression {
        Some(wanted) if wanted != header.compression().map_err(corrupt)? => {
            let (header, bytes) = batch::repack(&bytes, wanted).map_err(corrupt)?;
            Ok((bytes, header))
        }
        _ => Ok((bytes, header)),
    }
}

fn check_timestamps(
    partition: &TopicPartition,
    settings: &TopicSettings,
    bytes: &Bytes,
    header: &BatchHeader,
    now: Timestamp,
) -> Result<(), LogError> {
    let refused = |found: Timestamp, why: String| {
        let (topic, found_ms) = (partition.topic.clone(), found.as_millis());
        Err(LogError::InvalidTimestamp { topic, found_ms, why })
    };
    if header.timestamp_type() == TimestampType::LogAppend {
        let found = Timestamp::from_millis(header.max_timestamp);
        return refused(found, "a producer may not say that it is the log's own".to_owned());
    }
    let (behind, ahead) = (settings.timestamp_behind_max, settings.timestamp_ahead_max);
    if settings.timestamps == TimestampSource::Log || (behind.is_none() && ahead.is_none()) {
        return Ok(());
    }
    let range = batch::timestamps(bytes).map_err(|error| LogError::CorruptBatch {
        partition: partition.clone(),
        why: error.to_string(),
    })?;
    let Some((first, last)) = range.filter(|(first, _)| *first != Timestamp::NONE) else {
        return Ok(());
    };
    let lag = now.as_millis().saturating_sub(first.as_millis());
    let lead = last.as_millis().saturating_sub(now.as_millis());
    if let Some(max) = behind.filter(|max| lag > max.as_millis()) {
        return refused(
            first,
            format!("it lies {lag} ms behind the log's clock, {max} is allowed"),
        );
    }
    if let Some(max) = ahead.filter(|max| lead > max.as_millis()) {
        return refused(
            last,
            format!("it lies {lead} ms ahead of the log's clock, {max} is allowed"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use courant_model::{Record, Span, TopicName};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ErrorCode,
        batch::{BatchSpec, encode},
    };

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn partition() -> TopicPartition {
        TopicPartition::new(TopicName::new("orders").unwrap(), 0)
    }

    fn batch_at(times: &[i64], compression: Compression) -> Bytes {
        let record = |at: &i64| Record::new("a value, a value", Timestamp::from_millis(*at));
        let records: Vec<Record> = times.iter().map(record).collect();
        let spec = BatchSpec::plain(records.len(), compression);
        encode(&spec, (0..).zip(&records)).unwrap().into()
    }

    fn refusal(settings: &TopicSettings, bytes: Bytes) -> ErrorCode {
        admit(&partition(), settings, bytes, NOW).unwrap_err().code()
    }

    #[test]
    fn timestamps_outside_of_the_topics_bounds_are_refused() {
        let settings = TopicSettings {
            timestamp_behind_max: Some(Span::from_millis(1_000)),
            timestamp_ahead_max: Some(Span::from_millis(500)),
            ..TopicSettings::default()
        };
        let plain = |times: &[i64]| batch_at(times, Compression::None);
        admit(&partition(), &settings, plain(&[999_000, 1_000_500]), NOW).unwrap();
        admit(&partition(), &settings, plain(&[-1]), NOW).unwrap();
        for times in [[998_999, 1_000_000], [1_000_000, 1_000_501]] {
            assert_eq!(refusal(&settings, plain(&times)), ErrorCode::InvalidTimestamp);
            let lenient = TopicSettings { timestamps: TimestampSource::Log, ..settings.clone() };
            admit(&partition(), &lenient, plain(&times), NOW).unwrap();
        }
    }

    #[test]
    fn a_batch_that_claims_the_logs_own_time_is_refused() {
        let spec = BatchSpec {
            timestamp_type: TimestampType::LogAppend,
            ..BatchSpec::plain(1, Compression::None)
        };
        let bytes = encode(&spec, [(0, &Record::new("x", NOW))]).unwrap().into();
        assert_eq!(refusal(&TopicSettings::default(), bytes), ErrorCode::InvalidTimestamp);
    }

    proptest! {
        #[test]
        fn a_topics_compression_changes_nothing_but_the_packing(
            times in proptest::collection::vec(0..i64::MAX / 2, 1..20),
            from in 0..5_usize,
            to in 0..5_usize,
        ) {
            use Compression::{Gzip, Lz4, None, Snappy, Zstd};
            let codecs = [None, Gzip, Snappy, Lz4, Zstd];
            let bytes = batch_at(&times, codecs[from]);
            let settings =
                TopicSettings { compression: Some(codecs[to]), ..TopicSettings::default() };
            let (packed, header) = admit(&partition(), &settings, bytes.clone(), NOW).unwrap();
            prop_assert_eq!(header.compression().unwrap(), codecs[to]);
            prop_assert_eq!(batch::validate(&packed).unwrap(), header);
            prop_assert_eq!(batch::decode(&packed).unwrap().1, batch::decode(&bytes).unwrap().1);
        }
    }
}
