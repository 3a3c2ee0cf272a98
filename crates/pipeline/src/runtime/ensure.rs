//! Makes what a plan needs: topics, dead-letter topics, collections.
//!
//! What is there already is left or grown, never shrunk; where a declared topic cannot
//! become what the file says, the difference is told and the topic stays as it is.

use std::collections::BTreeMap;

use courant_log::{Log, LogError, TopicChange, TopicSettings, TopicSpec};
use courant_model::{Span, TopicName, limits::DEAD_LETTERS_KEPT_MS};
use courant_stores::{CollectionSpec, History, StoreError};

use crate::plan::{Plan, TargetPlan, TopicPlan};

/// Creates or adapts the topics of a plan.
pub(super) async fn topics(log: &dyn Log, plan: &Plan) -> Result<(), LogError> {
    for (name, topic) in wanted(plan) {
        ensure_topic(log, &name, &topic).await?;
    }
    Ok(())
}

/// The topics that a plan lists or uses; dead letters that nobody declared are kept
/// longer than other records.
fn wanted(plan: &Plan) -> BTreeMap<TopicName, TopicPlan> {
    let undeclared = |settings| TopicPlan {
        partitions: 1,
        settings,
        columns: None,
        event_time: None,
        declared: false,
    };
    let mut topics: BTreeMap<_, _> =
        plan.topics.iter().map(|(name, topic)| (name.clone(), topic.clone())).collect();
    for name in used(plan) {
        topics.entry(name.clone()).or_insert_with(|| undeclared(TopicSettings::default()));
    }
    let of_pipelines = plan.pipelines.values().map(|pipeline| &pipeline.on_error.dead_letters);
    let of_sources = plan.sources.values().filter_map(|source| source.dead_letters.as_ref());
    let of_views = plan.views.values().map(|view| &view.on_error.dead_letters);
    for name in of_pipelines.chain(of_sources).chain(of_views) {
        if topics.get(name).is_none_or(|topic| !topic.declared) {
            let retention_time = Some(Span::from_millis(DEAD_LETTERS_KEPT_MS));
            let settings = TopicSettings { retention_time, ..TopicSettings::default() };
            topics.insert(name.clone(), undeclared(settings));
        }
    }
    topics
}

/// The topics that sources, pipelines, targets and routes name.
fn used(plan: &Plan) -> impl Iterator<Item = &TopicName> {
    let of_pipelines = plan
        .pipelines
        .values()
        .flat_map(|pipeline| pipeline.from.iter().chain(pipeline.written_topics()));
    let of_views =
        plan.views.values().flat_map(|view| view.read_topics().chain(view.written_topics()));
    plan.sources.values().map(|source| &source.to).chain(of_pipelines).chain(of_views)
}

async fn ensure_topic(log: &dyn Log, name: &TopicName, plan: &TopicPlan) -> Result<(), LogError> {
    let found = match log.topic(name).await {
        Ok(found) => found,
        Err(LogError::UnknownTopic { .. }) => {
            let (partitions, settings) = (plan.partitions, plan.settings.clone());
            let spec = TopicSpec { name: name.clone(), partitions, settings };
            return match log.create_topic(&spec).await {
                // Another worker with the same file was first.
                Ok(_) | Err(LogError::TopicExists { .. }) => Ok(()),
                Err(error) => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    if !plan.declared {
        return Ok(());
    }
    let partitions = i32::try_from(found.partitions.len()).unwrap_or(i32::MAX);
    if partitions > plan.partitions {
        let wished = plan.partitions;
        tracing::warn!(
            topic = %name, partitions, wished,
            "topic has more partitions than the file says; they stay, partitions can only grow"
        );
    }
    let change = TopicChange {
        partitions: (partitions < plan.partitions).then_some(plan.partitions),
        settings: (found.settings != plan.settings).then(|| plan.settings.clone()),
    };
    if change != TopicChange::default() {
        tracing::info!(topic = %name, ?change, "topic is changed to what the file says");
        log.alter_topic(name, &change).await?;
    }
    Ok(())
}

/// Creates the collections that the pipelines of a plan write, with their indexes.
pub(super) async fn collections(history: &dyn History, plan: &Plan) -> Result<(), StoreError> {
    for spec in collection_specs(plan) {
        history.ensure_collection(&spec).await?;
    }
    Ok(())
}

/// The collections of a plan; the indexes of all that write one are put together.
pub(crate) fn collection_specs(plan: &Plan) -> Vec<CollectionSpec> {
    let mut specs: BTreeMap<&str, CollectionSpec> = BTreeMap::new();
    for target in plan.pipelines.values().flat_map(|pipeline| &pipeline.to) {
        let TargetPlan::History { collection, indexes, .. } = target else { continue };
        let empty = || CollectionSpec { name: collection.clone(), indexes: Vec::new() };
        let spec = specs.entry(collection).or_insert_with(empty);
        let new: Vec<_> =
            indexes.iter().filter(|index| !spec.indexes.contains(index)).cloned().collect();
        spec.indexes.extend(new);
    }
    specs.into_values().collect()
}
