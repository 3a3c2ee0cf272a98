//! Record batches: round trips, known bytes, and hostile ones.

use bytes::Bytes;
use courant_model::{Header, Record, Timestamp, limits};
use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn bytes_value() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from))
}

fn record() -> impl Strategy<Value = Record> {
    let header = (".{0,10}", bytes_value()).prop_map(|(name, value)| Header { name, value });
    let headers = prop::collection::vec(header, 0..4);
    (bytes_value(), bytes_value(), headers, any::<i64>()).prop_map(
        |(key, value, headers, timestamp)| Record {
            key,
            value,
            headers,
            timestamp: Timestamp::from_millis(timestamp / 4),
        },
    )
}

fn numbered(records: &[Record]) -> impl Iterator<Item = (i32, &Record)> {
    (0..).zip(records)
}

fn sample(compression: Compression) -> Bytes {
    let records: Vec<Record> = (0..50)
        .map(|i| {
            Record::new(format!("value {i} value value value"), Timestamp::from_millis(1_000 + i))
                .with_key(format!("k{i}"))
                .with_header("h", "x")
        })
        .collect();
    encode(&BatchSpec::plain(records.len(), compression), numbered(&records)).unwrap().into()
}

proptest! {
    #[test]
    fn batches_survive_their_bytes(
        records in prop::collection::vec(record(), 1..20),
        codec in 0..CODECS.len(),
        base in 0..i64::MAX / 2,
        (id, epoch, base_sequence) in any::<(i64, i16, i32)>(),
    ) {
        let producer = Producer { id, epoch, base_sequence };
        let spec = BatchSpec { producer, ..BatchSpec::plain(records.len(), CODECS[codec]) };
        let mut bytes = encode(&spec, numbered(&records)).unwrap();
        rewrite_place(&mut bytes, base, 3);
        let bytes = Bytes::from(bytes);
        let header = validate(&bytes).unwrap();
        prop_assert_eq!((header.base_offset, header.leader_epoch), (base, 3));
        prop_assert_eq!(header.producer, producer);
        prop_assert_eq!(header.compression().unwrap(), CODECS[codec]);
        let largest = records.iter().map(|record| record.timestamp.as_millis()).max();
        prop_assert_eq!(Some(header.max_timestamp), largest);
        let (_, decoded) = decode(&bytes).unwrap();
        for (index, (decoded, record)) in decoded.iter().zip(&records).enumerate() {
            prop_assert_eq!(decoded.offset, base + index as i64);
            prop_assert_eq!(&decoded.record, record);
        }
        prop_assert_eq!(decoded.len(), records.len());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = decode(&bytes);
        let _ = validate(&bytes);
        let _ = split(&bytes).count();
    }

    /// Changes a byte and repairs the checksum, so that the parsers behind it run.
    #[test]
    fn no_changed_byte_panics(codec in 0..CODECS.len(), at in 0_usize..2_000, to: u8) {
        let mut bytes = sample(CODECS[codec]).to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        let crc = crc32c::crc32c(&bytes[header::CRC_COVERS_FROM..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let bytes = Bytes::from(bytes);
        let _ = decode(&bytes);
        let _ = validate(&bytes);
    }

    #[test]
    fn any_flipped_bit_behind_the_place_is_found(codec in 0..CODECS.len(), bit in 0_usize..99_999) {
        let mut bytes = sample(CODECS[codec]).to_vec();
        let bit = 16 * 8 + bit % ((bytes.len() - 16) * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&Bytes::from(bytes)).is_err());
    }

    #[test]
    fn a_torn_batch_is_refused(codec in 0..CODECS.len(), keep in 0_usize..99_999) {
        let bytes = sample(CODECS[codec]);
        let torn = bytes.slice(..keep % bytes.len());
        let refused = matches!(check(&torn), Err(BatchError::Torn { .. }));
        prop_assert!(refused);
    }
}

/// Written by hand from Kafka's documentation of the format.
#[test]
fn a_batch_is_laid_out_as_kafka_says() {
    let record = Record::new("v", Timestamp::from_millis(256)).with_key("k");
    let bytes = encode(&BatchSpec::plain(1, Compression::None), [(0, &record)]).unwrap();
    let expected_after_crc: Vec<u8> = [
        &[0, 0][..],                         // attributes
        &[0, 0, 0, 0],                       // last offset delta
        &[0, 0, 0, 0, 0, 0, 1, 0],           // base timestamp
        &[0, 0, 0, 0, 0, 0, 1, 0],           // max timestamp
        &[0xff; 8],                          // producer id
        &[0xff; 2],                          // producer epoch
        &[0xff; 4],                          // base sequence
        &[0, 0, 0, 1],                       // count
        &[16, 0, 0, 0, 2, b'k', 2, b'v', 0], // the record, zigzag lengths
    ]
    .concat();
    assert_eq!(bytes[..8], [0; 8]);
    assert_eq!(bytes[8..12], 58_i32.to_be_bytes());
    assert_eq!(bytes[16], 2);
    assert_eq!(bytes[17..21], crc32c::crc32c(&expected_after_crc).to_be_bytes());
    assert_eq!(bytes[21..], expected_after_crc);
}

#[test]
fn raw_snappy_is_read_too() {
    let plain = sample(Compression::None);
    let mut raw = sample(Compression::Snappy).to_vec();
    raw.truncate(HEADER_BYTES);
    raw.extend(snap::raw::Encoder::new().compress_vec(&plain[HEADER_BYTES..]).unwrap());
    BatchHeader::parse(&raw).unwrap().seal(&mut raw);
    let records = |bytes: &Bytes| decode(bytes).unwrap().1;
    assert_eq!(records(&Bytes::from(raw)), records(&plain));
}

#[test]
fn a_body_that_unfolds_beyond_the_bound_is_refused() {
    let zeros = vec![0_u8; limits::BATCH_UNCOMPRESSED_BYTES_MAX + 1];
    for codec in &CODECS[1..] {
        let mut bytes = sample(*codec)[..HEADER_BYTES].to_vec();
        let header = BatchHeader::parse(&bytes).unwrap();
        codec.pack(&zeros, &mut bytes).unwrap();
        header.seal(&mut bytes);
        let refused = decode(&Bytes::from(bytes));
        assert!(matches!(refused, Err(BatchError::Bomb { .. })), "{codec:?}: {refused:?}");
    }
}

#[test]
fn a_snappy_block_that_claims_too_much_reserves_nothing() {
    let claim = [0xff, 0xff, 0xff, 0x1f, 0];
    let refused = Compression::Snappy.unpack(Bytes::copy_from_slice(&claim));
    assert!(matches!(refused, Err(BatchError::Unpack { .. })));
}

#[test]
fn a_count_that_does_not_fit_is_refused() {
    let mut bytes = sample(Compression::None).to_vec();
    bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(BatchHeader::parse(&bytes), Err(BatchError::Count { .. })));
}

