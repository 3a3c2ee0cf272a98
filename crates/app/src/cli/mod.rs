//! The command line: one file for each command, the flags that all share, and
//! where a failure becomes an exit code (0 done, 1 failed, 2 usage or a bad file).

mod broker;
mod check;
mod completions;
mod demo;
mod docs;
mod generate;
mod group;
mod jolt;
mod kafka;
mod push;
mod run;
mod test;
mod topic;
mod view;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{error::Failure, terminal};

/// Keeps data fresh from the moment it changes to the moment somebody sees it.
#[derive(Debug, Parser)]
#[command(name = "courant", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Which of the file's profiles to use: what stands behind each role
    #[arg(long, global = true, value_name = "NAME", env = "COURANT_PROFILE")]
    pub(crate) profile: Option<String>,

    /// Folder that keeps the data [default: ./courant-data; a fresh temporary one for the demo]
    #[arg(long, global = true, value_name = "DIR", env = "COURANT_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// What is logged to standard error: error, warn, info, debug, trace, or a filter
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", env = "COURANT_LOG")]
    log_level: String,

    /// Prints JSON instead of text, and logs JSON lines
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    /// The data folder, when no other was given.
    pub(crate) fn data_or_default(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from("courant-data"))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario with nothing installed and prints its address
    Demo(demo::Arguments),
    /// Runs a file until SIGINT or SIGTERM
    Run(run::Arguments),
    /// Runs the log alone, for Kafka clients and the HTTP API
    Broker(broker::Arguments),
    /// Finds everything wrong with a file
    Check(check::CheckArguments),
    /// Prints the graph that a file describes
    Plan(check::CheckArguments),
    /// Runs a file's tests on virtual time
    Test(test::Arguments),
    /// Topics and their records
    #[command(subcommand)]
    Topic(topic::Command),
    /// Consumer groups and their offsets
    #[command(subcommand)]
    Group(group::Command),
    /// Continuous queries and what they keep
    #[command(subcommand)]
    View(view::Command),
    /// Transforms JSON by a Jolt specification
    Jolt(jolt::Arguments),
    /// Writes made-up data of a scenario to standard output
    Generate(generate::Arguments),
    /// Prints the reference of the file, or its JSON Schema
    Docs(docs::Arguments),
    /// Prints a completion script for a shell
    Completions(completions::Arguments),
}

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                terminal::note(text);
            }
            failure.exit_code()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let common = cli.common;
    start_logging(&common)?;
    match cli.command {
        Command::Check(arguments) => return check::check(&common, &arguments),
        Command::Plan(arguments) => return check::plan(&common, &arguments),
        Command::Test(arguments) => return test::run(&common, &arguments),
        Command::Generate(arguments) => return generate::run(&arguments),
        Command::Jolt(arguments) => return jolt::run(&common, &arguments),
        Command::Docs(arguments) => return docs::run(&arguments),
        Command::Completions(arguments) => return completions::run(&arguments),
        _ => {}
    }
    // One provider of TLS for the whole process, before anything connects; an error
    // only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Demo(arguments) => demo::run(&common, arguments).await,
            Command::Run(arguments) => run::run(&common, arguments).await,
            Command::Broker(arguments) => broker::run(&common, arguments).await,
            Command::Topic(command) => topic::run(&common, command).await,
            Command::Group(command) => group::run(&common, command).await,
            Command::View(command) => view::run(&common, command).await,
            _ => Ok(()),
        }
    })
}

fn start_logging(common: &Common) -> Result<(), Failure> {
    // A plain level is about Courant; the storage engine's own news starts at warnings.
    let directives = match common.log_level.as_str() {
        level @ ("info" | "debug" | "trace") => format!("{level},fjall=warn,lsm_tree=warn"),
        other => other.to_owned(),
    };
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| Failure::Usage(format!("--log-level {:?}: {error}", common.log_level)))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if common.json {
        builder.json().init();
    } else {
        builder.init();
    }
    Ok(())
}

/// The command line's definition, for completions and the docs test.
fn definition() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::definition().debug_assert();
    }
}
