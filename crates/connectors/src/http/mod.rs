//! The source `http`: records that arrive as requests.
//!
//! A request brings one record, a list, or JSON lines ([`body`]), or asks for one to
//! be made from a template. All of a request is appended or nothing; the answer
//! ([`answer`]) comes when it is durable. The server that listens is not here: the
//! source puts a route into the table and takes it out when it stops. Beside it stands
//! the lookup `http` ([`lookup`]), which asks other servers.

mod answer;
mod body;
mod lookup;
mod route;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use courant_model::{ByteSize, TopicName, limits::HTTP_BODY_BYTES_MAX};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use crate::template::Template;
pub(crate) use lookup::LOOKUP;
use route::{Handler, TextWithParams};

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "http",
        summary: "Takes records as HTTP requests: one, a list, or JSON lines.",
        guarantee: "All or nothing: a success is answered when every record of the request is \
                    durable; after a refusal none was appended. After a lost connection or a \
                    503 the client cannot know and may send again: at least once.",
        example: "http: { method: POST, path: /orders }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `http`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The method. Default: POST; GET needs a template.
    #[serde(default)]
    method: Method,
    /// The route; names in braces are parameters: /publish/{topic}/{name}.
    #[schemars(length(min = 1))]
    path: String,
    /// Another topic than that of "to", with parameters: "{topic}".
    #[serde(default)]
    topic: Option<String>,
    /// Largest body. Default and most: 32MiB.
    #[serde(default)]
    max_body: Option<ByteSize>,
    /// What a success carries. Default: stored; with a template: record.
    #[serde(default)]
    answer: Option<Answer>,
    /// Makes the record instead of taking it from the body: a template's name or an
    /// object; {{param name}} is a parameter of the path or the query.
    #[serde(default)]
    template: Option<Value>,
    /// Fields that every record gets; {name} is a parameter of the path or the query.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Fields that a record gets where it lacks them: an object, with placeholders.
    #[serde(default)]
    defaults: Option<Value>,
    /// A field that gets a number of its own where a record lacks it.
    #[serde(default)]
    number: Option<Number>,
}

/// Methods that can bring records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    #[default]
    Post,
    Put,
}

/// What a success carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The records as stored, and their positions.
    Stored,
    /// The positions alone.
    Positions,
    /// The record as stored, or the list of them, and nothing else.
    Record,
}

/// A field that is numbered.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Number {
    /// The field.
    #[schemars(length(min = 1))]
    field: String,
    /// The first number. Default: 1. A crash may leave gaps, never repeats; after a
    /// record that brings a larger number of its own, larger ones are given.
    #[serde(default = "one")]
    from: u64,
    /// From one number to the next. Default: 1. For n servers, which know nothing of each
    /// other: step n, and from 1 to n.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    step: u64,
}

const fn one() -> u64 {
    1
}

impl Method {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What the route needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    method: Method,
    path: String,
    topic: Option<TextWithParams>,
    body_bytes_max: usize,
    answer: Answer,
    template: Option<Template>,
    set: Vec<(String, TextWithParams)>,
    defaults: Option<Template>,
    number: Option<Number>,
}

fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut checks = Checks::default();
    let params = checks.path(&options.path);
    let topic = options.topic.as_ref().map(|topic| checks.topic(topic, &params));
    let mut set = Vec::new();
    for (field, text) in &options.set {
        match TextWithParams::read(text) {
            Ok(text) => set.push((field.clone(), text)),
            Err(why) => checks.problem(&["set", field], &why, "write {name}"),
        }
    }
    let template = checks.template("template", options.template.as_ref());
    let defaults = checks.template("defaults", options.defaults.as_ref());
    if options.method == Method::Get && options.template.is_none() {
        checks.problem(&["method"], "a GET brings no record", "add a template, or use POST");
    }
    let body_bytes_max = options.max_body.map_or(HTTP_BODY_BYTES_MAX, ByteSize::as_usize);
    if body_bytes_max > HTTP_BODY_BYTES_MAX || body_bytes_max == 0 {
        let remedy = format!("set 1B to {}", ByteSize::from_bytes(HTTP_BODY_BYTES_MAX as u64));
        checks.problem(&["max_body"], "size is out of bounds", &remedy);
    }
    if !checks.0.is_empty() {
        return Err(checks.0);
    }
    let usual = if template.is_some() { Answer::Record } else { Answer::Stored };
    Ok(Arc::new(Settings {
        method: options.method,
        path: options.path,
        topic: topic.flatten(),
        body_bytes_max,
        answer: options.answer.unwrap_or(usual),
        template,
        set,
        defaults,
        number: options.number,
    }))
}

/// Gathers what is wrong with options.
#[derive(Debug, Default)]
struct Checks(Vec<OptionProblem>);

impl Checks {
    fn problem(&mut self, path: &[&str], what: &str, remedy: &str) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        self.0.push(OptionProblem { path, what: what.into(), remedy: Some(remedy.into()) });
    }

    /// Checks a route; answers its parameters.
    fn path(&mut self, path: &str) -> BTreeSet<String> {
        if !path.starts_with('/') {
            self.problem(&["path"], "path does not start with /", "write a path such as /orders");
        } else if let Err(error) = matchit::Router::new().insert(path, ()) {
            let what = format!("path is no route: {error}");
            self.problem(&["path"], &what, "write a path such as /publish/{topic}/{name}");
        }
        let names = path.split('{').skip(1).filter_map(|part| part.split('}').next());
        names.map(|name| name.trim_start_matches('*').to_owned()).collect()
    }

    fn topic(&mut self, text: &str, params: &BTreeSet<String>) -> Option<TextWithParams> {
        let topic = match TextWithParams::read(text) {
            Ok(topic) => topic,
            Err(why) => {
                self.problem(&["topic"], &why, "write a topic, or {name}");
                return None;
            }
        };
        if let Some(unknown) = topic.params().find(|name| !params.contains(*name)) {
            let what = format!("path has no parameter {unknown:?}");
            self.problem(&["topic"], &what, &format!("put {{{unknown}}} into the path"));
        } else if topic.params().next().is_none()
            && let Err(error) = TopicName::new(text)
        {
            self.problem(&["topic"], &error.to_string(), "write a topic's name");
        }
        Some(topic)
    }

    fn template(&mut self, field: &str, value: Option<&Value>) -> Option<Template> {
        match Template::read(value?) {
            Ok(template) => Some(template),
            Err(found) => {
                self.0.extend(found.into_iter().map(|mut problem| {
                    problem.path.insert(0, field.into());
                    problem
                }));
                None
            }
        }
    }
}

impl SourceFactory for Settings {
    fn routes(&self) -> Vec<(String, String)> {
        vec![(self.method.as_str().into(), self.path.clone())]
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(Listening { settings: self.clone(), context }))
    }
}

#[derive(Debug)]
struct Listening {
    settings: Settings,
    context: SourceContext,
}

#[async_trait]
impl Source for Listening {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let Self { settings, context } = *self;
        let (routes, stop) = (context.routes.clone(), context.stop.clone());
        let (method, path) = (settings.method.as_str(), settings.path.clone());
        let handler = Arc::new(Handler::new(settings, context));
        let _route = routes
            .add(method, &path, handler)
            .map_err(|error| ConnectorError::fatal(error.to_string()))?;
        stop.cancelled().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
