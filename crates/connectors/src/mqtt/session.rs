//! One connection to an MQTT broker, the same for both versions of the protocol.
//!
//! A task polls the client library, which sends what was requested, answers pings and
//! tells what came in; it becomes [`Note`]s. Nothing is acknowledged by itself. A session
//! ends with its first failure and never connects again: whoever opened it opens another,
//! so that nothing depends on what a library remembers across connections.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use courant_model::limits::{
    MESSAGE_BYTES_MAX, MESSAGING_BUFFER_BYTES_MAX, MESSAGING_CONFIRMS_PENDING_MAX,
    MESSAGING_CONNECT_MS_MAX, MESSAGING_KEEP_ALIVE_MS,
};
use courant_pipeline::connector::ConnectorError;
use rumqttc::{
    self as v3, Outgoing, TlsConfiguration, Transport,
    v5::{
        self,
        mqttbytes::{QoS as QoS5, v5 as packets},
    },
};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::Version;
use crate::messaging::server::Server;

/// Bytes of a packet: the largest message with room for its topic and properties.
const PACKET_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1024 * 1024;

/// What a message counts beside its own bytes, so that many empty ones are bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

/// Requests that wait to be sent: a sink's window, or a source's acknowledgements,
/// which wait here for their turn.
const REQUESTS_MAX: usize = MESSAGING_CONFIRMS_PENDING_MAX + 16;

/// How to connect.
#[derive(Clone)]
pub(super) struct Connect {
    pub(super) server: Server,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) version: Version,
    pub(super) client_id: String,
    /// How long the broker keeps the session after the connection; zero is not at all.
    pub(super) expiry: Duration,
    /// Messages that the broker may deliver before it sees acknowledgements (version 5).
    pub(super) unacknowledged: u16,
    /// Whether messages of quality 2 will be delivered.
    pub(super) exactly_once: bool,
}

/// A connection.
pub(super) struct Session {
    client: Client,
    notes: mpsc::UnboundedReceiver<Note>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone)]
enum Client {
    V3(v3::AsyncClient),
    V5(v5::AsyncClient),
}

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Note {
    Connected {
        session_present: bool,
    },
    /// Why filters were refused; empty when all were taken.
    Subscribed {
        refused: Vec<String>,
    },
    Message(Delivery),
    /// The next published message has this packet identifier.
    Sent(u16),
    /// The broker has taken the message of this packet identifier, or says why not.
    Confirmed {
        packet: u16,
        refused: Option<String>,
    },
    /// The end, as asked for.
    Closed,
    /// The end.
    Lost(ConnectorError),
}

/// A message that the broker delivered.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retained: bool,
    pub(super) properties: Option<Box<packets::PublishProperties>>,
    pub(super) receipt: Receipt,
    /// Its share of the buffer, given back when it is dropped.
    pub(super) _share: Option<OwnedSemaphorePermit>,
}

/// What acknowledges a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) qos: u8,
    pub(super) packet: u16,
}

