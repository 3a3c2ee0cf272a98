//! Consumer groups: the machine step by step and under any order of events, then
//! within the coordinator, with offsets, kinds of groups and a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use courant_model::{TopicName, TopicPartition};
use proptest::prelude::*;

use super::{
    machine::{ConsumerGroup, Timing},
    *,
};
use crate::{ErrorCode, GroupState, LogError, group::TopicPartitions};

const SESSION_MS: u64 = 45_000;
const REBALANCE_MS: u64 = 60_000;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn parts(name: &str, numbers: impl IntoIterator<Item = i32>) -> BTreeSet<TopicPartition> {
    numbers.into_iter().map(|number| TopicPartition::new(topic(name), number)).collect()
}

fn topics(counts: &[(&str, i32)]) -> Arc<TopicPartitions> {
    Arc::new(counts.iter().map(|(name, count)| (topic(name), *count)).collect())
}

fn group(counts: &[(&str, i32)]) -> ConsumerGroup {
    let timing = Timing { session_timeout_ms: SESSION_MS, heartbeat_interval_ms: 1_000 };
    ConsumerGroup::new("g", 0, topics(counts), timing)
}

fn joining(id: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_id: id.to_owned(),
        rebalance_timeout_ms: Some(REBALANCE_MS),
        topics: Some(topics.iter().map(|name| topic(name)).collect()),
        owned: Some(BTreeSet::new()),
        ..ConsumerHeartbeat::default()
    }
}

/// A client that does what it is told at once.
#[derive(Debug, Clone)]
struct Client {
    id: String,
    epoch: i32,
    held: BTreeSet<TopicPartition>,
    topics: BTreeSet<TopicName>,
    /// The last answer did not arrive: the next heartbeat tells everything.
    is_unsure: bool,
}

impl Client {
    fn new(id: &str) -> Self {
        let (held, topics) = (BTreeSet::new(), BTreeSet::new());
        Self { id: id.to_owned(), epoch: 0, held, topics, is_unsure: false }
    }

    fn join(group: &mut ConsumerGroup, id: &str, topics: &[&str]) -> Self {
        let mut client = Self::new(id);
        client.send(group, &joining(id, topics), 0);
        client
    }

    fn send(&mut self, group: &mut ConsumerGroup, request: &ConsumerHeartbeat, now_ms: u64) {
        let answer = group.heartbeat(request, "made up".into(), &|_| true, now_ms).unwrap();
        if let Some(topics) = &request.topics {
            self.topics.clone_from(topics);
        }
        self.hear(answer);
    }

    /// Its next heartbeat.
    fn next(&self) -> ConsumerHeartbeat {
        let tells_all = self.is_unsure;
        ConsumerHeartbeat {
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: tells_all.then_some(REBALANCE_MS),
            topics: tells_all.then(|| self.topics.clone()),
            owned: Some(self.held.clone()),
            ..ConsumerHeartbeat::default()
        }
    }

    fn beat(&mut self, group: &mut ConsumerGroup, now_ms: u64) {
        let request = self.next();
        self.is_unsure = false;
        match group.heartbeat(&request, String::new(), &|_| true, now_ms) {
            // As clients do: lets go of everything and begins again.
            Err(LogError::FencedMemberEpoch { .. }) => {
                self.held.clear();
                let again = ConsumerHeartbeat {
                    topics: Some(self.topics.clone()),
                    ..joining(&self.id, &[])
                };
                self.send(group, &again, now_ms);
            }
            answer => self.hear(answer.unwrap()),
        }
    }

    fn hear(&mut self, answer: ConsumerHeartbeatAnswer) {
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            self.held = assignment;
        }
    }
}

fn code(outcome: Result<ConsumerHeartbeatAnswer, LogError>) -> ErrorCode {
    outcome.unwrap_err().code()
}

#[test]
fn the_first_member_gets_everything_with_its_first_heartbeat() {
    let mut group = group(&[("t", 3)]);
    let client = Client::join(&mut group, "a", &["t", "not-there"]);
    assert_eq!((client.epoch, client.held), (1, parts("t", 0..3)));
    assert_eq!(group.state(), GroupState::Stable);
}

