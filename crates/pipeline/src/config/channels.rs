//! Channels: names under which pages hear the changes of the file's collections.

use courant_model::limits::{
    PUSH_EVENT_NAME_CHARS_MAX, PUSH_EVENTS_RESERVED, PUSH_FILE_CHANNELS_MAX,
};
use courant_stores::Filter;
use indexmap::IndexMap;

use super::{
    document::Document,
    endpoints::{check_store, collections, refused},
    format::{ChangeYaml, ChannelEventsYaml, ChannelYaml, OneOrMany},
    pipelines::ReadPipeline,
    report::{At, Report},
};
use crate::plan::{ChannelEvents, ChannelPattern, ChannelPlan, channel};

/// Reads the section `channels`.
pub(super) fn read(
    document: &Document,
    profile: &str,
    pipelines: &IndexMap<String, ReadPipeline<'_>>,
    report: &mut Report,
) -> IndexMap<String, ChannelPlan> {
    let mut channels: IndexMap<String, ChannelPlan> = IndexMap::new();
    for (name, at) in document.section_in("channels", profile) {
        let Some(plan) = channel(name, &at, pipelines, report) else { continue };
        if let Some(other) = channels.values().find(|other| other.name.meets(&plan.name)) {
            let what = format!("channels {:?} and {name:?} can have one name", other.name.as_str());
            report.at(&at, what, "begin one of them with a word of its own");
        }
        channels.insert(name.to_owned(), plan);
        if channels.len() == PUSH_FILE_CHANNELS_MAX + 1 {
            let what = format!("more than {PUSH_FILE_CHANNELS_MAX} channels");
            report.at(&at, what, "put a {field} into a name instead of many names");
        }
    }
    channels
}

fn channel(
    name: &str,
    at: &At<'_>,
    pipelines: &IndexMap<String, ReadPipeline<'_>>,
    report: &mut Report,
) -> Option<ChannelPlan> {
    let pattern = name.parse::<ChannelPattern>();
    let pattern = pattern.map_err(|error| report.message(at, &error.to_string())).ok();
    let yaml: ChannelYaml = report.read(at)?;
    if let Some(watch) = at.get("watch") {
        check_store("collection", &yaml.watch, &collections(pipelines), &watch, report);
    }
    let filter = at.get("filter").map_or(Some(Filter::All), |at| {
        let parsed = Filter::parse(&at.node.json());
        parsed.map_err(|error| refused("filter", &error, &at, report)).ok()
    });
    let ChannelYaml { watch: collection, event, on, events, data, .. } = yaml;
    let pattern = pattern?;
    let events = match (event, events) {
        (Some(event), None) => one_name(&event, on, &pattern),
        (None, Some(events)) => {
            if let Some(at) = at.get("on") {
                report.at(&at, "key \"on\" belongs to \"event\"", "\"events\" says what is pushed");
            }
            let ChannelEventsYaml { insert, update, delete } = events;
            ChannelEvents { insert, update, delete }
        }
        (Some(_), Some(_)) => {
            report.at(&at.get("events")?, "channel has both \"event\" and \"events\"", "keep one");
            return None;
        }
        (None, None) => {
            let remedy = "name it: { watch: orders, event: NewOrder }";
            report.at(at, "channel has no event", remedy);
            return None;
        }
    };
    check_events(&events, &pattern, at, report);
    Some(ChannelPlan { name: pattern, collection, events, filter: filter?, data })
}

/// One name for the changes that are pushed: those of `on`, or all that the channel's
/// name can be filled for.
fn one_name(
    event: &str,
    on: Option<OneOrMany<ChangeYaml>>,
    pattern: &ChannelPattern,
) -> ChannelEvents {
    let all = [ChangeYaml::Insert, ChangeYaml::Update, ChangeYaml::Delete];
    let kinds = on.map_or_else(
        || {
            all.into_iter()
                .filter(|kind| *kind != ChangeYaml::Delete || has_id_only(pattern))
                .collect()
        },
        OneOrMany::into_vec,
    );
    let named = |kind| kinds.contains(&kind).then(|| event.to_owned());
    ChannelEvents {
        insert: named(ChangeYaml::Insert),
        update: named(ChangeYaml::Update),
        delete: named(ChangeYaml::Delete),
    }
}

/// Whether the name can be filled when the document is gone.
fn has_id_only(pattern: &ChannelPattern) -> bool {
    pattern.fields().all(channel::is_id)
}

fn check_events(
    events: &ChannelEvents,
    pattern: &ChannelPattern,
    at: &At<'_>,
    report: &mut Report,
) {
    let given = at.get("event").or_else(|| at.get("events")).unwrap_or_else(|| at.clone());
    if events.named().next().is_none() {
        let at = at.get("on").unwrap_or_else(|| given.clone());
        report.at(&at, "channel pushes no change", "name one of insert, update, delete");
    }
    let mut told: Vec<&str> = Vec::new();
    for (kind, event) in events.named() {
        if told.contains(&event) {
            continue;
        }
        told.push(event);
        let at = given.get(kind).unwrap_or_else(|| given.clone());
        let characters = event.chars().count();
        if characters == 0 || characters > PUSH_EVENT_NAME_CHARS_MAX {
            let what = format!("event name has {characters} characters");
            report.at(&at, what, &format!("write 1 to {PUSH_EVENT_NAME_CHARS_MAX}"));
        }
        if let Some(prefix) = PUSH_EVENTS_RESERVED.iter().find(|prefix| event.starts_with(**prefix))
        {
            let what = format!("event name {event:?} begins with {prefix:?}");
            report.at(&at, what, "choose another; that beginning is the protocol's");
        }
    }
    if events.delete.is_some() && !has_id_only(pattern) {
        let at = at.get("on").or_else(|| given.get("delete")).unwrap_or(given);
        let what = format!("channel {:?} cannot be told of a deletion", pattern.as_str());
        report.at(&at, what, "of a deleted document only {_id} is known; leave delete out");
    }
}
