//! The connector `nats`: NATS, with JetStream and without, in and out.
//!
//! A [`link`] is one connection; it ends when it is lost, and the runtime opens the
//! next. [`source`] acknowledges what the log holds and waits until the server knows;
//! [`sink`] answers when the stream has the messages. [`headers`] go both ways.

mod headers;
mod link;
mod sink;
mod source;

use courant_model::limits::NATS_SUBJECT_BYTES_MAX;

use crate::messaging::{address::Rules, server::Protocol};
pub(crate) use sink::SINK;
pub(crate) use source::SOURCE;

const PROTOCOL: Protocol = Protocol { plain: ("nats", 4222), tls: ("tls", 4222) };

/// What a subject may hold that is published to.
static SUBJECT: Rules = Rules {
    kind: "NATS subject",
    option: "subject",
    forbidden: "*> \t\r\n\0",
    separator: Some('.'),
    bytes_max: NATS_SUBJECT_BYTES_MAX,
};

#[cfg(test)]
mod tests;
