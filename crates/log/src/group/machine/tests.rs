//! The state machine by itself: Kafka's rules one by one, then random histories.
//!
//! Time is a number that the tests move. Every example names the rule it holds up;
//! the histories check what must hold whatever the members do.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::{collection, prelude::*};

use super::{
    Answer, Group, JoinRequest, Joined, Membership, Protocol, SyncRequest, Synced, Ticket,
};
use crate::{ErrorCode, GroupState, LogError};

const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 60_000;
const INITIAL_DELAY_MS: u64 = 3_000;

/// A group, the time, and what was answered.
struct Bench {
    group: Group,
    now_ms: u64,
    tickets: Ticket,
    joins: BTreeMap<Ticket, Result<Joined, LogError>>,
    syncs: BTreeMap<Ticket, Result<Synced, LogError>>,
}

fn request(member_id: &str) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "host".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: protocols(&["range"]),
        member_id_required: false,
        can_skip_assignment: true,
    }
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    let protocol = |name: &&str| Protocol { name: (*name).into(), metadata: Bytes::from("meta") };
    names.iter().map(protocol).collect()
}

fn code<T: std::fmt::Debug>(outcome: &Result<T, LogError>) -> ErrorCode {
    outcome.as_ref().unwrap_err().code()
}

impl Bench {
    fn new() -> Self {
        Self {
            group: Group::new("g", 0, INITIAL_DELAY_MS),
            now_ms: 0,
            tickets: 0,
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
        }
    }

    fn collect(&mut self) {
        for answer in self.group.take_answers() {
            let first = match answer {
                Answer::Join(ticket, answer) => self.joins.insert(ticket, answer).is_none(),
                Answer::Sync(ticket, answer) => self.syncs.insert(ticket, answer).is_none(),
            };
            assert!(first, "a ticket was answered twice");
        }
    }

    fn join(&mut self, request: JoinRequest) -> Ticket {
        self.tickets += 1;
        let new_id = format!("m{}", self.tickets);
        self.group.join(request, new_id, self.tickets, self.now_ms);
        self.collect();
        self.tickets
    }

    fn sync(&mut self, membership: Membership, assignments: &[(&str, &str)]) -> Ticket {
        self.tickets += 1;
        let own = |(id, share): &(&str, &str)| ((*id).to_owned(), Bytes::from((*share).to_owned()));
        let assignments = assignments.iter().map(own).collect();
        let request = SyncRequest { membership, protocol_type: None, protocol: None, assignments };
        self.group.sync(request, self.tickets, self.now_ms);
        self.collect();
        self.tickets
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.group.tick(self.now_ms);
        self.collect();
    }

    fn joined(&self, ticket: Ticket) -> &Joined {
        self.joins[&ticket].as_ref().unwrap()
    }

    /// A stable group of these requests, with shares "s0", "s1" … by member id; answers
    /// the members' ids, the leader first.
    fn stable(&mut self, requests: Vec<JoinRequest>) -> Vec<String> {
        let tickets: Vec<Ticket> = requests.into_iter().map(|one| self.join(one)).collect();
        while self.group.state() == GroupState::PreparingRebalance {
            self.wait(INITIAL_DELAY_MS);
        }
        let mut ids: Vec<String> =
            tickets.iter().map(|ticket| self.joined(*ticket).member_id.clone()).collect();
        let leader = self.joined(tickets[0]).leader.clone();
        ids.sort_by_key(|id| *id != leader);
        let shares: Vec<(String, String)> =
            ids.iter().enumerate().map(|(at, id)| (id.clone(), format!("s{at}"))).collect();
        let shares: Vec<(&str, &str)> =
            shares.iter().map(|(id, share)| (id.as_str(), share.as_str())).collect();
        for id in &ids {
            let membership = self.as_member(id);
            self.sync(membership, &shares);
        }
        assert_eq!(self.group.state(), GroupState::Stable);
        ids
    }

    fn as_member(&self, id: &str) -> Membership {
        let snapshot = self.group.snapshot();
        let member = snapshot.members.iter().find(|member| member.id == id);
        Membership {
            member_id: id.to_owned(),
            instance_id: member.and_then(|member| member.instance_id.clone()),
            generation: snapshot.generation,
        }
    }

    fn heartbeat(&mut self, id: &str) -> Result<(), LogError> {
        let membership = self.as_member(id);
        self.group.heartbeat(&membership, self.now_ms)
    }
}

