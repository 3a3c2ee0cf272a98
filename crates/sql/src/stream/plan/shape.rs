//! What is known of an operator's output while a query is compiled.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::Expr;

/// The rows that an operator gives out.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Place of the operator.
    pub(super) node: usize,
    /// The columns as the planner knows them; `fields` may have more behind.
    pub(super) schema: Arc<DFSchema>,
    pub(super) fields: Vec<FieldRef>,
    /// Names of the columns for people.
    pub(super) names: Vec<String>,
    /// Which columns are a document's value that no function has touched.
    pub(super) verbatim: Vec<bool>,
    /// The column of a relation that each column is, if it is one as it stands.
    pub(super) lineage: Vec<Option<String>>,
    pub(super) changes: Changes,
    /// Columns that identify a row, the window's last; `None`: nothing does.
    pub(super) key: Option<Vec<usize>>,
    pub(super) window: Option<WindowShape>,
    /// The column that is a row's event time.
    pub(super) time: Option<usize>,
    /// How much the event time of a row may be behind the watermark at which it comes.
    pub(super) delay: i64,
    /// Inputs that lead here.
    pub(super) inputs: Vec<usize>,
}

/// What rows may follow others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// A row stands for itself and stays.
    Append,
    /// A row replaces the former one of its key; a gone one has only its key.
    Versions,
    /// A row that goes is told as gone, with all its columns.
    Retractions,
}

/// The columns of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowShape {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) width: Option<i64>,
    pub(super) slide: Option<i64>,
}

impl Shape {
    /// The columns as Arrow's schema. All may be null: of a row that is gone, only the key
    /// may be known.
    pub(super) fn arrow(&self) -> SchemaRef {
        let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
        Arc::new(Schema::new(self.fields.iter().map(nullable).collect::<Vec<_>>()))
    }

    /// Place of the column that the expression is, under whatever name.
    pub(super) fn place_of(&self, expression: &Expr) -> Option<usize> {
        match expression {
            Expr::Column(column) => self.place(column),
            Expr::Alias(alias) => self.place_of(&alias.expr),
            _ => None,
        }
    }

    fn place(&self, column: &Column) -> Option<usize> {
        self.schema.maybe_index_of_column(column)
    }

    /// Columns that must stay for rows to be told apart.
    pub(super) fn needed(&self) -> Vec<usize> {
        let key = self.key.iter().flatten().copied();
        let window = self.window.iter().flat_map(|window| [window.start, window.end]);
        let mut needed: Vec<usize> = key.chain(window).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}
