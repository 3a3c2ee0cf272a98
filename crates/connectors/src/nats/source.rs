//! The source `nats`: messages of subjects become records.
//!
//! With JetStream a durable consumer pulls: it is the server's memory of what was
//! acknowledged, and sources with the same `durable` share the work. A message is
//! acknowledged after the log has it, and the server's answer is awaited. Without
//! JetStream a subscription takes what is sent while it is there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{
    Subject,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
        context::GetStreamErrorKind,
        stream,
    },
};
use async_trait::async_trait;
use courant_model::{
    Record, Span, Timestamp,
    limits::{
        MESSAGING_CONFIRMS_PENDING_MAX, MESSAGING_UNACKNOWLEDGED_DEFAULT, SOURCE_BATCH_RECORDS_MAX,
    },
};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
};
use futures::{StreamExt, TryStreamExt, stream as iter};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::{
    PROTOCOL, headers,
    link::{Connect, Link, PULL_BYTES_MAX},
};
use crate::messaging::{
    intake::{self, Format},
    problem,
    server::Server,
};

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "nats",
        summary: "Reads subjects of NATS: a stream of JetStream, or what is sent at the moment.",
        guarantee: "With JetStream at least once: a message is acknowledged when its record is \
                    durable, and the server keeps the rest. A lost connection may repeat \
                    messages; the header nats-sequence tells them. With \"jetstream: false\" at \
                    most once: what is sent while the source is away, or faster than the log \
                    takes it, is lost.",
        example: "nats: { url: \"nats://localhost:4222\", stream: ORDERS, durable: courant }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `nats` as a source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The server: nats://host:4222 or tls://host:4222; user and password as
    /// nats://${USER}:${PASSWORD}@host.
    #[schemars(length(min = 1))]
    url: String,
    /// Whether JetStream is used. Default: true.
    #[serde(default = "yes")]
    jetstream: bool,
    /// The stream. Needed with JetStream.
    #[serde(default)]
    stream: Option<String>,
    /// Subjects of the stream, which is then made where it does not exist.
    #[serde(default)]
    #[schemars(length(max = 256))]
    create: Vec<String>,
    /// The consumer's name; sources with the same one share the messages. Needed with
    /// JetStream.
    #[serde(default)]
    durable: Option<String>,
    /// The subjects to read, with the wildcards * and >. Default: all of the stream; needed
    /// without JetStream.
    #[serde(default)]
    subject: Option<String>,
    /// Where a new consumer begins. Default: all.
    #[serde(default)]
    start: Start,
    /// Messages that the server delivers before it sees acknowledgements. Default: 256.
    #[serde(default = "unacknowledged")]
    #[schemars(range(min = 1, max = 10_000))]
    unacknowledged: u16,
    /// After this time the server delivers an unacknowledged message again. Default: 30s.
    #[serde(default = "thirty_seconds")]
    ack_wait: Span,
    /// Without JetStream: subscriptions of the same group share the messages.
    #[serde(default)]
    group: Option<String>,
    /// How a record stands in a message. Default: json.
    #[serde(default)]
    format: Format,
    /// Makes the subject of a message its record's key. Default: false; it is in the
    /// header nats-subject in any case.
    #[serde(default)]
    subject_as_key: bool,
    /// A file with a user's credentials (JWT and key).
    #[serde(default)]
    credentials: Option<PathBuf>,
    /// Certificates to trust instead of this system's: a PEM file.
    #[serde(default)]
    ca: Option<String>,
}

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Start {
    /// With the oldest message of the stream.
    #[default]
    All,
    /// With what comes from now on.
    New,
    /// With the last message of each subject; needs "subject".
    LastPerSubject,
}

const fn yes() -> bool {
    true
}

const fn unacknowledged() -> u16 {
    MESSAGING_UNACKNOWLEDGED_DEFAULT
}

const fn thirty_seconds() -> Span {
    Span::from_millis(30_000)
}

/// What the source needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    server: Server,
    credentials: Option<PathBuf>,
    reading: Reading,
    format: Format,
    subject_as_key: bool,
}

#[derive(Debug, Clone)]
enum Reading {
    Stream(Durable),
    Subject { subject: String, group: Option<String> },
}

/// A durable consumer of a stream.
#[derive(Debug, Clone)]
struct Durable {
    stream: String,
    create: Vec<String>,
    name: String,
    subject: Option<String>,
    start: Start,
    unacknowledged: u16,
    ack_wait: Duration,
}

pub(super) fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = Vec::new();
    let server = Server::read(&options.url, options.ca.as_deref(), PROTOCOL);
    let server = server.map_err(|problem| problems.push(problem)).ok();
    let reading = reading(&options, &mut problems);
    match (server, reading) {
        (Some(server), Some(reading)) if problems.is_empty() => Ok(Arc::new(Settings {
            server,
            credentials: options.credentials,
            reading,
            format: options.format,
            subject_as_key: options.subject_as_key,
        })),
        _ => Err(problems),
    }
}

