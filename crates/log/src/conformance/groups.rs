//! The behaviours of consumer groups; see the traits for the words.

use std::{collections::BTreeSet, time::Duration};

use courant_model::{Positions, limits::OFFSET_METADATA_BYTES_MAX};

use super::{
    LogHarness, World, apply, assigned, change, eventually, names, read_values, soon, text,
};
use crate::{
    AutoOffsetReset, Committed, ErrorCode, GroupChange, GroupState, Subscription, TopicChange,
};

pub async fn a_member_commits_and_the_next_goes_on_there(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    world.append(0, &["x", "y"]).await;
    let (member, mut readers) = world.join_for(2).await;
    assert_eq!((readers[0].position(), readers[0].committed()), (0, None));
    assert_eq!(read_values(readers[0].as_mut(), 2).await, ["x", "y"]);
    assert_eq!(readers[0].position(), 2);
    member.committer().commit(&world.positions(&[(0, 2)]), "two").await.unwrap();
    member.leave().await.unwrap();

    world.append(0, &["z"]).await;
    let (_member, mut readers) = world.join_for(2).await;
    let before = Committed { offset: 2, metadata: "two".into() };
    assert_eq!((readers[0].position(), readers[0].committed()), (2, Some(&before)));
    assert_eq!(readers[1].committed(), None);
    assert_eq!(read_values(readers[0].as_mut(), 1).await, ["z"]);
}

pub async fn what_is_committed_by_now_is_told(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["x", "y"]).await;
    let (member, _readers) = world.join_for(1).await;
    let committer = member.committer();
    assert_eq!(committer.committed(&world.at(0)).await.unwrap(), None);
    committer.commit(&world.positions(&[(0, 1)]), "one").await.unwrap();
    let one = Committed { offset: 1, metadata: "one".into() };
    assert_eq!(committer.clone_box().committed(&world.at(0)).await.unwrap(), Some(one));
}

pub async fn a_group_begins_where_its_subscription_says(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["before"]).await;
    let latest = Subscription { reset: AutoOffsetReset::Latest, ..world.subscription() };
    let mut member = world.log.subscribe(latest).await.unwrap();
    let mut readers = assigned(member.as_mut(), 1).await;
    assert_eq!(readers[0].position(), 1);
    world.append(0, &["after"]).await;
    assert_eq!(read_values(readers[0].as_mut(), 1).await, ["after"]);
}

pub async fn two_members_share_the_partitions_and_the_survivor_takes_over(
    harness: &dyn LogHarness,
) {
    let world = World::new(harness, 4).await;
    let (mut first, mut second) = (world.join().await, world.join().await);
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    while mine.len() != 2 || theirs.len() != 2 {
        tokio::select! {
            change = change(first.as_mut()) => apply(change, &mut mine),
            change = change(second.as_mut()) => apply(change, &mut theirs),
        }
        assert!(names(&mine).is_disjoint(&names(&theirs)));
    }
    let theirs_were = names(&theirs);
    for partition in 0..4 {
        world.append(partition, &["a"]).await;
    }
    for reader in mine.iter_mut().chain(&mut theirs) {
        assert_eq!(read_values(reader.as_mut(), 1).await, ["a"]);
    }
    let done: Positions = theirs_were.iter().map(|partition| (partition.clone(), 1)).collect();
    second.committer().commit(&done, "").await.unwrap();
    second.leave().await.unwrap();
    while mine.len() != 4 {
        apply(change(first.as_mut()).await, &mut mine);
    }
    for reader in &mut mine {
        assert_eq!(reader.position(), 1, "{}", reader.partition());
    }
}

pub async fn a_member_that_is_dropped_gives_its_partitions_to_the_others(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    let (first, readers) = world.join_for(2).await;
    drop((first, readers));
    let (_second, readers) = world.join_for(2).await;
    assert_eq!(names(&readers), BTreeSet::from([world.at(0), world.at(1)]));
}

