//! Reads a connector's options, or any part of the file, and finds *everything*
//! wrong with them.
//!
//! A type says what it takes twice over: as `Deserialize` and, by derive, as a JSON
//! Schema. The schema is walked first, because serde stops at its first error and
//! the walk does not; what it lets pass is deserialised. Every object is closed:
//! a key that the schema does not name is refused. Texts with a grammar of their
//! own (spans, sizes, field paths) are parsed during the walk, for their better
//! words. Values are quoted in messages; hiding secrets is the caller's work.

use courant_model::{
    ByteSize, ColumnType, Span, TopicName, json::FieldPath, limits::NESTING_MAX, problem::nearest,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    config::texts::{ColumnText, DurabilityText, RetentionTime},
    connector::OptionProblem,
};

/// Reads options into `T`. No options at all (null) are an empty object.
///
/// # Errors
/// All problems, each with its path within the options: unknown and missing keys,
/// wrong types, unknown words, numbers out of range, texts that do not parse.
pub fn parse<T: DeserializeOwned + JsonSchema>(value: &Value) -> Result<T, Vec<OptionProblem>> {
    let empty = Value::Object(Map::new());
    let value = if value.is_null() { &empty } else { value };
    let found = check(schemars::schema_for!(T).as_value(), value);
    if !found.is_empty() {
        return Err(found);
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().iter().filter_map(segment).collect();
        vec![problem(path, &error.into_inner().to_string())]
    })
}

/// Compares a value with a schema as schemars derives them; empty when it fits.
pub(crate) fn check(schema: &Value, value: &Value) -> Vec<OptionProblem> {
    let mut walk = Walk { root: schema, path: Vec::new(), found: Vec::new() };
    walk.value(schema, value);
    walk.found
}

/// Parses a text and says what is wrong with it.
type Grammar = fn(&str) -> Result<(), String>;

/// Texts with a grammar: name of their definition in the schema, and their parser.
const GRAMMARS: [(&str, Grammar); 8] = [
    ("ByteSize", parses::<ByteSize>),
    ("ColumnText", parses::<ColumnText>),
    ("ColumnType", parses::<ColumnType>),
    ("DurabilityText", parses::<DurabilityText>),
    ("FieldPath", parses::<FieldPath>),
    ("RetentionTime", parses::<RetentionTime>),
    ("Span", parses::<Span>),
    ("TopicName", parses::<TopicName>),
];

fn parses<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(|_| ()).map_err(|error| error.to_string())
}

fn segment(segment: &serde_path_to_error::Segment) -> Option<String> {
    match segment {
        serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
        serde_path_to_error::Segment::Map { key } => Some(key.clone()),
        _ => None,
    }
}

/// Splits a message of the form `what; remedy`.
fn problem(path: Vec<String>, message: &str) -> OptionProblem {
    let (what, remedy) = match message.split_once("; ") {
        Some((what, remedy)) => (what.into(), Some(remedy.into())),
        None => (message.into(), None),
    };
    OptionProblem { path, what, remedy }
}

