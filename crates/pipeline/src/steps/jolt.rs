//! The `jolt` step: each document, or one field of it, transformed by a specification.
//!
//! A whole document goes from bytes to bytes without a tree of its own. Where the
//! specification names parts of the record it is compiled for each of their values, and
//! kept while it is used. A document that nothing matched is rejected, unless the step
//! says `split`, where it makes no events, as an empty list does.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use courant_jolt::{Arena, Jolt, from_serde, parse, to_vec};
use courant_model::limits::{JOLT_PLACEHOLDER_BYTES_MAX, JOLT_SPECS_KEPT, SPLIT_ITEMS_MAX};
use serde_json::Value;

use super::{Place, Step, StepContext, StepError, StepOutput, split::Parts};
use crate::{
    event::{Event, Payload},
    plan::JoltPlan,
    template::Template,
};

#[derive(Debug)]
pub(super) struct JoltStep {
    place: Place,
    plan: JoltPlan,
    specs: Specs,
    /// Memory for the documents of a `split`.
    arena: Arena,
}

impl JoltStep {
    /// Compiles at once where the specification names no part of the record.
    pub(super) fn new(place: Place, plan: &JoltPlan) -> Result<Self, StepError> {
        let mut specs = Specs::new(plan.spec.clone());
        if plan.spec.placeholders().is_empty()
            && let Err(why) = specs.get(Vec::new())
        {
            return Err(StepError { step: place.label.to_string(), why });
        }
        Ok(Self { place, plan: plan.clone(), specs, arena: Arena::new() })
    }

    fn payloads(&mut self, event: &Event) -> Result<Vec<Payload>, String> {
        let values = self.plan.spec.values(event)?;
        let jolt = self.specs.get(values)?;
        let context = match &self.plan.context {
            Some(context) => Some(context.fill(&context.values(event)?)?),
            None => None,
        };
        let context = context.as_ref();
        match (&self.plan.field, self.plan.split) {
            (None, false) => whole(&jolt, event, context).map(|payload| vec![payload]),
            (None, true) => {
                let payloads = parts(&jolt, &self.arena, event, context);
                self.arena.reset();
                payloads
            }
            (Some(_), split) => self.field(&jolt, event, context, split),
        }
    }

    /// The document with what became of one field; with `split`, once for each item.
    fn field(
        &self,
        jolt: &Jolt,
        event: &Event,
        context: Option<&Value>,
        split: bool,
    ) -> Result<Vec<Payload>, String> {
        let Some(field) = &self.plan.field else { return Ok(Vec::new()) };
        let document = event.payload.json().map_err(|error| error.to_string())?;
        let found = field.get(document).ok_or_else(|| format!("field \"{field}\" is missing"))?;
        let output = jolt.transform_with(found.clone(), context).map_err(|e| e.to_string())?;
        let items = match output {
            Value::Array(items) if split => items,
            Value::Null if split => Vec::new(),
            Value::Null => return Err(format!("nothing of field \"{field}\" was matched")),
            other => vec![other],
        };
        check_items(items.len())?;
        let with = |item: Value| {
            let mut document = document.clone();
            if let Some(place) = field.get_mut(&mut document) {
                *place = item;
            }
            Payload::from_json(document)
        };
        Ok(items.into_iter().map(with).collect())
    }
}

/// From bytes to bytes.
fn whole(jolt: &Jolt, event: &Event, context: Option<&Value>) -> Result<Payload, String> {
    let input = event.payload.bytes().unwrap_or_default();
    let mut output = Vec::with_capacity(input.len());
    jolt.transform_into(&input, context, &mut output).map_err(|error| error.to_string())?;
    if output == b"null" {
        return Err("nothing of the document was matched".into());
    }
    Ok(Payload::from_bytes(Bytes::from(output)))
}

/// One document for each item of a list; anything else is one document.
fn parts(
    jolt: &Jolt,
    arena: &Arena,
    event: &Event,
    context: Option<&Value>,
) -> Result<Vec<Payload>, String> {
    let input = event.payload.bytes().unwrap_or_default();
    let input = parse(arena, &input).map_err(|error| format!("input is no JSON: {error}"))?;
    let context = context.map(|context| from_serde(arena, context));
    let output = jolt.apply(arena, input, context).map_err(|error| error.to_string())?;
    let payload = |value| Payload::from_bytes(Bytes::from(to_vec(value)));
    match output {
        courant_jolt::Value::Array(items) => {
            check_items(items.len())?;
            Ok(items.iter().map(payload).collect())
        }
        courant_jolt::Value::Null => Ok(Vec::new()),
        other => Ok(vec![payload(other)]),
    }
}