#[test]
fn members_that_start_together_share_the_first_generation() {
    let mut bench = Bench::new();
    let first = bench.join(request(""));
    bench.wait(2_000);
    let second = bench.join(request(""));
    bench.wait(1_000);
    assert!(bench.joins.is_empty(), "somebody new came, so the group waits once more");
    bench.wait(INITIAL_DELAY_MS);
    assert_eq!(bench.joined(first).generation, 1);
    assert_eq!(bench.joined(second).generation, 1);
    assert_eq!(bench.joined(first).leader, bench.joined(first).member_id);
    assert_eq!(bench.joined(first).members.len(), 2);
    assert_eq!(bench.joined(second).members.len(), 0);
}

#[test]
fn a_new_member_over_the_network_is_sent_back_with_its_id() {
    let mut bench = Bench::new();
    let asks = JoinRequest { member_id_required: true, ..request("") };
    let ticket = bench.join(asks.clone());
    let Err(LogError::MemberIdRequired { member, .. }) = &bench.joins[&ticket] else {
        panic!("{:?}", bench.joins[&ticket]);
    };
    let ticket = bench.join(JoinRequest { member_id: member.clone(), ..asks });
    bench.wait(INITIAL_DELAY_MS);
    bench.wait(INITIAL_DELAY_MS);
    assert_eq!(bench.joined(ticket).generation, 1);
}

#[test]
fn an_id_that_was_handed_out_and_never_used_holds_up_nobody_for_longer_than_a_session() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request("")]);
    bench.join(JoinRequest { member_id_required: true, ..request("") });
    let again = bench.join(request(&ids[0]));
    assert!(!bench.joins.contains_key(&again), "the newcomer is waited for");
    bench.wait(SESSION_MS);
    assert_eq!(bench.joined(again).generation, 2);
}

#[test]
fn the_share_goes_to_whom_the_leader_gave_it() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request(""), request("")]);
    let shares: Vec<Bytes> =
        bench.syncs.values().map(|s| s.as_ref().unwrap().assignment.clone()).collect();
    assert_eq!(shares.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let leader = bench.group.snapshot().members.into_iter().find(|one| one.id == ids[0]).unwrap();
    assert_eq!(leader.assignment, "s0");
}

#[test]
fn a_silent_member_is_out_after_its_session_and_the_others_rejoin() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request(""), request("")]);
    bench.wait(SESSION_MS - 1);
    bench.heartbeat(&ids[0]).unwrap();
    bench.wait(1);
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
    assert_eq!(code(&bench.heartbeat(&ids[0])), ErrorCode::RebalanceInProgress);
    assert_eq!(code(&bench.heartbeat(&ids[1])), ErrorCode::UnknownMemberId);
    let ticket = bench.join(request(&ids[0]));
    assert_eq!(bench.joined(ticket).generation, 2);
    assert_eq!(bench.joined(ticket).members.len(), 1);
}

#[test]
fn a_member_that_leaves_is_gone_at_once_and_the_last_one_empties_the_group() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request(""), request("")]);
    bench.group.leave(&ids[0], None, bench.now_ms).unwrap();
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
    bench.group.leave(&ids[1], None, bench.now_ms).unwrap();
    assert_eq!(bench.group.state(), GroupState::Empty);
    assert_eq!(bench.group.next_deadline_ms(), None);
    let twice = bench.group.leave(&ids[1], None, bench.now_ms);
    assert_eq!(code(&twice), ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_the_slow_no_longer_than_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request(""), request("")]);
    let newcomer = bench.join(request(""));
    let early = bench.join(request(&ids[0]));
    for _ in 0..REBALANCE_MS / 5_000 {
        assert!(!bench.joins.contains_key(&newcomer));
        // Its heartbeats go on, but it never joins.
        let _ = bench.heartbeat(&ids[1]);
        bench.wait(5_000);
    }
    assert_eq!(bench.joined(newcomer).generation, 2);
    assert_eq!(bench.joined(early).generation, 2);
    assert_eq!(code(&bench.heartbeat(&ids[1])), ErrorCode::UnknownMemberId);
}

