//! Bounds of change data capture: how much is read at a time, and how long is waited.
//!
//! Named as all bounds are, by `limits`; a file of its own only because they are many. What
//! is kept in memory is bounded here; what a database may hold is not.

/// Rows that one chunk of a capture's snapshot reads: some 10 ms of the database's
/// time, and a few megabytes here until the log has come to the chunk's position.
pub const CAPTURE_CHUNK_ROWS_DEFAULT: usize = 10_000;

/// The most rows of one chunk; all of them are in memory.
pub const CAPTURE_CHUNK_ROWS_MAX: usize = 1_000_000;

/// Changes after which a capture hands on what it has; a larger transaction comes in
/// parts unless it is wanted whole.
pub const CAPTURE_BATCH_CHANGES_DEFAULT: usize = 4_096;

/// Changes of one transaction that is wanted whole; all of them are in memory.
pub const CAPTURE_TRANSACTION_CHANGES_MAX: usize = 1_000_000;

/// Time after which a quiet database's log says where it stands; the position moves on
/// with it, and three times as much silence means that the connection is gone.
pub const CAPTURE_HEARTBEAT_MS_DEFAULT: u64 = 1_000;

/// First and longest wait before a capture connects again.
pub const CAPTURE_RETRY_MS_MIN: u64 = 50;
pub const CAPTURE_RETRY_MS_MAX: u64 = 5_000;

/// How long a capture goes on connecting again before it gives up, unless set: a
/// server's restart and a fail-over fit in.
pub const CAPTURE_OUTAGE_MS_DEFAULT: u64 = 300_000;

/// How long a source's capture goes on connecting, for each of its servers, before the
/// failure is shown; the source then tries on for ever.
pub const CAPTURE_OUTAGE_TOLD_MS: u64 = 30_000;

/// Batches that a source's capture has read ahead, and appends together.
pub const CAPTURE_BATCHES_WAITING_MAX: usize = 4;

/// How long a capture's connection to a database may take.
pub const CAPTURE_CONNECT_MS_MAX: u64 = 10_000;

/// Times that a chunk is read again because the table changed under it.
pub const CAPTURE_CHUNK_ATTEMPTS_MAX: usize = 100;

/// Tables that one capture follows; the position of a running snapshot names them.
pub const CAPTURE_TABLES_MAX: usize = 10_000;

/// Bytes of one event of a binary log, also unfolded: the most that servers take for a
/// packet. Memory is taken as the bytes come.
pub const CAPTURE_EVENT_BYTES_MAX: usize = 1024 * 1024 * 1024;
