//! The Kafka port of a running Courant: bound first, served last, stopped before the log.
//!
//! The embedded log alone is offered: a log on a cluster has brokers of its own.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use courant_broker::{AutoCreation, BrokerOptions, Security, SecurityConfig};
use courant_log::EmbeddedLog;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::bind_failure;
use crate::error::Failure;

/// File of the data folder with the users that Kafka clients have set.
const USERS_FILE: &str = "kafka-users";

/// Where Kafka clients are listened for, and how they are dealt with.
#[derive(Debug, Clone)]
pub(crate) struct KafkaListen {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// Whether a free port is as good where this one is taken.
    pub(crate) or_free: bool,
    pub(crate) advertised: Option<(String, u16)>,
    pub(crate) security: SecurityConfig,
    pub(crate) auto_creation: AutoCreation,
}

/// A port that was taken, on which nobody is answered yet.
#[derive(Debug)]
pub(super) struct Taken {
    listener: TcpListener,
    options: BrokerOptions,
}

/// An open Kafka port.
#[derive(Debug)]
pub(super) struct KafkaPort {
    pub(super) address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<io::Result<()>>,
}

impl KafkaListen {
    /// Takes the port and reads certificates and users. Those that clients set are kept
    /// in the data folder.
    pub(super) async fn take(self, data: &Path) -> Result<Taken, Failure> {
        let listener = self.bind().await?;
        let (config, kept) = (self.security, data.join(USERS_FILE));
        // What is kept of passwords takes milliseconds each to work out.
        let opened =
            tokio::task::spawn_blocking(move || Security::open(&config, Some(&kept))).await;
        let security = opened
            .map_err(|error| error.to_string())
            .and_then(|opened| opened.map_err(|error| error.to_string()))
            .map_err(Failure::Failed)?;
        let (advertised, security) = (self.advertised, Arc::new(security));
        let auto_creation = self.auto_creation;
        let options =
            BrokerOptions { advertised, security, auto_creation, ..BrokerOptions::default() };
        Ok(Taken { listener, options })
    }

    async fn bind(&self) -> Result<TcpListener, Failure> {
        let address = SocketAddr::new(self.address, self.port);
        let bound = match TcpListener::bind(address).await {
            Err(error) if self.or_free && error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind(SocketAddr::new(self.address, 0)).await
            }
            bound => bound,
        };
        bound.map_err(|error| {
            bind_failure(&error, address, "--kafka-port", "0 for a free one or off for none")
        })
    }
}

impl Taken {
    /// Serves the log on the port.
    pub(super) fn serve(self, log: Arc<EmbeddedLog>) -> Result<KafkaPort, Failure> {
        let address = self.listener.local_addr()?;
        let stop = CancellationToken::new();
        let serving = courant_broker::serve(self.listener, log, self.options, stop.clone());
        Ok(KafkaPort { address, stop, served: tokio::spawn(serving) })
    }
}

impl KafkaPort {
    /// Answers what is under way, then closes the connections.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        match self.served.await {
            Ok(served) => Ok(served?),
            Err(error) => {
                tracing::warn!(%error, "the task of the Kafka port ended badly");
                Ok(())
            }
        }
    }
}
