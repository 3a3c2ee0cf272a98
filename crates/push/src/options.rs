//! What a push server is told: its apps, their secrets, limits and webhooks.
//!
//! Reading a file and checking what stands in it are apart: these are plain values, and
//! [`App::check`] says what is wrong with one. Secrets never show in `Debug`.

use std::{fmt, sync::Arc};

use courant_model::{
    Clock, SystemClock,
    limits::{
        PUSH_ACTIVITY_MS_DEFAULT, PUSH_CHANNELS_PER_CONNECTION_DEFAULT,
        PUSH_CLIENT_EVENTS_PER_SECOND_DEFAULT, PUSH_CONNECTIONS_DEFAULT, PUSH_EVENT_BYTES_DEFAULT,
        PUSH_EVENT_BYTES_MAX, PUSH_KEPT_MESSAGES_DEFAULT, PUSH_KEPT_MESSAGES_MAX,
        PUSH_KEPT_MS_DEFAULT, PUSH_MEMBERS_DEFAULT, PUSH_WEBHOOKS_MAX,
    },
};

use crate::{PushError, ResumeSource, signature};

/// Everything that a push server is told.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// The apps; each with an id and a key of its own.
    pub apps: Vec<App>,
    /// What stands behind channels when their memory does not reach far enough; none
    /// unless set.
    pub source: Option<Arc<dyn ResumeSource>>,
    /// Says whether signed requests are fresh and how old messages are; the system's
    /// unless set.
    pub clock: Arc<dyn Clock>,
}

impl PushOptions {
    /// These apps, without a source, on the system's clock.
    pub fn new(apps: Vec<App>) -> Self {
        Self { apps, source: None, clock: Arc::new(SystemClock) }
    }
}

/// A secret that signs; not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An application: channels of its own, and who may publish and subscribe.
#[derive(Debug, Clone)]
pub struct App {
    /// Stands in the paths of the HTTP API.
    pub id: String,
    /// Public; pages connect with it.
    pub key: String,
    /// Signs requests, subscriptions and webhooks.
    pub secret: Secret,
    /// Whether anybody may connect or publish; true unless set.
    pub enabled: bool,
    /// Whether only connections over TLS are taken. Who they are is known from the header
    /// `X-Forwarded-Proto` of the proxy that ends TLS; false unless set.
    pub tls_only: bool,
    /// Origins whose pages may connect (`https://shop.example`); empty, which is the
    /// default, for all.
    pub origins: Vec<String>,
    /// Whether pages may trigger events; false unless set.
    pub client_events: bool,
    /// Whether subscribers are told how many they are; false unless set.
    pub subscription_count: bool,
    /// Who is told what happens, at most [`PUSH_WEBHOOKS_MAX`].
    pub webhooks: Vec<Webhook>,
    /// Connections at a time; [`PUSH_CONNECTIONS_DEFAULT`] unless set.
    pub connections_max: usize,
    /// Channels of one connection; [`PUSH_CHANNELS_PER_CONNECTION_DEFAULT`] unless set.
    pub channels_per_connection_max: usize,
    /// Bytes of an event's data; [`PUSH_EVENT_BYTES_DEFAULT`] unless set.
    pub event_bytes_max: usize,
    /// Members of a presence channel; [`PUSH_MEMBERS_DEFAULT`] unless set.
    pub members_max: usize,
    /// Events that a connection may trigger in a second;
    /// [`PUSH_CLIENT_EVENTS_PER_SECOND_DEFAULT`] unless set.
    pub client_events_per_second_max: u32,
    /// Silence after which a connection is asked whether it is there;
    /// [`PUSH_ACTIVITY_MS_DEFAULT`] unless set.
    pub activity_timeout_ms: u64,
    /// Messages that a channel keeps for pages that come back;
    /// [`PUSH_KEPT_MESSAGES_DEFAULT`] unless set, 0 for none.
    pub kept_messages_max: usize,
    /// How long it keeps them; [`PUSH_KEPT_MS_DEFAULT`] unless set.
    pub kept_ms_max: u64,
}

