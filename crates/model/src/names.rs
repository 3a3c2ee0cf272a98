//! Names that the log takes, under Kafka's rules.

use std::{fmt, str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::TOPIC_NAME_CHARS_MAX;

/// A topic's name: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("topic name is empty; give it 1 to {TOPIC_NAME_CHARS_MAX} characters")]
    Empty,
    #[error("topic name has {found} characters; {TOPIC_NAME_CHARS_MAX} are allowed")]
    TooLong { found: usize },
    #[error("topic name {name:?} is reserved; choose another")]
    Reserved { name: String },
    #[error("topic name {name:?} contains {found:?}; use letters, digits, '.', '_' and '-'")]
    Character { name: String, found: char },
}

impl TopicName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(found) =
            name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        {
            return Err(NameError::Character { name: name.chars().take(300).collect(), found });
        }
        if name.len() > TOPIC_NAME_CHARS_MAX {
            return Err(NameError::TooLong { found: name.len() });
        }
        if name == "." || name == ".." {
            return Err(NameError::Reserved { name: name.into() });
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for TopicName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for TopicName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TopicName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": TOPIC_NAME_CHARS_MAX,
            "pattern": "^[a-zA-Z0-9._-]+$",
            "description": "A topic's name: letters, digits, '.', '_' and '-'.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_rules_decide() {
        for good in ["a", "R1", "data-stream", "orders.dead", "_x", &"a".repeat(249)] {
            assert_eq!(TopicName::new(good).unwrap().as_str(), good);
        }
        assert_eq!(TopicName::new(""), Err(NameError::Empty));
        assert_eq!(TopicName::new(&"a".repeat(250)), Err(NameError::TooLong { found: 250 }));
        assert!(matches!(TopicName::new(".."), Err(NameError::Reserved { .. })));
        assert!(matches!(TopicName::new("a/b"), Err(NameError::Character { found: '/', .. })));
        assert!(matches!(TopicName::new("é"), Err(NameError::Character { .. })));
    }
}
