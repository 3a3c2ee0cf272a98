//! Producers' ids, and transactions: begun, extended and ended.
//!
//! The log's coordinator decides; here its refusals get the codes that clients of each
//! version know. An AddPartitionsToTxn is all or nothing: if one partition cannot be
//! added, the others are answered as not attempted.

use std::{collections::BTreeSet, time::Duration};

use courant_log::{Committed, ErrorCode, LogError, ProducerIdentity, batch::Marker};
use courant_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
        AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
        InitProducerIdResponse, ProducerId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
        add_partitions_to_txn_response::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
        },
        txn_offset_commit_request::TxnOffsetCommitRequestPartition,
        txn_offset_commit_response::{
            TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
        },
    },
};

use super::{groups::membership, offsets::commit_error_code};
use crate::{
    context::Context,
    errors::{NONE, error_code, group_error_code},
    security::{Operation, Resource},
};

/// First version of InitProducerId that tells a fenced producer so.
const INIT_FENCED_VERSION: i16 = 4;
/// The same for the calls within a transaction.
const FENCED_VERSION: i16 = 2;

/// A version of OffsetCommit whose codes for stale members are those of a transaction.
const GENERATION_VERSION: i16 = 8;

/// Answers InitProducerId 0 to 4.
pub(crate) async fn init_producer_id(
    context: &Context,
    request: InitProducerIdRequest,
    version: i16,
) -> InitProducerIdResponse {
    let refused = InitProducerIdResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let given = match &request.transactional_id {
        Some(id) if !may_write(context, id) => {
            let error = ResponseError::TransactionalIdAuthorizationFailed;
            return refused.with_error_code(error.code());
        }
        None if !context.may_write_idempotently() => {
            return refused.with_error_code(ResponseError::ClusterAuthorizationFailed.code());
        }
        Some(id) => {
            let timeout = u64::try_from(request.transaction_timeout_ms).unwrap_or(0);
            let current = identity(request.producer_id, request.producer_epoch);
            let current = (current.id >= 0).then_some(current);
            let transactions = context.log().transactions();
            transactions.init_producer(id, Duration::from_millis(timeout), current).await
        }
        None => {
            let id = context.log().allocate_producer_id().await;
            id.map(|id| ProducerIdentity { id, epoch: 0 })
        }
    };
    match given {
        Ok(given) => {
            refused.with_producer_id(ProducerId(given.id)).with_producer_epoch(given.epoch)
        }
        Err(error) => {
            refused.with_error_code(transaction_code(&error, version >= INIT_FENCED_VERSION))
        }
    }
}

