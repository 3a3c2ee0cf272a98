//! `remove`: takes out what is named.
//!
//! Keys are literals, alternatives and stars; nothing else is special. What is to go from
//! a container goes after all keys below it have run.

use crate::{
    budget::{Budget, Fault},
    error::Report,
    java,
    key::{self, Key, java_split},
    star::Star,
    value::{Array, Object, Slot, Value, own_array, own_object},
};

/// A compiled `remove`.
#[derive(Debug)]
pub(crate) struct Remove {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: Match,
    /// `None` for what goes itself.
    below: Option<Vec<Entry>>,
}

#[derive(Debug)]
enum Match {
    Literal(Box<str>, Option<usize>),
    Star(Star),
}

impl Remove {
    pub(crate) fn compile(spec: Value<'_>, report: &mut Report) -> Option<Self> {
        match spec {
            Value::Object(spec) => entries(spec, report).map(|entries| Self { entries }),
            other => {
                report.tell(format!("a remove needs an object as its spec, not {}", other.kind()));
                None
            }
        }
    }

    pub(crate) fn apply(&self, slot: &Slot<'_>, budget: &mut Budget) -> Result<(), Fault> {
        remove(&self.entries, slot, budget)
    }
}

fn entries(spec: &Object<'_>, report: &mut Report) -> Option<Vec<Entry>> {
    let (mut entries, mut whole) = (Vec::new(), true);
    for (keys, right) in spec.iter() {
        for text in java_split(keys, '|') {
            match report.below(keys, |report| entry(text, right, report)) {
                Some(entry) => entries.push(entry),
                None => whole = false,
            }
        }
    }
    whole.then_some(entries)
}

fn entry(text: &str, right: Value<'_>, report: &mut Report) -> Option<Entry> {
    let key = match key::parse_plain(text) {
        Ok(Key::Star(star)) => Match::Star(star),
        Ok(_) => Match::Literal(text.into(), java::index(text)),
        Err(why) => {
            report.tell(why);
            return None;
        }
    };
    let below = match right {
        Value::Object(spec) => Some(entries(spec, report)?),
        Value::String(text) if text.trim().is_empty() => None,
        other => {
            report.tell(format!("what is removed is marked with \"\", not with {}", other.kind()));
            return None;
        }
    };
    Some(Entry { key, below })
}

fn remove(entries: &[Entry], slot: &Slot<'_>, budget: &mut Budget) -> Result<(), Fault> {
    budget.steps(entries.len())?;
    if let Some(object) = own_object(slot) {
        from_object(entries, object, budget)
    } else if let Some(array) = own_array(slot) {
        from_array(entries, array, budget)
    } else {
        Ok(())
    }
}

fn from_object(entries: &[Entry], object: &Object<'_>, budget: &mut Budget) -> Result<(), Fault> {
    for entry in entries {
        match (&entry.key, &entry.below) {
            (Match::Literal(key, _), Some(below)) => {
                if let Some(slot) = object.slot(key) {
                    remove(below, slot, budget)?;
                }
            }
            (Match::Star(star), Some(below)) => {
                budget.steps(object.len())?;
                for entry in object.entries().iter().filter(|entry| star.matches(entry.key())) {
                    remove(below, &entry.value, budget)?;
                }
            }
            (_, None) => budget.steps(object.len())?,
        }
    }
    let goes = |key: &str| {
        entries.iter().filter(|entry| entry.below.is_none()).any(|entry| match &entry.key {
            Match::Literal(literal, _) => **literal == *key,
            Match::Star(star) => star.matches(key),
        })
    };
    if entries.iter().any(|entry| entry.below.is_none()) {
        object.retain(|key, _| !goes(key));
    }
    Ok(())
}

fn from_array(entries: &[Entry], array: &Array<'_>, budget: &mut Budget) -> Result<(), Fault> {
    for entry in entries {
        match (&entry.key, &entry.below) {
            (Match::Literal(_, Some(index)), Some(below)) => {
                if let Some(slot) = array.slots().get(*index) {
                    remove(below, slot, budget)?;
                }
            }
            (Match::Star(Star::All), Some(below)) => {
                budget.steps(array.len())?;
                for slot in array.slots() {
                    remove(below, slot, budget)?;
                }
            }
            (_, None) => budget.steps(array.len())?,
            // Other keys do not match in an array.
            (Match::Literal(_, None) | Match::Star(_), Some(_)) => {}
        }
    }
    let goes = |index: usize| {
        entries.iter().filter(|entry| entry.below.is_none()).any(|entry| match &entry.key {
            Match::Literal(_, place) => *place == Some(index),
            Match::Star(star) => *star == Star::All,
        })
    };
    if entries.iter().any(|entry| entry.below.is_none()) {
        array.retain(|index, _| !goes(index));
    }
    Ok(())
}
