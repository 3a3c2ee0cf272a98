//! The sink `nats`: records become messages.
//!
//! With JetStream a write publishes within a window and answers when the stream has
//! every message. Each has an id made from the record's place in the log, by which the
//! server leaves out repeats. Without JetStream a write answers when the server has
//! received the messages; whether anybody else does is not known.

use std::{collections::VecDeque, fmt, path::PathBuf, sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    context::{Context, ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind},
};
use async_trait::async_trait;
use bytes::Bytes;
use courant_model::limits::{MESSAGING_CONFIRM_MS_MAX, MESSAGING_CONFIRMS_PENDING_MAX};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Rejection, Sink, SinkContext, SinkFactory, SinkKind,
    },
    event::Event,
    options,
};
use futures::StreamExt;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::{
    PROTOCOL, SUBJECT, headers,
    link::{Connect, Link},
};
use crate::messaging::{address::Address, server::Server};

/// The entry in the list of connectors.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "nats",
        summary: "Publishes records to subjects of NATS, with JetStream or without.",
        guarantee: "With JetStream at least once, in order: positions move on when the stream has \
                    the messages; a repeat has the same Nats-Msg-Id, which the server leaves out \
                    within the stream's window of duplicates. With \"jetstream: false\" the server \
                    has received a message, and nobody else need have. A record whose subject \
                    cannot be made, whose headers are not text or that is too large for the server \
                    becomes a dead letter. A tombstone is an empty message.",
        example: "nats: { url: \"nats://localhost:4222\", subject: \"orders.{customerNumber}\" }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `nats` as a sink.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The server: nats://host:4222 or tls://host:4222; user and password as
    /// nats://${USER}:${PASSWORD}@host.
    #[schemars(length(min = 1))]
    url: String,
    /// Where to publish: {field} is the record's, {$key} its key, {$topic} its topic.
    #[schemars(length(min = 1))]
    subject: String,
    /// Whether JetStream is used; a stream must have the subject then. Default: true.
    #[serde(default = "yes")]
    jetstream: bool,
    /// A file with a user's credentials (JWT and key).
    #[serde(default)]
    credentials: Option<PathBuf>,
    /// Certificates to trust instead of this system's: a PEM file.
    #[serde(default)]
    ca: Option<String>,
}

const fn yes() -> bool {
    true
}

/// What the sink needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    server: Server,
    subject: Address,
    jetstream: bool,
    credentials: Option<PathBuf>,
}

pub(super) fn parse(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let server = Server::read(&options.url, options.ca.as_deref(), PROTOCOL);
    match (server, Address::read(&options.subject, &SUBJECT)) {
        (Ok(server), Ok(subject)) => Ok(Arc::new(Settings {
            server,
            subject,
            jetstream: options.jetstream,
            credentials: options.credentials,
        })),
        (server, subject) => Err([server.err(), subject.err()].into_iter().flatten().collect()),
    }
}

impl SinkFactory for Settings {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        let connect = Connect {
            server: self.server.clone(),
            credentials: self.credentials.as_ref().map(|file| context.base.join(file)),
            ca: self.server.ca(&context.base),
            // Answers of the server only.
            buffered: 4 * MESSAGING_CONFIRMS_PENDING_MAX,
        };
        let pipeline = context.pipeline;
        Ok(Box::new(Publisher { settings: self.clone(), connect, pipeline, link: None }))
    }
}

struct Publisher {
    settings: Settings,
    connect: Connect,
    pipeline: String,
    /// The connection, unless it failed.
    link: Option<Link>,
}

