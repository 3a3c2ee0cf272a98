//! Configurations as admin clients read and write them: topics' and this broker's.
//!
//! A topic's settings are shown and changed under Kafka's names, which the log knows
//! ([`TopicSettings::configs`]); a value that equals the default counts as not set.
//! The broker's own are shown ([`super::broker_configs`]) and cannot be changed from
//! outside. Loggers, client metrics and groups have no configurations here.

use courant_log::{ConfigEntry, ConfigError, ConfigKind, Log, TopicSettings};
use kafka_protocol::{
    ResponseError,
    messages::{
        AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
        alter_configs_response::AlterConfigsResourceResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
        incremental_alter_configs_request::AlterableConfig,
        incremental_alter_configs_response,
    },
    protocol::StrBytes,
};

use super::{broker_configs, topics::topic_name};
use crate::{
    context::{BROKER_ID, Context},
    errors::{NONE, Refusal},
    security::{Operation, Resource},
};

/// Kafka's kinds of resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What may be done to one configuration.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Where a value comes from: set for the topic.
const TOPIC_CONFIG: i8 = 1;
/// Set when the broker started.
const STATIC_BROKER_CONFIG: i8 = 4;
/// Nobody has set it.
const DEFAULT_CONFIG: i8 = 5;

/// Kafka's code for where a topic's value comes from.
pub(super) fn source_of(entry: &ConfigEntry) -> i8 {
    if entry.is_default() { DEFAULT_CONFIG } else { TOPIC_CONFIG }
}

/// Answers DescribeConfigs 1 to 4.
pub(crate) async fn describe_configs(
    context: &Context,
    request: DescribeConfigsRequest,
    version: i16,
) -> DescribeConfigsResponse {
    let wish = Wish {
        synonyms: request.include_synonyms,
        kinds: version >= 3,
        documentation: version >= 3 && request.include_documentation,
    };
    let mut results = Vec::new();
    for resource in &request.resources {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        results.push(match describe_resource(context, resource, wish).await {
            Ok(configs) => result.with_error_message(None).with_configs(configs),
            Err(refusal) => {
                result.with_error_code(refusal.code()).with_error_message(refusal.message())
            }
        });
    }
    DescribeConfigsResponse::default().with_results(results)
}

/// What is to be told beside names and values.
#[derive(Debug, Clone, Copy)]
struct Wish {
    synonyms: bool,
    kinds: bool,
    documentation: bool,
}

async fn describe_resource(
    context: &Context,
    resource: &DescribeConfigsResource,
    wish: Wish,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
    let is_asked = |entry: &ConfigEntry| {
        keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == entry.name))
    };
    check_allowed(
        context,
        Operation::DescribeConfigs,
        (resource.resource_type, resource.resource_name.as_str()),
    )?;
    let (entries, read_only) = match resource.resource_type {
        TOPIC => (topic_settings(context, &resource.resource_name).await?.configs(), false),
        BROKER => {
            check_broker(&resource.resource_name)?;
            // Without a name: what was set for all brokers at once, which is nothing.
            let all = !resource.resource_name.is_empty();
            (if all { broker_configs::configs(context) } else { Vec::new() }, true)
        }
        other => return Err(unsupported(other)),
    };
    let asked = entries.into_iter().filter(is_asked);
    Ok(asked.map(|entry| describe_entry(entry, read_only, wish)).collect())
}

fn describe_entry(
    entry: ConfigEntry,
    read_only: bool,
    wish: Wish,
) -> DescribeConfigsResourceResult {
    let text = StrBytes::from_string;
    let source = match source_of(&entry) {
        TOPIC_CONFIG if read_only => STATIC_BROKER_CONFIG,
        source => source,
    };
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(entry.name))
        .with_read_only(read_only)
        .with_config_source(source);
    if wish.synonyms {
        let synonym = |name: &'static str, value: &String, source| {
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(text(value.clone())))
                .with_source(source)
        };
        if !entry.is_default() {
            result.synonyms.push(synonym(entry.name, &entry.value, source));
        }
        if let Some(name) = broker_configs::synonym(entry.name).filter(|_| !read_only) {
            result.synonyms.push(synonym(name, &entry.default, DEFAULT_CONFIG));
        }
    }
    if wish.kinds {
        result.config_type = match entry.kind {
            ConfigKind::Boolean => 1,
            ConfigKind::String => 2,
            ConfigKind::Int => 3,
            ConfigKind::Long => 5,
            ConfigKind::Double => 6,
            ConfigKind::List => 7,
        };
    }
    if wish.documentation {
        result.documentation = Some(StrBytes::from_static_str(entry.documentation));
    }
    result.with_value(Some(text(entry.value)))
}

