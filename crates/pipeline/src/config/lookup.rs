//! The step `lookup`: whom it asks, found among the stores and the connectors.
//!
//! Exactly one of them is asked. Fields that the documents cannot have are refused where
//! their columns are declared. What a connector's options say is the connector's to read.

use courant_model::{json::FieldPath, limits::LOOKUP_CONCURRENCY_MAX};

use super::{
    format::{LookupYaml, RememberYaml},
    node::{Node, Yaml},
    report::{At, Report},
    steps::Flow,
};
use crate::{
    connector::Connectors,
    plan::{LookupPlan, LookupSource, Remember, StepPlan},
};

/// Whom a lookup may ask that is no connector.
const STORES: [&str; 2] = ["cache", "history"];

/// Reads the step; `flow` is what is known of the documents before it.
pub(super) fn step(
    at: &At<'_>,
    connectors: &Connectors,
    flow: &Flow,
    report: &mut Report,
) -> Option<StepPlan> {
    let is_connector = |key: &str| connectors.lookup(key).is_some();
    let own = match &at.node.yaml {
        Yaml::Map(entries) => {
            let own = entries.iter().filter(|entry| !is_connector(&entry.key)).cloned().collect();
            Node { yaml: Yaml::Map(own), ..at.node.clone() }
        }
        Yaml::Scalar(_) | Yaml::List(_) => at.node.clone(),
    };
    let yaml: Option<LookupYaml> = report.read(&At { node: &own, ..at.clone() });
    let asked: Vec<(&str, At<'_>)> =
        at.fields().filter(|(key, _)| STORES.contains(key) || is_connector(key)).collect();
    let [(name, options)] = asked.as_slice() else {
        let connectors = connectors.lookups.iter().map(|kind| kind.about.name);
        let known: Vec<&str> = connectors.chain(STORES).collect();
        let remedy = format!("write exactly one of {}", known.join(", "));
        let what = if asked.is_empty() { "lookup asks nobody" } else { "lookup asks several" };
        report.at(at, what, &remedy);
        return None;
    };
    // A connector's options are read also where the rest is wrong, so that all is told.
    let outside = connectors.lookup(name).map(|kind| {
        let factory = (kind.parse)(&options.node.json());
        factory
            .map_err(|problems| report.options(options, problems))
            .ok()
            .map(|factory| LookupSource::Connector { connector: kind.about.name, factory })
    });
    let yaml = yaml?;
    let source = match outside {
        Some(connector) => {
            for key in ["key", "field", "id"].into_iter().filter_map(|key| at.get(key)) {
                report.at(&key, format!("key is of no use with {name:?}"), "leave it out");
            }
            connector?
        }
        None => store(name, &yaml, at, report)?,
    };
    finish(source, yaml, at, flow, report)
}

fn store(name: &str, yaml: &LookupYaml, at: &At<'_>, report: &mut Report) -> Option<LookupSource> {
    let mut missing = |field: &Option<FieldPath>, key: &str| {
        if field.is_none() {
            let remedy = format!("add {key:?}: the field whose value is asked for");
            report.at(at, format!("missing key {key:?}"), &remedy);
        }
        field.clone()
    };
    let (source, kind, store, strange) = match (&yaml.cache, &yaml.history) {
        (Some(table), _) => {
            let (key, field) = (missing(&yaml.key, "key")?, yaml.field.clone());
            (LookupSource::Cache { table: table.clone(), key, field }, "table", table, &["id"][..])
        }
        (None, Some(collection)) => {
            let (id, name) = (missing(&yaml.id, "id")?, collection.clone());
            let source = LookupSource::History { collection: name, id };
            (source, "collection", collection, &["key", "field"][..])
        }
        (None, None) => return None,
    };
    if let Err(error) = courant_stores::check_name(kind, store) {
        report.message(&at.get(name).unwrap_or_else(|| at.clone()), &error.to_string());
    }
    for key in strange.iter().filter_map(|key| at.get(key)) {
        report.at(&key, format!("key is of no use with {name:?}"), "leave it out");
    }
    Some(source)
}

fn finish(
    source: LookupSource,
    yaml: LookupYaml,
    at: &At<'_>,
    flow: &Flow,
    report: &mut Report,
) -> Option<StepPlan> {
    let place = |key: &str| at.get(key).unwrap_or_else(|| at.clone());
    let has_many = match &source {
        LookupSource::Connector { factory, .. } => factory.has_many(),
        LookupSource::Cache { .. } | LookupSource::History { .. } => false,
    };
    if yaml.many && !has_many {
        let what = format!("{source} has one answer, not many");
        report.at(&place("many"), what, "leave \"many\" out");
    }
    if !(1..=LOOKUP_CONCURRENCY_MAX).contains(&yaml.concurrency) {
        let remedy = format!("set 1 to {LOOKUP_CONCURRENCY_MAX}");
        report.at(&place("concurrency"), "number is out of bounds", &remedy);
    }
    let plan = LookupPlan {
        source,
        on_missing: yaml.on_missing(),
        into: yaml.into,
        many: yaml.many,
        remember: yaml.remember.map(|RememberYaml { ttl, missing, keys }| Remember {
            ttl,
            missing,
            keys,
        }),
        concurrency: yaml.concurrency,
    };
    for field in plan.parameters() {
        flow.check(&field, at, report);
    }
    Some(StepPlan::Lookup(Box::new(plan)))
}
