//! How offsets are kept: fenced, durable, restored, reset, forgotten and expired.

use std::time::Duration;

use courant_model::{Clock, Positions};

use super::doubles::{World, at, subscription, topic, topics};
use crate::{
    Committed, ErrorCode, GroupChange, GroupState, LogError,
    group::{GroupOptions, Membership},
    state::StateBatch,
};

fn committed(offset: i64, metadata: &str) -> Committed {
    Committed { offset, metadata: metadata.into() }
}

async fn commit(world: &World, group: &str, partition: i32, offset: i64) -> Result<(), LogError> {
    let offsets = vec![(at("t", partition), committed(offset, "by hand"))];
    world.coordinator.commit(group, &Membership::none(), offsets).await
}

#[tokio::test(start_paused = true)]
async fn offsets_and_generations_survive_a_restart() {
    let world = World::new(&[("t", 2)]).await;
    let mut member = world.member(subscription("g")).unwrap();
    assert!(matches!(member.next_change().await, Ok(GroupChange::Assigned(_))));
    let positions = Positions::from([(at("t", 0), 5), (at("t", 1), 6)]);
    member.committer().commit(&positions, "state 7").await.unwrap();

    let world = world.restart(&[("t", 2)]).await;
    let offsets = world.coordinator.committed("g");
    assert_eq!(offsets[&at("t", 0)], committed(5, "state 7"));
    assert_eq!(offsets[&at("t", 1)], committed(6, "state 7"));
    let snapshot = world.coordinator.snapshot("g").unwrap();
    assert_eq!((snapshot.state, snapshot.generation), (GroupState::Empty, 1));

    let mut member = world.member(subscription("g")).unwrap();
    let Ok(GroupChange::Assigned(readers)) = member.next_change().await else { panic!() };
    let first = readers.iter().find(|reader| reader.partition().partition == 0).unwrap();
    assert_eq!((first.position(), first.committed()), (5, Some(&committed(5, "state 7"))));
    assert_eq!(world.coordinator.snapshot("g").unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stale_generation_cannot_commit() {
    let world = World::new(&[("t", 1)]).await;
    let mut member = world.member(subscription("g")).unwrap();
    assert!(matches!(member.next_change().await, Ok(GroupChange::Assigned(_))));
    let snapshot = world.coordinator.snapshot("g").unwrap();
    let stale = Membership {
        member_id: snapshot.members[0].id.clone(),
        instance_id: None,
        generation: snapshot.generation - 1,
    };
    let offsets = vec![(at("t", 0), committed(9, ""))];
    let refused = world.coordinator.commit("g", &stale, offsets.clone()).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::IllegalGeneration);
    let current = Membership { generation: snapshot.generation, ..stale };
    world.coordinator.commit("g", &current, offsets).await.unwrap();
    assert_eq!(world.committed("g", &at("t", 0)), Some(9));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_disk_refused_does_not_count() {
    let world = World::new(&[("t", 1)]).await;
    commit(&world, "g", 0, 1).await.unwrap();
    *world.store.fails.lock() = Some(LogError::DiskFull { action: "append".into() });
    let refused = commit(&world, "g", 0, 2).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::StorageError);
    assert_eq!(world.committed("g", &at("t", 0)), Some(1));
    *world.store.fails.lock() = None;
    commit(&world, "g", 0, 3).await.unwrap();
    assert_eq!(world.committed("g", &at("t", 0)), Some(3));
}

#[tokio::test(start_paused = true)]
async fn many_commits_at_once_keep_the_last_on_disk_as_in_memory() {
    let world = World::new(&[("t", 3)]).await;
    let commits = (0..300).map(|n| commit(&world, "g", n % 3, i64::from(n)));
    futures::future::try_join_all(commits).await.unwrap();
    let before = world.coordinator.committed("g");
    let world = world.restart(&[("t", 3)]).await;
    assert_eq!(world.coordinator.committed("g"), before);
    assert_eq!(before.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn commits_are_checked_against_the_topics_and_the_bounds() {
    let world = World::new(&[("t", 1)]).await;
    let code = |outcome: Result<(), LogError>| outcome.unwrap_err().code();
    assert_eq!(code(commit(&world, "g", 1, 0).await), ErrorCode::UnknownTopicOrPartition);
    let long = vec![(at("t", 0), committed(1, &"x".repeat(5_000)))];
    let refused = world.coordinator.commit("g", &Membership::none(), long).await;
    assert_eq!(code(refused), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(code(commit(&world, &"g".repeat(300), 0, 0).await), ErrorCode::InvalidGroupId);
    assert_eq!(code(commit(&world, "a\nb", 0, 0).await), ErrorCode::InvalidGroupId);
    let nobody = Membership { member_id: "m".into(), instance_id: None, generation: 1 };
    let refused = world.coordinator.commit("g", &nobody, Vec::new()).await;
    assert_eq!(code(refused), ErrorCode::UnknownMemberId);
    assert!(world.coordinator.groups().is_empty(), "refusals leave nothing behind");
}

#[tokio::test(start_paused = true)]
async fn a_reset_to_the_beginning_reads_all_again() {
    let world = World::new(&[("t", 1)]).await;
    for value in ["x", "y"] {
        world.log.append(&at("t", 0), value);
    }
    let first = world.owner("a");
    first.has_seen(2).await;
    while world.committed("g", &at("t", 0)) != Some(2) {
        tokio::task::yield_now().await;
    }
    let to_start = Positions::from([(at("t", 0), 0)]);
    let refused = world.coordinator.reset("g", &to_start).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    first.stop().await;
    world.coordinator.reset("g", &to_start).await.unwrap();
    assert_eq!(world.coordinator.committed("g")[&at("t", 0)], committed(0, ""));
    assert_eq!(world.owner("a").has_seen(2).await, ["x", "y"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_described_with_members_and_lag() {
    let world = World::new(&[("t", 2)]).await;
    let _owner = world.owner("a");
    world.held("g", &[("a", 2)]).await;
    for _ in 0..3 {
        world.log.append(&at("t", 1), "x");
    }
    while world.committed("g", &at("t", 1)) != Some(3) {
        tokio::task::yield_now().await;
    }
    world.log.append(&at("t", 0), "x");
    let described = world.coordinator.describe("g", &*world.log).await.unwrap();
    assert_eq!((described.state, described.generation), (GroupState::Stable, 1));
    assert_eq!(described.strategy, "cooperative-sticky");
    assert_eq!(described.members[0].client_id, "a");
    assert_eq!(described.members[0].partitions, [at("t", 0), at("t", 1)]);
    let of_1 = described.offsets.iter().find(|offset| offset.partition == at("t", 1)).unwrap();
    assert_eq!((of_1.committed, of_1.end, of_1.lag), (3, 3, 0));
    let unknown = world.coordinator.describe("unknown", &*world.log).await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::GroupIdNotFound);

    commit(&world, "tool", 1, 1).await.unwrap();
    let described = world.coordinator.describe("tool", &*world.log).await.unwrap();
    assert_eq!((described.state, described.offsets[0].lag), (GroupState::Empty, 2));
    let groups = world.coordinator.groups();
    let listed: Vec<_> = groups.iter().map(|group| (group.id.as_str(), group.members)).collect();
    assert_eq!(listed, [("g", 1), ("tool", 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_group_is_forgotten_for_good() {
    let world = World::new(&[("t", 1)]).await;
    let owner = world.owner("a");
    world.held("g", &[("a", 1)]).await;
    owner.committer.commit(&Positions::from([(at("t", 0), 1)]), "").await.unwrap();
    let refused = world.coordinator.delete("g").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    owner.stop().await;
    world.coordinator.delete("g").await.unwrap();
    let unknown = world.coordinator.delete("g").await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::GroupIdNotFound);
    let world = world.restart(&[("t", 1)]).await;
    assert!(world.coordinator.groups().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_offsets_of_a_deleted_topic_go_with_it() {
    let world = World::new(&[("t", 1), ("u", 1)]).await;
    commit(&world, "g", 0, 1).await.unwrap();
    let on_u = vec![(at("u", 0), committed(2, ""))];
    world.coordinator.commit("g", &Membership::none(), on_u).await.unwrap();
    world.coordinator.topics_changed(|| Ok(topics(&[("u", 1)]))).unwrap();
    world.coordinator.forget_topic(&topic("t")).await.unwrap();
    assert_eq!(world.committed("g", &at("t", 0)), None);
    // A crash may come between the topic's end and that of its offsets.
    let world = world.restart(&[("t", 1)]).await;
    let repaired = || world.coordinator.committed("g").is_empty();
    while !repaired() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_outlive_the_last_member_by_the_retention_and_no_longer() {
    let day = Duration::from_secs(86_400);
    let options = GroupOptions { offsets_retention: 7 * day, ..GroupOptions::default() };
    let world = World::with(&[("t", 1)], options).await;
    let owner = world.owner("a");
    world.held("g", &[("a", 1)]).await;
    owner.committer.commit(&Positions::from([(at("t", 0), 1)]), "").await.unwrap();
    let expire = async || world.coordinator.expire(world.clock.now()).await.unwrap();

    world.clock.advance(30 * day);
    expire().await;
    assert_eq!(world.committed("g", &at("t", 0)), Some(1), "a member is in the group");
    owner.stop().await;
    world.clock.advance(6 * day);
    expire().await;
    assert_eq!(world.committed("g", &at("t", 0)), Some(1), "empty for six days");
    world.clock.advance(2 * day);
    expire().await;
    assert_eq!(world.committed("g", &at("t", 0)), None);
    assert!(world.coordinator.groups().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_costs_nothing_but_itself() {
    let world = World::new(&[("t", 1)]).await;
    commit(&world, "g", 0, 4).await.unwrap();
    let broken = courant_model::Record::new("?", world.clock.now()).with_key(vec![0, 1, 0]);
    world.store.batches.lock().insert(0, StateBatch::Records(vec![broken]));
    let world = world.restart(&[("t", 1)]).await;
    assert_eq!(world.committed("g", &at("t", 0)), Some(4));
}
