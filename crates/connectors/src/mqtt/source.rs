//! The source `mqtt`: messages of topics become records.
//!
//! The broker keeps a session under the client's id, so that messages wait while the
//! source is away. A message is acknowledged (PUBACK, PUBREC) after the log has it, in
//! order. Filters are subscribed once for a session, because brokers send retained
//! messages again for every subscription; the source's state remembers which they were.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use courant_model::{
    Span,
    limits::{MESSAGING_CONNECT_MS_MAX, MESSAGING_UNACKNOWLEDGED_DEFAULT},
};
use courant_pipeline::{
    connector::{
        About, ConnectorError, OptionProblem, Source, SourceContext, SourceFactory, SourceKind,
    },
    options,
};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    PROTOCOL, Version,
    properties::record_of,
    session::{Connect, Delivery, Note, Receipt, Session},
};
use crate::{
    messaging::{
        intake::{self, Format},
        problem,
        server::Server,
    },
    tls,
};

/// The entry in the list of connectors.
pub(crate) const SOURCE: SourceKind = SourceKind {
    about: About {
        name: "mqtt",
        summary: "Subscribes to topics of an MQTT broker, 3.1.1 or 5.",
        guarantee: "At least once with qos 1 or 2: a message is acknowledged when its record is \
                    durable, and the broker keeps what comes meanwhile for as long as \"session\" \
                    says. A lost connection may repeat messages, with qos 2 too. With qos 0 \
                    whatever is sent while the source is away is lost.",
        example: "mqtt: { url: \"mqtt://localhost:1883\", topics: [\"sensors/+/temperature\"] }",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `mqtt` as a source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The broker: mqtt://host:1883 or mqtts://host:8883; user and password as
    /// mqtt://${USER}:${PASSWORD}@host.
    #[schemars(length(min = 1))]
    url: String,
    /// Filters of topics, with the wildcards + and #; $share/group/filter shares them out.
    #[schemars(length(min = 1, max = 1_000))]
    topics: Vec<String>,
    /// The protocol's version: MQTT 5 or 3.1.1, which carries no headers. Default: v5.
    #[serde(default)]
    version: Version,
    /// Quality of service: 0 at most once, 1 at least once, 2. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(max = 2))]
    qos: u8,
    /// The client's id, of which a broker knows each once. Default: one is made up and kept.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    client_id: Option<String>,
    /// How long the broker keeps messages while the source is away; 0s: not at all.
    /// Default: 1d. With v3 the broker decides how long.
    #[serde(default = "one_day")]
    session: Span,
    /// Messages that the broker delivers before it sees acknowledgements (v5).
    /// Default: 256.
    #[serde(default = "unacknowledged")]
    #[schemars(range(min = 1, max = 10_000))]
    unacknowledged: u16,
    /// How a record stands in a message. Default: json.
    #[serde(default)]
    format: Format,
    /// Makes the topic of a message its record's key. Default: false; it is in the header
    /// mqtt-topic in any case.
    #[serde(default)]
    topic_as_key: bool,
    /// Certificates to trust instead of this system's: a PEM file.
    #[serde(default)]
    ca: Option<String>,
}

const fn one() -> u8 {
    1
}

const fn one_day() -> Span {
    Span::from_millis(24 * 3_600 * 1_000)
}

const fn unacknowledged() -> u16 {
    MESSAGING_UNACKNOWLEDGED_DEFAULT
}

/// What the source needs, checked.
#[derive(Debug, Clone)]
struct Settings {
    server: Server,
    filters: Vec<String>,
    version: Version,
    qos: u8,
    client_id: Option<String>,
    session: Span,
    unacknowledged: u16,
    format: Format,
    topic_as_key: bool,
}

pub(super) fn parse(value: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let mut problems = Vec::new();
    for (index, filter) in options.topics.iter().enumerate() {
        if !rumqttc::valid_filter(filter) {
            let what = format!("{filter:?} is no filter of topics");
            let mut problem = problem("topics", what, "write levels such as a/+/b, or a/#");
            problem.path.push(index.to_string());
            problems.push(problem);
        }
    }
    match Server::read(&options.url, options.ca.as_deref(), PROTOCOL) {
        Ok(server) if problems.is_empty() => Ok(Arc::new(Settings {
            server,
            filters: options.topics,
            version: options.version,
            qos: options.qos,
            client_id: options.client_id,
            session: options.session,
            unacknowledged: options.unacknowledged,
            format: options.format,
            topic_as_key: options.topic_as_key,
        })),
        Ok(_) => Err(problems),
        Err(problem) => Err(problems.into_iter().chain([problem]).collect()),
    }
}

impl SourceFactory for Settings {
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        let tls = tls_of(&self.server, &context.base)?;
        Ok(Box::new(Subscriber { settings: self.clone(), tls, context }))
    }
}

/// TLS for a server that wants it.
pub(super) fn tls_of(
    server: &Server,
    base: &Path,
) -> Result<Option<Arc<rustls::ClientConfig>>, ConnectorError> {
    let config = || tls::client(server.ca(base).as_deref()).map(Arc::new);
    server.is_secure().then(config).transpose()
}

#[derive(Debug)]
struct Subscriber {
    settings: Settings,
    tls: Option<Arc<rustls::ClientConfig>>,
    context: SourceContext,
}

/// What the source remembers of its session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    client_id: String,
    /// What the session is subscribed to, and how.
    filters: Vec<String>,
    qos: u8,
}