pub async fn a_revoked_partition_stays_until_the_member_comes_back(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    let (mut first, _readers) = world.join_for(2).await;
    let committer = first.committer();
    let mut second = world.join().await;
    // The newcomer asks as well: a member that is never asked never joins in.
    let gone = tokio::select! {
        change = change(first.as_mut()) => match change {
            GroupChange::Revoked(gone) => gone,
            other => panic!("{other:?}"),
        },
        change = change(second.as_mut()) => panic!("{change:?}"),
    };
    assert_eq!(gone.len(), 1);
    let positions = Positions::from([(gone[0].clone(), 0)]);
    committer.commit(&positions, "finished").await.unwrap();
    let taken = tokio::select! {
        change = change(first.as_mut()) => panic!("{change:?}"),
        readers = assigned(second.as_mut(), 1) => readers,
    };
    assert_eq!(names(&taken), gone.iter().cloned().collect());
    assert_eq!(taken[0].committed().map(|c| c.metadata.as_str()), Some("finished"));
    let late = committer.commit(&positions, "too late").await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::IllegalGeneration);
}

pub async fn two_groups_each_see_everything(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["a", "b"]).await;
    for _ in 0..2 {
        let group = super::fresh("group");
        let subscription = Subscription { group, ..world.subscription() };
        let mut member = world.log.subscribe(subscription).await.unwrap();
        let mut readers = assigned(member.as_mut(), 1).await;
        assert_eq!(read_values(readers[0].as_mut(), 2).await, ["a", "b"]);
        member.committer().commit(&world.positions(&[(0, 2)]), "").await.unwrap();
    }
}

pub async fn a_reader_seeks_and_tells_its_position(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["0", "1", "2", "3"]).await;
    let (_member, mut readers) = world.join_for(1).await;
    let reader = readers[0].as_mut();
    assert_eq!(read_values(reader, 4).await, ["0", "1", "2", "3"]);
    reader.seek(1);
    assert_eq!(reader.position(), 1);
    assert_eq!(read_values(reader, 3).await, ["1", "2", "3"]);
    reader.seek(3);
    assert_eq!(read_values(reader, 1).await, ["3"]);
    assert_eq!(reader.position(), 4);
    world.append(0, &["4"]).await;
    assert_eq!(read_values(reader, 1).await, ["4"]);
}

pub async fn a_reader_that_is_not_read_holds_back_no_other(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    let value = "x".repeat(1_000);
    let many = vec![value.as_str(); 500];
    for _ in 0..20 {
        world.append(0, &many).await;
    }
    world.append(1, &["a"]).await;
    let (_member, mut readers) = world.join_for(2).await;
    assert_eq!(read_values(readers[1].as_mut(), 1).await, ["a"]);
    world.append(1, &["b"]).await;
    assert_eq!(read_values(readers[1].as_mut(), 1).await, ["b"]);
    assert_eq!(read_values(readers[0].as_mut(), 10_000).await.len(), 10_000);
}

