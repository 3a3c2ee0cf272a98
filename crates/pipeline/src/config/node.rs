//! YAML as a tree in which everything knows its place.
//!
//! The parser's events become nodes: scalars, lists, maps, each with file, line and
//! column, aliases copied in. Bounds hold here already (depth, nodes, one document,
//! distinct keys), so that whoever walks the tree may recurse. Scalars keep their
//! text until somebody asks for JSON: variables are put in between. What the keys
//! mean is nobody's business here.

use std::{collections::HashMap, fmt, sync::Arc};

use courant_model::{
    Place,
    limits::{CONFIG_NODES_MAX, NESTING_MAX},
};
use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// A file's name, as problems show it, and its text.
#[derive(Debug)]
pub(crate) struct SourceText {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A place in a file; lines and columns count from 1.
#[derive(Clone)]
pub(crate) struct Spot {
    pub(crate) source: Arc<SourceText>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Spot {
    pub(crate) fn place(&self) -> Place {
        Place { file: self.source.name.clone(), line: self.line, column: self.column }
    }
}

impl fmt::Debug for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place())
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) spot: Spot,
    pub(crate) yaml: Yaml,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Yaml {
    Scalar(Scalar),
    List(Vec<Node>),
    /// Keys are distinct.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_spot: Spot,
    pub(crate) node: Node,
}

/// A text that may mean a number, a boolean or nothing when it is plain.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) style: Style,
    /// Variables whose values are part of the text: name and value. Never printed.
    pub(crate) variables: Vec<(String, String)>,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// Why a text is no tree.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) what: String,
    pub(crate) remedy: Option<String>,
}

impl Node {
    /// Reads a whole file. Repeated keys are told and the first one stays.
    ///
    /// # Errors
    /// The first fault after which no tree is left.
    pub(crate) fn parse(source: &Arc<SourceText>) -> (Option<Self>, Vec<Fault>) {
        let mut builder = Builder::new(source);
        let root = match builder.run() {
            Ok(root) => root,
            Err(fault) => {
                builder.faults.push(fault);
                None
            }
        };
        (root, builder.faults)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.yaml {
            Yaml::Map(entries) => entries,
            Yaml::Scalar(_) | Yaml::List(_) => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.yaml, Yaml::Scalar(scalar) if scalar.json().is_null())
    }

    /// The text of a scalar, whatever it means.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.yaml {
            Yaml::Scalar(scalar) => Some(&scalar.text),
            Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    /// The value under YAML 1.2's core schema.
    pub(crate) fn json(&self) -> Value {
        match &self.yaml {
            Yaml::Scalar(scalar) => scalar.json(),
            Yaml::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            Yaml::Map(entries) => {
                let field = |entry: &Entry| (entry.key.clone(), entry.node.json());
                Value::Object(entries.iter().map(field).collect::<Map<_, _>>())
            }
        }
    }

    /// The place of a line and column (from 1) of a scalar's text, as near as the
    /// way it is written allows: exact in block literals and on one line.
    pub(crate) fn place_within(&self, line: u32, column: u32) -> Place {
        let start = self.spot.place();
        let Yaml::Scalar(scalar) = &self.yaml else { return start };
        let source: Vec<&str> = self.spot.source.text.lines().collect();
        let row = |number: u32| source.get(number.saturating_sub(1) as usize).copied();
        let indent = |text: &str| text.chars().take_while(|c| *c == ' ').count() as u32;
        if !scalar.variables.is_empty() || line == 0 || column == 0 {
            return start;
        }
        if scalar.style == Style::Literal {
            let blank = scalar.text.chars().take_while(|c| *c == '\n').count() as u32;
            let line = (start.line + line).saturating_sub(1 + blank);
            return Place { line, column: start.column + column - 1, ..start };
        }
        let quote = u32::from(scalar.style == Style::Quoted);
        let (mut number, mut skip) = (start.line, start.column - 1 + quote);
        let mut left = column - 1;
        while let (1, Some(text)) = (line, row(number)) {
            skip = skip.max(indent(text));
            let length = (text.trim_end().chars().count() as u32).saturating_sub(skip);
            if left <= length {
                return Place { line: number, column: skip + left + 1, ..start };
            }
            left -= length + 1;
            (number, skip) = (number + 1, 0);
        }
        start
    }
}

impl Scalar {
    /// The value under YAML 1.2's core schema. `.inf` and `.nan`, which JSON lacks,
    /// stay texts.
    pub(crate) fn json(&self) -> Value {
        if self.style != Style::Plain {
            return Value::String(self.text.clone());
        }
        match self.text.as_str() {
            "" if !self.variables.is_empty() => Value::String(String::new()),
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            text => number(text).map_or_else(|| Value::String(text.into()), Value::Number),
        }
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let plain = text.strip_prefix('+').unwrap_or(text);
        let signed = plain.parse::<i64>().map(Number::from);
        if let Ok(number) = signed.or_else(|_| plain.parse::<u64>().map(Number::from)) {
            return Some(number);
        }
    }
    let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
    if !unsigned.chars().all(allowed) {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}

/// A node that aliases may copy, with its size.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    spot: Spot,
    anchor: usize,
    nodes: usize,
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Spot)> },
}

