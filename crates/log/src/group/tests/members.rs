//! How members of this process share partitions, and what happens when they come,
//! go, die, restart and fall behind.

use std::{sync::Arc, time::Duration};

use courant_model::{Positions, limits};
use proptest::prelude::*;

use super::doubles::{Holdings, Owner, World, at, subscription, topic, topics};
use crate::{
    AutoOffsetReset, ErrorCode, GroupChange, GroupState, LogError, Subscription,
    group::{
        AssignmentStrategy, CONSUMER_PROTOCOL, GroupOptions, JoinRequest, MemberAssignment,
        MemberSubscription, Membership, Protocol, SyncRequest,
    },
};

#[tokio::test(start_paused = true)]
async fn two_members_share_the_partitions_and_the_records() {
    let world = World::new(&[("t", 4)]).await;
    let (a, b) = (world.owner("a"), world.owner("b"));
    world.held("g", &[("a", 2), ("b", 2)]).await;
    for partition in 0..4 {
        world.log.append(&at("t", partition), "x");
    }
    assert_eq!(a.has_seen(2).await.len() + b.has_seen(2).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn members_that_start_together_need_one_generation() {
    let world = World::new(&[("t", 4)]).await;
    let _owners = [world.owner("a"), world.owner("b"), world.owner("c"), world.owner("d")];
    world.held("g", &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]).await;
    assert_eq!(world.coordinator.snapshot("g").unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_dropped_gives_its_partitions_to_the_others_at_once() {
    let world = World::new(&[("t", 4)]).await;
    let (a, _b) = (world.owner("a"), world.owner("b"));
    world.held("g", &[("a", 2), ("b", 2)]).await;
    let before = tokio::time::Instant::now();
    a.stop().await;
    world.held("g", &[("b", 4)]).await;
    assert!(before.elapsed() < Duration::from_secs(1), "no session had to end");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_is_out_before_the_call_returns() {
    let world = World::new(&[("t", 1)]).await;
    let mut member = world.member(subscription("g")).unwrap();
    assert!(matches!(member.next_change().await, Ok(GroupChange::Assigned(_))));
    member.leave().await.unwrap();
    assert_eq!(world.coordinator.snapshot("g").unwrap().state, GroupState::Empty);
}

#[tokio::test(start_paused = true)]
async fn members_cannot_fill_the_memory_however_many_groups_they_make() {
    let world = World::new(&[("t", 1)]).await;
    let metadata = bytes::Bytes::from(vec![7; limits::GROUP_MEMBER_METADATA_BYTES_MAX - 10]);
    let join = |group: String| {
        let request = JoinRequest {
            member_id: String::new(),
            instance_id: None,
            client_id: "large".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: 600_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "any".to_owned(),
            protocols: vec![Protocol { name: "one".to_owned(), metadata: metadata.clone() }],
            member_id_required: false,
            can_skip_assignment: false,
        };
        let coordinator = world.coordinator.clone();
        async move { coordinator.join(&group, request).await }
    };
    let mut joined = Vec::new();
    let refusal = loop {
        match join(format!("g-{}", joined.len())).await {
            Ok(member) => joined.push(member),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.code(), ErrorCode::InvalidGroupId);
    assert_eq!(joined.len(), limits::GROUPS_HELD_BYTES_MAX / metadata.len() - 1);
    world.coordinator.leave("g-0", &joined[0].member_id, None).unwrap();
    assert!(join("again".to_owned()).await.is_ok());
}

/// A network member that joins with the bytes of a Kafka client and, as soon as it has
/// a partition, falls silent.
async fn silent_stranger(world: &World) -> Membership {
    let group = &world.coordinator;
    let mut request = strangers_request();
    let refused = group.join("g", request.clone()).await;
    let Err(LogError::MemberIdRequired { member, .. }) = refused else { panic!("{refused:?}") };
    request.member_id = member;
    loop {
        let joined = group.join("g", request.clone()).await.unwrap();
        let membership = Membership {
            member_id: joined.member_id,
            instance_id: None,
            generation: joined.generation,
        };
        let sync = SyncRequest {
            membership: membership.clone(),
            protocol_type: None,
            protocol: None,
            assignments: Vec::new(),
        };
        if let Ok(synced) = group.sync("g", sync).await {
            if !MemberAssignment::decode(&synced.assignment).unwrap().partitions.is_empty() {
                return membership;
            }
            while group.heartbeat("g", &membership).is_ok() {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn strangers_request() -> JoinRequest {
    let subscription = MemberSubscription {
        topics: vec![topic("t")],
        user_data: None,
        owned: [].into(),
        generation: -1,
        rack: None,
    };
    JoinRequest {
        member_id: String::new(),
        instance_id: None,
        client_id: "stranger".into(),
        client_host: "/10.0.0.9".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: CONSUMER_PROTOCOL.into(),
        protocols: vec![Protocol {
            name: "cooperative-sticky".into(),
            metadata: subscription.encode(1),
        }],
        member_id_required: true,
        can_skip_assignment: false,
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_member_dies_its_session_ends_and_the_other_takes_over_without_loss() {
    let world = World::new(&[("t", 2)]).await;
    let a = world.owner("a");
    world.held("g", &[("a", 2)]).await;
    let dead = silent_stranger(&world).await;
    world.held("g", &[("a", 1)]).await;
    for partition in [0, 1] {
        for value in ["x", "y"] {
            world.log.append(&at("t", partition), value);
        }
    }
    a.has_seen(2).await;
    world.held("g", &[("a", 2)]).await;
    assert_eq!(a.has_seen(4).await.len(), 4);
    let too_late = world.coordinator.heartbeat("g", &dead).unwrap_err();
    assert_eq!(too_late.code(), ErrorCode::UnknownMemberId);
}

#[tokio::test(start_paused = true)]
async fn a_third_member_takes_only_what_it_is_due_and_nobody_else_stops() {
    let world = World::new(&[("t", 6)]).await;
    let (a, b) = (world.owner("a"), world.owner("b"));
    world.held("g", &[("a", 3), ("b", 3)]).await;
    let c = world.owner("c");
    world.held("g", &[("a", 2), ("b", 2), ("c", 2)]).await;
    for owner in [&a, &b] {
        let changes = owner.changes.lock().clone();
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[1].starts_with('-') && !changes[1].contains(','), "{changes:?}");
    }
    assert!(c.changes.lock().iter().all(|change| change.starts_with('+')));
}

#[tokio::test(start_paused = true)]
async fn eager_members_give_everything_back_before_they_share_anew() {
    for strategy in
        [AssignmentStrategy::Range, AssignmentStrategy::RoundRobin, AssignmentStrategy::Sticky]
    {
        let options = GroupOptions { strategies: vec![strategy], ..GroupOptions::default() };
        let world = World::with(&[("t", 4)], options).await;
        let a = world.owner("a");
        world.held("g", &[("a", 4)]).await;
        let _b = world.owner("b");
        world.held("g", &[("a", 2), ("b", 2)]).await;
        assert_eq!(a.changes.lock()[1], "-t-0,t-1,t-2,t-3", "{strategy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_static_member_restarts_without_a_rebalance_and_goes_on_where_it_was() {
    let world = World::new(&[("t", 2)]).await;
    let fixed = || Subscription { instance_id: Some("i".into()), ..subscription("g") };
    let (a, b) = (world.owner_of("a", fixed()), world.owner("b"));
    world.held("g", &[("a", 1), ("b", 1)]).await;
    let partition =
        world.holders.now.borrow().iter().find(|(_, name)| *name == "a").unwrap().0.1.clone();
    world.log.append(&partition, "first");
    a.has_seen(1).await;
    let generation = world.coordinator.snapshot("g").unwrap().generation;
    while world.committed("g", &partition) != Some(1) {
        tokio::task::yield_now().await;
    }
    a.stop().await;
    let again = world.owner_of("again", fixed());
    world.held("g", &[("again", 1), ("b", 1)]).await;
    world.log.append(&partition, "second");
    assert_eq!(again.has_seen(1).await, ["second"]);
    assert_eq!(world.coordinator.snapshot("g").unwrap().generation, generation);
    assert_eq!(b.changes.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_static_member_that_does_not_come_back_is_out_when_its_session_ends() {
    let world = World::new(&[("t", 2)]).await;
    let fixed = Subscription { instance_id: Some("i".into()), ..subscription("g") };
    let (a, _b) = (world.owner_of("a", fixed), world.owner("b"));
    world.held("g", &[("a", 1), ("b", 1)]).await;
    a.stop().await;
    world.held("g", &[("b", 2)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_static_member_is_fenced_by_its_successor() {
    let world = World::new(&[("t", 1)]).await;
    let fixed = || Subscription { instance_id: Some("i".into()), ..subscription("g") };
    let mut first = world.member(fixed()).unwrap();
    assert!(matches!(first.next_change().await, Ok(GroupChange::Assigned(_))));
    let committer = first.committer();
    let mut second = world.member(fixed()).unwrap();
    assert!(matches!(second.next_change().await, Ok(GroupChange::Assigned(_))));
    let lost = first.next_change().await.unwrap();
    assert!(matches!(lost, GroupChange::Lost(lost) if lost == [at("t", 0)]));
    assert_eq!(first.next_change().await.unwrap_err().code(), ErrorCode::FencedInstanceId);
    let late = committer.commit(&Positions::from([(at("t", 0), 5)]), "").await;
    assert_eq!(late.unwrap_err().code(), ErrorCode::IllegalGeneration);
}

#[tokio::test(start_paused = true)]
async fn commits_work_until_the_revoked_partitions_are_given_back_and_not_after() {
    let world = World::new(&[("t", 2)]).await;
    let mut a = world.member(subscription("g")).unwrap();
    assert!(matches!(a.next_change().await, Ok(GroupChange::Assigned(all)) if all.len() == 2));
    let committer = a.committer();
    let _b = world.owner("b");
    let Ok(GroupChange::Revoked(gone)) = a.next_change().await else { panic!("nothing revoked") };
    let positions = Positions::from([(gone[0].clone(), 7)]);
    committer.commit(&positions, "done").await.unwrap();
    assert!(world.holders.now.borrow().is_empty(), "nobody has it while it is being given back");
    let held = world.held("g", &[("b", 1)]);
    tokio::select! {
        change = a.next_change() => panic!("{change:?}"),
        () = held => {}
    }
    let late = committer.commit(&positions, "too late").await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::IllegalGeneration);
    assert_eq!(world.committed("g", &gone[0]), Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_commit_in_the_middle_of_a_rebalance_waits_and_then_counts() {
    let world = World::new(&[("t", 2)]).await;
    let a = world.owner("a");
    world.held("g", &[("a", 2)]).await;
    let _b = world.member(subscription("g")).unwrap();
    // The group is between two generations while these arrive; a keeps one partition.
    let mut accepted = 0;
    for partition in [0, 1] {
        let positions = Positions::from([(at("t", partition), 3)]);
        if a.committer.commit(&positions, "").await.is_ok() {
            accepted += 1;
        }
    }
    assert!(accepted >= 1);
    assert!(
        (0..2).filter(|at_| world.committed("g", &at("t", *at_)) == Some(3)).count() == accepted
    );
}

#[tokio::test(start_paused = true)]
async fn partitions_that_a_topic_gains_are_shared_out() {
    let world = World::new(&[("t", 2)]).await;
    let (_a, _b) = (world.owner("a"), world.owner("b"));
    world.held("g", &[("a", 1), ("b", 1)]).await;
    world.coordinator.topics_changed(|| Ok(topics(&[("t", 4), ("other", 9)]))).unwrap();
    world.held("g", &[("a", 2), ("b", 2)]).await;
    world.coordinator.topics_changed(|| Ok(topics(&[("other", 9)]))).unwrap();
    world.held("g", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn two_groups_each_see_everything() {
    let world = World::new(&[("t", 2)]).await;
    let (a, b) = (world.owner("a"), world.owner_of("b", subscription("other")));
    for value in ["x", "y", "z"] {
        world.log.append(&at("t", 1), value);
    }
    assert_eq!(a.has_seen(3).await, ["x", "y", "z"]);
    assert_eq!(b.has_seen(3).await, ["x", "y", "z"]);
}

#[tokio::test(start_paused = true)]
async fn more_members_than_partitions_stand_by_until_one_is_free() {
    let world = World::new(&[("t", 1)]).await;
    let a = world.owner("a");
    world.held("g", &[("a", 1)]).await;
    let _b = world.owner("b");
    a.stop().await;
    world.held("g", &[("b", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_begins_at_the_end_if_it_wants_and_steps_over_what_is_gone() {
    let world = World::new(&[("t", 1)]).await;
    world.log.append(&at("t", 0), "old");
    let latest = Subscription { reset: AutoOffsetReset::Latest, ..subscription("new") };
    let a = world.owner_of("a", latest);
    world.held("new", &[("a", 1)]).await;
    world.log.append(&at("t", 0), "fresh");
    assert_eq!(a.has_seen(1).await, ["fresh"]);

    world.log.trim(&at("t", 0), 1);
    world.coordinator.reset("behind", &Positions::from([(at("t", 0), 0)])).await.unwrap();
    let b = world.owner_of("b", subscription("behind"));
    assert_eq!(b.has_seen(1).await, ["fresh"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_refused_for_a_reason() {
    let world = World::new(&[("t", 1)]).await;
    let code = |subscription| world.member(subscription).unwrap_err().code();
    let missing = Subscription { topics: vec![topic("missing")], ..subscription("g") };
    assert_eq!(code(missing), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(subscription("")), ErrorCode::InvalidGroupId);
    let hasty = Subscription { session_timeout: Duration::from_millis(1), ..subscription("g") };
    assert_eq!(code(hasty), ErrorCode::InvalidSessionTimeout);
    assert!(world.coordinator.groups().is_empty());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_every_membership() {
    let world = World::new(&[("t", 1)]).await;
    let mut member = world.member(subscription("g")).unwrap();
    assert!(matches!(member.next_change().await, Ok(GroupChange::Assigned(_))));
    let committer = member.committer();
    world.coordinator.close().await.unwrap();
    assert_eq!(member.next_change().await.unwrap_err().code(), ErrorCode::Closed);
    let late = committer.commit(&Positions::from([(at("t", 0), 1)]), "").await;
    assert_eq!(late.unwrap_err().code(), ErrorCode::Closed);
}

/// Members come and go at random; the books of [`Owner`] fail on two holders.
async fn churn(strategy: AssignmentStrategy, steps: Vec<(usize, u64)>) {
    let options = GroupOptions { strategies: vec![strategy], ..GroupOptions::default() };
    let world = World::with(&[("t", 5)], options).await;
    let mut owners: Vec<Option<Owner>> = (0..4).map(|_| None).collect();
    for (who, wait_ms) in steps {
        match owners[who].take() {
            Some(owner) => owner.stop().await,
            None => owners[who] = Some(world.owner(&format!("o{who}"))),
        }
        tokio::time::advance(Duration::from_millis(wait_ms)).await;
        for _ in 0..wait_ms {
            tokio::task::yield_now().await;
        }
    }
    let left: Vec<String> =
        (0..4).filter(|who| owners[*who].is_some()).map(|who| format!("o{who}")).collect();
    let settled = |holdings: &Holdings| left.is_empty() || holdings.len() == 5;
    let settled = world.holders.become_so(settled).await;
    assert!(settled, "{left:?} hold {:?}", world.holders.now.borrow());
    let all: Vec<_> =
        owners.iter().flatten().flat_map(|owner| owner.changes.lock().clone()).collect();
    assert_eq!(all.is_empty(), left.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn however_members_come_and_go_a_partition_has_one_holder_and_finally_all_have_one(
        strategy in proptest::sample::select(AssignmentStrategy::ALL.to_vec()),
        steps in proptest::collection::vec((0..4_usize, 0..40_u64), 1..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(churn(strategy, steps));
    }
}

#[test]
fn the_coordinator_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Arc<crate::group::Coordinator>>();
}
