//! `courant run FILE`: runs a file until it is told to stop.

use std::{net::IpAddr, path::PathBuf};

use super::{Common, check};
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
}

impl Ports {
    pub(crate) fn listen(&self) -> Result<Listen, Failure> {
        if !self.listen.is_loopback() && !self.insecure {
            return Err(Failure::Usage(format!(
                "--listen {} can be reached by others, and nobody would be asked who they are; \
                 add --insecure if that is wanted",
                self.listen
            )));
        }
        Ok(Listen { address: self.listen, http_port: self.http_port })
    }
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let listen = arguments.ports.listen()?;
    let plan = check::load(common, &arguments.file)?;
    let server = Server::start(plan, common.data_or_default(), listen).await?;
    terminal::line(format!("listening on {}", server.address()))?;
    stop_signal().await;
    server.stop().await
}
