//! SQL for Courant: JSON documents become columns once, and statements and
//! expressions run on those columns, a batch at a time.
//!
//! The flow: [`Inference`] or the file gives the [`Columns`](courant_model::Columns);
//! [`Decoder`] reads record values into a [`DecodedBatch`]; [`Statement`] and
//! [`Expression`] are compiled once and run on batches; a batch is written back as
//! JSON by [`DecodedBatch::encode`]. The invariant: a row that fails at any stage is
//! rejected with its reason and hurts no other row, and equal input gives equal
//! output, for nothing here reads a clock or chance.
//!
//! Only this crate names DataFusion, and nothing of it shows outside. What needs more
//! than one record, aggregates and windows, is in [`stream`], over a state that is given.

mod batch;
mod civil;
mod compile;
mod conform;
mod decode;
mod encode;
mod error;
mod expression;
mod infer;
mod program;
mod schema;
mod statement;
pub mod stream;

pub use batch::{DecodedBatch, Output, Rejection, RowInput, RunContext};
pub use decode::Decoder;
pub use error::SqlError;
pub use expression::Expression;
pub use infer::Inference;
pub use statement::Statement;
