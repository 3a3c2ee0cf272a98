//! The end of a query: result rows into the table of results, and told as changes.

use bytes::Bytes;
use courant_model::{ColumnType, Columns};
use indexmap::IndexMap;

use super::{
    age::Age,
    delta::{Delta, Fact},
    key::KeyWriter,
    result::Change,
    state::{RESULTS, State, StateError},
};
use crate::encode::{self, Writer};

/// The key of the one row of a result that is not grouped.
const WHOLE: u8 = 1;

/// What becomes of result rows.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) columns: Columns,
    /// The columns that identify a row, in the order of the key; `None`: rows are appended.
    pub(super) key: Option<Vec<usize>>,
}

impl Sink {
    /// Stores rows, whose columns are canonical, and adds what changed.
    pub(super) fn take(
        &self,
        delta: &Delta,
        state: &mut dyn State,
        changes: &mut Vec<Change>,
    ) -> Result<(), StateError> {
        if delta.is_empty() {
            return Ok(());
        }
        let values = encode::objects(&self.columns, &delta.columns, delta.facts.len());
        let Some(key) = &self.key else {
            changes.extend(values.into_iter().zip(&delta.facts).map(|(value, fact)| Change {
                key: Vec::new(),
                record_key: None,
                value: Some(value),
                event_time_micros: fact.time,
                origin: fact.origin,
            }));
            return Ok(());
        };
        let rows = last_of_each(self.keys(key, delta));
        let record_keys = self.record_keys(key, delta);
        for (key, row) in rows {
            let (fact, value) = (&delta.facts[row], values[row].clone());
            if let Some(value) = store(&key, fact, value, state)? {
                changes.push(Change {
                    key,
                    record_key: record_keys[row].clone(),
                    value,
                    event_time_micros: fact.time,
                    origin: fact.origin,
                });
            }
        }
        Ok(())
    }

    fn keys(&self, key: &[usize], delta: &Delta) -> Vec<Vec<u8>> {
        let columns: Vec<_> = self.columns.iter().collect();
        let writers: Vec<_> = key
            .iter()
            .map(|place| KeyWriter::new(&columns[*place].column_type, &delta.columns[*place]))
            .collect();
        (0..delta.facts.len()).map(|row| key_of(&writers, row)).collect()
    }

    fn record_keys(&self, key: &[usize], delta: &Delta) -> Vec<Option<Bytes>> {
        let columns: Vec<_> = self.columns.iter().collect();
        if let [place] = key
            && columns[*place].column_type == ColumnType::String
        {
            let Writer::String(texts) = Writer::new(&ColumnType::String, &delta.columns[*place])
            else {
                return vec![None; delta.facts.len()];
            };
            let texts = texts.iter();
            return texts.map(|text| Some(Bytes::copy_from_slice(text?.as_bytes()))).collect();
        }
        let names: Columns = key.iter().map(|place| columns[*place].clone()).collect();
        let arrays: Vec<_> = key.iter().map(|place| delta.columns[*place].clone()).collect();
        encode::objects(&names, &arrays, delta.facts.len()).into_iter().map(Some).collect()
    }
}

/// The key of a row in the table of results.
pub(super) fn key_of(writers: &[KeyWriter<'_>], row: usize) -> Vec<u8> {
    let mut key = Vec::new();
    if writers.is_empty() {
        key.push(WHOLE);
    }
    writers.iter().for_each(|writer| writer.write(row, &mut key));
    key
}

/// The last row of each key, keys in the order of their first.
fn last_of_each(keys: Vec<Vec<u8>>) -> IndexMap<Vec<u8>, usize> {
    let mut rows = IndexMap::with_capacity(keys.len());
    for (row, key) in keys.into_iter().enumerate() {
        rows.insert(key, row);
    }
    rows
}

/// Stores what is known of a key; tells the change, or `None` when nothing was there to go.
fn store(
    key: &[u8],
    fact: &Fact,
    value: Bytes,
    state: &mut dyn State,
) -> Result<Option<Option<Bytes>>, StateError> {
    if !fact.gone {
        state.put(RESULTS, key, Age::of(fact).before(&value));
        return Ok(Some(Some(value)));
    }
    if state.get(RESULTS, key)?.is_none() {
        return Ok(None);
    }
    state.remove(RESULTS, key);
    Ok(Some(None))
}
