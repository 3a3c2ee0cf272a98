//! Others judge the views: Kafka Streams record by record, SQLite over a whole history, and
//! Nexmark's queries computed by hand.
//!
//! Nothing here knows how views work inside. Each judge is given the same records as the
//! view, and all that both say is compared; what differs on purpose is taken out of the
//! judge's answer in one visible place and told in `docs/views.md`.

#![allow(clippy::print_stdout, reason = "says how much was compared")]

mod batch;
mod kafka;
mod nexmark;
mod support;