struct Builder<'a> {
    source: &'a Arc<SourceText>,
    faults: Vec<Fault>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Arc<SourceText>) -> Self {
        Self {
            source,
            faults: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            root: None,
        }
    }

    fn run(&mut self) -> Result<Option<Node>, Fault> {
        let mut options = granit_parser::options! {
            flow_nesting_limit: NESTING_MAX,
            block_nesting_limit: NESTING_MAX,
        };
        options.set_emit_comments(false);
        for event in Parser::new_from_str_with_options(&self.source.text, options) {
            let (event, span) = event.map_err(|error| {
                let spot = self.spot(error.marker().line(), error.marker().col());
                fault(&spot, format!("file is not valid YAML: {}", lower_first(&error.info())))
            })?;
            self.event(event, &span)?;
        }
        Ok(self.root.take())
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let spot = self.spot(span.start.line(), span.start.col());
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema()) {
            let what = format!("unknown tag {:?}", tag.original());
            let remedy = "leave it out: a file has plain YAML values only";
            let at = span.tag_start().map(|tag| self.spot(tag.line(), tag.col()));
            let place = at.as_ref().unwrap_or(&spot).place();
            self.faults.push(Fault { place, what, remedy: Some(remedy.into()) });
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(fault(&spot, "file holds a second document; remove the line \"---\"".into()))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_string = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let style = match style {
                    ScalarStyle::Plain if is_string => Style::Quoted,
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                    _ => Style::Quoted,
                };
                let scalar = Scalar { text: text.into_owned(), style, variables: Vec::new() };
                self.count(1, &spot)?;
                self.add(Node { spot, yaml: Yaml::Scalar(scalar) }, anchor, 1, 0)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.start(spot, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => {
                self.start(spot, anchor, Content::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, &spot),
            _ => Ok(()),
        }
    }

    fn start(&mut self, spot: Spot, anchor: usize, content: Content) -> Result<(), Fault> {
        if self.open.len() >= NESTING_MAX {
            return Err(too_deep(&spot));
        }
        self.count(1, &spot)?;
        self.open.push(Open { spot, anchor, nodes: 1, height: 1, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open { spot, anchor, nodes, height, content }) = self.open.pop() else {
            return Ok(());
        };
        let yaml = match content {
            Content::List(items) => Yaml::List(items),
            Content::Map { entries, .. } => Yaml::Map(entries),
        };
        self.add(Node { spot, yaml }, anchor, nodes, height)
    }

    fn alias(&mut self, anchor: usize, spot: &Spot) -> Result<(), Fault> {
        let Some(Anchored { node, nodes, height }) = self.anchors.get(&anchor) else {
            return Err(fault(spot, "alias stands within its own anchor".into()));
        };
        if self.open.len() + height > NESTING_MAX {
            return Err(too_deep(spot));
        }
        let (nodes, height) = (*nodes, *height);
        let node = node.clone();
        self.count(nodes, spot)?;
        self.add(node, 0, nodes, height)
    }

    fn count(&mut self, nodes: usize, spot: &Spot) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > CONFIG_NODES_MAX { Err(too_many(spot)) } else { Ok(()) }
    }

    /// Puts a finished node into the innermost open list or map, or at the root.
    fn add(&mut self, node: Node, anchor: usize, nodes: usize, height: usize) -> Result<(), Fault> {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, height });
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.nodes += nodes;
        parent.height = parent.height.max(height + 1);
        match &mut parent.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key } => match key.take() {
                Some((key, key_spot)) => match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => {
                        let first = first.key_spot.place();
                        let mut repeated = fault(&key_spot, format!("key {key:?} is repeated"));
                        repeated.remedy = Some(format!("it is there already at {first}"));
                        self.faults.push(repeated);
                    }
                    None => entries.push(Entry { key, key_spot, node }),
                },
                None => match node.text() {
                    Some(text) => *key = Some((text.to_owned(), node.spot)),
                    None => {
                        return Err(fault(&node.spot, "key is a list or map; write a text".into()));
                    }
                },
            },
        }
        Ok(())
    }

    /// The parser counts lines from 1 and columns from 0.
    fn spot(&self, line: usize, column: usize) -> Spot {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Spot { source: Arc::clone(self.source), line: count(line), column: count(column + 1) }
    }
}

fn too_deep(spot: &Spot) -> Fault {
    fault(spot, format!("file is nested deeper than {NESTING_MAX} levels"))
}

fn too_many(spot: &Spot) -> Fault {
    fault(spot, format!("file has more than {CONFIG_NODES_MAX} values, aliases included"))
}

fn fault(spot: &Spot, message: String) -> Fault {
    let (what, remedy) = match message.split_once("; ") {
        Some((what, remedy)) => (what.to_owned(), Some(remedy.to_owned())),
        None => (message, None),
    };
    Fault { place: spot.place(), what, remedy }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