#[test]
fn a_second_member_waits_until_the_first_has_let_go() {
    let mut group = group(&[("t", 2)]);
    let mut a = Client::join(&mut group, "a", &["t"]);
    let mut b = Client::join(&mut group, "b", &["t"]);
    assert_eq!((b.epoch, b.held.len()), (2, 0), "nothing is free yet");
    assert_eq!(group.state(), GroupState::Reconciling);
    a.beat(&mut group, 1);
    assert_eq!((a.epoch, a.held.len()), (1, 1), "told to give back, at its old epoch");
    b.beat(&mut group, 1);
    assert_eq!(b.held.len(), 0, "the first has not said yet that it let go");
    a.beat(&mut group, 2);
    assert_eq!(a.epoch, 2);
    b.beat(&mut group, 2);
    assert_eq!(b.held.len(), 1);
    assert!(a.held.is_disjoint(&b.held));
    assert_eq!(group.state(), GroupState::Stable);
}

#[test]
fn a_heartbeat_that_does_not_tell_what_is_held_gives_nothing_back() {
    let mut group = group(&[("t", 2)]);
    let mut a = Client::join(&mut group, "a", &["t"]);
    Client::join(&mut group, "b", &["t"]);
    a.beat(&mut group, 1);
    let silent = ConsumerHeartbeat { member_id: "a".into(), member_epoch: 1, ..Default::default() };
    let answer = group.heartbeat(&silent, String::new(), &|_| true, 2).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (1, None));
}

#[test]
fn who_leaves_gives_the_rest_to_the_others_at_once() {
    let mut group = group(&[("t", 2)]);
    let mut a = Client::join(&mut group, "a", &["t"]);
    let leaving = ConsumerHeartbeat { member_epoch: LEAVE_EPOCH, ..joining("a", &[]) };
    let mut b = Client::join(&mut group, "b", &["t"]);
    a.send(&mut group, &leaving, 1);
    b.beat(&mut group, 1);
    assert_eq!((b.held, group.member_count()), (parts("t", 0..2), 1));
}

#[test]
fn who_is_silent_or_keeps_what_it_must_give_back_is_out() {
    let mut group = group(&[("t", 2)]);
    let mut a = Client::join(&mut group, "a", &["t"]);
    let mut b = Client::join(&mut group, "b", &["t"]);
    for now_ms in [20_000, 40_000, 60_000] {
        let stubborn = ConsumerHeartbeat {
            member_id: "a".into(),
            member_epoch: a.epoch,
            owned: Some(parts("t", 0..2)),
            ..Default::default()
        };
        a.send(&mut group, &stubborn, now_ms);
        b.beat(&mut group, now_ms);
    }
    group.tick(20_000 + REBALANCE_MS);
    assert_eq!(group.member_count(), 1, "one of them kept what it had to give back");
    b.beat(&mut group, 80_001);
    assert_eq!(b.held, parts("t", 0..2));
    assert_eq!(group.next_deadline_ms(), Some(80_001 + SESSION_MS));
    group.tick(80_001 + SESSION_MS);
    assert_eq!(group.state(), GroupState::Empty);
}

#[test]
fn epochs_fence_and_a_lost_answer_does_not() {
    let mut group = group(&[("t", 2)]);
    let a = Client::join(&mut group, "a", &["t"]);
    let beat = |epoch, owned: Option<BTreeSet<_>>| ConsumerHeartbeat {
        member_id: "a".into(),
        member_epoch: epoch,
        owned,
        ..Default::default()
    };
    assert_eq!(
        code(group.heartbeat(&beat(7, None), String::new(), &|_| true, 1)),
        ErrorCode::FencedMemberEpoch
    );
    let stranger = ConsumerHeartbeat { member_id: "x".into(), ..beat(1, None) };
    assert_eq!(
        code(group.heartbeat(&stranger, String::new(), &|_| true, 1)),
        ErrorCode::UnknownMemberId
    );
    // The group moves on; the answer that says so never arrives.
    group.topics_changed(topics(&[("t", 3)]));
    group.heartbeat(&beat(a.epoch, Some(a.held.clone())), String::new(), &|_| true, 2).unwrap();
    let again =
        group.heartbeat(&beat(a.epoch, Some(a.held.clone())), String::new(), &|_| true, 3).unwrap();
    assert_eq!(again.member_epoch, a.epoch + 1);
    let wrong = beat(a.epoch, Some(parts("other", 0..1)));
    assert_eq!(
        code(group.heartbeat(&wrong, String::new(), &|_| true, 4)),
        ErrorCode::FencedMemberEpoch
    );
    assert!(group.check_member("a", a.epoch + 1).is_ok());
    let stale = group.check_member("a", a.epoch).unwrap_err();
    assert_eq!(stale.code(), ErrorCode::StaleMemberEpoch);
}

