//! The broker over real sockets, asked in Kafka's own messages.
//!
//! One binary for all families of APIs, so that they link once. Each test has its own
//! folder, port and broker; the client is as small as one can be ([`support::Client`]).

mod admin;
mod consumer_groups;
mod fetch;
mod groups;
mod hostile;
mod metadata;
mod offsets;
mod produce;
mod quotas;
mod sasl;
mod security;
mod support;
mod transactions;
