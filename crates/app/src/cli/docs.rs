//! `courant docs`: the reference of the file, generated from the code that reads it.

use courant_pipeline::config;

use crate::{error::Failure, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Prints the JSON Schema instead, for editors
    #[arg(long)]
    schema: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let connectors = courant_connectors::all();
    if arguments.schema {
        let schema = config::schema(&connectors);
        return terminal::line(format!("{schema:#}"));
    }
    terminal::line(config::reference(&connectors).trim_end())
}