#[test]
fn a_static_member_that_is_back_has_what_it_left() {
    let mut group = group(&[("t", 2)]);
    let as_instance =
        |id: &str| ConsumerHeartbeat { instance_id: Some("i".into()), ..joining(id, &["t"]) };
    let mut a = Client::new("a");
    a.send(&mut group, &as_instance("a"), 0);
    let taken = group.heartbeat(&as_instance("a2"), String::new(), &|_| true, 1);
    assert_eq!(code(taken), ErrorCode::UnreleasedInstanceId);
    let epoch = group.epoch();
    let out = ConsumerHeartbeat { member_epoch: STEP_OUT_EPOCH, ..as_instance("a") };
    assert_eq!(
        group.heartbeat(&out, String::new(), &|_| true, 1).unwrap().member_epoch,
        STEP_OUT_EPOCH
    );
    let mut back = Client::new("a2");
    back.send(&mut group, &as_instance("a2"), 2);
    assert_eq!((back.held, group.epoch()), (parts("t", 0..2), epoch), "nobody else noticed");
    let late = ConsumerHeartbeat { member_epoch: 1, ..as_instance("a") };
    assert_eq!(
        code(group.heartbeat(&late, String::new(), &|_| true, 3)),
        ErrorCode::FencedInstanceId
    );
}

#[test]
fn a_regular_expression_takes_whole_names_and_topics_that_come_later() {
    let mut group =
        group(&[("orders", 1), ("orders-eu", 1), ("__consumer_offsets", 1), ("my-orders", 1)]);
    let request = ConsumerHeartbeat {
        // As with Kafka, the log's own topics are topics like others.
        regex: Some("orders.*|.*offsets".into()),
        ..joining("a", &[])
    };
    let mut a = Client::new("a");
    a.send(&mut group, &request, 0);
    let regular = &parts("orders", 0..1) | &parts("orders-eu", 0..1);
    assert_eq!(a.held, &regular | &parts("__consumer_offsets", 0..1));
    group.topics_changed(topics(&[("orders-us", 2), ("my-orders", 1)]));
    a.beat(&mut group, 1);
    a.beat(&mut group, 2);
    assert_eq!(a.held, parts("orders-us", 0..2));
    let hidden = |topic: &TopicName| topic.as_str() != "secret";
    group.topics_changed(topics(&[("orders-us", 2), ("secret", 1), ("secretary", 1)]));
    let request = ConsumerHeartbeat { regex: Some("secret.*".into()), ..joining("s", &[]) };
    let answer = group.heartbeat(&request, String::new(), &hidden, 3).unwrap();
    assert_eq!(answer.assignment, Some(parts("secretary", 0..1)), "what it may not see is not its");
    let bad = ConsumerHeartbeat { regex: Some("(".into()), ..joining("b", &[]) };
    let refused = code(group.heartbeat(&bad, String::new(), &|_| true, 3));
    assert_eq!((refused, group.member_count()), (ErrorCode::InvalidRegularExpression, 2));
}

#[test]
fn the_assignor_that_most_ask_for_shares_out() {
    let mut group = group(&[("t", 3), ("u", 3)]);
    let mut clients = Vec::new();
    for id in ["a", "b"] {
        let mut client = Client::new(id);
        let request =
            ConsumerHeartbeat { assignor: Some(ServerAssignor::Range), ..joining(id, &["t", "u"]) };
        client.send(&mut group, &request, 0);
        clients.push(client);
    }
    for now_ms in 1..4 {
        clients.iter_mut().for_each(|client| client.beat(&mut group, now_ms));
    }
    assert_eq!(clients[0].held, &parts("t", 0..2) | &parts("u", 0..2));
    assert_eq!(group.snapshot().assignor, ServerAssignor::Range);
}

