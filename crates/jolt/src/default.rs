//! `default`: fills what is missing or null.
//!
//! Literal keys are filled first, then `a|b` and `*`, which touch only what is there. A
//! key that ends with `[]` means an array, which grows to the largest index below it.

use std::cmp::Ordering;

use crate::{
    budget::{Budget, Fault},
    error::Report,
    java,
    key::java_split,
    limits::INDEX_MAX,
    value::{Object, Text, Value},
};

/// A compiled `default`.
#[derive(Debug)]
pub(crate) struct Default {
    object: Vec<Entry>,
    /// The same read as an array; `None` where its keys are none of an array's.
    array: Option<Array>,
}

#[derive(Debug)]
struct Entry {
    key: Match,
    fill: Fill,
}

#[derive(Debug)]
enum Match {
    Literal(Box<str>),
    /// In the order of their number, then of the key as it is written.
    Either(Vec<Box<str>>, Box<str>),
    All,
}

#[derive(Debug)]
enum Fill {
    Value(Value<'static>),
    Object(Vec<Entry>),
    Array(Array),
}

#[derive(Debug)]
struct Array {
    /// It has at least this many items.
    length: usize,
    entries: Vec<Entry>,
}

impl Default {
    pub(crate) fn compile(spec: &Value<'_>, report: &mut Report) -> Option<Self> {
        let Value::Object(spec) = spec else {
            report.tell(format!("a default needs an object as its spec, not {}", spec.kind()));
            return None;
        };
        let object = entries(spec, false, report)?;
        let mut ignored = Report::default();
        let array = array(spec, &mut ignored);
        Some(Self { object, array })
    }

    pub(crate) fn apply<'x>(
        &'x self,
        value: &mut Value<'x>,
        budget: &mut Budget,
    ) -> Result<(), Fault> {
        if value.is_null() {
            *value = Value::Object(Object::new());
        }
        match value {
            Value::Array(_) => {
                let array = self.array.as_ref().ok_or_else(|| {
                    Fault(
                        "input is an array; the spec's keys must be indices, \"|\" or \"*\""
                            .to_owned(),
                    )
                })?;
                fill_array(array, value, budget)
            }
            value => fill_object(&self.object, value, budget),
        }
    }

    pub(crate) fn deepens(&self) -> usize {
        depth(&self.object)
    }
}

fn depth(entries: &[Entry]) -> usize {
    let deep = |entry: &Entry| match &entry.fill {
        Fill::Value(value) => 1 + value.depth(),
        Fill::Object(entries) => 1 + depth(entries),
        Fill::Array(array) => 1 + depth(&array.entries),
    };
    entries.iter().map(deep).max().unwrap_or(0)
}

fn entries(spec: &Object<'_>, in_array: bool, report: &mut Report) -> Option<Vec<Entry>> {
    let mut whole = true;
    let mut entries = Vec::with_capacity(spec.len());
    for (key, right) in spec.iter() {
        match report.below(key, |report| entry(key, right, in_array, report)) {
            Some(entry) => entries.push(entry),
            None => whole = false,
        }
    }
    entries.sort_by(|a, b| before(&a.key, &b.key));
    whole.then_some(entries)
}

/// Literals, then those with the fewest alternatives, then the star.
fn before(a: &Match, b: &Match) -> Ordering {
    let class = |key: &Match| match key {
        Match::Literal(_) => 0,
        Match::Either(..) => 1,
        Match::All => 2,
    };
    match (a, b) {
        (Match::Either(a, a_key), Match::Either(b, b_key)) => {
            a.len().cmp(&b.len()).then_with(|| java::compare(a_key, b_key))
        }
        (a, b) => class(a).cmp(&class(b)),
    }
}

