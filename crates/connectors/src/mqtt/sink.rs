//! The sink `mqtt`: records become messages.
//!
//! A write publishes within a window and answers when the broker has confirmed every
//! message, so a flush has nothing left to do. After a failure the connection is given
//! up, and the runtime writes the same records again over another.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use courant_model::{
    Span,
    limits::{
        MESSAGING_CONFIRM_MS_MAX, MESSAGING_CONFIRMS_PENDING_MAX, MQTT_EXACTLY_ONCE_PENDING_MAX,
    },
};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Rejection, Sink, SinkContext, SinkFactory, SinkKind,
    },
    event::Event,
    options,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::{
    PROTOCOL, TOPIC, Version,
    properties::properties_of,
    session::{Connect, Note, Outbound, Session},
    source::{connected, tls_of},
};
use crate::messaging::{address::Address, problem, server::Server};

/// The entry in the list of connectors.
pub(crate) const SINK: SinkKind = SinkKind {
    about: About {
        name: "mqtt",
        summary: "Publishes records to topics of an MQTT broker, 3.1.1 or 5.",
        guarantee: "At least once, in order: positions move on when the broker has confirmed. A \
                    lost connection may repeat messages, with qos 2 too. A record that the broker \
                    refuses, whose topic cannot be made or whose headers are not text becomes a \
                    dead letter. A tombstone is an empty message.",
        example: "mqtt: { url: \"mqtt://localhost:1883\", topic: \"orders/{customerNumber}\" }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `mqtt` as a sink.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The broker: mqtt://host:1883 or mqtts://host:8883; user and password as
    /// mqtt://${USER}:${PASSWORD}@host.
    #[schemars(length(min = 1))]
    url: String,
    /// Where to publish: {field} is the record's, {$key} its key, {$topic} its topic.
    #[schemars(length(min = 1))]
    topic: String,
    /// The protocol's version: MQTT 5 or 3.1.1, which carries no headers. Default: v5.
    #[serde(default)]
    version: Version,
    /// Quality of service: 1 at least once, 2. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 2))]
    qos: u8,
    /// Whether the broker keeps the last message of each topic for later subscribers.
    /// Default: false.
    #[serde(default)]
    retain: bool,
    /// How long the broker keeps a message that waits (v5). Default: without end.
    #[serde(default)]
    expiry: Option<Span>,
    /// The content type where a record has no header content-type (v5).
    #[serde(default)]
    content_type: Option<String>,
    /// Certificates to trust instead of this system's: a PEM file.
    #[serde(default)]
    ca: Option<String>,
}

const fn one() -> u8 {
    1
}

/// What the sink needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    server: Server,
    topic: Address,
    version: Version,
    qos: u8,
    retain: bool,
    expiry_s: Option<u32>,
    content_type: Option<String>,
}

pub(super) fn parse(value: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let server = Server::read(&options.url, options.ca.as_deref(), PROTOCOL);
    let topic = Address::read(&options.topic, &TOPIC);
    let expiry_s = options.expiry.map(|expiry| expiry.as_duration().as_secs());
    let bad_expiry = expiry_s.is_some_and(|expiry| expiry == 0 || expiry > u64::from(u32::MAX));
    let expiry = (!bad_expiry)
        .then_some(expiry_s)
        .ok_or_else(|| problem("expiry", "time is out of bounds", "set 1s or more"));
    match (server, topic, expiry) {
        (Ok(server), Ok(topic), Ok(expiry_s)) => Ok(Arc::new(Settings {
            server,
            topic,
            version: options.version,
            qos: options.qos,
            retain: options.retain,
            expiry_s: expiry_s.and_then(|expiry| u32::try_from(expiry).ok()),
            content_type: options.content_type,
        })),
        (server, topic, expiry) => {
            Err([server.err(), topic.err(), expiry.err()].into_iter().flatten().collect())
        }
    }
}

