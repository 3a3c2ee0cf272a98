//! Consumer groups from outside: listed, described, reset, deleted.
//!
//! librdkafka's safe interface lists groups with their members, and knows no
//! administration of offsets: a consumer with the group's id, which joins nothing,
//! asks for them and sets them. Kafka tells nobody a classic group's generation; it
//! is -1 here, and instances of static members are not told either. Everything here
//! blocks.

use std::{collections::BTreeMap, sync::Arc};

use courant_log::{
    GroupDescription, GroupOffset, GroupState, GroupSummary, LogError, MemberDescription,
};
use courant_model::{Positions, TopicName, TopicPartition};
use rdkafka::{
    Offset as KafkaOffset,
    consumer::{CommitMode, Consumer},
    groups::GroupInfo,
    types::RDKafkaErrorCode,
};

use crate::{
    cluster::{CALL, Core, Reader, code_of, drain, reading},
    context::Context,
    events::{offsets_list, plain_list},
    topics::all_partitions,
};

/// Kafka's word for groups of consumers; there are others, such as Connect's.
const CONSUMERS: &str = "consumer";

impl Core {
    pub(crate) fn group_summaries(&self) -> Result<Vec<GroupSummary>, LogError> {
        let list = self.asking(|left| {
            let list = self.latest.fetch_group_list(None, left);
            list.map_err(|error| self.failure("listing groups", &error))
        })?;
        drain(&self.latest);
        let summary = |group: &GroupInfo| GroupSummary {
            id: group.name().to_owned(),
            state: state_of(group.state()),
            members: group.members().len(),
        };
        let mut groups: Vec<_> =
            list.groups().iter().filter(|group| is_of_consumers(group)).map(summary).collect();
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(groups)
    }

    /// A group as it is, without its offsets; `None` when there is none.
    fn group_info(&self, id: &str) -> Result<Option<GroupDescription>, LogError> {
        let action = format!("describing group \"{id}\"");
        let list = self.asking(|left| {
            let list = self.latest.fetch_group_list(Some(id), left);
            list.map_err(|error| self.failure(&action, &error))
        })?;
        drain(&self.latest);
        let found = list.groups().iter().find(|group| group.name() == id && is_of_consumers(group));
        let described = found.map(|group| GroupDescription {
            id: id.to_owned(),
            state: state_of(group.state()),
            generation: -1,
            strategy: group.protocol().to_owned(),
            members: members_of(group),
            offsets: Vec::new(),
        });
        Ok(described.filter(|group| group.state != GroupState::Dead))
    }

    pub(crate) fn describe_group(&self, id: &str) -> Result<GroupDescription, LogError> {
        let Some(mut group) = self.group_info(id)? else {
            return Err(LogError::UnknownGroup { group: id.to_owned() });
        };
        let topics = self.asking(|left| self.list(left))?;
        let committed = self.group_offsets(id, &all_partitions(&topics))?;
        let partitions: Vec<_> = committed.keys().cloned().collect();
        let ends = self.ends(&partitions)?;
        let offset = |(partition, committed): (TopicPartition, i64)| {
            let end = ends.get(&partition).copied().unwrap_or(committed);
            GroupOffset { partition, committed, end, lag: (end - committed).max(0) }
        };
        group.offsets = committed.into_iter().map(offset).collect();
        Ok(group)
    }

    fn group_offsets(
        &self,
        id: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let action = format!("asking for the offsets of group \"{id}\"");
        let consumer = self.speaker_for(id)?;
        let answered = self.asking(|left| {
            let answered = consumer.committed_offsets(plain_list(partitions), left);
            answered.map_err(|error| self.failure(&action, &error))
        })?;
        let mut committed = BTreeMap::new();
        for element in answered.elements() {
            if let (Ok(topic), KafkaOffset::Offset(offset)) =
                (TopicName::new(element.topic()), element.offset())
            {
                committed.insert(TopicPartition::new(topic, element.partition()), offset);
            }
        }
        Ok(committed)
    }

