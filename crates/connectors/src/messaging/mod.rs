//! What the message brokers' connectors share: MQTT, AMQP and NATS.
//!
//! A [`Server`](server::Server) is where they connect to, without its secrets ever being
//! shown; an [`Address`](address::Address) says where a record goes; [`intake`] takes
//! delivered messages into the log. Connections, acknowledgements and confirmations
//! differ too much to be shared: each connector has its own.

pub(crate) mod address;
pub(crate) mod intake;
pub(crate) mod server;

use courant_pipeline::connector::OptionProblem;

/// A problem of one option.
pub(crate) fn problem(option: &str, what: impl Into<String>, remedy: &str) -> OptionProblem {
    OptionProblem { path: vec![option.into()], what: what.into(), remedy: Some(remedy.into()) }
}

/// A header's value as text.
///
/// # Errors
/// When it is no text; the broker's headers take nothing else.
pub(crate) fn header_text(header: &courant_model::Header) -> Result<&str, String> {
    let value = header.value.as_deref().unwrap_or_default();
    std::str::from_utf8(value).map_err(|_| format!("value of header {:?} is not text", header.name))
}
