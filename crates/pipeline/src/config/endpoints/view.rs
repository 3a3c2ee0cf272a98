//! Endpoints over views: what they name must be columns of the query's result.

use courant_model::{
    Span,
    limits::{ENDPOINT_LIMIT_DEFAULT, FIND_LIMIT_MAX, VIEW_STREAM_MS_MIN},
};
use indexmap::IndexMap;

use super::parameters;
use crate::{
    config::{
        format::ViewEndpointYaml,
        report::{At, Report},
        views::ReadView,
    },
    options::suggest,
    plan::{EndpointPlan, ViewEndpointPlan, ViewPlan},
};

/// Reads an endpoint over a view.
pub(super) fn read(
    yaml: ViewEndpointYaml,
    path: &str,
    at: &At<'_>,
    views: &IndexMap<String, ReadView<'_>>,
    report: &mut Report,
) -> Option<EndpointPlan> {
    let place = at.get("view")?;
    let Some(view) = views.get(&yaml.view) else {
        let known: Vec<&str> = views.keys().map(String::as_str).collect();
        let remedy = match suggest(&yaml.view, "there are", &known) {
            Some(remedy) => remedy,
            None => "add it under \"views\"".to_owned(),
        };
        report.at(&place, format!("unknown view {:?}", yaml.view), &remedy);
        return None;
    };
    match view.plan.key() {
        Some(columns) => key(path, at, &columns, report),
        None => {
            let what = format!("view {:?} has no store: its results are appended", yaml.view);
            report.at(&place, what, "group by something, or read its topic");
        }
    }
    times(&yaml, at, &view.plan, report);
    let object = match &yaml.object {
        None => None,
        Some(object) => Some(columns(object, &at.get("object")?, &view.plan, report)?),
    };
    let usual = if object.is_some() { FIND_LIMIT_MAX } else { ENDPOINT_LIMIT_DEFAULT };
    Some(EndpointPlan::View(ViewEndpointPlan {
        view: yaml.view,
        parameters: parameters(path).into_iter().map(str::to_owned).collect(),
        stream: yaml.stream,
        last: yaml.last,
        object,
        limit: yaml.limit.unwrap_or(usual).clamp(1, FIND_LIMIT_MAX),
    }))
}

/// The path's parameters are values of the first key columns.
fn key(path: &str, at: &At<'_>, columns: &[&str], report: &mut Report) {
    let found = parameters(path).len();
    if found > columns.len() {
        let what = format!("path {path:?} has {found} parameters");
        let remedy = format!("the key of the view is {}", columns.join(", "));
        report.at(at, what, &remedy);
    }
}

fn times(yaml: &ViewEndpointYaml, at: &At<'_>, view: &ViewPlan, report: &mut Report) {
    let least = Span::from_millis(VIEW_STREAM_MS_MIN);
    if let Some(place) = at.get("stream").filter(|_| yaml.stream.is_some_and(|every| every < least))
    {
        report.at(&place, "messages would come too often", &format!("write {least} or more"));
    }
    let (Some(last), Some(place)) = (yaml.last, at.get("last")) else { return };
    let Some(window) = view.query.window() else {
        let what = format!("the rows of view {:?} are of no windows", yaml.view);
        return report.at(&place, what, "leave out \"last\"");
    };
    let micros = last.as_millis().saturating_mul(1_000);
    if let Some(width) = window.width_micros.filter(|width| *width > micros) {
        let width = Span::from_millis(u64::try_from(width / 1_000).unwrap_or_default());
        let what = format!("no window of {width} lies within the last {last}");
        report.at(&place, what, &format!("write {width} or more"));
    }
}

/// The two columns of an object.
fn columns(
    object: &IndexMap<String, String>,
    at: &At<'_>,
    view: &ViewPlan,
    report: &mut Report,
) -> Option<(String, String)> {
    let Some((name, value)) = object.first().filter(|_| object.len() == 1) else {
        report.at(at, "object does not have one entry", "write { name: visits }: two columns");
        return None;
    };
    let known: Vec<&str> = view.query.output().iter().map(|column| column.name.as_str()).collect();
    let mut whole = true;
    for column in [name, value] {
        if !known.contains(&column.as_str()) {
            let remedy = suggest(column, "the columns are", &known).unwrap_or_default();
            report.at(at, format!("unknown column {column:?}"), &remedy);
            whole = false;
        }
    }
    whole.then(|| (name.clone(), value.clone()))
}
