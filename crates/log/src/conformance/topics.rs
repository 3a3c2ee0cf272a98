//! The behaviours of topics; see the trait for the words.

use courant_model::{Span, TopicName, TopicPartition};

use super::{AT_ONCE, LogHarness, World, fresh_topic, record};
use crate::{ErrorCode, PartitionOffsets, Retention, TopicChange, TopicSettings, TopicSpec};

fn spec(name: &TopicName, partitions: i32) -> TopicSpec {
    TopicSpec { name: name.clone(), partitions, settings: TopicSettings::default() }
}

pub async fn a_created_topic_is_described_as_it_was_asked_for(harness: &dyn LogHarness) {
    let log = harness.open().await;
    let settings = TopicSettings {
        retention_time: None,
        cleanup: Retention::CompactAndDelete,
        tombstone_retention: Span::from_millis(5_000),
        ..TopicSettings::default()
    };
    let spec = TopicSpec { settings, ..spec(&fresh_topic(), 3) };
    let created = log.create_topic(&spec).await.unwrap();
    assert_eq!((&created.name, &created.settings), (&spec.name, &spec.settings));
    let empty = |offsets: &PartitionOffsets| (offsets.start, offsets.end, offsets.last_stable);
    assert_eq!(created.partitions.iter().map(empty).collect::<Vec<_>>(), [(0, 0, 0); 3]);
    assert_eq!(log.topic(&spec.name).await.unwrap(), created);
}

pub async fn a_topic_that_exists_is_not_created_again(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let refused = world.log.create_topic(&spec(&world.topic, 2)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::TopicAlreadyExists);
    assert_eq!(world.log.topic(&world.topic).await.unwrap().partitions.len(), 1);
}

pub async fn a_topic_that_cannot_be_is_refused(harness: &dyn LogHarness) {
    let log = harness.open().await;
    for partitions in [0, -1, 1_000_000] {
        let name = fresh_topic();
        let refused = log.create_topic(&spec(&name, partitions)).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidTopic, "{partitions} partitions");
        assert!(refused.to_string().contains(name.as_str()), "{refused}");
        assert!(log.topic(&name).await.is_err());
    }
}

pub async fn an_unknown_topic_is_named_by_every_call(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let (log, name) = (&world.log, fresh_topic());
    let at = TopicPartition::new(name.clone(), 0);
    let mut subscription = world.subscription();
    subscription.topics = vec![name.clone()];
    let all = [
        log.topic(&name).await.err(),
        log.alter_topic(&name, &TopicChange::default()).await.err(),
        log.delete_topic(&name).await.err(),
        log.delete_records(&at, 0).await.err(),
        log.append(&name, None, vec![record("x")]).await.err(),
        log.read(&at, 0, AT_ONCE).await.err(),
        log.offsets(&at).await.err(),
        log.offset_at(&at, super::lately()).await.err(),
        log.subscribe(subscription).await.err(),
    ];
    for (call, refused) in all.into_iter().enumerate() {
        let refused = refused.unwrap_or_else(|| panic!("call {call} was answered"));
        assert_eq!(refused.code(), ErrorCode::UnknownTopicOrPartition, "call {call}");
        assert!(refused.to_string().contains(name.as_str()), "call {call}: {refused}");
    }
}

pub async fn an_unknown_partition_is_named_by_every_call(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    let (log, at) = (&world.log, world.at(2));
    let all = [
        log.delete_records(&at, 0).await.err(),
        log.append(&world.topic, Some(2), vec![record("x")]).await.err(),
        log.append(&world.topic, Some(-1), vec![record("x")]).await.err(),
        log.read(&at, 0, AT_ONCE).await.err(),
        log.offsets(&at).await.err(),
        log.offset_at(&at, super::lately()).await.err(),
    ];
    for (call, refused) in all.into_iter().enumerate() {
        let refused = refused.unwrap_or_else(|| panic!("call {call} was answered"));
        assert_eq!(refused.code(), ErrorCode::UnknownTopicOrPartition, "call {call}");
        assert!(refused.to_string().contains("2 partitions"), "call {call}: {refused}");
    }
}

pub async fn partitions_can_grow_and_not_shrink(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    world.append(1, &["before"]).await;
    let to = |partitions| TopicChange { partitions: Some(partitions), settings: None };
    let grown = world.log.alter_topic(&world.topic, &to(4)).await.unwrap();
    assert_eq!(grown.partitions.len(), 4);
    world.append(3, &["after"]).await;
    assert_eq!(world.values(1).await, ["before"]);
    assert_eq!(world.values(3).await, ["after"]);
    let refused = world.log.alter_topic(&world.topic, &to(3)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidTopic);
    assert_eq!(world.log.topic(&world.topic).await.unwrap().partitions.len(), 4);
}

pub async fn changed_settings_are_told_and_records_stay(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["a"]).await;
    let settings = TopicSettings {
        retention_time: Some(Span::from_millis(3_600_000)),
        segment_time: Span::from_millis(7_200_000),
        ..TopicSettings::default()
    };
    let change = TopicChange { partitions: None, settings: Some(settings.clone()) };
    let changed = world.log.alter_topic(&world.topic, &change).await.unwrap();
    assert_eq!(changed.settings, settings);
    assert_eq!(world.log.topic(&world.topic).await.unwrap().settings, settings);
    assert_eq!(world.values(0).await, ["a"]);
}

pub async fn a_deleted_topic_is_gone_and_comes_again_empty(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["old"]).await;
    world.log.delete_topic(&world.topic).await.unwrap();
    let refused = world.log.offsets(&world.at(0)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UnknownTopicOrPartition);
    let created = world.log.create_topic(&spec(&world.topic, 2)).await.unwrap();
    assert_eq!(created.partitions.len(), 2);
    world.append(0, &["new"]).await;
    assert_eq!(world.values(0).await, ["new"]);
}

pub async fn topics_are_listed_by_name_without_the_logs_own(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    let second = fresh_topic();
    world.log.create_topic(&spec(&second, 1)).await.unwrap();
    // A commit makes the log keep a topic of its own.
    let (member, _readers) = world.join_for(2).await;
    member.committer().commit(&world.positions(&[(0, 0)]), "").await.unwrap();
    let listed = world.log.topics().await.unwrap();
    let names: Vec<_> = listed.iter().map(|topic| topic.name.as_str()).collect();
    assert!(names.is_sorted());
    assert!(names.iter().all(|name| !name.starts_with("__")), "{names:?}");
    let count = |name: &TopicName| {
        listed.iter().find(|topic| topic.name == *name).map(|topic| topic.partitions.len())
    };
    assert_eq!((count(&world.topic), count(&second)), (Some(2), Some(1)));
}
