//! `remove`: takes out what is named.
//!
//! Keys are literals, alternatives and stars; nothing else is special. What is to go from
//! a container goes after all keys below it have run.

use crate::{
    budget::{Budget, Fault, Run},
    error::Report,
    explain::{Action, Observer, Step},
    java,
    key::{self, Key, java_split},
    keys::KeyId,
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
    id: KeyId,
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

    pub(crate) fn apply<'x, O: Observer<'x>>(
        &'x self,
        run: Run<'x, '_, O>,
        slot: &Slot<'x>,
    ) -> Result<(), Fault> {
        let Run { budget, observer, .. } = run;
        Walk { budget, observer }.remove(&self.entries, slot)
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
    Some(Entry { id: report.here(), key, below })
}

impl Entry {
    fn is_of(&self, key: &str) -> bool {
        match &self.key {
            Match::Literal(literal, _) => **literal == *key,
            Match::Star(star) => star.matches(key),
        }
    }

    /// Whether it means this item of an array; of the stars only the bare one does.
    fn is_at(&self, index: usize) -> bool {
        match &self.key {
            Match::Literal(_, place) => *place == Some(index),
            Match::Star(star) => *star == Star::All,
        }
    }
}

struct Walk<'x, 'r, O> {
    budget: &'r mut Budget<'x>,
    observer: &'r mut O,
}

impl<'x, O: Observer<'x>> Walk<'x, '_, O> {
    fn remove(&mut self, entries: &'x [Entry], slot: &Slot<'x>) -> Result<(), Fault> {
        self.budget.steps(entries.len())?;
        if let Some(object) = own_object(slot) {
            self.in_object(entries, object)
        } else if let Some(array) = own_array(slot) {
            self.in_array(entries, array)
        } else {
            Ok(())
        }
    }

    fn in_object(&mut self, entries: &'x [Entry], object: &'x Object<'x>) -> Result<(), Fault> {
        for entry in entries {
            match (&entry.key, &entry.below) {
                (Match::Literal(key, _), Some(below)) => {
                    if let Some(slot) = object.slot(key) {
                        self.enter(entry, below, Step::Key(key), slot)?;
                    }
                }
                (Match::Star(star), Some(below)) => {
                    self.budget.steps(object.len())?;
                    for found in object.entries().iter().filter(|found| star.matches(found.key())) {
                        self.enter(entry, below, Step::Key(found.key()), &found.value)?;
                    }
                }
                (_, None) => self.budget.steps(object.len())?,
            }
        }
        let goes = |key: &str| leaves(entries).find(|entry| entry.is_of(key));
        if leaves(entries).next().is_some() {
            object.retain(|key, value| match goes(key) {
                Some(entry) => self.goes(entry, Step::Key(key), value),
                None => true,
            });
        }
        Ok(())
    }

    fn in_array(&mut self, entries: &'x [Entry], array: &'x Array<'x>) -> Result<(), Fault> {
        for entry in entries {
            match (&entry.key, &entry.below) {
                (Match::Literal(_, Some(index)), Some(below)) => {
                    if let Some(slot) = array.slots().get(*index) {
                        self.enter(entry, below, Step::Index(*index), slot)?;
                    }
                }
                (Match::Star(Star::All), Some(below)) => {
                    self.budget.steps(array.len())?;
                    for (index, slot) in array.slots().iter().enumerate() {
                        self.enter(entry, below, Step::Index(index), slot)?;
                    }
                }
                (_, None) => self.budget.steps(array.len())?,
                // Other keys do not match in an array.
                (Match::Literal(_, None) | Match::Star(_), Some(_)) => {}
            }
        }
        let goes = |index: usize| leaves(entries).find(|entry| entry.is_at(index));
        if leaves(entries).next().is_some() {
            array.retain(|index, item| match goes(index) {
                Some(entry) => self.goes(entry, Step::Index(index), item),
                None => true,
            });
        }
        Ok(())
    }

    fn enter(
        &mut self,
        entry: &Entry,
        below: &'x [Entry],
        step: Step<'x>,
        slot: &Slot<'x>,
    ) -> Result<(), Fault> {
        self.observer.enter(step);
        self.observer.tell(entry.id, Action::Entered, None);
        self.remove(below, slot)?;
        self.observer.leave();
        Ok(())
    }

    /// Tells that something goes; answers that it does not stay.
    fn goes(&mut self, entry: &Entry, step: Step<'x>, value: Value<'x>) -> bool {
        self.observer.enter(step);
        self.observer.tell(entry.id, Action::Removed, Some(value));
        self.observer.leave();
        false
    }
}

/// The entries whose values go themselves.
fn leaves(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.below.is_none())
}
