//! What a connector is: the contracts of sources and sinks.
//!
//! A connector is a folder of `courant-connectors` and one entry in its list. Its
//! life has three phases: its options are *parsed* (pure; every problem at once),
//! a factory *opens* it (may fail, spawns nothing), and the runtime *runs* it. The
//! pipeline crate knows connectors through these types only.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use courant_log::LogError;
use courant_model::{Clock, Position, Record, TopicName, json::FieldPath};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{event::Event, routes::RouteTable};

/// Every connector there is; built in one visible place and handed to the reader
/// of files.
#[derive(Debug, Default, Clone)]
pub struct Connectors {
    pub sources: Vec<SourceKind>,
    pub sinks: Vec<SinkKind>,
    /// What the step `lookup` may ask beside the stores.
    pub lookups: Vec<LookupKind>,
    /// Logs that a profile may name beside the embedded one.
    pub logs: Vec<LogKind>,
    /// Push servers that a profile may name beside the embedded one.
    pub pushes: Vec<PushKind>,
}

impl Connectors {
    pub fn source(&self, name: &str) -> Option<&SourceKind> {
        self.sources.iter().find(|kind| kind.about.name == name)
    }

    pub fn sink(&self, name: &str) -> Option<&SinkKind> {
        self.sinks.iter().find(|kind| kind.about.name == name)
    }

    pub fn lookup(&self, name: &str) -> Option<&LookupKind> {
        self.lookups.iter().find(|kind| kind.about.name == name)
    }
}

/// A kind of log outside of this process.
#[derive(Debug, Clone, Copy)]
pub struct LogKind {
    /// What its URLs begin with: `kafka`, …
    pub schemes: &'static [&'static str],
    /// Reads a URL; pure. The error is `what; remedy` and holds no secrets.
    pub check: fn(&str) -> Result<(), String>,
}

/// A kind of push server outside of this process.
#[derive(Debug, Clone, Copy)]
pub struct PushKind {
    /// What its URLs begin with: `pusher`, …
    pub schemes: &'static [&'static str],
    /// Reads a URL; pure. The error is `what; remedy` and holds no secrets.
    pub check: fn(&str) -> Result<(), String>,
}

/// What people read of a connector; feeds the reference and the JSON Schema.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The key in the file: `http`, `file`, …
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it promises about delivery, and what it does not.
    pub guarantee: &'static str,
    /// A YAML fragment that is valid under `sources:` or `to:`.
    pub example: &'static str,
    /// JSON Schema of the options.
    pub schema: fn() -> schemars::Schema,
}

/// Options that were read, or everything wrong with them.
pub type Parsed<T> = Result<T, Vec<OptionProblem>>;

/// A kind of source.
#[derive(Debug, Clone, Copy)]
pub struct SourceKind {
    pub about: About,
    /// Reads the options; pure.
    pub parse: fn(&Value) -> Parsed<Arc<dyn SourceFactory>>,
}

/// A kind of sink.
#[derive(Debug, Clone, Copy)]
pub struct SinkKind {
    pub about: About,
    /// Reads the options; pure.
    pub parse: fn(&Value) -> Parsed<Arc<dyn SinkFactory>>,
}

/// A kind of outside that the step `lookup` asks.
#[derive(Debug, Clone, Copy)]
pub struct LookupKind {
    pub about: About,
    /// Reads the options; pure.
    pub parse: fn(&Value) -> Parsed<Arc<dyn LookupFactory>>,
}

/// Something wrong with a connector's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionProblem {
    /// Where within the options: field names and list indices as text, outermost first.
    pub path: Vec<String>,
    pub what: String,
    pub remedy: Option<String>,
}

/// A source whose options are right, ready to open.
pub trait SourceFactory: Send + Sync + fmt::Debug {
    /// HTTP routes that the source will serve, as `(method, path)`, so that
    /// conflicts are found before anything starts.
    fn routes(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Whether the source ends by itself (a file read to its end, standard input).
    fn finite(&self) -> bool {
        false
    }

    /// Opens the source; spawns nothing.
    ///
    /// # Errors
    /// [`ConnectorError`] when the outside refuses in a way that a retry won't mend.
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError>;
}

/// A running source: brings outside data into a topic.
#[async_trait]
pub trait Source: Send + fmt::Debug {
    /// Runs until its input ends or `context.stop` is cancelled, then returns. It
    /// passes records to the emitter, and tells its outside that a record is safe
    /// only after `emit` answered.
    ///
    /// # Errors
    /// A retryable error makes the runtime open the source again, with back-off.
    async fn run(self: Box<Self>) -> Result<(), ConnectorError>;
}

/// What a source is given.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// The source's name in the file.
    pub name: String,
    /// The topic of `to:`.
    pub topic: TopicName,
    /// Whether the file names the field of the key (`key:`), which is applied where a
    /// record comes without one.
    pub has_key: bool,
    pub emitter: Arc<dyn Emit>,
    /// Keeps how far the source has read its outside.
    pub state: Arc<dyn SourceState>,
    pub routes: Arc<RouteTable>,
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
    /// Folder of the file; relative paths in the options start here.
    pub base: std::path::PathBuf,
}

