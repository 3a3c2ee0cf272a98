//! What the tests of several crates share: the processes of real servers, ports for them,
//! and how a test is skipped where a program is missing.
//!
//! For tests only: it panics with what went wrong. It knows no server and none of our
//! crates; what starts a MariaDB or a Redis stands with the tests that need one.

mod port;
mod process;
mod program;

pub use port::{free_port, is_listening};
pub use process::{PATIENCE, Process, is_root, until};
pub use program::{program, skip};
