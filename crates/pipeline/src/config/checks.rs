//! Checks across sections: what no single entry can know.
//!
//! Loops of topics, groups that would steal each other's records, tables that two
//! pipelines fill differently, routes that meet.

use std::collections::HashMap;

use courant_model::TopicName;
use indexmap::IndexMap;

use super::{
    endpoints::{ReadEndpoint, check_path},
    pipelines::ReadPipeline,
    report::{At, Report},
    sources::ReadSource,
    topics::Topics,
    views::ReadView,
};
use crate::plan::{StepPlan, TargetPlan};

/// Notes everything that is wrong between entries.
pub(super) fn across(
    topics: &Topics,
    sources: &IndexMap<String, ReadSource<'_>>,
    pipelines: &IndexMap<String, ReadPipeline<'_>>,
    views: &IndexMap<String, ReadView<'_>>,
    endpoints: &IndexMap<String, ReadEndpoint<'_>>,
    report: &mut Report,
) {
    names(pipelines, views, report);
    let readers = readers(pipelines, views);
    groups(&readers, report);
    loops(&readers, report);
    tables(pipelines, report);
    nests(topics, pipelines, report);
    routes(sources, endpoints, report);
}

/// A pipeline or a view: what it reads and writes.
struct Reader<'a> {
    kind: &'static str,
    name: &'a str,
    at: &'a At<'a>,
    group: &'a str,
    from: Vec<&'a TopicName>,
    to: Vec<&'a TopicName>,
    dead_letters: &'a TopicName,
}

fn readers<'a>(
    pipelines: &'a IndexMap<String, ReadPipeline<'_>>,
    views: &'a IndexMap<String, ReadView<'_>>,
) -> Vec<Reader<'a>> {
    let pipeline = |(name, read): (&'a String, &'a ReadPipeline<'_>)| Reader {
        kind: "pipeline",
        name,
        at: &read.at,
        group: &read.plan.group,
        from: read.plan.from.iter().collect(),
        to: read.plan.written_topics().collect(),
        dead_letters: &read.plan.on_error.dead_letters,
    };
    let view = |(name, read): (&'a String, &'a ReadView<'_>)| Reader {
        kind: "view",
        name,
        at: &read.at,
        group: &read.plan.group,
        from: read.reads.iter().collect(),
        to: read.plan.written_topics().collect(),
        dead_letters: &read.plan.on_error.dead_letters,
    };
    pipelines.iter().map(pipeline).chain(views.iter().map(view)).collect()
}

/// A pipeline and a view of one name would share its group and its dead letters.
fn names(
    pipelines: &IndexMap<String, ReadPipeline<'_>>,
    views: &IndexMap<String, ReadView<'_>>,
    report: &mut Report,
) {
    for (name, view) in views {
        if let Some(pipeline) = pipelines.get(name) {
            let place = pipeline.at.spot.place();
            let what = format!("view {name:?} has the name of the pipeline at {place}");
            report.at(&view.at, what, "give one another name");
        }
    }
}

