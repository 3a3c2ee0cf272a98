//! What members tell each other through the group: subscriptions and assignments.
//!
//! The bytes are Kafka's `ConsumerProtocolSubscription` and
//! `ConsumerProtocolAssignment`, versions 0 to 3, with the user data of its sticky
//! assignors, so that members of this process and Kafka clients can share a group.
//! The group's state machine never looks inside. A newer version is read as 3, as
//! Kafka does: new fields only come at the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use courant_model::{TopicName, TopicPartition};

use super::{
    assign::{AssignmentStrategy, Candidate},
    machine::JoinedMember,
};
use crate::wire::{
    Malformed, Wire, put_count, put_nullable_bytes, put_nullable_string, put_string,
};

/// Kafka's name for the kind of group that shares partitions.
pub const CONSUMER_PROTOCOL: &str = "consumer";

/// The version that is written; the highest that is read completely.
pub const CONSUMER_PROTOCOL_VERSION: i16 = 3;

/// What a member wants and what it still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSubscription {
    pub topics: Vec<TopicName>,
    /// The assignor's own data, if any.
    pub user_data: Option<Bytes>,
    /// From version 1: what the member has not given back yet.
    pub owned: BTreeSet<TopicPartition>,
    /// From version 2: the generation that `owned` is from, or -1.
    pub generation: i32,
    /// From version 3.
    pub rack: Option<String>,
}

impl MemberSubscription {
    /// Writes the fields that `version` has, after the version itself.
    pub fn encode(&self, version: i16) -> Bytes {
        let mut to = BytesMut::new();
        to.put_i16(version);
        put_count(&mut to, self.topics.len());
        for topic in &self.topics {
            put_string(&mut to, topic.as_str());
        }
        put_nullable_bytes(&mut to, self.user_data.as_ref());
        if version >= 1 {
            put_partitions(&mut to, &self.owned);
        }
        if version >= 2 {
            to.put_i32(self.generation);
        }
        if version >= 3 {
            put_nullable_string(&mut to, self.rack.as_deref());
        }
        to.freeze()
    }

    /// Reads a subscription of any version.
    ///
    /// # Errors
    /// [`Malformed`] with the reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut wire = Wire::new("a member's subscription", bytes);
        let version = version(&mut wire)?;
        let topics = wire.array(2, Wire::topic)?;
        let user_data = wire.nullable_bytes()?;
        let owned = if version >= 1 { partitions(&mut wire)? } else { BTreeSet::new() };
        let generation = if version >= 2 { wire.i32()? } else { -1 };
        let rack = if version >= 3 { wire.nullable_string()? } else { None };
        Ok(Self { topics, user_data, owned, generation, rack })
    }
}

/// What the leader gives to one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberAssignment {
    pub partitions: BTreeSet<TopicPartition>,
    /// The assignor's own data, if any.
    pub user_data: Option<Bytes>,
}

impl MemberAssignment {
    /// Writes the assignment; the versions 0 to 3 have the same fields.
    pub fn encode(&self, version: i16) -> Bytes {
        let mut to = BytesMut::new();
        to.put_i16(version);
        put_partitions(&mut to, &self.partitions);
        put_nullable_bytes(&mut to, self.user_data.as_ref());
        to.freeze()
    }

    /// Reads an assignment of any version. No bytes at all are no partitions: that
    /// is what a member gets that the leader left out.
    ///
    /// # Errors
    /// [`Malformed`] with the reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut wire = Wire::new("a member's assignment", bytes);
        version(&mut wire)?;
        Ok(Self { partitions: partitions(&mut wire)?, user_data: wire.nullable_bytes()? })
    }
}

/// The user data of Kafka's `sticky` assignor: the last assignment, which an eager
/// member has already given back when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyUserData {
    pub previous: BTreeSet<TopicPartition>,
    pub generation: i32,
}

impl StickyUserData {
    /// Writes version 1, which carries the generation.
    pub fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        put_partitions(&mut to, &self.previous);
        to.put_i32(self.generation);
        to.freeze()
    }

    /// Reads version 1, or version 0 without a generation.
    ///
    /// # Errors
    /// [`Malformed`] with the reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut wire = Wire::new("the sticky assignor's user data", bytes);
        let previous = partitions(&mut wire)?;
        Ok(Self { previous, generation: wire.i32().unwrap_or(-1) })
    }
}

