//! The sink `amqp`: records become messages.
//!
//! A write publishes within a window and answers when the broker has confirmed every
//! message, so a flush has nothing left to do. A message that reaches no queue comes
//! back and is refused. After a failure the connection is given up, and the runtime
//! writes the same records again over another.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

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
use lapin::{
    BasicProperties, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::{
    ROUTING_KEY,
    link::{self, Connect, Link},
    properties::properties_of,
};
use crate::messaging::{address::Address, problem, server::Server};

/// The delivery mode of a message that the broker keeps on disk, and of one that it need not.
const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// The entry in the list of connectors.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "amqp",
        summary: "Publishes records to an exchange of RabbitMQ (AMQP 0-9-1).",
        guarantee: "At least once, in order: positions move on when the broker has confirmed. A \
                    lost connection may repeat messages, with the same message id. A record that \
                    reaches no queue (unless \"mandatory: false\"), whose routing key cannot be \
                    made or whose headers do not fit becomes a dead letter. A tombstone is an \
                    empty message.",
        example: "amqp: { url: \"amqp://localhost:5672\", exchange: orders, routing_key: \"order.{status}\" }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `amqp` as a sink.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The broker: amqp://host:5672/virtual-host or amqps://host:5671; user and password
    /// as amqp://${USER}:${PASSWORD}@host.
    #[schemars(length(min = 1))]
    url: String,
    /// The exchange; it must exist. Default: the broker's own, where the routing key is
    /// the queue.
    #[serde(default)]
    #[schemars(length(max = 255))]
    exchange: String,
    /// The routing key: {field} is the record's, {$key} its key, {$topic} its topic.
    routing_key: String,
    /// Whether a message that reaches no queue is refused. Default: true.
    #[serde(default = "yes")]
    mandatory: bool,
    /// Whether durable queues keep the messages on disk. Default: true.
    #[serde(default = "yes")]
    persistent: bool,
    /// The content type where a record has no header content-type. Default:
    /// application/json.
    #[serde(default = "json")]
    #[schemars(length(max = 255))]
    content_type: String,
    /// Certificates to trust beside the public ones: a PEM file.
    #[serde(default)]
    ca: Option<String>,
}

const fn yes() -> bool {
    true
}

fn json() -> String {
    "application/json".into()
}

/// What the sink needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    server: Server,
    exchange: ShortString,
    routing_key: Address,
    mandatory: bool,
    persistent: bool,
    content_type: ShortString,
}

pub(super) fn parse(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let short = |option: &str, text: String| {
        let long = |_| problem(option, "text has more than 255 bytes", "shorten it");
        ShortString::try_new(text).map_err(long)
    };
    let server = link::server(&options.url, options.ca.as_deref());
    let routing_key = Address::read(&options.routing_key, &ROUTING_KEY);
    let exchange = short("exchange", options.exchange);
    let content_type = short("content_type", options.content_type);
    match (server, routing_key, exchange, content_type) {
        (Ok(server), Ok(routing_key), Ok(exchange), Ok(content_type)) => Ok(Arc::new(Settings {
            server,
            exchange,
            routing_key,
            mandatory: options.mandatory,
            persistent: options.persistent,
            content_type,
        })),
        (server, routing_key, exchange, content_type) => {
            let problems = [server.err(), routing_key.err(), exchange.err(), content_type.err()];
            Err(problems.into_iter().flatten().collect())
        }
    }
}

impl SinkFactory for Settings {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        let connect = Connect {
            server: self.server.clone(),
            ca: self.server.ca(&context.base),
            name: format!("courant pipeline {}", context.pipeline),
        };
        Ok(Box::new(Publisher { settings: self.clone(), connect, link: None }))
    }
}

struct Publisher {
    settings: Settings,
    connect: Connect,
    /// The connection, unless it failed.
    link: Option<Link>,
}

/// A record's message.
struct Outbound {
    index: usize,
    routing_key: ShortString,
    payload: Bytes,
    properties: BasicProperties,
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
            match self.settings.message(index, event) {
                Ok(message) => messages.push(message),
                Err(why) => rejections.push(Rejection { index, why }),
            }
        }
        if !messages.is_empty() {
            let link = self.link().await?;
            rejections.extend(self.settings.publish(&link, messages).await?);
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
    /// The connection, or another one when it ended while nothing was written.
    async fn link(&mut self) -> Result<Link, ConnectorError> {
        if let Some(link) = self.link.take()
            && link.channel.status().connected()
        {
            return Ok(link);
        }
        let link = self.connect.link().await?;
        let confirming = link.channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirming.map_err(|error| link.failure("ask for confirmations", &error))?;
        Ok(link)
    }
}

