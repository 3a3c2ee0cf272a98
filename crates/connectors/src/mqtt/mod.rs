//! The connector `mqtt`: MQTT 3.1.1 and 5, in and out.
//!
//! A [`session`] is one connection with the version's differences hidden; it ends with
//! its connection, and the runtime opens the next. [`source`] acknowledges what the log
//! holds; [`sink`] answers when the broker has confirmed. [`properties`] are the headers
//! of version 5.

mod properties;
mod session;
mod sink;
mod source;

use courant_model::limits::MQTT_TOPIC_BYTES_MAX;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::messaging::{address::Rules, server::Protocol};
pub(crate) use sink::SINK;
pub(crate) use source::SOURCE;

const PROTOCOL: Protocol = Protocol { plain: ("mqtt", 1883), tls: ("mqtts", 8883) };

/// What a topic may hold that is published to.
static TOPIC: Rules = Rules {
    kind: "MQTT topic",
    option: "topic",
    forbidden: "+#\0",
    separator: Some('/'),
    bytes_max: MQTT_TOPIC_BYTES_MAX,
};

/// The protocol's version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Version {
    /// MQTT 3.1.1, which carries no headers.
    V3,
    /// MQTT 5.
    #[default]
    V5,
}

#[cfg(test)]
mod tests;
