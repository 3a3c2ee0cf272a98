//! The connection to Redis: made when it is needed, given up when it fails.
//!
//! One connection takes the commands of all callers at once. Whoever meets a failed one
//! lets go of it; the next caller makes a new one, which with sentinels means to ask them
//! anew who the master is. A cluster's client finds moved slots by itself. Nothing here
//! knows a table.

use std::time::Duration;

use futures::future::join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind,
    TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::options::{Kind, RedisOptions};
use crate::StoreError;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take; a server that saves or is busy still answers by then.
const ANSWER: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Link {
    pub(super) options: RedisOptions,
    open: Mutex<Open>,
}

/// The connection that is in use, with a number that tells it from those before.
#[derive(Debug, Default)]
struct Open {
    number: u64,
    connection: Option<Connection>,
}

#[derive(Clone)]
enum Connection {
    /// To one server: the only one, or the master that sentinels named.
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) fn new(options: RedisOptions) -> Self {
        Self { options, open: Mutex::default() }
    }

    /// Sends commands in one go, to one of the masters or each to where its key is; once
    /// more over a new connection when the first one was lost, as it is after a restart of
    /// the server. An answer may be [`Value::ServerError`].
    ///
    /// # Errors
    /// As [`Link::failure`] tells them.
    pub(super) async fn send(
        &self,
        action: &str,
        to: Option<&Master>,
        commands: &[Cmd],
    ) -> Result<Vec<Value>, StoreError> {
        let mut first = true;
        loop {
            let (number, outcome) = match self.connection().await {
                Ok((number, mut connection)) => (number, connection.send(to, commands).await),
                Err(error) => return Err(self.failure(action, error)),
            };
            match outcome {
                Err(error) if is_lost(&error) => {
                    self.give_up(number).await;
                    if !std::mem::take(&mut first) {
                        return Err(self.failure(action, error));
                    }
                }
                outcome => return outcome.map_err(|error| self.failure(action, error)),
            }
        }
    }

    /// Sends one command and reads its answer.
    ///
    /// # Errors
    /// As [`Link::failure`] tells them.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        action: &str,
        to: Option<&Master>,
        command: Cmd,
    ) -> Result<T, StoreError> {
        let answer = self.send(action, to, &[command]).await?.pop().unwrap_or(Value::Nil);
        self.read(action, answer)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// As [`Link::failure`] tells them.
    pub(super) fn read<T: FromRedisValue>(
        &self,
        action: &str,
        answer: Value,
    ) -> Result<T, StoreError> {
        let answer = answer.extract_error().map_err(|error| self.failure(action, error))?;
        T::from_redis_value(answer).map_err(|error| self.failure(action, error.into()))
    }

    /// The servers that hold keys: one, or every master of the cluster.
    ///
    /// # Errors
    /// As [`Link::failure`] tells them.
    pub(super) async fn masters(&self, action: &str) -> Result<Vec<Master>, StoreError> {
        if self.options.kind != Kind::Cluster {
            return Ok(vec![Master(None)]);
        }
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let slots: Vec<Value> = self.ask(action, None, slots).await?;
        let mut masters: Vec<Master> = Vec::new();
        for range in slots {
            let node = range.as_sequence().and_then(|range| range.get(2)?.as_sequence());
            let Some([host, port, ..]) = node else { continue };
            let host: String = self.read(action, host.clone())?;
            let port: u16 = self.read(action, port.clone())?;
            let master = Master(Some((host, port)));
            if !masters.contains(&master) {
                masters.push(master);
            }
        }
        Ok(masters)
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &open.connection {
            return Ok((open.number, connection.clone()));
        }
        let connection = connect(&self.options).await?;
        open.number += 1;
        open.connection = Some(connection.clone());
        Ok((open.number, connection))
    }

    async fn give_up(&self, number: u64) {
        let mut open = self.open.lock().await;
        if open.number == number {
            open.connection = None;
        }
    }

    /// An error as a store tells it: refused credentials and missing rights for good, all
    /// else as what may pass.
    fn failure(&self, action: &str, error: RedisError) -> StoreError {
        let refused = error.kind() == ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"));
        if refused {
            return StoreError::AccessDenied {
                store: self.options.place(),
                why: format!("{action}: {error}"),
            };
        }
        StoreError::storage(format!("{action} ({})", self.options.place()), error)
    }
}

