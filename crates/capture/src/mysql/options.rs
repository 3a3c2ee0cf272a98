//! What a capture of a binary log is told.
//!
//! Plain values with defaults; checked by [`super::MySqlSource::new`], which connects to
//! nothing. Shows no passwords.

use std::{fmt, path::PathBuf};

use courant_model::limits::{
    CAPTURE_BATCH_CHANGES_DEFAULT, CAPTURE_CHUNK_ROWS_DEFAULT, CAPTURE_HEARTBEAT_MS_DEFAULT,
    CAPTURE_OUTAGE_MS_DEFAULT,
};

use crate::select::Selection;

/// Options of [`super::MySqlSource`].
#[derive(Clone)]
pub struct MySqlOptions {
    /// `mysql://user:password@host:3306/database`, one for each server that has the same
    /// data; the next is tried when one fails. `?require_ssl=true` asks for TLS.
    pub servers: Vec<String>,
    /// Files for TLS; given, connections are encrypted and the server's certificate and
    /// name are checked.
    pub tls: Option<Tls>,
    pub selection: Selection,
    pub snapshot: SnapshotMode,
    /// Hands a transaction's changes on in one batch, whatever their number up to a
    /// million; otherwise one with more than `batch_changes` comes in parts.
    pub whole_transactions: bool,
    /// This reader's identity among all readers of the log; by chance unless set.
    pub server_id: Option<u32>,
    /// Rows of one chunk of the snapshot.
    pub chunk_rows: usize,
    /// Changes after which a batch is handed on although more wait.
    pub batch_changes: usize,
    pub heartbeat_ms: u64,
    /// How long to go on connecting before the error is told.
    pub outage_ms: u64,
}

/// Whom TLS trusts, and who we are; files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities that are trusted; without them, those of the web.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What is read before the changes, where there is no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotMode {
    /// All rows of the chosen tables.
    #[default]
    Initial,
    /// Nothing: only what changes from now on.
    Never,
}

impl Default for MySqlOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            tls: None,
            selection: Selection::default(),
            snapshot: SnapshotMode::default(),
            whole_transactions: false,
            server_id: None,
            chunk_rows: CAPTURE_CHUNK_ROWS_DEFAULT,
            batch_changes: CAPTURE_BATCH_CHANGES_DEFAULT,
            heartbeat_ms: CAPTURE_HEARTBEAT_MS_DEFAULT,
            outage_ms: CAPTURE_OUTAGE_MS_DEFAULT,
        }
    }
}

impl fmt::Debug for MySqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlOptions")
            .field("servers", &self.servers.len())
            .field("tls", &self.tls)
            .field("selection", &self.selection)
            .field("snapshot", &self.snapshot)
            .field("whole_transactions", &self.whole_transactions)
            .field("server_id", &self.server_id)
            .field("chunk_rows", &self.chunk_rows)
            .field("batch_changes", &self.batch_changes)
            .field("heartbeat_ms", &self.heartbeat_ms)
            .field("outage_ms", &self.outage_ms)
            .finish()
    }
}
