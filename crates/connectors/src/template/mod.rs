//! Templates: documents with placeholders for made-up or given values.
//!
//! `{"id": "{{uuid}}", "n": "{{int 1 10}}", "by": "{{param name}}"}`. A text that is
//! one placeholder alone takes the value with its type, so `"{{int 1 10}}"` becomes
//! a number; within a longer text it becomes text. Names such as `page_event` stand
//! for the templates of [`builtin`]. A template is checked when it is read, so
//! rendering cannot fail; it depends on its [`Scene`] alone.

mod builtin;
mod placeholder;

use std::collections::BTreeMap;

use courant_model::{Timestamp, limits::NESTING_MAX};
use courant_pipeline::connector::OptionProblem;
use serde_json::{Map, Value};

use crate::random::Random;
pub(crate) use builtin::{BUILT_IN, BuiltIn};
use placeholder::Placeholder;

/// Named values that a template may use, such as a path's.
pub(crate) type Params = BTreeMap<String, String>;

/// A template that was read.
#[derive(Debug, Clone)]
pub(crate) enum Template {
    BuiltIn(BuiltIn),
    Inline(Node),
}

/// What a rendering depends on.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) now: Timestamp,
    /// Number of the document, from 0.
    pub(crate) number: u64,
    pub(crate) params: &'a Params,
}

/// A part of an inline template.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Fixed(Value),
    /// One placeholder alone: its value keeps its type.
    Typed(Placeholder),
    Text(Vec<Part>),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// A piece of a text.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Fixed(String),
    Made(Placeholder),
}

impl Template {
    /// Reads a template: the name of a built-in one, or an object.
    ///
    /// # Errors
    /// All problems, with their paths within the value.
    pub(crate) fn read(value: &Value) -> Result<Self, Vec<OptionProblem>> {
        if let Value::String(name) = value {
            return BuiltIn::named(name).map(Self::BuiltIn).ok_or_else(|| {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                let near = courant_model::problem::nearest(name, names.iter().copied());
                let remedy = near.map_or_else(
                    || format!("use one of {}, or write an object", names.join(", ")),
                    |near| format!("did you mean {near:?}?"),
                );
                vec![OptionProblem {
                    path: Vec::new(),
                    what: format!("unknown template {name:?}"),
                    remedy: Some(remedy),
                }]
            });
        }
        let mut reader = Reader { path: Vec::new(), problems: Vec::new() };
        let node = reader.node(value);
        if !value.is_object() {
            reader.problem("template is no object", "write an object, or a template's name");
        }
        if reader.problems.is_empty() { Ok(Self::Inline(node)) } else { Err(reader.problems) }
    }

    /// Makes a document.
    pub(crate) fn render(&self, scene: &mut Scene<'_>) -> Value {
        match self {
            Self::BuiltIn(built_in) => built_in.render(scene),
            Self::Inline(node) => node.render(scene),
        }
    }
}

impl Node {
    fn render(&self, scene: &mut Scene<'_>) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Typed(placeholder) => placeholder.render(scene),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Fixed(fixed) => text.push_str(fixed),
                        Part::Made(placeholder) => match placeholder.render(scene) {
                            Value::String(made) => text.push_str(&made),
                            made => text.push_str(&made.to_string()),
                        },
                    }
                }
                Value::String(text)
            }
            Self::List(items) => items.iter().map(|item| item.render(scene)).collect(),
            Self::Object(fields) => {
                let fields = fields.iter().map(|(name, node)| (name.clone(), node.render(scene)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

/// Reads an inline template and gathers what is wrong with it.
struct Reader {
    path: Vec<String>,
    problems: Vec<OptionProblem>,
}

impl Reader {
    fn node(&mut self, value: &Value) -> Node {
        if self.path.len() > NESTING_MAX {
            self.problem("template is nested too deep", "make it flatter");
            return Node::Fixed(Value::Null);
        }
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                Node::List(
                    items.map(|(index, item)| self.inside(index.to_string(), item)).collect(),
                )
            }
            Value::Object(fields) => {
                let fields = fields.iter();
                let read = |(name, field): (&String, &Value)| {
                    (name.clone(), self.inside(name.clone(), field))
                };
                Node::Object(fields.map(read).collect())
            }
            fixed => Node::Fixed(fixed.clone()),
        }
    }

    fn inside(&mut self, name: String, value: &Value) -> Node {
        self.path.push(name);
        let node = self.node(value);
        self.path.pop();
        node
    }

    fn text(&mut self, text: &str) -> Node {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((inner, after)) = after.split_once("}}") else {
                self.problem("placeholder is not closed", "end it with }}");
                break;
            };
            if !before.is_empty() {
                parts.push(Part::Fixed(before.into()));
            }
            match Placeholder::read(inner) {
                Ok(placeholder) => parts.push(Part::Made(placeholder)),
                Err((what, remedy)) => self.problem(&what, &remedy),
            }
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Fixed(rest.into()));
        }
        match parts.as_slice() {
            [Part::Made(placeholder)] => Node::Typed(placeholder.clone()),
            [Part::Fixed(_)] | [] => Node::Fixed(text.into()),
            _ => Node::Text(parts),
        }
    }

    fn problem(&mut self, what: &str, remedy: &str) {
        self.problems.push(OptionProblem {
            path: self.path.clone(),
            what: what.into(),
            remedy: Some(remedy.into()),
        });
    }
}

#[cfg(test)]
mod tests;