#[test]
fn an_older_format_is_refused_by_name() {
    let mut bytes = sample(Compression::None).to_vec();
    bytes[16] = 1;
    assert_eq!(check(&bytes), Err(BatchError::Magic { magic: 1 }));
}

#[test]
fn sequences_wrap_after_the_largest() {
    assert_eq!(advance_sequence(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(advance_sequence(i32::MAX, 1), 0);
    assert_eq!(advance_sequence(i32::MAX, 3), 2);
}

#[test]
fn a_marker_tells_how_its_transaction_ended() {
    for marker in [Marker::Abort, Marker::Commit] {
        let bytes = encode_marker(marker, 7, 2, Timestamp::from_millis(5)).unwrap();
        let batch = OpenBatch::open(&bytes).unwrap();
        assert!(batch.header().is_control() && batch.header().is_transactional());
        assert_eq!(batch.header().producer.id, 7);
        assert_eq!(Marker::of(&batch).unwrap(), Some(marker));
    }
}

#[test]
fn the_least_count_is_refused_and_overflows_nothing() {
    let mut bytes = sample(Compression::None).to_vec();
    bytes[57..61].copy_from_slice(&i32::MIN.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[header::CRC_COVERS_FROM..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    let refused = validate(&bytes.into()).unwrap_err();
    assert!(matches!(refused, BatchError::Count { count: i32::MIN, .. }), "{refused}");
}
