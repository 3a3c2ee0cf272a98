//! `courant demo`: a scenario that runs with nothing installed.
//!
//! The examples are carried in the binary and laid into a fresh temporary folder,
//! which goes when the demo ends, unless `--data` says where to keep things.

use super::{Common, check, run::Ports};
use crate::{
    error::Failure,
    server::{Server, stop_signal},
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which scenario
    #[arg(value_enum, default_value_t = Scenario::Orders)]
    scenario: Scenario,
    #[command(flatten)]
    ports: Ports,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Scenario {
    /// Form → topic → Jolt → cache and history → push, and the manager's live table
    Orders,
    /// Events of pages → continuous query with windows → server-sent events, and a moving chart
    Pages,
    /// Generator → topic → history → REST, and a live page
    Messages,
}

/// A file of an example: its name and its text.
macro_rules! example {
    ($scenario:literal, $name:literal) => {
        ($name, include_str!(concat!("../../../../examples/", $scenario, "/", $name)))
    };
}

impl Scenario {
    /// The example's files; the first one is run.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Orders => &[
                example!("orders", "courant.yaml"),
                example!("orders", "order.jolt.json"),
                example!("orders", "orders.test.yaml"),
            ],
            Self::Pages => {
                &[example!("pages", "courant.yaml"), example!("pages", "pages.test.yaml")]
            }
            Self::Messages => {
                &[example!("messages", "courant.yaml"), example!("messages", "messages.test.yaml")]
            }
        }
    }

    const fn page(self) -> &'static str {
        match self {
            Self::Orders => "/demo/orders",
            Self::Pages => "/demo/pages",
            Self::Messages => "/demo/messages",
        }
    }
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let temporary = tempfile::Builder::new().prefix("courant-demo-").tempdir()?;
    for (name, text) in arguments.scenario.files() {
        tokio::fs::write(temporary.path().join(name), text).await?;
    }
    let file = temporary.path().join(arguments.scenario.files()[0].0);
    let data = common.data.clone().unwrap_or_else(|| temporary.path().join("data"));
    let plan = check::load(common, &file)?;
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
