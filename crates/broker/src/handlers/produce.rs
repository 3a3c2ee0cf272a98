//! Produce: record batches into the log, as their producer encoded them.
//!
//! [`submit`] hands the batches of a request to all their partitions, in order;
//! [`Submitted::done`] waits for them. In between the connection takes its next
//! request, so that the order of batches is the order of requests while many share a
//! sync. Each partition is answered for itself.

use bytes::{BufMut, Bytes, BytesMut};
use courant_log::{
    LogError, PartitionHandle, PendingAppend, Retention, TimestampSource,
    batch::{self, BatchHeader, Compression},
};
use courant_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        ProduceRequest, ProduceResponse,
        produce_request::PartitionProduceData,
        produce_response::{
            BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
        },
    },
    protocol::StrBytes,
};

use crate::{
    context::Context,
    decode::Malformed,
    errors::response_error,
    security::{Operation, Resource},
};

/// First version whose batches may be compressed with zstd.
const ZSTD_VERSION: i16 = 7;
/// First version that is understood; those before it are told so.
pub(crate) const VERSION_MIN: i16 = 3;

/// Batches that were handed to the log.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) acks: i16,
    version: i16,
    throttle_ms: i32,
    topics: Vec<(kafka_protocol::messages::TopicName, Vec<(i32, Outcome)>)>,
}

/// What became of one partition's batch so far.
#[derive(Debug)]
enum Outcome {
    Pending(PartitionHandle, Bytes, PendingAppend),
    Refused(Refusal),
}

/// Why a batch was not appended.
#[derive(Debug)]
struct Refusal {
    error: ResponseError,
    why: String,
    /// Places of the records at fault, where some are and others are not.
    records: Vec<(i32, &'static str)>,
}

impl Refusal {
    fn new(error: ResponseError, why: impl Into<String>) -> Self {
        Self { error, why: why.into(), records: Vec::new() }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        Self::new(response_error(&error), error.to_string())
    }
}

/// Hands the batches of Produce 3 to 12 to the log. Waits only while its queue is full.
pub(crate) async fn submit(context: &Context, request: ProduceRequest, version: i16) -> Submitted {
    let (acks, throttle_ms) = (request.acks, context.throttle_ms());
    let refused = refusal_of_all(context, &request);
    let transactional = request.transactional_id.is_some();
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let name = refused.map_or_else(|| writable(context, &topic.name), Err);
        let mut outcomes = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            let outcome = match &name {
                Ok(name) => submit_one(context, name, data, version, transactional).await,
                Err((error, why)) => Err(Refusal::new(*error, *why)),
            };
            outcomes.push((index, outcome.unwrap_or_else(Outcome::Refused)));
        }
        topics.push((topic.name, outcomes));
    }
    Submitted { acks, version, throttle_ms, topics }
}

/// Why nothing of a request may be appended.
fn refusal_of_all(
    context: &Context,
    request: &ProduceRequest,
) -> Option<(ResponseError, &'static str)> {
    let id = request.transactional_id.as_ref();
    if id.is_some_and(|id| !context.allows(Operation::Write, Resource::TransactionalId(id))) {
        let error = ResponseError::TransactionalIdAuthorizationFailed;
        return Some((error, "the transactional id may not be used"));
    }
    let refused = !(-1..=1).contains(&request.acks);
    refused.then_some((ResponseError::InvalidRequiredAcks, "acks is none of 0, 1 and -1"))
}

fn writable(context: &Context, topic: &str) -> Result<TopicName, (ResponseError, &'static str)> {
    if !context.allows(Operation::Write, Resource::Topic(topic)) {
        return Err((ResponseError::TopicAuthorizationFailed, "the topic may not be written to"));
    }
    TopicName::new(topic)
        .map_err(|_| (ResponseError::UnknownTopicOrPartition, "no topic has such a name"))
}

async fn submit_one(
    context: &Context,
    topic: &TopicName,
    data: PartitionProduceData,
    version: i16,
    transactional: bool,
) -> Result<Outcome, Refusal> {
    let partition = TopicPartition::new(topic.clone(), data.index);
    let handle = context.log().partition(&partition)?;
    let Some(records) = data.records.filter(|records| !records.is_empty()) else {
        return Err(Refusal::new(ResponseError::InvalidRecord, "there is no record batch"));
    };
    let header = BatchHeader::parse(&records);
    if !transactional && header.as_ref().is_ok_and(BatchHeader::is_transactional) {
        // Nobody asked whether the id may be used.
        let error = ResponseError::TransactionalIdAuthorizationFailed;
        return Err(Refusal::new(error, "a batch of a transaction came without its id"));
    }
    let codec = header.and_then(|header| header.compression());
    if version < ZSTD_VERSION && codec == Ok(Compression::Zstd) {
        let why = format!("zstd needs version {ZSTD_VERSION} of Produce");
        return Err(Refusal::new(ResponseError::UnsupportedCompressionType, why));
    }
    match context.log().submit_batch(&partition, records.clone()).await {
        Ok(pending) => Ok(Outcome::Pending(handle, records, pending)),
        Err(error) => Err(refusal(&handle, &records, error)),
    }
}