/// Two pipelines of one group would share a topic's records instead of each seeing all.
fn groups(all: &[Reader<'_>], report: &mut Report) {
    let mut readers: HashMap<(&str, &TopicName), &Reader<'_>> = HashMap::new();
    for reader in all {
        let Reader { kind, name, group, .. } = reader;
        for topic in &reader.from {
            if let Some(other) = readers.insert((group, topic), reader) {
                let itself = std::ptr::eq(other, reader);
                let what = if itself {
                    format!("{kind} {name:?} reads topic {:?} twice", topic.as_str())
                } else {
                    let first = other.name;
                    let who = match other.kind == *kind {
                        true => format!("{kind}s {first:?} and {name:?}"),
                        false => format!("{} {first:?} and {kind} {name:?}", other.kind),
                    };
                    let topic = topic.as_str();
                    format!("{who} read topic {topic:?} in the same group {group:?}")
                };
                let at = reader.at.get("group").or_else(|| reader.at.get("from"));
                let remedy = if itself { "name it once" } else { "give one another group" };
                report.at(&at.unwrap_or_else(|| reader.at.clone()), what, remedy);
            }
        }
    }
}

/// A record that comes back to the topic it came from would go round for ever.
fn loops(all: &[Reader<'_>], report: &mut Report) {
    for (index, reader) in all.iter().enumerate() {
        let Reader { kind, name, dead_letters, .. } = reader;
        if reader.from.contains(dead_letters) {
            let what = format!(
                "{kind} {name:?} reads its own dead letters, topic {:?}",
                dead_letters.as_str()
            );
            report.at(reader.at, what, "send them to another topic");
        }
        for start in &reader.from {
            if let Some(round) = way_back(start, index, all) {
                let what = format!("records of topic {:?} go round: {round}", start.as_str());
                report.at(reader.at, what, "write to a topic that does not lead back");
            }
        }
    }
}

/// The way from a topic through a reader back to the topic, in words. Each loop is
/// found once: at its first reader in the file.
fn way_back(start: &TopicName, first: usize, all: &[Reader<'_>]) -> Option<String> {
    let mut visited = vec![first];
    let mut open = vec![(first, format!("{start} → {}", all[first].name))];
    while let Some((reader, way)) = open.pop() {
        for topic in &all[reader].to {
            let way = format!("{way} → {topic}");
            if *topic == start {
                return Some(way);
            }
            for (next, other) in all.iter().enumerate().skip(first + 1) {
                if other.from.contains(topic) && !visited.contains(&next) {
                    visited.push(next);
                    open.push((next, format!("{way} → {}", other.name)));
                }
            }
        }
    }
    None
}

/// A key of a table holds either one document or fields, never both.
fn tables(pipelines: &IndexMap<String, ReadPipeline<'_>>, report: &mut Report) {
    let mut seen: HashMap<&str, (bool, &At<'_>)> = HashMap::new();
    for pipeline in pipelines.values() {
        for (target, at) in pipeline.plan.to.iter().zip(&pipeline.targets) {
            let TargetPlan::Cache { table, field, .. } = target else { continue };
            let (has_fields, first) = *seen.entry(table).or_insert((field.is_some(), at));
            if has_fields != field.is_some() {
                let words = |fields| if fields { "fields" } else { "one document" };
                let what = format!(
                    "table {table:?} holds {} under a key here, and {} at {}",
                    words(field.is_some()),
                    words(has_fields),
                    first.spot.place()
                );
                report.at(at, what, "use two tables, or the same \"field\"");
            }
        }
    }
}

/// A transaction's rows must come in the order of commits, so from one partition.
fn nests(topics: &Topics, pipelines: &IndexMap<String, ReadPipeline<'_>>, report: &mut Report) {
    for (name, pipeline) in pipelines {
        let is_nest = |step: &StepPlan| matches!(step, StepPlan::Nest(_));
        if !pipeline.plan.steps.iter().any(is_nest) {
            continue;
        }
        let at = pipeline.at.get("from").unwrap_or_else(|| pipeline.at.clone());
        if let count @ 2.. = pipeline.plan.from.len() {
            let what = format!("pipeline {name:?} nests the rows of {count} topics");
            report.at(&at, what, "capture all of its tables into one topic");
        }
        for topic in &pipeline.plan.from {
            if let Some(count @ 2..) = topics.partitions(topic) {
                let what = format!(
                    "topic {:?} has {count} partitions, and pipeline {name:?} nests its rows",
                    topic.as_str()
                );
                let remedy = "give it one, which keeps the order of commits; what comes out of \
                              the pipeline can have more";
                report.at(&at, what, remedy);
            }
        }
    }
}

/// Sources and endpoints share the HTTP port.
fn routes(
    sources: &IndexMap<String, ReadSource<'_>>,
    endpoints: &IndexMap<String, ReadEndpoint<'_>>,
    report: &mut Report,
) {
    let mut taken: HashMap<(String, String), String> = HashMap::new();
    for (name, source) in sources {
        for (method, path) in source.plan.factory.routes() {
            let at = source.at.get(source.plan.connector);
            let at = at.unwrap_or_else(|| source.at.clone());
            if let Err((what, remedy)) = check_path(&path) {
                report.at(&at, what, remedy);
            }
            let route = (method.clone(), without_names(&path));
            if let Some(other) = taken.insert(route, format!("source {name:?}")) {
                let what = format!("route {method} {path} is taken already by {other}");
                report.at(&at, what, "choose another path or method");
            }
        }
    }
    for (path, endpoint) in endpoints {
        if let Some(other) = taken.get(&("GET".into(), without_names(path))) {
            let what = format!("route GET {path} is taken already by {other}");
            report.at(&endpoint.at, what, "choose another path");
        }
    }
}

/// A path whose parameters are alike, whatever their names.
fn without_names(path: &str) -> String {
    let segments = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    segments.collect::<Vec<_>>().join("/")
}
