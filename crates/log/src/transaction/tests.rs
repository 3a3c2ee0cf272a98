//! The state machine: what leads where, and that no order of calls breaks its promises.
//!
//! How the coordinator carries it out, over the real log and through crashes, is tested
//! with the embedded log.

use std::collections::BTreeSet;

use courant_model::{Timestamp, TopicName, TopicPartition, limits::TRANSACTIONAL_ID_KEPT_MS};
use proptest::{collection, option, prelude::*};

use super::{
    machine::{Start, Transaction},
    types::{ProducerIdentity, TransactionState},
};
use crate::{ErrorCode, LogError, batch::Marker};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn new() -> Transaction {
    Transaction::new("x".into(), 7, 60_000, NOW)
}

fn parts(numbers: &[i32]) -> BTreeSet<TopicPartition> {
    let topic = TopicName::new("t").unwrap();
    numbers.iter().map(|&number| TopicPartition::new(topic.clone(), number)).collect()
}

fn ongoing() -> Transaction {
    let new = new();
    new.add(new.producer, &parts(&[1]), NOW).unwrap().unwrap()
}

fn ended(marker: Marker) -> Transaction {
    let ongoing = ongoing();
    ongoing.end(ongoing.producer, marker, NOW).unwrap().unwrap()
}

fn next(start: Result<Start, LogError>) -> Transaction {
    match start.unwrap() {
        Start::Next(next) => next,
        other => panic!("{other:?}"),
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, LogError>) -> ErrorCode {
    outcome.unwrap_err().code()
}

#[test]
fn a_transaction_begins_with_its_first_partition_and_grows() {
    let ongoing = ongoing();
    assert_eq!(ongoing.state, TransactionState::Ongoing);
    assert_eq!(ongoing.started_at, Some(NOW));
    assert_eq!(ongoing.add(ongoing.producer, &parts(&[1]), NOW).unwrap(), None);
    let later = NOW.plus_millis(5);
    let grown = ongoing.add(ongoing.producer, &parts(&[2]), later).unwrap().unwrap();
    assert_eq!((grown.partitions, grown.started_at), (parts(&[1, 2]), Some(NOW)));
}

#[test]
fn the_next_transaction_begins_without_the_partitions_of_the_last() {
    let complete = ended(Marker::Commit).complete(NOW);
    assert_eq!((complete.state, complete.partitions.len()), (TransactionState::CompleteCommit, 0));
    let next = complete.add(complete.producer, &parts(&[2]), NOW).unwrap().unwrap();
    assert_eq!(next.partitions, parts(&[2]));
}

#[test]
fn the_same_end_may_be_asked_for_again_and_another_may_not() {
    for (marker, other) in [(Marker::Commit, Marker::Abort), (Marker::Abort, Marker::Commit)] {
        let ending = ended(marker);
        let producer = ending.producer;
        assert_eq!(ending.marker(), Some(marker));
        assert_eq!(code(ending.end(producer, marker, NOW)), ErrorCode::ConcurrentTransactions);
        assert_eq!(code(ending.end(producer, other, NOW)), ErrorCode::InvalidTxnState);
        let complete = ending.complete(NOW);
        assert_eq!(complete.end(producer, marker, NOW).unwrap(), None);
        assert_eq!(code(complete.end(producer, other, NOW)), ErrorCode::InvalidTxnState);
    }
    let empty = new();
    assert_eq!(code(empty.end(empty.producer, Marker::Commit, NOW)), ErrorCode::InvalidTxnState);
}

#[test]
fn nothing_joins_a_transaction_that_is_ending() {
    let ending = ended(Marker::Commit);
    let joined = ending.add(ending.producer, &parts(&[2]), NOW);
    assert_eq!(code(joined), ErrorCode::ConcurrentTransactions);
    assert_eq!(code(ending.start(1_000, None, NOW)), ErrorCode::ConcurrentTransactions);
}

#[test]
fn a_new_producer_fences_the_old_and_aborts_what_it_left_open() {
    let started = next(new().start(5_000, None, NOW));
    assert_eq!(started.producer, ProducerIdentity { id: 7, epoch: 1 });
    assert_eq!(started.timeout_ms, 5_000);
    let old = ProducerIdentity { id: 7, epoch: 0 };
    assert_eq!(code(started.add(old, &parts(&[1]), NOW)), ErrorCode::ProducerFenced);
    assert_eq!(code(started.end(old, Marker::Commit, NOW)), ErrorCode::ProducerFenced);
    let other = ProducerIdentity { id: 8, epoch: 1 };
    assert_eq!(code(started.add(other, &parts(&[1]), NOW)), ErrorCode::InvalidProducerIdMapping);

    let Ok(Start::Abort(aborted)) = ongoing().start(5_000, None, NOW) else { panic!() };
    assert_eq!((aborted.state, aborted.producer.epoch), (TransactionState::PrepareAbort, 1));
    assert_eq!(aborted.partitions, parts(&[1]), "they need their markers");
    assert_eq!(next(aborted.complete(NOW).start(5_000, None, NOW)).producer.epoch, 2);
}

#[test]
fn a_producer_that_goes_on_is_told_again_and_fences_nobody_who_came_after() {
    let first = new();
    let bumped = next(first.start(1_000, Some(first.producer), NOW));
    assert_eq!(bumped.producer.epoch, 1);
    assert_eq!(bumped.start(1_000, Some(first.producer), NOW).unwrap(), Start::Known);
    let begun = bumped.add(bumped.producer, &parts(&[1]), NOW).unwrap().unwrap();
    assert_eq!(code(begun.start(1_000, Some(first.producer), NOW)), ErrorCode::ProducerFenced);
    let successor = next(bumped.start(1_000, None, NOW));
    assert_eq!(code(successor.start(1_000, Some(bumped.producer), NOW)), ErrorCode::ProducerFenced);
}

#[test]
fn an_id_without_epochs_left_is_replaced() {
    let mut last = new();
    last.producer.epoch = i16::MAX - 1;
    assert_eq!(last.start(1_000, Some(last.producer), NOW).unwrap(), Start::Exhausted);
    let rotated = last.rotated(9, 1_000, Some(last.producer), NOW);
    assert_eq!(rotated.producer, ProducerIdentity { id: 9, epoch: 0 });
    assert_eq!(rotated.start(1_000, Some(last.producer), NOW).unwrap(), Start::Known);
    last.state = TransactionState::Ongoing;
    assert_eq!(last.fence(NOW).producer.epoch, i16::MAX, "one is kept for this");
}

#[test]
fn what_is_open_for_too_long_is_overdue_and_what_is_unused_expires() {
    let ongoing = ongoing();
    assert!(!ongoing.is_overdue(NOW.plus_millis(60_000)));
    assert!(ongoing.is_overdue(NOW.plus_millis(60_001)));
    let much_later = NOW.plus_millis(TRANSACTIONAL_ID_KEPT_MS);
    assert!(!ongoing.is_expired(much_later));
    assert!(!ended(Marker::Commit).is_expired(much_later));
    let complete = ended(Marker::Commit).complete(NOW);
    assert!(!complete.is_overdue(much_later));
    assert!(complete.is_expired(much_later));
    assert!(!complete.is_expired(much_later.plus_millis(-1)));
}

/// What anybody may do to a transactional id.
#[derive(Debug, Clone)]
enum Call {
    Start { as_holder: Option<usize> },
    Add { holder: usize, partition: i32 },
    End { holder: usize, commit: bool },
    Complete,
    Overdue,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        option::of(0..4_usize).prop_map(|as_holder| Call::Start { as_holder }),
        (0..4_usize, 0..3).prop_map(|(holder, partition)| Call::Add { holder, partition }),
        (0..4_usize, any::<bool>()).prop_map(|(holder, commit)| Call::End { holder, commit }),
        Just(Call::Complete),
        Just(Call::Overdue),
    ]
}

