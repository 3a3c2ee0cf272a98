//! Channels of a plan: which changes of a collection pages hear, under which names.
//!
//! A [`ChannelPattern`] that exists makes valid names only, by Pusher's rules, from any
//! document whose fields are short and plain enough; else it makes none. What publishes, and how it is
//! remembered, is not known here.

use std::{collections::BTreeSet, fmt, str::FromStr};

use courant_model::{
    json::{FieldPath, scalar_text},
    limits::{PUSH_CHANNEL_NAME_CHARS_MAX, PUSH_CHANNEL_NAME_MARKS},
};
use courant_stores::{ChangeKind, Filter};
use serde_json::Value;

/// Prefix of the channel that reaches one signed-in user.
const SERVER_TO_USER: &str = "#server-to-user-";

/// Prefix of channels whose data the publisher encrypts.
const ENCRYPTED: &str = "private-encrypted-";

/// Changes of a collection, as messages on a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelPlan {
    pub name: ChannelPattern,
    /// The collection that is watched.
    pub collection: String,
    pub events: ChannelEvents,
    /// Whose changes are pushed; a document that stops matching counts as deleted.
    pub filter: Filter,
    /// Fields that are sent beside `_id`; empty: all.
    pub data: Vec<String>,
}

/// The event's name for each kind of change; `None`: it is not pushed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelEvents {
    pub insert: Option<String>,
    pub update: Option<String>,
    pub delete: Option<String>,
}

impl ChannelEvents {
    /// The event of a kind of change.
    pub fn of(&self, kind: ChangeKind) -> Option<&str> {
        match kind {
            ChangeKind::Insert => self.insert.as_deref(),
            ChangeKind::Update => self.update.as_deref(),
            ChangeKind::Delete => self.delete.as_deref(),
        }
    }

    /// Each kind that is pushed, with its event.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("insert", &self.insert), ("update", &self.update), ("delete", &self.delete)];
        all.into_iter().filter_map(|(kind, event)| Some((kind, event.as_deref()?)))
    }
}

/// A channel's name, in which `{field}` stands for a field of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(FieldPath),
}

/// A text that names no channel; each message ends with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelPatternError {
    #[error("channel has no name; write 1 to {PUSH_CHANNEL_NAME_CHARS_MAX} characters")]
    Empty,
    #[error(
        "channel name {name:?} has more than {PUSH_CHANNEL_NAME_CHARS_MAX} characters; shorten it"
    )]
    TooLong { name: String },
    #[error(
        "channel name {name:?} contains {found:?}; use letters, digits, {PUSH_CHANNEL_NAME_MARKS} and {{fields}}"
    )]
    Character { name: String, found: char },
    #[error("channel name {name:?} has a brace without its other; write {{field}}")]
    Brace { name: String },
    #[error("channel name {name:?}: {{{field}}} is no field; {why}")]
    Field { name: String, field: String, why: String },
    #[error(
        "channel {name:?} is encrypted, and Courant has no key to encrypt with; begin its name with \"private-\""
    )]
    Encrypted { name: String },
}

impl ChannelPattern {
    /// The name as the file has it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The fields that the name holds.
    pub fn fields(&self) -> impl Iterator<Item = &FieldPath> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(field) => Some(field),
            Part::Text(_) => None,
        })
    }

    /// The name for a document; `None` where a field is missing, is no text, number or
    /// boolean, or holds what a name may not. `_id` is known of a deleted document too.
    pub fn fill(&self, id: &str, document: Option<&Value>) -> Option<String> {
        let mut name = String::with_capacity(self.text.len() + id.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Field(field) => {
                    let value = match is_id(field) {
                        true => id.to_owned(),
                        false => scalar_text(field.get(document?)?)?,
                    };
                    if value.is_empty() || !value.chars().all(is_allowed) {
                        return None;
                    }
                    name.push_str(&value);
                }
            }
        }
        (name.chars().count() <= PUSH_CHANNEL_NAME_CHARS_MAX).then_some(name)
    }

    /// Whether a channel may have been named by this pattern.
    pub fn matches(&self, name: &str) -> bool {
        let literal: Vec<_> = name.chars().map(Some).collect();
        meet(&self.characters(), &literal)
    }

    /// Whether two patterns can make the same name.
    pub fn meets(&self, other: &Self) -> bool {
        meet(&self.characters(), &other.characters())
    }

    /// Character by character; `None` stands for one or more of any.
    fn characters(&self) -> Vec<Option<char>> {
        let of_part = |part: &Part| match part {
            Part::Text(text) => text.chars().map(Some).collect(),
            Part::Field(_) => vec![None],
        };
        self.parts.iter().flat_map(of_part).collect()
    }
}

/// Whether a field is the document's id.
pub(crate) fn is_id(field: &FieldPath) -> bool {
    field.segments() == ["_id"]
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || PUSH_CHANNEL_NAME_MARKS.contains(c)
}

