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

/// Topics that belong to the log itself; their names are Kafka's.
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

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
            let nameless = asked.iter().filter(|topic| topic.name.is_none());
            let ids: Vec<_> = nameless.map(|topic| topic.topic_id).collect();
            let names = context.log().topic_names(&ids).unwrap_or_default();
            for topic in asked {
                let known = names.get(&topic.topic_id);
                topics.push(one_topic(context, topic, known, create, version).await);
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
    if version >= 3 {
        response.throttle_time_ms = context.throttle_ms();
    }
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

/// One topic of the request; `known` is the name that goes with its id.
async fn one_topic(
    context: &Context,
    asked: &MetadataRequestTopic,
    known: Option<&TopicName>,
    create: bool,
    version: i16,
) -> MetadataResponseTopic {
    let may_see = |name: &str| context.allows(Operation::Describe, Resource::Topic(name));
    let told = asked.name.as_ref().map(|name| name.0.clone());
    let found = match (&told, known) {
        (Some(name), _) if !may_see(name) => Err(ResponseError::TopicAuthorizationFailed),
        (Some(name), _) => named(context, name, create).await,
        (None, Some(name)) if !may_see(name.as_str()) => {
            Err(ResponseError::TopicAuthorizationFailed)
        }
        (None, Some(name)) => {
            let unknown = |_| ResponseError::UnknownTopicId;
            context.log().topic(name).await.map_err(unknown)
        }
        (None, None) => Err(ResponseError::UnknownTopicId),
    };
    match found {
        Ok(topic) => describe(&topic, version),
        Err(error) => refuse(error, told, asked.topic_id),
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
    INTERNAL.contains(&name)
}
