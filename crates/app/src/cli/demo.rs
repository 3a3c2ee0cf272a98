//! `courant demo`: a scenario that runs with nothing installed.
//!
//! The examples are carried in the binary and laid into a fresh temporary folder,
//! which goes when the demo ends, unless `--data` says where to keep things.

use std::path::Path;

use super::{Common, check, run::Ports};
use crate::{
    error::Failure,
    server::{Server, stop_signal},
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which scenario
    #[arg(value_enum, default_value_t = Scenario::Messages)]
    scenario: Scenario,
    #[command(flatten)]
    ports: Ports,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Scenario {
    /// Generator → topic → history → REST, and a live page
    Messages,
}

impl Scenario {
    const fn file(self) -> &'static str {
        match self {
            Self::Messages => include_str!("../../../../examples/messages/courant.yaml"),
        }
    }

    const fn page(self) -> &'static str {
        match self {
            Self::Messages => "/demo/messages",
        }
    }
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let temporary = tempfile::Builder::new().prefix("courant-demo-").tempdir()?;
    let file = temporary.path().join("courant.yaml");
    tokio::fs::write(&file, arguments.scenario.file()).await?;
    let data = common.data.clone().unwrap_or_else(|| temporary.path().join("data"));
    let plan = check::load(common, Path::new(&file))?;
    let listen = arguments.ports.listen(&plan, true)?;
    let server = Server::start(plan, data, listen).await?;
    let page = arguments.scenario.page();
    terminal::line(format!("the demo runs at {}{page}", server.address()))?;
    if let Some(address) = server.kafka_address() {
        terminal::line(format!("Kafka clients connect to {address}"))?;
    }
    terminal::line("press Ctrl-C to stop")?;
    stop_signal().await;
    server.stop().await
}
