//! The source `amqp`: messages of a queue become records.
//!
//! The broker delivers up to `prefetch` messages ahead; they are acknowledged after the
//! log has them, a batch with one answer. What was not acknowledged when a connection
//! ends, the broker delivers again. A message that is no record goes to the dead
//! letters of the source, or back to the broker for its own.

use std::sync::Arc;

use async_trait::async_trait;
use courant_model::limits::MESSAGING_UNACKNOWLEDGED_DEFAULT;
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
};
use futures::StreamExt;
use lapin::{
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::{
    link::{self, Connect, Link},
    properties::record_of,
};
use crate::{
    deliver::set_aside,
    messaging::{
        intake::{self, Format},
        problem,
        server::Server,
    },
};

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "amqp",
        summary: "Consumes a queue of RabbitMQ (AMQP 0-9-1).",
        guarantee: "At least once: a message is acknowledged when its record is durable. A lost \
                    connection may repeat messages, which then have the header amqp-redelivered.",
        example: "amqp: { url: \"amqp://localhost:5672\", queue: orders }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `amqp` as a source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The broker: amqp://host:5672/virtual-host or amqps://host:5671; user and password
    /// as amqp://${USER}:${PASSWORD}@host.
    #[schemars(length(min = 1))]
    url: String,
    /// The queue.
    #[schemars(length(min = 1, max = 255))]
    queue: String,
    /// Whether the queue exists already, or is made. Default: existing.
    #[serde(default)]
    declare: Declare,
    /// Exchanges that the queue gets messages from. They must exist.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    bindings: Vec<Binding>,
    /// Where the broker sends what is rejected, for a queue that is made.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    dead_letter_exchange: Option<String>,
    /// Messages that the broker delivers before it sees acknowledgements. Default: 256.
    #[serde(default = "prefetch")]
    #[schemars(range(min = 1, max = 10_000))]
    prefetch: u16,
    /// What becomes of a message that is no record. Default: set_aside.
    #[serde(default)]
    refused: Refused,
    /// How a record stands in a message. Default: json.
    #[serde(default)]
    format: Format,
    /// Makes the routing key of a message its record's key. Default: false; it is in the
    /// header amqp-routing-key in any case.
    #[serde(default)]
    routing_key_as_key: bool,
    /// Certificates to trust beside the public ones: a PEM file.
    #[serde(default)]
    ca: Option<String>,
}

/// Whether a queue is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Declare {
    /// It must exist.
    #[default]
    Existing,
    /// A classic queue that survives the broker's restart.
    Durable,
    /// A replicated queue.
    Quorum,
}

/// What becomes of a message that is no record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Refused {
    /// It goes to the dead letters of the source.
    #[default]
    SetAside,
    /// It is rejected: the broker drops it, or sends it to the queue's dead-letter exchange.
    Reject,
}

/// A binding of the queue.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Binding {
    /// The exchange.
    #[schemars(length(min = 1, max = 255))]
    exchange: String,
    /// The routing key, with the wildcards * and # for a topic exchange. Default: empty.
    #[serde(default)]
    #[schemars(length(max = 255))]
    routing_key: String,
}

const fn prefetch() -> u16 {
    MESSAGING_UNACKNOWLEDGED_DEFAULT
}

/// What the source needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    server: Server,
    queue: ShortString,
    declare: Declare,
    bindings: Vec<(ShortString, ShortString)>,
    dead_letter_exchange: Option<ShortString>,
    prefetch: u16,
    refused: Refused,
    format: Format,
    routing_key_as_key: bool,
}

pub(super) fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = Vec::new();
    let mut short = |option: &str, text: String| {
        ShortString::try_new(text).map_err(|_| {
            problems.push(problem(option, "text has more than 255 bytes", "shorten it"));
        })
    };
    let queue = short("queue", options.queue);
    let exchange = options.dead_letter_exchange.map(|name| short("dead_letter_exchange", name));
    let exchange = exchange.transpose();
    let bindings: Result<Vec<_>, ()> = options
        .bindings
        .into_iter()
        .map(|Binding { exchange, routing_key }| {
            Ok((short("bindings", exchange)?, short("bindings", routing_key)?))
        })
        .collect();
    if exchange.as_ref().is_ok_and(Option::is_some) && options.declare == Declare::Existing {
        let what = "the queue is not made, so it keeps its own dead-letter exchange";
        problems.push(problem("dead_letter_exchange", what, "add declare: durable, or quorum"));
    }
    let server = link::server(&options.url, options.ca.as_deref());
    let server = server.map_err(|problem| problems.push(problem));
    match (server, queue, exchange, bindings) {
        (Ok(server), Ok(queue), Ok(dead_letter_exchange), Ok(bindings)) if problems.is_empty() => {
            Ok(Arc::new(Settings {
                server,
                queue,
                declare: options.declare,
                bindings,
                dead_letter_exchange,
                prefetch: options.prefetch,
                refused: options.refused,
                format: options.format,
                routing_key_as_key: options.routing_key_as_key,
            }))
        }
        _ => Err(problems),
    }
}

