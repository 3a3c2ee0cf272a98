//! `courant broker`: the log, its Kafka port and the HTTP API, without a file.

use courant_log::Durability;
use courant_pipeline::plan::Plan;

use super::{Common, run::Ports};
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    ports: Ports,

    /// When a record counts as safe: `fsync`, `interval(100ms)` or `os`
    #[arg(long, value_name = "DURABILITY", default_value_t = Durability::Fsync)]
    durability: Durability,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let plan = Plan::without_pipelines("broker", arguments.durability);
    super::run::until_stopped(plan, common.data_or_default(), &arguments.ports).await
}