/// Answers AddPartitionsToTxn 0 to 3.
pub(crate) async fn add_partitions_to_txn(
    context: &Context,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    let id = request.v3_and_below_transactional_id;
    let allowed = may_write(context, &id);
    let mut partitions = BTreeSet::new();
    let mut topics = Vec::with_capacity(request.v3_and_below_topics.len());
    for topic in request.v3_and_below_topics {
        let mut codes = Vec::with_capacity(topic.partitions.len());
        for index in topic.partitions {
            let code = match writable(context, &topic.name, index) {
                _ if !allowed => ResponseError::TransactionalIdAuthorizationFailed.code(),
                Err(error) => error.code(),
                Ok(partition) => {
                    partitions.insert(partition);
                    NONE
                }
            };
            codes.push((index, code));
        }
        topics.push((topic.name, codes));
    }
    let is_whole = topics.iter().flat_map(|(_, codes)| codes).all(|(_, code)| *code == NONE);
    let rest = if is_whole {
        let producer =
            identity(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
        let added = context.log().transactions().add_partitions(&id, producer, &partitions).await;
        added.map_or_else(|error| transaction_code(&error, version >= FENCED_VERSION), |()| NONE)
    } else {
        ResponseError::OperationNotAttempted.code()
    };
    let partition = |(index, code)| {
        AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(index)
            .with_partition_error_code(if code == NONE { rest } else { code })
    };
    let topic = |(name, codes): (_, Vec<(i32, i16)>)| {
        AddPartitionsToTxnTopicResult::default()
            .with_name(name)
            .with_results_by_partition(codes.into_iter().map(partition).collect())
    };
    AddPartitionsToTxnResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_results_by_topic_v3_and_below(topics.into_iter().map(topic).collect())
}

/// Answers AddOffsetsToTxn 0 to 3.
pub(crate) async fn add_offsets_to_txn(
    context: &Context,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> AddOffsetsToTxnResponse {
    let id = request.transactional_id;
    let code = if !may_write(context, &id) {
        ResponseError::TransactionalIdAuthorizationFailed.code()
    } else if !context.allows(Operation::Read, Resource::Group(&request.group_id)) {
        ResponseError::GroupAuthorizationFailed.code()
    } else {
        let producer = identity(request.producer_id, request.producer_epoch);
        let added = context.log().transactions().add_offsets(&id, producer).await;
        added.map_or_else(|error| transaction_code(&error, version >= FENCED_VERSION), |()| NONE)
    };
    AddOffsetsToTxnResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_error_code(code)
}

/// Answers EndTxn 0 to 3, once all of it is visible or gone.
pub(crate) async fn end_txn(
    context: &Context,
    request: EndTxnRequest,
    version: i16,
) -> EndTxnResponse {
    let id = request.transactional_id;
    let code = if may_write(context, &id) {
        let producer = identity(request.producer_id, request.producer_epoch);
        let marker = if request.committed { Marker::Commit } else { Marker::Abort };
        let ended = context.log().transactions().end(&id, producer, marker).await;
        ended.map_or_else(|error| transaction_code(&error, version >= FENCED_VERSION), |()| NONE)
    } else {
        ResponseError::TransactionalIdAuthorizationFailed.code()
    };
    EndTxnResponse::default().with_throttle_time_ms(context.throttle_ms()).with_error_code(code)
}

/// Answers TxnOffsetCommit 0 to 3. One partition that cannot be committed does not keep
/// the others.
pub(crate) async fn txn_offset_commit(
    context: &Context,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let (id, group) = (request.transactional_id, request.group_id.0);
    let refusal = if !may_write(context, &id) {
        Some(ResponseError::TransactionalIdAuthorizationFailed)
    } else if !context.allows(Operation::Read, Resource::Group(&group)) {
        Some(ResponseError::GroupAuthorizationFailed)
    } else {
        None
    };
    let mut commits = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut codes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let checked = match refusal {
                Some(refusal) => Err(refusal.code()),
                None => committable(context, &group, &topic.name, partition),
            };
            codes.push((index, checked.as_ref().map_or_else(|code| *code, |_| NONE)));
            commits.extend(checked);
        }
        topics.push((topic.name, codes));
    }
    let mut rest = NONE;
    if !commits.is_empty() {
        let producer = identity(request.producer_id, request.producer_epoch);
        let instance_id = request.group_instance_id.as_ref();
        let member = membership(&request.member_id, instance_id, request.generation_id);
        let transactions = context.log().transactions();
        let committed = transactions.commit_offsets(&id, producer, &group, &member, commits).await;
        if let Err(error) = committed {
            rest = offset_code(context, &group, request.generation_id, &error);
        }
    }
    let partition = |(index, code)| {
        TxnOffsetCommitResponsePartition::default()
            .with_partition_index(index)
            .with_error_code(if code == NONE { rest } else { code })
    };
    let topic = |(name, codes): (_, Vec<(i32, i16)>)| {
        TxnOffsetCommitResponseTopic::default()
            .with_name(name)
            .with_partitions(codes.into_iter().map(partition).collect())
    };
    TxnOffsetCommitResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_topics(topics.into_iter().map(topic).collect())
}

const fn identity(id: ProducerId, epoch: i16) -> ProducerIdentity {
    ProducerIdentity { id: id.0, epoch }
}

fn may_write(context: &Context, id: &str) -> bool {
    context.allows(Operation::Write, Resource::TransactionalId(id))
}

fn writable(context: &Context, topic: &str, index: i32) -> Result<TopicPartition, ResponseError> {
    if !context.allows(Operation::Write, Resource::Topic(topic)) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let unknown = ResponseError::UnknownTopicOrPartition;
    let partition = TopicPartition::new(TopicName::new(topic).map_err(|_| unknown)?, index);
    context.log().partition(&partition).map_err(|_| unknown)?;
    Ok(partition)
}

fn committable(
    context: &Context,
    group: &str,
    topic: &str,
    partition: TxnOffsetCommitRequestPartition,
) -> Result<(TopicPartition, Committed), i16> {
    if !context.allows(Operation::Read, Resource::Topic(topic)) {
        return Err(ResponseError::TopicAuthorizationFailed.code());
    }
    let unknown = |_| ResponseError::UnknownTopicOrPartition.code();
    let topic = TopicName::new(topic).map_err(unknown)?;
    let to = TopicPartition::new(topic, partition.partition_index);
    let committed = Committed {
        offset: partition.committed_offset,
        metadata: partition.committed_metadata.map(|word| word.to_string()).unwrap_or_default(),
    };
    let checked = context.log().coordinator().check_offset(group, &to, &committed);
    checked.map_err(|error| group_error_code(&error))?;
    Ok((to, committed))
}

/// The code as Kafka's transaction coordinator gives it; older clients know a fenced
/// producer by its epoch only.
fn transaction_code(error: &LogError, knows_fenced: bool) -> i16 {
    match error.code() {
        ErrorCode::ProducerFenced if knows_fenced => ResponseError::ProducerFenced.code(),
        ErrorCode::Closed | ErrorCode::StorageError => ResponseError::NotCoordinator.code(),
        _ => error_code(error),
    }
}

/// The code for offsets in a transaction: clients take what they do not expect here for
/// the producer's end, and come back after "loading".
fn offset_code(context: &Context, group: &str, generation: i32, error: &LogError) -> i16 {
    match error.code() {
        ErrorCode::ConcurrentTransactions => ResponseError::CoordinatorLoadInProgress.code(),
        _ => commit_error_code(context, group, generation, error, GENERATION_VERSION),
    }
}
