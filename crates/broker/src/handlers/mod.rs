//! What each API does: one file for each family, one function for each API.
//!
//! A handler takes the context, a decoded request and its version, asks the log, and
//! answers with a response in which every failure has its code; it never ends the
//! connection. Fields that the version lacks must keep their defaults, or the
//! response does not encode.
//!
//! A new API needs a function here, a row in [`crate::api::APIS`] with a line in the
//! test below it, and a line in [`crate::dispatch::handle`].

pub(crate) mod api_versions;
mod broker_configs;
pub(crate) mod cluster;
pub(crate) mod configs;
pub(crate) mod consumer_groups;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod groups;
pub(crate) mod groups_admin;
pub(crate) mod leader_epochs;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod quotas;
pub(crate) mod sasl;
pub(crate) mod topics;
pub(crate) mod transactions;
pub(crate) mod transactions_admin;