/// A message to publish.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Left out in version 3.1.1.
    pub(super) properties: packets::PublishProperties,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Starts to connect; [`Note::Connected`] tells that it did.
    pub(super) fn open(connect: &Connect) -> Self {
        let (sender, notes) = mpsc::unbounded_channel();
        // Notes are unbounded, but messages among them have a share of the buffer, and
        // the others answer requests, which are bounded.
        let sender = Notes {
            sender,
            buffer: Arc::new(Semaphore::new(MESSAGING_BUFFER_BYTES_MAX)),
            attempt: format!("connection to {}", connect.server),
        };
        let (client, task) = match connect.version {
            Version::V3 => {
                let (client, mut events) = v3::AsyncClient::new(options_v3(connect), REQUESTS_MAX);
                if connect.exactly_once {
                    expect_releases_v3(&mut events.state);
                }
                (Client::V3(client), tokio::spawn(poll_v3(events, sender)))
            }
            Version::V5 => {
                let (client, mut events) = v5::AsyncClient::new(options_v5(connect), REQUESTS_MAX);
                if connect.exactly_once {
                    expect_releases_v5(&mut events.state);
                }
                (Client::V5(client), tokio::spawn(poll_v5(events, sender)))
            }
        };
        Self { client, notes, _task: AbortOnDropHandle::new(task) }
    }

    /// The next note. Cancel safe.
    pub(super) async fn next(&mut self) -> Note {
        let ended = || Note::Lost(ConnectorError::retryable("connection ended"));
        self.notes.recv().await.unwrap_or_else(ended)
    }

    /// A note that is there already.
    pub(super) fn try_next(&mut self) -> Option<Note> {
        self.notes.try_recv().ok()
    }

    /// Publishes; the caller keeps within [`MESSAGING_CONFIRMS_PENDING_MAX`].
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) fn publish(&self, message: &Outbound) -> Result<(), ConnectorError> {
        let Outbound { topic, payload, qos, retain, properties } = message.clone();
        match &self.client {
            Client::V3(client) => {
                let qos = v3::qos(qos).unwrap_or(v3::QoS::AtLeastOnce);
                // The library takes no shared bytes here.
                client.try_publish(topic, qos, retain, payload).map_err(|error| gone(&error))
            }
            Client::V5(client) => client
                .try_publish_with_properties(topic, qos_v5(qos), retain, payload, properties)
                .map_err(|error| gone(&error)),
        }
    }

    /// Subscribes to filters. Not cancel safe.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn subscribe(
        &self,
        filters: &[String],
        qos: u8,
    ) -> Result<(), ConnectorError> {
        match &self.client {
            Client::V3(client) => {
                let qos = v3::qos(qos).unwrap_or(v3::QoS::AtLeastOnce);
                let filters =
                    filters.iter().map(|filter| v3::SubscribeFilter::new(filter.clone(), qos));
                client.subscribe_many(filters).await.map_err(|error| gone(&error))
            }
            Client::V5(client) => {
                let filters =
                    filters.iter().map(|filter| packets::Filter::new(filter, qos_v5(qos)));
                client.subscribe_many(filters).await.map_err(|error| gone(&error))
            }
        }
    }

    /// Gives a filter up. Not cancel safe.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn unsubscribe(&self, filter: &str) -> Result<(), ConnectorError> {
        match &self.client {
            Client::V3(client) => client.unsubscribe(filter).await.map_err(|error| gone(&error)),
            Client::V5(client) => client.unsubscribe(filter).await.map_err(|error| gone(&error)),
        }
    }

    /// Tells the broker that messages are safe, in their order. The deliveries must have
    /// been dropped: the task may wait for their share of the buffer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn acknowledge(&self, receipts: &[Receipt]) -> Result<(), ConnectorError> {
        for Receipt { qos, packet } in receipts.iter().copied() {
            match &self.client {
                Client::V3(client) => {
                    let qos = v3::qos(qos).unwrap_or(v3::QoS::AtMostOnce);
                    let mut publish = v3::Publish::new("", qos, Vec::new());
                    publish.pkid = packet;
                    client.ack(&publish).await.map_err(|error| gone(&error))?;
                }
                Client::V5(client) => {
                    let mut publish = packets::Publish::new("", qos_v5(qos), Bytes::new(), None);
                    publish.pkid = packet;
                    client.ack(&publish).await.map_err(|error| gone(&error))?;
                }
            }
        }
        Ok(())
    }

    /// Sends what was requested and says good-bye, within a bounded time.
    pub(super) async fn close(mut self) {
        let asked = match &self.client {
            Client::V3(client) => client.disconnect().await.is_ok(),
            Client::V5(client) => client.disconnect().await.is_ok(),
        };
        let ended =
            async { while asked && !matches!(self.next().await, Note::Closed | Note::Lost(_)) {} };
        let within = Duration::from_millis(MESSAGING_CONNECT_MS_MAX);
        // A broker that does not listen any more misses a courtesy.
        let _ = tokio::time::timeout(within, ended).await;
    }
}

/// What the polling task tells.
struct Notes {
    sender: mpsc::UnboundedSender<Note>,
    buffer: Arc<Semaphore>,
    /// The connection, as failures name it.
    attempt: String,
}

impl Notes {
    /// Passes a note on; whether the session goes on.
    async fn send(&self, mut note: Note) -> bool {
        if let Note::Message(delivery) = &mut note {
            let bytes = delivery.payload.len() + delivery.topic.len() + MESSAGE_OVERHEAD_BYTES;
            let share = bytes.min(MESSAGING_BUFFER_BYTES_MAX) as u32;
            delivery._share = Arc::clone(&self.buffer).acquire_many_owned(share).await.ok();
        }
        let ends = matches!(note, Note::Closed | Note::Lost(_));
        self.sender.send(note).is_ok() && !ends
    }

    fn lost(&self, why: &dyn fmt::Display, retryable: bool) -> Note {
        Note::Lost(ConnectorError { what: format!("{}: {why}", self.attempt), retryable })
    }
}

