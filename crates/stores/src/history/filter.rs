//! Filters over documents, in MongoDB's JSON notation.
//!
//! `{"status": "Shipped", "lines.0.price": {"$gt": 10}, "$or": [{…}, {…}]}`.

use courant_model::json::FieldPath;
use serde_json::Value;

/// A condition on a document.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Filter {
    /// Matches every document: `{}`.
    #[default]
    All,
    Compare {
        field: FieldPath,
        operator: Operator,
        value: Value,
    },
    /// `$in`; its negation is `$nin`.
    In {
        field: FieldPath,
        values: Vec<Value>,
    },
    Exists {
        field: FieldPath,
        exists: bool,
    },
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
}

/// Comparison of a field with a value. As in MongoDB a list matches when one of
/// its items does, and order holds between values of one type only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}