struct Walk<'a> {
    root: &'a Value,
    path: Vec<String>,
    found: Vec<OptionProblem>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value) {
        if self.path.len() > NESTING_MAX {
            return self.report(format!("value is nested deeper than {NESTING_MAX} levels"), None);
        }
        let Some(mut schema) = schema.as_object() else { return };
        if let Some(name) = definition_name(schema) {
            let grammar = GRAMMARS.iter().find(|(grammar, _)| *grammar == name);
            if let (Some((_, parse)), Some(text)) = (grammar, value.as_str()) {
                if let Err(message) = parse(text) {
                    self.found.push(problem(self.path.clone(), &message));
                }
                return;
            }
            match self.definition(name).and_then(Value::as_object) {
                Some(definition) => schema = definition,
                None => return,
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = schema.get(keyword).and_then(Value::as_array) {
                self.branches(branches, value);
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(part, value);
        }
        if self.has_type(schema, value) && self.is_known_word(schema, value) {
            match value {
                Value::Object(fields) => self.object(schema, fields),
                Value::Array(items) => self.list(schema, items),
                Value::String(text) => self.text(schema, text),
                Value::Number(_) => self.number(schema, value),
                Value::Null | Value::Bool(_) => {}
            }
        }
    }

    fn has_type(&mut self, schema: &Map<String, Value>, value: &Value) -> bool {
        let Some(types) = schema.get("type") else { return true };
        if type_names(types).any(|name| is_of_type(name, value)) {
            return true;
        }
        let wanted: Vec<&str> =
            type_names(types).filter(|name| *name != "null").map(in_words).collect();
        let remedy = schema.get("description").and_then(Value::as_str).map(in_passing);
        self.report(format!("expected {}, found {}", wanted.join(" or "), in_short(value)), remedy);
        false
    }

    fn is_known_word(&mut self, schema: &Map<String, Value>, value: &Value) -> bool {
        let known: Vec<&Value> = match (schema.get("enum"), schema.get("const")) {
            (Some(Value::Array(known)), _) => known.iter().collect(),
            (_, Some(known)) => vec![known],
            _ => return true,
        };
        if known.contains(&value) {
            return true;
        }
        let words: Vec<&str> = known.iter().filter_map(|word| word.as_str()).collect();
        self.unknown_word(value, &words);
        false
    }

    fn unknown_word(&mut self, value: &Value, words: &[&str]) {
        let remedy = suggest(value.as_str().unwrap_or_default(), "use one of", words);
        self.report(format!("unknown value {}", in_short(value)), remedy);
    }

    fn object(&mut self, schema: &'a Map<String, Value>, fields: &Map<String, Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        let composed = ["allOf", "anyOf", "oneOf", "unevaluatedProperties"];
        let closed = match additional {
            Some(additional) => additional == &Value::Bool(false),
            None => properties.is_some() && !composed.iter().any(|word| schema.contains_key(*word)),
        };
        let known: Vec<&str> =
            properties.into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
        for (name, field) in fields {
            self.path.push(name.clone());
            match properties.and_then(|known| known.get(name)).or(additional) {
                Some(Value::Bool(false)) | None if closed => {
                    let remedy = suggest(name, "known keys are", &known);
                    self.report(format!("unknown key {name:?}"), remedy);
                }
                Some(schema) => self.value(schema, field),
                None => {}
            }
            self.path.pop();
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                let about = properties
                    .and_then(|known| known.get(name)?.get("description")?.as_str())
                    .map(|about| format!("add it: {}", in_passing(about)));
                self.report(format!("missing key {name:?}"), about);
            }
        }
    }

    fn list(&mut self, schema: &'a Map<String, Value>, items: &[Value]) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let count = items.len() as u64;
        if let Some(least) = bound("minItems").filter(|least| count < *least) {
            self.report(format!("list has {count} items; at least {least} are needed"), None);
        }
        if let Some(most) = bound("maxItems").filter(|most| count > *most) {
            self.report(format!("list has {count} items; at most {most} are allowed"), None);
        }
        let Some(item_schema) = schema.get("items") else { return };
        for (index, item) in items.iter().enumerate() {
            self.path.push(index.to_string());
            self.value(item_schema, item);
            self.path.pop();
        }
    }

    fn text(&mut self, schema: &Map<String, Value>, text: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let count = text.chars().count() as u64;
        if count == 0 && bound("minLength").is_some_and(|least| least > 0) {
            self.report("text is empty".into(), Some("give it a value".into()));
        } else if let Some(least) = bound("minLength").filter(|least| count < *least) {
            self.report(format!("text has {count} characters; at least {least} are needed"), None);
        }
        if let Some(most) = bound("maxLength").filter(|most| count > *most) {
            self.report(format!("text has {count} characters; at most {most} are allowed"), None);
        }
    }

    fn number(&mut self, schema: &Map<String, Value>, value: &Value) {
        let Some(number) = value.as_f64() else { return };
        let bound = |name: &str| Some((schema.get(name)?, schema.get(name)?.as_f64()?));
        let broken = [
            bound("minimum").filter(|(_, least)| number < *least).map(|b| ("at least", b.0)),
            bound("exclusiveMinimum").filter(|(_, l)| number <= *l).map(|b| ("more than", b.0)),
            bound("maximum").filter(|(_, most)| number > *most).map(|b| ("at most", b.0)),
            bound("exclusiveMaximum").filter(|(_, m)| number >= *m).map(|b| ("less than", b.0)),
        ];
        for (words, bound) in broken.into_iter().flatten() {
            self.report(format!("expected a number of {words} {bound}, found {value}"), None);
        }
    }

    /// Of several forms, reports what is wrong with the one that was meant.
    fn branches(&mut self, branches: &'a [Value], value: &Value) {
        if branches.iter().any(|branch| self.try_branch(branch, value).is_empty()) {
            return;
        }
        let forms: Vec<&Value> =
            branches.iter().filter(|branch| branch["type"] != "null").collect();
        let meant = match forms.as_slice() {
            [only] => Some(*only),
            _ => self.meant_by_tag(&forms, value).or_else(|| {
                let mut fitting = forms.iter().filter(|form| self.accepts_type(form, value));
                fitting.next().filter(|_| fitting.next().is_none()).copied()
            }),
        };
        if let Some(meant) = meant {
            let found = self.try_branch(meant, value);
            self.found.extend(found);
            return;
        }
        let words: Vec<&str> = forms.iter().flat_map(|form| words_of(form)).collect();
        let tags: Vec<&str> =
            forms.iter().filter_map(|form| outer_tag(self.resolved(form))).collect();
        match value {
            Value::String(_) if !words.is_empty() => self.unknown_word(value, &words),
            Value::Object(fields) if !tags.is_empty() && fields.len() == 1 => {
                let name = fields.keys().next().map_or("", String::as_str);
                self.path.push(name.into());
                self.report(
                    format!("unknown key {name:?}"),
                    suggest(name, "known keys are", &tags),
                );
                self.path.pop();
            }
            _ => {
                let remedy = match (tags.is_empty(), words.is_empty()) {
                    (false, _) => Some(format!("write exactly one of {}", tags.join(", "))),
                    (_, false) => Some(format!("use one of {}", words.join(", "))),
                    _ => None,
                };
                self.report(format!("{} does not fit here", in_short(value)), remedy);
            }
        }
    }

    fn try_branch(&self, branch: &'a Value, value: &Value) -> Vec<OptionProblem> {
        let mut walk = Walk { root: self.root, path: self.path.clone(), found: Vec::new() };
        walk.value(branch, value);
        walk.found
    }

    /// The form whose tag the value carries: `{tag: …}` or `{type: tag, …}`.
    fn meant_by_tag(&self, forms: &[&'a Value], value: &Value) -> Option<&'a Value> {
        let fields = value.as_object()?;
        forms.iter().copied().find(|form| {
            let form = self.resolved(form);
            let inner = form["properties"].as_object().is_some_and(|properties| {
                properties.iter().any(|(name, property)| {
                    property.get("const").is_some_and(|tag| fields.get(name) == Some(tag))
                })
            });
            inner || outer_tag(form).is_some_and(|tag| fields.contains_key(tag))
        })
    }

    fn accepts_type(&self, form: &'a Value, value: &Value) -> bool {
        let Some(schema) = self.resolved(form).as_object() else { return true };
        schema.get("type").is_none_or(|types| type_names(types).any(|name| is_of_type(name, value)))
    }

    fn definition(&self, name: &str) -> Option<&'a Value> {
        self.root.get("$defs")?.get(name)
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let definition = schema.as_object().and_then(definition_name);
        definition.and_then(|name| self.definition(name)).unwrap_or(schema)
    }

    fn report(&mut self, what: String, remedy: Option<String>) {
        self.found.push(OptionProblem { path: self.path.clone(), what, remedy });
    }
}

/// "did you mean" when a word is near, else the whole choice.
pub(crate) fn suggest(word: &str, choice: &str, known: &[&str]) -> Option<String> {
    match nearest(word, known.iter().copied()) {
        Some(near) => Some(format!("did you mean {near:?}?")),
        None if known.is_empty() => None,
        None => Some(format!("{choice} {}", known.join(", "))),
    }
}

/// A value as messages quote it: its kind and, when short, itself.
pub(crate) fn in_short(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

fn definition_name(schema: &Map<String, Value>) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

fn type_names(types: &Value) -> impl Iterator<Item = &str> {
    let listed = types.as_array().into_iter().flatten().filter_map(Value::as_str);
    types.as_str().into_iter().chain(listed)
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn in_words(type_name: &str) -> &str {
    match type_name {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        "object" => "a map",
        other => other,
    }
}

/// Name of an externally tagged form: an object with one required property.
fn outer_tag(form: &Value) -> Option<&str> {
    match form["required"].as_array()?.as_slice() {
        [only] if form["properties"].as_object()?.len() == 1 => only.as_str(),
        _ => None,
    }
}

fn words_of(form: &Value) -> impl Iterator<Item = &str> {
    let listed = form["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    form["const"].as_str().into_iter().chain(listed)
}

/// The first sentence of a description, as a remedy says it.
pub(crate) fn in_passing(description: &str) -> String {
    let text = description.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = text.find(". ").unwrap_or(text.len());
    let text = text[..end].trim_end_matches('.').replace('`', "\"");
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
