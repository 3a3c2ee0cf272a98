//! SQL text to operators.
//!
//! `text` parses and takes the windows out; `logical` plans with DataFusion, which knows our
//! relations and functions from `catalogue`; `translate` builds an operator for each node of
//! that plan, with `aggregates` for GROUP BY, `joins` for JOIN and
//! `tops` for numbered rows. Nothing here runs on rows.

mod aggregates;
mod catalogue;
mod joins;
mod logical;
mod shape;
mod text;
mod tops;
mod translate;

use std::collections::BTreeMap;

use super::{
    query::Compiled,
    relation::{QueryOptions, Relation},
};
use crate::{compile, error::SqlError};

/// Compiles a query.
pub(super) fn compile(
    sql: &str,
    relations: &BTreeMap<String, Relation>,
    options: &QueryOptions,
) -> Result<Compiled, SqlError> {
    compile::with_room(sql, || {
        let text = text::parse(sql)?;
        let plan = logical::plan(sql, &text, relations)?;
        translate::translate(&plan, &text.windows, relations, options)
    })
}
