//! What was matched on the way down a document: the steps that references count.
//!
//! Each step has a value of the document and the key that matched. Several steps can
//! share one matched key: `@` lines reuse their parent's, and with it the count of
//! children that `[#…]` tells. Keys that are indices get a text only when one is wanted.

use std::fmt;

use crate::{arena::Arena, key::Reference, scan::same, star::Captures, value::Value};

/// A reference that points above the document, or to a star that is not there.
///
/// As wide as what it stands in for in a result: a narrow one would split every copy of
/// that into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum OutOfRange {
    Above,
    Star,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above => f.write_str("a reference points above the document"),
            Self::Star => f.write_str("a reference names a star that its key does not have"),
        }
    }
}

/// A key that matched, with what its stars captured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matched<'x> {
    pub(crate) key: MatchedKey<'x>,
    captures: Captures<'x>,
    /// Children that matched so far.
    pub(crate) count: usize,
}

/// Index keys stay numbers until somebody asks for their text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MatchedKey<'x> {
    Text(&'x str),
    Index(usize),
}

impl<'x> Matched<'x> {
    pub(crate) const fn new(key: MatchedKey<'x>, captures: Captures<'x>) -> Self {
        Self { key, captures, count: 0 }
    }

    /// The whole key for 0, else the capture of that star.
    fn part(&self, arena: &'x Arena, group: usize) -> Option<&'x str> {
        match group {
            0 => Some(self.key.text(arena)),
            star => self.captures.get(star),
        }
    }
}

impl<'x> MatchedKey<'x> {
    pub(crate) fn text(self, arena: &'x Arena) -> &'x str {
        match self {
            Self::Text(text) => text,
            Self::Index(index) => arena.index(index),
        }
    }

    /// Whether it is this text.
    pub(crate) fn is(self, text: &str) -> bool {
        match self {
            Self::Text(key) => same(key, text),
            Self::Index(index) => itoa::Buffer::new().format(index) == text,
        }
    }
}

/// A walk, as references see it. 0 steps up is the last step.
pub(crate) trait Walked<'x> {
    fn arena(&self) -> &'x Arena;

    fn matched(&self, up: usize) -> Option<&Matched<'x>>;

    /// The value of a step; `None` where a step has no value.
    fn value(&self, up: usize) -> Option<Option<Value<'x>>>;

    fn tree(&self, up: usize) -> Result<Option<Value<'x>>, OutOfRange> {
        self.value(up).ok_or(OutOfRange::Above)
    }

    fn key(&self, reference: Reference) -> Result<&'x str, OutOfRange> {
        let Reference { up, group } = reference;
        let matched = self.matched(up).ok_or(OutOfRange::Above)?;
        matched.part(self.arena(), group).ok_or(OutOfRange::Star)
    }

    /// The matched key as a number, where it is one.
    fn index(&self, reference: Reference) -> Result<Option<usize>, OutOfRange> {
        let matched = self.matched(reference.up).ok_or(OutOfRange::Above)?;
        Ok(match (matched.key, reference.group) {
            (MatchedKey::Index(index), 0) => Some(index),
            _ => None,
        })
    }

    fn count(&self, up: usize) -> Result<usize, OutOfRange> {
        Ok(self.matched(up).ok_or(OutOfRange::Above)?.count)
    }
}
