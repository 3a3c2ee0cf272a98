//! Record formats of files and streams: from bytes to records, and back.
//!
//! Bytes are first cut into pieces ([`pieces`]: lines, or CSV rows that may span
//! lines), then each piece becomes a record's value ([`decode`]). Both keep where
//! they are, so that a bad input is told with its line, and a reader can go on
//! after it. Writing is [`encode`]. Nothing here reads or writes a file.

pub mod encode;

pub(crate) mod decode;
pub(crate) mod pieces;
mod typed;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How records stand in a file or stream that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// One JSON value on each line.
    Ndjson,
    /// A whole file of JSON: one value, several, or a list whose items are records.
    Json,
    /// Rows of fields; each becomes a JSON object.
    Csv,
    /// Each line is a record's value, as it is.
    Text,
}
