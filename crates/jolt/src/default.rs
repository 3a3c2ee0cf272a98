//! `default`: fills what is missing or null.
//!
//! Literal keys are filled first, then `a|b` and `*`, which touch only what is there. A
//! key that ends with `[]` means an array, which grows to the largest index below it.

use std::cmp::Ordering;

use crate::{
    arena::Arena,
    budget::{Budget, Fault, Run, Weight},
    error::Report,
    explain::{Action, Observer, Step},
    java,
    key::java_split,
    keys::KeyId,
    limits::INDEX_MAX,
    value::{Literal, Object, Slot, Value, own_array, own_object},
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
    id: KeyId,
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
    Value(Literal),
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
    pub(crate) fn compile(spec: Value<'_>, report: &mut Report) -> Option<Self> {
        let Value::Object(spec) = spec else {
            report.tell(format!("a default needs an object as its spec, not {}", spec.kind()));
            return None;
        };
        let object = entries(spec, false, report)?;
        let array = report.quietly(|report| array(spec, report));
        Some(Self { object, array })
    }

    pub(crate) fn apply<'x, O: Observer<'x>>(
        &'x self,
        run: Run<'x, '_, O>,
        slot: &Slot<'x>,
    ) -> Result<(), Fault> {
        let Run { arena, budget, observer } = run;
        let mut walk = Walk { arena, budget, observer };
        match slot.get() {
            Value::Array(_) => {
                let what = "input is an array; the spec's keys must be indices, \"|\" or \"*\"";
                let array = self.array.as_ref().ok_or_else(|| Fault(what.to_owned()))?;
                walk.array(array, slot)
            }
            Value::Null => {
                slot.set(arena.object());
                walk.object(&self.object, slot)
            }
            _ => walk.object(&self.object, slot),
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

fn entry(key: &str, right: Value<'_>, in_array: bool, report: &mut Report) -> Option<Entry> {
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
        Match::Either(keys, name.into())
    } else {
        Match::Literal(name.into())
    };
    if in_array && !is_of_array(&matched, report) {
        return None;
    }
    let fill = match right {
        Value::Object(spec) if is_array => Fill::Array(array(spec, report)?),
        Value::Object(spec) => Fill::Object(entries(spec, false, report)?),
        other => Fill::Value(Literal::of(other)),
    };
    Some(Entry { id: report.here(), key: matched, fill })
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

struct Walk<'x, 'r, O> {
    arena: &'x Arena,
    budget: &'r mut Budget<'x>,
    observer: &'r mut O,
}

impl<'x, O: Observer<'x>> Walk<'x, '_, O> {
    fn object(&mut self, entries: &'x [Entry], slot: &Slot<'x>) -> Result<(), Fault> {
        let Some(object) = own_object(slot) else { return Ok(()) };
        self.budget.steps(entries.len())?;
        for entry in entries {
            match &entry.key {
                Match::Literal(key) => {
                    let slot = match object.slot(key) {
                        Some(slot) => slot,
                        None => {
                            self.budget.weight(Weight { nodes: 1, text_bytes: key.len() })?;
                            object.push_new(key, Value::Null)
                        }
                    };
                    self.fill(entry, Step::Key(key), slot)?;
                }
                Match::Either(keys, _) => {
                    for key in keys {
                        if let Some(slot) = object.slot(key) {
                            self.fill(entry, Step::Key(key), slot)?;
                        }
                    }
                }
                Match::All => {
                    self.budget.steps(object.len())?;
                    for found in object.entries() {
                        self.fill(entry, Step::Key(found.key()), &found.value)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn array(&mut self, spec: &'x Array, slot: &Slot<'x>) -> Result<(), Fault> {
        let Some(array) = own_array(slot) else { return Ok(()) };
        if let Some(last) = spec.length.checked_sub(1) {
            self.budget.grow(array, last)?;
        }
        self.budget.steps(spec.entries.len())?;
        let slots = array.slots();
        for entry in &spec.entries {
            match &entry.key {
                Match::Literal(key) => {
                    let negative = || Fault(format!("index {key} of an array is negative"));
                    let index = java::index(key).ok_or_else(negative)?;
                    let slot = slots.get(index).ok_or_else(negative)?;
                    self.fill(entry, Step::Index(index), slot)?;
                }
                Match::Either(keys, _) => {
                    for index in keys.iter().filter_map(|key| java::index(key)) {
                        if let Some(slot) = slots.get(index) {
                            self.fill(entry, Step::Index(index), slot)?;
                        }
                    }
                }
                Match::All => {
                    self.budget.steps(slots.len())?;
                    for (index, slot) in slots.iter().enumerate() {
                        self.fill(entry, Step::Index(index), slot)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn fill(&mut self, entry: &'x Entry, step: Step<'x>, slot: &Slot<'x>) -> Result<(), Fault> {
        let missing = slot.get().is_null();
        self.observer.enter(step);
        match &entry.fill {
            Fill::Value(literal) => {
                if missing {
                    self.budget.weight(literal.weight())?;
                    slot.set(literal.value(self.arena));
                }
                let action = if missing { Action::Defaulted } else { Action::Kept };
                self.observer.tell(entry.id, action, Some(slot.get()));
            }
            Fill::Object(entries) => {
                if missing {
                    slot.set(self.arena.object());
                }
                let fits = matches!(slot.get(), Value::Object(_));
                let action = if fits { Action::Entered } else { Action::Kept };
                self.observer.tell(entry.id, action, None);
                self.object(entries, slot)?;
            }
            Fill::Array(array) => {
                if missing {
                    slot.set(self.arena.array(std::iter::empty()));
                }
                let fits = matches!(slot.get(), Value::Array(_));
                let action = if fits { Action::Entered } else { Action::Kept };
                self.observer.tell(entry.id, action, None);
                self.array(array, slot)?;
            }
        }
        self.observer.leave();
        Ok(())
    }
}
