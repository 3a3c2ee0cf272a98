//! `courant run FILE`: runs a file until it is told to stop.

use std::{net::IpAddr, path::PathBuf};

use courant_pipeline::plan::{Plan, RoleChoice};

use super::{
    Common, check,
    kafka::{KafkaFlags, Surroundings},
    push::PushFlags,
};
use crate::{
    error::Failure,
    server::{Listen, Server, stop_signal},
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file, such as examples/messages/courant.yaml
    file: PathBuf,
    #[command(flatten)]
    pub(crate) ports: Ports,
}

/// Where a running Courant listens.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ports {
    /// Address to listen on; one that others can reach needs --insecure
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: IpAddr,

    /// Port of HTTP: pages, endpoints, API, metrics; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    http_port: u16,

    /// Allows an address that others can reach without authentication
    #[arg(long)]
    insecure: bool,

    #[command(flatten)]
    kafka: KafkaFlags,

    #[command(flatten)]
    push: PushFlags,
}

impl Ports {
    /// Where a plan is to be reached.
    ///
    /// # Errors
    /// [`Failure::Usage`] for addresses that need --insecure, and for flags that the
    /// plan's profile has no use for.
    pub(crate) fn listen(&self, plan: &Plan, is_demo: bool) -> Result<Listen, Failure> {
        if !self.listen.is_loopback() && !self.insecure {
            return Err(Failure::Usage(format!(
                "--listen {} can be reached by others, and nobody would be asked who they are; \
                 add --insecure if that is wanted",
                self.listen
            )));
        }
        let around = Surroundings { listen: self.listen, insecure: self.insecure, is_demo };
        let kafka = match (&plan.roles.log, self.kafka.wanted()) {
            (RoleChoice::Embedded, _) => self.kafka.listen(around)?,
            (RoleChoice::External { .. }, None) => None,
            (RoleChoice::External { .. }, Some(flag)) => {
                return Err(Failure::Usage(format!(
                    "{flag} is about the embedded log, and profile {:?} has its log on a \
                     cluster; leave the flag out",
                    plan.profile
                )));
            }
        };
        let push = self.push.listen()?;
        Ok(Listen { address: self.listen, http_port: self.http_port, kafka, push })
    }
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let plan = check::load(common, &arguments.file)?;
    until_stopped(plan, common.data_or_default(), &arguments.ports).await
}

/// Runs a plan until SIGINT or SIGTERM.
pub(super) async fn until_stopped(plan: Plan, data: PathBuf, ports: &Ports) -> Result<(), Failure> {
    let listen = ports.listen(&plan, false)?;
    let server = Server::start(plan, data, listen).await?;
    if let Some(address) = server.kafka_address() {
        terminal::line(format!("Kafka clients connect to {address}"))?;
    }
    terminal::line(format!("listening on {}", server.address()))?;
    stop_signal().await;
    server.stop().await
}
