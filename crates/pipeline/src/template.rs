//! JSON in whose texts `${…}` stands for something of a record.
//!
//! The specification and the context of a `jolt` step are such JSON: keys and texts may
//! name the record's topic, key or headers. What can be wrong with a placeholder is found
//! when the template is made, with its path; filling one in fails only for what a record
//! lacks. `$${` stands for `${` itself. Variables of the environment are not known here:
//! they were put in when the file was read.

use courant_model::problem::nearest;
use serde_json::{Map, Value};

use crate::{connector::OptionProblem, event::Event};

/// JSON with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    json: Value,
    /// Each placeholder once, in the order of their first place.
    placeholders: Vec<Placeholder>,
}

/// Something of a record: `${header:tenant:-nobody}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    pub(crate) part: Part,
    /// What stands there when the record lacks it.
    default: Option<String>,
}

/// A part of a record that has a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The topic that the record was read from.
    Topic,
    Partition,
    Offset,
    /// In milliseconds since the epoch.
    Timestamp,
    Key,
    /// The last header of this name.
    Header(String),
}

/// Every placeholder, as people write it.
const FORMS: [&str; 6] = ["topic", "partition", "offset", "timestamp", "key", "header:NAME"];

impl Template {
    /// Looks through all keys and texts.
    ///
    /// # Errors
    /// Everything wrong with their placeholders, each with its path.
    pub(crate) fn new(json: Value) -> Result<Self, Vec<OptionProblem>> {
        let (template, found) = Self::read(json);
        if found.is_empty() { Ok(template) } else { Err(found) }
    }

    /// As [`Template::new`], with a template of what is right for further checks.
    pub(crate) fn read(json: Value) -> (Self, Vec<OptionProblem>) {
        let (mut placeholders, mut found) = (Vec::new(), Vec::new());
        collect(&json, &mut Vec::new(), &mut placeholders, &mut found);
        (Self { json, placeholders }, found)
    }

    /// The JSON as it was written.
    pub fn json(&self) -> &Value {
        &self.json
    }

    pub(crate) fn placeholders(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// What an event has for each placeholder.
    ///
    /// # Errors
    /// What it lacks, or what is no text.
    pub(crate) fn values(&self, event: &Event) -> Result<Vec<String>, String> {
        self.placeholders.iter().map(|placeholder| placeholder.value(event)).collect()
    }

    /// Puts one value in for each placeholder.
    ///
    /// # Errors
    /// When two keys of an object become the same.
    pub(crate) fn fill(&self, values: &[String]) -> Result<Value, String> {
        Filling { placeholders: &self.placeholders, values }.json(&self.json)
    }
}

impl Placeholder {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, default) = match text.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (text, None),
        };
        let part = match (name, name.strip_prefix("header:")) {
            (_, Some(header)) if !header.is_empty() => Part::Header(header.into()),
            ("topic", _) => Part::Topic,
            ("partition", _) => Part::Partition,
            ("offset", _) => Part::Offset,
            ("timestamp", _) => Part::Timestamp,
            ("key", _) => Part::Key,
            _ => {
                let near = nearest(name, FORMS).map(|near| format!("did you mean {near:?}?"));
                let known = || format!("there are {}; write $${{ for the text", FORMS.join(", "));
                let remedy = near.unwrap_or_else(known);
                return Err(format!("unknown placeholder {name:?} of a record; {remedy}"));
            }
        };
        Ok(Self { part, default })
    }

    /// A text that could stand there.
    pub(crate) fn sample(&self) -> String {
        match self.part {
            Part::Partition | Part::Offset | Part::Timestamp => "0".into(),
            Part::Topic | Part::Key | Part::Header(_) => "x".into(),
        }
    }

    fn value(&self, event: &Event) -> Result<String, String> {
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|_| format!("{} is no UTF-8", self.name()))
        };
        let found = match &self.part {
            Part::Topic => Some(event.source.partition.topic.to_string()),
            Part::Partition => Some(event.source.partition.partition.to_string()),
            Part::Offset => Some(event.source.offset.to_string()),
            Part::Timestamp => Some(event.timestamp.as_millis().to_string()),
            Part::Key => event.key.as_deref().map(text).transpose()?,
            Part::Header(name) => {
                let last = event.headers.iter().rev().find(|header| header.name == *name);
                last.and_then(|header| header.value.as_deref()).map(text).transpose()?
            }
        };
        found.or_else(|| self.default.clone()).ok_or_else(|| {
            format!("{} is missing; a default is written ${{…:-default}}", self.name())
        })
    }

    /// What it stands for, as errors name it.
    pub(crate) fn name(&self) -> String {
        match &self.part {
            Part::Topic => "the topic".into(),
            Part::Partition => "the partition".into(),
            Part::Offset => "the offset".into(),
            Part::Timestamp => "the timestamp".into(),
            Part::Key => "the record's key".into(),
            Part::Header(name) => format!("the record's header {name:?}"),
        }
    }
}

/// Whether JSON has a placeholder anywhere, be it right or wrong.
pub(crate) fn has_placeholder(json: &Value) -> bool {
    let (mut placeholders, mut found) = (Vec::new(), Vec::new());
    collect(json, &mut Vec::new(), &mut placeholders, &mut found);
    !placeholders.is_empty() || !found.is_empty()
}