#[test]
fn who_never_asks_for_a_share_is_out_after_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let first = bench.join(request(""));
    bench.join(request(""));
    bench.wait(INITIAL_DELAY_MS);
    bench.wait(INITIAL_DELAY_MS);
    let leader = bench.joined(first).member_id.clone();
    let membership = bench.as_member(&leader);
    let ticket = bench.sync(membership, &[]);
    assert!(bench.syncs[&ticket].is_ok());
    for _ in 0..REBALANCE_MS / 5_000 {
        let ids: Vec<_> = bench.group.snapshot().members.into_iter().map(|one| one.id).collect();
        ids.iter().for_each(|id| drop(bench.heartbeat(id)));
        bench.wait(5_000);
    }
    assert_eq!(bench.group.member_count(), 1);
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_leader_that_dies_before_it_has_shared_out_sends_the_waiting_back() {
    let mut bench = Bench::new();
    let first = bench.join(request(""));
    let second = bench.join(request(""));
    bench.wait(INITIAL_DELAY_MS);
    bench.wait(INITIAL_DELAY_MS);
    let follower = bench.joined(second).member_id.clone();
    let membership = bench.as_member(&follower);
    let waiting = bench.sync(membership, &[]);
    let leader = bench.joined(first).member_id.clone();
    bench.group.leave(&leader, None, bench.now_ms).unwrap();
    bench.collect();
    assert_eq!(code(&bench.syncs[&waiting]), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_stale_generation_is_fenced_everywhere() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request("")]);
    let current = bench.as_member(&ids[0]);
    let stale = Membership { generation: current.generation - 1, ..current.clone() };
    let now = bench.now_ms;
    assert_eq!(code(&bench.group.heartbeat(&stale, now)), ErrorCode::IllegalGeneration);
    assert_eq!(code(&bench.group.check_commit(&stale, now)), ErrorCode::IllegalGeneration);
    let ticket = bench.sync(stale, &[]);
    assert_eq!(code(&bench.syncs[&ticket]), ErrorCode::IllegalGeneration);
    bench.group.check_commit(&current, now).unwrap();
}

#[test]
fn commits_go_through_while_members_join_and_stop_while_they_sync() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request("")]);
    let before = bench.as_member(&ids[0]);
    bench.join(request(""));
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
    bench.group.check_commit(&before, bench.now_ms).unwrap();
    bench.join(request(&ids[0]));
    assert_eq!(bench.group.state(), GroupState::CompletingRebalance);
    let after = bench.as_member(&ids[0]);
    let refused = bench.group.check_commit(&after, bench.now_ms);
    assert_eq!(code(&refused), ErrorCode::RebalanceInProgress);
}

#[test]
fn an_outsider_commits_only_while_nobody_is_in() {
    let mut bench = Bench::new();
    bench.group.check_commit(&Membership::none(), 0).unwrap();
    bench.stable(vec![request("")]);
    let refused = bench.group.check_commit(&Membership::none(), bench.now_ms);
    assert_eq!(code(&refused), ErrorCode::UnknownMemberId);
}

