//! `courant completions SHELL`: a script for the shell to read.

use clap_complete::{Shell, generate};

use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell: `courant completions bash > /etc/bash_completion.d/courant`
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut super::definition(), "courant", &mut script);
    crate::terminal::line(String::from_utf8_lossy(&script).trim_end())
}
