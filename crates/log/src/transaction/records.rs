//! How transactions are kept: the records of the internal topic `__transaction_state`.
//!
//! Keys and values have Kafka's own layout, so that its tools recognise them. The
//! topic is compacted by key; a record without a value forgets its transactional id.
//!
//! ```text
//! key    version i16 = 0 │ transactional id string
//! value  version i16 = 0 │ producer id i64 │ epoch i16 │ timeout i32, ms │ state i8
//!        │ partitions [topic string, [partition i32]]? │ updated at i64 │ started at i64, or -1
//! ```
//!
//! States are 0 Empty, 1 Ongoing, 2 PrepareCommit, 3 PrepareAbort, 4 CompleteCommit,
//! 5 CompleteAbort. Who the producer was before its last epoch is not kept.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use courant_model::{Record, Timestamp, TopicPartition};

use super::{
    machine::Transaction,
    types::{ProducerIdentity, TransactionState},
};
use crate::wire::{Malformed, Wire, put_count, put_string};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 0;

const STATES: [TransactionState; 6] = [
    TransactionState::Empty,
    TransactionState::Ongoing,
    TransactionState::PrepareCommit,
    TransactionState::PrepareAbort,
    TransactionState::CompleteCommit,
    TransactionState::CompleteAbort,
];

/// A topic's name takes two bytes and a partition list four, at least.
const TOPIC_BYTES_MIN: usize = 6;

/// What a record tells of a transactional id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: Arc<str>,
    /// `None`: it is forgotten.
    pub(super) transaction: Option<Transaction>,
}

/// Lays a transaction out as a record of the internal topic.
pub(super) fn encode(transaction: &Transaction) -> Record {
    let mut value = BytesMut::new();
    value.put_i16(VALUE_VERSION);
    value.put_i64(transaction.producer.id);
    value.put_i16(transaction.producer.epoch);
    value.put_i32(transaction.timeout_ms);
    value.put_i8(code(transaction.state));
    put_partitions(&mut value, transaction);
    value.put_i64(transaction.updated_at.as_millis());
    value.put_i64(transaction.started_at.map_or(-1, Timestamp::as_millis));
    Record::new(value.freeze(), transaction.updated_at).with_key(key(&transaction.id))
}

/// The record that forgets a transactional id.
pub(super) fn tombstone(id: &str, now: Timestamp) -> Record {
    Record { value: None, ..Record::new(Bytes::new(), now).with_key(key(id)) }
}

/// Reads a record of the internal topic. `None` for a kind of key that a newer version
/// may have written.
///
/// # Errors
/// [`Malformed`] with the reason.
pub(super) fn decode(record: &Record) -> Result<Option<Kept>, Malformed> {
    let mut key = Wire::new("a transaction's key", record.key.as_deref().unwrap_or_default());
    if key.i16()? != KEY_VERSION {
        return Ok(None);
    }
    let id: Arc<str> = key.string()?.into();
    let Some(value) = &record.value else { return Ok(Some(Kept { id, transaction: None })) };
    let mut wire = Wire::new("a transaction", value);
    let version = wire.i16()?;
    if version != VALUE_VERSION {
        return Err(wire.malformed(format!("version {version} is not known")));
    }
    let producer = ProducerIdentity { id: wire.i64()?, epoch: wire.i16()? };
    let timeout_ms = wire.i32()?;
    let code = wire.i8()?;
    let state = usize::try_from(code).ok().and_then(|code| STATES.get(code)).copied();
    let state = state.ok_or_else(|| wire.malformed(format!("state {code} is not known")))?;
    let topics = wire.array(TOPIC_BYTES_MIN, |wire| {
        Ok((wire.topic()?, wire.array(size_of::<i32>(), Wire::i32)?))
    })?;
    let partitions = topics.into_iter().flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |number| TopicPartition::new(topic.clone(), number))
    });
    let partitions = partitions.collect();
    let updated_at = Timestamp::from_millis(wire.i64()?);
    let started_at = Some(wire.i64()?).filter(|at| *at >= 0).map(Timestamp::from_millis);
    let transaction = Transaction {
        id: Arc::clone(&id),
        producer,
        previous: None,
        timeout_ms,
        state,
        partitions,
        updated_at,
        started_at,
    };
    Ok(Some(Kept { id, transaction: Some(transaction) }))
}

