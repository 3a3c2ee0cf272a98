//! SQL text to a [`Program`], step by step.
//!
//! `clauses` parses and refuses what a `sql` step cannot do; `functions` is the
//! catalogue; `plan` resolves names, types and functions and builds the physical
//! expressions, with the help of `names` and `nodes`; `json` is a function of ours; `locate` finds words in the
//! text for error places. Nothing here runs on records.

pub(crate) mod clauses;
pub(crate) mod functions;
mod json;
pub(crate) mod locate;
pub(crate) mod names;
pub(crate) mod nodes;
pub(crate) mod plan;

use courant_model::{ColumnType, Columns, limits::SQL_TEXT_BYTES_MAX};

use crate::{error::SqlError, program::Program};

/// Stack of the thread that compiles. Parsing and planning recurse; with the bounds on
/// a text's size this is far more than the deepest text needs.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// What a text may refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) columns: &'a Columns,
    /// Names of the one table, beside `input`.
    pub(crate) tables: &'a [&'a str],
}

/// Compiles a `SELECT`, and tells the columns of its result.
pub(crate) fn statement(sql: &str, scope: &Scope<'_>) -> Result<(Program, Columns), SqlError> {
    with_room(sql, || {
        let select = clauses::parse_select(sql, scope)?;
        plan::select(sql, scope, select)
    })
}

/// Compiles an expression, and tells its type.
pub(crate) fn expression(sql: &str, scope: &Scope<'_>) -> Result<(Program, ColumnType), SqlError> {
    with_room(sql, || {
        let expression = clauses::parse_expression(sql)?;
        plan::expression(sql, scope, expression)
    })
}

/// Compiles on a stack that is large enough for any text within the bounds.
pub(crate) fn with_room<T: Send>(
    sql: &str,
    compile: impl FnOnce() -> Result<T, SqlError> + Send,
) -> Result<T, SqlError> {
    if sql.len() > SQL_TEXT_BYTES_MAX {
        let message =
            format!("the SQL text has {} bytes; {SQL_TEXT_BYTES_MAX} are allowed", sql.len());
        return Err(SqlError::new(message));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("sql-compile".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, compile)
            .map_err(|error| SqlError::new(format!("no thread to compile SQL: {error}")))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(SqlError::new("the SQL text is beyond the planner's means")))
    })
}
