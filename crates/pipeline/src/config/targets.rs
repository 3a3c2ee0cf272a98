//! Targets: topics, stores and sinks that take a pipeline's records.

use courant_model::{TopicName, json::FieldPath};

use super::{
    format::{CacheYaml, HistoryYaml, OneOrMany, TopicTargetYaml},
    node::Yaml,
    report::{At, Report},
    steps::{Flow, only_key},
};
use crate::{connector::Connectors, options::suggest, plan::TargetPlan};

/// Targets that are no connectors.
pub(super) const TARGETS: [&str; 3] = ["topic", "cache", "history"];

/// A target that was read, with its place.
#[derive(Debug)]
pub(super) struct ReadTarget<'a> {
    pub(super) at: At<'a>,
    pub(super) plan: TargetPlan,
}

/// Reads `to`: a topic's name, one target, or a list of both.
pub(super) fn read<'a>(
    at: &At<'a>,
    flow: &Flow,
    connectors: &Connectors,
    report: &mut Report,
) -> Vec<ReadTarget<'a>> {
    let items: Vec<At<'a>> = match &at.node.yaml {
        Yaml::List(_) => at.items().collect(),
        Yaml::Scalar(_) | Yaml::Map(_) => vec![at.clone()],
    };
    items
        .into_iter()
        .filter_map(|item| {
            let plan = target(&item, flow, connectors, report)?;
            Some(ReadTarget { at: item, plan })
        })
        .collect()
}

fn target(
    item: &At<'_>,
    flow: &Flow,
    connectors: &Connectors,
    report: &mut Report,
) -> Option<TargetPlan> {
    if matches!(item.node.yaml, Yaml::Scalar(_)) {
        let topic: TopicName = report.read(item)?;
        return Some(TargetPlan::Topic { topic });
    }
    let sinks = connectors.sinks.iter().map(|kind| kind.about.name);
    let known: Vec<&str> = TARGETS.into_iter().chain(sinks).collect();
    let (name, at) = only_key("target", &known, item, report)?;
    match name {
        "topic" => {
            let topic: TopicTargetYaml = report.read(&at)?;
            Some(TargetPlan::Topic { topic: topic.0 })
        }
        "cache" => cache(&at, flow, report),
        "history" => history(&at, flow, report),
        name => {
            let Some(kind) = connectors.sink(name) else {
                let remedy = suggest(name, "the targets are", &known).unwrap_or_default();
                report.at(&at, format!("unknown target {name:?}"), &remedy);
                return None;
            };
            let factory = (kind.parse)(&at.node.json());
            let factory = factory.map_err(|problems| report.options(&at, problems)).ok()?;
            Some(TargetPlan::Connector { connector: kind.about.name, factory })
        }
    }
}

fn cache(at: &At<'_>, flow: &Flow, report: &mut Report) -> Option<TargetPlan> {
    let cache: CacheYaml = report.read(at)?;
    check_store("table", &cache.table, at, report);
    check("key", &cache.key, at, flow, report);
    if let Some(field) = &cache.field {
        check("field", field, at, flow, report);
    }
    if let Some(version) = &cache.version {
        check("version", version, at, flow, report);
    }
    let CacheYaml { table, key, field, ttl, version } = cache;
    Some(TargetPlan::Cache { table, key, field, ttl, version })
}

fn history(at: &At<'_>, flow: &Flow, report: &mut Report) -> Option<TargetPlan> {
    let history: HistoryYaml = report.read(at)?;
    check_store("collection", &history.collection, at, report);
    if let Some(id) = &history.id {
        check("id", id, at, flow, report);
    }
    let indexes: Vec<Vec<FieldPath>> =
        history.indexes.into_iter().map(OneOrMany::into_vec).collect();
    for field in indexes.iter().flatten() {
        check("indexes", field, at, flow, report);
    }
    let HistoryYaml { collection, id, version, .. } = history;
    if let Some(version) = &version {
        check("version", version, at, flow, report);
        if id.is_none() {
            let at = at.get("version").unwrap_or_else(|| at.clone());
            let what = "target \"history\" has a version, but no id";
            report.at(&at, what, "name the document's field with \"id\"; a record without one is a document of its own");
        }
    }
    Some(TargetPlan::History { collection, id, indexes, version })
}

/// Refuses names that no store takes; `kind` is also the key.
fn check_store(kind: &'static str, name: &str, at: &At<'_>, report: &mut Report) {
    if let Err(error) = courant_stores::check_name(kind, name) {
        let at = at.get(kind).unwrap_or_else(|| at.clone());
        report.message(&at, &error.to_string());
    }
}

fn check(key: &str, field: &FieldPath, at: &At<'_>, flow: &Flow, report: &mut Report) {
    let at = at.get(key).unwrap_or_else(|| at.clone());
    flow.check(field, &at, report);
}