/// Takes a source's records into the log.
#[async_trait]
pub trait Emit: Send + Sync + fmt::Debug {
    /// Appends records and answers when they are durable, with their positions in
    /// order. `topic: None` is the source's own; the source's `key:` is applied
    /// where a record has no key; an origin is stamped where there is none. Waits
    /// while the log cannot take more (backpressure).
    ///
    /// # Errors
    /// [`EmitError::Rejected`] for records that can never be appended (then none was).
    async fn emit(
        &self,
        topic: Option<&TopicName>,
        records: Vec<Record>,
    ) -> Result<Vec<Position>, EmitError>;

    /// Sets an input aside that is no record: bytes and reason go to the source's
    /// dead letters.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    async fn reject(&self, original: Bytes, why: String) -> Result<(), EmitError>;
}

/// Why records were not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EmitError {
    /// The fault is in the record: index within the call, and why.
    #[error("record {index} was refused: {why}")]
    Rejected { index: usize, why: String },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A small durable memory for a source: its own bytes, under a name of its own.
#[async_trait]
pub trait SourceState: Send + Sync + fmt::Debug {
    /// What was saved last.
    ///
    /// # Errors
    /// Storage failures.
    async fn load(&self) -> Result<Option<Bytes>, ConnectorError>;

    /// Replaces what was saved; durable when this answers.
    ///
    /// # Errors
    /// Storage failures.
    async fn save(&self, state: Bytes) -> Result<(), ConnectorError>;
}

/// A sink whose options are right, ready to open.
pub trait SinkFactory: Send + Sync + fmt::Debug {
    /// Opens the sink; one for each task of a pipeline.
    ///
    /// # Errors
    /// [`ConnectorError`] when the outside refuses in a way that a retry won't mend.
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError>;
}

/// What a sink is given.
#[derive(Debug, Clone)]
pub struct SinkContext {
    pub pipeline: String,
    pub clock: Arc<dyn Clock>,
    pub base: std::path::PathBuf,
}

/// A running sink: takes events outside.
#[async_trait]
pub trait Sink: Send + fmt::Debug {
    /// Writes events in order and says which of them the outside refuses for good.
    /// After an error the runtime writes the same events again, so a write is
    /// idempotent or its guarantee says at-least-once.
    ///
    /// # Errors
    /// [`ConnectorError`]: nothing, part or all may have been written.
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError>;

    /// Makes everything written durable outside; called at every checkpoint, before
    /// offsets are committed, and once at the end.
    ///
    /// # Errors
    /// As [`Sink::write`].
    async fn flush(&mut self) -> Result<(), ConnectorError>;
}

/// One event that a sink refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Index within the events of the call.
    pub index: usize,
    pub why: String,
}

/// A lookup whose options are right, ready to open.
pub trait LookupFactory: Send + Sync + fmt::Debug {
    /// The fields whose values a question consists of, each once.
    fn parameters(&self) -> &[FieldPath];

    /// Whether an answer may have any number of items.
    fn has_many(&self) -> bool;

    /// Opens the lookup; one for each task of a pipeline. Spawns nothing.
    ///
    /// # Errors
    /// [`ConnectorError`] when the outside refuses in a way that a retry won't mend.
    fn open(&self, context: LookupContext) -> Result<Arc<dyn Lookup>, ConnectorError>;
}

/// What a lookup is given.
#[derive(Debug, Clone)]
pub struct LookupContext {
    pub pipeline: String,
    /// Folder of the file; relative paths in the options start here.
    pub base: std::path::PathBuf,
    /// How many items of an answer are wanted: the first, or all.
    pub many: bool,
}

/// Something outside that is asked; by several at once.
#[async_trait]
pub trait Lookup: Send + Sync + fmt::Debug {
    /// Answers one question: the parameters' values, in the order of
    /// [`LookupFactory::parameters`]; each is a text, a number or a boolean. Asking
    /// changes nothing outside.
    ///
    /// # Cancel safety
    /// Safe: the question may be asked again.
    ///
    /// # Errors
    /// A retryable error makes the runtime ask again, with back-off.
    async fn ask(&self, parameters: &[Value]) -> Result<Answer, ConnectorError>;
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The items; none where there is nothing.
    Found(Vec<Value>),
    /// The question cannot be answered, whenever it is asked: the record is at fault.
    Refused(String),
}

/// A connector's failure.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct ConnectorError {
    /// What was attempted, the object with its kind, and the cause.
    pub what: String,
    /// Whether trying again may help without anybody changing something.
    pub retryable: bool,
}

impl ConnectorError {
    pub fn retryable(what: impl Into<String>) -> Self {
        Self { what: what.into(), retryable: true }
    }

    pub fn fatal(what: impl Into<String>) -> Self {
        Self { what: what.into(), retryable: false }
    }
}