#[test]
fn the_protocol_is_the_one_that_all_have_and_most_prefer() {
    let mut bench = Bench::new();
    let says = |names: &[&str]| JoinRequest { protocols: protocols(names), ..request("") };
    bench.stable(vec![
        says(&["sticky", "range", "roundrobin"]),
        says(&["range", "roundrobin"]),
        says(&["roundrobin", "range"]),
    ]);
    assert_eq!(bench.group.protocol(), Some("range"));
    let stranger = bench.join(says(&["sticky"]));
    assert_eq!(code(&bench.joins[&stranger]), ErrorCode::InconsistentGroupProtocol);
    let other_kind = JoinRequest { protocol_type: "connect".into(), ..says(&["range"]) };
    let other_kind = bench.join(other_kind);
    assert_eq!(code(&bench.joins[&other_kind]), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn a_member_that_says_the_same_again_is_told_the_same_without_a_rebalance() {
    let mut bench = Bench::new();
    let ids = bench.stable(vec![request(""), request("")]);
    let follower = bench.join(request(&ids[1]));
    assert_eq!(bench.joined(follower).generation, 1);
    assert_eq!(bench.group.state(), GroupState::Stable);
    bench.join(request(&ids[0]));
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance, "a leader wants a new round");
}

#[test]
fn a_static_member_that_restarts_keeps_its_share_and_fences_its_former_self() {
    let mut bench = Bench::new();
    let fixed = |id: &str| JoinRequest { instance_id: Some(id.into()), ..request("") };
    let ids = bench.stable(vec![fixed("a"), fixed("b")]);
    let former = bench.as_member(&ids[1]);
    let instance = former.instance_id.clone().unwrap();
    let ticket = bench.join(fixed(&instance));
    assert_eq!(bench.group.state(), GroupState::Stable);
    let joined = bench.joined(ticket).clone();
    assert_eq!(joined.generation, 1);
    assert_ne!(joined.member_id, ids[1]);
    let membership = bench.as_member(&joined.member_id);
    let share = bench.sync(membership, &[]);
    assert_eq!(bench.syncs[&share].as_ref().unwrap().assignment, "s1");
    let fenced = bench.group.heartbeat(&former, bench.now_ms);
    assert_eq!(code(&fenced), ErrorCode::FencedInstanceId);
}

#[test]
fn a_static_leader_that_restarts_is_told_to_leave_the_shares_alone() {
    for can_skip in [true, false] {
        let mut bench = Bench::new();
        let fixed = |id: &str| JoinRequest {
            instance_id: Some(id.into()),
            can_skip_assignment: can_skip,
            ..request("")
        };
        let ids = bench.stable(vec![fixed("a"), fixed("b")]);
        let instance = bench.as_member(&ids[0]).instance_id.unwrap();
        let ticket = bench.join(fixed(&instance));
        let joined = bench.joined(ticket);
        assert_eq!(joined.skip_assignment, can_skip);
        // An older client decides by the ids: its former self leads.
        assert_eq!(joined.leader == joined.member_id, can_skip);
        assert_eq!(joined.members.is_empty(), !can_skip);
    }
}

#[test]
fn a_static_member_is_waited_for_until_its_session_ends() {
    let mut bench = Bench::new();
    let fixed = JoinRequest { instance_id: Some("a".into()), ..request("") };
    let ids = bench.stable(vec![request(""), fixed]);
    let ticket = bench.join(request(""));
    let rejoin = ids.iter().find(|id| bench.as_member(id).instance_id.is_none()).unwrap();
    bench.join(request(rejoin));
    assert!(!bench.joins.contains_key(&ticket));
    bench.wait(SESSION_MS);
    assert_eq!(bench.joined(ticket).generation, 2);
    assert_eq!(bench.group.member_count(), 2);
}

#[test]
fn a_full_group_takes_nobody_but_its_own() {
    let mut bench = Bench::new();
    let max = courant_model::limits::GROUP_MEMBERS_MAX;
    let ids = bench.stable(vec![request(""); max]);
    let one_more = bench.join(request(""));
    assert_eq!(code(&bench.joins[&one_more]), ErrorCode::GroupMaxSizeReached);
    bench.join(request(&ids[0]));
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

/// What a random member does next.
#[derive(Debug, Clone)]
enum Act {
    Join { who: usize, anew: bool },
    Sync { who: usize },
    Heartbeat { who: usize },
    Leave { who: usize },
    Wait { ms: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let who = 0..5_usize;
    collection::vec(
        prop_oneof![
            4 => (who.clone(), any::<bool>()).prop_map(|(who, anew)| Act::Join { who, anew }),
            6 => who.clone().prop_map(|who| Act::Sync { who }),
            2 => who.clone().prop_map(|who| Act::Heartbeat { who }),
            1 => who.prop_map(|who| Act::Leave { who }),
            3 => (1..9_000_u64).prop_map(|ms| Act::Wait { ms }),
        ],
        0..120,
    )
}

/// A member that believes what it was last told. The last two are static ones.
#[derive(Debug, Default)]
struct Believer {
    id: String,
    generation: i32,
    members: Vec<String>,
    join: Option<Ticket>,
    sync: Option<(Ticket, i32, String)>,
}

/// Random members, and what was seen of each generation.
struct History {
    bench: Bench,
    believers: Vec<Believer>,
    /// Who had to share out.
    leaders: BTreeMap<i32, BTreeSet<String>>,
    protocols: BTreeMap<i32, String>,
}

impl History {
    fn new() -> Self {
        let believers = (0..5).map(|_| Believer::default()).collect();
        let (leaders, protocols) = (BTreeMap::new(), BTreeMap::new());
        Self { bench: Bench::new(), believers, leaders, protocols }
    }

    fn instance(who: usize) -> Option<String> {
        (who >= 3).then(|| format!("i{who}"))
    }

    fn act(&mut self, act: &Act) {
        let generation = self.bench.group.generation();
        match *act {
            Act::Join { who, anew } => {
                let id = if anew { String::new() } else { self.believers[who].id.clone() };
                let preferred: &[&str] =
                    if who % 2 == 0 { &["range", "sticky"] } else { &["sticky", "range"] };
                self.believers[who].join = Some(self.bench.join(JoinRequest {
                    instance_id: Self::instance(who),
                    member_id_required: who == 0,
                    protocols: protocols(preferred),
                    ..request(&id)
                }));
            }
            Act::Sync { who } => {
                let believer = &self.believers[who];
                let membership = self.membership(who);
                let said = (believer.generation, believer.id.clone());
                // The share of each member names the generation and the member.
                let shares: Vec<(String, String)> = believer
                    .members
                    .iter()
                    .map(|id| (id.clone(), format!("{}/{id}", believer.generation)))
                    .collect();
                let shares: Vec<(&str, &str)> =
                    shares.iter().map(|(id, share)| (id.as_str(), share.as_str())).collect();
                let ticket = self.bench.sync(membership, &shares);
                self.believers[who].sync = Some((ticket, said.0, said.1));
            }
            Act::Heartbeat { who } => {
                let membership = self.membership(who);
                let _ = self.bench.group.heartbeat(&membership, self.bench.now_ms);
            }
            Act::Leave { who } => {
                let instance = Self::instance(who);
                let id = self.believers[who].id.clone();
                let _ = self.bench.group.leave(&id, instance.as_deref(), self.bench.now_ms);
            }
            Act::Wait { ms } => self.bench.wait(ms),
        }
        self.bench.collect();
        assert!(self.bench.group.generation() >= generation, "generations only grow");
        self.listen();
    }

    fn membership(&self, who: usize) -> Membership {
        Membership {
            member_id: self.believers[who].id.clone(),
            instance_id: Self::instance(who),
            generation: self.believers[who].generation,
        }
    }

    fn listen(&mut self) {
        for believer in &mut self.believers {
            let answer = believer.join.and_then(|ticket| self.bench.joins.get(&ticket));
            if let Some(answer) = answer {
                believer.join = None;
                match answer {
                    Ok(joined) => {
                        believer.id.clone_from(&joined.member_id);
                        believer.generation = joined.generation;
                        believer.members =
                            joined.members.iter().map(|member| member.id.clone()).collect();
                        if !joined.members.is_empty() && !joined.skip_assignment {
                            let leaders = self.leaders.entry(joined.generation).or_default();
                            leaders.insert(joined.member_id.clone());
                        }
                        let protocol = self.protocols.entry(joined.generation);
                        assert_eq!(protocol.or_insert(joined.protocol.clone()), &joined.protocol);
                    }
                    Err(LogError::MemberIdRequired { member, .. }) => {
                        believer.id.clone_from(member);
                    }
                    Err(_) => {}
                }
            }
            let answered = |sync: &&(Ticket, i32, String)| self.bench.syncs.contains_key(&sync.0);
            if let Some((ticket, generation, id)) = believer.sync.clone().as_ref().filter(answered)
            {
                believer.sync = None;
                if let Ok(synced) = &self.bench.syncs[ticket] {
                    let share = String::from_utf8(synced.assignment.to_vec()).unwrap();
                    let own = format!("{generation}/{id}");
                    // A static member may be given what its former id was assigned.
                    let former =
                        id.starts_with('m') && share.starts_with(&format!("{generation}/"));
                    assert!(share.is_empty() || share == own || former, "{share} for {own}");
                }
            }
        }
        for (generation, leaders) in &self.leaders {
            assert!(leaders.len() <= 1, "generation {generation} has leaders {leaders:?}");
        }
    }

    /// Nobody does anything any more; time alone has to answer everything.
    fn fall_silent(&mut self) {
        for _ in 0..10_000 {
            let Some(deadline) = self.bench.group.next_deadline_ms() else { break };
            let wait_ms = deadline.saturating_sub(self.bench.now_ms);
            self.bench.wait(wait_ms);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_members_do_everybody_is_answered_once_and_one_leader_shares_out(acts in acts()) {
        let mut history = History::new();
        for act in &acts {
            history.act(act);
        }
        history.fall_silent();
        let bench = &history.bench;
        prop_assert_eq!(bench.joins.len() + bench.syncs.len(), bench.tickets as usize);
        prop_assert_eq!(bench.group.state(), GroupState::Empty);
        prop_assert!(bench.group.is_deserted());
    }
}
