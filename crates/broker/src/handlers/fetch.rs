//! Fetch: whole batches of many partitions, waiting until there are enough.
//!
//! The partitions are followed before they are read, so that no append is missed.
//! What was read lately near a partition's end is in memory and read at once; anything
//! else is read by one blocking call for the whole request. A failure of one partition
//! answers the request without waiting, as Kafka does.
//!
//! Sessions are declined: every request names all its partitions.

use courant_log::{Ends, Fetched, LogError, PartitionHandle};
use courant_model::{
    TopicName, TopicPartition,
    limits::{BROKER_FETCH_BYTES_MAX, BROKER_FETCH_WAIT_MS_MAX},
};
use futures::{StreamExt, stream::FuturesUnordered};
use kafka_protocol::{
    ResponseError,
    messages::{
        FetchRequest, FetchResponse,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData},
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Duration, Instant, sleep_until},
};

use super::leader_epochs::check_leader_epoch;
use crate::{
    context::Context,
    errors::response_error,
    security::{Operation, Resource},
};

/// First version that names topics by id.
const TOPIC_IDS_VERSION: i16 = 13;

/// An answer, with the memory that it takes until it is sent.
pub(crate) type Answer = (FetchResponse, Option<OwnedSemaphorePermit>);

/// A partition of the request.
#[derive(Debug)]
struct Asked {
    index: i32,
    offset: i64,
    bytes_max: usize,
    state: State,
}

/// How far a partition of the request has come.
#[derive(Debug)]
enum State {
    Failed(ResponseError),
    Followed(PartitionHandle, watch::Receiver<Ends>),
    Read(Fetched),
}

/// A partition that has something to read.
#[derive(Debug)]
struct Ready {
    place: usize,
    handle: PartitionHandle,
    offset: i64,
    bytes_max: usize,
}

/// What reading is to keep to.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    committed: bool,
    bytes_min: usize,
    bytes_max: usize,
}

/// Answers Fetch 4 to 17.
pub(crate) async fn fetch(context: &Context, request: FetchRequest, version: i16) -> Answer {
    if let Err(error) = check_session(&request) {
        return (FetchResponse::default().with_error_code(error.code()), None);
    }
    let until = Instant::now() + wait(request.max_wait_ms);
    let wanted = Wanted {
        committed: request.isolation_level == 1,
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(BROKER_FETCH_BYTES_MAX),
    };
    let mut asked = follow(context, &request.topics, version);
    let (memory, sent) = loop {
        let last = Instant::now() >= until || context.hurry.is_cancelled();
        let (ready, failed) = look(&mut asked, wanted.committed);
        if !ready.is_empty() {
            let most = ready.iter().map(|ready| ready.bytes_max).sum::<usize>();
            let most = most.min(wanted.bytes_max);
            let mut memory = context.broker.bounds.answer_memory(most).await;
            let read = read(ready, wanted).await;
            let bytes = read.iter().filter_map(|(_, read)| read.as_ref().ok());
            let bytes = bytes.map(|fetched| fetched.batches.len()).sum::<usize>();
            let failed = failed || read.iter().any(|(_, read)| read.is_err());
            if last || failed || bytes >= wanted.bytes_min {
                settle(&mut asked, read);
                // What was not used is for others.
                drop(memory.as_mut().and_then(|memory| memory.split(most.saturating_sub(bytes))));
                break (memory, bytes);
            }
        } else if last || failed || wanted.bytes_min == 0 {
            break (None, 0);
        }
        tokio::select! {
            () = news(&mut asked) => {}
            () = sleep_until(until) => {}
            () = context.hurry.cancelled() => {}
        }
    };
    let response = answer(&request.topics, asked, wanted.committed, version);
    (response.with_throttle_time_ms(context.charge_fetch(sent)), memory)
}

/// Sessions are never given, so that none can be gone on with.
const fn check_session(request: &FetchRequest) -> Result<(), ResponseError> {
    match (request.session_id, request.session_epoch) {
        (0, -1 | 0) => Ok(()),
        (0, _) => Err(ResponseError::InvalidFetchSessionEpoch),
        _ => Err(ResponseError::FetchSessionIdNotFound),
    }
}

fn wait(max_wait_ms: i32) -> Duration {
    let wait_ms = u64::try_from(max_wait_ms).unwrap_or(0);
    Duration::from_millis(wait_ms.min(BROKER_FETCH_WAIT_MS_MAX))
}

/// Finds the partitions and follows their ends from now on.
fn follow(context: &Context, topics: &[FetchTopic], version: i16) -> Vec<Asked> {
    let by_id = version >= TOPIC_IDS_VERSION;
    let ids: Vec<_> = topics.iter().filter(|_| by_id).map(|topic| topic.topic_id).collect();
    let names = context.log().topic_names(&ids).unwrap_or_default();
    let mut asked = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in topics {
        let name = if by_id {
            names.get(&topic.topic_id).cloned().ok_or(ResponseError::UnknownTopicId)
        } else {
            TopicName::new(&topic.topic).map_err(|_| ResponseError::UnknownTopicOrPartition)
        };
        asked.extend(topic.partitions.iter().map(|partition| Asked {
            index: partition.partition,
            offset: partition.fetch_offset,
            bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            state: follow_one(context, &name, partition).unwrap_or_else(State::Failed),
        }));
    }
    asked
}