/// The identity that one of the last few holders was given, the newest first.
fn identity(given: &[ProducerIdentity], holder: usize) -> ProducerIdentity {
    given[given.len().saturating_sub(1 + holder)]
}

proptest! {
    /// Only the newest holder changes anything, epochs only grow, a decided end stays
    /// decided, and only a decided end is completed.
    #[test]
    fn no_order_of_calls_lets_an_old_producer_in_or_takes_a_decision_back(
        calls in collection::vec(call(), 1..60),
    ) {
        let mut now = new();
        let mut given = vec![now.producer];
        for call in calls {
            let before = now.clone();
            let (by, outcome) = match call {
                Call::Start { as_holder } => {
                    let current = as_holder.map(|holder| identity(&given, holder));
                    let after = match before.start(1_000, current, NOW) {
                        Ok(Start::Next(next)) => {
                            given.push(next.producer);
                            Ok(Some(next))
                        }
                        Ok(Start::Abort(aborted)) => Ok(Some(aborted)),
                        Ok(Start::Known | Start::Exhausted) => Ok(None),
                        Err(error) => Err(error),
                    };
                    (None, after)
                }
                Call::Add { holder, partition } => {
                    let by = identity(&given, holder);
                    (Some(by), before.add(by, &parts(&[partition]), NOW))
                }
                Call::End { holder, commit } => {
                    let by = identity(&given, holder);
                    let marker = if commit { Marker::Commit } else { Marker::Abort };
                    (Some(by), before.end(by, marker, NOW))
                }
                Call::Complete => (None, Ok(before.marker().map(|_| before.complete(NOW)))),
                Call::Overdue => {
                    let open = before.state == TransactionState::Ongoing;
                    (None, Ok(open.then(|| before.fence(NOW))))
                }
            };
            let Ok(Some(after)) = outcome else { continue };
            if let Some(by) = by {
                prop_assert_eq!(by, before.producer);
            }
            prop_assert!(after.producer.epoch >= before.producer.epoch);
            if let Some(marker) = before.marker() {
                let decided = match marker {
                    Marker::Commit => TransactionState::CompleteCommit,
                    Marker::Abort => TransactionState::CompleteAbort,
                };
                prop_assert_eq!(after.state, decided);
            }
            if after.marker() == Some(Marker::Commit) {
                prop_assert_eq!(before.state, TransactionState::Ongoing);
                prop_assert_eq!(&after.partitions, &before.partitions);
            }
            now = after;
        }
    }
}
