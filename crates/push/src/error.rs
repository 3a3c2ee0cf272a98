//! What can go wrong, for the program, for publishers and on the wire.
//!
//! [`ErrorCode`] are the protocol's numbers: their range tells a client what to do next
//! (4000: stay away, 4100: come back later, 4200: come back at once, 4300: go on). Errors
//! of the HTTP API stand beside it, in `http`.

use std::fmt;

use crate::NameError;

/// Why a push server cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    #[error("{found} push apps are declared; {max} are allowed")]
    TooManyApps { found: usize, max: usize },
    #[error("push app {app:?} is declared twice; give each its own id and key")]
    AppTwice { app: String },
    #[error("{field} of push app {app:?} is empty; set it")]
    Empty { app: String, field: &'static str },
    #[error("{field} of push app {app:?} is {found}; expected {min} to {max}")]
    OutOfRange { app: String, field: &'static str, found: u64, min: u64, max: u64 },
    #[error("webhook {url:?} of push app {app:?} is no HTTP address: {reason}")]
    WebhookUrl { app: String, url: String, reason: String },
    #[error("set up an HTTP client for push webhooks: {0}")]
    HttpClient(String),
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("push app {0:?} does not exist")]
    UnknownApp(String),
    #[error(transparent)]
    Channel(#[from] NameError),
    #[error("event name has {found} characters; expected 1 to {max}")]
    EventName { found: usize, max: usize },
    #[error(
        "event name {0:?} belongs to the protocol; choose one that does not begin with \"pusher\""
    )]
    EventReserved(String),
    #[error("data of event {event:?} has {found_bytes} bytes; {max_bytes} are allowed")]
    TooLarge { event: String, found_bytes: usize, max_bytes: usize },
    #[error(
        "channel {channel:?} is encrypted, and the data of event {event:?} is not; publish an object with \"nonce\" and \"ciphertext\", made with the key that only publisher and pages know"
    )]
    NotEncrypted { channel: String, event: String },
}

/// The protocol's error codes that this server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// WebSocket's own: a binary frame.
    Binary = 1003,
    TlsOnly = 4000,
    UnknownApp = 4001,
    AppDisabled = 4003,
    TooManyConnections = 4004,
    UnknownPath = 4005,
    InvalidVersion = 4006,
    UnsupportedVersion = 4007,
    NoVersion = 4008,
    Unauthorized = 4009,
    OverCapacity = 4100,
    Reconnect = 4200,
    NoPong = 4201,
    ClientEventRate = 4301,
}

impl ErrorCode {
    pub(crate) fn number(self) -> u16 {
        self as u16
    }

    /// What a person reads; short, because a close frame holds 123 bytes.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Binary => "binary frames are not supported; send JSON as text",
            Self::TlsOnly => "application only accepts TLS connections; reconnect using wss://",
            Self::UnknownApp => "application does not exist; check the key",
            Self::AppDisabled => "application is disabled",
            Self::TooManyConnections => "application has all the connections that it may have",
            Self::UnknownPath => "path not found; connect to /app/{key}",
            Self::InvalidVersion => "query parameter \"protocol\" is no number",
            Self::UnsupportedVersion => "protocol version is not supported; use 5, 6 or 7",
            Self::NoVersion => "query parameter \"protocol\" is missing; use 7",
            Self::Unauthorized => "connection is unauthorized",
            Self::OverCapacity => "connection is over capacity; come back in a second",
            Self::Reconnect => "server is about to stop; connect again",
            Self::NoPong => "no answer to a ping",
            Self::ClientEventRate => "client event was refused: too many in a second",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}