#[async_trait]
impl Source for Subscriber {
    async fn run(self: Box<Self>) -> Result<(), ConnectorError> {
        let mut memory = self.remember().await?;
        let mut session = Session::open(&self.connect(&memory.client_id));
        let stop = self.context.stop.clone();
        let work = async {
            self.subscribe(&mut session, &mut memory).await?;
            loop {
                let note = session.next().await;
                self.take(&mut session, note).await?;
            }
        };
        let ended: Option<Result<(), ConnectorError>> = stop.run_until_cancelled(work).await;
        match ended {
            Some(ended) => ended,
            None => {
                session.close().await;
                Ok(())
            }
        }
    }
}

impl Subscriber {
    /// What was remembered, with the client's id of the options or a lasting one.
    async fn remember(&self) -> Result<Memory, ConnectorError> {
        let saved = self.context.state.load().await?;
        let mut memory: Memory =
            saved.and_then(|saved| serde_json::from_slice(&saved).ok()).unwrap_or_default();
        match &self.settings.client_id {
            Some(id) if *id == memory.client_id => {}
            Some(id) => memory = Memory { client_id: id.clone(), ..Memory::default() },
            None if memory.client_id.is_empty() => {
                memory.client_id = format!("courant-{}", uuid::Uuid::new_v4().simple());
                self.save(&memory).await?;
            }
            None => {}
        }
        Ok(memory)
    }

    async fn save(&self, memory: &Memory) -> Result<(), ConnectorError> {
        let text = serde_json::to_vec(memory)
            .map_err(|error| ConnectorError::fatal(format!("save the session: {error}")))?;
        self.context.state.save(text.into()).await
    }

    fn connect(&self, client_id: &str) -> Connect {
        let settings = &self.settings;
        Connect {
            server: settings.server.clone(),
            tls: self.tls.clone(),
            version: settings.version,
            client_id: client_id.into(),
            expiry: settings.session.as_duration(),
            unacknowledged: settings.unacknowledged,
            exactly_once: settings.qos == 2,
        }
    }

    /// Waits for the connection and makes the session's filters those of the options.
    async fn subscribe(
        &self,
        session: &mut Session,
        memory: &mut Memory,
    ) -> Result<(), ConnectorError> {
        let Settings { filters, qos, server, .. } = &self.settings;
        let session_present = connected(session, server).await?;
        if session_present && memory.filters == *filters && memory.qos == *qos {
            return Ok(());
        }
        if session_present {
            for old in memory.filters.iter().filter(|old| !filters.contains(old)) {
                session.unsubscribe(old).await?;
            }
        }
        session.subscribe(filters, *qos).await?;
        loop {
            let note = session.next().await;
            match self.take(session, note).await? {
                Some(refused) if refused.is_empty() => break,
                Some(refused) => {
                    let why = refused.join(", ");
                    let what = format!("subscribe to {filters:?} on {server}: {why}");
                    return Err(ConnectorError::fatal(what));
                }
                None => {}
            }
        }
        memory.filters.clone_from(filters);
        memory.qos = *qos;
        self.save(memory).await
    }

    /// Takes a note and the messages that are there already; answers the filters that
    /// were refused, once the broker has told.
    async fn take(
        &self,
        session: &mut Session,
        note: Note,
    ) -> Result<Option<Vec<String>>, ConnectorError> {
        let (mut deliveries, mut subscribed, mut end) = (Vec::new(), None, None);
        let mut next = Some(note);
        while let Some(note) = next {
            match note {
                Note::Message(delivery) => deliveries.push(delivery),
                Note::Subscribed { refused } => subscribed = Some(refused),
                Note::Lost(error) => end = Some(error),
                _ => {}
            }
            let more =
                end.is_none() && deliveries.len() < usize::from(self.settings.unacknowledged);
            next = if more { session.try_next() } else { None };
        }
        if !deliveries.is_empty() {
            let receipts = self.append(deliveries).await?;
            session.acknowledge(&receipts).await?;
        }
        end.map_or(Ok(subscribed), Err)
    }

    /// Makes messages durable; answers what acknowledges them.
    async fn append(&self, deliveries: Vec<Delivery>) -> Result<Vec<Receipt>, ConnectorError> {
        let (settings, now) = (&self.settings, self.context.clock.now());
        let records =
            deliveries.iter().map(|one| record_of(one, settings.topic_as_key, now)).collect();
        let receipts = deliveries.iter().map(|one| one.receipt).filter(|one| one.qos > 0).collect();
        intake::take_all(&self.context, settings.format, records).await?;
        Ok(receipts)
    }
}

/// Waits until the session is connected; whether the broker had kept it.
pub(super) async fn connected(
    session: &mut Session,
    server: &Server,
) -> Result<bool, ConnectorError> {
    let within = std::time::Duration::from_millis(MESSAGING_CONNECT_MS_MAX);
    match tokio::time::timeout(within, session.next()).await {
        Ok(Note::Connected { session_present }) => Ok(session_present),
        Ok(Note::Lost(error)) => Err(error),
        Ok(note) => {
            Err(ConnectorError::retryable(format!("connection to {server} began with {note:?}")))
        }
        Err(_) => {
            let what = format!("connect to {server}: no answer in {MESSAGING_CONNECT_MS_MAX} ms");
            Err(ConnectorError::retryable(what))
        }
    }
}
