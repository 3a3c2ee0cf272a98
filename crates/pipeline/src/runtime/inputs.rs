//! What a task reads: one partition of each of its topics, with its positions.
//!
//! A pipeline's task has one input and takes its batches as they come. A view's task has
//! one for each topic of its query and takes records in the order of their timestamps, as
//! far as they are known: an input that is behind is waited for, one at its end is not. A
//! position counts what was handed out, not what was read ahead.

use std::collections::VecDeque;

use courant_log::{Committed, LogError, PartitionReader, Read};
use courant_model::{
    Offset, Positions, StoredRecord, Timestamp, TopicPartition,
    limits::{PIPELINE_BATCH_BYTES_MAX, PIPELINE_BATCH_RECORDS_MAX, PIPELINE_IDLE_READ_BYTES},
};
use futures::future::select_all;
use tokio::time::Instant;

use super::{
    budget::{Budget, Share},
    status::PartitionStatus,
};

/// A partition of a task.
#[derive(Debug)]
pub(crate) struct Input {
    pub(super) reader: Box<dyn PartitionReader>,
    pub(super) partition: TopicPartition,
    /// The next offset after the last record that is done.
    pub(super) position: Offset,
    pub(super) committed: Offset,
    /// The partition's end at the last read.
    pub(super) end: Offset,
    /// Offset up to which records are replayed for the state only; nothing is read beyond
    /// it before all inputs are there.
    pub(super) replay_to: Offset,
    /// When a record came last.
    pub(super) last_record: Instant,
    /// Read and not handed out yet.
    ahead: VecDeque<StoredRecord>,
    /// Of the memory, for large reads.
    share: Option<Share>,
}

/// Records of one input, in the order of their offsets.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Index of the input.
    pub(super) input: usize,
    pub(super) records: Vec<StoredRecord>,
    /// Where the input's position is once the records are done.
    pub(super) next: Offset,
    pub(super) end: Offset,
}

impl Input {
    pub(crate) fn new(reader: Box<dyn PartitionReader>) -> Self {
        Self {
            partition: reader.partition().clone(),
            position: 0,
            committed: -1,
            end: 0,
            replay_to: 0,
            last_record: Instant::now(),
            ahead: VecDeque::new(),
            share: None,
            reader,
        }
    }

    /// Goes on at an offset, with nothing read ahead.
    pub(super) fn seek(&mut self, to: Offset) {
        self.ahead.clear();
        self.position = to;
        self.reader.seek(to);
    }

    /// How much the next read may bring. A task that is behind takes a share of the
    /// memory for large reads; without one, or waiting for news, it reads little, so that
    /// everybody gets on and quiet partitions hold nothing.
    fn reserve(&mut self, budget: &Budget) -> usize {
        if !self.is_behind() {
            self.share = None;
        } else if self.share.is_none() {
            self.share = budget.try_acquire(PIPELINE_BATCH_BYTES_MAX);
        }
        match self.share {
            Some(_) => PIPELINE_BATCH_BYTES_MAX,
            None => PIPELINE_IDLE_READ_BYTES,
        }
    }

    /// Whether the partition has more than was read, as far as is known.
    pub(super) fn is_behind(&self) -> bool {
        self.reader.position() < self.end
    }

    /// Reads ahead, once there is something.
    ///
    /// # Cancel safety
    /// Safe.
    async fn read_ahead(&mut self, bytes_max: usize) -> Result<(), LogError> {
        let read = self.reader.next(PIPELINE_BATCH_RECORDS_MAX, bytes_max).await?;
        self.end = read.end;
        self.ahead.extend(read.records);
        Ok(())
    }

    /// Takes records off, up to `count`; where none is left the position is the reader's,
    /// which steps over what is no record.
    fn take(&mut self, index: usize, count: usize) -> Batch {
        let records: Vec<StoredRecord> = self.ahead.drain(..count).collect();
        let next = match self.ahead.front() {
            Some(record) => record.offset,
            None => self.reader.position(),
        };
        if !records.is_empty() {
            self.last_record = Instant::now();
        }
        Batch { input: index, records, next, end: self.end }
    }

    fn head(&self) -> Option<Timestamp> {
        self.ahead.front().map(|stored| stored.record.timestamp)
    }

    pub(super) fn status(&self) -> PartitionStatus {
        PartitionStatus {
            partition: self.partition.clone(),
            position: self.position,
            committed: self.committed,
            end: self.end.max(self.position),
        }
    }
}

/// The inputs of a task, at least one.
#[derive(Debug)]
pub(crate) struct Inputs(pub(super) Vec<Input>);

impl Inputs {
    /// What the group had committed on each input before.
    pub(super) fn committed(&self) -> Vec<Option<Committed>> {
        self.0.iter().map(|input| input.reader.committed().cloned()).collect()
    }

    pub(super) fn positions(&self) -> Positions {
        self.0.iter().map(|input| (input.partition.clone(), input.position)).collect()
    }

