//! The `sql` step: one `SELECT` over the records of a topic.
//!
//! Compiled once against the input's columns, then run on batches; a statement's
//! output batch is the next one's input. Filter, projection and scalar functions
//! only; compilation refuses the rest and names what to use.

use std::sync::Arc;

use courant_model::Columns;

use crate::{
    batch::{DecodedBatch, Output, RowInput, RunContext},
    compile::{self, Scope},
    decode::Decoder,
    error::SqlError,
    program::Program,
};

/// A compiled `SELECT … FROM input WHERE …`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Statement {
    decoder: Decoder,
    program: Arc<Program>,
    output: Arc<Columns>,
}

impl Statement {
    /// Compiles a statement whose table is `input`.
    ///
    /// # Errors
    /// The first thing wrong with the text, with its place.
    pub fn compile(sql: &str, input: &Columns) -> Result<Self, SqlError> {
        Self::compile_from(sql, input, &[])
    }

    /// Compiles a statement whose table is `input` or one of the other names, such as
    /// the topic's own.
    ///
    /// # Errors
    /// The first thing wrong with the text, with its place.
    pub fn compile_from(sql: &str, input: &Columns, tables: &[&str]) -> Result<Self, SqlError> {
        let (program, output) = compile::statement(sql, &Scope { columns: input, tables })?;
        Ok(Self {
            decoder: Decoder::new(input),
            program: Arc::new(program),
            output: Arc::new(output),
        })
    }

    pub fn input(&self) -> &Columns {
        self.decoder.columns()
    }

    /// The columns of the result, in order; none of them required.
    pub fn output(&self) -> &Columns {
        &self.output
    }

    /// Decodes the rows and runs the statement on those that fit.
    pub fn run(&self, rows: &[RowInput<'_>], context: &RunContext) -> Output {
        let Output { batch, mut rejected } = self.decoder.decode(rows);
        let mut output = self.run_decoded(&batch, context);
        if !rejected.is_empty() {
            output.rejected.append(&mut rejected);
            output.rejected.sort_by_key(|rejection| rejection.row);
        }
        output
    }

    /// Runs the statement on a batch.
    ///
    /// # Panics
    /// When the batch's columns are not the statement's input: a fault of the caller.
    pub fn run_decoded(&self, batch: &DecodedBatch, context: &RunContext) -> Output {
        assert!(
            batch.columns() == self.input(),
            "a statement runs on the columns that it was compiled for"
        );
        let evaluated = self.program.run(batch, context);
        let (metadata, rows) = match &evaluated.kept {
            None => (batch.metadata.clone(), Arc::clone(&batch.rows)),
            Some(kept) => batch.take_metadata(kept),
        };
        let columns = Arc::clone(&self.output);
        let batch = DecodedBatch { columns, values: evaluated.arrays, metadata, rows };
        Output { batch, rejected: evaluated.rejected }
    }
}