/// A refusal of the log, with the records at fault where they can be told.
fn refusal(handle: &PartitionHandle, records: &Bytes, error: LogError) -> Refusal {
    let keyless = matches!(error, LogError::InvalidRecord { .. })
        && handle.settings().cleanup != Retention::Delete;
    let mut refusal = Refusal::from(error);
    if keyless && let Ok((_, decoded)) = batch::decode(records) {
        let at_fault = (0..).zip(decoded).filter(|(_, decoded)| decoded.record.key.is_none());
        refusal.records = at_fault.map(|(index, _)| (index, "it has no key")).collect();
    }
    refusal
}

impl Submitted {
    /// Waits for all batches; with acks 0 tells only whether there was a failure.
    ///
    /// # Cancel safety
    /// Dropped, the batches may still be appended.
    pub(crate) async fn done(self) -> (ProduceResponse, Option<ResponseError>) {
        let (version, mut failed) = (self.version, None);
        let mut responses = Vec::with_capacity(self.topics.len());
        for (name, outcomes) in self.topics {
            let mut partitions = Vec::with_capacity(outcomes.len());
            for (index, outcome) in outcomes {
                let response = match outcome.done().await {
                    Ok(response) => response,
                    Err(refusal) => {
                        failed = Some(refusal.error);
                        refused(refusal, version)
                    }
                };
                partitions.push(response.with_index(index));
            }
            let response = TopicProduceResponse::default().with_name(name);
            responses.push(response.with_partition_responses(partitions));
        }
        let response = ProduceResponse::default().with_responses(responses);
        (response.with_throttle_time_ms(self.throttle_ms), failed)
    }
}

impl Outcome {
    async fn done(self) -> Result<PartitionProduceResponse, Refusal> {
        let (handle, records, pending) = match self {
            Self::Refused(refusal) => return Err(refusal),
            Self::Pending(handle, records, pending) => (handle, records, pending),
        };
        let appended = pending.done().await.map_err(|error| refusal(&handle, &records, error))?;
        let log_time = match handle.settings().timestamps {
            TimestampSource::Log => appended.append_time.as_millis(),
            TimestampSource::Producer => -1,
        };
        Ok(PartitionProduceResponse::default()
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(log_time)
            .with_log_start_offset(handle.start()))
    }
}

fn refused(refusal: Refusal, version: i16) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default()
        .with_error_code(refusal.error.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1);
    if version < 8 {
        return response;
    }
    let records = refusal.records.into_iter().map(|(index, why)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(index)
            .with_batch_index_error_message(Some(StrBytes::from_static_str(why)))
    });
    response
        .with_record_errors(records.collect())
        .with_error_message(Some(StrBytes::from_string(refusal.why)))
}

/// Reads a request of a version before [`VERSION_MIN`], which lacks the transactional
/// id, as one of that version.
pub(crate) fn from_old(body: &Bytes) -> Bytes {
    let mut bytes = BytesMut::with_capacity(body.len() + 2);
    bytes.put_i16(-1);
    bytes.put_slice(body);
    bytes.freeze()
}

/// The answer's body for a version before [`VERSION_MIN`]: every partition is told that
/// the version is not spoken.
///
/// # Errors
/// [`Malformed`] where a name is longer than the version can say; requests hold none.
pub(crate) fn refuse_old(request: &ProduceRequest, version: i16) -> Result<Bytes, Malformed> {
    let counted = |count: usize| {
        i32::try_from(count).map_err(|_| Malformed { why: "too many items".to_owned() })
    };
    let mut body = BytesMut::new();
    body.put_i32(counted(request.topic_data.len())?);
    for topic in &request.topic_data {
        let length = i16::try_from(topic.name.len())
            .map_err(|_| Malformed { why: "a topic's name is too long".to_owned() })?;
        body.put_i16(length);
        body.put_slice(topic.name.as_bytes());
        body.put_i32(counted(topic.partition_data.len())?);
        for data in &topic.partition_data {
            body.put_i32(data.index);
            body.put_i16(ResponseError::UnsupportedVersion.code());
            body.put_i64(-1);
            if version >= 2 {
                body.put_i64(-1);
            }
        }
    }
    if version >= 1 {
        body.put_i32(0);
    }
    Ok(body.freeze())
}
