//! Views: continuous queries over topics and other views.
//!
//! A query names topics and views; both must have known columns, so views are read in the
//! order of their dependencies, whatever their order in the file. A view is compiled while
//! the file is read, so that what is wrong with its SQL has its place.

use std::collections::BTreeMap;

use courant_log::{Retention, TopicSettings};
use courant_model::{Span, TopicName, json::FieldPath};
use courant_sql::stream::{self, Emit, Query, QueryOptions, Relation, RelationKind, Spread};
use indexmap::IndexMap;

use super::{
    document::Document,
    format::{EmitWord, EmitYaml, ViewYaml},
    report::{At, Report},
    sources::check_name,
    sql,
    topics::Topics,
};
use crate::{
    options::suggest,
    plan::{
        ErrorPlan, Guarantee, PipelinePlan, StepPlan, TargetPlan, ViewEmit, ViewInput, ViewPlan,
    },
};

/// A view that was read, with its place.
#[derive(Debug)]
pub(super) struct ReadView<'a> {
    pub(super) at: At<'a>,
    /// The topics of its query, as the file names them.
    pub(super) reads: Vec<TopicName>,
    /// Pipelines that bring records to the partitions where the query needs them.
    pub(super) pipelines: Vec<(String, PipelinePlan)>,
    pub(super) plan: ViewPlan,
}

/// A view whose query is not compiled yet.
struct Open<'a> {
    name: &'a str,
    at: At<'a>,
    yaml: ViewYaml,
    /// Names of relations that the query reads, as far as they are known to be names.
    reads: Vec<String>,
    to: TopicName,
}

/// Notes the topics that views write to, so that what is read before knows them.
pub(super) fn note_topics(document: &Document, profile: &str, topics: &mut Topics) {
    for (name, at) in document.section_in("views", profile) {
        let named = ["to", "late"].into_iter().filter_map(|key| at.get(key)?.node.text());
        let named = named.filter_map(|topic| topic.parse().ok());
        let internal = at.get("to").is_none().then(|| own_topic(document, name)).flatten();
        named.chain(internal).for_each(|topic| topics.write(&topic));
    }
}

/// The topic of a view that names none.
fn own_topic(document: &Document, name: &str) -> Option<TopicName> {
    let file = document.root.entry("name").and_then(|entry| entry.node.text());
    format!("{}.{name}", file.unwrap_or_default()).parse().ok()
}

/// Reads the section `views`.
pub(super) fn read<'a>(
    document: &'a Document,
    profile: &'a str,
    topics: &mut Topics,
    report: &mut Report,
) -> IndexMap<String, ReadView<'a>> {
    let file = document.root.entry("name").and_then(|entry| entry.node.text()).unwrap_or_default();
    let mut open = Vec::new();
    let mut order = Vec::new();
    for (name, at) in document.section_in("views", profile) {
        check_name("view", name, &at, report);
        order.push(name);
        let Some(yaml) = report.read::<ViewYaml>(&at) else { continue };
        let own = || own_topic(document, name);
        let Some(to) = yaml.to.clone().or_else(own) else { continue };
        let reads = Vec::new();
        open.push(Open { name, at, yaml, reads, to });
    }
    let mut views = compile_all(open, file, topics, report);
    views.sort_by_key(|name, _| order.iter().position(|one| one == name));
    views
}

/// Compiles the views whose relations are known, until none is left or none can be.
fn compile_all<'a>(
    mut open: Vec<Open<'a>>,
    file: &str,
    topics: &mut Topics,
    report: &mut Report,
) -> IndexMap<String, ReadView<'a>> {
    let names: Vec<String> = open.iter().map(|view| view.name.to_owned()).collect();
    for view in &mut open {
        view.reads = stream::relations(&view.yaml.sql);
    }
    let mut views: IndexMap<String, ReadView<'a>> = IndexMap::new();
    loop {
        let waits = |view: &Open<'_>, done: &IndexMap<String, ReadView<'_>>| {
            let on_view = |name: &&String| names.contains(*name) && !done.contains_key(*name);
            view.reads.iter().find(on_view).cloned()
        };
        let Some(next) = open.iter().position(|view| waits(view, &views).is_none()) else { break };
        let view = open.remove(next);
        let name = view.name.to_owned();
        if let Some(read) = compile(view, file, &views, topics, report) {
            views.insert(name, read);
        }
    }
    for view in &open {
        let at = view.at.get("sql").unwrap_or_else(|| view.at.clone());
        let what = format!("view {:?} waits for a view that cannot be read", view.name);
        report.at(&at, what, "views must not lead back to themselves");
    }
    views
}

