//! The handler of a route: request in, records appended, answer out.
//!
//! It runs for many requests at once; only the numbering is taken in turns. A
//! request waits for the log a bounded time; then it is told to come back, with a
//! code that says that its records may or may not be there.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use courant_model::{
    Record, TopicName,
    limits::{HTTP_APPEND_MS_MAX, SEQUENCE_MAX},
};
use courant_pipeline::{
    connector::{ConnectorError, SourceContext},
    routes::{RouteHandler, RouteRequest, RouteResponse},
};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::{
    Settings,
    answer::{Refusal, success},
    body::{self, Records},
};
use crate::{
    random::Random,
    sequence::Sequence,
    template::{Params, Scene, Template},
};

/// A text with parameters in braces: `{topic}.audit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextWithParams(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Param(String),
}

/// Serves one route.
#[derive(Debug)]
pub(super) struct Handler {
    settings: Settings,
    context: SourceContext,
    random: Mutex<Random>,
    made: AtomicU64,
    numbers: Option<tokio::sync::Mutex<Sequence>>,
}

impl TextWithParams {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("parameter in {text:?} is not closed"));
            };
            if name.is_empty() {
                return Err(format!("parameter in {text:?} has no name"));
            }
            parts.extend([Part::Fixed(before.into()), Part::Param(name.into())]);
            rest = after;
        }
        parts.push(Part::Fixed(rest.into()));
        Ok(Self(parts))
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Param(name) => Some(name.as_str()),
            Part::Fixed(_) => None,
        })
    }

    /// The text with its parameters' values; the name of one that is missing.
    fn fill(&self, params: &Params) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Fixed(fixed) => text.push_str(fixed),
                Part::Param(name) => text.push_str(params.get(name).ok_or_else(|| name.clone())?),
            }
        }
        Ok(text)
    }
}

#[async_trait]
impl RouteHandler for Handler {
    async fn handle(&self, request: RouteRequest) -> RouteResponse {
        self.answer(&request).await.unwrap_or_else(|refusal| refusal.response())
    }
}

impl Handler {
    pub(super) fn new(settings: Settings, context: SourceContext) -> Self {
        let number = settings.number.as_ref();
        let numbers = number.map(|number| {
            tokio::sync::Mutex::new(Sequence::with_step(
                context.state.clone(),
                number.from,
                number.step,
            ))
        });
        let random = Mutex::new(Random::of_the_moment(&*context.clock));
        Self { settings, context, random, made: AtomicU64::new(0), numbers }
    }

    async fn answer(&self, request: &RouteRequest) -> Result<RouteResponse, Refusal> {
        let params = params(request);
        let topic = self.topic(&params)?;
        let Records { items, many } = match &self.settings.template {
            Some(template) => {
                let made = self.render(template, &params);
                Records { items: vec![(made.to_string().into(), made)], many: false }
            }
            None => {
                self.check_size(&request.body)?;
                body::read(&request.body, request.header("content-type"))?
            }
        };
        let set = self.set(&params)?;
        let now = self.context.clock.now();
        let (mut records, mut values) = (Vec::new(), Vec::new());
        for (bytes, mut value) in items {
            let changed = self.complete(&mut value, &set, &params).await?;
            let bytes = if changed { Bytes::from(value.to_string()) } else { own(&bytes, many) };
            records.push(Record::new(bytes, now));
            values.push(value);
        }
        let append = self.context.emitter.emit(topic.as_ref(), records);
        let wait = Duration::from_millis(HTTP_APPEND_MS_MAX);
        let appended = tokio::time::timeout(wait, append).await.map_err(|_| Refusal {
            status: 503,
            code: "append_not_confirmed",
            message: "the log did not answer in time; the records may be stored later".into(),
            at: None,
        })?;
        let positions = appended.map_err(|error| Refusal::of(&error, many))?;
        Ok(success(&self.settings, many, values, &positions))
    }

    fn topic(&self, params: &Params) -> Result<Option<TopicName>, Refusal> {
        let Some(topic) = &self.settings.topic else { return Ok(None) };
        let name = topic.fill(params).map_err(|name| missing(&name))?;
        let topic = TopicName::new(&name);
        topic.map(Some).map_err(|error| Refusal::bad("invalid_topic", error.to_string()))
    }

    fn check_size(&self, body: &Bytes) -> Result<(), Refusal> {
        let most = self.settings.body_bytes_max;
        if body.len() <= most {
            return Ok(());
        }
        let what = format!("body has {} bytes; {most} are allowed", body.len());
        Err(Refusal { status: 413, ..Refusal::bad("body_too_large", what) })
    }

    fn set(&self, params: &Params) -> Result<Vec<(&str, String)>, Refusal> {
        let filled = self.settings.set.iter().map(|(field, text)| {
            text.fill(params).map(|text| (field.as_str(), text)).map_err(|name| missing(&name))
        });
        filled.collect()
    }

    fn render(&self, template: &Template, params: &Params) -> Value {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let now = self.context.clock.now();
        template.render(&mut Scene { random: &mut self.random.lock(), now, number, params })
    }

    /// Adds what a record lacks; answers whether anything was added.
    async fn complete(
        &self,
        value: &mut Value,
        set: &[(&str, String)],
        params: &Params,
    ) -> Result<bool, Refusal> {
        let Value::Object(fields) = value else { return Ok(false) };
        let mut changed = !set.is_empty();
        for (field, text) in set {
            fields.insert((*field).into(), text.as_str().into());
        }
        if let Some(defaults) = &self.settings.defaults
            && let Value::Object(defaults) = self.render(defaults, params)
        {
            for (field, default) in defaults {
                if !fields.contains_key(&field) {
                    fields.insert(field, default);
                    changed = true;
                }
            }
        }
        if let (Some(number), Some(numbers)) = (&self.settings.number, &self.numbers) {
            changed |= assign(fields, &number.field, &mut *numbers.lock().await).await?;
        }
        Ok(changed)
    }
}

/// Gives a record its number where it has none; answers whether it did.
async fn assign(
    fields: &mut Map<String, Value>,
    name: &str,
    numbers: &mut Sequence,
) -> Result<bool, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => {
            let taken = numbers.take(1).await.map_err(|error| unavailable(&error))?;
            put_first(fields, name, taken.into());
            Ok(true)
        }
        Some(given) => {
            let Some(given) = given.as_u64() else { return Ok(false) };
            if given > SEQUENCE_MAX {
                let what = format!("field {name:?} is {given}; {SEQUENCE_MAX} is the largest");
                return Err(Refusal::bad("number_too_large", what));
            }
            numbers.pass(given).await.map_err(|error| unavailable(&error))?;
            Ok(false)
        }
    }
}

/// Path parameters, and those of the query whose names the path does not have.
fn params(request: &RouteRequest) -> Params {
    let mut params: Params = request.query.iter().cloned().collect();
    params.extend(request.params.clone());
    params
}

/// A record of several is copied, so that it does not keep the whole body in memory.
fn own(bytes: &Bytes, many: bool) -> Bytes {
    if many { Bytes::copy_from_slice(bytes) } else { bytes.clone() }
}

/// Puts a field before the others, where people look for a number.
fn put_first(fields: &mut Map<String, Value>, name: &str, value: Value) {
    fields.shift_remove(name);
    fields.shift_insert(0, name.into(), value);
}

fn missing(name: &str) -> Refusal {
    Refusal::bad("missing_parameter", format!("parameter {name:?} is missing; add ?{name}=…"))
}

fn unavailable(error: &ConnectorError) -> Refusal {
    Refusal { status: 503, ..Refusal::bad("storage_error", error.to_string()) }
}
