//! Change data capture: what a database's tables hold, and every change to them since.
//!
//! A [`Source`] hands out batches: rows of the snapshot, transactions of the log, and
//! with each the position to resume from. [`mysql`] reads MySQL's and MariaDB's binary
//! log; another database is another module with the same trait. Values are exact: what
//! a `SELECT` says is what a [`Value`] holds. Nothing here knows topics, keys or sinks.

pub mod change;
pub mod error;
pub mod mysql;
pub mod select;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
pub mod value;

pub use change::{Change, Column, ColumnKind, Operation, Row, Table, Transaction};
pub use error::{CaptureError, Finding};
pub use select::Selection;
pub use source::{Batch, Source};
pub use value::{Date, DateTime, Geometry, Time, Value};