#[derive(Debug, Clone)]
enum Event {
    Join(u8, u8),
    Beat(u8),
    /// Its answer is lost.
    BeatUnheard(u8),
    Leave(u8),
    Grow(u8, i32),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..4_u8, 1..8_u8).prop_map(|(who, what)| Event::Join(who, what)),
        6 => (0..4_u8).prop_map(Event::Beat),
        1 => (0..4_u8).prop_map(Event::BeatUnheard),
        1 => (0..4_u8).prop_map(Event::Leave),
        1 => (0..3_u8, 0..6).prop_map(|(which, count)| Event::Grow(which, count)),
        1 => (1..30_000_u64).prop_map(Event::Pass),
    ]
}

const NAMES: [&str; 3] = ["t", "u", "v"];

proptest! {
    #[test]
    fn no_partition_ever_has_two_holders_and_all_are_held_in_the_end(
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let mut group = group(&[("t", 3), ("u", 2), ("v", 1)]);
        let mut counts = BTreeMap::from([("t", 3), ("u", 2), ("v", 1)]);
        let mut clients: BTreeMap<u8, Client> = BTreeMap::new();
        let mut now_ms = 0;
        for event in events {
            match event {
                Event::Join(who, what) => {
                    let wanted = (0..3).filter(|bit| what & (1 << bit) != 0);
                    let wanted: Vec<&str> = wanted.map(|bit| NAMES[bit]).collect();
                    clients.remove(&who);
                    let mut client = Client::new(&format!("m{who}"));
                    client.send(&mut group, &joining(&client.id, &wanted), now_ms);
                    clients.insert(who, client);
                }
                Event::Beat(who) => {
                    if let Some(client) = clients.get_mut(&who) {
                        client.beat(&mut group, now_ms);
                    }
                }
                Event::BeatUnheard(who) => {
                    if let Some(client) = clients.get_mut(&who) {
                        let _ = group.heartbeat(&client.next(), String::new(), &|_| true, now_ms);
                        client.is_unsure = true;
                    }
                }
                Event::Leave(who) => {
                    if let Some(mut client) = clients.remove(&who) {
                        let request =
                            ConsumerHeartbeat { member_epoch: -1, ..joining(&client.id, &[]) };
                        client.send(&mut group, &request, now_ms);
                    }
                }
                Event::Grow(which, count) => {
                    counts.insert(NAMES[usize::from(which)], count);
                    let known: Vec<_> = counts.iter().map(|(name, count)| (*name, *count)).collect();
                    group.topics_changed(topics(&known));
                    // What is no more, nobody holds.
                    let is_there = |one: &TopicPartition| one.partition < counts[one.topic.as_str()];
                    clients.values_mut().for_each(|client| client.held.retain(is_there));
                }
                Event::Pass(ms) => {
                    now_ms += ms;
                    group.tick(now_ms);
                    let ids: BTreeSet<String> =
                        group.snapshot().members.into_iter().map(|member| member.id).collect();
                    clients.retain(|_, client| ids.contains(&client.id));
                }
            }
            let held: Vec<_> = clients.values().flat_map(|client| &client.held).collect();
            let distinct: BTreeSet<_> = held.iter().collect();
            prop_assert_eq!(held.len(), distinct.len(), "two hold the same partition");
        }
        for _ in 0..8 {
            clients.values_mut().for_each(|client| client.beat(&mut group, now_ms));
        }
        let settled = if clients.is_empty() { GroupState::Empty } else { GroupState::Stable };
        prop_assert_eq!(group.state(), settled);
        let held: BTreeSet<_> =
            clients.values().flat_map(|client| client.held.iter().cloned()).collect();
        let mut wanted = BTreeSet::new();
        for topic in group.subscribed_topics() {
            wanted.extend(parts(topic.as_str(), 0..counts[topic.as_str()]));
        }
        prop_assert_eq!(held, wanted);
    }
}