impl SourceFactory for Settings {
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        let connect = Connect {
            server: self.server.clone(),
            ca: self.server.ca(&context.base),
            name: format!("courant source {}", context.name),
        };
        Ok(Box::new(Consuming { settings: self.clone(), connect, context }))
    }
}

#[derive(Debug)]
struct Consuming {
    settings: Settings,
    connect: Connect,
    context: SourceContext,
}

#[async_trait]
impl Source for Consuming {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let stop = self.context.stop.clone();
        let Some(link) = stop.run_until_cancelled(self.connect.link()).await else { return Ok(()) };
        let link = link?;
        match stop.run_until_cancelled(self.consume(&link)).await {
            Some(ended) => ended,
            None => {
                link.close().await;
                Ok(())
            }
        }
    }
}

impl Consuming {
    /// Consumes the queue until the connection ends.
    async fn consume(&self, link: &Link) -> Result<(), ConnectorError> {
        let Settings { queue, prefetch, .. } = &self.settings;
        self.declare(link).await?;
        let attempt = format!("consume queue \"{queue}\"");
        let failed = |error: &lapin::Error| link.failure(&attempt, error);
        let channel = &link.channel;
        let ahead = channel.basic_qos(*prefetch, BasicQosOptions::default()).await;
        ahead.map_err(|error| failed(&error))?;
        let consumer = channel
            .basic_consume(
                queue.clone(),
                ShortString::default(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(|error| failed(&error))?;
        let mut batches = consumer.ready_chunks(usize::from(*prefetch));
        while let Some(batch) = batches.next().await {
            let mut deliveries = Vec::with_capacity(batch.len());
            for delivery in batch {
                deliveries.push(delivery.map_err(|error| failed(&error))?);
            }
            self.take(link, deliveries).await?;
        }
        Err(ConnectorError::retryable(format!("{attempt}: the broker ended it")))
    }

    /// Makes messages durable and tells the broker.
    async fn take(&self, link: &Link, mut deliveries: Vec<Delivery>) -> Result<(), ConnectorError> {
        let Settings { format, routing_key_as_key, refused, .. } = &self.settings;
        let now = self.context.clock.now();
        let records =
            deliveries.iter_mut().map(|one| record_of(one, *routing_key_as_key, now)).collect();
        let no_records = intake::take(&self.context, *format, records).await?;
        let mut rejected = Vec::new();
        for one in no_records {
            match refused {
                Refused::SetAside => set_aside(&*self.context.emitter, one.body, one.why).await?,
                Refused::Reject => rejected.push(one.index),
            }
        }
        let failed = |error: &lapin::Error| link.failure("acknowledge messages", error);
        let gone = || ConnectorError::retryable("acknowledge messages: the channel is closed");
        for index in &rejected {
            let options = BasicRejectOptions { requeue: false };
            let told = deliveries[*index].reject(options).await.map_err(|error| failed(&error))?;
            told.then_some(()).ok_or_else(gone)?;
        }
        // One answer for all: what is rejected has been answered before.
        let last = (0..deliveries.len()).rev().find(|index| !rejected.contains(index));
        if let Some(last) = last {
            let options = BasicAckOptions { multiple: true };
            let told = deliveries[last].ack(options).await.map_err(|error| failed(&error))?;
            told.then_some(()).ok_or_else(gone)?;
        }
        Ok(())
    }

    /// Makes the queue, or sees that it is there, and binds it.
    async fn declare(&self, link: &Link) -> Result<(), ConnectorError> {
        let Settings { queue, declare, bindings, dead_letter_exchange, .. } = &self.settings;
        let mut arguments = FieldTable::default();
        if let Some(exchange) = dead_letter_exchange {
            let name = AMQPValue::LongString(exchange.as_str().into());
            arguments.insert("x-dead-letter-exchange".into(), name);
        }
        if *declare == Declare::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        let passive = *declare == Declare::Existing;
        let options = QueueDeclareOptions { passive, durable: !passive, ..Default::default() };
        let declared = link.channel.queue_declare(queue.clone(), options, arguments).await;
        declared.map_err(|error| {
            let attempt = if passive { "find" } else { "make" };
            let mut failure = link.failure(&format!("{attempt} queue \"{queue}\""), &error);
            if passive {
                failure.what.push_str("; make it, or write declare: durable");
            }
            failure
        })?;
        for (exchange, routing_key) in bindings {
            let bound = link
                .channel
                .queue_bind(
                    queue.clone(),
                    exchange.clone(),
                    routing_key.clone(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await;
            bound.map_err(|error| {
                let attempt = format!("bind queue \"{queue}\" to exchange \"{exchange}\"");
                link.failure(&attempt, &error)
            })?;
        }
        Ok(())
    }
}
