//! Steps: one key each, in order, and what the documents look like between them.
//!
//! [`Flow`] follows the columns from the topics' declaration through every step, so
//! that SQL is compiled and fields are looked up while the file is read. Where
//! columns are not known (nobody declared them), nothing is guessed: the first
//! records decide when the pipeline runs.

use courant_model::{Column, ColumnType, Columns, TopicName, json::FieldPath};

use super::{
    format::{BranchYaml, DeduplicateYaml, KeyYaml, OtherwiseYaml, SplitYaml, SqlYaml, WhenYaml},
    jolt, lookup, nest,
    report::{At, Report},
    sql,
};
use crate::{
    connector::Connectors,
    options::suggest,
    plan::{Branch, Destination, StepPlan},
};

/// Every step there is.
pub(super) const STEPS: [&str; 8] =
    ["sql", "jolt", "lookup", "key", "split", "route", "deduplicate", "nest"];

/// Steps of the map that this version does not have.
const LATER: [&str; 3] = ["validate", "mask", "jq"];

/// What is known of the documents at a point of a pipeline.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    /// The columns; `None` where nobody said.
    pub(super) columns: Option<Columns>,
    /// Whether the documents hold these columns and nothing else.
    pub(super) exact: bool,
}

/// Steps that were read, and the topics that they route to.
#[derive(Debug, Default)]
pub(super) struct ReadSteps<'a> {
    pub(super) plans: Vec<StepPlan>,
    pub(super) routed: Vec<(TopicName, At<'a>)>,
}

impl Flow {
    /// Notes a field that the documents cannot have.
    pub(super) fn check(&self, field: &FieldPath, at: &At<'_>, report: &mut Report) {
        let Some(columns) = self.columns.as_ref().filter(|_| self.exact) else { return };
        let first = &field.segments()[0];
        if columns.get(first).is_none() {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let remedy = suggest(first, "the columns are", &names).unwrap_or_default();
            report.at(at, format!("unknown column {first:?}"), &remedy);
        }
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Reads the list `steps`; what is wrong is left out.
pub(super) fn read<'a>(
    at: &At<'a>,
    folder: jolt::Folder<'_>,
    connectors: &Connectors,
    flow: &mut Flow,
    report: &mut Report,
) -> ReadSteps<'a> {
    let mut read = ReadSteps::default();
    for (index, item) in at.items().enumerate() {
        match only_key("step", &STEPS, &item, report) {
            Some((name, body)) => {
                let step = match name {
                    "sql" => sql_step(&body, flow, report),
                    "jolt" => {
                        flow.forget();
                        jolt::step(&body, folder, report)
                    }
                    "lookup" => {
                        let before = std::mem::take(flow);
                        lookup::step(&body, connectors, &before, report)
                    }
                    "key" => key(&body, flow, report),
                    "split" => split(&body, flow, report),
                    "route" => route(&body, flow, &mut read.routed, report),
                    "deduplicate" => deduplicate(&body, flow, report),
                    "nest" => {
                        flow.forget();
                        nest::step(&body, index, report)
                    }
                    _ => unknown(name, &body, flow, report),
                };
                read.plans.extend(step);
            }
            None => flow.forget(),
        }
    }
    read
}

/// The one key that an item of a list must have.
pub(super) fn only_key<'a>(
    kind: &str,
    known: &[&str],
    item: &At<'a>,
    report: &mut Report,
) -> Option<(&'a str, At<'a>)> {
    let mut fields = item.fields();
    match (fields.next(), fields.next()) {
        (Some(only), None) => Some(only),
        (Some((first, _)), Some((second, at))) => {
            let what = format!("{kind} has two keys, {first:?} and {second:?}");
            report.at(&at, what, "begin a new item with \"- \"");
            None
        }
        (None, _) => {
            let remedy = format!("write one of {} with its value", known.join(", "));
            report.at(item, format!("{kind} has no key"), &remedy);
            None
        }
    }
}

fn unknown(name: &str, at: &At<'_>, flow: &mut Flow, report: &mut Report) -> Option<StepPlan> {
    flow.forget();
    if LATER.contains(&name) {
        let remedy = format!("this one has {}", STEPS.join(", "));
        report.at(at, format!("step {name:?} is not in this version"), &remedy);
    } else {
        let remedy = suggest(name, "the steps are", &STEPS).unwrap_or_default();
        report.at(at, format!("unknown step {name:?}"), &remedy);
    }
    None
}

fn sql_step(at: &At<'_>, flow: &mut Flow, report: &mut Report) -> Option<StepPlan> {
    let Some(step) = report.read::<SqlYaml>(at) else {
        flow.forget();
        return None;
    };
    let (text, text_at) = match step {
        SqlYaml::Text(text) => (text, at.clone()),
        SqlYaml::Options(options) => (options.query, at.get("query")?),
    };
    *flow = sql::statement(&text, flow, &text_at, report);
    Some(StepPlan::Sql { text })
}

