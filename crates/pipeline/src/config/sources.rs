//! Sources: a connector with its options, and what every source has.
//!
//! An entry holds exactly one key that names a connector; its options are read by
//! the connector itself. A source of another profile is not checked, because its
//! connector may be missing from this build.

use courant_model::{TopicName, limits::TOPIC_NAME_CHARS_MAX, problem::nearest};
use indexmap::IndexMap;

use super::{
    document::Document,
    format::SourceYaml,
    node::{Node, Yaml},
    report::{At, Report},
    topics::Topics,
};
use crate::{connector::Connectors, options::suggest, plan::SourcePlan};

/// Keys of a source that name no connector.
pub(super) const SOURCE_KEYS: [&str; 4] = ["to", "key", "dead_letters", "profile"];

/// A source that was read, with its place.
#[derive(Debug)]
pub(super) struct ReadSource<'a> {
    pub(super) at: At<'a>,
    pub(super) plan: SourcePlan,
}

/// Reads the section `sources`.
pub(super) fn read<'a>(
    document: &'a Document,
    profile: &'a str,
    connectors: &Connectors,
    topics: &mut Topics,
    report: &mut Report,
) -> IndexMap<String, ReadSource<'a>> {
    let mut sources = IndexMap::new();
    for (name, at) in document.section_in("sources", profile) {
        check_name("source", name, &at, report);
        for key in ["to", "dead_letters"] {
            let topic = at.get(key).and_then(|at| at.node.text()?.parse::<TopicName>().ok());
            if let Some(topic) = topic {
                topics.write(&topic);
            }
        }
        if let Some(plan) = source(&at, connectors, report) {
            sources.insert(name.to_owned(), ReadSource { at, plan });
        }
    }
    sources
}

/// Refuses names that cannot be part of a group's or topic's name.
pub(super) fn check_name(kind: &str, name: &str, at: &At<'_>, report: &mut Report) {
    let room = TOPIC_NAME_CHARS_MAX - ".dead".len();
    if name.parse::<TopicName>().is_err() || name.len() > room {
        let remedy = format!("use 1 to {room} letters, digits, '.', '_' and '-'");
        report.at(at, format!("{kind} name {name:?} is not allowed"), &remedy);
    }
}

fn source(at: &At<'_>, connectors: &Connectors, report: &mut Report) -> Option<SourcePlan> {
    let Yaml::Map(entries) = &at.node.yaml else {
        report.at(at, "source is no map", "write its connector and \"to\": a topic");
        return None;
    };
    let is_common = |key: &str| SOURCE_KEYS.contains(&key);
    let common = entries.iter().filter(|entry| is_common(&entry.key)).cloned().collect();
    let common = Node { yaml: Yaml::Map(common), ..at.node.clone() };
    let common: Option<SourceYaml> = report.read(&At { node: &common, ..at.clone() });
    let known: Vec<&str> = connectors.sources.iter().map(|kind| kind.about.name).collect();
    let mut found = None;
    for (key, options) in at.fields().filter(|(key, _)| !is_common(key)) {
        let Some(kind) = connectors.source(key) else {
            match nearest(key, SOURCE_KEYS) {
                Some(near) => {
                    let remedy = format!("did you mean {near:?}?");
                    report.at(&options, format!("unknown key {key:?}"), &remedy);
                }
                None => {
                    let remedy = suggest(key, "the connectors are", &known).unwrap_or_default();
                    report.at(&options, format!("unknown connector {key:?}"), &remedy);
                    found = found.or(Some((key, None)));
                }
            }
            continue;
        };
        if let Some((first, _)) = found {
            let what = format!("source has two connectors, {first:?} and {key:?}");
            report.at(&options, what, "make it two sources");
            continue;
        }
        let factory = (kind.parse)(&options.node.json());
        let factory = factory.map_err(|problems| report.options(&options, problems)).ok();
        found = Some((key, factory.map(|factory| (kind.about.name, factory))));
    }
    if found.is_none() {
        let remedy = format!("add one of {}", known.join(", "));
        report.at(at, "source has no connector", &remedy);
    }
    let (common, (connector, factory)) = (common?, found?.1?);
    Some(SourcePlan {
        connector,
        factory,
        to: common.to,
        key: common.key,
        dead_letters: common.dead_letters,
    })
}