impl SinkFactory for Settings {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        let connect = Connect {
            tls: tls_of(&self.server, &context.base)?,
            server: self.server.clone(),
            version: self.version,
            // One for each task: a broker ends the older connection of an id.
            client_id: format!("courant-{}", uuid::Uuid::new_v4().simple()),
            expiry: Duration::ZERO,
            unacknowledged: 1,
            exactly_once: false,
        };
        Ok(Box::new(Publisher { settings: self.clone(), connect, session: None }))
    }
}

struct Publisher {
    settings: Settings,
    connect: Connect,
    /// The connection, unless it failed.
    session: Option<Session>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for Publisher {
    async fn write(&mut self, events: &[Event]) -> Result<Vec<Rejection>, ConnectorError> {
        let (mut messages, mut rejections) = (Vec::new(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            match self.settings.message(event) {
                Ok(message) => messages.push((index, message)),
                Err(why) => rejections.push(Rejection { index, why }),
            }
        }
        if !messages.is_empty() {
            let mut session = self.session().await?;
            let refused = self.settings.publish(&mut session, &messages).await?;
            // The client library miscounts what is refused; a fresh one starts from zero.
            self.session = refused.is_empty().then_some(session);
            rejections.extend(refused);
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
    async fn session(&mut self) -> Result<Session, ConnectorError> {
        if let Some(mut session) = self.session.take()
            && std::iter::from_fn(|| session.try_next())
                .all(|note| !matches!(note, Note::Lost(_) | Note::Closed))
        {
            return Ok(session);
        }
        let mut session = Session::open(&self.connect);
        connected(&mut session, &self.settings.server).await?;
        Ok(session)
    }
}

impl Settings {
    fn message(&self, event: &Event) -> Result<Outbound, String> {
        let mut properties = properties_of(&event.to_record().headers)?;
        properties.message_expiry_interval = self.expiry_s;
        properties.content_type = properties.content_type.or_else(|| self.content_type.clone());
        Ok(Outbound {
            topic: self.topic.of(event)?,
            payload: event.payload.bytes().unwrap_or_default(),
            qos: self.qos,
            retain: self.retain,
            properties,
        })
    }

    /// Publishes messages in order and waits until all are confirmed; answers the refused.
    async fn publish(
        &self,
        session: &mut Session,
        messages: &[(usize, Outbound)],
    ) -> Result<Vec<Rejection>, ConnectorError> {
        let server = &self.server;
        let within = Duration::from_millis(MESSAGING_CONFIRM_MS_MAX);
        let mut unsent = messages.iter();
        // Requested, in order; the library numbers them in the same order.
        let mut requested: VecDeque<usize> = VecDeque::new();
        let mut numbered: HashMap<u16, usize> = HashMap::new();
        let mut refusals = Vec::new();
        loop {
            while requested.len() + numbered.len() < self.window()
                && let Some((index, message)) = unsent.next()
            {
                session.publish(message)?;
                requested.push_back(*index);
            }
            if requested.is_empty() && numbered.is_empty() {
                return Ok(refusals);
            }
            match tokio::time::timeout(within, session.next()).await {
                Ok(Note::Sent(packet)) => {
                    numbered.extend(requested.pop_front().map(|index| (packet, index)));
                }
                Ok(Note::Confirmed { packet, refused }) => {
                    let index = numbered.remove(&packet);
                    if let (Some(index), Some(why)) = (index, refused) {
                        refusals.push(Rejection { index, why });
                    }
                }
                Ok(Note::Lost(error)) => return Err(error),
                Ok(_) => {}
                Err(_) => {
                    let what = format!(
                        "publish to {server}: no confirmation in {MESSAGING_CONFIRM_MS_MAX} ms"
                    );
                    return Err(ConnectorError::retryable(what));
                }
            }
        }
    }

    /// Messages that may wait for the broker's word at a time.
    fn window(&self) -> usize {
        match (self.version, self.qos) {
            (Version::V3, 2) => MQTT_EXACTLY_ONCE_PENDING_MAX,
            _ => MESSAGING_CONFIRMS_PENDING_MAX,
        }
    }
}
