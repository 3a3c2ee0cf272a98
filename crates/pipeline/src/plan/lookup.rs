//! The plan of a `lookup` step: whom it asks, with what, and where the answer goes.
//!
//! Plain data, as all of the plan; what a connector's options said is behind its
//! factory. How a question is made and an answer used is in [`crate::lookup`].

use std::sync::Arc;

use courant_model::{Span, json::FieldPath};

use crate::connector::LookupFactory;

/// A `lookup` step.
#[derive(Debug, Clone, PartialEq)]
pub struct LookupPlan {
    pub source: LookupSource,
    /// Where the answer is put in the document.
    pub into: FieldPath,
    /// Whether the answer is the list of all items, empty where there is none; else it is
    /// the first one.
    pub many: bool,
    pub on_missing: OnMissing,
    /// Set: answers are used again.
    pub remember: Option<Remember>,
    /// Questions of one partition that are open at a time.
    pub concurrency: usize,
}

/// Whom a lookup asks.
#[derive(Debug, Clone)]
pub enum LookupSource {
    Cache {
        table: String,
        key: FieldPath,
        /// Set: one field of the key.
        field: Option<FieldPath>,
    },
    History {
        collection: String,
        id: FieldPath,
    },
    Connector {
        connector: &'static str,
        factory: Arc<dyn LookupFactory>,
    },
}

/// What happens to a record that nothing was found for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// It is set aside.
    Reject,
    /// It goes no further.
    Skip,
    /// It goes on with null in the answer's place.
    Null,
    /// It goes on as it is.
    Keep,
}

/// How answers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remember {
    /// How long an answer counts.
    pub ttl: Span,
    /// How long it counts that nothing was found.
    pub missing: Span,
    /// How many answers one partition keeps; the oldest go first.
    pub keys: usize,
}

impl LookupPlan {
    /// The fields whose values a question consists of.
    pub fn parameters(&self) -> Vec<FieldPath> {
        match &self.source {
            LookupSource::Cache { key, field, .. } => {
                std::iter::once(key).chain(field).cloned().collect()
            }
            LookupSource::History { id, .. } => vec![id.clone()],
            LookupSource::Connector { factory, .. } => factory.parameters().to_vec(),
        }
    }
}

impl PartialEq for LookupSource {
    /// Connectors are equal when they were read together.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Cache { table, key, field },
                Self::Cache { table: other_table, key: other_key, field: other_field },
            ) => (table, key, field) == (other_table, other_key, other_field),
            (
                Self::History { collection, id },
                Self::History { collection: other_collection, id: other_id },
            ) => (collection, id) == (other_collection, other_id),
            (Self::Connector { factory, .. }, Self::Connector { factory: other, .. }) => {
                Arc::ptr_eq(factory, other)
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for LookupSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cache { table, .. } => write!(f, "cache {table}"),
            Self::History { collection, .. } => write!(f, "history {collection}"),
            Self::Connector { connector, .. } => f.write_str(connector),
        }
    }
}

impl OnMissing {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Skip => "skip",
            Self::Null => "null",
            Self::Keep => "keep",
        }
    }
}