impl Settings {
    fn message(&self, index: usize, event: &Event) -> Result<Outbound, String> {
        let mut properties = properties_of(&event.to_record().headers, &event.default_id())?
            .with_delivery_mode(if self.persistent { PERSISTENT } else { TRANSIENT });
        if properties.content_type().is_none() {
            properties = properties.with_content_type(self.content_type.clone());
        }
        if let Ok(seconds) = u64::try_from(event.timestamp.as_millis() / 1_000) {
            properties = properties.with_timestamp(seconds);
        }
        let routing_key = self.routing_key.of(event)?;
        Ok(Outbound {
            index,
            routing_key: ShortString::try_new(routing_key).map_err(|error| error.to_string())?,
            payload: event.payload.bytes().unwrap_or_default(),
            properties,
        })
    }

    /// Publishes in order and waits until all are confirmed; answers the refused.
    async fn publish(
        &self,
        link: &Link,
        messages: Vec<Outbound>,
    ) -> Result<Vec<Rejection>, ConnectorError> {
        let mut waiting: VecDeque<(usize, PublisherConfirm)> = VecDeque::new();
        let mut refused = Vec::new();
        for message in messages {
            if waiting.len() == MESSAGING_CONFIRMS_PENDING_MAX
                && let Some((index, confirm)) = waiting.pop_front()
            {
                refused.extend(self.confirm(link, index, confirm).await?);
            }
            let options =
                BasicPublishOptions { mandatory: self.mandatory, ..BasicPublishOptions::default() };
            let Outbound { index, routing_key, payload, properties } = message;
            let exchange = self.exchange.clone();
            let sent =
                link.channel.basic_publish(exchange, routing_key, options, &payload, properties);
            match sent.await {
                Ok(confirm) => waiting.push_back((index, confirm)),
                Err(error) => return Err(self.cause(link, waiting, &error).await),
            }
        }
        for (index, confirm) in waiting {
            refused.extend(self.confirm(link, index, confirm).await?);
        }
        Ok(refused)
    }

    /// Waits for one confirmation.
    async fn confirm(
        &self,
        link: &Link,
        index: usize,
        confirm: PublisherConfirm,
    ) -> Result<Option<Rejection>, ConnectorError> {
        let within = Duration::from_millis(MESSAGING_CONFIRM_MS_MAX);
        let exchange = &self.exchange;
        match tokio::time::timeout(within, confirm).await {
            Ok(Ok(Confirmation::Ack(None) | Confirmation::NotRequested)) => Ok(None),
            Ok(Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)))) => {
                let why = format!(
                    "exchange \"{exchange}\" has no queue for routing key \"{}\": {}",
                    returned.delivery.routing_key, returned.reply_text
                );
                Ok(Some(Rejection { index, why }))
            }
            // The broker could not keep it: a full queue or disk, which may pass.
            Ok(Ok(Confirmation::Nack(None))) => Err(ConnectorError::retryable(format!(
                "publish to exchange \"{exchange}\": the broker could not take a message"
            ))),
            Ok(Err(error)) => Err(self.failure(link, &error)),
            Err(_) => Err(ConnectorError::retryable(format!(
                "publish to exchange \"{exchange}\": no confirmation in \
                 {MESSAGING_CONFIRM_MS_MAX} ms"
            ))),
        }
    }

    /// Why a message could not be sent: the broker's word on an earlier one, if it closed
    /// the channel for that.
    async fn cause(
        &self,
        link: &Link,
        waiting: VecDeque<(usize, PublisherConfirm)>,
        error: &lapin::Error,
    ) -> ConnectorError {
        for (index, confirm) in waiting {
            if let Err(cause) = self.confirm(link, index, confirm).await {
                return cause;
            }
        }
        self.failure(link, error)
    }

    fn failure(&self, link: &Link, error: &lapin::Error) -> ConnectorError {
        link.failure(&format!("publish to exchange \"{}\"", self.exchange), error)
    }
}
