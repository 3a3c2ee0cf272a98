//! Files as a source and as a sink.
//!
//! The source ([`source`]) reads files from their beginning, remembers how far it
//! came, and follows what is appended and added. The sink ([`sink`]) appends lines
//! and rotates. Both take paths relative to the folder of the file that names them.
//! Looking is by polling: it works on every file system, shared folders included.

mod cursor;
mod place;
mod scan;
mod sink;
mod source;

use std::{path::Path, sync::Arc};

use courant_model::{ByteSize, Span};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, SinkFactory, SinkKind, SourceFactory, SourceKind,
    },
    options,
};
use indexmap::IndexMap;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use crate::formats::{Format, decode::CsvLayout, encode};

/// The entry in the list of sources.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "file",
        summary: "Reads files of JSON lines, JSON, CSV or text, and follows them.",
        guarantee: "At least once: how far a file was read is saved after its records are \
                    durable, so a crash in between repeats the last batch. Bad lines become dead \
                    letters. A file is known by its identity, not its name, so a rotated one \
                    is read on.",
        example: "file: { path: data/input/*.ndjson, format: ndjson }",
        schema: || schema_for!(SourceOptions),
    },
    parse: parse_source,
};

/// The entry in the list of sinks.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "file",
        summary: "Appends records to files as JSON lines or CSV.",
        guarantee: "At least once: lines are synced to disk before a checkpoint, and a crash \
                    before it repeats those after the last one. A line that a crash tore is cut \
                    at the next start.",
        example: "file: { path: \"out/orders-{date}.ndjson\", rotate: { bytes: 64MiB } }",
        schema: || schema_for!(SinkOptions),
    },
    parse: parse_sink,
};

/// Options of the source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SourceOptions {
    /// A file, or a pattern with * and ? in its names: data/input/*.csv.
    #[schemars(length(min = 1))]
    path: String,
    /// How records stand in the files. Default: ndjson.
    #[serde(default = "default_format")]
    format: Format,
    /// Goes on with what is appended and with new files; else ends. Default: true.
    #[serde(default = "yes")]
    follow: bool,
    /// CSV: whether the first row names the fields. Default: true.
    #[serde(default = "yes")]
    header: bool,
    /// CSV: what separates the fields. Default: a comma.
    #[serde(default = "comma")]
    delimiter: char,
    /// CSV: types of fields by name; others are texts. Without a header: all, in order.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    columns: IndexMap<String, String>,
    /// Time between two looks for changes. Default: 250ms.
    #[serde(default = "default_every")]
    every: Span,
}

/// Options of the sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SinkOptions {
    /// The file; {date}, {hour}, {topic} and {partition} are those of the record, in UTC.
    #[schemars(length(min = 1))]
    path: String,
    /// How records are written. Default: ndjson.
    #[serde(default)]
    format: SinkFormat,
    /// CSV: names of the columns in order. Default: the first record's fields.
    #[serde(default)]
    columns: Vec<String>,
    /// When a file is put aside under a name with its time. Default: never.
    #[serde(default)]
    rotate: Option<Rotate>,
    /// Syncs to disk before every checkpoint. Default: true.
    #[serde(default = "yes")]
    sync: bool,
}

/// How the sink writes records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SinkFormat {
    /// One JSON value on each line.
    #[default]
    Ndjson,
    /// Rows of fields, with a header.
    Csv,
}

/// When a file is put aside.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// Once it has so many bytes.
    #[serde(default)]
    bytes: Option<ByteSize>,
    /// Once it is so old.
    #[serde(default)]
    every: Option<Span>,
}

const fn default_format() -> Format {
    Format::Ndjson
}

const fn default_every() -> Span {
    Span::from_millis(250)
}

const fn yes() -> bool {
    true
}

const fn comma() -> char {
    ','
}

fn parse_source(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: SourceOptions = options::parse(value)?;
    let layout =
        CsvLayout::read(options.format, options.header, options.delimiter, &options.columns);
    let mut problems = Vec::new();
    if options.path.split('/').any(|name| name == "**") {
        let remedy = "name the folders with *: data/*/*.csv";
        problems.push(problem("path", "** is not understood", remedy));
    }
    if options.every.as_duration().is_zero() {
        problems.push(problem("every", "time between two looks is zero", "set 250ms or so"));
    }
    match layout {
        Ok(layout) if problems.is_empty() => Ok(Arc::new(source::Settings {
            path: options.path,
            format: options.format,
            layout,
            follow: options.follow,
            every: options.every.as_duration(),
        })),
        layout => Err(layout.err().into_iter().flatten().chain(problems).collect()),
    }
}

fn parse_sink(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    let options: SinkOptions = options::parse(value)?;
    let is_csv = options.format == SinkFormat::Csv;
    let mut problems = Vec::from_iter(encode::check_columns(is_csv, &options.columns));
    if let Err((what, remedy)) = place::PathTemplate::read(&options.path) {
        problems.push(problem("path", &what, &remedy));
    }
    let rotate = options.rotate.unwrap_or_default();
    if rotate.bytes.is_some_and(|bytes| bytes.as_bytes() == 0) {
        problems.push(problem("rotate.bytes", "size is zero", "set 64MiB or so"));
    }
    if problems.is_empty() { Ok(Arc::new(sink::Files::new(options))) } else { Err(problems) }
}

fn problem(field: &str, what: &str, remedy: &str) -> OptionProblem {
    let path = field.split('.').map(Into::into).collect();
    OptionProblem { path, what: what.into(), remedy: Some(remedy.into()) }
}

/// A failure of the file system; worth a retry, because people mend disks and rights
/// while a pipeline waits.
fn io_failure(attempt: &str, path: &Path, error: &std::io::Error) -> ConnectorError {
    ConnectorError::retryable(format!("{attempt} {:?}: {error}", path.display().to_string()))
}

/// Runs what waits for a disk beside the tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests;
