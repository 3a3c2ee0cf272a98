//! Requests out of bytes, without believing what the bytes claim.
//!
//! The protocol library reserves memory for as many items as an array says it has.
//! [`Checked`] stands between it and the bytes and refuses a count that the bytes
//! left cannot hold, before anything is reserved, and a request of more parts than
//! [`BROKER_REQUEST_PARTS_MAX`].
//!
//! Counts of flexible versions are varints, read byte by byte; nothing else that is
//! read so may be larger than the bytes left, so such a number is refused. Counts of
//! older versions are 32-bit integers like many other fields; there a first pass
//! reads every such number as at most one more than the bytes left. A count that was
//! too large fails in it for want of bytes; any other field does no harm.

use bytes::{Buf, Bytes, TryGetError};
use courant_model::limits::BROKER_REQUEST_PARTS_MAX;
use kafka_protocol::protocol::{
    Decodable, HeaderVersion,
    buf::{ByteBuf, NotEnoughBytesError},
};

/// Why bytes are no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request is malformed: {why}")]
pub(crate) struct Malformed {
    pub(crate) why: String,
}

/// Decodes a request's body.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn decode<R: Decodable + HeaderVersion>(
    body: &Bytes,
    version: i16,
) -> Result<R, Malformed> {
    let flexible = R::header_version(version) >= 2;
    let mut first = Checked { bytes: body.clone(), parts: 0, clamp: !flexible, clamped: false };
    let decoded = read(&mut first, version)?;
    if !first.clamped {
        return Ok(decoded);
    }
    read(&mut Checked { bytes: body.clone(), parts: 0, clamp: false, clamped: false }, version)
}

fn read<R: Decodable>(bytes: &mut Checked, version: i16) -> Result<R, Malformed> {
    R::decode(bytes, version).map_err(|error| Malformed { why: error.to_string() })
}

/// Bytes that are read with suspicion.
#[derive(Debug)]
struct Checked {
    bytes: Bytes,
    /// Reads so far; every item of an array takes one at least.
    parts: usize,
    /// Read 32-bit integers as at most one more than the bytes left.
    clamp: bool,
    clamped: bool,
}

impl Checked {
    fn count(&mut self) -> Result<(), TryGetError> {
        self.parts += 1;
        if self.parts > BROKER_REQUEST_PARTS_MAX { Err(self.refuse(usize::MAX)) } else { Ok(()) }
    }

    fn refuse(&self, requested: usize) -> TryGetError {
        TryGetError { requested, available: self.bytes.len() }
    }
}

/// The varint at the front, as the protocol library reads it.
fn varint(bytes: &[u8]) -> u32 {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (index * 7);
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

impl Buf for Checked {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        self.count()?;
        let claimed = varint(&self.bytes) as usize;
        // One byte claims too little to matter, and may be a tag's number.
        if claimed > 0x7f && claimed > self.bytes.len() + 1 {
            return Err(self.refuse(claimed));
        }
        self.bytes.try_get_u8()
    }

    fn try_get_i16(&mut self) -> Result<i16, TryGetError> {
        self.count()?;
        self.bytes.try_get_i16()
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.count()?;
        let value = self.bytes.try_get_i32()?;
        let most = i32::try_from(self.bytes.len()).unwrap_or(i32::MAX - 1) + 1;
        if self.clamp && value > most {
            self.clamped = true;
            return Ok(most);
        }
        Ok(value)
    }

    fn try_get_i64(&mut self) -> Result<i64, TryGetError> {
        self.count()?;
        self.bytes.try_get_i64()
    }
}

impl ByteBuf for Checked {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.bytes.split_to(size)
    }

    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        if size > self.bytes.len() { Err(NotEnoughBytesError) } else { Ok(self.get_bytes(size)) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::{
        messages::{MetadataRequest, OffsetFetchRequest, TopicName, metadata_request},
        protocol::{Encodable, StrBytes},
    };
    use proptest::prelude::*;

    use super::*;

    fn encoded(message: &impl Encodable, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused_before_it_reserves() {
        let mut old = BytesMut::new();
        old.put_i32(i32::MAX);
        assert!(decode::<MetadataRequest>(&old.freeze(), 1).is_err());
        for tail in [vec![], vec![0; 64]] {
            let mut flexible = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 0x0f][..]);
            flexible.put_slice(&tail);
            assert!(decode::<MetadataRequest>(&flexible.freeze(), 9).is_err());
        }
    }

    #[test]
    fn a_large_number_that_is_no_count_is_read_as_it_is() {
        let request = kafka_protocol::messages::ListOffsetsRequest::default()
            .with_replica_id(kafka_protocol::messages::BrokerId(i32::MAX));
        let read: kafka_protocol::messages::ListOffsetsRequest =
            decode(&encoded(&request, 2), 2).unwrap();
        assert_eq!(read.replica_id.0, i32::MAX);
    }

    #[test]
    fn a_request_of_too_many_parts_is_refused() {
        let topic = metadata_request::MetadataRequestTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(""))));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic; BROKER_REQUEST_PARTS_MAX / 2]));
        assert!(decode::<MetadataRequest>(&encoded(&request, 12), 12).is_err());
    }

    proptest! {
        #[test]
        fn names_come_through_in_every_version(
            names in prop::collection::vec("[a-z]{0,200}", 0..20), version in 1i16..=12
        ) {
            let topics = names.iter().map(|name| {
                metadata_request::MetadataRequestTopic::default()
                    .with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
            });
            let request = MetadataRequest::default().with_topics(Some(topics.collect()));
            let read: MetadataRequest = decode(&encoded(&request, version), version).unwrap();
            prop_assert_eq!(read.topics, request.topics);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let bytes = Bytes::from(bytes);
            for version in 1..=9 {
                let _ = decode::<OffsetFetchRequest>(&bytes, version);
                let _ = decode::<MetadataRequest>(&bytes, version);
            }
        }
    }
}
