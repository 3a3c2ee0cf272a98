//! The record: what travels through Courant.
//!
//! A record is what Kafka's people know: key, value, headers and timestamp, all of
//! them bytes that nobody has to understand. Bodies are reference-counted
//! (`Bytes`), so that passing a record on copies nothing. Decoding is left to
//! whoever looks inside.

use bytes::Bytes;

use crate::{Offset, Origin, PartitionId, Position, Timestamp, TopicName, TopicPartition};

/// Name of the header that carries a record's origin through the log:
/// microseconds since the epoch, as decimal text.
pub const ORIGIN_HEADER: &str = "courant-origin";

/// One header: a name, which may repeat within a record, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    /// `None` is Kafka's null, which is not the empty value.
    pub value: Option<Bytes>,
}

impl Header {
    /// Builds a header with a value.
    pub fn new(name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

/// A record that has no place in a log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition, and what compaction keeps. `None` is null.
    pub key: Option<Bytes>,
    /// `None` is a tombstone: it deletes the key in a compacted topic.
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
    pub timestamp: Timestamp,
}

impl Record {
    /// Builds a record without a key or headers.
    pub fn new(value: impl Into<Bytes>, timestamp: Timestamp) -> Self {
        Self { key: None, value: Some(value.into()), headers: Vec::new(), timestamp }
    }

    /// Gives the record a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header; an earlier one of the same name stays.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// The last header of this name: Kafka's rule where a name repeats.
    pub fn header(&self, name: &str) -> Option<&Header> {
        self.headers.iter().rev().find(|header| header.name == name)
    }

    /// When the change that this record tells of was committed at its source, if
    /// the record says so in [`ORIGIN_HEADER`].
    pub fn origin(&self) -> Option<Origin> {
        let value = self.header(ORIGIN_HEADER)?.value.as_ref()?;
        Origin::parse(std::str::from_utf8(value).ok()?)
    }

    /// Writes the origin into [`ORIGIN_HEADER`] unless the record has one: the
    /// first to know is right, later hands only pass it on.
    pub fn stamp_origin(&mut self, origin: Origin) {
        if self.origin().is_none() {
            self.headers.push(Header::new(ORIGIN_HEADER, origin.to_string()));
        }
    }

    /// Bytes of key, value and headers; what budgets and batch limits count.
    pub fn size_bytes(&self) -> usize {
        let body = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize =
            self.headers.iter().map(|header| header.name.len() + body(&header.value)).sum();
        body(&self.key) + body(&self.value) + headers
    }
}

/// A record at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    pub topic: TopicName,
    pub partition: PartitionId,
    pub offset: Offset,
    pub record: Record,
}

impl StoredRecord {
    /// The partition that holds the record.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }

    /// The record's place.
    pub fn position(&self) -> Position {
        Position { partition: self.topic_partition(), offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_origin_stays() {
        let mut record = Record::new("x", Timestamp::from_millis(5));
        assert_eq!(record.origin(), None);
        record.stamp_origin(Origin::from_micros(7));
        record.stamp_origin(Origin::from_micros(8));
        assert_eq!(record.origin(), Some(Origin::from_micros(7)));
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        let record =
            Record::new("x", Timestamp::from_millis(0)).with_header("a", "1").with_header("a", "2");
        assert_eq!(record.header("a").unwrap().value.as_deref(), Some(b"2".as_slice()));
    }
}
