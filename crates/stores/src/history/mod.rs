//! The history role: documents that are queried and watched.
//!
//! Collections of JSON documents, each with a text id under `_id`. Words, filters
//! and guarantees are MongoDB's, as far as they reach: a write is acknowledged
//! when it is durable, a watch brings every change of a collection in order and
//! resumes from its token, also after a restart.

use async_trait::async_trait;
use courant_model::json::FieldPath;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::StoreError;

pub mod embedded;
pub mod filter;
pub mod mongo;

mod checks;
mod sort;
mod values;

pub use embedded::{ChangeRetention, EmbeddedHistory, HistoryOptions};
pub use filter::Filter;
pub use mongo::{MongoHistory, MongoOptions};

/// A document; `_id` is its first field once stored.
pub type Document = Map<String, Value>;

/// Documents by id, with filters, indexes and a change stream.
#[async_trait]
pub trait History: Send + Sync + std::fmt::Debug + 'static {
    /// Creates the collection and its indexes where missing; existing documents
    /// are indexed before this answers. Indexes no longer named are dropped.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], storage failures.
    async fn ensure_collection(&self, spec: &CollectionSpec) -> Result<(), StoreError>;

    /// Collections by name.
    ///
    /// # Errors
    /// Storage or connection failures.
    async fn collections(&self) -> Result<Vec<CollectionSpec>, StoreError>;

    /// Applies writes in order; durable when this answers. A write that fails stops
    /// none of the others; one result for each, in order.
    ///
    /// # Errors
    /// Only what concerns the whole batch: [`StoreError::UnknownCollection`],
    /// storage or connection failures.
    async fn write(
        &self,
        collection: &str,
        writes: Vec<HistoryWrite>,
    ) -> Result<Vec<Result<Written, StoreError>>, StoreError>;

    /// One document by id.
    ///
    /// # Errors
    /// [`StoreError::UnknownCollection`], storage or connection failures.
    async fn get(&self, collection: &str, id: &str) -> Result<Option<Document>, StoreError>;

    /// Documents that match, sorted, after `skip`, at most `limit`
    /// (at most [`courant_model::limits::FIND_LIMIT_MAX`]).
    ///
    /// # Errors
    /// [`StoreError::UnknownCollection`], storage or connection failures.
    async fn find(&self, collection: &str, query: &FindQuery) -> Result<Vec<Document>, StoreError>;

    /// How many documents match; O(1) for the filter that matches all.
    ///
    /// # Errors
    /// [`StoreError::UnknownCollection`], storage or connection failures.
    async fn count(&self, collection: &str, filter: &Filter) -> Result<u64, StoreError>;

    /// Watches a collection.
    ///
    /// # Errors
    /// [`StoreError::InvalidToken`] for a token of another collection or older than
    /// what the change log keeps.
    async fn watch(
        &self,
        collection: &str,
        from: WatchFrom,
    ) -> Result<Box<dyn Changes>, StoreError>;

    /// Collections with their sizes, by name; cheap enough to ask every second.
    ///
    /// # Errors
    /// Storage or connection failures.
    async fn stats(&self) -> Result<Vec<CollectionStats>, StoreError>;
}

/// The changes of one collection, in the order of their commits.
#[async_trait]
pub trait Changes: Send + std::fmt::Debug {
    /// Waits for the next changes; at least one, at most `max`.
    ///
    /// # Cancel safety
    /// Safe: no change is skipped.
    ///
    /// # Errors
    /// [`StoreError::WatchLagged`], [`StoreError::Closed`], storage failures.
    async fn next(&mut self, max: usize) -> Result<Vec<Change>, StoreError>;
}

/// What a collection is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionSpec {
    pub name: String,
    /// Secondary indexes, each over one or more fields, ascending.
    pub indexes: Vec<Vec<FieldPath>>,
}

/// A collection's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CollectionStats {
    pub name: String,
    pub documents: u64,
    /// Bytes of the documents as JSON, before compression and without indexes.
    pub size_bytes: u64,
    pub indexes: usize,
}

/// One write to a collection. A document's own `_id` must be absent or equal.
///
/// A `version` guards against a write that comes late or again: where it is lower than the
/// version that the document was last written with, or than that of a delete of the last
/// [`courant_model::limits::DELETED_VERSIONS_KEPT_MS`], nothing changes. A write without a
/// version always counts, and leaves the document without one.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryWrite {
    /// Fails with [`StoreError::DuplicateId`] when the id is taken; `None` makes an id.
    Insert { id: Option<String>, document: Document },
    /// Inserts, or replaces the whole document. An equal document changes nothing
    /// and is not seen by a watch, so that a repeated write is invisible.
    Upsert { id: String, document: Document, version: Option<i64> },
    /// Absent is fine.
    Delete { id: String, version: Option<i64> },
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub id: String,
    /// `None`: nothing changed (an equal upsert, an absent delete, a version too low).
    pub change: Option<ChangeKind>,
}

/// A question to a collection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FindQuery {
    pub filter: Filter,
    /// In order of weight; without any, the order of insertion. Ties follow the
    /// insertion in the direction of the last key.
    pub sort: Vec<SortKey>,
    pub skip: usize,
    /// 0 means the largest allowed.
    pub limit: usize,
}

/// A field to sort by. Values of different types follow MongoDB's order: null or
/// missing, numbers, strings, objects, lists, booleans. A list counts by its least
/// item ascending and by its greatest descending; an empty one comes before null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// `_id` sorts by id; [`SortKey::INSERTED`] by the order of insertion.
    pub field: FieldPath,
    pub order: Order,
}

impl SortKey {
    /// Name of the order in which documents were first inserted (MongoDB's `$natural`).
    pub const INSERTED: &'static str = "$natural";
}

/// Direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Ascending,
    Descending,
}

/// A place in a collection's change stream; opaque text for people to hand back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResumeToken(pub String);

/// Where a watch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchFrom {
    /// With the first change after this call.
    Now,
    /// With the oldest change that is kept.
    Earliest,
    /// With the change after this one.
    After(ResumeToken),
}

/// One change of a collection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub token: ResumeToken,
    pub kind: ChangeKind,
    pub id: String,
    /// The document after the change; `None` for a delete.
    pub document: Option<Document>,
    /// The document before the change, where the history was asked to keep it and the
    /// document was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Document>,
    /// Wall-clock time of the commit in the history, microseconds since the epoch.
    pub committed_micros: i64,
}

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Insert,
    Update,
    Delete,
}
