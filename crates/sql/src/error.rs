//! What is wrong with a SQL text, with its place within that text.
//!
//! Whoever holds the file adds the file's own place. Errors of single rows are no
//! errors of this kind; they are [`Rejection`](crate::Rejection)s.

use std::fmt;

use arrow::error::ArrowError;
use datafusion_common::DataFusionError;

/// Why a SQL text cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// What is wrong; lower case, no full stop.
    pub message: String,
    /// Line within the SQL text, from 1; 0 when unknown.
    pub line: u32,
    /// Character within the line, from 1; 0 when unknown.
    pub column: u32,
    /// What to do, when there is something to say.
    pub remedy: Option<String>,
}

impl SqlError {
    /// Builds an error without a place or a remedy.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: 0, column: 0, remedy: None }
    }

    /// Sets the place unless the error has one, or it is unknown here too.
    #[must_use]
    pub(crate) fn at(mut self, place: Option<(u32, u32)>) -> Self {
        if let (0, Some((line, column))) = (self.line, place) {
            (self.line, self.column) = (line, column);
        }
        self
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SqlError {}

/// Says what the engine's error says, without its prefixes, in one line.
pub(crate) fn plain(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::ArrowError(arrow, _) => plain_arrow(arrow),
        DataFusionError::Execution(text)
        | DataFusionError::Plan(text)
        | DataFusionError::NotImplemented(text)
        | DataFusionError::Internal(text)
        | DataFusionError::Configuration(text)
        | DataFusionError::ResourcesExhausted(text) => text.clone(),
        other => other.strip_backtrace(),
    };
    one_line(&text)
}

fn plain_arrow(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".into(),
        ArrowError::CastError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::ParseError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::ArithmeticOverflow(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What the engine writes before an error that passed through its layers.
const PREFIXES: [&str; 5] = [
    "External error: ",
    "Execution error: ",
    "Arrow error: ",
    "Compute error: ",
    "Error during planning: ",
];

/// One line, without the engine's backtrace and prefixes, starting in lower case.
fn one_line(text: &str) -> String {
    let text = text.split("\n\nbacktrace").next().unwrap_or(text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = text.trim_end_matches('.');
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.into(),
    }
}