    /// Since when each input has brought no record; `None` while it has more than was read.
    pub(super) fn quiet_since(&self) -> Vec<Option<Instant>> {
        let since = |input: &Input| (!input.is_behind()).then_some(input.last_record);
        self.0.iter().map(since).collect()
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.0.iter().map(|input| &input.partition)
    }

    /// Whether something is done that is not committed.
    pub(super) fn moved(&self) -> bool {
        self.0.iter().any(|input| input.position != input.committed)
    }

    /// Whether records are replayed whose output is out already.
    pub(super) fn replaying(&self) -> bool {
        self.0.iter().any(|input| input.position < input.replay_to)
    }

    /// Whether an input stands before what is committed.
    pub(super) fn behind_commit(&self) -> bool {
        self.0.iter().any(|input| input.position < input.committed)
    }

    pub(super) fn done(&mut self, input: usize, next: Offset, end: Offset) {
        let input = &mut self.0[input];
        input.position = next;
        input.end = end;
    }

    /// Notes that the positions are committed.
    pub(super) fn commit(&mut self) {
        for input in &mut self.0 {
            input.committed = input.position;
        }
    }

    /// Waits for records; the batch is not done before the caller says so.
    ///
    /// # Cancel safety
    /// Safe: what was read is kept.
    ///
    /// # Errors
    /// Those of the readers.
    pub(super) async fn next(&mut self, budget: &Budget) -> Result<Batch, LogError> {
        match &mut self.0[..] {
            [only] => {
                let bytes_max = only.reserve(budget);
                let read = only.reader.next(PIPELINE_BATCH_RECORDS_MAX, bytes_max).await?;
                if !read.records.is_empty() {
                    only.last_record = Instant::now();
                }
                let Read { records, next, end } = read;
                Ok(only.up_to_replay(records, next, end))
            }
            _ => self.next_of_several(budget).await,
        }
    }

    /// Waits until an input has more.
    pub(super) async fn more(&mut self, records_max: usize) -> Result<Read, LogError> {
        self.0[0].reader.next(records_max, PIPELINE_IDLE_READ_BYTES).await
    }

    async fn next_of_several(&mut self, budget: &Budget) -> Result<Batch, LogError> {
        loop {
            let replaying = self.replaying();
            let open = |input: &Input| !replaying || input.position < input.replay_to;
            let waits = |input: &Input| open(input) && input.ahead.is_empty();
            let awaited = self.0.iter().any(|input| waits(input) && input.is_behind());
            if !awaited && let Some(batch) = self.oldest(replaying) {
                return Ok(batch);
            }
            let reads = self.0.iter_mut().filter(|input| waits(input)).map(|input| {
                let bytes_max = input.reserve(budget);
                Box::pin(input.read_ahead(bytes_max))
            });
            let reads: Vec<_> = reads.collect();
            select_all(reads).await.0?;
            // What is no record moves a position all the same.
            for index in 0..self.0.len() {
                let input = &mut self.0[index];
                if input.ahead.is_empty() && input.position < input.reader.position() {
                    return Ok(input.take(index, 0));
                }
            }
        }
    }

    /// The records that are oldest: those of one input, up to the first that is younger
    /// than another input's.
    fn oldest(&mut self, replaying: bool) -> Option<Batch> {
        let open = |input: &Input| !replaying || input.position < input.replay_to;
        let heads = self.0.iter().enumerate().filter(|(_, input)| open(input));
        let mut heads: Vec<_> =
            heads.filter_map(|(index, input)| Some((input.head()?, index))).collect();
        heads.sort_unstable();
        let (_, first) = *heads.first()?;
        let bound = heads.get(1).map(|(head, _)| *head);
        let input = &mut self.0[first];
        let replay_to = if replaying { input.replay_to } else { Offset::MAX };
        let fits = |stored: &&StoredRecord| {
            bound.is_none_or(|bound| stored.record.timestamp <= bound) && stored.offset < replay_to
        };
        let count = input.ahead.iter().take_while(fits).count();
        Some(if count == 0 { input.skip_replay(first) } else { input.take(first, count) })
    }
}

impl Input {
    /// A batch of the only input; while it is replayed, no further than that.
    fn up_to_replay(&mut self, records: Vec<StoredRecord>, next: Offset, end: Offset) -> Batch {
        if self.position >= self.replay_to || next <= self.replay_to {
            return Batch { input: 0, records, next, end };
        }
        let mut records = records;
        records.retain(|stored| stored.offset < self.replay_to);
        self.reader.seek(self.replay_to);
        Batch { input: 0, records, next: self.replay_to, end }
    }

    /// An empty batch that ends the replay, where no record is left below its end.
    fn skip_replay(&mut self, index: usize) -> Batch {
        Batch { input: index, records: Vec::new(), next: self.replay_to, end: self.end }
    }
}