fn entry(key: &str, right: &Value<'_>, in_array: bool, report: &mut Report) -> Option<Entry> {
    let is_array = key.ends_with("[]");
    let name = if is_array { key.replace("[]", "") } else { key.to_owned() };
    let matched = if name.contains('*') {
        if name != "*" {
            report.tell("a default's key can be \"*\" alone, not a part of it");
            return None;
        }
        Match::All
    } else if name.contains('|') {
        let keys = java_split(&name, '|').into_iter().map(Into::into).collect();
        Match::Either(keys, name.clone().into())
    } else {
        Match::Literal(name.into())
    };
    if in_array && !is_of_array(&matched, report) {
        return None;
    }
    let fill = match right {
        Value::Object(spec) if is_array => Fill::Array(array(spec, report)?),
        Value::Object(spec) => Fill::Object(entries(spec, false, report)?),
        other => Fill::Value(other.clone().into_owned()),
    };
    Some(Entry { key: matched, fill })
}

fn is_of_array(key: &Match, report: &mut Report) -> bool {
    let keys: Vec<&str> = match key {
        Match::All => Vec::new(),
        Match::Literal(key) => vec![key],
        Match::Either(keys, _) => keys.iter().map(|key| &**key).collect(),
    };
    let wrong = keys.iter().find(|key| java::parse_int(key).is_none());
    if let Some(wrong) = wrong {
        report.tell(format!("{wrong:?} is no index, and an array has nothing else"));
    }
    let large = keys.iter().find(|key| java::index(key).is_some_and(|index| index > INDEX_MAX));
    if let Some(large) = large {
        report.tell(format!("index {large} is too large; {INDEX_MAX} is the most"));
    }
    wrong.is_none() && large.is_none()
}

fn array(spec: &Object<'_>, report: &mut Report) -> Option<Array> {
    let entries = entries(spec, true, report)?;
    let length = entries.iter().filter_map(|entry| match &entry.key {
        Match::Literal(key) => java::index(key).map(|index| index + 1),
        Match::Either(..) | Match::All => None,
    });
    let length = length.max().unwrap_or(0);
    Some(Array { length, entries })
}

fn fill_object<'x>(
    entries: &'x [Entry],
    value: &mut Value<'x>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let Value::Object(object) = value else { return Ok(()) };
    for entry in entries {
        budget.steps(1)?;
        match &entry.key {
            Match::Literal(key) => {
                let place = match object.place(key) {
                    Some(place) => place,
                    None => {
                        budget.nodes(1)?;
                        object.push_new(Text::Borrowed(key), Value::Null)
                    }
                };
                if let Some(value) = object.at_mut(place) {
                    fill(&entry.fill, value, budget)?;
                }
            }
            Match::Either(keys, _) => {
                for key in keys {
                    if let Some(value) = object.get_mut(key) {
                        fill(&entry.fill, value, budget)?;
                    }
                }
            }
            Match::All => {
                budget.steps(object.len())?;
                for (_, value) in object.values_mut() {
                    fill(&entry.fill, value, budget)?;
                }
            }
        }
    }
    Ok(())
}

fn fill_array<'x>(
    array: &'x Array,
    value: &mut Value<'x>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let Value::Array(items) = value else { return Ok(()) };
    if let Some(last) = array.length.checked_sub(1) {
        budget.grow(items, last)?;
    }
    for entry in &array.entries {
        budget.steps(1)?;
        match &entry.key {
            Match::Literal(key) => {
                let item = java::index(key).and_then(|index| items.get_mut(index));
                let negative = || Fault(format!("index {key} of an array is negative"));
                fill(&entry.fill, item.ok_or_else(negative)?, budget)?;
            }
            Match::Either(keys, _) => {
                for key in keys {
                    if let Some(item) = java::index(key).and_then(|index| items.get_mut(index)) {
                        fill(&entry.fill, item, budget)?;
                    }
                }
            }
            Match::All => {
                budget.steps(items.len())?;
                for item in items.iter_mut() {
                    fill(&entry.fill, item, budget)?;
                }
            }
        }
    }
    Ok(())
}

fn fill<'x>(fill: &'x Fill, value: &mut Value<'x>, budget: &mut Budget) -> Result<(), Fault> {
    match fill {
        Fill::Value(wanted) => {
            if value.is_null() {
                budget.nodes(wanted.nodes())?;
                *value = wanted.borrowed();
            }
            Ok(())
        }
        Fill::Object(entries) => {
            if value.is_null() {
                *value = Value::Object(Object::new());
            }
            fill_object(entries, value, budget)
        }
        Fill::Array(array) => {
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            fill_array(array, value, budget)
        }
    }
}
