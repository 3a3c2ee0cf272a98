//! What can go wrong in a store.
//!
//! One error for both roles. Three questions are answered here and nowhere else: the
//! stable name for programs, whether a retry may help, and whether the fault is in one
//! record, so that a pipeline can set that one aside and go on.

use std::sync::Arc;

/// A failure of a cache or history.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("collection {collection:?} does not exist")]
    UnknownCollection { collection: String },
    #[error("name {name:?} of a {kind} is invalid: {why}")]
    InvalidName { kind: &'static str, name: String, why: String },
    #[error("document with id {id:?} exists already in collection {collection:?}")]
    DuplicateId { collection: String, id: String },
    #[error("document is invalid: {why}")]
    InvalidDocument { why: String },
    #[error("filter is invalid at {at:?}: {why}")]
    InvalidFilter { at: String, why: String },
    #[error("resume token {token:?} cannot be used: {why}")]
    InvalidToken { token: String, why: String },
    #[error("watch of collection {collection:?} fell behind; resume from its last token")]
    WatchLagged { collection: String },
    #[error("key {key:?} of cache table {table:?} holds {found}, not {expected}")]
    WrongKind { table: String, key: String, found: &'static str, expected: &'static str },
    #[error("value of {found_bytes} bytes is larger than the {max_bytes} bytes allowed")]
    TooLarge { found_bytes: usize, max_bytes: usize },
    #[error("{store} is in use by another process; stop that one, or choose another folder")]
    InUse { store: String },
    #[error(
        "{store} is damaged: {why}; restore it from a copy, or move it away and rebuild it from the log"
    )]
    Damaged { store: String, why: String },
    #[error("{store} denies access: {why}; check user, password and rights in its URL")]
    AccessDenied { store: String, why: String },
    #[error("{action} failed: {source}")]
    Storage {
        /// What was attempted, with the object.
        action: String,
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    #[error("the store is closed")]
    Closed,
}

/// Stable names for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorCode {
    UnknownCollection,
    InvalidName,
    DuplicateId,
    InvalidDocument,
    InvalidFilter,
    InvalidToken,
    WatchLagged,
    WrongKind,
    TooLarge,
    InUse,
    Damaged,
    AccessDenied,
    Storage,
    Closed,
}

impl StoreError {
    /// Wraps an engine's failure with what was attempted.
    pub fn storage(
        action: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Storage { action: action.into(), source: Arc::new(source) }
    }

    /// The stable name of the kind.
    pub const fn code(&self) -> StoreErrorCode {
        match self {
            Self::UnknownCollection { .. } => StoreErrorCode::UnknownCollection,
            Self::InvalidName { .. } => StoreErrorCode::InvalidName,
            Self::DuplicateId { .. } => StoreErrorCode::DuplicateId,
            Self::InvalidDocument { .. } => StoreErrorCode::InvalidDocument,
            Self::InvalidFilter { .. } => StoreErrorCode::InvalidFilter,
            Self::InvalidToken { .. } => StoreErrorCode::InvalidToken,
            Self::WatchLagged { .. } => StoreErrorCode::WatchLagged,
            Self::WrongKind { .. } => StoreErrorCode::WrongKind,
            Self::TooLarge { .. } => StoreErrorCode::TooLarge,
            Self::InUse { .. } => StoreErrorCode::InUse,
            Self::Damaged { .. } => StoreErrorCode::Damaged,
            Self::AccessDenied { .. } => StoreErrorCode::AccessDenied,
            Self::Storage { .. } => StoreErrorCode::Storage,
            Self::Closed => StoreErrorCode::Closed,
        }
    }

    /// Whether the same call may succeed later without anybody changing it.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Storage { .. })
    }

    /// Whether the fault is in one write, so that the others may go on without it.
    pub const fn concerns_one_record(&self) -> bool {
        matches!(
            self,
            Self::DuplicateId { .. }
                | Self::InvalidName { .. }
                | Self::InvalidDocument { .. }
                | Self::WrongKind { .. }
                | Self::TooLarge { .. }
        )
    }
}

impl StoreErrorCode {
    /// The name as it goes into JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownCollection => "unknown_collection",
            Self::InvalidName => "invalid_name",
            Self::DuplicateId => "duplicate_id",
            Self::InvalidDocument => "invalid_document",
            Self::InvalidFilter => "invalid_filter",
            Self::InvalidToken => "invalid_token",
            Self::WatchLagged => "watch_lagged",
            Self::WrongKind => "wrong_kind",
            Self::TooLarge => "too_large",
            Self::InUse => "in_use",
            Self::Damaged => "damaged",
            Self::AccessDenied => "access_denied",
            Self::Storage => "storage_error",
            Self::Closed => "closed",
        }
    }
}