impl App {
    /// An application with the default limits and without webhooks.
    pub fn new(id: impl Into<String>, key: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            key: key.into(),
            secret: Secret::new(secret),
            enabled: true,
            tls_only: false,
            origins: Vec::new(),
            client_events: false,
            subscription_count: false,
            webhooks: Vec::new(),
            connections_max: PUSH_CONNECTIONS_DEFAULT,
            channels_per_connection_max: PUSH_CHANNELS_PER_CONNECTION_DEFAULT,
            event_bytes_max: PUSH_EVENT_BYTES_DEFAULT,
            members_max: PUSH_MEMBERS_DEFAULT,
            client_events_per_second_max: PUSH_CLIENT_EVENTS_PER_SECOND_DEFAULT,
            activity_timeout_ms: PUSH_ACTIVITY_MS_DEFAULT,
            kept_messages_max: PUSH_KEPT_MESSAGES_DEFAULT,
            kept_ms_max: PUSH_KEPT_MS_DEFAULT,
        }
    }

    /// What a page hands over to subscribe to a private or presence channel
    /// (`key:signature`); `channel_data` says who it is on a presence channel.
    pub fn authorize_channel(
        &self,
        socket_id: &str,
        channel: &str,
        channel_data: Option<&str>,
    ) -> String {
        let text = signature::channel_text(socket_id, channel, channel_data);
        format!("{}:{}", self.key, signature::sign(&self.secret, text.as_bytes()))
    }

    /// What a page hands over to sign its user in (`key:signature`).
    pub fn authenticate_user(&self, socket_id: &str, user_data: &str) -> String {
        let text = signature::user_text(socket_id, user_data);
        format!("{}:{}", self.key, signature::sign(&self.secret, text.as_bytes()))
    }

    /// Says what is wrong with these values.
    ///
    /// # Errors
    /// The first thing that is empty or out of its range.
    pub(crate) fn check(&self) -> Result<(), PushError> {
        let texts = [
            ("id", self.id.as_str()),
            ("key", self.key.as_str()),
            ("secret", self.secret.0.as_str()),
        ];
        for (field, text) in texts {
            if text.is_empty() {
                return Err(PushError::Empty { app: self.id.clone(), field });
            }
        }
        let ranges = [
            ("event_bytes_max", self.event_bytes_max as u64, 1, PUSH_EVENT_BYTES_MAX as u64),
            ("kept_messages_max", self.kept_messages_max as u64, 0, PUSH_KEPT_MESSAGES_MAX as u64),
            // Clients are told whole seconds, and a day is for ever.
            ("activity_timeout_ms", self.activity_timeout_ms, 1_000, 24 * 3_600 * 1_000),
            ("webhooks", self.webhooks.len() as u64, 0, PUSH_WEBHOOKS_MAX as u64),
        ];
        for (field, found, min, max) in ranges {
            if !(min..=max).contains(&found) {
                let app = self.id.clone();
                return Err(PushError::OutOfRange { app, field, found, min, max });
            }
        }
        Ok(())
    }
}

/// A server that is told what happens on channels.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where requests go.
    pub url: String,
    /// What it is told.
    pub events: Vec<WebhookEvent>,
}

/// What a webhook can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A channel has its first subscriber.
    ChannelOccupied,
    /// A channel has none any more.
    ChannelVacated,
    /// A user has come to a presence channel.
    MemberAdded,
    /// A user has left a presence channel, with its last connection.
    MemberRemoved,
    /// A page has triggered an event.
    ClientEvent,
    /// A page has subscribed to a cache channel that remembers no event.
    CacheMiss,
    /// A channel's number of subscribers has changed.
    SubscriptionCount,
}

impl WebhookEvent {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }
}
