//! What is known of all groups: generations and offsets, as the records tell it.
//!
//! Replay at the start and every durable write afterwards go through
//! [`Table::apply`], [`Table::apply_pending`] and [`Table::end_transaction`], in the
//! order of the disk, so memory and disk cannot disagree. Of two offsets the one that
//! was written later counts, also when it is the other one's transaction that ends
//! last: that is what compaction leaves, too. Members are not in here.

use std::collections::{BTreeMap, BTreeSet};

use courant_model::{Timestamp, TopicName, TopicPartition};

use super::records::{GroupRecord, StoredEpoch, StoredGroup, StoredOffset};
use crate::batch::Marker;

/// All groups by id.
#[derive(Debug, Default)]
pub(super) struct Table {
    groups: BTreeMap<String, Kept>,
    /// The groups that wait for the end of a producer's transaction.
    waiting: BTreeMap<i64, BTreeSet<String>>,
}

/// One group as it is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) offsets: BTreeMap<TopicPartition, StoredOffset>,
    /// `None` for a group that only ever committed from outside.
    pub(super) group: Option<StoredGroup>,
    /// Set for a consumer group (KIP-848).
    pub(super) consumer: Option<StoredEpoch>,
    /// Offsets in open transactions, in the order in which they were written.
    pending: Vec<Pending>,
}

/// An offset that counts once its transaction commits.
#[derive(Debug)]
struct Pending {
    producer_id: i64,
    partition: TopicPartition,
    value: StoredOffset,
}

impl Kept {
    fn is_nothing(&self) -> bool {
        self.offsets.is_empty()
            && self.group.is_none()
            && self.consumer.is_none()
            && self.pending.is_empty()
    }

    /// The partitions with an offset in an open transaction.
    pub(super) fn pending(&self) -> impl Iterator<Item = &TopicPartition> {
        self.pending.iter().map(|pending| &pending.partition)
    }

    /// The partitions with any offset, committed or not.
    fn partitions(&self) -> BTreeSet<&TopicPartition> {
        self.offsets.keys().chain(self.pending()).collect()
    }

    fn is_pending(&self, partition: &TopicPartition) -> bool {
        self.pending().any(|pending| pending == partition)
    }
}

impl Table {
    /// Takes a change over.
    pub(super) fn apply(&mut self, record: GroupRecord) {
        let id = match record {
            GroupRecord::Offset { group, partition, value } => {
                let kept = self.groups.entry(group.clone()).or_default();
                kept.pending.retain(|pending| pending.partition != partition);
                match value {
                    Some(value) => kept.offsets.insert(partition, value),
                    None => kept.offsets.remove(&partition),
                };
                group
            }
            GroupRecord::Group { group, value } => {
                self.groups.entry(group.clone()).or_default().group = value;
                group
            }
            GroupRecord::Consumer { group, value } => {
                self.groups.entry(group.clone()).or_default().consumer = value;
                group
            }
        };
        self.drop_if_nothing(&id);
    }

    /// Takes a change over that was written in a producer's transaction.
    pub(super) fn apply_pending(&mut self, producer_id: i64, record: GroupRecord) {
        let GroupRecord::Offset { group, partition, value: Some(value) } = record else {
            return self.apply(record);
        };
        let kept = self.groups.entry(group.clone()).or_default();
        kept.pending.retain(|one| one.producer_id != producer_id || one.partition != partition);
        kept.pending.push(Pending { producer_id, partition, value });
        self.waiting.entry(producer_id).or_default().insert(group);
    }

    /// Takes the end of a producer's transaction over.
    pub(super) fn end_transaction(&mut self, producer_id: i64, marker: Marker) {
        for group in self.waiting.remove(&producer_id).unwrap_or_default() {
            let Some(kept) = self.groups.get_mut(&group) else { continue };
            for pending in std::mem::take(&mut kept.pending) {
                if pending.producer_id != producer_id {
                    kept.pending.push(pending);
                } else if marker == Marker::Commit {
                    // What others wrote before it is superseded, whatever becomes of it.
                    kept.pending.retain(|earlier| earlier.partition != pending.partition);
                    kept.offsets.insert(pending.partition, pending.value);
                }
            }
            self.drop_if_nothing(&group);
        }
    }

