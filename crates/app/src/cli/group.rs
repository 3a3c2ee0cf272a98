//! `courant group …`: consumer groups and how far they have read.

use courant_log::GroupDescription;
use courant_model::Timestamp;
use serde_json::json;

use super::Common;
use crate::{
    access::{Access, Place, ResetTo},
    error::Failure,
    terminal,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the groups
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Shows members, offsets and lag
    Describe {
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Moves a group's offsets; its members must be stopped
    Reset(Reset),
    /// Forgets a group and its offsets; its members must be stopped
    Delete {
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reset {
    id: String,
    /// To the oldest record: everything is read again
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// To the end: what is there is skipped
    #[arg(long, group = "to")]
    to_latest: bool,
    /// To this offset, in every partition
    #[arg(long, group = "to", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record at or after this time, in milliseconds since the epoch
    #[arg(long, group = "to", value_name = "MILLIS")]
    to_time: Option<i64>,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(common: &Common, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { place } => list(common, &Access::open(common, &place).await?).await,
        Command::Describe { id, place } => {
            let group = Access::open(common, &place).await?.group(&id).await?;
            describe(common, &group)
        }
        Command::Reset(arguments) => reset(common, arguments).await,
        Command::Delete { id, place } => {
            let access = Access::open(common, &place).await?;
            access.delete_group(&id).await?;
            access.close().await?;
            terminal::line(format!("group \"{id}\" is deleted"))
        }
    }
}

async fn list(common: &Common, access: &Access) -> Result<(), Failure> {
    let groups = access.groups().await?;
    if common.json {
        return terminal::line(json!(groups).to_string());
    }
    let rows: Vec<Vec<String>> = groups
        .into_iter()
        .map(|group| vec![group.id, state(&json!(group.state)), group.members.to_string()])
        .collect();
    terminal::table(&["GROUP", "STATE", "MEMBERS"], &rows)
}

fn describe(common: &Common, group: &GroupDescription) -> Result<(), Failure> {
    if common.json {
        return terminal::line(json!(group).to_string());
    }
    terminal::line(format!(
        "group {}, {}, generation {}, {} members\n",
        group.id,
        state(&json!(group.state)),
        group.generation,
        group.members.len()
    ))?;
    let rows: Vec<Vec<String>> = group
        .offsets
        .iter()
        .map(|offset| {
            let owner = group
                .members
                .iter()
                .find(|member| member.partitions.contains(&offset.partition))
                .map_or("-", |member| member.client_id.as_str());
            vec![
                offset.partition.topic.to_string(),
                offset.partition.partition.to_string(),
                offset.committed.to_string(),
                offset.end.to_string(),
                offset.lag.to_string(),
                owner.to_owned(),
            ]
        })
        .collect();
    terminal::table(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "READ BY"], &rows)
}

fn state(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().replace('_', " ")
}

async fn reset(common: &Common, arguments: Reset) -> Result<(), Failure> {
    let to = match (arguments.to_earliest, arguments.to_latest) {
        (true, _) => Some(ResetTo::Earliest),
        (_, true) => Some(ResetTo::Latest),
        _ => {
            let time = arguments.to_time.map(|at| ResetTo::Time(Timestamp::from_millis(at)));
            arguments.to_offset.map(ResetTo::Offset).or(time)
        }
    };
    let to = to.ok_or_else(|| {
        Failure::Usage(
            "where to? add --to-earliest, --to-latest, --to-offset OFFSET or --to-time MILLIS"
                .into(),
        )
    })?;
    let access = Access::open(common, &arguments.place).await?;
    let moved = access.reset_group(&arguments.id, to).await?;
    access.close().await?;
    if common.json {
        return terminal::line(json!(moved).to_string());
    }
    for (partition, offset) in moved {
        terminal::line(format!("{partition} continues at offset {offset}"))?;
    }
    Ok(())
}