async fn poll_v3(mut events: v3::EventLoop, notes: Notes) {
    loop {
        let polled = events.poll().await;
        if polled.is_err() {
            // What was read before the failure still counts.
            for event in std::mem::take(&mut events.state.events) {
                if let Some(note) = note_v3(event)
                    && !notes.send(note).await
                {
                    return;
                }
            }
        }
        let note = match polled {
            Ok(event) => note_v3(event),
            Err(v3::ConnectionError::ConnectionRefused(code)) => {
                let fatal = matches!(
                    code,
                    v3::ConnectReturnCode::BadUserNamePassword
                        | v3::ConnectReturnCode::NotAuthorized
                        | v3::ConnectReturnCode::BadClientId
                        | v3::ConnectReturnCode::RefusedProtocolVersion
                );
                Some(notes.lost(&refusal(&code), !fatal))
            }
            Err(error) => Some(notes.lost(&error, true)),
        };
        if let Some(note) = note
            && !notes.send(note).await
        {
            return;
        }
    }
}

fn note_v3(event: v3::Event) -> Option<Note> {
    use v3::{Packet, SubscribeReasonCode};
    Some(match event {
        v3::Event::Incoming(Packet::ConnAck(answer)) => {
            Note::Connected { session_present: answer.session_present }
        }
        v3::Event::Incoming(Packet::SubAck(answer)) => Note::Subscribed {
            refused: answer
                .return_codes
                .iter()
                .filter(|code| **code == SubscribeReasonCode::Failure)
                .map(|_| "refused by the broker".into())
                .collect(),
        },
        v3::Event::Incoming(Packet::Publish(message)) => Note::Message(Delivery {
            topic: message.topic,
            payload: message.payload,
            retained: message.retain,
            properties: None,
            receipt: Receipt { qos: message.qos as u8, packet: message.pkid },
            _share: None,
        }),
        v3::Event::Incoming(Packet::PubAck(answer)) => {
            Note::Confirmed { packet: answer.pkid, refused: None }
        }
        v3::Event::Incoming(Packet::PubComp(answer)) => {
            Note::Confirmed { packet: answer.pkid, refused: None }
        }
        v3::Event::Outgoing(outgoing) => return note_of(&outgoing),
        v3::Event::Incoming(_) => return None,
    })
}

async fn poll_v5(mut events: v5::EventLoop, notes: Notes) {
    loop {
        let polled = events.poll().await;
        if polled.is_err() {
            // What was read before the failure still counts.
            for event in std::mem::take(&mut events.state.events) {
                if let Some(note) = note_v5(event)
                    && !notes.send(note).await
                {
                    return;
                }
            }
        }
        let note = match polled {
            Ok(event) => note_v5(event),
            Err(v5::ConnectionError::ConnectionRefused(code)) => {
                use packets::ConnectReturnCode as Code;
                let fatal = matches!(
                    code,
                    Code::BadUserNamePassword
                        | Code::NotAuthorized
                        | Code::Banned
                        | Code::BadAuthenticationMethod
                        | Code::BadClientId
                        | Code::ClientIdentifierNotValid
                        | Code::UnsupportedProtocolVersion
                        | Code::RefusedProtocolVersion
                );
                Some(notes.lost(&refusal(&code), !fatal))
            }
            Err(error) => Some(notes.lost(&error, true)),
        };
        if let Some(note) = note
            && !notes.send(note).await
        {
            return;
        }
    }
}

fn note_v5(event: v5::Event) -> Option<Note> {
    use packets::{Packet, PubAckReason, PubRecReason, SubscribeReasonCode};
    Some(match event {
        v5::Event::Incoming(Packet::ConnAck(answer)) => {
            Note::Connected { session_present: answer.session_present }
        }
        v5::Event::Incoming(Packet::SubAck(answer)) => Note::Subscribed {
            refused: answer
                .return_codes
                .iter()
                .filter(|code| !matches!(code, SubscribeReasonCode::Success(_)))
                .map(|code| format!("refused by the broker: {code:?}"))
                .collect(),
        },
        v5::Event::Incoming(Packet::Publish(message)) => Note::Message(Delivery {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload,
            retained: message.retain,
            properties: message.properties.map(Box::new),
            receipt: Receipt { qos: message.qos as u8, packet: message.pkid },
            _share: None,
        }),
        v5::Event::Incoming(Packet::PubAck(answer)) => {
            let taken = matches!(
                answer.reason,
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers
            );
            let refused = (!taken).then(|| format!("refused by the broker: {:?}", answer.reason));
            Note::Confirmed { packet: answer.pkid, refused }
        }
        v5::Event::Incoming(Packet::PubRec(answer)) => {
            let taken = matches!(
                answer.reason,
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers
            );
            if taken {
                return None;
            }
            let refused = Some(format!("refused by the broker: {:?}", answer.reason));
            Note::Confirmed { packet: answer.pkid, refused }
        }
        v5::Event::Incoming(Packet::PubComp(answer)) => {
            Note::Confirmed { packet: answer.pkid, refused: None }
        }
        v5::Event::Outgoing(outgoing) => return note_of(&outgoing),
        v5::Event::Incoming(_) => return None,
    })
}