fn follow_one(
    context: &Context,
    topic: &Result<TopicName, ResponseError>,
    partition: &FetchPartition,
) -> Result<State, ResponseError> {
    let name = TopicPartition::new(topic.clone()?, partition.partition);
    if !context.allows(Operation::Read, Resource::Topic(name.topic.as_str())) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let handle = context.log().partition(&name).map_err(|error| response_error(&error))?;
    check_leader_epoch(partition.current_leader_epoch)?;
    let ends = handle.watch();
    Ok(State::Followed(handle, ends))
}

/// The partitions that have something to read, and whether any has failed.
fn look(asked: &mut [Asked], committed: bool) -> (Vec<Ready>, bool) {
    let (mut ready, mut failed) = (Vec::new(), false);
    for (place, asked) in asked.iter_mut().enumerate() {
        if let State::Followed(handle, ends) = &mut asked.state {
            let ends = *ends.borrow_and_update();
            let readable_to = if committed { ends.last_stable } else { ends.end };
            match handle.check_readable(asked.offset) {
                Err(error) => asked.state = State::Failed(response_error(&error)),
                Ok(()) if asked.offset < readable_to => {
                    let (handle, bytes_max) = (handle.clone(), asked.bytes_max);
                    ready.push(Ready { place, handle, offset: asked.offset, bytes_max });
                }
                Ok(()) => {}
            }
        }
        failed |= matches!(asked.state, State::Failed(_));
    }
    (ready, failed)
}

/// Reads the partitions in their order until the request is full.
async fn read(ready: Vec<Ready>, wanted: Wanted) -> Vec<(usize, Result<Fetched, LogError>)> {
    let warm = ready.iter().all(|ready| ready.handle.is_warm(ready.offset));
    let read = move || {
        let mut room = wanted.bytes_max;
        let mut read = Vec::with_capacity(ready.len());
        for Ready { place, handle, offset, bytes_max } in ready {
            if room == 0 && !read.is_empty() {
                break;
            }
            let fetched = handle.fetch(offset, bytes_max.min(room), wanted.committed);
            room = room.saturating_sub(fetched.as_ref().map_or(0, |f| f.batches.len()));
            read.push((place, fetched));
        }
        read
    };
    if warm {
        return read();
    }
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

fn settle(asked: &mut [Asked], read: Vec<(usize, Result<Fetched, LogError>)>) {
    for (place, read) in read {
        asked[place].state = match read {
            Ok(fetched) => State::Read(fetched),
            Err(error) => State::Failed(response_error(&error)),
        };
    }
}

/// Waits until one of the partitions has changed.
async fn news(asked: &mut [Asked]) {
    let followed = asked.iter_mut().filter_map(|asked| match &mut asked.state {
        State::Followed(_, ends) => Some(ends),
        _ => None,
    });
    let mut changes: FuturesUnordered<_> = followed.map(|ends| ends.changed()).collect();
    if changes.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn answer(
    topics: &[FetchTopic],
    asked: Vec<Asked>,
    committed: bool,
    version: i16,
) -> FetchResponse {
    let mut asked = asked.into_iter();
    let topics = topics.iter().map(|topic| {
        let partitions = asked.by_ref().take(topic.partitions.len());
        let partitions = partitions.map(|asked| describe(asked, committed, version)).collect();
        let answer = FetchableTopicResponse::default().with_partitions(partitions);
        if version >= TOPIC_IDS_VERSION {
            answer.with_topic_id(topic.topic_id)
        } else {
            answer.with_topic(topic.topic.clone())
        }
    });
    FetchResponse::default().with_responses(topics.collect())
}

fn describe(asked: Asked, committed: bool, version: i16) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(asked.index)
        .with_records(Some(bytes::Bytes::new()));
    let (start, ends, read) = match asked.state {
        State::Failed(error) => {
            return data.with_error_code(error.code()).with_high_watermark(-1);
        }
        State::Followed(handle, _) => {
            let Ends { end, last_stable, .. } = handle.ends();
            (handle.start(), (end, last_stable), None)
        }
        State::Read(read) => (read.start, (read.end, read.last_stable), Some(read)),
    };
    let data = data.with_high_watermark(ends.0).with_last_stable_offset(ends.1);
    let data = if version >= 5 { data.with_log_start_offset(start) } else { data };
    let (records, aborted) = read.map(|read| (read.batches, read.aborted)).unwrap_or_default();
    let aborted = aborted.into_iter().map(|aborted| {
        AbortedTransaction::default()
            .with_producer_id(aborted.producer_id.into())
            .with_first_offset(aborted.first_offset)
    });
    let aborted = committed.then(|| aborted.collect());
    data.with_aborted_transactions(aborted).with_records(Some(records))
}