fn compile<'a>(
    view: Open<'a>,
    file: &str,
    views: &IndexMap<String, ReadView<'a>>,
    topics: &mut Topics,
    report: &mut Report,
) -> Option<ReadView<'a>> {
    let Open { name, at, yaml, reads, to } = view;
    let place = at.get("sql").unwrap_or_else(|| at.clone());
    let (relations, lateness) = relations(&reads, views, topics, &place, report)?;
    let emit = emit(&yaml);
    let options = QueryOptions {
        grace: yaml.grace.as_duration(),
        emit: if emit == ViewEmit::Final { Emit::Final } else { Emit::Changes },
        ttl: yaml.ttl.map(Span::as_duration),
    };
    let query = Query::compile(&yaml.sql, &relations, &options);
    let query = query.map_err(|error| sql::tell(&error, &place, report)).ok()?;
    let inputs = inputs(&query, views, &lateness, yaml.lateness);
    let known_keys = known_keys(&inputs, views, topics);
    let mut plan = ViewPlan {
        inputs,
        emit,
        grace: yaml.grace,
        idle: Some(yaml.idle).filter(|idle| *idle > Span::default()),
        late: yaml.late,
        keep: yaml.keep,
        ttl: yaml.ttl,
        group: yaml.group.unwrap_or_else(|| format!("{file}.{name}")),
        start: yaml.start.into(),
        guarantee: yaml.guarantee.map_or(Guarantee::ExactlyOnce, Into::into),
        on_error: ErrorPlan {
            retries: 0,
            dead_letters: match yaml.on_error.dead_letters {
                Some(topic) => topic,
                None => format!("{name}.dead").parse().ok()?,
            },
        },
        checkpoint: yaml.checkpoint,
        sql: yaml.sql,
        query,
        to,
    };
    plan.late.iter().for_each(|topic| topics.write(topic));
    topics.write(&plan.on_error.dead_letters);
    topics.write_view(&plan);
    let reads = plan.read_topics().cloned().collect();
    let pipelines = spread(name, &mut plan, &known_keys, &place, topics, report);
    pairs(name, &plan, &place, topics, report);
    Some(ReadView { at, reads, pipelines, plan })
}

/// The relations that a query names, and the lateness that their topics allow.
fn relations(
    reads: &[String],
    views: &IndexMap<String, ReadView<'_>>,
    topics: &Topics,
    at: &At<'_>,
    report: &mut Report,
) -> Option<(BTreeMap<String, Relation>, BTreeMap<String, Span>)> {
    let (mut relations, mut lateness) = (BTreeMap::new(), BTreeMap::new());
    let mut missing = false;
    for name in reads {
        if let Some(view) = views.get(name) {
            relations.insert(name.clone(), view_relation(&view.plan));
        } else if let Some(topic) = topics.relation(name) {
            lateness.insert(name.clone(), topic.lateness);
            let Some(columns) = topic.columns else {
                let what = format!("topic {name:?} has no columns, and a view reads it");
                report.at(at, what, "declare its \"columns\" under \"topics\"");
                missing = true;
                continue;
            };
            let kind = if topic.is_table { RelationKind::Table } else { RelationKind::Stream };
            let (columns, key) = (columns.clone(), topic.key.to_vec());
            let event_time = topic.event_time;
            relations.insert(name.clone(), Relation { columns, kind, key, event_time });
        } else {
            let mut known = topics.names();
            known.extend(views.keys().map(String::as_str));
            let remedy = suggest(name, "there are", &known).unwrap_or_default();
            report.at(at, format!("{name:?} is neither a topic nor a view"), &remedy);
            missing = true;
        }
    }
    (!missing).then_some((relations, lateness))
}

