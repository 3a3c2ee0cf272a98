//! What tools find out about producers and transactions.
//!
//! Nothing is changed here. What who asks may not see is left out of lists, and refused
//! where it was asked for by name.

use std::{collections::BTreeMap, time::Duration};

use courant_log::{
    ProducerDescription, TransactionDescription, TransactionFilter, TransactionState,
};
use courant_model::{Timestamp, TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
        DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse,
        ProducerId, TransactionalId,
        describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
        describe_transactions_response::{self, TopicData},
        list_transactions_response,
    },
    protocol::StrBytes,
};

use crate::{
    context::Context,
    errors::{error_code, error_message},
    security::{Operation, Resource},
};

/// Kafka's names of states in which nobody can be found here.
const STATES_OF_NOBODY: [&str; 2] = ["Dead", "PrepareEpochFence"];

/// Answers DescribeProducers 0.
pub(crate) async fn describe_producers(
    context: &Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let described = producers_of(context, &topic.name, index).await;
            partitions.push(described.with_partition_index(index));
        }
        topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    DescribeProducersResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_topics(topics)
}

/// Answers DescribeTransactions 0.
pub(crate) fn describe_transactions(
    context: &Context,
    request: &DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.iter().map(|id| described(context, id));
    DescribeTransactionsResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_transaction_states(states.collect())
}

/// Answers ListTransactions 0 and 1.
pub(crate) fn list_transactions(
    context: &Context,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let (mut states, mut unknown, mut nobody) = (Vec::new(), Vec::new(), false);
    for name in request.state_filters {
        match TransactionState::named(&name) {
            Some(state) => states.push(state),
            None if STATES_OF_NOBODY.contains(&name.as_str()) => nobody = true,
            None => unknown.push(name),
        }
    }
    let found = if nobody && states.is_empty() {
        Vec::new()
    } else {
        let producer_ids = request.producer_id_filters.iter().map(|id| id.0).collect();
        let open_for = u64::try_from(request.duration_filter).ok().map(Duration::from_millis);
        let filter = TransactionFilter { states, producer_ids, open_for };
        context.log().transactions().list(&filter)
    };
    let may_see = |id: &str| context.allows(Operation::Describe, Resource::TransactionalId(id));
    let seen = found.into_iter().filter(|one| may_see(&one.id)).map(|one| {
        list_transactions_response::TransactionState::default()
            .with_transactional_id(StrBytes::from_string(one.id).into())
            .with_producer_id(ProducerId(one.producer_id))
            .with_transaction_state(StrBytes::from_static_str(one.state.as_str()))
    });
    ListTransactionsResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_unknown_state_filters(unknown)
        .with_transaction_states(seen.collect())
}

async fn producers_of(context: &Context, topic: &str, index: i32) -> PartitionResponse {
    let response = PartitionResponse::default();
    if !context.allows(Operation::Read, Resource::Topic(topic)) {
        return response.with_error_code(ResponseError::TopicAuthorizationFailed.code());
    }
    let Ok(topic) = TopicName::new(topic) else {
        return response.with_error_code(ResponseError::UnknownTopicOrPartition.code());
    };
    match context.log().producers(&TopicPartition::new(topic, index)).await {
        Ok(producers) => {
            response.with_active_producers(producers.into_iter().map(producer).collect())
        }
        Err(error) => {
            response.with_error_code(error_code(&error)).with_error_message(error_message(&error))
        }
    }
}

fn producer(one: ProducerDescription) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(one.producer.id))
        .with_producer_epoch(i32::from(one.producer.epoch))
        .with_last_sequence(one.last_sequence)
        .with_last_timestamp(one.last_seen.as_millis())
        // The coordinator never moves.
        .with_coordinator_epoch(0)
        .with_current_txn_start_offset(one.open_from.unwrap_or(-1))
}

fn described(
    context: &Context,
    id: &TransactionalId,
) -> describe_transactions_response::TransactionState {
    let response = describe_transactions_response::TransactionState::default()
        .with_transactional_id(id.clone());
    if !context.allows(Operation::Describe, Resource::TransactionalId(id)) {
        let error = ResponseError::TransactionalIdAuthorizationFailed;
        return response.with_error_code(error.code());
    }
    let TransactionDescription { producer, state, timeout_ms, started_at, partitions, .. } =
        match context.log().transactions().describe(id) {
            Ok(described) => described,
            Err(error) => return response.with_error_code(error_code(&error)),
        };
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for TopicPartition { topic, partition } in partitions {
        if context.allows(Operation::Describe, Resource::Topic(topic.as_str())) {
            topics.entry(topic).or_default().push(partition);
        }
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let name = StrBytes::from_string(topic.to_string());
        TopicData::default().with_topic(name.into()).with_partitions(partitions)
    });
    response
        .with_transaction_state(StrBytes::from_static_str(state.as_str()))
        .with_transaction_timeout_ms(timeout_ms)
        .with_transaction_start_time_ms(started_at.map_or(-1, Timestamp::as_millis))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_topics(topics.collect())
}