pub async fn a_read_that_is_dropped_loses_nothing(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let (_member, mut readers) = world.join_for(1).await;
    let reader = readers[0].as_mut();
    let mut values = Vec::new();
    for n in 0..50 {
        world.append(0, &[&n.to_string()]).await;
        tokio::select! {
            biased;
            read = reader.next(100, 1 << 20) => {
                values.extend(read.unwrap().records.iter().map(|stored| text(&stored.record)));
            }
            () = tokio::task::yield_now() => {}
        }
    }
    values.extend(read_values(reader, 50 - values.len()).await);
    assert_eq!(values, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub async fn a_reader_takes_no_more_than_asked(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let values: Vec<String> = (0..10).map(|n| format!("{n}{}", "x".repeat(99))).collect();
    world.append(0, &values.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (_member, mut readers) = world.join_for(1).await;
    let mut found = Vec::new();
    while found.len() < 10 {
        let (records, bytes) = if found.len() % 2 == 0 { (3, 1 << 20) } else { (100, 1) };
        let read = soon("records", readers[0].next(records, bytes)).await.unwrap();
        assert!((1..=3).contains(&read.records.len()));
        assert!(bytes > 1 || read.records.len() == 1);
        assert_eq!(read.next, readers[0].position());
        found.extend(read.records.iter().map(|stored| text(&stored.record)));
    }
    assert_eq!(found, values);
}

pub async fn records_that_are_gone_are_stepped_over(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["0", "1", "2"]).await;
    let (member, _readers) = world.join_for(1).await;
    member.committer().commit(&world.positions(&[(0, 1)]), "").await.unwrap();
    member.leave().await.unwrap();
    world.log.delete_records(&world.at(0), 2).await.unwrap();
    let (_member, mut readers) = world.join_for(1).await;
    assert_eq!(read_values(readers[0].as_mut(), 1).await, ["2"]);
    assert_eq!(readers[0].position(), 3);
}

pub async fn a_static_member_comes_back_to_its_partitions(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    world.append(0, &["a"]).await;
    let fixed = || Subscription { instance_id: Some("one".into()), ..world.subscription() };
    let mut member = world.log.subscribe(fixed()).await.unwrap();
    let mut readers = assigned(member.as_mut(), 2).await;
    assert_eq!(read_values(readers[0].as_mut(), 1).await, ["a"]);
    member.committer().commit(&world.positions(&[(0, 1)]), "").await.unwrap();
    drop((member, readers));
    let mut again = world.log.subscribe(fixed()).await.unwrap();
    let readers = assigned(again.as_mut(), 2).await;
    assert_eq!((readers[0].position(), readers[1].position()), (1, 0));
}

pub async fn a_newer_instance_fences_the_older(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let fixed = || Subscription { instance_id: Some("one".into()), ..world.subscription() };
    let mut older = world.log.subscribe(fixed()).await.unwrap();
    let _readers = assigned(older.as_mut(), 1).await;
    let mut newer = world.log.subscribe(fixed()).await.unwrap();
    let _taken = assigned(newer.as_mut(), 1).await;
    let refused = soon("the fence", async {
        loop {
            match older.next_change().await {
                Ok(GroupChange::Assigned(readers)) => panic!("{readers:?}"),
                Ok(GroupChange::Revoked(_) | GroupChange::Lost(_)) => {}
                Err(error) => return error,
            }
        }
    });
    assert_eq!(refused.await.code(), ErrorCode::FencedInstanceId);
    let late = older.committer().commit(&world.positions(&[(0, 0)]), "").await.unwrap_err();
    assert!(
        matches!(late.code(), ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId),
        "{late}"
    );
}

pub async fn a_group_is_described_with_members_and_lag(harness: &dyn LogHarness) {
    let world = World::new(harness, 2).await;
    world.append(0, &["a", "b", "c"]).await;
    let unknown = world.log.group(&world.group).await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::GroupIdNotFound);
    let (member, _readers) = world.join_for(2).await;
    member.committer().commit(&world.positions(&[(0, 1)]), "").await.unwrap();
    eventually("the group is stable", async || {
        let group = world.log.group(&world.group).await.unwrap();
        group.state == GroupState::Stable
    })
    .await;
    let group = world.log.group(&world.group).await.unwrap();
    assert_eq!((group.id.as_str(), group.members.len()), (world.group.as_str(), 1));
    assert!(!group.strategy.is_empty());
    assert_eq!(group.members[0].client_id, "conformance");
    let mut held = group.members[0].partitions.clone();
    held.sort();
    assert_eq!(held, [world.at(0), world.at(1)]);
    let [offset] = group.offsets.as_slice() else { panic!("{:?}", group.offsets) };
    assert_eq!(
        (&offset.partition, offset.committed, offset.end, offset.lag),
        (&world.at(0), 1, 3, 2)
    );
    let all = world.log.groups().await.unwrap();
    let mine = all.iter().find(|group| group.id == world.group).unwrap();
    assert_eq!((mine.members, mine.state), (1, GroupState::Stable));
}

pub async fn a_group_is_reset_and_deleted_without_members_only(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    world.append(0, &["a", "b"]).await;
    let (member, _readers) = world.join_for(1).await;
    member.committer().commit(&world.positions(&[(0, 2)]), "mine").await.unwrap();
    let to_start = world.positions(&[(0, 0)]);
    let refused = world.log.reset_group(&world.group, &to_start).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    let refused = world.log.delete_group(&world.group).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    member.leave().await.unwrap();
    is_empty(&world).await;

    world.log.reset_group(&world.group, &to_start).await.unwrap();
    let (member, mut readers) = world.join_for(1).await;
    let by_hand = Committed { offset: 0, metadata: String::new() };
    assert_eq!(readers[0].committed(), Some(&by_hand));
    assert_eq!(read_values(readers[0].as_mut(), 2).await, ["a", "b"]);
    member.leave().await.unwrap();
    is_empty(&world).await;

    world.log.delete_group(&world.group).await.unwrap();
    let unknown = world.log.delete_group(&world.group).await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::GroupIdNotFound);
    let (_member, readers) = world.join_for(1).await;
    assert_eq!(readers[0].committed(), None);
}

