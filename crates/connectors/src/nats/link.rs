//! One connection to a NATS server.
//!
//! The client library would connect again by itself and hide that acknowledgements and
//! requests were lost meanwhile; so a link ends with its connection, and whoever opened
//! it opens another.

use std::{path::PathBuf, time::Duration};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use courant_model::limits::{
    MESSAGING_BUFFER_BYTES_MAX, MESSAGING_CONNECT_MS_MAX, MESSAGING_KEEP_ALIVE_MS,
};
use courant_pipeline::connector::ConnectorError;
use tokio_util::sync::CancellationToken;

use crate::{messaging::server::Server, tls};

/// How to connect.
#[derive(Debug, Clone)]
pub(super) struct Connect {
    pub(super) server: Server,
    /// A file with a user's JWT and key.
    pub(super) credentials: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
    /// Messages that a subscription holds; further ones are dropped.
    pub(super) buffered: usize,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    lost: CancellationToken,
    server: Server,
}

impl Connect {
    /// Connects.
    ///
    /// # Errors
    /// Refused credentials are final; all else is worth another try.
    pub(super) async fn link(&self) -> Result<Link, ConnectorError> {
        tls::install();
        let Self { server, .. } = self;
        let lost = CancellationToken::new();
        let seen = lost.clone();
        let mut options = ConnectOptions::new()
            .name("courant")
            .connection_timeout(Duration::from_millis(MESSAGING_CONNECT_MS_MAX))
            .ping_interval(Duration::from_millis(MESSAGING_KEEP_ALIVE_MS))
            .subscription_capacity(self.buffered)
            .max_reconnects(1)
            .event_callback(move |event| {
                let seen = seen.clone();
                async move { tell(&event, &seen) }
            });
        if let Some((user, password)) = server.credentials() {
            options = options.user_and_password(user, password);
        }
        if server.is_secure() {
            options = options.tls_client_config(tls::client(self.ca.as_deref())?).require_tls(true);
        }
        if let Some(file) = &self.credentials {
            let read = options.credentials_file(file).await;
            options = read.map_err(|error| {
                ConnectorError::fatal(format!("read credentials from file {file:?}: {error}"))
            })?;
        }
        let client = options.connect(server.to_string()).await.map_err(|error| {
            let refused = matches!(
                error.kind(),
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
            );
            let remedy = if refused { "; check user and password" } else { "" };
            let what = format!("connect to {server}: {error}{remedy}");
            ConnectorError { what, retryable: !refused }
        })?;
        Ok(Link { client, lost, server: server.clone() })
    }
}

impl Link {
    /// Waits for the connection's end. Cancel safe.
    pub(super) async fn lost(&self) -> ConnectorError {
        self.lost.cancelled().await;
        ConnectorError::retryable(format!("connection to {} was lost", self.server))
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}

fn tell(event: &Event, lost: &CancellationToken) {
    match event {
        Event::Disconnected | Event::Closed => lost.cancel(),
        Event::SlowConsumer(_) => {
            tracing::error!("messages of NATS came faster than the log takes them and were lost");
        }
        Event::ServerError(error) => tracing::warn!(%error, "the NATS server reports an error"),
        _ => {}
    }
}

/// Bytes that a pull asks for at most.
pub(super) const PULL_BYTES_MAX: usize = MESSAGING_BUFFER_BYTES_MAX;
