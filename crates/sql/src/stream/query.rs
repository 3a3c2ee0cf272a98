//! A compiled query: what it reads, what it gives, its operators.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arrow::array::ArrayRef;
use bytes::Bytes;
use courant_model::{Columns, Timestamp};

use super::{
    key::KeyWriter,
    operator::{Operator, OperatorInfo},
    plan,
    relation::{QueryOptions, Relation, RelationKind},
    scan::Source,
    sink::{Sink, key_of},
};
use crate::{SqlError, batch::RowInput, decode::Decoder};

/// A continuous `SELECT`. Cheap to clone.
#[derive(Clone)]
pub struct Query {
    pub(super) compiled: Arc<Compiled>,
    fingerprint: String,
}

/// The operators and both ends of a query.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Each before those that read it.
    pub(super) nodes: Vec<Node>,
    pub(super) inputs: Vec<Input>,
    /// How each of the inputs is read.
    pub(super) sources: Vec<Source>,
    pub(super) sink: Sink,
    pub(super) window: Option<WindowColumns>,
}

/// An operator and who reads it: the place, and which of its inputs this is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) operator: Box<dyn Operator>,
    /// `None`: the sink.
    pub(super) parent: Option<(usize, usize)>,
}

/// A relation that the query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub relation: String,
    pub kind: RelationKind,
    pub partition_by: Spread,
}

/// Which rows of an input must meet in one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    /// None: any spreading will do.
    Any,
    /// Those that agree in one or more of these columns or expressions of the relation; so a
    /// topic whose partitions are chosen by them, or by some of them, is spread well.
    By(Vec<String>),
    /// All.
    One,
}

/// The columns of the result that say which window a row is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowColumns {
    pub start: String,
    pub end: String,
    /// `None`: the windows are sessions, each of its own length.
    pub width_micros: Option<i64>,
    /// From the start of one window to that of the next; `None`: the rows decide where
    /// windows are.
    pub slide_micros: Option<i64>,
}

impl Query {
    /// Compiles a `SELECT` over the relations, which it names as its tables.
    ///
    /// # Errors
    /// The first thing wrong with the text, with its place.
    pub fn compile(
        sql: &str,
        relations: &BTreeMap<String, Relation>,
        options: &QueryOptions,
    ) -> Result<Self, SqlError> {
        let compiled = Arc::new(plan::compile(sql, relations, options)?);
        let fingerprint = fingerprint(&compiled, options);
        Ok(Self { compiled, fingerprint })
    }

    /// What it reads; [`Task::push`](super::Task::push) counts inputs in this order.
    pub fn inputs(&self) -> &[Input] {
        &self.compiled.inputs
    }

    /// The columns of a result row, none of them required. Columns that identify a row and
    /// that the SELECT leaves out are added at the end.
    pub fn output(&self) -> &Columns {
        &self.compiled.sink.columns
    }

    /// Columns of the output that identify a row, a window's start and end last; `None`:
    /// results are appended and there is no store. Empty: there is one row.
    pub fn key(&self) -> Option<Vec<&str>> {
        let key = self.compiled.sink.key.as_ref()?;
        let columns: Vec<_> = self.compiled.sink.columns.iter().collect();
        Some(key.iter().map(|place| columns[*place].name.as_str()).collect())
    }

    /// The window's columns in the output; `None`: results are of no window.
    pub fn window(&self) -> Option<&WindowColumns> {
        self.compiled.window.as_ref()
    }

    /// The operators, each before those that read it.
    pub fn operators(&self) -> Vec<OperatorInfo> {
        self.compiled.nodes.iter().map(|node| node.operator.info()).collect()
    }

    /// Says how the state is laid out: where it is equal, state can be kept.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The bytes in the table of results for the first columns of a key, given as a JSON
    /// object such as a result row: all columns give a row's key, fewer of them a prefix of
    /// the keys of all rows that agree in them.
    ///
    /// # Errors
    /// In words, when a value is not of its column's type, a column is named that is not of
    /// the key, or one is left out before another.
    pub fn key_bytes(&self, values: &[u8]) -> Result<Vec<u8>, String> {
        let Some(key) = &self.compiled.sink.key else {
            return Err("the results of the view have no key".into());
        };
        let given = given_names(values)?;
        let columns: Vec<_> = self.compiled.sink.columns.iter().collect();
        let names: Vec<&str> = key.iter().map(|place| columns[*place].name.as_str()).collect();
        if let Some(unknown) = given.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(format!("{unknown:?} is not of the key, which is {}", names.join(", ")));
        }
        if let Some(missing) =
            names[..given.len()].iter().find(|name| !given.iter().any(|given| given == *name))
        {
            return Err(format!("column {missing:?} of the key is missing before others"));
        }
        let columns: Columns =
            key[..given.len()].iter().map(|place| columns[*place].clone()).collect();
        key_of_document(&columns, values)
    }
}

/// The names of the fields of a JSON object.
fn given_names(object: &[u8]) -> Result<Vec<String>, String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(object)
        .map_err(|error| format!("the key is no JSON object: {error}"))?;
    Ok(object.into_iter().map(|(name, _)| name).collect())
}

fn key_of_document(columns: &Columns, document: &[u8]) -> Result<Vec<u8>, String> {
    let row = RowInput {
        key: None,
        value: Some(document),
        topic: "",
        partition: 0,
        offset: 0,
        timestamp: Timestamp::NONE,
    };
    let (values, _, rejected): (Vec<ArrayRef>, _, _) = Decoder::new(columns).values(&[row]);
    if let Some(rejection) = rejected.into_iter().next() {
        return Err(rejection.reason);
    }
    let writers: Vec<_> = columns
        .iter()
        .zip(&values)
        .map(|(column, array)| KeyWriter::new(&column.column_type, array))
        .collect();
    Ok(key_of(&writers, 0))
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("operators", &self.operators()).finish_non_exhaustive()
    }
}

impl Spread {
    /// What satisfies both: rows that agree in what both name.
    pub(super) fn meet(&self, keys: &[String]) -> Self {
        let common: Vec<String> = match self {
            Self::Any => keys.to_vec(),
            Self::By(known) => known.iter().filter(|name| keys.contains(name)).cloned().collect(),
            Self::One => Vec::new(),
        };
        if common.is_empty() { Self::One } else { Self::By(common) }
    }
}

/// Versions of what is written into the state by this crate and by Arrow.
const LAYOUT: &str = "1/59";

/// A digest of the operators that have state, of what leads to it and of the result.
fn fingerprint(compiled: &Compiled, options: &QueryOptions) -> String {
    let mut text = format!("{LAYOUT};{options:?};{:?}", compiled.sink.columns);
    for node in &compiled.nodes {
        let info = node.operator.info();
        text.push_str(&format!(
            ";{}:{}:{:?}:{:?}",
            info.name, info.words, info.inputs, info.tables
        ));
    }
    for input in &compiled.inputs {
        text.push_str(&format!(";{}:{:?}", input.relation, input.kind));
    }
    let (mut one, mut other) = (0xcbf2_9ce4_8422_2325_u64, 0x8422_2325_cbf2_9ce4_u64);
    for byte in Bytes::from(text) {
        // FNV-1a, twice from different beginnings.
        one = (one ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        other = (other ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(1);
    }
    format!("{one:016x}{other:016x}")
}
