//! One connection to an AMQP broker, with one channel.
//!
//! Whatever fails ends the link: a channel that the broker closed takes its
//! acknowledgements and confirmations with it, so there is nothing to go on with.

use std::{path::PathBuf, time::Duration};

use courant_model::limits::{MESSAGING_CONNECT_MS_MAX, MESSAGING_KEEP_ALIVE_MS};
use courant_pipeline::connector::{ConnectorError, OptionProblem};
use lapin::{
    Channel, Connection, ConnectionProperties, DefaultConnectionBuilder, ErrorKind,
    tcp::OwnedTLSConfig, uri::AMQPUri,
};

use super::PROTOCOL;
use crate::{
    messaging::{problem, server::Server},
    tls,
};

/// Codes of the broker that say who may do what.
const ACCESS_REFUSED: u16 = 403;
const NOT_ALLOWED: u16 = 530;

/// Reads the options `url` and `ca`.
///
/// # Errors
/// A URL that cannot be used.
pub(super) fn server(url: &str, ca: Option<&str>) -> Result<Server, OptionProblem> {
    let server = Server::read(url, ca, PROTOCOL)?;
    let readable = server.url().parse::<AMQPUri>().is_ok();
    readable.then_some(server).ok_or_else(|| {
        problem("url", "URL cannot be used", "write amqp://user:password@host:port/virtual-host")
    })
}

/// How to connect.
#[derive(Debug, Clone)]
pub(super) struct Connect {
    pub(super) server: Server,
    pub(super) ca: Option<PathBuf>,
    /// Name of the connection, as the broker shows it.
    pub(super) name: String,
}

/// A connection and its channel.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    pub(super) channel: Channel,
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
        let within = Duration::from_millis(MESSAGING_CONNECT_MS_MAX);
        let link = tokio::time::timeout(within, async {
            let connection =
                self.builder()?.connect().await.map_err(|error| refusal(server, &error))?;
            let channel = connection.create_channel().await;
            let channel = channel.map_err(|error| refusal(server, &error))?;
            Ok(Link { connection, channel, server: server.clone() })
        });
        link.await.unwrap_or_else(|_| {
            let what = format!("connect to {server}: no answer in {MESSAGING_CONNECT_MS_MAX} ms");
            Err(ConnectorError::retryable(what))
        })
    }

    fn builder(&self) -> Result<DefaultConnectionBuilder, ConnectorError> {
        let mut uri: AMQPUri =
            self.server.url().parse().map_err(|_| ConnectorError::fatal("URL cannot be used"))?;
        let heartbeat_s = u16::try_from(MESSAGING_KEEP_ALIVE_MS / 1_000).unwrap_or(u16::MAX);
        uri.query.heartbeat.get_or_insert(heartbeat_s);
        let mut trusted = OwnedTLSConfig::default();
        if let Some(file) = &self.ca {
            let text = std::fs::read_to_string(file).map_err(|error| {
                ConnectorError::fatal(format!("read certificates from file {file:?}: {error}"))
            })?;
            trusted.cert_chain = Some(text);
        }
        let properties =
            ConnectionProperties::default().with_connection_name(self.name.clone().into());
        let builder = DefaultConnectionBuilder::new()
            .map_err(|error| ConnectorError::fatal(format!("set up AMQP: {error}")))?;
        Ok(builder.with_uri(uri).with_properties(properties).with_tls_config(trusted))
    }
}

impl Link {
    /// A failure of something that was attempted on the link.
    pub(super) fn failure(&self, attempt: &str, error: &lapin::Error) -> ConnectorError {
        ConnectorError::retryable(format!("{attempt} on {}: {error}", self.server))
    }

    /// Sends what is on its way and says good-bye, within a bounded time.
    pub(super) async fn close(self) {
        let within = Duration::from_millis(MESSAGING_CONNECT_MS_MAX);
        // A broker that does not listen any more misses a courtesy.
        let _ = tokio::time::timeout(within, self.connection.close(200, "stopped".into())).await;
    }
}

/// Why no connection came to be.
fn refusal(server: &Server, error: &lapin::Error) -> ConnectorError {
    let refused = matches!(
        error.kind(),
        ErrorKind::ProtocolError(cause)
            if [ACCESS_REFUSED, NOT_ALLOWED].contains(&cause.get_id())
    );
    let remedy = if refused { "; check user, password and virtual host" } else { "" };
    let what = format!("connect to {server}: {error}{remedy}");
    ConnectorError { what, retryable: !refused }
}
