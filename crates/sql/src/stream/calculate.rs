//! WHERE, HAVING and the expressions of a SELECT: one row in, one row or none out.

use arrow::{array::new_null_array, datatypes::SchemaRef};

use super::{
    delta::{Delta, Fact, pick, positions},
    operator::{Operator, OperatorInfo, Run},
    state::StateError,
};
use crate::program::Calculation;

/// A filter and results over the rows of one input.
#[derive(Debug)]
pub(super) struct Calculate {
    pub(super) id: usize,
    pub(super) input: usize,
    /// The input's columns.
    pub(super) schema: SchemaRef,
    pub(super) calculation: Calculation,
    /// Which results are a column of the input as it is.
    pub(super) sources: Vec<Option<usize>>,
    /// The input tells only new versions of rows: one that the filter drops must be told
    /// as gone, for a former one may have passed.
    pub(super) tells_dropped: bool,
    pub(super) words: String,
}

impl Operator for Calculate {
    fn process(&self, _: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        if delta.is_empty() {
            return Ok(Delta::nothing());
        }
        if !self.tells_dropped {
            return Ok(self.calculate(&delta, run).0);
        }
        let (coming, gone): (Vec<_>, Vec<_>) =
            (0..delta.facts.len()).partition(|position| !delta.facts[*position].gone);
        if gone.is_empty() {
            let (mut kept, dropped) = self.calculate(&delta, run);
            kept.append(self.gone(&delta, &dropped));
            return Ok(kept);
        }
        let mut kept = self.gone(&delta, &gone);
        let coming = delta.rows(&coming);
        let (passed, dropped) = self.calculate(&coming, run);
        kept.append(passed);
        kept.append(self.gone(&coming, &dropped));
        Ok(kept)
    }

    fn info(&self) -> OperatorInfo {
        OperatorInfo {
            id: self.id,
            inputs: vec![self.input],
            name: "calculate",
            words: self.words.clone(),
            tables: Vec::new(),
            cost: "constant",
        }
    }
}

impl Calculate {
    /// The rows that pass, and the positions of the others.
    fn calculate(&self, delta: &Delta, run: &mut Run<'_>) -> (Delta, Vec<usize>) {
        let calculated = self.calculation.run(&delta.table(&self.schema));
        run.faults.reject(calculated.failed, &delta.facts);
        let Some(kept) = calculated.kept else {
            return (Delta { columns: calculated.arrays, facts: delta.facts.clone() }, Vec::new());
        };
        let mut next = kept.iter().copied().peekable();
        let all = 0..delta.facts.len();
        let dropped = all.filter(|row| next.next_if_eq(row).is_none()).collect();
        let facts = kept.iter().map(|position| delta.facts[*position]).collect();
        (Delta { columns: calculated.arrays, facts }, dropped)
    }

    /// The rows at the positions, as gone: what is not a column of the input is null.
    fn gone(&self, delta: &Delta, gone: &[usize]) -> Delta {
        let picked = positions(gone.iter().copied());
        let results = self.calculation.results.iter().zip(&self.sources);
        let columns = results
            .map(|((_, form), source)| match source {
                Some(column) => form
                    .of(pick(&delta.columns[*column], &picked))
                    .unwrap_or_else(|_| new_null_array(&form.data_type(), gone.len())),
                None => new_null_array(&form.data_type(), gone.len()),
            })
            .collect();
        let facts = gone.iter().map(|position| Fact { gone: true, ..delta.facts[*position] });
        Delta { columns, facts: facts.collect() }
    }
}
