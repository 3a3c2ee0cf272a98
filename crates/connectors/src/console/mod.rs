//! The sink `console`: prints records, a line each, to standard output.
//!
//! A batch is one write under one lock, so lines of several tasks never mix. When
//! nobody reads any more (`| head`), it goes quiet and the pipeline goes on.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

use async_trait::async_trait;
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Rejection, Sink, SinkContext, SinkFactory, SinkKind,
    },
    event::Event,
    options,
};
use parking_lot::Mutex;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::formats::encode::json_line;

/// The entry in the list of connectors.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "console",
        summary: "Prints records to standard output.",
        guarantee: "At least once: a crash before a checkpoint prints the last records again. \
                    Once the reader of a pipe is gone, nothing is printed and nothing fails.",
        example: "console: { format: pretty }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `console`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// How a record is printed. Default: json.
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// The value as JSON on one line; a value that is no JSON as a JSON text.
    #[default]
    Json,
    /// The value as it is.
    Text,
    /// The record's place and key, and its value over several lines.
    Pretty,
}

type Output = Arc<Mutex<dyn Write + Send>>;

fn parse(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    let Options { format } = options::parse(value)?;
    Ok(Arc::new(Console { format, output: Arc::new(Mutex::new(io::stdout())) }))
}

#[derive(Clone)]
struct Console {
    format: Format,
    output: Output,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("format", &self.format).finish_non_exhaustive()
    }
}

impl SinkFactory for Console {
    fn open(&self, _context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Sink for Console {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        let mut text = Vec::new();
        for event in events {
            text.extend(self.format.of(event));
            text.push(b'\n');
        }
        let output = self.output.clone();
        let print = move || {
            let mut output = output.lock();
            output.write_all(&text).and_then(|()| output.flush())
        };
        let printed = tokio::task::spawn_blocking(print).await;
        match printed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(ConnectorError::retryable(format!("print to standard output: {error}")))
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

impl Format {
    fn of(self, event: &Event) -> Vec<u8> {
        let bytes = event.payload.bytes().unwrap_or_else(|| "null".into());
        let as_text = || json!(String::from_utf8_lossy(&bytes)).to_string().into_bytes();
        match self {
            Self::Text => bytes.to_vec(),
            Self::Json => json_line(&bytes).unwrap_or_else(as_text),
            Self::Pretty => {
                let key = event.key.as_ref().map(|key| String::from_utf8_lossy(key));
                let key = key.map_or_else(|| "null".into(), |key| json!(key).to_string());
                let value = match event.payload.json() {
                    Ok(value) => serde_json::to_vec_pretty(value).unwrap_or_default(),
                    Err(_) => bytes.to_vec(),
                };
                [format!("{} key {key}\n", event.source).as_bytes(), &value].concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, event, suite};

    fn console(format: Format) -> (Console, Arc<Mutex<Vec<u8>>>) {
        let output = Arc::new(Mutex::new(Vec::new()));
        (Console { format, output: output.clone() }, output)
    }

    async fn print(format: Format, value: &'static str) -> String {
        let (mut console, output) = console(format);
        console.write(&[event(7, value)]).await.unwrap();
        let printed = output.lock().clone();
        String::from_utf8(printed).unwrap()
    }

    #[tokio::test]
    async fn it_passes_the_suite_of_sinks() {
        let (console, output) = console(Format::Json);
        let mut sink = console.open(World::new().sink_context()).unwrap();
        let read = async || {
            let printed = output.lock().clone();
            String::from_utf8(printed).unwrap().lines().map(Into::into).collect()
        };
        suite::writes_in_order(&mut *sink, read).await;
    }

    #[tokio::test]
    async fn each_format_prints_its_way() {
        assert_eq!(print(Format::Json, "{\"a\":\n 1}").await, "{\"a\":1}\n");
        assert_eq!(print(Format::Json, "hi \"you\"").await, "\"hi \\\"you\\\"\"\n");
        assert_eq!(print(Format::Text, "hi \"you\"").await, "hi \"you\"\n");
        let pretty = print(Format::Pretty, "{\"a\":1}").await;
        assert_eq!(pretty, "topic-0@7 key \"key\"\n{\n  \"a\": 1\n}\n");
    }

    #[tokio::test]
    async fn a_reader_that_went_away_fails_nothing() {
        struct Failing(io::ErrorKind);
        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let console =
            |kind| Console { format: Format::Text, output: Arc::new(Mutex::new(Failing(kind))) };
        console(io::ErrorKind::BrokenPipe).write(&[event(0, "x")]).await.unwrap();
        let error = console(io::ErrorKind::StorageFull).write(&[event(0, "x")]).await.unwrap_err();
        assert!(error.retryable);
    }
}
