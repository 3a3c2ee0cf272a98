//! What tests need: servers to try the stores on, and random documents.
//!
//! Servers are real ones, from this system's packages, each for one test alone, but for
//! MongoDB, which a stand-in speaks for. Where a program is missing the test is skipped with
//! the reason; with `CI=true` it fails. Compiled for tests and with the feature `testing` only.

#[cfg(test)]
mod documents;
mod mongo;
mod redis;

#[cfg(test)]
pub(crate) use self::documents::{any_document, any_json, scalar, small_number};
pub use self::mongo::MongoServer;
pub use self::redis::{RedisCluster, RedisSentinel, RedisServer};
