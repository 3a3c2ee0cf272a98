//! The source `generate`: made-up records at a set pace.
//!
//! `every` keeps a fixed delay between two records; `rate` keeps a number of
//! records per unit of time without drift, many at a time. With a `seed` each run
//! makes the same documents; without one the data differs and numbers go on where
//! they were, so that orders are never numbered twice. [`Generator`] is the same
//! without a topic, for the command line.

mod generator;
mod pace;
mod source;

use std::sync::Arc;

use courant_model::Span;
use courant_pipeline::{
    connector::{About, OptionProblem, SourceFactory, SourceKind},
    options,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use crate::template::Template;
pub use generator::{Generator, template_names};
pub(crate) use pace::Pace;
pub use pace::{Rate, RateError, Schedule};

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "generate",
        summary: "Makes up records, at any rate; repeatable with a seed.",
        guarantee: "Every record is made once. What was made and not yet appended when the \
                    process dies is lost, and nobody misses it. With a seed, a start after a \
                    failure begins with the first record again.",
        example: "generate: { every: 1s, template: message }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `generate`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// Delay between two records: 100ms, 1s. Default: 1s, unless there is a rate.
    #[serde(default)]
    every: Option<Span>,
    /// Records per second, minute or hour: 10000/s.
    #[serde(default)]
    rate: Option<Rate>,
    /// A template's name (message, page_event, order, customer, bet), or an object
    /// with placeholders: {{uuid}}, {{int 1 10}}, {{float 1 10 2}}, {{bool 30}},
    /// {{oneof A B}}, {{sequence 1}}, {{now}}, {{millis}}, {{today}}, {{date -9 0}},
    /// {{name}}, {{first_name}}, {{last_name}}, {{email}}, {{phone}}, {{city}},
    /// {{country}}, {{street}}, {{company}}, {{word}}, {{sentence}}.
    template: Value,
    /// Ends after so many records. Default: never.
    #[serde(default)]
    count: Option<u64>,
    /// Makes every run the same. Default: different each time.
    #[serde(default)]
    seed: Option<u64>,
}

/// What the source needs, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) pace: Pace,
    pub(crate) template: Template,
    pub(crate) count: Option<u64>,
    pub(crate) seed: Option<u64>,
}

fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    Ok(Arc::new(settings(value)?))
}

fn settings(value: &Value) -> Result<Settings, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = Vec::new();
    let mut problem = |field: &str, what: &str, remedy: &str| {
        let (path, what, remedy) = (vec![field.into()], what.into(), Some(remedy.into()));
        problems.push(OptionProblem { path, what, remedy });
    };
    if options.every.is_some() && options.rate.is_some() {
        problem("rate", "there is a delay already", "keep one of every and rate");
    }
    if options.every.is_some_and(|every| every.as_duration().is_zero()) {
        problem("every", "delay is zero", "set a rate such as 100000/s");
    }
    let template = Template::read(&options.template);
    let template = template.map_err(|found| {
        problems.extend(found.into_iter().map(|mut problem| {
            problem.path.insert(0, "template".into());
            problem
        }));
    });
    let pace = match (options.rate, options.every) {
        (Some(rate), _) => Pace::Rate(rate),
        (None, Some(every)) => Pace::Every(every.as_duration()),
        (None, None) => Pace::Every(std::time::Duration::from_secs(1)),
    };
    match template {
        Ok(template) if problems.is_empty() => {
            Ok(Settings { pace, template, count: options.count, seed: options.seed })
        }
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests;
