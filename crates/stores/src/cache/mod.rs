//! The cache role: the latest answer by key, in O(1).
//!
//! A table holds keys; a key holds either one value or a hash of fields (as
//! Redis's strings and hashes), and may expire. Values are bytes, mostly JSON.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use indexmap::IndexMap;
use serde::Serialize;

use crate::StoreError;

pub mod embedded;
pub mod redis;

pub use embedded::{CacheOptions, EmbeddedCache};
pub use redis::{RedisCache, RedisOptions};

/// Latest values by key.
#[async_trait]
pub trait Cache: Send + Sync + std::fmt::Debug + 'static {
    /// The value of a key; `None` when absent or expired.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`] when the key holds fields.
    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// One field of a key.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`] when the key holds a value.
    async fn get_field(
        &self,
        table: &str,
        key: &str,
        field: &str,
    ) -> Result<Option<Bytes>, StoreError>;

    /// All fields of a key in the order of their first setting; empty when absent.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`] when the key holds a value.
    async fn fields(&self, table: &str, key: &str) -> Result<IndexMap<String, Bytes>, StoreError>;

    /// Applies writes in order, as one batch. A write that fails stops none of the
    /// others; one result for each, in order.
    ///
    /// # Errors
    /// Only what concerns the whole batch: storage or connection failures.
    async fn apply(
        &self,
        table: &str,
        writes: Vec<CacheWrite>,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError>;

    /// Keys of a table in byte order, after `after`, at most `limit`; for people who browse.
    ///
    /// # Errors
    /// Storage or connection failures.
    async fn keys(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError>;

    /// Tables with their sizes, which may be estimated; a server has no table without keys.
    ///
    /// # Errors
    /// Storage or connection failures.
    async fn tables(&self) -> Result<Vec<CacheTableStats>, StoreError>;

    /// Makes what was applied survive a restart, or leaves that to the settings of a
    /// server; called at every checkpoint.
    ///
    /// # Errors
    /// Storage or connection failures.
    async fn flush(&self) -> Result<(), StoreError>;
}

/// One write to a cache table.
///
/// A `version` guards against a write that comes late or again: where it is lower than the
/// version that the field, or the key as a whole, was last written or deleted with, nothing
/// changes. The version of what was deleted is remembered for
/// [`courant_model::limits::DELETED_VERSIONS_KEPT_MS`], that of what expired or was evicted
/// is not. A write without a version always counts, and leaves its place without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheWrite {
    /// Sets the key's value, replacing a value or fields; `ttl: None` never expires.
    Set { key: String, value: Bytes, ttl: Option<Duration>, version: Option<i64> },
    /// Sets one field; a key that held a value fails. `ttl` is the whole key's, counted
    /// from now; with `None` its expiry stays as it is.
    SetField {
        key: String,
        field: String,
        value: Bytes,
        ttl: Option<Duration>,
        version: Option<i64>,
    },
    /// Removes the key; absent is fine.
    Delete { key: String, version: Option<i64> },
    /// Removes one field, and the key with its last field; absent is fine.
    DeleteField { key: String, field: String, version: Option<i64> },
}

impl CacheWrite {
    pub fn key(&self) -> &str {
        match self {
            Self::Set { key, .. }
            | Self::SetField { key, .. }
            | Self::Delete { key, .. }
            | Self::DeleteField { key, .. } => key,
        }
    }
}

/// A table's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheTableStats {
    pub table: String,
    pub keys: u64,
    pub size_bytes: u64,
    /// Keys that went because the size bound was reached.
    pub evicted: u64,
}