/// A record's message.
struct Outbound {
    index: usize,
    subject: String,
    id: String,
    payload: Bytes,
    headers: async_nats::HeaderMap,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for Publisher {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        let (mut messages, mut rejections) = (Vec::new(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            match self.message(index, event) {
                Ok(message) => messages.push(message),
                Err(why) => rejections.push(Rejection { index, why }),
            }
        }
        if !messages.is_empty() {
            let link = match self.link.take() {
                Some(link) if !link.is_lost() => link,
                _ => self.connect.link().await?,
            };
            let refused = tokio::select! {
                error = link.lost() => return Err(error),
                refused = self.publish(&link, messages) => refused?,
            };
            rejections.extend(refused);
            self.link = Some(link);
        }
        rejections.sort_by_key(|rejection| rejection.index);
        Ok(rejections)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

impl Publisher {
    fn message(&self, index: usize, event: &Event) -> Result<Outbound, String> {
        let subject = self.settings.subject.of(event)?;
        // A stream's ids are shared by all that publish to it: pipeline and subject keep
        // targets apart, and the time keeps a log apart from another of the same names.
        let id = format!(
            "{}/{subject}/{}@{}",
            self.pipeline,
            event.default_id(),
            event.timestamp.as_millis()
        );
        Ok(Outbound {
            index,
            subject,
            id,
            payload: event.payload.bytes().unwrap_or_default(),
            headers: headers::of(&event.to_record().headers)?,
        })
    }

    async fn publish(
        &self,
        link: &Link,
        messages: Vec<Outbound>,
    ) -> Result<Vec<Rejection>, ConnectorError> {
        if self.settings.jetstream {
            self.publish_stored(link, messages).await
        } else {
            self.publish_plain(link, messages).await
        }
    }

    /// Publishes in order and waits until the stream has all; answers the refused.
    async fn publish_stored(
        &self,
        link: &Link,
        messages: Vec<Outbound>,
    ) -> Result<Vec<Rejection>, ConnectorError> {
        let context: Context = ContextBuilder::new()
            .timeout(Duration::from_millis(MESSAGING_CONFIRM_MS_MAX))
            .max_ack_inflight(MESSAGING_CONFIRMS_PENDING_MAX)
            .build(link.client.clone());
        let mut waiting: VecDeque<(String, PublishAckFuture)> = VecDeque::new();
        let mut refused = Vec::new();
        for message in messages {
            if waiting.len() == MESSAGING_CONFIRMS_PENDING_MAX {
                self.confirm(waiting.pop_front()).await?;
            }
            let Outbound { index, subject, id, payload, headers } = message;
            let publish = jetstream::message::PublishMessage::build()
                .payload(payload)
                .headers(headers)
                .message_id(id);
            match context.send_publish(subject.clone(), publish).await {
                Ok(confirmation) => waiting.push_back((subject, confirmation)),
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    refused.push(Rejection { index, why: error.to_string() });
                }
                Err(error) => return Err(self.failure(&subject, &error)),
            }
        }
        while let Some(first) = waiting.pop_front() {
            self.confirm(Some(first)).await?;
        }
        Ok(refused)
    }

    async fn confirm(
        &self,
        waiting: Option<(String, PublishAckFuture)>,
    ) -> Result<(), ConnectorError> {
        let Some((subject, confirmation)) = waiting else { return Ok(()) };
        let done = confirmation.await;
        done.map(|_| ()).map_err(|error| self.failure(&subject, &error))
    }

    fn failure(&self, subject: &str, error: &PublishError) -> ConnectorError {
        let server = &self.settings.server;
        let remedy = match error.kind() {
            PublishErrorKind::StreamNotFound => "; make a stream that has it",
            _ => "",
        };
        ConnectorError::retryable(format!(
            "publish to subject \"{subject}\" on {server}: {error}{remedy}"
        ))
    }

    /// Publishes in order and waits until the server has received all.
    async fn publish_plain(
        &self,
        link: &Link,
        messages: Vec<Outbound>,
    ) -> Result<Vec<Rejection>, ConnectorError> {
        let mut refused = Vec::new();
        for Outbound { index, subject, payload, headers, .. } in messages {
            let sent = link.client.publish_with_headers(subject.clone(), headers, payload).await;
            match sent {
                Ok(()) => {}
                Err(error)
                    if error.kind() == async_nats::client::PublishErrorKind::MaxPayloadExceeded =>
                {
                    refused.push(Rejection { index, why: error.to_string() });
                }
                Err(error) => return Err(self.unsent(&error)),
            }
        }
        self.received(link).await?;
        Ok(refused)
    }

    /// Waits until the server has read all that was sent. A flush of the library only hands
    /// the bytes to the system; a message to oneself comes back behind them.
    async fn received(&self, link: &Link) -> Result<(), ConnectorError> {
        let (client, inbox) = (&link.client, link.client.new_inbox());
        let mut echo =
            client.subscribe(inbox.clone()).await.map_err(|error| self.unsent(&error))?;
        client.publish(inbox, Bytes::new()).await.map_err(|error| self.unsent(&error))?;
        let within = Duration::from_millis(MESSAGING_CONFIRM_MS_MAX);
        match tokio::time::timeout(within, echo.next()).await {
            Ok(Some(_)) => Ok(()),
            _ => Err(self.unsent(&"no answer of the server")),
        }
    }

    fn unsent(&self, error: &dyn fmt::Display) -> ConnectorError {
        ConnectorError::retryable(format!("publish to {}: {error}", self.settings.server))
    }
}
