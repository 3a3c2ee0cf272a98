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
    value::{Object, Value},
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
    pub(crate) fn compile(spec: &Value<'_>, report: &mut Report) -> Option<Self> {
        match spec {
            Value::Object(spec) => entries(spec, report).map(|entries| Self { entries }),
            other => {
                report.tell(format!("a remove needs an object as its spec, not {}", other.kind()));
                None
            }
        }
    }

    pub(crate) fn apply(&self, value: &mut Value<'_>, budget: &mut Budget) -> Result<(), Fault> {
        remove(&self.entries, value, budget)
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

fn entry(text: &str, right: &Value<'_>, report: &mut Report) -> Option<Entry> {
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

fn remove(entries: &[Entry], value: &mut Value<'_>, budget: &mut Budget) -> Result<(), Fault> {
    match value {
        Value::Object(object) => from_object(entries, object, budget),
        Value::Array(items) => from_array(entries, items, budget),
        _ => Ok(()),
    }
}

fn from_object(
    entries: &[Entry],
    object: &mut Object<'_>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let (mut literals, mut stars) = (Vec::new(), Vec::new());
    for entry in entries {
        budget.steps(1)?;
        match (&entry.key, &entry.below) {
            (Match::Literal(key, _), Some(below)) => {
                if let Some(value) = object.get_mut(key) {
                    remove(below, value, budget)?;
                }
            }
            (Match::Star(star), Some(below)) => {
                budget.steps(object.len())?;
                for (key, value) in object.values_mut() {
                    if star.matches(key) {
                        remove(below, value, budget)?;
                    }
                }
            }
            (Match::Literal(key, _), None) => literals.push(&**key),
            (Match::Star(star), None) => {
                budget.steps(object.len())?;
                stars.push(star);
            }
        }
    }
    if !literals.is_empty() || !stars.is_empty() {
        let goes =
            |key: &str| literals.contains(&key) || stars.iter().any(|star| star.matches(key));
        object.retain(|key, _| !goes(key));
    }
    Ok(())
}

fn from_array(
    entries: &[Entry],
    items: &mut Vec<Value<'_>>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let mut gone = Vec::new();
    for entry in entries {
        budget.steps(1)?;
        match (&entry.key, &entry.below) {
            (Match::Literal(_, Some(index)), Some(below)) => {
                if let Some(item) = items.get_mut(*index) {
                    remove(below, item, budget)?;
                }
            }
            (Match::Literal(_, Some(index)), None) => gone.push(*index),
            (Match::Star(Star::All), Some(below)) => {
                budget.steps(items.len())?;
                for item in items.iter_mut() {
                    remove(below, item, budget)?;
                }
            }
            (Match::Star(Star::All), None) => gone.extend(0..items.len()),
            // Other keys do not match in an array.
            (Match::Literal(_, None) | Match::Star(_), _) => {}
        }
    }
    if !gone.is_empty() {
        gone.sort_unstable();
        let mut index = 0;
        items.retain(|_| {
            index += 1;
            gone.binary_search(&(index - 1)).is_err()
        });
    }
    Ok(())
}
