//! Where a record goes in a message broker: a topic, routing key or subject that is
//! fixed or made from the record.
//!
//! `{field}` is the record's (a path such as `customer.city`), `{$key}` its key and
//! `{$topic}` its topic. A value never brings a separator or a wildcard of the broker's
//! into the address, so that no record reaches a place that the file does not name.

use courant_model::json::{FieldPath, scalar_text};
use courant_pipeline::{connector::OptionProblem, event::Event};

use super::problem;

/// What an address of a broker may hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The address as the broker's users call it.
    pub(crate) kind: &'static str,
    /// The option that holds it.
    pub(crate) option: &'static str,
    /// Characters that no address has.
    pub(crate) forbidden: &'static str,
    /// What separates levels; a value has none.
    pub(crate) separator: Option<char>,
    pub(crate) bytes_max: usize,
}

/// An address that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    parts: Vec<Part>,
    rules: &'static Rules,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Field(FieldPath),
    Key,
    Topic,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// A placeholder that does not close or cannot be read, or a forbidden character.
    pub(crate) fn read(text: &str, rules: &'static Rules) -> Result<Self, OptionProblem> {
        let refuse = |what: String, remedy: &str| problem(rules.option, what, remedy);
        let (mut parts, mut rest, mut fixed_bytes) = (Vec::new(), text, 0);
        let mut fixed = |parts: &mut Vec<Part>, text: &str| {
            if let Some(wrong) = text.chars().find(|found| rules.forbids(*found)) {
                let what = format!("{} {text:?} holds {wrong:?}", rules.kind);
                return Err(refuse(what, "write a place without wildcards and spaces"));
            }
            fixed_bytes += text.len();
            if !text.is_empty() {
                parts.push(Part::Fixed(text.into()));
            }
            Ok(())
        };
        while let Some((before, after)) = rest.split_once('{') {
            fixed(&mut parts, before)?;
            let Some((name, after)) = after.split_once('}') else {
                return Err(refuse("placeholder is not closed".into(), "end it with }"));
            };
            parts.push(match name {
                "$key" => Part::Key,
                "$topic" => Part::Topic,
                field => Part::Field(field.parse().map_err(|error| {
                    refuse(
                        format!("placeholder {name:?} is no field: {error}"),
                        "write {field}, {$key} or {$topic}",
                    )
                })?),
            });
            rest = after;
        }
        fixed(&mut parts, rest)?;
        if fixed_bytes > rules.bytes_max {
            let what = format!("{} has more than {} bytes", rules.kind, rules.bytes_max);
            return Err(refuse(what, "shorten it"));
        }
        Ok(Self { parts, rules })
    }

    /// The address of an event.
    ///
    /// # Errors
    /// Why the record has none: a field that is missing or holds what an address may not.
    pub(crate) fn of(&self, event: &Event) -> Result<String, String> {
        let mut address = String::new();
        for part in &self.parts {
            match part {
                Part::Fixed(text) => address.push_str(text),
                Part::Topic => {
                    let topic = event.source.partition.topic.as_str();
                    address.push_str(self.value("topic", topic)?);
                }
                Part::Key => {
                    let key = event.key.as_deref().ok_or("record has no key")?;
                    let key = std::str::from_utf8(key).map_err(|_| "key is not text")?;
                    address.push_str(self.value("key", key)?);
                }
                Part::Field(path) => {
                    let document = event.payload.json().map_err(|error| error.to_string())?;
                    let found = path.get(document).and_then(scalar_text);
                    let found =
                        found.ok_or_else(|| format!("field \"{path}\" is missing or no scalar"))?;
                    address.push_str(self.value(&format!("field \"{path}\""), &found)?);
                }
            }
        }
        let Rules { kind, bytes_max, .. } = self.rules;
        if address.len() > *bytes_max {
            return Err(format!("{kind} has {} bytes, at most {bytes_max} fit", address.len()));
        }
        Ok(address)
    }

    /// A value as a part of the address.
    fn value<'a>(&self, what: &str, text: &'a str) -> Result<&'a str, String> {
        let Rules { kind, separator, .. } = self.rules;
        let wrong = |found: &char| self.rules.forbids(*found) || *separator == Some(*found);
        match text.chars().find(wrong) {
            Some(wrong) => Err(format!("{what} holds {wrong:?}, which no part of a {kind} may")),
            None if text.is_empty() => {
                Err(format!("{what} is empty, which no part of a {kind} is"))
            }
            None => Ok(text),
        }
    }
}

impl Rules {
    fn forbids(&self, found: char) -> bool {
        self.forbidden.contains(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::event;

    static RULES: Rules = Rules {
        kind: "topic",
        option: "topic",
        forbidden: "+#",
        separator: Some('/'),
        bytes_max: 20,
    };

    fn of(address: &str, value: &str) -> Result<String, String> {
        Address::read(address, &RULES).unwrap().of(&event(0, value.to_owned()))
    }

    #[test]
    fn an_address_is_made_from_fields_key_and_topic() {
        assert_eq!(of("a/{b.c}/{$key}/{$topic}", "{\"b\":{\"c\":7}}").unwrap(), "a/7/key/topic");
        assert_eq!(of("a/b", "no json").unwrap(), "a/b");
    }

    #[test]
    fn a_record_without_the_address_is_refused() {
        for (value, expected) in [
            ("{}", "field \"b\" is missing"),
            ("{\"b\":[]}", "field \"b\" is missing"),
            ("{\"b\":\"x/y\"}", "holds '/'"),
            ("{\"b\":\"#\"}", "holds '#'"),
            ("{\"b\":\"\"}", "is empty"),
            ("{\"b\":\"12345678901234567890\"}", "topic has 22 bytes, at most 20"),
            ("oops", "value is not JSON"),
        ] {
            let why = of("a/{b}", value).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn an_address_with_faults_is_not_read() {
        for text in ["a/#", "a/{b", "{}", "123456789012345678901"] {
            assert_eq!(Address::read(text, &RULES).unwrap_err().path, ["topic"], "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_adds_a_level_or_a_wildcard(value in ".{0,12}") {
            let document = json!({ "b": value }).to_string();
            if let Ok(address) = of("a/{b}/c", &document) {
                prop_assert_eq!(address.split('/').count(), 3);
                prop_assert!(!address.contains(['+', '#']));
            }
        }
    }
}
