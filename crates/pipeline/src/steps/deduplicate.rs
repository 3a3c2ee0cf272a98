//! The `deduplicate` step: an event passes once within a time.
//!
//! It remembers when it saw each value first, by the clock of its context, in the
//! order of seeing; what is older than `within`, or beyond `keys_max`, is forgotten
//! from the oldest on. Its memory is stored with the position of the partition, so a
//! restart forgets nothing. It knows its own partition only: key the topic by the same
//! fields where duplicates may arrive in different ones.

use std::collections::{HashMap, HashSet, VecDeque};

use courant_model::{Origin, Span, json::FieldPath, limits::STORE_KEY_BYTES_MAX};
use serde_json::Value;

use super::{Place, StateChange, StateEntry, Step, StepContext, StepOutput};
use crate::event::Event;

#[derive(Debug)]
pub(super) struct DeduplicateStep {
    place: Place,
    by: Vec<FieldPath>,
    within_micros: i64,
    keys_max: usize,
    seen: HashMap<Vec<u8>, Origin>,
    /// The keys of `seen`, oldest first.
    order: VecDeque<(Origin, Vec<u8>)>,
    changed: HashSet<Vec<u8>>,
}

impl DeduplicateStep {
    pub(super) fn new(place: Place, by: &[FieldPath], within: Span, keys_max: usize) -> Self {
        let within_micros = i64::try_from(within.as_duration().as_micros()).unwrap_or(i64::MAX);
        Self {
            place,
            by: by.to_vec(),
            within_micros,
            keys_max: keys_max.max(1),
            seen: HashMap::new(),
            order: VecDeque::new(),
            changed: HashSet::new(),
        }
    }

    /// The compared values as JSON; a missing field counts as null.
    fn key_of(&self, event: &Event) -> Result<Vec<u8>, String> {
        let document = event.payload.json().map_err(|error| error.to_string())?;
        let values: Vec<&Value> =
            self.by.iter().map(|field| field.get(document).unwrap_or(&Value::Null)).collect();
        let key = serde_json::to_vec(&values).map_err(|error| error.to_string())?;
        if key.len() > STORE_KEY_BYTES_MAX {
            let found = key.len();
            return Err(format!(
                "values to compare have {found} bytes; {STORE_KEY_BYTES_MAX} are allowed"
            ));
        }
        Ok(key)
    }

    fn is_new(&mut self, key: Vec<u8>, now: Origin) -> bool {
        self.forget(now);
        if self.seen.contains_key(&key) {
            return false;
        }
        if self.seen.len() >= self.keys_max {
            self.forget_oldest();
        }
        self.seen.insert(key.clone(), now);
        self.order.push_back((now, key.clone()));
        self.changed.insert(key);
        true
    }

    fn forget(&mut self, now: Origin) {
        while self.order.front().is_some_and(|(at, _)| at.age_micros(now) >= self.within_micros) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.seen.remove(&key);
            self.changed.insert(key);
        }
    }
}

impl Step for DeduplicateStep {
    fn run(&mut self, context: &StepContext, events: Vec<Event>) -> StepOutput {
        let mut output = StepOutput::default();
        for event in events {
            if event.payload.is_null() {
                output.passed.push(event);
                continue;
            }
            match self.key_of(&event).map(|key| self.is_new(key, context.now)) {
                Ok(true) => output.passed.push(event),
                Ok(false) => {}
                Err(why) => output.rejected.push(self.place.reject(event, why)),
            }
        }
        output
    }

    fn restore(&mut self, entries: Vec<StateEntry>) {
        let read = |(key, value): StateEntry| {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            Some((Origin::from_micros(micros), key))
        };
        self.order = entries.into_iter().filter_map(read).collect();
        self.order.make_contiguous().sort();
        self.seen = self.order.iter().map(|(at, key)| (key.clone(), *at)).collect();
        self.changed.clear();
    }

    fn take_changes(&mut self) -> Vec<StateChange> {
        let value =
            |key: &Vec<u8>| self.seen.get(key).map(|at| at.as_micros().to_be_bytes().to_vec());
        self.changed.drain().map(|key| StateChange { value: value(&key), key }).collect()
    }
}
