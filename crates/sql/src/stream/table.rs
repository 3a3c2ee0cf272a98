//! A topic read as a table: who wants to hear what goes must be told the former row.
//!
//! The last row of each key is kept. Within a batch only the first former and the last new
//! row of a key are told.

use arrow::array::ArrayRef;
use bytes::Bytes;
use courant_model::ColumnType;
use indexmap::IndexMap;

use super::{
    age::Age,
    aggregate::rows::{GroupRows, Groups},
    delta::{Delta, Fact, pick, positions},
    key::KeyWriter,
    operator::{Operator, OperatorInfo, Run},
    state::StateError,
};

/// The rows of a table, as they come and go.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id: usize,
    /// Key columns: their types and places.
    pub(super) key: Vec<(ColumnType, usize)>,
    pub(super) rows: GroupRows,
    pub(super) table: u16,
    pub(super) words: String,
}

impl Operator for Table {
    fn process(&self, _: usize, delta: Delta, run: &mut Run<'_>) -> Result<Delta, StateError> {
        let last = self.last_rows(&delta);
        let (mut values, mut facts) = (Vec::new(), Vec::new());
        for (key, row) in &last {
            let Some(value) = run.state.get(self.table, key)? else { continue };
            // Gone at the time of what made it go.
            facts.push(Fact { gone: true, ..delta.facts[*row] });
            values.push(value);
        }
        let mut told = self.former(&values, facts)?;
        let new = self.keep(&delta, &last, run)?;
        told.append(new);
        Ok(told)
    }

    fn info(&self) -> OperatorInfo {
        OperatorInfo {
            id: self.id,
            inputs: Vec::new(),
            name: "table",
            words: self.words.clone(),
            tables: vec![self.table],
            cost: "one read and write of the state for each row",
        }
    }
}

impl Table {
    /// The last row of each key.
    fn last_rows(&self, delta: &Delta) -> IndexMap<Vec<u8>, usize> {
        let key = self.key.iter();
        let writers: Vec<_> = key
            .map(|(column_type, place)| KeyWriter::new(column_type, &delta.columns[*place]))
            .collect();
        let mut last = IndexMap::new();
        for row in 0..delta.facts.len() {
            let mut key = Vec::new();
            writers.iter().for_each(|writer| writer.write(row, &mut key));
            last.insert(key, row);
        }
        last
    }

    fn former(&self, values: &[Bytes], facts: Vec<Fact>) -> Result<Delta, StateError> {
        if values.is_empty() {
            return Ok(Delta::nothing());
        }
        let columns = self.rows.read(values).map_err(StateError::broken)?.keys;
        Ok(Delta { columns, facts })
    }

    /// Keeps the new rows and forgets those that went; gives out the new ones.
    fn keep(
        &self,
        delta: &Delta,
        last: &IndexMap<Vec<u8>, usize>,
        run: &mut Run<'_>,
    ) -> Result<Delta, StateError> {
        let (mut keys, mut chosen) = (Vec::new(), Vec::new());
        for (key, row) in last {
            if delta.facts[*row].gone {
                run.state.remove(self.table, key);
                continue;
            }
            keys.push(key);
            chosen.push(*row);
        }
        let picked = positions(chosen.iter().copied());
        let columns: Vec<ArrayRef> =
            delta.columns.iter().map(|column| pick(column, &picked)).collect();
        let facts: Vec<Fact> = chosen.iter().map(|row| delta.facts[*row]).collect();
        let ages: Vec<Age> = facts.iter().map(Age::of).collect();
        let groups = Groups { keys: columns, states: Vec::new() };
        self.rows
            .write(&groups, &ages, |row, value| run.state.put(self.table, keys[row], value))
            .map_err(StateError::broken)?;
        Ok(Delta { columns: groups.keys, facts })
    }
}
