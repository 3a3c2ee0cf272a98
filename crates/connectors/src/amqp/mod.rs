//! The connector `amqp`: AMQP 0-9-1 as RabbitMQ speaks it, in and out.
//!
//! A [`link`] is one connection with one channel; it ends with its first failure, and
//! the runtime opens the next. [`source`] acknowledges what the log holds; [`sink`]
//! answers when the broker has confirmed. [`properties`] go both ways.

mod link;
mod properties;
mod sink;
mod source;

use courant_model::limits::AMQP_SHORT_TEXT_BYTES_MAX;

use crate::messaging::{address::Rules, server::Protocol};
pub(crate) use sink::SINK;
pub(crate) use source::SOURCE;

const PROTOCOL: Protocol = Protocol { plain: ("amqp", 5672), tls: ("amqps", 5671) };

/// What a routing key may hold: anything; what a dot means is the exchange's affair.
static ROUTING_KEY: Rules = Rules {
    kind: "routing key",
    option: "routing_key",
    forbidden: "",
    separator: None,
    bytes_max: AMQP_SHORT_TEXT_BYTES_MAX,
};

#[cfg(test)]
mod tests;
