//! The `split` step: one event for each item of a list.
//!
//! Each part keeps the key, headers, time and origin of the whole, and gets a number
//! of its own, so that the default id stays one per part. An empty list makes no
//! events. The list itself never travels with its parts: that would be quadratic.

use courant_model::{Offset, json::FieldPath, limits::SPLIT_ITEMS_MAX};
use serde_json::{Map, Value};

use super::{Place, Step, StepContext, StepOutput};
use crate::event::{Event, Payload};

#[derive(Debug)]
pub(super) struct SplitStep {
    pub(super) place: Place,
    pub(super) field: FieldPath,
    /// Where each item goes within what is left of the document; `None`: the item is
    /// the document.
    pub(super) into: Option<FieldPath>,
}

impl Step for SplitStep {
    fn run(&mut self, _: &StepContext, events: Vec<Event>) -> StepOutput {
        let mut output = StepOutput::default();
        let mut parts = Parts::default();
        for event in events {
            if event.payload.is_null() {
                output.passed.push(event);
                continue;
            }
            match self.documents(&event) {
                Ok(documents) => output.passed.extend(
                    documents
                        .into_iter()
                        .map(|document| parts.of(&event, Payload::from_json(document))),
                ),
                Err(why) => output.rejected.push(self.place.reject(event, why)),
            }
        }
        output
    }
}

/// Numbers the parts of each record. They are neighbours, also when it was split before.
#[derive(Debug, Default)]
pub(super) struct Parts {
    of: Option<Offset>,
    next: u32,
}

impl Parts {
    /// The next part of an event's record.
    pub(super) fn of(&mut self, event: &Event, payload: Payload) -> Event {
        if self.of != Some(event.source.offset) {
            *self = Self { of: Some(event.source.offset), next: 0 };
        }
        let part = self.next;
        self.next += 1;
        Event { part, payload, ..event.clone() }
    }
}

impl SplitStep {
    fn documents(&self, event: &Event) -> Result<Vec<Value>, String> {
        let document = event.payload.json().map_err(|error| error.to_string())?;
        let items = match self.field.get(document) {
            Some(Value::Array(items)) => items,
            found => {
                return Err(format!("field \"{}\" is {}, not a list", self.field, kind(found)));
            }
        };
        if items.len() > SPLIT_ITEMS_MAX {
            let (field, found) = (&self.field, items.len());
            return Err(format!(
                "field \"{field}\" has {found} items; {SPLIT_ITEMS_MAX} are allowed"
            ));
        }
        let Some(into) = &self.into else { return Ok(items.clone()) };
        let mut rest = document.clone();
        remove(&mut rest, self.field.segments());
        items
            .iter()
            .map(|item| {
                let mut part = rest.clone();
                put(&mut part, into.segments(), item.clone()).then_some(part).ok_or_else(|| {
                    format!("field \"{into}\" lies within a value that is no object")
                })
            })
            .collect()
    }
}

/// Takes the value at a path out of a document; through objects only.
fn remove(document: &mut Value, path: &[String]) {
    match (document, path) {
        (Value::Object(fields), [last]) => {
            fields.shift_remove(last);
        }
        (Value::Object(fields), [first, rest @ ..]) => {
            if let Some(inner) = fields.get_mut(first) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

/// Puts a value at a path, making objects on the way; `false` where another kind of
/// value stands in it.
pub(crate) fn put(document: &mut Value, path: &[String], value: Value) -> bool {
    let Value::Object(fields) = document else { return false };
    match path {
        [] => false,
        [last] => {
            fields.insert(last.clone(), value);
            true
        }
        [first, rest @ ..] => {
            let inner = fields.entry(first.as_str()).or_insert_with(|| Value::Object(Map::new()));
            put(inner, rest, value)
        }
    }
}

fn kind(found: Option<&Value>) -> &'static str {
    match found {
        None => "missing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a text",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}
