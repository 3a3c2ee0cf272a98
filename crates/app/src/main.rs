//! The binary: reads the command line, runs one command, says how it went.
//!
//! Everything that can be decided without I/O is decided in the crates below; this
//! one wires them (`server`), reaches a log from outside (`access`) and prints.

mod access;
mod cli;
mod error;
mod server;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