fn reading(options: &Options, problems: &mut Vec<OptionProblem>) -> Option<Reading> {
    let Options { stream, durable, subject, group, create, .. } = options;
    for (option, text) in [("subject", subject.as_ref())]
        .into_iter()
        .chain(create.iter().map(|subject| ("create", Some(subject))))
    {
        if let Some(text) = text.filter(|text| !is_filter(text)) {
            let what = format!("{text:?} is no subject");
            problems.push(problem(option, what, "write levels such as orders.*.new, or orders.>"));
        }
    }
    if !options.jetstream {
        for (option, set) in [
            ("stream", stream.is_some()),
            ("durable", durable.is_some()),
            ("create", !create.is_empty()),
        ] {
            if set {
                let what = format!("{option:?} needs JetStream");
                problems.push(problem(option, what, "remove it, or \"jetstream: false\""));
            }
        }
        let subject = subject.clone();
        if subject.is_none() {
            let what = "a subject is needed without JetStream";
            problems.push(problem("subject", what, "write subject: orders.>"));
        }
        return Some(Reading::Subject { subject: subject?, group: group.clone() });
    }
    if group.is_some() {
        let remedy = "give sources that share messages the same \"durable\"";
        problems.push(problem("group", "groups are for \"jetstream: false\"", remedy));
    }
    let mut name = |option: &str, name: &Option<String>| match name {
        Some(name) if is_name(name) => Some(name.clone()),
        Some(name) => {
            let what = format!("{name:?} is no name");
            problems.push(problem(option, what, "use letters, digits, '-' and '_'"));
            None
        }
        None => {
            let what = format!("{option:?} is needed with JetStream");
            problems.push(problem(option, what, "add it, or write jetstream: false"));
            None
        }
    };
    let (stream, durable) = (name("stream", stream), name("durable", durable));
    if options.start == Start::LastPerSubject && subject.is_none() {
        let what = "a subject is needed to start with the last of each";
        problems.push(problem("subject", what, "write subject: orders.>"));
    }
    let ack_wait = options.ack_wait.as_duration();
    if ack_wait.is_zero() {
        problems.push(problem("ack_wait", "time is zero", "set 30s or so"));
    }
    Some(Reading::Stream(Durable {
        stream: stream?,
        create: create.clone(),
        name: durable?,
        subject: subject.clone(),
        start: options.start,
        unacknowledged: options.unacknowledged,
        ack_wait,
    }))
}

/// Whether a text names a stream or consumer: what NATS allows in both.
fn is_name(text: &str) -> bool {
    let allowed = |found: char| found.is_ascii_alphanumeric() || matches!(found, '-' | '_');
    !text.is_empty() && text.len() <= 255 && text.chars().all(allowed)
}

/// Whether a text is a subject that may have wildcards as whole levels.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('.').collect();
    levels.iter().enumerate().all(|(index, level)| {
        let wildcard = *level == "*" || (*level == ">" && index + 1 == levels.len());
        let plain = !level.is_empty() && !level.contains(['*', '>', ' ', '\t', '\r', '\n', '\0']);
        wildcard || plain
    })
}

impl SourceFactory for Settings {
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        let connect = Connect {
            server: self.server.clone(),
            credentials: self.credentials.as_ref().map(|file| context.base.join(file)),
            ca: self.server.ca(&context.base),
            buffered: SOURCE_BATCH_RECORDS_MAX,
        };
        Ok(Box::new(Reader { settings: self.clone(), connect, context }))
    }
}

#[derive(Debug)]
struct Reader {
    settings: Settings,
    connect: Connect,
    context: SourceContext,
}

#[async_trait]
impl Source for Reader {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let work = async {
            let link = self.connect.link().await?;
            match &self.settings.reading {
                Reading::Stream(durable) => self.pull(&link, durable).await,
                Reading::Subject { subject, group } => {
                    self.listen(&link, subject, group.as_deref()).await
                }
            }
        };
        self.context.stop.run_until_cancelled(work).await.unwrap_or(Ok(()))
    }
}

impl Reader {
    /// Reads a stream until the connection ends.
    async fn pull(&self, link: &Link, durable: &Durable) -> Result<(), ConnectorError> {
        let consumer = self.consumer(link, durable).await?;
        let failed = |error: &dyn std::fmt::Display| {
            let Durable { stream, name, .. } = durable;
            ConnectorError::retryable(format!("read stream \"{stream}\" as \"{name}\": {error}"))
        };
        let count = usize::from(durable.unacknowledged);
        let messages = consumer
            .stream()
            .max_messages_per_batch(count)
            .max_bytes_per_batch(PULL_BYTES_MAX)
            .messages()
            .await
            .map_err(|error| failed(&error))?;
        let mut batches = messages.ready_chunks(count);
        loop {
            let batch = tokio::select! {
                error = link.lost() => return Err(error),
                batch = batches.next() => batch.ok_or_else(|| failed(&"consumer was deleted"))?,
            };
            let (mut messages, mut end) = (Vec::new(), None);
            for message in batch {
                match message {
                    Ok(message) => messages.push(message),
                    Err(error) => end = Some(failed(&error)),
                }
            }
            let records = messages.iter().map(|message| self.stored(message)).collect();
            intake::take_all(&self.context, self.settings.format, records).await?;
            acknowledge(link, messages).await?;
            end.map_or(Ok(()), Err)?;
        }
    }

