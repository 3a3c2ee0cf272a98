//! Topics as admin clients change them: created, deleted, given more partitions,
//! and their records cut off at the front.
//!
//! Texts of refusals are Kafka's where it has one. A wish for replicas is taken as a
//! Kafka of one broker takes it: one replica or as many as usual. Everything happens
//! before the answer, so time-outs are not looked at.

use std::collections::BTreeSet;

use courant_log::{
    Log, LogError, Retention, TopicChange, TopicDescription, TopicSettings, TopicSpec,
};
use courant_model::{
    NameError, TopicName, TopicPartition,
    limits::{PARTITIONS_PER_TOPIC_MAX, TOPIC_NAME_CHARS_MAX},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
        CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
        DeleteTopicsResponse,
        create_partitions_request::CreatePartitionsTopic,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic,
        create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
        delete_records_request::DeleteRecordsPartition,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        delete_topics_request::DeleteTopicState,
        delete_topics_response::DeletableTopicResult,
    },
    protocol::StrBytes,
};

use super::configs::source_of;
use crate::{
    context::{BROKER_ID, Context},
    errors::{NONE, Refusal, error_code},
    security::{Operation, Resource},
};

/// Asks for the default number of partitions or replicas.
const DEFAULT: i32 = -1;

/// Stands for the end of a partition.
const HIGH_WATERMARK: i64 = -1;

/// Answers CreateTopics 2 to 7.
pub(crate) async fn create_topics(
    context: &Context,
    request: CreateTopicsRequest,
    version: i16,
) -> CreateTopicsResponse {
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.to_string()));
    let mut results = Vec::new();
    for topic in &request.topics {
        let created = if repeated.contains(topic.name.as_str()) {
            Err(Refusal::new(ResponseError::InvalidRequest, "Duplicate topic name."))
        } else {
            create_topic(context, topic, request.validate_only).await
        };
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        results.push(match created {
            Ok(created) => describe_created(context, result, &created, version),
            Err(refusal) => {
                result.with_error_code(refusal.code()).with_error_message(refusal.message())
            }
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn create_topic(
    context: &Context,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<TopicDescription, Refusal> {
    let may = |resource| context.allows(Operation::Create, resource);
    if !may(Resource::Cluster) && !may(Resource::Topic(&topic.name)) {
        return Err(Refusal::unauthorized(ResponseError::TopicAuthorizationFailed));
    }
    let name = topic_name(&topic.name)?;
    let exists = |name: &TopicName| {
        let message = format!("Topic '{name}' already exists.");
        Refusal::new(ResponseError::TopicAlreadyExists, message)
    };
    if context.log().topic(&name).await.is_ok() {
        return Err(exists(&name));
    }
    check_collision(context, &name).await?;
    let partitions = wanted_partitions(context, topic)?;
    let mut settings = TopicSettings::default();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let message = format!("Null value not supported for topic configs: {}", config.name);
            return Err(Refusal::new(ResponseError::InvalidConfig, message));
        };
        settings.set_config(&config.name, value)?;
    }
    let spec = TopicSpec { name, partitions, settings };
    if validate_only {
        let partitions = vec![courant_log::PartitionOffsets::default(); partitions as usize];
        let TopicSpec { name, settings, .. } = spec;
        return Ok(TopicDescription { name, id: uuid::Uuid::nil(), settings, partitions });
    }
    match context.log().create_topic(&spec).await {
        Err(LogError::TopicExists { topic }) => Err(exists(&topic)),
        created => Ok(created?),
    }
}

/// How many partitions a new topic is to have.
fn wanted_partitions(context: &Context, topic: &CreatableTopic) -> Result<i32, Refusal> {
    let refuse = |error, message: String| Err(Refusal::new(error, message));
    if topic.assignments.is_empty() {
        check_replication(topic.replication_factor)?;
        return match topic.num_partitions {
            DEFAULT => Ok(context.broker.options.auto_creation.partitions),
            1..=PARTITIONS_PER_TOPIC_MAX => Ok(topic.num_partitions),
            ..1 => refuse(
                ResponseError::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.".to_owned(),
            ),
            many => refuse(
                ResponseError::InvalidPartitions,
                format!("{many} partitions are asked for, {PARTITIONS_PER_TOPIC_MAX} are allowed."),
            ),
        };
    }
    let said = [
        ("replication factor", i32::from(topic.replication_factor)),
        ("numPartitions", topic.num_partitions),
    ];
    if let Some((what, _)) = said.into_iter().find(|(_, count)| *count != DEFAULT) {
        let message =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        return refuse(ResponseError::InvalidRequest, message);
    }
    for assignment in &topic.assignments {
        check_replicas(&assignment.broker_ids)?;
    }
    let numbers: BTreeSet<i32> = topic.assignments.iter().map(|one| one.partition_index).collect();
    let count = topic.assignments.len() as i32;
    if !numbers.into_iter().eq(0..count) {
        return refuse(
            ResponseError::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence".to_owned(),
        );
    }
    if count > PARTITIONS_PER_TOPIC_MAX {
        let message =
            format!("{count} partitions are asked for, {PARTITIONS_PER_TOPIC_MAX} are allowed.");
        return refuse(ResponseError::InvalidPartitions, message);
    }
    Ok(count)
}

fn check_replication(factor: i16) -> Result<(), Refusal> {
    let message = match factor {
        -1 | 1 => return Ok(()),
        ..1 => {
            "Replication factor must be larger than 0, or -1 to use the default value.".to_owned()
        }
        more => format!(
            "Unable to replicate the partition {more} time(s): The target replication factor of \
             {more} cannot be reached because only 1 broker(s) are registered."
        ),
    };
    Err(Refusal::new(ResponseError::InvalidReplicationFactor, message))
}

/// Checks the brokers that are to have a partition: this one, once.
fn check_replicas(brokers: &[BrokerId]) -> Result<(), Refusal> {
    let message = match brokers {
        [only] if *only == BROKER_ID => return Ok(()),
        [] => "The manual partition assignment includes an empty replica list.".to_owned(),
        many => match many.iter().find(|broker| **broker != BROKER_ID) {
            Some(stranger) => format!(
                "The manual partition assignment includes broker {}, but no such broker is \
                 registered.",
                stranger.0
            ),
            None => format!(
                "The manual partition assignment includes the broker {} more than once.",
                BROKER_ID.0
            ),
        },
    };
    Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message))
}

