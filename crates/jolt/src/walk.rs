//! What was matched on the way down a document: the steps that references count.
//!
//! Each step has a value of the document and the key that matched. Several steps can
//! share one matched key: `@` lines reuse their parent's, and with it the count of
//! children that `[#…]` tells.

use std::borrow::Cow;

use crate::{
    key::Reference,
    star::Captures,
    value::{Text, Value},
};

/// A reference that points above the document, or to a star that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutOfRange(pub(crate) String);

/// A key that matched, with what its stars captured.
#[derive(Debug, Clone)]
pub(crate) struct Matched<'x> {
    key: MatchedKey<'x>,
    captures: Captures,
    /// Children that matched so far.
    pub(crate) count: usize,
}

/// Index keys stay numbers until somebody asks for their text.
#[derive(Debug, Clone)]
pub(crate) enum MatchedKey<'x> {
    Text(Text<'x>),
    Index(usize),
}

impl<'x> Matched<'x> {
    pub(crate) const fn new(key: MatchedKey<'x>, captures: Captures) -> Self {
        Self { key, captures, count: 0 }
    }

    /// The whole key for 0, else the capture of that star.
    fn part(&self, group: usize) -> Option<Text<'x>> {
        match (&self.key, group) {
            (MatchedKey::Text(text), 0) => Some(text.clone()),
            (MatchedKey::Index(index), 0) => Some(index.to_string().into()),
            (MatchedKey::Text(Text::Borrowed(text)), star) => {
                self.captures.get(star).map(|range| Text::Borrowed(&text[range]))
            }
            (key, star) => self.captures.get(star).map(|range| key.text()[range].to_owned().into()),
        }
    }

    const fn index(&self, group: usize) -> Option<usize> {
        match (&self.key, group) {
            (MatchedKey::Index(index), 0) => Some(*index),
            _ => None,
        }
    }
}

impl MatchedKey<'_> {
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Index(index) => Cow::Owned(index.to_string()),
        }
    }
}

/// A walk, as references see it. 0 steps up is the last step.
pub(crate) trait Walked<'v, 'x: 'v> {
    fn matched(&self, up: usize) -> Option<&Matched<'x>>;

    /// The value of a step; `None` where a step has no value.
    fn value(&self, up: usize) -> Option<Option<&'v Value<'x>>>;

    fn tree(&self, up: usize) -> Result<Option<&'v Value<'x>>, OutOfRange> {
        self.value(up).ok_or_else(|| OutOfRange(format!("there are no {up} levels above here")))
    }

    fn key(&self, reference: Reference) -> Result<Text<'x>, OutOfRange> {
        let Reference { up, group } = reference;
        let matched = self.matched(up);
        let matched =
            matched.ok_or_else(|| OutOfRange(format!("there are no {up} levels above here")))?;
        matched.part(group).ok_or_else(|| {
            OutOfRange(format!("key {:?} has no star number {group}", matched.key.text()))
        })
    }

    /// The matched key as a number, where it is one.
    fn index(&self, reference: Reference) -> Result<Option<usize>, OutOfRange> {
        let up = reference.up;
        let matched = self.matched(up);
        let matched =
            matched.ok_or_else(|| OutOfRange(format!("there are no {up} levels above here")))?;
        Ok(matched.index(reference.group))
    }

    fn count(&self, up: usize) -> Result<usize, OutOfRange> {
        let matched = self.matched(up);
        let matched =
            matched.ok_or_else(|| OutOfRange(format!("there are no {up} levels above here")))?;
        Ok(matched.count)
    }
}