fn collect(
    json: &Value,
    path: &mut Vec<String>,
    placeholders: &mut Vec<Placeholder>,
    found: &mut Vec<OptionProblem>,
) {
    match json {
        Value::String(text) => collect_text(text, path, placeholders, found),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                collect(item, path, placeholders, found);
                path.pop();
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                path.push(key.clone());
                collect_text(key, path, placeholders, found);
                collect(value, path, placeholders, found);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn collect_text(
    text: &str,
    path: &[String],
    placeholders: &mut Vec<Placeholder>,
    found: &mut Vec<OptionProblem>,
) {
    for piece in Pieces(text) {
        match piece {
            Ok(Piece::Record(placeholder)) if !placeholders.contains(&placeholder) => {
                placeholders.push(placeholder);
            }
            Ok(_) => {}
            Err(message) => {
                let (what, remedy) = match message.split_once("; ") {
                    Some((what, remedy)) => (what.to_owned(), Some(remedy.to_owned())),
                    None => (message, None),
                };
                found.push(OptionProblem { path: path.to_vec(), what, remedy });
                return;
            }
        }
    }
}

enum Piece<'t> {
    Text(&'t str),
    /// `$${`, which stands for `${`, and the text before it.
    Escape {
        before: &'t str,
    },
    Record(Placeholder),
}

/// The pieces of a text; ends after what is wrong.
struct Pieces<'t>(&'t str);

impl<'t> Iterator for Pieces<'t> {
    type Item = Result<Piece<'t>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = std::mem::take(&mut self.0);
        let Some(at) = text.find("${") else {
            return (!text.is_empty()).then_some(Ok(Piece::Text(text)));
        };
        let (before, after) = (&text[..at], &text[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            self.0 = after;
            return Some(Ok(Piece::Escape { before }));
        }
        if !before.is_empty() {
            self.0 = &text[at..];
            return Some(Ok(Piece::Text(before)));
        }
        let Some(end) = after.find('}') else {
            return Some(Err("placeholder has no end; write ${topic}, or $${ for the text".into()));
        };
        self.0 = &after[end + 1..];
        Some(Placeholder::parse(&after[..end]).map(Piece::Record))
    }
}

/// Puts values in for placeholders.
struct Filling<'a> {
    placeholders: &'a [Placeholder],
    values: &'a [String],
}

impl Filling<'_> {
    fn json(&self, json: &Value) -> Result<Value, String> {
        Ok(match json {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let mut filled = Map::with_capacity(fields.len());
                for (key, value) in fields {
                    let (key, value) = (self.text(key), self.json(value)?);
                    if filled.contains_key(&key) {
                        return Err(format!("two keys of one object became {key:?}"));
                    }
                    filled.insert(key, value);
                }
                Value::Object(filled)
            }
            other => other.clone(),
        })
    }

    fn text(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        for piece in Pieces(text) {
            match piece {
                Ok(Piece::Text(text)) => filled.push_str(text),
                Ok(Piece::Escape { before }) => filled.extend([before, "${"]),
                Ok(Piece::Record(wanted)) => {
                    let known = self.placeholders.iter().zip(self.values);
                    let value = known.into_iter().find(|(known, _)| **known == wanted);
                    filled.push_str(value.map_or("", |(_, value)| value));
                }
                // What is wrong was told when the template was made.
                Err(_) => {}
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use courant_model::{Record, StoredRecord, Timestamp};
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        let record = Record::new("{}", Timestamp::from_millis(7))
            .with_key("k")
            .with_header("tenant", "first")
            .with_header("tenant", "acme")
            .with_header("raw", vec![0xff]);
        let topic = "orders".parse().unwrap();
        Event::from_stored(StoredRecord { topic, partition: 3, offset: 42, record })
    }

    fn filled(json: Value) -> Result<Value, String> {
        let template = Template::new(json).unwrap();
        template.fill(&template.values(&event())?)
    }

    #[test]
    fn keys_and_texts_take_what_the_record_says() {
        let json = json!({
            "${topic}": ["${partition}-${offset}", "a ${key}", 5, { "${header:tenant}": "${timestamp}" }],
            "${header:none:-n}": "$${topic} ${header:tenant:-x}",
        });
        let expected = json!({
            "orders": ["3-42", "a k", 5, { "acme": "7" }],
            "n": "${topic} acme",
        });
        assert_eq!(filled(json), Ok(expected));
    }

    #[test]
    fn what_a_record_lacks_is_told() {
        let missing =
            r#"the record's header "none" is missing; a default is written ${…:-default}"#;
        assert_eq!(filled(json!("${header:none}")), Err(missing.into()));
        let raw = r#"the record's header "raw" is no UTF-8"#;
        assert_eq!(filled(json!("${header:raw}")), Err(raw.into()));
        let twice = json!({ "${key}": 1, "k": 2 });
        assert_eq!(filled(twice), Err("two keys of one object became \"k\"".into()));
    }

    #[test]
    fn what_is_no_placeholder_is_told_with_its_path() {
        let wrong = json!([{ "a": "${topik}", "b${": { "c": "${header:}" } }, "${HOME}", "${open"]);
        let found = Template::new(wrong).unwrap_err();
        let told: Vec<String> = found
            .iter()
            .map(|problem| format!("{}: {}", problem.path.join("."), problem.what))
            .collect();
        assert_eq!(
            told,
            [
                r#"0.a: unknown placeholder "topik" of a record"#,
                "0.b${: placeholder has no end",
                r#"0.b${.c: unknown placeholder "header:" of a record"#,
                r#"1: unknown placeholder "HOME" of a record"#,
                "2: placeholder has no end",
            ]
        );
        assert_eq!(found[0].remedy.as_deref(), Some("did you mean \"topic\"?"));
    }
}