fn key(at: &At<'_>, flow: &Flow, report: &mut Report) -> Option<StepPlan> {
    let field = if at.node.is_null() { None } else { Some(report.read::<KeyYaml>(at)?.0) };
    if let Some(field) = &field {
        flow.check(field, at, report);
    }
    Some(StepPlan::Key { field })
}

fn split(at: &At<'_>, flow: &mut Flow, report: &mut Report) -> Option<StepPlan> {
    let before = std::mem::take(flow);
    let (field, into) = match report.read::<SplitYaml>(at)? {
        SplitYaml::Field(field) => (field, None),
        SplitYaml::Options(options) => (options.field, options.into),
    };
    before.check(&field, &at.get("field").unwrap_or_else(|| at.clone()), report);
    let columns = before.columns.as_ref();
    match (columns.and_then(|columns| column_type(columns, field.segments())), &into) {
        (Some(ColumnType::List(item)), None) => {
            if let ColumnType::Struct(fields) = &**item {
                flow.columns = Some(fields.iter().cloned().collect());
                flow.exact = before.exact;
            }
        }
        (Some(ColumnType::List(_) | ColumnType::Json) | None, _) => {}
        (Some(other), _) => {
            let what = format!("column {:?} is {other}, not a list", field.to_string());
            report.at(at, what, "split a list into its items");
        }
    }
    Some(StepPlan::Split { field, into })
}

/// The type at a path, as far as lists and structs tell it.
fn column_type<'a>(columns: &'a Columns, path: &[String]) -> Option<&'a ColumnType> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(&columns.get(first)?.column_type, |outer, name| match outer {
        ColumnType::Struct(fields) => {
            let is_named = |field: &&Column| field.name == *name;
            fields.iter().find(is_named).map(|field| &field.column_type)
        }
        ColumnType::List(item) if name.parse::<usize>().is_ok() => Some(&**item),
        _ => None,
    })
}

fn route<'a>(
    at: &At<'a>,
    flow: &Flow,
    routed: &mut Vec<(TopicName, At<'a>)>,
    report: &mut Report,
) -> Option<StepPlan> {
    let mut branches = Vec::new();
    let mut otherwise = None;
    let (mut sound, mut count) = (true, 0);
    for item in at.items() {
        count += 1;
        if otherwise.is_some() {
            report.at(&item, "branch stands after \"otherwise\"", "move \"otherwise\" to the end");
        }
        let branch = if item.get("otherwise").is_some() {
            report.read::<OtherwiseYaml>(&item).map(BranchYaml::Otherwise)
        } else {
            report.read::<WhenYaml>(&item).map(BranchYaml::When)
        };
        match branch {
            Some(BranchYaml::When(WhenYaml { when, to })) => {
                sql::condition(&when, flow, &item.get("when")?, report);
                branches.push(Branch { when, to: destination(to, &item.get("to")?, routed) });
            }
            Some(BranchYaml::Otherwise(OtherwiseYaml { otherwise: to })) => {
                otherwise = Some(destination(to, &item.get("otherwise")?, routed));
            }
            None => sound = false,
        }
    }
    if count == 0 {
        let remedy = "write a list of branches such as { when: \"a > 1\", to: topic }";
        report.at(at, "route has no branches", remedy);
    }
    let otherwise = otherwise.unwrap_or(Destination::Next);
    sound.then_some(StepPlan::Route { branches, otherwise })
}

fn destination<'a>(
    to: TopicName,
    at: &At<'a>,
    routed: &mut Vec<(TopicName, At<'a>)>,
) -> Destination {
    match to.as_str() {
        "next" => Destination::Next,
        "drop" => Destination::Drop,
        _ => {
            routed.push((to.clone(), at.clone()));
            Destination::Topic(to)
        }
    }
}

fn deduplicate(at: &At<'_>, flow: &Flow, report: &mut Report) -> Option<StepPlan> {
    let step: DeduplicateYaml = report.read(at)?;
    let by = step.by.into_vec();
    let by_at = at.get("by").unwrap_or_else(|| at.clone());
    if by.is_empty() {
        report.at(&by_at, "list of fields is empty", "name what makes two records the same");
    }
    if step.within.as_duration().is_zero() {
        let at = at.get("within").unwrap_or_else(|| at.clone());
        report.at(&at, "duration is zero", "say how long a value is remembered, such as 1h");
    }
    by.iter().for_each(|field| flow.check(field, &by_at, report));
    Some(StepPlan::Deduplicate { by, within: step.within, keys_max: step.keys_max })
}
