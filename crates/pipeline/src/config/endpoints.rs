//! Endpoints: HTTP paths over the stores that the file's pipelines fill.

use courant_model::limits::{FIND_LIMIT_MAX, URL_BYTES_MAX};
use courant_stores::{Filter, SortKey, StoreError};
use indexmap::IndexMap;
use matchit::InsertError;

use super::{
    document::Document,
    format::{CacheEndpointYaml, HistoryEndpointYaml},
    pipelines::ReadPipeline,
    report::{At, Report},
    views::ReadView,
};
use crate::{
    options::suggest,
    plan::{EndpointPlan, TargetPlan},
};

mod view;

/// First segments of paths that are the process's own.
const RESERVED: [&str; 8] =
    ["api", "app", "apps", "metrics", "health", "demo", "openapi.json", "tools"];

/// The keys that name an endpoint's store.
const STORES: [&str; 3] = ["history", "cache", "view"];

/// What fills the stores that endpoints may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stores<'a> {
    pub(super) pipelines: &'a IndexMap<String, ReadPipeline<'a>>,
    pub(super) views: &'a IndexMap<String, ReadView<'a>>,
}

/// An endpoint that was read, with its place.
#[derive(Debug)]
pub(super) struct ReadEndpoint<'a> {
    pub(super) at: At<'a>,
    pub(super) plan: EndpointPlan,
}

/// Reads the section `endpoints`.
pub(super) fn read<'a>(
    document: &'a Document,
    profile: &'a str,
    stores: Stores<'_>,
    report: &mut Report,
) -> IndexMap<String, ReadEndpoint<'a>> {
    let mut endpoints = IndexMap::new();
    let mut router = matchit::Router::new();
    for (path, at) in document.section_in("endpoints", profile) {
        if let Err((what, remedy)) = check_path(path) {
            report.at(&at, what, remedy);
        } else {
            match router.insert(path, ()) {
                Ok(()) => {}
                Err(InsertError::Conflict { with }) => {
                    report.at(
                        &at,
                        format!("path {path:?} meets path {with:?}"),
                        "keep one of them",
                    );
                }
                Err(_) => {
                    let remedy = "write parameters as whole segments: /orders/{id}";
                    report.at(&at, format!("path {path:?} is no route"), remedy);
                }
            }
        }
        if let Some(plan) = endpoint(path, &at, stores, report) {
            endpoints.insert(path.to_owned(), ReadEndpoint { at, plan });
        }
    }
    endpoints
}

/// Whether the file may serve a path, and why not: what and remedy.
pub(super) fn check_path(path: &str) -> Result<(), (String, &'static str)> {
    let Some(inner) = path.strip_prefix('/') else {
        return Err((format!("path {path:?} has no slash at its start"), "write it as /orders"));
    };
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%' | '\\' | '"');
    if path.len() > URL_BYTES_MAX || !path.chars().all(is_plain) || path.contains("//") {
        let what = format!("path {path:?} is no plain path");
        return Err((what, "use letters, digits, '-', '_', '.', and {names} between slashes"));
    }
    let first = inner.split('/').next().unwrap_or_default();
    if first.is_empty() || RESERVED.contains(&first) {
        return Err((format!("path {path:?} is one of Courant's own"), "choose another"));
    }
    Ok(())
}

/// Names of a path's parameters, in order.
fn parameters(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect()
}

fn endpoint(
    path: &str,
    at: &At<'_>,
    Stores { pipelines, views }: Stores<'_>,
    report: &mut Report,
) -> Option<EndpointPlan> {
    let named: Vec<_> = STORES.iter().filter_map(|store| Some((*store, at.get(store)?))).collect();
    match named.as_slice() {
        [("history", _)] => history(report.read(at)?, path, at, pipelines, report),
        [("cache", _)] => cache(report.read(at)?, path, at, pipelines, report),
        [_] => view::read(report.read(at)?, path, at, views, report),
        [] => {
            no_store(at, report);
            None
        }
        [(first, _), (other, both), ..] => {
            let what = format!("endpoint has two stores, {first:?} and {other:?}");
            report.at(both, what, "keep one");
            None
        }
    }
}

/// Says what an endpoint without a known store holds instead.
fn no_store(at: &At<'_>, report: &mut Report) {
    let mut others = at.fields().filter(|(key, _)| *key != "profile").peekable();
    if others.peek().is_none() {
        let remedy = format!("add one of {}", STORES.join(", "));
        report.at(at, "endpoint names no store", &remedy);
    }
    for (key, at) in others {
        let remedy = suggest(key, "the stores are", &STORES);
        report.at(&at, format!("unknown store {key:?}"), &remedy.unwrap_or_default());
    }
}