/// Answers AlterConfigs 0 to 2: what is not named goes back to its default.
pub(crate) async fn alter_configs(
    context: &Context,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let resources = &request.resources;
    let targets: Vec<Target<'_>> =
        resources.iter().map(|one| (one.resource_type, one.resource_name.as_str())).collect();
    let mut responses = Vec::new();
    for (resource, target) in resources.iter().zip(&targets) {
        let change = |settings: &mut TopicSettings| {
            *settings = TopicSettings::default();
            resource.configs.iter().try_for_each(|config| {
                let value = config.value.as_ref().ok_or_else(|| null_value(&config.name))?;
                Ok(settings.set_config(&config.name, value)?)
            })
        };
        let altered = alter(context, &targets, target, change, request.validate_only).await;
        let (code, message) = outcome(altered);
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

/// Answers IncrementalAlterConfigs 0 to 1: what is not named stays.
pub(crate) async fn incremental_alter_configs(
    context: &Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources = &request.resources;
    let targets: Vec<Target<'_>> =
        resources.iter().map(|one| (one.resource_type, one.resource_name.as_str())).collect();
    let mut responses = Vec::new();
    for (resource, target) in resources.iter().zip(&targets) {
        let change = |settings: &mut TopicSettings| change_some(settings, &resource.configs);
        let altered = alter(context, &targets, target, change, request.validate_only).await;
        let (code, message) = outcome(altered);
        responses.push(
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

/// A resource's kind and name.
type Target<'a> = (i8, &'a str);

/// Changes one resource, or finds out whether it could be.
async fn alter(
    context: &Context,
    all: &[Target<'_>],
    target: &Target<'_>,
    change: impl FnOnce(&mut TopicSettings) -> Result<(), Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    if all.iter().filter(|other| *other == target).count() > 1 {
        let message = "Each resource must appear at most once.";
        return Err(Refusal::new(ResponseError::InvalidRequest, message));
    }
    check_allowed(context, Operation::AlterConfigs, *target)?;
    match *target {
        (TOPIC, name) => {
            let name = topic_name(name)?;
            context.log().edit_settings(&name, change, validate_only).await
        }
        (BROKER, name) => {
            check_broker(name)?;
            let message = "Cannot update these configs dynamically; restart with other options.";
            Err(Refusal::new(ResponseError::InvalidRequest, message))
        }
        (other, _) => Err(unsupported(other)),
    }
}

fn change_some(settings: &mut TopicSettings, configs: &[AlterableConfig]) -> Result<(), Refusal> {
    let times = |name: &StrBytes| configs.iter().filter(|config| config.name == *name).count();
    if configs.iter().any(|config| times(&config.name) > 1) {
        let message = "Error due to duplicate config keys";
        return Err(Refusal::new(ResponseError::InvalidRequest, message));
    }
    for config in configs {
        let (name, value) = (config.name.as_str(), config.value.as_deref());
        let value = || value.ok_or_else(|| null_value(name));
        match config.config_operation {
            SET => settings.set_config(name, value()?)?,
            // What is not known is not set.
            DELETE => match settings.reset_config(name) {
                Err(ConfigError::Unknown { .. }) => {}
                reset => reset?,
            },
            APPEND => settings.append_config(name, value()?)?,
            SUBTRACT => settings.subtract_config(name, value()?)?,
            other => {
                let message = format!("Unknown operation type {other} for config {name}");
                return Err(Refusal::new(ResponseError::InvalidRequest, message));
            }
        }
    }
    Ok(())
}

fn check_allowed(
    context: &Context,
    operation: Operation,
    (kind, name): Target<'_>,
) -> Result<(), Refusal> {
    let (resource, error) = match kind {
        TOPIC => (Resource::Topic(name), ResponseError::TopicAuthorizationFailed),
        _ => (Resource::Cluster, ResponseError::ClusterAuthorizationFailed),
    };
    if context.allows(operation, resource) { Ok(()) } else { Err(Refusal::unauthorized(error)) }
}

async fn topic_settings(context: &Context, name: &str) -> Result<TopicSettings, Refusal> {
    Ok(context.log().topic(&topic_name(name)?).await?.settings)
}

fn check_broker(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.parse() == Ok(BROKER_ID.0) {
        return Ok(());
    }
    let message = format!(
        "Unexpected broker id, expected {} or empty string, but received {name}",
        BROKER_ID.0
    );
    Err(Refusal::new(ResponseError::InvalidRequest, message))
}

fn unsupported(kind: i8) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, format!("Unsupported resource type: {kind}"))
}

fn null_value(name: &str) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, format!("Null value not supported for : {name}"))
}

fn outcome(altered: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match altered {
        Ok(()) => (NONE, None),
        Err(refusal) => (refusal.code(), refusal.message()),
    }
}