/// Waits until the group has no members: a cluster's coordinator may hear of the last
/// one's end a moment late.
async fn is_empty(world: &World) {
    eventually("the group is empty", async || {
        world.log.group(&world.group).await.unwrap().members.is_empty()
    })
    .await;
}

pub async fn partitions_that_a_topic_gains_reach_the_member(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let (mut member, mut held) = world.join_for(1).await;
    let grow = TopicChange { partitions: Some(3), settings: None };
    world.log.alter_topic(&world.topic, &grow).await.unwrap();
    while held.len() < 3 {
        apply(change(member.as_mut()).await, &mut held);
    }
    world.append(2, &["new"]).await;
    let third = held.iter_mut().find(|reader| reader.partition().partition == 2).unwrap();
    assert_eq!(read_values(third.as_mut(), 1).await, ["new"]);
}

pub async fn a_deleted_topic_ends_its_readers(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let (mut member, mut readers) = world.join_for(1).await;
    let deleting = async {
        world.log.delete_topic(&world.topic).await.unwrap();
        std::future::pending::<()>().await;
    };
    // Whichever comes first: the reader hears of it, or the partition is taken back.
    tokio::select! {
        read = soon("the end of the reader", readers[0].next(100, 1 << 20)) => {
            let ended = read.unwrap_err();
            assert_eq!(ended.code(), ErrorCode::UnknownTopicOrPartition);
        }
        change = change(member.as_mut()) => match change {
            GroupChange::Revoked(gone) | GroupChange::Lost(gone) => {
                assert_eq!(gone, [world.at(0)]);
            }
            GroupChange::Assigned(readers) => panic!("{readers:?}"),
        },
        () = deleting => {}
    }
}

pub async fn a_commit_is_bounded(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let (member, _readers) = world.join_for(1).await;
    let (committer, positions) = (member.committer(), world.positions(&[(0, 0)]));
    let long = "x".repeat(OFFSET_METADATA_BYTES_MAX + 1);
    let refused = committer.commit(&positions, &long).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OffsetMetadataTooLarge);
    committer.commit(&positions, &long[1..]).await.unwrap();
}

pub async fn a_closed_log_ends_its_members(harness: &dyn LogHarness) {
    let world = World::new(harness, 1).await;
    let (mut member, mut readers) = world.join_for(1).await;
    let committer = member.committer();
    let waiting = tokio::spawn(async move { readers[0].next(1, 1).await.map(|_| ()) });
    // A member of a static group or not: nothing of it outlives the log.
    let ((), changed) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            world.log.close().await.unwrap();
        },
        soon("the end of the member", member.next_change()),
    );
    assert_eq!(changed.unwrap_err().code(), ErrorCode::Closed);
    let late = committer.commit(&world.positions(&[(0, 0)]), "").await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Closed);
    let read = soon("the end of the reader", waiting).await.unwrap();
    assert_eq!(read.unwrap_err().code(), ErrorCode::Closed);
}
