//! Collects what is wrong, each problem with its place and without secrets.
//!
//! [`At`] is a finger on a value of the file: the node, the place to name (its
//! key's, where it has one) and its path. [`Report`] takes problems about it. A
//! variable's value never appears: where a message would show it, the variable's
//! name stands instead.

use courant_model::{Place, Problem, Problems};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::node::{Node, Spot, Yaml};
use crate::{connector::OptionProblem, options};

/// A value of the file, its place and its path.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    pub(crate) node: &'a Node,
    pub(crate) spot: &'a Spot,
    /// `pipelines.orders.steps[1]`
    pub(crate) path: String,
}

impl<'a> At<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        Self { node, spot: &node.spot, path: String::new() }
    }

    /// The value of a key; `None` where there is none, or no map.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        let entry = self.node.entry(key)?;
        Some(Self { node: &entry.node, spot: &entry.key_spot, path: self.join(key) })
    }

    /// All keys with their values, in order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a str, Self)> {
        self.node.entries().iter().map(|entry| {
            let path = self.join(&entry.key);
            (entry.key.as_str(), Self { node: &entry.node, spot: &entry.key_spot, path })
        })
    }

    /// The items of a list; none where it is no list.
    pub(crate) fn items(&self) -> impl Iterator<Item = Self> {
        let items: &'a [Node] = match &self.node.yaml {
            Yaml::List(items) => items,
            Yaml::Scalar(_) | Yaml::Map(_) => &[],
        };
        items.iter().enumerate().map(|(index, node)| {
            let path = format!("{}[{index}]", self.path);
            Self { node, spot: &node.spot, path }
        })
    }

    /// The value at a path of names and indices, as deep as it exists.
    fn descend(&self, path: &[String]) -> Self {
        let mut at = self.clone();
        for segment in path {
            let item = segment.parse().ok().and_then(|index| at.items().nth(index));
            match at.get(segment).or(item) {
                Some(deeper) => at = deeper,
                None => break,
            }
        }
        at
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Everything found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Problems,
}

impl Report {
    /// Notes a problem with a value.
    pub(crate) fn at(&mut self, at: &At<'_>, what: impl AsRef<str>, remedy: &str) {
        let remedy = Some(remedy).filter(|remedy| !remedy.is_empty());
        self.note(at, at.spot.place(), what.as_ref(), remedy);
    }

    /// Notes a problem at a place within a value.
    pub(crate) fn note(&mut self, at: &At<'_>, place: Place, what: &str, remedy: Option<&str>) {
        let mut secrets = Vec::new();
        variables(at.node, &mut secrets);
        let what = hide(what, &secrets);
        let remedy = remedy.map(|remedy| hide(remedy, &secrets));
        self.problems.push(Problem { place, path: at.path.clone(), what, remedy });
    }

    /// Notes a problem with a message of the form `what; remedy`.
    pub(crate) fn message(&mut self, at: &At<'_>, message: &str) {
        let (what, remedy) = message.split_once("; ").unwrap_or((message, ""));
        self.at(at, what, remedy);
    }

    /// Notes a problem that no value stands for.
    pub(crate) fn elsewhere(&mut self, place: Place, what: String, remedy: Option<String>) {
        self.problems.push(Problem { place, path: String::new(), what, remedy });
    }

    /// Notes problems whose paths start at a value.
    pub(crate) fn options(&mut self, at: &At<'_>, found: Vec<OptionProblem>) {
        for OptionProblem { path, what, remedy } in found {
            let inner = at.descend(&path);
            let whole = At { path: inner.path, ..at.clone() };
            self.note(&whole, inner.spot.place(), &what, remedy.as_deref());
        }
    }

    /// Reads a value into a type. What does not fit is noted and, where it can be,
    /// left out, so that the rest is still checked; else the answer is `None`.
    pub(crate) fn read<T: DeserializeOwned + JsonSchema>(&mut self, at: &At<'_>) -> Option<T> {
        let mut value = at.node.json();
        let found = match options::parse(&value) {
            Ok(read) => return Some(read),
            Err(found) => found,
        };
        let pruned = found.iter().all(|problem| prune(&mut value, &problem.path));
        self.options(at, found);
        if pruned { options::parse(&value).ok() } else { None }
    }

    pub(crate) fn into_result(self) -> Result<(), Problems> {
        self.problems.into_result()
    }
}

/// Removes the innermost key on a path; `false` where there is none.
fn prune(value: &mut Value, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match value {
        Value::Object(fields) => {
            let Some(inner) = fields.get_mut(first) else { return true };
            if !prune(inner, rest) {
                fields.shift_remove(first);
            }
            true
        }
        Value::Array(items) => {
            let item = first.parse().ok().and_then(|index: usize| items.get_mut(index));
            item.is_some_and(|item| prune(item, rest))
        }
        _ => false,
    }
}

fn variables(node: &Node, into: &mut Vec<(String, String)>) {
    match &node.yaml {
        Yaml::Scalar(scalar) => into.extend(scalar.variables.iter().cloned()),
        Yaml::List(items) => items.iter().for_each(|item| variables(item, into)),
        Yaml::Map(entries) => entries.iter().for_each(|entry| variables(&entry.node, into)),
    }
}

/// Puts variables' names where their values would show. Where a part of a value is
/// left (it was cut or escaped), the whole text goes.
fn hide(text: &str, secrets: &[(String, String)]) -> String {
    let mut hidden = text.to_owned();
    for (name, value) in secrets.iter().filter(|(_, value)| !value.is_empty()) {
        hidden = hidden.replace(value, &format!("${{{name}}}"));
        if shows_part(&hidden, value) {
            return format!("the value of ${{{name}}} does not fit here");
        }
    }
    hidden
}

/// Whether four characters in a row of a value are there; fewer tell nothing.
fn shows_part(text: &str, value: &str) -> bool {
    const TELLING: usize = 4;
    let chars: Vec<char> = value.chars().collect();
    chars.windows(TELLING).any(|part| text.contains(&part.iter().collect::<String>()))
}