impl Connection {
    async fn send(&mut self, to: Option<&Master>, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(connection) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command.clone());
                }
                connection.req_packed_commands(&pipeline, 0, commands.len()).await
            }
            // Each goes to the node of its own slot, and follows it when the slot moves.
            Self::Cluster(connection) => {
                let node = to.and_then(|master| master.0.clone());
                let sent = commands.iter().cloned();
                let sent = sent.map(|command| routed(connection.clone(), node.clone(), command));
                join_all(sent).await.into_iter().collect()
            }
        }
    }
}

/// Sends a command to a node of a cluster, or to that of its key. What the server refuses
/// is an answer.
async fn routed(
    mut connection: ClusterConnection,
    node: Option<(String, u16)>,
    command: Cmd,
) -> RedisResult<Value> {
    let answer = match node {
        Some((host, port)) => {
            let node = SingleNodeRoutingInfo::ByAddress { host, port };
            connection.route_command(command, RoutingInfo::SingleNode(node)).await
        }
        None => connection.req_packed_command(&command).await,
    };
    match answer {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            Ok(Value::SimpleString(NO_SCRIPT.into()))
        }
        answer => answer,
    }
}

/// A server that holds keys; the only one has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Master(Option<(String, u16)>);

/// Stands for the answer of a server that does not know a script yet.
pub(super) const NO_SCRIPT: &str = "NOSCRIPT";

/// Whether the connection is of no more use: broken, or to a server that is no master.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::ClusterConnectionNotFound
                | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
}

async fn connect(options: &RedisOptions) -> RedisResult<Connection> {
    let invalid = |error: super::options::RedisUrlError| {
        RedisError::from((ErrorKind::InvalidClientConfig, "certificates", error.to_string()))
    };
    let certificates = match options.tls {
        true => Some(options.certificates().map_err(invalid)?),
        false => None,
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(ANSWER));
    match &options.kind {
        Kind::Single => {
            let (host, port) = &options.nodes[0];
            let info = address(options, host, *port)
                .into_connection_info()?
                .set_redis_settings(settings(options));
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(info, certificates)?,
                None => Client::open(info)?,
            };
            client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
        }
        Kind::Cluster => {
            let nodes = options.nodes.iter().map(|(host, port)| address(options, host, *port));
            let mut builder = ClusterClientBuilder::new(nodes)
                .connection_timeout(CONNECT)
                .response_timeout(ANSWER)
                .overall_response_timeout(Some(ANSWER));
            if let Some(certificates) = certificates {
                builder = builder.tls(TlsMode::Secure).certs(certificates);
            }
            if let Some(user) = &options.login.user {
                builder = builder.username(user);
            }
            if let Some(password) = &options.login.password {
                builder = builder.password(password);
            }
            builder.build()?.get_async_connection().await.map(Connection::Cluster)
        }
        Kind::Sentinel { master } => {
            let sentinels = options.nodes.iter().map(|(host, port)| address(options, host, *port));
            let mut builder =
                SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
                    .set_client_to_redis_db(options.database);
            if let Some(certificates) = certificates {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_certificates(certificates);
            }
            if let Some(user) = &options.login.user {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = &options.login.password {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(user) = &options.sentinel_login.user {
                builder = builder.set_client_to_sentinel_username(user);
            }
            if let Some(password) = &options.sentinel_login.password {
                builder = builder.set_client_to_sentinel_password(password);
            }
            let mut client = builder.build()?;
            client.get_async_connection_with_config(&config).await.map(Connection::One)
        }
    }
}

fn address(options: &RedisOptions, host: &str, port: u16) -> ConnectionAddr {
    let host = host.to_owned();
    match options.tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn settings(options: &RedisOptions) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(options.database);
    if let Some(user) = &options.login.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &options.login.password {
        settings = settings.set_password(password);
    }
    settings
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Cluster(_) => "Cluster",
        })
    }
}
