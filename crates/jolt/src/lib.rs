//! Jolt, the JSON-to-JSON language, compiled.
//!
//! A specification is compiled once ([`Jolt::compile`]): everything wrong with it is told,
//! with the operation's index and the key's path. Then it transforms trees
//! ([`Jolt::transform`]), JSON text ([`Jolt::transform_bytes`]) or batches of it. What it
//! does is what the Java library does; the README lists the few differences. Hostile
//! specifications and documents are bounded in memory, depth and work ([`limits`]).
#![doc = include_str!("../README.md")]

mod arena;
mod budget;
mod cardinality;
mod chain;
mod convert;
mod default;
mod error;
mod explain;
mod java;
mod key;
mod keys;
pub mod limits;
mod modify;
mod parse;
mod path;
mod place;
mod remove;
mod scan;
mod shift;
mod sort;
mod star;
mod value;
mod walk;
mod write;

pub use arena::Arena;
pub use chain::{Custom, Jolt, Registry};
pub use convert::{from_serde, to_serde};
pub use error::{Error, ParseError, SpecError, SpecErrors, TransformError};
pub use explain::{Action, Explanation, Match};
pub use parse::{parse, parse_with_comments};
pub use place::{Place, locate};
pub use value::{Array, Int, Number, Object, Truth, Value};
pub use write::{to_vec, to_vec_pretty};
