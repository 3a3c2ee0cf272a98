//! Between two segments of a pipeline: what an event asks, and what an answer makes of it.
//!
//! The synchronous half of the step `lookup`; who carries questions outside (the runtime)
//! or answers them from a test's file (the driver) stands elsewhere. Order is kept: events
//! are settled in the order in which they came, whenever their answers did.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    connector::Answer,
    core::CoreOutput,
    event::{Event, Payload},
    plan::{LookupPlan, OnMissing},
    steps::{Place, put},
};

/// A `lookup` step at its place.
#[derive(Debug)]
pub(crate) struct LookupStage {
    pub(crate) place: Place,
    pub(crate) plan: Arc<LookupPlan>,
}

/// What an event asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// The values of the parameters.
    Question(Vec<Value>),
    /// Nothing: the event goes on as it is.
    Nothing,
    /// A value is missing, so there is nothing to find.
    Missing,
    /// It cannot ask.
    Refused(String),
}

impl LookupStage {
    /// What an event asks. A tombstone has no fields and asks nothing.
    pub(crate) fn asked(&self, event: &Event) -> Asked {
        if event.payload.is_null() {
            return Asked::Nothing;
        }
        let document = match event.payload.json() {
            Ok(document) => document,
            Err(error) => return Asked::Refused(error.to_string()),
        };
        let mut question = Vec::new();
        for field in self.plan.parameters() {
            match field.get(document) {
                None | Some(Value::Null) => return Asked::Missing,
                Some(Value::Array(_) | Value::Object(_)) => {
                    let why =
                        format!("field \"{field}\" is no text, number or boolean to ask with");
                    return Asked::Refused(why);
                }
                Some(value) => question.push(value.clone()),
            }
        }
        Asked::Question(question)
    }

    /// Takes an event on with the answer to what it asked; `answer` is only looked at
    /// where there was a question.
    pub(crate) fn settle(
        &self,
        event: Event,
        asked: Asked,
        answer: Option<&Answer>,
        output: &mut CoreOutput,
    ) {
        let found = match (asked, answer) {
            (Asked::Nothing, _) => return output.events.push(event),
            (Asked::Refused(why), _) => {
                return output.rejected.push(self.place.reject(event, why));
            }
            (Asked::Question(_), Some(Answer::Refused(why))) => {
                return output.rejected.push(self.place.reject(event, why.clone()));
            }
            (Asked::Question(_), Some(Answer::Found(items))) => self.found(items),
            (Asked::Question(_) | Asked::Missing, _) => None,
        };
        let value = match (found, self.plan.on_missing) {
            (Some(found), _) => found,
            (None, OnMissing::Null) => Value::Null,
            (None, OnMissing::Keep) => return output.events.push(event),
            (None, OnMissing::Skip) => return,
            (None, OnMissing::Reject) => {
                let why = format!("nothing was found in {} for it", self.plan.source);
                return output.rejected.push(self.place.reject(event, why));
            }
        };
        match self.with(&event, value) {
            Ok(payload) => output.events.push(Event { payload, ..event }),
            Err(why) => output.rejected.push(self.place.reject(event, why)),
        }
    }

    /// The value of an answer; `None` where nothing was found.
    fn found(&self, items: &[Value]) -> Option<Value> {
        if self.plan.many {
            return Some(Value::Array(items.to_vec()));
        }
        items.first().cloned()
    }

    fn with(&self, event: &Event, value: Value) -> Result<Payload, String> {
        let into = &self.plan.into;
        let document = event.payload.to_object().map_err(|error| error.to_string())?;
        let mut document = Value::Object(document);
        if !put(&mut document, into.segments(), value) {
            return Err(format!("field \"{into}\" lies within a value that is no object"));
        }
        Ok(Payload::from_json(document))
    }
}
