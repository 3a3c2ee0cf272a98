//! The `key` step: a field's value becomes the record's key.
//!
//! The key decides the partition of whatever topic comes after. Scalars become their
//! text; a document without the field is rejected, because a silent null key would
//! lose its order among its kind.

use bytes::Bytes;
use courant_model::json::{FieldPath, scalar_text};
use serde_json::Value;

use super::{Place, Step, StepContext, StepOutput};
use crate::event::Event;

#[derive(Debug)]
pub(super) struct KeyStep {
    pub(super) place: Place,
    /// `None` takes the key away.
    pub(super) field: Option<FieldPath>,
}

impl Step for KeyStep {
    fn run(&mut self, _: &StepContext, events: Vec<Event>) -> StepOutput {
        let mut output = StepOutput::default();
        for mut event in events {
            match &self.field {
                None => event.key = None,
                Some(_) if event.payload.is_null() => {}
                Some(field) => match key_of(&event, field) {
                    Ok(key) => event.key = Some(key),
                    Err(why) => {
                        output.rejected.push(self.place.reject(event, why));
                        continue;
                    }
                },
            }
            output.passed.push(event);
        }
        output
    }
}

fn key_of(event: &Event, field: &FieldPath) -> Result<Bytes, String> {
    let document = event.payload.json().map_err(|error| error.to_string())?;
    scalar_at(document, field, "a key").map(Bytes::from)
}

/// The text of the scalar at a field, for keys and ids; `role` says for which.
///
/// # Errors
/// What was found instead.
pub(crate) fn scalar_at(document: &Value, field: &FieldPath, role: &str) -> Result<String, String> {
    let found = field.get(document);
    found.and_then(scalar_text).ok_or_else(|| {
        let found = match found {
            None => "missing",
            Some(Value::Null) => "null",
            Some(Value::Array(_)) => "a list",
            Some(_) => "an object",
        };
        format!("field \"{field}\" is {found}; {role} needs a text, number or boolean")
    })
}
