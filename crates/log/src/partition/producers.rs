//! What a partition knows of its producers: sequences and transactions.
//!
//! For each idempotent producer the last five batches, so that a repeated batch is
//! answered with its first offset and a lost one is noticed; for each open
//! transaction its first offset; and the transactions that were aborted, for
//! readers. All of it follows from the log alone: it is rebuilt by replaying
//! headers from the last snapshot. Changes can be undone until the bytes that they
//! tell of are written.

use std::collections::{BTreeMap, VecDeque};

use courant_model::{
    Offset, Timestamp, TopicPartition,
    limits::{PRODUCER_BATCHES_KEPT, PRODUCERS_PER_PARTITION_MAX},
};
use serde::{Deserialize, Serialize};

use crate::{
    Appended, LogError, ProducerDescription, ProducerIdentity,
    batch::{BatchHeader, Marker, advance_sequence},
};

/// A transaction that was aborted on a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    /// The producer's first record in it.
    pub first_offset: Offset,
    /// The abort marker.
    pub last_offset: Offset,
}

impl AbortedTransaction {
    /// Whether it took in the producer's batch that starts at this offset.
    pub(crate) const fn covers(&self, producer_id: i64, base_offset: Offset) -> bool {
        self.producer_id == producer_id
            && self.first_offset <= base_offset
            && base_offset <= self.last_offset
    }
}

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Producers {
    producers: BTreeMap<i64, ProducerState>,
    /// First offset of each producer's open transaction.
    open: BTreeMap<i64, Offset>,
    /// By the offset of their marker.
    aborted: Vec<AbortedTransaction>,
    #[serde(skip)]
    undo: Vec<Undo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProducerState {
    epoch: i16,
    /// The newest last; empty after a new epoch began with a marker.
    batches: VecDeque<SentBatch>,
    seen_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SentBatch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: Offset,
    last_offset: Offset,
    append_time: Timestamp,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Append,
    /// It is in the log already, there.
    Duplicate(Appended),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Undo {
    producer_id: i64,
    state: Option<ProducerState>,
    open: Option<Offset>,
    aborted: usize,
}

impl Producers {
    /// Decides on a batch before it is appended. From an unknown producer any
    /// sequence is taken: its history may have been deleted with old records.
    pub(super) fn check(
        &self,
        partition: &TopicPartition,
        header: &BatchHeader,
    ) -> Result<Verdict, LogError> {
        let producer = header.producer;
        let Some(state) = self.producers.get(&producer.id) else { return Ok(Verdict::Append) };
        if producer.epoch < state.epoch {
            return Err(LogError::ProducerFenced {
                producer_id: producer.id,
                found: producer.epoch,
                current: state.epoch,
            });
        }
        if producer.base_sequence < 0 {
            // Built in this process, which appends nothing twice.
            return Ok(Verdict::Append);
        }
        let newer = producer.epoch > state.epoch;
        let last_sequence = header.last_sequence();
        if !newer && let Some(sent) = state.find(producer.base_sequence, last_sequence) {
            return Ok(Verdict::Duplicate(Appended {
                base_offset: sent.base_offset,
                last_offset: sent.last_offset,
                append_time: sent.append_time,
            }));
        }
        let last = state.batches.back().filter(|_| !newer);
        let expected = last.map_or(0, |last| advance_sequence(last.last_sequence, 1));
        if producer.base_sequence != expected {
            return Err(LogError::OutOfOrderSequence {
                partition: partition.clone(),
                producer_id: producer.id,
                found: producer.base_sequence,
                expected,
            });
        }
        Ok(Verdict::Append)
    }

    /// Takes note of a batch at its offset; `marker` is what a control batch says.
    pub(super) fn note(&mut self, header: &BatchHeader, marker: Option<Marker>, at: Timestamp) {
        let id = header.producer.id;
        if !header.producer.is_idempotent() {
            return;
        }
        self.undo.push(Undo {
            producer_id: id,
            state: self.producers.get(&id).cloned(),
            open: self.open.get(&id).copied(),
            aborted: self.aborted.len(),
        });
        let epoch = header.producer.epoch;
        let state = self.producers.entry(id).or_insert_with(|| ProducerState::new(epoch, at));
        state.seen_at = at;
        if epoch != state.epoch {
            state.epoch = epoch;
            state.batches.clear();
        }
        if header.is_control() {
            self.end_transaction(header, marker);
            return;
        }
        if header.producer.base_sequence >= 0 {
            state.push(header, at);
        }
        // Compaction leaves an empty shell only of a transaction that has ended.
        if header.is_transactional() && header.count > 0 {
            self.open.entry(id).or_insert(header.base_offset);
        }
    }

    fn end_transaction(&mut self, header: &BatchHeader, marker: Option<Marker>) {
        let producer_id = header.producer.id;
        let Some(first_offset) = self.open.remove(&producer_id) else { return };
        if marker == Some(Marker::Abort) {
            let last_offset = header.base_offset;
            self.aborted.push(AbortedTransaction { producer_id, first_offset, last_offset });
        }
    }

    /// Forgets how to undo: what was noted is written.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Undoes what was noted since [`Self::keep`].
    pub(super) fn undo(&mut self) {
        while let Some(undo) = self.undo.pop() {
            self.aborted.truncate(undo.aborted);
            restore(&mut self.producers, undo.producer_id, undo.state);
            restore(&mut self.open, undo.producer_id, undo.open);
        }
    }

    /// First offset of the oldest open transaction.
    pub(super) fn first_open(&self) -> Option<Offset> {
        self.open.values().min().copied()
    }

    /// Whether the producer has an open transaction here.
    pub(super) fn is_open(&self, producer_id: i64) -> bool {
        self.open.contains_key(&producer_id)
    }

    /// Who has an open transaction here.
    pub(super) fn open(&self) -> impl Iterator<Item = ProducerIdentity> {
        self.open.keys().map(|&id| {
            let epoch = self.producers.get(&id).map_or(0, |state| state.epoch);
            ProducerIdentity { id, epoch }
        })
    }

    pub(super) fn describe(&self) -> Vec<ProducerDescription> {
        let describe = |(&id, state): (&i64, &ProducerState)| ProducerDescription {
            producer: ProducerIdentity { id, epoch: state.epoch },
            last_sequence: state.batches.back().map_or(-1, |last| last.last_sequence),
            last_seen: state.seen_at,
            open_from: self.open.get(&id).copied(),
        };
        self.producers.iter().map(describe).collect()
    }

    pub(super) fn aborted(&self) -> &[AbortedTransaction] {
        &self.aborted
    }

    /// Base offset of the last batch that each producer sent: compaction keeps the
    /// shells of these, because the sequence goes on from them.
    pub(super) fn last_batches(&self) -> impl Iterator<Item = (i64, Offset)> {
        self.producers
            .iter()
            .filter_map(|(id, state)| Some((*id, state.batches.back()?.base_offset)))
    }

    /// Forgets the aborted transactions whose records compaction has taken away, all
    /// that ended below `offset`.
    pub(super) fn forget_aborted(&mut self, offset: Offset) {
        self.aborted.retain(|aborted| aborted.last_offset >= offset);
    }

    /// Forgets aborted transactions below the log's start, and producers not seen
    /// since `before` or, beyond the bound, the longest unseen ones.
    pub(super) fn forget(&mut self, start: Offset, before: Timestamp) {
        self.aborted.retain(|aborted| aborted.last_offset >= start);
        let Self { producers, open, .. } = self;
        producers.retain(|id, state| state.seen_at >= before || open.contains_key(id));
        let surplus = producers.len().saturating_sub(PRODUCERS_PER_PARTITION_MAX);
        let mut by_age: Vec<_> = producers.iter().map(|(id, state)| (state.seen_at, *id)).collect();
        by_age.sort_unstable();
        for (_, id) in by_age.iter().filter(|(_, id)| !open.contains_key(id)).take(surplus) {
            producers.remove(id);
        }
    }
}

impl ProducerState {
    const fn new(epoch: i16, seen_at: Timestamp) -> Self {
        Self { epoch, batches: VecDeque::new(), seen_at }
    }

    fn push(&mut self, header: &BatchHeader, append_time: Timestamp) {
        self.batches.push_back(SentBatch {
            first_sequence: header.producer.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            append_time,
        });
        if self.batches.len() > PRODUCER_BATCHES_KEPT {
            self.batches.pop_front();
        }
    }

    fn find(&self, first: i32, last: i32) -> Option<&SentBatch> {
        self.batches.iter().find(|sent| sent.first_sequence == first && sent.last_sequence == last)
    }
}

fn restore<V>(map: &mut BTreeMap<i64, V>, key: i64, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}