fn key(id: &str) -> Bytes {
    let mut key = BytesMut::new();
    key.put_i16(KEY_VERSION);
    put_string(&mut key, id);
    key.freeze()
}

fn code(state: TransactionState) -> i8 {
    (0..).zip(STATES).find(|(_, one)| *one == state).map_or(0, |(code, _)| code)
}

fn put_partitions(to: &mut BytesMut, transaction: &Transaction) {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &transaction.partitions {
        topics.entry(partition.topic.as_str()).or_default().push(partition.partition);
    }
    put_count(to, topics.len());
    for (topic, partitions) in topics {
        put_string(to, topic);
        put_count(to, partitions.len());
        partitions.into_iter().for_each(|partition| to.put_i32(partition));
    }
}

#[cfg(test)]
mod tests {
    use courant_model::TopicName;
    use proptest::{collection, option, prelude::*};

    use super::*;

    fn transaction() -> impl Strategy<Value = Transaction> {
        let partitions = collection::btree_set(("[a-z]{1,9}", 0..9), 0..9);
        let numbers = (any::<i64>(), any::<i16>(), any::<i32>(), any::<i64>());
        ("[a-zé/]{1,20}", numbers, 0..6_usize, partitions, option::of(0..i64::MAX)).prop_map(
            |(id, (producer_id, epoch, timeout_ms, updated), state, partitions, started)| {
                let named = |(topic, number): (String, i32)| {
                    TopicPartition::new(TopicName::new(&topic).unwrap(), number)
                };
                Transaction {
                    id: id.as_str().into(),
                    producer: ProducerIdentity { id: producer_id, epoch },
                    previous: None,
                    timeout_ms,
                    state: STATES[state],
                    partitions: partitions.into_iter().map(named).collect(),
                    updated_at: Timestamp::from_millis(updated),
                    started_at: started.map(Timestamp::from_millis),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_transaction_comes_back(transaction in transaction()) {
            let id = Arc::clone(&transaction.id);
            let found = decode(&encode(&transaction));
            prop_assert_eq!(found, Ok(Some(Kept { id, transaction: Some(transaction) })));
        }

        #[test]
        fn hostile_records_are_refused_without_harm(
            key in collection::vec(any::<u8>(), 0..40),
            value in collection::vec(any::<u8>(), 0..80),
        ) {
            let record = Record::new(value.clone(), Timestamp::from_millis(0)).with_key(key);
            if let Ok(Some(Kept { transaction: Some(transaction), .. })) = decode(&record) {
                prop_assert!(transaction.partitions.len() <= value.len());
            }
        }
    }

    #[test]
    fn a_transaction_has_kafkas_bytes() {
        let topic = TopicName::new("t").unwrap();
        let transaction = Transaction {
            id: "x".into(),
            producer: ProducerIdentity { id: 258, epoch: 3 },
            previous: None,
            timeout_ms: 60_000,
            state: TransactionState::PrepareCommit,
            partitions: [TopicPartition::new(topic, 7)].into(),
            updated_at: Timestamp::from_millis(5),
            started_at: Some(Timestamp::from_millis(4)),
        };
        let record = encode(&transaction);
        assert_eq!(&record.key.unwrap()[..], [0, 0, 0, 1, b'x']);
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 0, 0, 0xea, 0x60, 2];
        expected.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 7]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(&record.value.unwrap()[..], expected);
    }

    #[test]
    fn a_forgotten_id_and_a_key_of_the_future_are_told_apart() {
        let gone = tombstone("x", Timestamp::from_millis(0));
        assert_eq!(decode(&gone), Ok(Some(Kept { id: "x".into(), transaction: None })));
        let newer = Record::new("x", Timestamp::from_millis(0)).with_key(vec![0, 9, 1]);
        assert_eq!(decode(&newer), Ok(None));
    }
}