    fn drop_if_nothing(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(Kept::is_nothing) {
            self.groups.remove(group);
        }
    }

    pub(super) fn get(&self, group: &str) -> Option<&Kept> {
        self.groups.get(group)
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Kept)> {
        self.groups.iter()
    }

    /// The records that forget a whole group.
    pub(super) fn forget_group(&self, group: &str) -> Vec<GroupRecord> {
        let partitions = self.get(group).into_iter().flat_map(Kept::partitions);
        let offsets = partitions.map(|partition| forget_offset(group, partition));
        let whole = GroupRecord::Group { group: group.to_owned(), value: None };
        let consumer = GroupRecord::Consumer { group: group.to_owned(), value: None };
        let is_consumer = self.get(group).is_some_and(|kept| kept.consumer.is_some());
        offsets.chain([whole]).chain(is_consumer.then_some(consumer)).collect()
    }

    /// The records that forget every group's offsets on topics that `goes` names.
    pub(super) fn forget_topics(&self, goes: impl Fn(&TopicName) -> bool) -> Vec<GroupRecord> {
        let every = self.groups.iter().flat_map(|(group, kept)| {
            kept.partitions().into_iter().map(move |partition| (group, partition))
        });
        every
            .filter(|(_, partition)| goes(&partition.topic))
            .map(|(group, partition)| forget_offset(group, partition))
            .collect()
    }

    /// The records that end what has outlived `retention_ms` in groups for which
    /// `is_deserted`: an offset counts from its commit or from when the group became
    /// empty, whichever is later; a group goes with its last offset.
    pub(super) fn expire(
        &self,
        now: Timestamp,
        retention_ms: i64,
        is_deserted: impl Fn(&str) -> bool,
    ) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        for (id, kept) in self.groups.iter().filter(|(id, _)| is_deserted(id)) {
            let classic_since = kept.group.as_ref().map_or(Timestamp::NONE, |group| group.since);
            let consumer_since = kept.consumer.as_ref().map_or(Timestamp::NONE, |one| one.since);
            let empty_since = classic_since.max(consumer_since);
            let is_over = |since: Timestamp| since.plus_millis(retention_ms) <= now;
            let over = |(partition, value): &(&TopicPartition, &StoredOffset)| {
                is_over(value.committed_at.max(empty_since)) && !kept.is_pending(partition)
            };
            let gone: Vec<_> = kept.offsets.iter().filter(over).collect();
            let all = gone.len() == kept.offsets.len() && kept.pending.is_empty();
            records.extend(gone.into_iter().map(|(partition, _)| forget_offset(id, partition)));
            if all && kept.group.is_some() && is_over(empty_since) {
                records.push(GroupRecord::Group { group: id.clone(), value: None });
            }
            if all && kept.consumer.is_some() && is_over(empty_since) {
                records.push(GroupRecord::Consumer { group: id.clone(), value: None });
            }
        }
        records
    }

    /// The records that say of groups whose members a crash has taken that they are
    /// empty as of `now`; without them their offsets would be as old as the group.
    pub(super) fn bury_members(&self, now: Timestamp) -> Vec<GroupRecord> {
        let bury = |(id, kept): (&String, &Kept)| {
            let group = kept.group.as_ref().filter(|group| group.protocol.is_some())?;
            let value = StoredGroup { protocol: None, since: now, ..group.clone() };
            Some(GroupRecord::Group { group: id.clone(), value: Some(value) })
        };
        self.groups.iter().filter_map(bury).collect()
    }
}

fn forget_offset(group: &str, partition: &TopicPartition) -> GroupRecord {
    GroupRecord::Offset { group: group.to_owned(), partition: partition.clone(), value: None }
}