/// Walks both patterns at once; from "one or more" a step may stay or go on.
fn meet(a: &[Option<char>], b: &[Option<char>]) -> bool {
    let steps = |part: Option<char>| if part.is_none() { 0..=1 } else { 1..=1 };
    let (mut seen, mut open) = (BTreeSet::new(), vec![(0, 0)]);
    while let Some((i, j)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (Some(x), Some(y)) = (a.get(i), b.get(j)) else {
            if i == a.len() && j == b.len() {
                return true;
            }
            continue;
        };
        if x.zip(*y).is_some_and(|(x, y)| x != y) {
            continue;
        }
        let both = steps(*x).flat_map(|x| steps(*y).map(move |y| (i + x, j + y)));
        open.extend(both);
    }
    false
}

impl FromStr for ChannelPattern {
    type Err = ChannelPatternError;

    fn from_str(text: &str) -> Result<Self, ChannelPatternError> {
        let name = || text.chars().take(PUSH_CHANNEL_NAME_CHARS_MAX).collect::<String>();
        if text.chars().count() > PUSH_CHANNEL_NAME_CHARS_MAX {
            return Err(ChannelPatternError::TooLong { name: name() });
        }
        if text.starts_with(ENCRYPTED) {
            return Err(ChannelPatternError::Encrypted { name: name() });
        }
        let rest = text.strip_prefix(SERVER_TO_USER).unwrap_or(text);
        if rest.is_empty() {
            return Err(ChannelPatternError::Empty);
        }
        let prefix = &text[..text.len() - rest.len()];
        let mut parts = Vec::new();
        if !prefix.is_empty() {
            parts.push(Part::Text(prefix.to_owned()));
        }
        for (index, piece) in rest.split('{').enumerate() {
            let plain = match (index, piece.split_once('}')) {
                (0, None) => piece,
                (0, Some(_)) | (_, None) => {
                    return Err(ChannelPatternError::Brace { name: name() });
                }
                (_, Some((field, plain))) => {
                    let path = field.parse().map_err(|error| ChannelPatternError::Field {
                        name: name(),
                        field: field.to_owned(),
                        why: format!("{error}"),
                    })?;
                    parts.push(Part::Field(path));
                    plain
                }
            };
            if let Some(found) = plain.chars().find(|c| !is_allowed(*c)) {
                return Err(match found {
                    '}' => ChannelPatternError::Brace { name: name() },
                    found => ChannelPatternError::Character { name: name(), found },
                });
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pattern(text: &str) -> ChannelPattern {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_name_is_filled_from_the_document_and_its_id() {
        let document = json!({ "customerNumber": 103, "at": { "city": "Nantes" }, "x": "a b" });
        let filled = |text: &str| pattern(text).fill("7", Some(&document));
        assert_eq!(filled("orders").as_deref(), Some("orders"));
        assert_eq!(filled("private-{customerNumber}.{_id}").as_deref(), Some("private-103.7"));
        assert_eq!(filled("{at.city}").as_deref(), Some("Nantes"));
        assert_eq!(filled("#server-to-user-{_id}").as_deref(), Some("#server-to-user-7"));
        for missing in ["{nothing}", "{at}", "{x}"] {
            assert_eq!(filled(missing), None, "{missing}");
        }
        assert_eq!(pattern("o.{_id}").fill("7", None).as_deref(), Some("o.7"));
        assert_eq!(pattern("o.{a}").fill("7", None), None);
        assert_eq!(pattern("o.{_id}").fill(&"7".repeat(200), None), None);
    }

    #[test]
    fn names_that_pusher_does_not_allow_are_refused() {
        for (text, said) in [
            ("", "no name"),
            ("#server-to-user-", "no name"),
            ("a b", "contains ' '"),
            ("#a", "contains '#'"),
            ("a{b", "brace"),
            ("a}b", "brace"),
            ("a{b}}", "brace"),
            ("a{}", "no field"),
            ("private-encrypted-a", "encrypted"),
        ] {
            let error = text.parse::<ChannelPattern>().unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
        assert!("a".repeat(201).parse::<ChannelPattern>().is_err());
    }

    #[test]
    fn patterns_meet_where_one_name_fits_both() {
        let meet = |a: &str, b: &str| pattern(a).meets(&pattern(b));
        assert!(meet("orders", "orders"));
        assert!(meet("orders.{a}", "{b}.7"));
        assert!(meet("{a}", "orders"));
        assert!(!meet("orders", "orders.{a}"));
        assert!(!meet("private-orders.{a}", "orders.{a}"));
        assert!(!meet("a.{x}", "b.{x}"));
    }

    proptest! {
        #[test]
        fn a_pattern_matches_every_name_that_it_makes(id in "[A-Za-z0-9_=@,.;-]{1,20}") {
            let pattern = pattern("private-{_id}.x");
            let name = pattern.fill(&id, None).unwrap();
            prop_assert!(pattern.matches(&name));
            let longer = format!("{name}y");
            prop_assert!(!pattern.matches(&longer));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<ChannelPattern>();
        }
    }
}