/// The result of a view as another one reads it: a table by its key, or a stream.
fn view_relation(plan: &ViewPlan) -> Relation {
    let key = plan.key();
    Relation {
        columns: plan.query.output().clone(),
        kind: if key.is_none() { RelationKind::Stream } else { RelationKind::Table },
        key: key.unwrap_or_default().into_iter().map(Into::into).collect(),
        event_time: None,
    }
}

/// The topics behind a query's inputs, each once.
fn inputs(
    query: &Query,
    views: &IndexMap<String, ReadView<'_>>,
    of_topics: &BTreeMap<String, Span>,
    of_view: Option<Span>,
) -> Vec<ViewInput> {
    let mut inputs: Vec<ViewInput> = Vec::new();
    for (index, input) in query.inputs().iter().enumerate() {
        let topic = match views.get(&input.relation) {
            Some(view) => view.plan.to.clone(),
            None => match input.relation.parse() {
                Ok(topic) => topic,
                Err(_) => continue,
            },
        };
        if let Some(known) = inputs.iter_mut().find(|known| known.topic == topic) {
            known.reads.push(index);
            continue;
        }
        let lateness = of_view.or_else(|| of_topics.get(&input.relation).copied());
        let lateness = lateness.unwrap_or_default();
        inputs.push(ViewInput { topic, reads: vec![index], lateness });
    }
    inputs
}

/// The columns that make each topic's record key; none where that is not known.
fn known_keys(
    inputs: &[ViewInput],
    views: &IndexMap<String, ReadView<'_>>,
    topics: &Topics,
) -> Vec<Vec<String>> {
    let of_view = |topic: &TopicName| {
        let view = views.values().find(|view| view.plan.to == *topic)?;
        Some(view.plan.key()?.into_iter().map(Into::into).collect())
    };
    let declared = |topic: &TopicName| {
        let key = topics.relation(topic.as_str()).map(|topic| topic.key.to_vec());
        key.filter(|key| !key.is_empty())
    };
    let key = |input: &ViewInput| declared(&input.topic).or_else(|| of_view(&input.topic));
    inputs.iter().map(|input| key(input).unwrap_or_default()).collect()
}

fn emit(yaml: &ViewYaml) -> ViewEmit {
    match &yaml.emit {
        EmitYaml::Word(EmitWord::Changes) => ViewEmit::Changes { every: None },
        EmitYaml::Word(EmitWord::Final) => ViewEmit::Final,
        EmitYaml::Every(every) => ViewEmit::Changes { every: Some(every.changes) },
    }
}

/// Brings every group to one partition: topics whose partitions do not fit the query are
/// read through a topic of the view's own, which a pipeline fills by another key. Answers
/// these pipelines.
fn spread(
    name: &str,
    plan: &mut ViewPlan,
    known_keys: &[Vec<String>],
    at: &At<'_>,
    topics: &mut Topics,
    report: &mut Report,
) -> Vec<(String, PipelinePlan)> {
    let counts: Vec<i32> =
        plan.read_topics().map(|topic| topics.partitions(topic).unwrap_or(1)).collect();
    let most = counts.iter().copied().max().unwrap_or(1);
    if most == 1 {
        return Vec::new();
    }
    let needs: Vec<Spread> = plan.inputs.iter().map(|input| need(&plan.query, input)).collect();
    let alone = needs.contains(&Spread::One);
    let place = common_place(&needs, known_keys);
    let mut pipelines = Vec::new();
    for (index, need) in needs.iter().enumerate() {
        let key = match need {
            Spread::By(columns) if !alone => {
                let known = &known_keys[index];
                let fits = if plan.inputs.len() == 1 {
                    !known.is_empty() && known.iter().all(|column| columns.contains(column))
                } else {
                    columns.get(place).is_some_and(|column| known.as_slice() == [column.clone()])
                };
                if fits {
                    continue;
                }
                columns.get(place).or(columns.first()).and_then(|column| field(column))
            }
            Spread::Any if !alone => continue,
            Spread::Any | Spread::One | Spread::By(_) => None,
        };
        let input = &plan.inputs[index];
        let is_table =
            input.reads.iter().any(|read| plan.query.inputs()[*read].kind == RelationKind::Table);
        if is_table && !alone {
            let what = format!(
                "table {:?} has {} partitions by another key than view {name:?} needs",
                input.topic.as_str(),
                counts[index]
            );
            let remedy = "say its \"key\" under \"topics\" if it fits, or give it one partition";
            report.at(at, what, remedy);
            continue;
        }
        if key.is_none() && !alone {
            let what = format!(
                "view {name:?} groups topic {:?} by an expression, and it has {} partitions",
                input.topic.as_str(),
                counts[index]
            );
            report.at(at, what, "group by a column, or give the topic one partition");
            continue;
        }
        let partitions = if alone { 1 } else { most };
        pipelines.extend(through(name, plan, index, key, partitions, topics));
    }
    pipelines
}