fn check_items(found: usize) -> Result<(), String> {
    if found > SPLIT_ITEMS_MAX {
        return Err(format!("result has {found} items; {SPLIT_ITEMS_MAX} are allowed"));
    }
    Ok(())
}

impl Step for JoltStep {
    fn run(&mut self, _: &StepContext, events: Vec<Event>) -> StepOutput {
        let mut output =
            StepOutput { passed: Vec::with_capacity(events.len()), ..StepOutput::default() };
        let mut parts = Parts::default();
        for mut event in events {
            if event.payload.is_null() {
                output.passed.push(event);
                continue;
            }
            match self.payloads(&event) {
                Ok(payloads) if self.plan.split => {
                    output
                        .passed
                        .extend(payloads.into_iter().map(|payload| parts.of(&event, payload)));
                }
                Ok(payloads) => output.passed.extend(payloads.into_iter().next().map(|payload| {
                    event.payload = payload;
                    event
                })),
                Err(why) => output.rejected.push(self.place.reject(event, why)),
            }
        }
        output
    }
}

/// The specification, compiled for the values that records have at its placeholders.
#[derive(Debug)]
struct Specs {
    template: Template,
    /// By those values; what cannot be compiled is remembered, too.
    compiled: HashMap<Vec<String>, Compiled>,
    uses: u64,
}

#[derive(Debug)]
struct Compiled {
    jolt: Result<Arc<Jolt>, String>,
    /// Number of its last use.
    used: u64,
}

impl Specs {
    fn new(template: Template) -> Self {
        Self { template, compiled: HashMap::new(), uses: 0 }
    }

    fn get(&mut self, values: Vec<String>) -> Result<Arc<Jolt>, String> {
        self.uses += 1;
        if let Some(found) = self.compiled.get_mut(&values) {
            found.used = self.uses;
            return found.jolt.clone();
        }
        self.check(&values)?;
        if self.compiled.len() >= JOLT_SPECS_KEPT {
            let oldest = self.compiled.iter().min_by_key(|(_, one)| one.used);
            if let Some(values) = oldest.map(|(values, _)| values.clone()) {
                self.compiled.remove(&values);
            }
        }
        let jolt = self.compile(&values);
        self.compiled.insert(values, Compiled { jolt: jolt.clone(), used: self.uses });
        jolt
    }

    fn check(&self, values: &[String]) -> Result<(), String> {
        let mut named = self.template.placeholders().iter().zip(values);
        match named.find(|(_, value)| value.len() > JOLT_PLACEHOLDER_BYTES_MAX) {
            None => Ok(()),
            Some((placeholder, value)) => {
                let (name, bytes) = (placeholder.name(), value.len());
                Err(format!(
                    "{name} has {bytes} bytes; a specification takes {JOLT_PLACEHOLDER_BYTES_MAX}"
                ))
            }
        }
    }

    fn compile(&self, values: &[String]) -> Result<Arc<Jolt>, String> {
        let jolt = Jolt::compile(&self.template.fill(values)?);
        jolt.map(Arc::new).map_err(|errors| format!("specification cannot be used: {errors}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_specification_that_was_not_used_for_longest_is_forgotten() {
        let spec = json!([{ "operation": "shift", "spec": { "a": "${key}" } }]);
        let mut specs = Specs::new(Template::new(spec).unwrap());
        let mut get = |n: usize| specs.get(vec![format!("k{n}")]).unwrap();
        let first = get(0);
        (1..JOLT_SPECS_KEPT).for_each(|n| drop(get(n)));
        assert!(Arc::ptr_eq(&first, &get(0)));
        get(JOLT_SPECS_KEPT);
        assert!(Arc::ptr_eq(&first, &get(0)), "the second was older");
        assert_eq!(specs.compiled.len(), JOLT_SPECS_KEPT);
        assert!(!specs.compiled.contains_key(&vec!["k1".to_owned()]));
    }

    #[test]
    fn a_value_that_makes_no_specification_is_told_each_time() {
        let spec = json!([{ "operation": "shift", "spec": { "a": "b.${key}" } }]);
        let mut specs = Specs::new(Template::new(spec).unwrap());
        for _ in 0..2 {
            let why = specs.get(vec!["*".into()]).unwrap_err();
            assert!(
                why.starts_with("specification cannot be used: operation 0 > \"a\": "),
                "{why}"
            );
        }
        let why = specs.get(vec!["x".repeat(2_000)]).unwrap_err();
        assert_eq!(why, "the record's key has 2000 bytes; a specification takes 1024");
    }
}
