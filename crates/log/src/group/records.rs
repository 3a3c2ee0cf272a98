//! How groups are kept: the records of the internal topic `__consumer_offsets`.
//!
//! Keys and values have Kafka's own layout, so that its tools recognise them. The
//! topic is compacted by key; a record without a value forgets its key.
//!
//! ```text
//! key    version i16 = 1 │ group string │ topic string │ partition i32        an offset
//! value  version i16 = 3 │ offset i64 │ leader epoch i32 │ metadata string │ committed at i64
//! key    version i16 = 2 │ group string                                       a classic group
//! value  version i16 = 3 │ kind string │ generation i32 │ strategy string? │ leader string?
//!        │ in this state since i64 │ members (none are written: after a restart all join again)
//! key    version i16 = 3 │ group string                                       a consumer group
//! value  version i16 = 0 │ epoch i32 │ no tagged fields (0)
//! ```
//!
//! Written are the versions above; read are all that have the fixed encoding.

use bytes::{BufMut, Bytes, BytesMut};
use courant_model::{Offset, Record, Timestamp, TopicPartition};

use crate::{
    Committed,
    wire::{Malformed, Wire, put_nullable_string, put_string},
};

/// One change to what is known of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GroupRecord {
    /// An offset was committed, or forgotten.
    Offset { group: String, partition: TopicPartition, value: Option<StoredOffset> },
    /// A generation began, or the group was forgotten.
    Group { group: String, value: Option<StoredGroup> },
    /// A consumer group (KIP-848) has a new epoch, or was forgotten.
    Consumer { group: String, value: Option<StoredEpoch> },
}

/// A consumer group as it is kept, without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredEpoch {
    pub(super) epoch: i32,
    /// The record's own timestamp.
    pub(super) since: Timestamp,
}

/// A committed offset as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredOffset {
    pub(super) offset: Offset,
    pub(super) metadata: String,
    pub(super) committed_at: Timestamp,
}

/// A group as it is kept, without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredGroup {
    pub(super) protocol_type: String,
    pub(super) generation: i32,
    /// The assignment strategy; `None` once the group is empty.
    pub(super) protocol: Option<String>,
    pub(super) since: Timestamp,
}

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
const CONSUMER_KEY_VERSION: i16 = 3;
const VALUE_VERSION: i16 = 3;
const CONSUMER_VALUE_VERSION: i16 = 0;
const NO_TAGGED_FIELDS: u8 = 0;
/// No leader epochs are kept: one process is always the leader.
const NO_LEADER_EPOCH: i32 = -1;

impl GroupRecord {
    /// Lays the change out as a record of the internal topic.
    pub(super) fn encode(&self, now: Timestamp) -> Record {
        let mut key = BytesMut::new();
        let value = match self {
            Self::Offset { group, partition, value } => {
                key.put_i16(OFFSET_KEY_VERSION);
                put_string(&mut key, group);
                put_string(&mut key, partition.topic.as_str());
                key.put_i32(partition.partition);
                value.as_ref().map(StoredOffset::encode)
            }
            Self::Group { group, value } => {
                key.put_i16(GROUP_KEY_VERSION);
                put_string(&mut key, group);
                value.as_ref().map(StoredGroup::encode)
            }
            Self::Consumer { group, value } => {
                key.put_i16(CONSUMER_KEY_VERSION);
                put_string(&mut key, group);
                value.as_ref().map(StoredEpoch::encode)
            }
        };
        let timestamp = match self {
            Self::Consumer { value: Some(value), .. } => value.since,
            _ => now,
        };
        Record { key: Some(key.freeze()), value, headers: Vec::new(), timestamp }
    }

    /// Reads a record of the internal topic; `None` for a kind of key that is not
    /// known, which a newer version may have written.
    ///
    /// # Errors
    /// [`Malformed`] with the reason.
    pub(super) fn decode(record: &Record) -> Result<Option<Self>, Malformed> {
        let mut key = Wire::new("a group's key", record.key.as_deref().unwrap_or_default());
        match key.i16()? {
            0 | OFFSET_KEY_VERSION => {
                let group = key.string()?;
                let partition = TopicPartition::new(key.topic()?, key.i32()?);
                let value = record.value.as_deref().map(StoredOffset::decode).transpose()?;
                Ok(Some(Self::Offset { group, partition, value }))
            }
            GROUP_KEY_VERSION => {
                let group = key.string()?;
                let value = record.value.as_deref().map(StoredGroup::decode).transpose()?;
                Ok(Some(Self::Group { group, value }))
            }
            CONSUMER_KEY_VERSION => {
                let group = key.string()?;
                let value = record.value.as_deref();
                let value = value.map(|bytes| StoredEpoch::decode(bytes, record.timestamp));
                Ok(Some(Self::Consumer { group, value: value.transpose()? }))
            }
            _ => Ok(None),
        }
    }
}

impl StoredOffset {
    pub(super) fn to_committed(&self) -> Committed {
        Committed { offset: self.offset, metadata: self.metadata.clone() }
    }

    fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        to.put_i16(VALUE_VERSION);
        to.put_i64(self.offset);
        to.put_i32(NO_LEADER_EPOCH);
        put_string(&mut to, &self.metadata);
        to.put_i64(self.committed_at.as_millis());
        to.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut wire = Wire::new("a committed offset", bytes);
        let version = version(&mut wire)?;
        let offset = wire.i64()?;
        if version >= 3 {
            wire.i32()?;
        }
        let metadata = wire.string()?;
        let committed_at = Timestamp::from_millis(wire.i64()?);
        Ok(Self { offset, metadata, committed_at })
    }
}

impl StoredGroup {
    fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        to.put_i16(VALUE_VERSION);
        put_string(&mut to, &self.protocol_type);
        to.put_i32(self.generation);
        put_nullable_string(&mut to, self.protocol.as_deref());
        put_nullable_string(&mut to, None);
        to.put_i64(self.since.as_millis());
        to.put_i32(0);
        to.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut wire = Wire::new("a group's state", bytes);
        let version = version(&mut wire)?;
        let protocol_type = wire.string()?;
        let generation = wire.i32()?;
        let protocol = wire.nullable_string()?;
        wire.nullable_string()?;
        let since =
            if version >= 2 { Timestamp::from_millis(wire.i64()?) } else { Timestamp::NONE };
        Ok(Self { protocol_type, generation, protocol, since })
    }
}

impl StoredEpoch {
    fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        to.put_i16(CONSUMER_VALUE_VERSION);
        to.put_i32(self.epoch);
        to.put_u8(NO_TAGGED_FIELDS);
        to.freeze()
    }

    fn decode(bytes: &[u8], since: Timestamp) -> Result<Self, Malformed> {
        let mut wire = Wire::new("a consumer group's epoch", bytes);
        match wire.i16()? {
            CONSUMER_VALUE_VERSION => Ok(Self { epoch: wire.i32()?, since }),
            version => Err(wire.malformed(format!("version {version} is not known"))),
        }
    }
}

fn version(wire: &mut Wire<'_>) -> Result<i16, Malformed> {
    match wire.i16()? {
        version @ 0..=VALUE_VERSION => Ok(version),
        version => Err(wire.malformed(format!("version {version} is not known"))),
    }
}

#[cfg(test)]
mod tests {
    use courant_model::TopicName;
    use proptest::{collection, option, prelude::*};

    use super::*;

    fn change() -> impl Strategy<Value = GroupRecord> {
        let offset =
            ("[a-zé]{1,9}", "[a-z]{1,9}", 0..9, option::of((any::<i64>(), ".{0,9}", any::<i64>())))
                .prop_map(|(group, topic, number, value)| GroupRecord::Offset {
                    group,
                    partition: TopicPartition::new(TopicName::new(&topic).unwrap(), number),
                    value: value.map(|(offset, metadata, at)| StoredOffset {
                        offset,
                        metadata,
                        committed_at: Timestamp::from_millis(at),
                    }),
                });
        let group =
            ("[a-z]{1,9}", option::of((any::<i32>(), option::of("[a-z]{0,9}"), any::<i64>())))
                .prop_map(|(group, value)| GroupRecord::Group {
                    group,
                    value: value.map(|(generation, protocol, since)| StoredGroup {
                        protocol_type: "consumer".into(),
                        generation,
                        protocol,
                        since: Timestamp::from_millis(since),
                    }),
                });
        let consumer =
            ("[a-z]{1,9}", option::of((any::<i32>(), 0..i64::MAX))).prop_map(|(group, value)| {
                GroupRecord::Consumer {
                    group,
                    value: value.map(|(epoch, since)| StoredEpoch {
                        epoch,
                        since: Timestamp::from_millis(since),
                    }),
                }
            });
        prop_oneof![offset, group, consumer]
    }

    proptest! {
        #[test]
        fn a_change_comes_back(change in change()) {
            let record = change.encode(Timestamp::from_millis(0));
            prop_assert_eq!(GroupRecord::decode(&record), Ok(Some(change)));
        }

        #[test]
        fn hostile_records_are_refused_without_harm(
            key in collection::vec(any::<u8>(), 0..40),
            value in collection::vec(any::<u8>(), 0..40),
        ) {
            let record = Record::new(value, Timestamp::from_millis(0)).with_key(key.clone());
            if let Ok(Some(GroupRecord::Group { group, .. })) = GroupRecord::decode(&record) {
                prop_assert!(group.len() <= key.len());
            }
        }
    }

    #[test]
    fn an_offset_has_kafkas_bytes() {
        let record = GroupRecord::Offset {
            group: "g".into(),
            partition: TopicPartition::new(TopicName::new("t").unwrap(), 7),
            value: Some(StoredOffset {
                offset: 258,
                metadata: "m".into(),
                committed_at: Timestamp::from_millis(3),
            }),
        }
        .encode(Timestamp::from_millis(3));
        assert_eq!(&record.key.unwrap()[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 7]);
        assert_eq!(
            &record.value.unwrap()[..],
            [0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 255, 255, 255, 255, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 3]
        );
    }

    #[test]
    fn a_key_of_the_future_is_left_alone() {
        let record = Record::new("x", Timestamp::from_millis(0)).with_key(vec![0, 9, 1, 2]);
        assert_eq!(GroupRecord::decode(&record), Ok(None));
    }
}
