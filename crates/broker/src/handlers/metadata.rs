//! Metadata: the broker, and where topics live. Creates topics where that is wished.
//!
//! There is one broker, and it leads everything. Topics come by name, from version 10
//! on also by id; null (version 0: an empty list) asks for all.

use courant_log::{LEADER_EPOCH, Log, LogError, TopicDescription, TopicSettings, TopicSpec};
use courant_model::TopicName;
use kafka_protocol::{
    ResponseError,
    messages::{
        MetadataRequest, MetadataResponse,
        metadata_request::MetadataRequestTopic,
        metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use crate::{
    context::{BROKER_ID, Context},
    errors::response_error,
    security::{Operation, Resource},
};

/// Topics that belong to the log itself begin so.
const INTERNAL_PREFIX: &str = "__";

/// Answers Metadata 0 to 12.
pub(crate) async fn metadata(
    context: &Context,
    request: MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let mut topics = Vec::new();
    match &request.topics {
        Some(asked) if version > 0 || !asked.is_empty() => {
            let create = request.allow_auto_topic_creation;
            for topic in asked {
                topics.push(one_topic(context, topic, create, version).await);
            }
        }
        _ => {
            let all = context.log().all_topics().unwrap_or_default();
            let seen = all.iter().filter(|topic| {
                context.allows(Operation::Describe, Resource::Topic(topic.name.as_str()))
            });
            topics.extend(seen.map(|topic| describe(topic, version)));
        }
    }
    if version >= 8 && request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            let name = topic.name.as_ref().map_or("", |name| name);
            topic.topic_authorized_operations =
                context.authorized_operations(Resource::Topic(name));
        }
    }
    let (host, port) = context.advertised();
    let broker =
        MetadataResponseBroker::default().with_node_id(BROKER_ID).with_host(host).with_port(port);
    let mut response = MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics);
    if version >= 1 {
        response.controller_id = BROKER_ID;
    }
    if version >= 2 {
        response.cluster_id = Some(context.broker.cluster_id());
    }
    if (8..=10).contains(&version) && request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = context.authorized_operations(Resource::Cluster);
    }
    response
}

async fn one_topic(
    context: &Context,
    asked: &MetadataRequestTopic,
    create: bool,
    version: i16,
) -> MetadataResponseTopic {
    if let Some(name) = asked.name.as_ref() {
        if !context.allows(Operation::Describe, Resource::Topic(name)) {
            let refused = ResponseError::TopicAuthorizationFailed;
            return refuse(refused, Some(name.0.clone()), asked.topic_id);
        }
        return match named(context, name, create).await {
            Ok(topic) => describe(&topic, version),
            Err(error) => refuse(error, Some(name.0.clone()), asked.topic_id),
        };
    }
    let all = context.log().all_topics().unwrap_or_default();
    let may_see =
        |name: &TopicName| context.allows(Operation::Describe, Resource::Topic(name.as_str()));
    match all.iter().find(|topic| topic.id == asked.topic_id) {
        Some(topic) if !may_see(&topic.name) => {
            refuse(ResponseError::TopicAuthorizationFailed, None, asked.topic_id)
        }
        Some(topic) => describe(topic, version),
        None => refuse(ResponseError::UnknownTopicId, None, asked.topic_id),
    }
}

async fn named(
    context: &Context,
    name: &str,
    create: bool,
) -> Result<TopicDescription, ResponseError> {
    let name = TopicName::new(name).map_err(|_| ResponseError::InvalidTopicException)?;
    match context.log().topic(&name).await {
        Err(LogError::UnknownTopic { .. }) => {}
        found => return found.map_err(|error| response_error(&error)),
    }
    let auto = context.broker.options.auto_creation;
    if !(create && auto.enabled) || is_internal(name.as_str()) {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    let may_create = |resource| context.allows(Operation::Create, resource);
    if !may_create(Resource::Cluster) && !may_create(Resource::Topic(name.as_str())) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let spec = TopicSpec {
        name: name.clone(),
        partitions: auto.partitions,
        settings: TopicSettings::default(),
    };
    let created = match context.log().create_topic(&spec).await {
        Err(LogError::TopicExists { .. }) => context.log().topic(&name).await,
        created => created,
    };
    created.map_err(|error| {
        tracing::debug!(topic = %name, %error, "a topic that a client named could not be created");
        response_error(&error)
    })
}

fn refuse(error: ResponseError, name: Option<StrBytes>, id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(name.map(Into::into))
        .with_topic_id(id)
}

fn describe(topic: &TopicDescription, version: i16) -> MetadataResponseTopic {
    let partitions = (0..topic.partitions.len() as i32).map(|index| {
        let partition = MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BROKER_ID)
            .with_replica_nodes(vec![BROKER_ID])
            .with_isr_nodes(vec![BROKER_ID]);
        if version >= 7 { partition.with_leader_epoch(LEADER_EPOCH) } else { partition }
    });
    let name = topic.name.as_str();
    let described = MetadataResponseTopic::default()
        .with_name(Some(StrBytes::from_string(name.to_owned()).into()))
        .with_is_internal(version >= 1 && is_internal(name))
        .with_partitions(partitions.collect());
    if version >= 10 { described.with_topic_id(topic.id) } else { described }
}

fn is_internal(name: &str) -> bool {
    name.starts_with(INTERNAL_PREFIX)
}