/// How rows of a topic must be spread for all places of the query that read it.
fn need(query: &Query, input: &ViewInput) -> Spread {
    let needs = input.reads.iter().map(|read| query.inputs()[*read].partition_by.clone());
    needs
        .reduce(|one, other| match (one, other) {
            (Spread::Any, other) | (other, Spread::Any) => other,
            (Spread::By(one), Spread::By(other)) if one == other => Spread::By(one),
            _ => Spread::One,
        })
        .unwrap_or(Spread::Any)
}

/// Which of the columns that joined topics share decides: one that a topic is spread by
/// already, or the first.
fn common_place(needs: &[Spread], known_keys: &[Vec<String>]) -> usize {
    let place = |(need, known): (&Spread, &Vec<String>)| match (need, known.as_slice()) {
        (Spread::By(columns), [key]) => columns.iter().position(|column| column == key),
        _ => None,
    };
    needs.iter().zip(known_keys).find_map(place).unwrap_or(0)
}

/// The column of an input, as a field; `None`: it is another expression.
fn field(column: &str) -> Option<FieldPath> {
    let is_plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    column.chars().all(is_plain).then(|| column.parse().ok()).flatten()
}

/// Has an input read through a topic of the view's own; answers the pipeline that fills it.
fn through(
    name: &str,
    plan: &mut ViewPlan,
    index: usize,
    key: Option<FieldPath>,
    partitions: i32,
    topics: &mut Topics,
) -> Option<(String, PipelinePlan)> {
    let from = plan.inputs[index].topic.clone();
    let step = match plan.inputs.len() {
        1 => format!("{name}.repartition"),
        _ => format!("{name}.{from}.repartition"),
    };
    let topic: TopicName = format!("{}.{from}.repartition", plan.group).parse().ok()?;
    topics.write_through(&topic, &from, partitions);
    let pipeline = PipelinePlan {
        from: vec![from],
        group: format!("{}.repartition", plan.group),
        start: plan.start,
        guarantee: plan.guarantee,
        steps: key.map(|field| StepPlan::Key { field: Some(field) }).into_iter().collect(),
        to: vec![TargetPlan::Topic { topic: topic.clone() }],
        on_error: plan.on_error.clone(),
        freshness_p99: None,
        linger: Span::default(),
        checkpoint: plan.checkpoint,
    };
    plan.inputs[index].topic = topic;
    Some((step, pipeline))
}

/// Finds topics of one query whose partitions do not pair.
fn pairs(name: &str, plan: &ViewPlan, at: &At<'_>, topics: &Topics, report: &mut Report) {
    let counts = plan.read_topics().filter_map(|topic| Some((topic, topics.partitions(topic)?)));
    let counts: Vec<_> = counts.collect();
    if let [(first, count), rest @ ..] = counts.as_slice()
        && let Some((other, others)) = rest.iter().find(|(_, others)| others != count)
    {
        let what = format!(
            "topic {:?} has {count} partitions and topic {:?} has {others}, and view {name:?} \
             joins them",
            first.as_str(),
            other.as_str()
        );
        report.at(at, what, "give both the same number");
    }
}

/// Settings of a view's own topic: the latest result of each key is kept, of windows only
/// as long as the store keeps them.
pub(super) fn own_topic_settings(plan: &ViewPlan) -> TopicSettings {
    let cleanup = match (plan.key().is_none(), plan.query.window().is_some()) {
        (true, _) => Retention::Delete,
        (false, false) => Retention::Compact,
        (false, true) => Retention::CompactAndDelete,
    };
    TopicSettings { cleanup, ..TopicSettings::default() }
}
