//! The source `stdin`: what is piped into the process, until it ends.
//!
//! A thread of its own reads, because a read of a terminal cannot be interrupted
//! and must not hold a stopping process; a bounded queue lies between. What was
//! read cannot be read again, so nothing is remembered.

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use courant_model::{
    Record,
    limits::{CSV_ROW_BYTES_MAX, MESSAGE_BYTES_MAX, REJECTED_BYTES_MAX, SOURCE_BATCH_RECORDS_MAX},
};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
};
use indexmap::IndexMap;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    deliver::{deliver, set_aside},
    formats::{
        Format,
        decode::{CsvLayout, Decoder},
        pieces::{Piece, Splitter, Start},
    },
};

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "stdin",
        summary: "Reads standard input until its end.",
        guarantee: "Each record once while the process lives. What was read and not yet \
                    appended when it dies is lost; pipe a file to a file source to be sure.",
        example: "stdin: { format: ndjson }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `stdin`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// How records stand in the input. Default: ndjson.
    #[serde(default)]
    format: StdinFormat,
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
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StdinFormat {
    /// One JSON value on each line.
    #[default]
    Ndjson,
    /// Rows of fields; each becomes a JSON object.
    Csv,
    /// Each line is a record's value, as it is.
    Text,
}

const fn yes() -> bool {
    true
}

const fn comma() -> char {
    ','
}

/// Bytes that are read at a time, and how many such chunks wait.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_MAX: usize = 4;

fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let format = match options.format {
        StdinFormat::Ndjson => Format::Ndjson,
        StdinFormat::Csv => Format::Csv,
        StdinFormat::Text => Format::Text,
    };
    let layout = CsvLayout::read(format, options.header, options.delimiter, &options.columns)?;
    Ok(Arc::new(Input { format, layout, open: || Box::new(io::stdin()) }))
}

/// An input that is read to its end.
struct Input {
    format: Format,
    layout: CsvLayout,
    open: fn() -> Box<dyn Read + Send>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("format", &self.format).finish_non_exhaustive()
    }
}

impl SourceFactory for Input {
    fn finite(&self) -> bool {
        true
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        let splitter = match self.format {
            Format::Csv => {
                Splitter::rows(Start::BEGINNING, self.layout.delimiter, CSV_ROW_BYTES_MAX)
            }
            _ => Splitter::lines(Start::BEGINNING, MESSAGE_BYTES_MAX),
        };
        let decoder = Decoder::new(self.format, &self.layout, None);
        Ok(Box::new(Running { context, splitter, decoder, open: self.open }))
    }
}

struct Running {
    context: SourceContext,
    splitter: Splitter,
    decoder: Decoder,
    open: fn() -> Box<dyn Read + Send>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("splitter", &self.splitter).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for Running {
    async fn run(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let stop = self.context.stop.clone();
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let open = self.open;
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(move || read_all(open(), &sender))
            .map_err(|error| ConnectorError::retryable(format!("start a thread: {error}")))?;
        stop.run_until_cancelled(self.take_all(chunks)).await.unwrap_or(Ok(()))
    }
}

/// Reads to the end, or until nobody listens.
fn read_all(mut input: impl Read, sender: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = match input.read(&mut chunk) {
            Ok(0) => return,
            Ok(bytes) => {
                chunk.truncate(bytes);
                Ok(chunk)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

impl Running {
    async fn take_all(
        &mut self,
        mut chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    ) -> Result<(), ConnectorError> {
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk
                .map_err(|error| ConnectorError::fatal(format!("read standard input: {error}")))?;
            self.splitter.push(&chunk);
            self.hand_over(false).await?;
        }
        self.hand_over(true).await
    }

    async fn hand_over(&mut self, at_end: bool) -> Result<(), ConnectorError> {
        let mut records = Vec::new();
        while let Some(piece) = self.splitter.next(at_end) {
            match self.decoder.decode(&piece) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    let value = Bytes::copy_from_slice(&value);
                    records.push(Record::new(value, self.context.clock.now()));
                }
                Err(fault) => {
                    let column = fault.column.map(|column| format!(":{column}"));
                    let column = column.unwrap_or_default();
                    let why = format!("stdin:{}{column}: {}", piece.line, fault.why);
                    self.set_aside(&piece, why).await?;
                }
            }
            if records.len() >= SOURCE_BATCH_RECORDS_MAX {
                self.deliver(std::mem::take(&mut records)).await?;
            }
        }
        self.deliver(records).await
    }

    async fn deliver(&self, records: Vec<Record>) -> Result<(), ConnectorError> {
        deliver(&*self.context.emitter, &self.context.topic, records).await
    }

    async fn set_aside(&self, piece: &Piece, why: String) -> Result<(), ConnectorError> {
        let kept = piece.bytes.slice(..piece.bytes.len().min(REJECTED_BYTES_MAX));
        set_aside(&*self.context.emitter, kept, why).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{World, suite};

    fn input(format: Format, open: fn() -> Box<dyn Read + Send>) -> Input {
        let layout = CsvLayout::read(format, true, ',', &IndexMap::new()).unwrap();
        Input { format, layout, open }
    }

    #[tokio::test]
    async fn lines_arrive_and_a_bad_one_is_set_aside() {
        let world = World::new();
        let input = input(Format::Ndjson, || Box::new(&b"{\"n\":1}\n{oops\n{\"n\":2}"[..]));
        suite::runs_to_its_end(&world, &input).await;
        assert_eq!(world.emit.values(), ["{\"n\":1}", "{\"n\":2}"]);
        let (original, why) = world.emit.rejected().remove(0);
        assert_eq!(original, "{oops");
        assert!(why.starts_with("stdin:2:2: line is not JSON"), "{why}");
    }

    #[tokio::test]
    async fn rows_and_texts_arrive() {
        let world = World::new();
        suite::runs_to_its_end(&world, &input(Format::Csv, || Box::new(&b"a,b\n1,x\n"[..]))).await;
        suite::runs_to_its_end(&world, &input(Format::Text, || Box::new(&b"hi there\n"[..]))).await;
        assert_eq!(world.emit.values(), ["{\"a\":\"1\",\"b\":\"x\"}", "hi there"]);
    }

    #[tokio::test]
    async fn it_stops_while_its_input_is_silent() {
        /// Never gives a byte.
        struct Silent;
        impl Read for Silent {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                loop {
                    std::thread::park();
                }
            }
        }
        suite::stops_promptly(&World::new(), &input(Format::Text, || Box::new(Silent))).await;
    }

    #[test]
    fn options_are_read() {
        assert!(parse(&Value::Null).is_ok());
        assert!(parse(&json!({ "format": "csv", "delimiter": "\t" })).is_ok());
        let problems = parse(&json!({ "format": "json" })).unwrap_err();
        assert_eq!(problems[0].path, ["format"]);
    }
}