fn history(
    yaml: HistoryEndpointYaml,
    path: &str,
    at: &At<'_>,
    pipelines: &IndexMap<String, ReadPipeline<'_>>,
    report: &mut Report,
) -> Option<EndpointPlan> {
    let written = collections(pipelines);
    check_store("collection", &yaml.history, &written, &at.get("history")?, report);
    let limit = yaml.limit().min(FIND_LIMIT_MAX);
    let filter = at.get("filter").map_or(Some(Filter::All), |at| {
        let parsed = Filter::parse(&at.node.json());
        parsed.map_err(|error| refused("filter", &error, &at, report)).ok()
    });
    let sort = at.get("sort").map_or(Some(Vec::new()), |at| {
        let parsed = SortKey::parse_list(yaml.sort.as_deref().unwrap_or_default());
        parsed.map_err(|error| refused("sort", &error, &at, report)).ok()
    });
    match parameters(path).as_slice() {
        [] => Some(EndpointPlan::HistoryList {
            collection: yaml.history,
            filter: filter?,
            sort: sort?,
            limit,
        }),
        [parameter] => {
            for key in ["filter", "sort", "limit"] {
                if let Some(at) = at.get(key) {
                    let what = format!("key {key:?} has no meaning for one document");
                    report.at(&at, what, "leave it out, or take the parameter out of the path");
                }
            }
            let parameter = (*parameter).to_owned();
            Some(EndpointPlan::HistoryDocument { collection: yaml.history, parameter })
        }
        many => {
            let what = format!("path {path:?} has {} parameters", many.len());
            report.at(at, what, "a document is found by one, its id");
            None
        }
    }
}

/// Says why a filter or a sort is none.
pub(super) fn refused(kind: &str, error: &StoreError, at: &At<'_>, report: &mut Report) {
    match error {
        StoreError::InvalidFilter { why, .. } => {
            report.message(at, &format!("{kind} is invalid: {why}"));
        }
        other => report.message(at, &other.to_string()),
    }
}

fn cache(
    yaml: CacheEndpointYaml,
    path: &str,
    at: &At<'_>,
    pipelines: &IndexMap<String, ReadPipeline<'_>>,
    report: &mut Report,
) -> Option<EndpointPlan> {
    let written = stores(pipelines, |target| match target {
        TargetPlan::Cache { table, .. } => Some(table),
        _ => None,
    });
    check_store("table", &yaml.cache, &written, &at.get("cache")?, report);
    match parameters(path).as_slice() {
        [key] => Some(EndpointPlan::Cache { table: yaml.cache, key: (*key).into(), field: None }),
        [key, field] => {
            let field = Some((*field).to_owned());
            Some(EndpointPlan::Cache { table: yaml.cache, key: (*key).into(), field })
        }
        other => {
            let count = if other.is_empty() { "no".into() } else { other.len().to_string() };
            let what = format!("path {path:?} has {count} parameters");
            report.at(at, what, "a cache answers by key: /orders/{key}, or /orders/{key}/{field}");
            None
        }
    }
}

/// The collections that pipelines write.
pub(super) fn collections<'a>(pipelines: &'a IndexMap<String, ReadPipeline<'_>>) -> Vec<&'a str> {
    stores(pipelines, |target| match target {
        TargetPlan::History { collection, .. } => Some(collection),
        _ => None,
    })
}

fn stores<'a>(
    pipelines: &'a IndexMap<String, ReadPipeline<'_>>,
    name: impl Fn(&'a TargetPlan) -> Option<&'a String>,
) -> Vec<&'a str> {
    let targets = pipelines.values().flat_map(|pipeline| &pipeline.plan.to);
    targets.filter_map(name).map(String::as_str).collect()
}

/// Notes a store that nothing fills.
pub(super) fn check_store(
    kind: &str,
    name: &str,
    written: &[&str],
    at: &At<'_>,
    report: &mut Report,
) {
    if written.contains(&name) {
        return;
    }
    let what = format!("{kind} {name:?} is written by no pipeline");
    let remedy = match suggest(name, "there are", written) {
        Some(remedy) => remedy,
        None => format!("give a pipeline this {kind} as a target"),
    };
    report.at(at, what, &remedy);
}