    /// The durable consumer, made or as it is.
    async fn consumer(
        &self,
        link: &Link,
        durable: &Durable,
    ) -> Result<PullConsumer, ConnectorError> {
        let Durable { stream: name, create, .. } = durable;
        let server = &self.settings.server;
        let context = jetstream::new(link.client.clone());
        let stream = match context.get_stream(name).await {
            Ok(stream) => stream,
            Err(error) if is_absent(&error.kind()) && create.is_empty() => {
                return Err(ConnectorError::retryable(format!(
                    "stream \"{name}\" does not exist on {server}; make it, or list its subjects \
                     under \"create\""
                )));
            }
            Err(error) if is_absent(&error.kind()) => {
                let config = stream::Config {
                    name: name.clone(),
                    subjects: create.clone(),
                    ..stream::Config::default()
                };
                context.create_stream(config).await.map_err(|error| {
                    let what = format!("make stream \"{name}\" on {server}: {error}");
                    ConnectorError::retryable(what)
                })?
            }
            Err(error) => {
                let what = format!("find stream \"{name}\" on {server}: {error}");
                return Err(ConnectorError::retryable(what));
            }
        };
        stream.create_consumer(durable.config()).await.map_err(|error| {
            let what = format!(
                "make consumer \"{}\" of stream \"{name}\" on {server}: {error}",
                durable.name
            );
            ConnectorError::retryable(what)
        })
    }

    fn stored(&self, message: &jetstream::Message) -> Record {
        let info = message.info().ok();
        let at = info
            .as_ref()
            .and_then(|info| i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).ok());
        let at = at.map_or_else(|| self.context.clock.now(), Timestamp::from_millis);
        let mut record = self.record(message, at);
        if let Some(info) = info {
            record = record.with_header(headers::SEQUENCE, info.stream_sequence.to_string());
        }
        record
    }

    fn record(&self, message: &async_nats::Message, at: Timestamp) -> Record {
        let mut record = Record::new(message.payload.clone(), at);
        let subject = |subject: &Subject| subject.as_str().to_owned();
        if self.settings.subject_as_key {
            record = record.with_key(subject(&message.subject));
        }
        record = record.with_header(headers::SUBJECT, subject(&message.subject));
        if let Some(headers) = &message.headers {
            headers::take(headers, &mut record);
        }
        record
    }

    /// Takes what is sent until the connection ends.
    async fn listen(
        &self,
        link: &Link,
        subject: &str,
        group: Option<&str>,
    ) -> Result<(), ConnectorError> {
        let subscribed = match group {
            Some(group) => link.client.queue_subscribe(subject.to_owned(), group.to_owned()).await,
            None => link.client.subscribe(subject.to_owned()).await,
        };
        let failed = |error: &dyn std::fmt::Display| {
            let server = &self.settings.server;
            ConnectorError::retryable(format!("subscribe to \"{subject}\" on {server}: {error}"))
        };
        let messages = subscribed.map_err(|error| failed(&error))?;
        let mut batches = messages.ready_chunks(SOURCE_BATCH_RECORDS_MAX);
        loop {
            let batch = tokio::select! {
                error = link.lost() => return Err(error),
                batch = batches.next() => batch.ok_or_else(|| failed(&"it ended"))?,
            };
            let now = self.context.clock.now();
            let records = batch.iter().map(|message| self.record(message, now)).collect();
            intake::take_all(&self.context, self.settings.format, records).await?;
        }
    }
}

impl Durable {
    fn config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.name.clone()),
            deliver_policy: match self.start {
                Start::All => DeliverPolicy::All,
                Start::New => DeliverPolicy::New,
                Start::LastPerSubject => DeliverPolicy::LastPerSubject,
            },
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            max_ack_pending: i64::from(self.unacknowledged),
            filter_subject: self.subject.clone().unwrap_or_default(),
            ..pull::Config::default()
        }
    }
}

fn is_absent(kind: &GetStreamErrorKind) -> bool {
    matches!(
        kind,
        GetStreamErrorKind::JetStream(error)
            if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
    )
}

/// Tells the server that messages are safe, and waits until it knows.
async fn acknowledge(link: &Link, messages: Vec<jetstream::Message>) -> Result<(), ConnectorError> {
    let acknowledged = iter::iter(messages.into_iter().map(Ok)).try_for_each_concurrent(
        MESSAGING_CONFIRMS_PENDING_MAX,
        |message| async move {
            message.double_ack().await.map_err(|error| {
                ConnectorError::retryable(format!("acknowledge a message of NATS: {error}"))
            })
        },
    );
    tokio::select! {
        error = link.lost() => Err(error),
        done = acknowledged => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_subjects_are_told_from_others() {
        assert!(is_name("ORDERS-1_x") && !is_name("a.b") && !is_name("") && !is_name("a b"));
        assert!(["a", "a.*.b", "a.>", ">", "*"].iter().all(|text| is_filter(text)));
        assert!(["", "a.", "a..b", "a.>.b", "a*", "a b"].iter().all(|text| !is_filter(text)));
    }
}