fn note_of(outgoing: &Outgoing) -> Option<Note> {
    match outgoing {
        Outgoing::Publish(packet) => Some(Note::Sent(*packet)),
        Outgoing::Disconnect => Some(Note::Closed),
        _ => None,
    }
}

fn options_v3(connect: &Connect) -> v3::MqttOptions {
    let (host, port) = (connect.server.host(), connect.server.port());
    let mut options = v3::MqttOptions::new(&connect.client_id, host, port);
    options
        .set_keep_alive(Duration::from_millis(MESSAGING_KEEP_ALIVE_MS))
        .set_clean_session(connect.expiry.is_zero())
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX)
        .set_inflight(MESSAGING_CONFIRMS_PENDING_MAX as u16)
        .set_manual_acks(true)
        .set_transport(transport(connect));
    if let Some((user, password)) = connect.server.credentials() {
        options.set_credentials(user, password);
    }
    options
}

fn options_v5(connect: &Connect) -> v5::MqttOptions {
    let (host, port) = (connect.server.host(), connect.server.port());
    let mut options = v5::MqttOptions::new(&connect.client_id, host, port);
    let expiry_s = u32::try_from(connect.expiry.as_secs()).unwrap_or(u32::MAX);
    options
        .set_keep_alive(Duration::from_millis(MESSAGING_KEEP_ALIVE_MS))
        .set_clean_start(connect.expiry.is_zero())
        .set_connection_timeout(MESSAGING_CONNECT_MS_MAX / 1_000)
        .set_session_expiry_interval(Some(expiry_s))
        .set_receive_maximum(Some(connect.unacknowledged))
        .set_max_packet_size(Some(PACKET_BYTES_MAX as u32))
        .set_outgoing_inflight_upper_limit(MESSAGING_CONFIRMS_PENDING_MAX as u16)
        .set_manual_acks(true)
        .set_transport(transport(connect));
    if let Some((user, password)) = connect.server.credentials() {
        options.set_credentials(user, password);
    }
    options
}

fn transport(connect: &Connect) -> Transport {
    match &connect.tls {
        Some(config) => Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(config))),
        None => Transport::tcp(),
    }
}

/// Makes the library take releases of any message of quality 2: after a restart the
/// broker releases what an earlier connection received, and the library, which knows
/// nothing of it, would take that for a fault and end the connection each time.
fn expect_releases_v3(state: &mut v3::MqttState) {
    for packet in 1..=u16::MAX {
        let mut publish = v3::Publish::new("", v3::QoS::ExactlyOnce, Vec::new());
        publish.pkid = packet;
        // It only marks the identifier; nothing is sent.
        let _ = state.handle_incoming_packet(v3::Packet::Publish(publish));
        state.events.clear();
    }
}

/// As [`expect_releases_v3`].
fn expect_releases_v5(state: &mut v5::MqttState) {
    for packet in 1..=u16::MAX {
        let mut publish = packets::Publish::new("", QoS5::ExactlyOnce, Bytes::new(), None);
        publish.pkid = packet;
        let _ = state.handle_incoming_packet(packets::Packet::Publish(publish));
        state.events.clear();
    }
}

fn qos_v5(qos: u8) -> QoS5 {
    match qos {
        0 => QoS5::AtMostOnce,
        1 => QoS5::AtLeastOnce,
        _ => QoS5::ExactlyOnce,
    }
}

/// A refused connection, with what somebody can do.
fn refusal(code: &dyn fmt::Debug) -> String {
    format!("refused by the broker: {code:?}; check user, password and client id")
}

fn gone(error: &dyn fmt::Display) -> ConnectorError {
    ConnectorError::retryable(format!("connection to the MQTT broker is gone: {error}"))
}
