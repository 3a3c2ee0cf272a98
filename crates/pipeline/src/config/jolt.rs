//! Jolt within the file: a specification is compiled while the file is read.
//!
//! It stands in the file, or in one of its own (JSON, comments allowed); what is wrong with
//! it is told at its key, in whichever of the two. An operation that names parts of the
//! record (`${header:tenant}`) can be judged only when records come; the others are.

use std::path::Path;

use courant_jolt::{Arena, Jolt, SpecError, locate, parse_with_comments, to_serde};
use courant_model::Place;
use serde_json::Value;

use super::{
    Files,
    format::JoltYaml,
    report::{At, Report},
};
use crate::{
    connector::OptionProblem,
    plan::{JoltPlan, StepPlan},
    template::{Part, Template, has_placeholder},
};

/// Where the files of steps are read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder<'a> {
    pub(super) base: &'a Path,
    pub(super) files: &'a dyn Files,
}

/// Reads the step.
pub(super) fn step(at: &At<'_>, folder: Folder<'_>, report: &mut Report) -> Option<StepPlan> {
    let options = match report.read::<JoltYaml>(at)? {
        JoltYaml::Spec(spec) => {
            let spec = Written::Inline(at.clone()).template(Value::Array(spec), report)?;
            let plan = JoltPlan { spec, file: None, field: None, split: false, context: None };
            return Some(StepPlan::Jolt(Box::new(plan)));
        }
        JoltYaml::Options(options) => options,
    };
    let context = match (options.context, at.get("context")) {
        (Some(context), Some(at)) => Some(template(Value::Object(context), &at, report)?),
        _ => None,
    };
    let (spec, file) = match (options.spec, options.file) {
        (Some(spec), None) => {
            (Written::Inline(at.get("spec")?).template(Value::Array(spec), report)?, None)
        }
        (None, Some(file)) => {
            let at = at.get("file")?;
            (from_file(&file, &at, folder, report)?, Some(file.into()))
        }
        (Some(_), Some(_)) => {
            report.at(&at.get("file")?, "jolt step has both \"spec\" and \"file\"", "keep one");
            return None;
        }
        (None, None) => {
            let remedy = "add \"spec\", a list of operations, or \"file\"";
            report.at(at, "jolt step has no specification", remedy);
            return None;
        }
    };
    let (field, split) = (options.field, options.split);
    Some(StepPlan::Jolt(Box::new(JoltPlan { spec, file, field, split, context })))
}

fn template(json: Value, at: &At<'_>, report: &mut Report) -> Option<Template> {
    Template::new(json).map_err(|found| report.options(at, found)).ok()
}

fn from_file(name: &str, at: &At<'_>, folder: Folder<'_>, report: &mut Report) -> Option<Template> {
    let path = folder.base.join(name);
    let text = match folder.files.read(&path) {
        Ok(text) => text,
        Err(error) => {
            report.at(at, format!("file {path:?} cannot be read: {error}"), "");
            return None;
        }
    };
    let file = path.display().to_string();
    let arena = Arena::new();
    let json = match parse_with_comments(&arena, text.as_bytes()) {
        Ok(parsed) => to_serde(parsed),
        Err(error) => {
            let place = place_in(file, error.line, error.column);
            report.note(at, place, &format!("specification is no JSON: {}", error.what), None);
            return None;
        }
    };
    Written::File { at: at.clone(), file, text }.template(json, report)
}

fn place_in(file: String, line: usize, column: usize) -> Place {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Place { file, line: number(line), column: number(column) }
}

/// Where a specification is written.
enum Written<'a> {
    /// In the file that names it.
    Inline(At<'a>),
    File {
        at: At<'a>,
        file: String,
        text: String,
    },
}

impl Written<'_> {
    /// Checks a specification; `None` when something is wrong.
    fn template(&self, json: Value, report: &mut Report) -> Option<Template> {
        let (template, mut found) = Template::read(json);
        found.extend(changing(&template));
        found.extend(faults(&template));
        let is_sound = found.is_empty();
        found.into_iter().for_each(|problem| self.tell(problem, report));
        is_sound.then_some(template)
    }

    /// Tells a problem at its path in the chain.
    fn tell(&self, problem: OptionProblem, report: &mut Report) {
        let (at, file, text) = match self {
            Self::Inline(at) => return report.options(at, vec![problem]),
            Self::File { at, file, text } => (at, file, text),
        };
        let operation = problem.path.first().and_then(|index| index.parse().ok());
        let keys = problem.path.iter().skip(2).map(String::as_str);
        let place = locate(text, operation, keys);
        let place = place_in(file.clone(), place.line, place.column);
        report.note(at, place, &problem.what, problem.remedy.as_deref());
    }
}

/// Placeholders that would have the specification compiled anew for each record.
fn changing(template: &Template) -> Vec<OptionProblem> {
    let placeholders = template.placeholders().iter();
    let changing = placeholders.filter(|one| matches!(one.part, Part::Offset | Part::Timestamp));
    let problem = |what: String| OptionProblem {
        path: Vec::new(),
        what: format!("specification names {what}, which is another for each record"),
        remedy: Some("put it into \"context\" and read it with ^".into()),
    };
    changing.map(|one| problem(one.name())).collect()
}

/// What is wrong with the operations that name no part of a record.
fn faults(template: &Template) -> Vec<OptionProblem> {
    let samples: Vec<String> = template.placeholders().iter().map(|one| one.sample()).collect();
    let sample = match template.fill(&samples) {
        Ok(sample) => sample,
        // Samples may be the same where values are not.
        Err(_) => return Vec::new(),
    };
    let Err(errors) = Jolt::compile(&sample) else { return Vec::new() };
    let operations = template.json().as_array().map_or(&[][..], Vec::as_slice);
    let is_certain = |error: &SpecError| {
        let operation = error.operation.and_then(|index| operations.get(index));
        operation.is_none_or(|operation| !has_placeholder(operation))
    };
    let problem = |SpecError { operation, path, what }: SpecError| {
        let below = (!path.is_empty()).then(|| "spec".to_owned());
        let operation = operation.map(|index| index.to_string());
        let path = operation.into_iter().chain(below).chain(path).collect();
        let (what, remedy) = match what.split_once("; ") {
            Some((what, remedy)) => (what.to_owned(), Some(remedy.to_owned())),
            None => (what, None),
        };
        OptionProblem { path, what, remedy }
    };
    errors.0.into_iter().filter(is_certain).map(problem).collect()
}