fn describe_created(
    context: &Context,
    mut result: CreatableTopicResult,
    created: &TopicDescription,
    version: i16,
) -> CreatableTopicResult {
    result.error_message = None;
    if version >= 7 {
        result.topic_id = created.id;
    }
    if version >= 5 {
        let config = |entry: courant_log::ConfigEntry| {
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_static_str(entry.name))
                .with_config_source(source_of(&entry))
                .with_value(Some(StrBytes::from_string(entry.value)))
        };
        result.num_partitions = created.partitions.len() as i32;
        result.replication_factor = 1;
        if context.allows(Operation::DescribeConfigs, Resource::Topic(created.name.as_str())) {
            result.configs = Some(created.settings.configs().into_iter().map(config).collect());
        } else {
            result.topic_config_error_code = ResponseError::TopicAuthorizationFailed.code();
            result.configs = None;
        }
    }
    result
}

/// Answers DeleteTopics 1 to 6.
pub(crate) async fn delete_topics(
    context: &Context,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let topics = if version >= 6 {
        request.topics
    } else {
        let state = |name| DeleteTopicState::default().with_name(Some(name));
        request.topic_names.into_iter().map(state).collect()
    };
    let names = topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| name.to_string());
    let repeated_names = repeated(names);
    let repeated_ids = repeated(topics.iter().filter(|t| t.name.is_none()).map(|t| t.topic_id));
    let mut responses = Vec::new();
    for topic in topics {
        let is_repeated = match &topic.name {
            Some(name) => repeated_names.contains(name.as_str()),
            None => repeated_ids.contains(&topic.topic_id),
        };
        let mut result = DeletableTopicResult::default().with_name(topic.name.clone());
        if version >= 6 {
            result.topic_id = topic.topic_id;
        }
        let deleted = if is_repeated {
            let what = if topic.name.is_some() { "name" } else { "id" };
            Err(Refusal::new(ResponseError::InvalidRequest, format!("Duplicate topic {what}.")))
        } else {
            delete_topic(context, &topic).await
        };
        match deleted {
            Ok(gone) => {
                result.name = Some(StrBytes::from_string(gone.name.to_string()).into());
                if version >= 6 {
                    result.topic_id = gone.id;
                }
            }
            Err(refusal) => {
                result.error_code = refusal.code();
                if version >= 5 {
                    result.error_message = refusal.message();
                }
            }
        }
        responses.push(result);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

async fn delete_topic(
    context: &Context,
    topic: &DeleteTopicState,
) -> Result<TopicDescription, Refusal> {
    let by_id = !topic.topic_id.is_nil();
    let name = match (&topic.name, by_id) {
        (Some(_), true) => {
            let message = "You may not specify both topic name and topic id.";
            return Err(Refusal::new(ResponseError::InvalidRequest, message));
        }
        (None, false) => {
            let message = "Neither topic name nor id were specified.";
            return Err(Refusal::new(ResponseError::InvalidRequest, message));
        }
        // A name that no topic can have is one that is not there.
        (Some(name), false) => TopicName::new(name).map_err(|_| {
            let message = "This server does not host this topic-partition.";
            Refusal::new(ResponseError::UnknownTopicOrPartition, message)
        })?,
        (None, true) => context.log().topic_of(topic.topic_id)?.ok_or_else(|| {
            let message = "This server does not host this topic ID.";
            Refusal::new(ResponseError::UnknownTopicId, message)
        })?,
    };
    check_allowed(context, Operation::Delete, &name)?;
    let found = context.log().topic(&name).await?;
    context.log().delete_topic(&name).await?;
    Ok(found)
}

/// Answers CreatePartitions 0 to 3.
pub(crate) async fn create_partitions(
    context: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.to_string()));
    let mut results = Vec::new();
    for topic in &request.topics {
        let grown = if repeated.contains(topic.name.as_str()) {
            Err(Refusal::new(ResponseError::InvalidRequest, "Duplicate topic name."))
        } else {
            grow_topic(context, topic, request.validate_only).await
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match grown {
            Ok(()) => result.with_error_message(None),
            Err(refusal) => {
                result.with_error_code(refusal.code()).with_error_message(refusal.message())
            }
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow_topic(
    context: &Context,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name = topic_name(&topic.name)?;
    check_allowed(context, Operation::Alter, &name)?;
    let has = context.log().topic(&name).await?.partitions.len() as i32;
    let wants = topic.count;
    let invalid = |message: String| Err(Refusal::new(ResponseError::InvalidPartitions, message));
    if wants == has {
        return invalid(format!("Topic already has {has} partition(s)."));
    }
    if wants < has {
        return invalid(format!(
            "The topic {name} currently has {has} partition(s); {wants} would not be an increase."
        ));
    }
    if wants > PARTITIONS_PER_TOPIC_MAX {
        return invalid(format!(
            "{wants} partitions are asked for, {PARTITIONS_PER_TOPIC_MAX} are allowed."
        ));
    }
    if let Some(assignments) = &topic.assignments {
        let (new, told) = ((wants - has) as usize, assignments.len());
        if told != new {
            let message = format!(
                "Attempted to add {new} additional partition(s), but only {told} assignment(s) \
                 were specified."
            );
            return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
        }
        assignments.iter().try_for_each(|one| check_replicas(&one.broker_ids))?;
    }
    if !validate_only {
        let change = TopicChange { partitions: Some(wants), settings: None };
        context.log().alter_topic(&name, &change).await?;
    }
    Ok(())
}

/// Answers DeleteRecords 0 to 2.
pub(crate) async fn delete_records(
    context: &Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::new();
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for asked in &topic.partitions {
            let (code, low) = match delete_records_of(context, &topic.name, asked).await {
                Ok(start) => (NONE, start),
                Err(code) => (code, -1),
            };
            partitions.push(
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(asked.partition_index)
                    .with_low_watermark(low)
                    .with_error_code(code),
            );
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// Moves one partition's start; the code of the refusal if it may not.
async fn delete_records_of(
    context: &Context,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<i64, i16> {
    let log = context.log();
    let name = topic_name(topic).map_err(|refusal| refusal.code())?;
    check_allowed(context, Operation::Delete, &name).map_err(|refusal| refusal.code())?;
    if log.is_internal(&name) {
        return Err(ResponseError::InvalidTopicException.code());
    }
    let found = log.topic(&name).await.map_err(|error| error_code(&error))?;
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let index = usize::try_from(asked.partition_index).map_err(|_| unknown)?;
    let partition = found.partitions.get(index).ok_or(unknown)?;
    if found.settings.cleanup == Retention::Compact {
        return Err(ResponseError::PolicyViolation.code());
    }
    let before = if asked.offset == HIGH_WATERMARK { partition.end } else { asked.offset };
    let partition = TopicPartition::new(name, asked.partition_index);
    log.delete_records(&partition, before).await.map_err(|error| error_code(&error))
}

fn check_allowed(
    context: &Context,
    operation: Operation,
    topic: &TopicName,
) -> Result<(), Refusal> {
    if context.allows(operation, Resource::Topic(topic.as_str())) {
        return Ok(());
    }
    Err(Refusal::unauthorized(ResponseError::TopicAuthorizationFailed))
}

/// The name as the log takes it; refused in Kafka's words.
pub(super) fn topic_name(name: &str) -> Result<TopicName, Refusal> {
    TopicName::new(name).map_err(|error| {
        let why = match error {
            NameError::Empty => "the empty string is not allowed".to_owned(),
            NameError::TooLong { .. } => format!(
                "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_CHARS_MAX}"
            ),
            NameError::Reserved { name } => format!("'{name}' is not allowed"),
            NameError::Character { name, .. } => format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', \
                 '_' and '-'"
            ),
        };
        let message = format!("Topic name is invalid: {why}");
        Refusal::new(ResponseError::InvalidTopicException, message)
    })
}

/// Refuses a name that differs from another topic's by `.` and `_` alone, which the
/// names of metrics cannot tell apart.
async fn check_collision(context: &Context, name: &TopicName) -> Result<(), Refusal> {
    if !name.as_str().contains(['.', '_']) {
        return Ok(());
    }
    let key = |name: &TopicName| name.as_str().replace('.', "_");
    let wanted = key(name);
    let topics = context.log().topics().await?;
    match topics.iter().find(|topic| key(&topic.name) == wanted) {
        None => Ok(()),
        Some(other) => {
            let message = format!("Topic '{name}' collides with existing topic: {}", other.name);
            Err(Refusal::new(ResponseError::InvalidTopicException, message))
        }
    }
}

/// What comes more than once.
fn repeated<T: Ord + Clone>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for item in items {
        if !seen.insert(item.clone()) {
            twice.insert(item);
        }
    }
    twice
}
