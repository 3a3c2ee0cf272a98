//! Change data capture from MySQL's and MariaDB's binary log.
//!
//! [`MySqlSource`] is a [`crate::Source`]. `server` connects and checks, `log` turns
//! events into changes by the plans of `table_map`, `snapshot` reads chunks of tables
//! between them, `reader` puts both into batches and survives broken connections. Needs
//! the right to replicate and to select, never one to write.

mod bytes;
mod catalog;
mod charset;
mod fields;
mod gtid;
mod json;
mod log;
mod options;
mod position;
mod reader;
mod rows;
mod server;
mod snapshot;
mod statement;
mod table_map;

pub use options::{MySqlOptions, SnapshotMode, Tls};
pub use position::{MySqlPosition, Progress, Within};
pub use reader::MySqlSource;
