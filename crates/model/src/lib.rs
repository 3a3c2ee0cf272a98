//! Courant's vocabulary, shared by every crate.
//!
//! What a record is, where it stands in the log, what time it carries, how sizes
//! and durations are written, how large anything may grow, and how a problem in a
//! file is told. Nothing here does I/O, reads a clock of its own accord or depends
//! on another crate of the workspace.

pub mod change;
pub mod clock;
pub mod columns;
pub mod json;
pub mod limits;
pub mod names;
pub mod position;
pub mod problem;
pub mod record;
pub mod time;
pub mod units;

pub use change::{
    OPERATION_HEADER, Operation, TABLE_HEADER, TRANSACTION_END_HEADER, TRANSACTION_HEADER,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use columns::{Column, ColumnType, Columns};
pub use names::{NameError, TopicName};
pub use position::{Offset, PartitionId, Position, Positions, TopicPartition};
pub use problem::{Place, Problem, Problems};
pub use record::{Header, ORIGIN_HEADER, Record, StoredRecord};
pub use time::{Origin, Timestamp};
pub use units::{ByteSize, Span, UnitError};