    pub(crate) fn reset_group(&self, id: &str, positions: &Positions) -> Result<(), LogError> {
        for partition in positions.keys() {
            self.check_partition(partition)?;
        }
        self.check_empty(id)?;
        if positions.is_empty() {
            return Ok(());
        }
        let action = format!("resetting the offsets of group \"{id}\"");
        let list = offsets_list(positions, "").map_err(|error| self.failure(&action, &error))?;
        let consumer = self.speaker_for(id)?;
        self.asking(|_| match consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => Ok(()),
            Err(error) => match code_of(&error) {
                // Somebody joined in the meantime.
                Some(RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::IllegalGeneration) => {
                    Err(LogError::GroupNotEmpty { group: id.to_owned(), members: 1 })
                }
                _ => Err(self.failure(&action, &error)),
            },
        })
    }

    /// Refuses a group that has members; one that does not exist has none.
    pub(crate) fn check_empty(&self, id: &str) -> Result<(), LogError> {
        let members = self.group_info(id)?.map_or(0, |group| group.members.len());
        if members > 0 {
            return Err(LogError::GroupNotEmpty { group: id.to_owned(), members });
        }
        Ok(())
    }

    pub(crate) async fn forget_group(self: &Arc<Self>, id: &str) -> Result<(), LogError> {
        let action = format!("deleting group \"{id}\"");
        let done = self.admin.delete_groups(&[id], &Self::admin_options()).await;
        for result in done.map_err(|error| self.failure(&action, &error))? {
            let Err((_, code)) = result else { continue };
            return Err(match code {
                RDKafkaErrorCode::GroupIdNotFound => {
                    LogError::UnknownGroup { group: id.to_owned() }
                }
                RDKafkaErrorCode::NonEmptyGroup => {
                    let (core, group) = (Arc::clone(self), id.to_owned());
                    let members = crate::cluster::blocking(&self.cluster, move || {
                        Ok(core.group_info(&group)?.map_or(1, |group| group.members.len()))
                    });
                    LogError::GroupNotEmpty { group: id.to_owned(), members: members.await? }
                }
                code => self.refused(&action, code),
            });
        }
        Ok(())
    }

    /// A consumer that speaks for a group without being a member.
    fn speaker_for(&self, id: &str) -> Result<Reader, LogError> {
        let mut config = reading(&self.options);
        config.set("group.id", id);
        config.set("isolation.level", "read_committed");
        config.set("session.timeout.ms", "10000");
        config.set("max.poll.interval.ms", (CALL.as_millis() * 2).to_string());
        let context = Context { cluster: Arc::clone(&self.cluster) };
        let opened = config.create_with_context(context);
        opened.map_err(|error| self.failure(&format!("speaking for group \"{id}\""), &error))
    }
}

fn is_of_consumers(group: &GroupInfo) -> bool {
    // Empty: the group has offsets and never had a member.
    group.protocol_type().is_empty() || group.protocol_type() == CONSUMERS
}

fn state_of(text: &str) -> GroupState {
    match text {
        "PreparingRebalance" => GroupState::PreparingRebalance,
        "CompletingRebalance" => GroupState::CompletingRebalance,
        "Stable" => GroupState::Stable,
        "Dead" => GroupState::Dead,
        _ => GroupState::Empty,
    }
}

fn members_of(group: &GroupInfo) -> Vec<MemberDescription> {
    let member = |member: &rdkafka::groups::GroupMemberInfo| MemberDescription {
        id: member.id().to_owned(),
        instance_id: None,
        client_id: member.client_id().to_owned(),
        partitions: member.assignment().and_then(assigned).unwrap_or_default(),
    };
    group.members().iter().map(member).collect()
}

/// Reads a member's assignment in Kafka's consumer protocol: version (2 bytes), then
/// topics, each a name and its partitions. `None` when the bytes are something else.
fn assigned(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut rest = bytes.get(2..)?;
    let mut partitions = Vec::new();
    for _ in 0..number(&mut rest)? {
        let length = u16::from_be_bytes(piece(&mut rest, 2)?.try_into().ok()?);
        let name = std::str::from_utf8(piece(&mut rest, usize::from(length))?).ok()?;
        let name = TopicName::new(name).ok()?;
        for _ in 0..number(&mut rest)? {
            partitions.push(TopicPartition::new(name.clone(), number(&mut rest)?));
        }
    }
    Some(partitions)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(piece(rest, 4)?.try_into().ok()?))
}

fn piece<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (piece, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(topics: &[(String, Vec<i32>)]) -> Vec<u8> {
        let mut bytes = vec![0, 3];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend((name.len() as u16).to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((partitions.len() as i32).to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn an_assignment_is_read_as_it_was_written(
            topics in prop::collection::vec(
                ("[a-z]{1,9}", prop::collection::vec(0..99, 0..5)),
                0..5,
            )
        ) {
            let expected: Vec<_> = topics
                .iter()
                .flat_map(|(name, partitions)| {
                    let name = TopicName::new(name).unwrap();
                    partitions.iter().map(move |p| TopicPartition::new(name.clone(), *p))
                })
                .collect();
            prop_assert_eq!(assigned(&encoded(&topics)), Some(expected));
        }

        #[test]
        fn bytes_that_are_no_assignment_are_no_members_business(bytes: Vec<u8>) {
            let _ = assigned(&bytes);
        }
    }
}
