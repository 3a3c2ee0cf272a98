//! A topic as a stream of its records.
//!
//! Every partition has one read under way; whoever has something is heard. An event's
//! id holds the next offset of every partition that is followed, so that a client
//! which comes back misses nothing and sees nothing twice. Order holds within a
//! partition.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::response::{Response, sse::Event};
use courant_log::{Log, LogError, Read, ReadLimit};
use courant_model::{
    Offset, PartitionId, StoredRecord, TopicName, TopicPartition,
    limits::{RECORDS_LIMIT_MAX, STREAM_RECORDS_BYTES_MAX},
};
use courant_stores::Filter;
use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};

use super::Topic;
use crate::{
    api::records::read::matches,
    context::Shared,
    error::ApiError,
    record_json::RecordJson,
    start::{Start, token},
};

/// How long one read waits for records; afterwards new partitions are looked for.
const READ_WAIT: Duration = Duration::from_secs(10);

/// Opens the stream of a topic.
///
/// # Errors
/// [`ApiError::TooManySubscribers`]; the log's, when nothing was sent yet.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    topic: Topic,
    start: &Start,
    filter: Filter,
) -> Result<Response, ApiError> {
    let permit = super::admit(shared)?;
    let events = begin(shared, topic, start, filter).await?;
    Ok(super::respond(shared, permit, events))
}

/// How the records of a stream are told.
pub(crate) trait Tell: Send + 'static {
    /// The event of a record, with the token that continues after it; `None`: the record is
    /// not meant.
    fn tell(&self, record: &StoredRecord, token: &str) -> Option<Event>;
}

impl Tell for Filter {
    fn tell(&self, record: &StoredRecord, token: &str) -> Option<Event> {
        let is_meant = matches(self, record);
        is_meant.then(|| super::event("record", &RecordJson::new(record), Some(token)))
    }
}

/// Begins to read a topic; the events are its records as they are told.
///
/// # Errors
/// The log's.
pub(crate) async fn begin<T: Tell>(
    shared: &Shared,
    topic: Topic,
    start: &Start,
    tell: T,
) -> Result<impl Stream<Item = Event> + use<T>, ApiError> {
    let mut next = BTreeMap::new();
    for partition in &topic.partitions {
        let at = TopicPartition::new(topic.description.name.clone(), *partition);
        let offsets = shared.log().offsets(&at).await?;
        let from = start.offset(shared.log(), &at, &offsets).await?;
        if !(offsets.start..=offsets.end).contains(&from) {
            let (start, end) = (offsets.start, offsets.end);
            return Err(
                LogError::OffsetOutOfRange { partition: at, offset: from, start, end }.into()
            );
        }
        next.insert(*partition, from);
    }
    let log = Arc::clone(&shared.context.log);
    let mut tail = Tail {
        log,
        topic: topic.description.name,
        whole: topic.whole,
        reads: FuturesUnordered::new(),
        waiting: VecDeque::new(),
        next,
        tell,
        ended: false,
    };
    tail.read_all();
    Ok(tail.events())
}

type Answered = (PartitionId, Result<Read, LogError>);

/// A stream under way.
struct Tail<T> {
    log: Arc<dyn Log>,
    topic: TopicName,
    whole: bool,
    /// One for each partition, but for the one whose records wait.
    reads: FuturesUnordered<BoxFuture<'static, Answered>>,
    waiting: VecDeque<StoredRecord>,
    next: BTreeMap<PartitionId, Offset>,
    tell: T,
    ended: bool,
}

impl<T: Tell> Tail<T> {
    fn events(self) -> impl Stream<Item = Event> {
        stream::unfold(self, |mut tail| async move { Some((tail.event().await?, tail)) })
    }

    /// The next event; none after the end.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if self.ended {
                return None;
            }
            while let Some(record) = self.waiting.pop_front() {
                let partition = record.partition;
                self.next.insert(partition, record.offset + 1);
                if let Some(event) = self.tell.tell(&record, &token(&self.next)) {
                    return Some(event);
                }
            }
            let answered = self.reads.next().await?;
            if let Err(error) = self.take(answered).await {
                self.ended = true;
                return Some(super::end(&error));
            }
        }
    }

    /// Takes what a read brought, and reads on behind it.
    async fn take(&mut self, (partition, read): Answered) -> Result<(), ApiError> {
        let read = match read {
            // Retention overtook the reader: it goes on with what is left.
            Err(LogError::OffsetOutOfRange { start, end, .. }) if start <= end => {
                let at = TopicPartition::new(self.topic.clone(), partition);
                let offsets = self.log.offsets(&at).await?;
                self.read(partition, offsets.start);
                return Ok(());
            }
            read => read?,
        };
        if read.records.is_empty() && self.whole {
            self.look_for_partitions().await?;
        }
        self.waiting.extend(read.records);
        self.read(partition, read.next);
        Ok(())
    }

    async fn look_for_partitions(&mut self) -> Result<(), ApiError> {
        let partitions = self.log.topic(&self.topic).await?.partitions;
        for (partition, offsets) in (0..).zip(partitions) {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.next.entry(partition) {
                entry.insert(offsets.start);
                self.read(partition, offsets.start);
            }
        }
        Ok(())
    }

    fn read_all(&mut self) {
        for (partition, from) in self.next.clone() {
            self.read(partition, from);
        }
    }

    fn read(&self, partition: PartitionId, from: Offset) {
        let log = Arc::clone(&self.log);
        let at = TopicPartition::new(self.topic.clone(), partition);
        let limit = ReadLimit {
            records: RECORDS_LIMIT_MAX,
            bytes: STREAM_RECORDS_BYTES_MAX,
            wait: READ_WAIT,
        };
        let read = async move { (partition, log.read(&at, from, limit).await) };
        self.reads.push(read.boxed());
    }
}
