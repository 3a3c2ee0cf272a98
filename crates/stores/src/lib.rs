//! Where data is kept to be read: the cache and the history.
//!
//! Two roles, each a small trait, its embedded implementation and a conformance
//! suite that every implementation passes. The history is the truth that can be
//! queried and watched; the cache is a fast answer that can be lost and rebuilt.

pub mod cache;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod error;
pub mod history;

mod engine;
mod jobs;
mod names;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cache::{
    Cache, CacheOptions, CacheTableStats, CacheWrite, EmbeddedCache, RedisCache, RedisOptions,
};
pub use error::{StoreError, StoreErrorCode};
pub use history::{
    Change, ChangeKind, ChangeRetention, Changes, CollectionSpec, CollectionStats, Document,
    EmbeddedHistory, Filter, FindQuery, History, HistoryOptions, HistoryWrite, MongoHistory,
    MongoOptions, Order, ResumeToken, SortKey, WatchFrom, Written,
};
pub use names::check_name;
