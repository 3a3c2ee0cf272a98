//! A table as its database describes it, and what is written to it.
//!
//! Columns are asked once, when a connection is made. [`Work`] is what a transaction
//! does, free of any dialect: rows put, changed or removed, by places of columns.

use super::cell::{Cell, Kind};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// As the file names it.
    pub(crate) name: String,
    /// Those that can be written, in the table's order.
    pub(crate) columns: Vec<Column>,
    /// Columns of the primary key; empty where there is none.
    pub(crate) primary: Vec<String>,
    /// Columns of every key that allows no two rows the same values.
    pub(crate) unique: Vec<Vec<String>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The type as the database names it.
    pub(crate) sql_type: String,
}

impl Table {
    /// The place of a column; of one that is written otherwise in case where none fits.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        let exact = self.columns.iter().position(|column| column.name == name);
        exact.or_else(|| {
            self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
        })
    }

    /// Whether no two rows have the same values in these columns.
    pub(crate) fn is_unique(&self, columns: &[usize]) -> bool {
        self.unique.iter().any(|unique| {
            let places: Option<Vec<usize>> = unique.iter().map(|name| self.column(name)).collect();
            places.is_some_and(|places| {
                places.len() == columns.len() && places.iter().all(|at| columns.contains(at))
            })
        })
    }
}

/// One thing that a transaction does to a table; the table is a place among the sink's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Work {
    pub(crate) table: usize,
    pub(crate) action: Action,
}

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Puts rows that differ in their key and changes those that are there. Without a key
    /// rows that are there stay.
    Put { key: Vec<usize>, columns: Vec<usize>, rows: Vec<Vec<Cell>> },
    /// Changes the rows that have these values in the key's columns.
    Update { key: Vec<usize>, columns: Vec<usize>, rows: Vec<Vec<Cell>> },
    /// Removes the rows that have these values in the columns.
    Remove { columns: Vec<usize>, rows: Vec<Vec<Cell>> },
    /// Removes the rows of one parent but those with these keys.
    Prune { parent: Vec<usize>, of: Vec<Cell>, key: Vec<usize>, kept: Vec<Vec<Cell>> },
}