/// The user data of Kafka's `cooperative-sticky` assignor: the generation alone.
/// Subscriptions from version 2 on have a field for it; older clients look here.
pub fn cooperative_user_data(generation: i32) -> Bytes {
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

/// Reads [`cooperative_user_data`]; -1 when there is none.
pub fn cooperative_generation(mut user_data: &[u8]) -> i32 {
    user_data.try_get_i32().unwrap_or(-1)
}

/// Reads what a member said when it joined, as the strategy in force needs it.
///
/// # Errors
/// [`Malformed`] with the reason.
pub(super) fn candidate(
    strategy: AssignmentStrategy,
    member: &JoinedMember,
) -> Result<Candidate, Malformed> {
    let said = MemberSubscription::decode(&member.metadata)?;
    let user_data = said.user_data.as_deref().unwrap_or_default();
    let (owned, generation) = match strategy {
        AssignmentStrategy::Sticky if !user_data.is_empty() => {
            let last = StickyUserData::decode(user_data)?;
            (last.previous, last.generation)
        }
        AssignmentStrategy::CooperativeSticky if said.generation < 0 => {
            (said.owned, cooperative_generation(user_data))
        }
        _ => (said.owned, said.generation),
    };
    Ok(Candidate {
        id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        topics: said.topics.into_iter().collect(),
        owned,
        generation,
    })
}

fn version(wire: &mut Wire<'_>) -> Result<i16, Malformed> {
    match wire.i16()? {
        version @ 0.. => Ok(version.min(CONSUMER_PROTOCOL_VERSION)),
        version => Err(wire.malformed(format!("version {version} is negative"))),
    }
}

fn put_partitions(to: &mut BytesMut, partitions: &BTreeSet<TopicPartition>) {
    let mut by_topic: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition);
    }
    put_count(to, by_topic.len());
    for (topic, numbers) in by_topic {
        put_string(to, topic.as_str());
        put_count(to, numbers.len());
        for number in numbers {
            to.put_i32(number);
        }
    }
}

fn partitions(wire: &mut Wire<'_>) -> Result<BTreeSet<TopicPartition>, Malformed> {
    let topics = wire.array(6, |wire| Ok((wire.topic()?, wire.array(4, Wire::i32)?)))?;
    let each = |(topic, numbers): (TopicName, Vec<i32>)| {
        numbers.into_iter().map(move |number| TopicPartition::new(topic.clone(), number))
    };
    Ok(topics.into_iter().flat_map(each).collect())
}

#[cfg(test)]
mod tests {
    use proptest::{collection, option, prelude::*};

    use super::*;

    fn topic() -> impl Strategy<Value = TopicName> {
        "[a-z]{1,8}".prop_map(|name| TopicName::new(&name).unwrap())
    }

    fn partition() -> impl Strategy<Value = TopicPartition> {
        (topic(), 0..1_000).prop_map(|(topic, number)| TopicPartition::new(topic, number))
    }

    fn body() -> impl Strategy<Value = Option<Bytes>> {
        option::of(collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from))
    }

    proptest! {
        #[test]
        fn a_subscription_comes_back_with_the_fields_of_its_version(
            version in 0..=3_i16,
            topics in collection::vec(topic(), 0..5),
            user_data in body(),
            owned in collection::btree_set(partition(), 0..8),
            generation: i32,
            rack in option::of("[a-z]{0,5}"),
        ) {
            let whole = MemberSubscription { topics, user_data, owned, generation, rack };
            let mut expected = whole.clone();
            if version < 3 { expected.rack = None; }
            if version < 2 { expected.generation = -1; }
            if version < 1 { expected.owned = BTreeSet::new(); }
            prop_assert_eq!(MemberSubscription::decode(&whole.encode(version)), Ok(expected));
        }

        #[test]
        fn an_assignment_comes_back(
            version in 0..=3_i16,
            partitions in collection::btree_set(partition(), 0..8),
            user_data in body(),
        ) {
            let whole = MemberAssignment { partitions, user_data };
            prop_assert_eq!(MemberAssignment::decode(&whole.encode(version)), Ok(whole));
        }

        #[test]
        fn sticky_user_data_comes_back(
            previous in collection::btree_set(partition(), 0..8),
            generation: i32,
        ) {
            let whole = StickyUserData { previous, generation };
            prop_assert_eq!(StickyUserData::decode(&whole.encode()), Ok(whole));
            prop_assert_eq!(
                cooperative_generation(&cooperative_user_data(generation)),
                generation
            );
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_but_never_trusted(
            bytes in collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(read) = MemberSubscription::decode(&bytes) {
                prop_assert!(read.topics.len() <= bytes.len());
            }
            if let Ok(read) = MemberAssignment::decode(&bytes) {
                prop_assert!(read.partitions.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_a_java_client() {
        // Version 1, topic "t", no user data, owned t-0 and t-2.
        let bytes: &[u8] = &[
            0, 1, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2,
            0, 0, 0, 0, 0, 0, 0, 2,
        ];
        let read = MemberSubscription::decode(bytes).unwrap();
        assert_eq!(read.topics, [TopicName::new("t").unwrap()]);
        assert_eq!(read.owned.iter().map(|owned| owned.partition).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(read.encode(1), bytes);
    }

    #[test]
    fn a_newer_version_is_read_as_the_highest_known() {
        let read = MemberSubscription {
            topics: vec![TopicName::new("t").unwrap()],
            user_data: None,
            owned: BTreeSet::new(),
            generation: 4,
            rack: Some("r".into()),
        };
        let mut bytes = BytesMut::from(&read.encode(3)[..]);
        bytes[1] = 9;
        bytes.put_slice(b"fields of the future");
        assert_eq!(MemberSubscription::decode(&bytes), Ok(read));
    }

    #[test]
    fn no_bytes_are_no_partitions() {
        assert_eq!(MemberAssignment::decode(b""), Ok(MemberAssignment::default()));
    }
}
