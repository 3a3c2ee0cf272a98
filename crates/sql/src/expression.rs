//! One SQL expression over the same batches as statements: route conditions, keys.
//!
//! A pipeline decodes once and evaluates as many expressions as it likes on the
//! batch. Results stand in the order of the batch's rows; a row whose evaluation
//! fails has its reason in its place.

use std::sync::Arc;

use arrow::array::AsArray;
use courant_model::{ColumnType, Columns};

use crate::{
    batch::{DecodedBatch, RunContext},
    compile::{self, Scope},
    encode::Writer,
    error::SqlError,
    program::{Evaluated, Program},
};

/// A compiled expression. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expression {
    input: Arc<Columns>,
    program: Arc<Program>,
    output: ColumnType,
}

impl Expression {
    /// Compiles an expression of any type.
    ///
    /// # Errors
    /// The first thing wrong with the text, with its place.
    pub fn compile(sql: &str, input: &Columns) -> Result<Self, SqlError> {
        let (program, output) = compile::expression(sql, &Scope { columns: input, tables: &[] })?;
        Ok(Self { input: Arc::new(input.clone()), program: Arc::new(program), output })
    }

    /// Compiles an expression that must be boolean.
    ///
    /// # Errors
    /// The first thing wrong with the text, with its place; another type is one.
    pub fn compile_condition(sql: &str, input: &Columns) -> Result<Self, SqlError> {
        let expression = Self::compile(sql, input)?;
        if expression.output == ColumnType::Boolean {
            return Ok(expression);
        }
        let message = format!("a condition must be boolean; found {}", expression.output);
        Err(SqlError::new(message).at(Some((1, 1))).remedy("compare it with something"))
    }

    /// The type of the result.
    pub const fn output(&self) -> &ColumnType {
        &self.output
    }

    /// Whether the condition holds, for each row of the batch; null does not hold.
    ///
    /// # Panics
    /// When the expression is not boolean, or the batch has other columns than it was
    /// compiled for: faults of the caller.
    pub fn conditions(
        &self,
        batch: &DecodedBatch,
        context: &RunContext,
    ) -> Vec<Result<bool, String>> {
        assert_eq!(self.output, ColumnType::Boolean, "a condition is boolean");
        let evaluated = self.run(batch, context);
        let array = evaluated.arrays[0].as_boolean();
        let holds: Vec<bool> = array.iter().map(|value| value == Some(true)).collect();
        in_order(batch, evaluated.rejected, holds)
    }

    /// The result as text, for each row of the batch: strings as they are, everything
    /// else in its JSON form (timestamps, dates and bytes without quotes), null as `None`.
    ///
    /// # Panics
    /// When the batch has other columns than the expression was compiled for.
    pub fn texts(
        &self,
        batch: &DecodedBatch,
        context: &RunContext,
    ) -> Vec<Result<Option<String>, String>> {
        let evaluated = self.run(batch, context);
        let array = &evaluated.arrays[0];
        let writer = Writer::new(&self.output, array);
        let texts = (0..array.len()).map(|row| text(&writer, row)).collect();
        in_order(batch, evaluated.rejected, texts)
    }

    fn run(&self, batch: &DecodedBatch, context: &RunContext) -> Evaluated {
        assert!(
            *batch.columns == *self.input,
            "an expression runs on the columns that it was compiled for"
        );
        self.program.run(batch, context)
    }
}

fn text(writer: &Writer<'_>, row: usize) -> Option<String> {
    if writer.is_null(row) {
        return None;
    }
    if let Writer::String(array) = writer {
        return Some(array.value(row).to_owned());
    }
    let mut out = Vec::new();
    writer.write(row, &mut out);
    let text = String::from_utf8(out).expect("writers write UTF-8");
    Some(match writer {
        Writer::Date(_) | Writer::Timestamp(_) | Writer::Bytes(_) => text.trim_matches('"').into(),
        _ => text,
    })
}

/// Puts the reasons of rejected rows back between the results of the others.
fn in_order<T>(
    batch: &DecodedBatch,
    rejected: Vec<crate::Rejection>,
    results: Vec<T>,
) -> Vec<Result<T, String>> {
    let (mut rejected, mut results) = (rejected.into_iter().peekable(), results.into_iter());
    batch
        .rows()
        .iter()
        .map(|row| match rejected.next_if(|rejection| rejection.row == *row) {
            Some(rejection) => Err(rejection.reason),
            None => Ok(results.next().expect("every other row has a result")),
        })
        .collect()
}
