//! The HTTP client of whatever this crate asks elsewhere: webhooks and push servers.
//!
//! One way to be patient for all: a deadline for each request, and no redirects, because a
//! signed request is for one server only.

use std::{sync::Once, time::Duration};

use reqwest::{Client, redirect};

use crate::PushError;

/// A client whose requests end after a while and follow nobody elsewhere.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn new(timeout: Duration) -> Result<Client, PushError> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the process has a provider already, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder()
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("courant/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| PushError::HttpClient(error.to_string()))
}
