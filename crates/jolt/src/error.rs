//! What can be wrong: with JSON text, with a specification, with a document.
//!
//! A specification is judged as a whole: [`SpecErrors`] tells everything wrong with it,
//! each with the operation's index and the key's path.

use std::fmt;

use crate::keys::{KeyId, Keys};

/// JSON text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    pub what: &'static str,
}

impl ParseError {
    pub(crate) fn at(bytes: &[u8], at: usize, what: &'static str) -> Self {
        let before = &bytes[..at.min(bytes.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        Self { line, column: before.len() - start + 1, what }
    }
}

/// One thing that is wrong with a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// Index of the operation in the chain; `None` for the chain itself.
    pub operation: Option<usize>,
    /// Keys from the operation's spec down to the one that is wrong.
    pub path: Vec<String>,
    pub what: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.operation {
            write!(f, "operation {index}")?;
            for key in &self.path {
                write!(f, " > {key:?}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for SpecError {}

/// Everything that is wrong with a specification; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors(pub Vec<SpecError>);

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            f.write_str(if n > 0 { "; " } else { "" })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// A document that a specification cannot transform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {operation}: {what}")]
pub struct TransformError {
    /// Index of the operation in the chain.
    pub operation: usize,
    pub what: String,
}

/// Why bytes were not transformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("input is no JSON: {0}")]
    Input(#[from] ParseError),
    #[error(transparent)]
    Transform(#[from] TransformError),
}

/// Collects the keys of one operation's spec and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) operation: Option<usize>,
    pub(crate) keys: Keys,
    at: KeyId,
    pub(crate) errors: Vec<SpecError>,
}

impl Report {
    pub(crate) fn at(operation: usize) -> Self {
        Self { operation: Some(operation), ..Self::default() }
    }

    pub(crate) fn tell(&mut self, what: impl Into<String>) {
        let (operation, path) = (self.operation, self.keys.path(self.at));
        self.errors.push(SpecError { operation, path, what: what.into() });
    }

    /// Runs `inside` with the key on the path.
    pub(crate) fn below<T>(&mut self, key: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.at = self.keys.add(self.at, key);
        let outcome = inside(self);
        self.at = self.keys.above(self.at);
        outcome
    }

    /// The key that is looked at.
    pub(crate) const fn here(&self) -> KeyId {
        self.at
    }

    /// Runs `inside` and forgets what it finds wrong.
    pub(crate) fn quietly<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let told = self.errors.len();
        let outcome = inside(self);
        self.errors.truncate(told);
        outcome
    }
}
