//! Filters over documents, in MongoDB's JSON notation.
//!
//! `{"status": "Shipped", "lines.0.price": {"$gt": 10}, "$or": [{…}, {…}]}` is read
//! by `parse`, asked of documents here, and narrowed by indexes in the embedded
//! history. Invariant: an index only ever narrows; [`Filter::matches`] decides.

use std::cmp::Ordering;

use courant_model::json::FieldPath;
use serde_json::Value;

use super::{
    Document,
    values::{any_at, compare, rank_of},
};

mod parse;

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

impl Filter {
    /// Whether a document meets the condition. A missing field equals null.
    pub fn matches(&self, document: &Document) -> bool {
        match self {
            Self::All => true,
            Self::Compare { field, operator: Operator::NotEqual, value } => {
                !any_value(document, field, |found| Operator::Equal.holds(found, value))
            }
            Self::Compare { field, operator, value } => {
                any_value(document, field, |found| operator.holds(found, value))
            }
            Self::In { field, values } => any_value(document, field, |found| {
                values.iter().any(|value| Operator::Equal.holds(found, value))
            }),
            Self::Exists { field, exists } => {
                any_at(document, field, &mut |found| found.is_some()) == *exists
            }
            Self::And(filters) => filters.iter().all(|filter| filter.matches(document)),
            Self::Or(filters) => filters.iter().any(|filter| filter.matches(document)),
            Self::Not(filter) => !filter.matches(document),
        }
    }
}

impl Operator {
    fn holds(self, found: &Value, value: &Value) -> bool {
        if rank_of(found) != rank_of(value) {
            return self == Self::NotEqual;
        }
        let order = compare(found, value);
        match self {
            Self::Equal => order == Ordering::Equal,
            Self::NotEqual => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
        }
    }
}

/// Whether the test holds for a value at the path: for one item of a list, or for
/// the list as a whole. What is missing counts as null.
fn any_value(document: &Document, field: &FieldPath, test: impl Fn(&Value) -> bool) -> bool {
    any_at(document, field, &mut |found| match found {
        None => test(&Value::Null),
        Some(list @ Value::Array(items)) => items.iter().any(&test) || test(list),
        Some(value) => test(value),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(filter: &Value, document: &Value) -> bool {
        let filter = Filter::parse(filter).unwrap();
        filter.matches(document.as_object().unwrap())
    }

    #[test]
    fn comparisons_hold_within_a_type_only() {
        assert!(matches(&json!({ "a": { "$gt": 1 } }), &json!({ "a": 2 })));
        assert!(!matches(&json!({ "a": { "$gt": 1 } }), &json!({ "a": "2" })));
        assert!(!matches(&json!({ "a": { "$lt": 1 } }), &json!({})));
        assert!(matches(&json!({ "a": { "$gte": 1, "$lt": 2 } }), &json!({ "a": 1.5 })));
        assert!(matches(&json!({ "a": 1 }), &json!({ "a": 1.0 })));
        assert!(matches(&json!({ "a": { "$lte": null } }), &json!({ "a": null })));
    }

    #[test]
    fn a_list_matches_when_one_of_its_items_does() {
        assert!(matches(&json!({ "tags": "x" }), &json!({ "tags": ["y", "x"] })));
        assert!(matches(&json!({ "tags": ["y", "x"] }), &json!({ "tags": ["y", "x"] })));
        assert!(!matches(&json!({ "tags": ["x", "y"] }), &json!({ "tags": ["y", "x"] })));
        assert!(matches(&json!({ "n": { "$gt": 5, "$lt": 3 } }), &json!({ "n": [1, 9] })));
        assert!(matches(
            &json!({ "lines.price": 2 }),
            &json!({ "lines": [{ "price": 1 }, { "price": 2 }] })
        ));
        assert!(!matches(&json!({ "tags": { "$ne": "x" } }), &json!({ "tags": ["y", "x"] })));
    }

    #[test]
    fn what_is_missing_equals_null_and_does_not_exist() {
        assert!(matches(&json!({ "a": null }), &json!({})));
        assert!(matches(&json!({ "a": { "$ne": 1 } }), &json!({})));
        assert!(!matches(&json!({ "a": { "$exists": true } }), &json!({})));
        assert!(matches(&json!({ "a": { "$exists": true } }), &json!({ "a": null })));
        assert!(matches(&json!({ "a.b": { "$exists": false } }), &json!({ "a": 1 })));
    }

    #[test]
    fn logic_combines() {
        let document = || json!({ "a": 1, "b": "x" });
        assert!(matches(&json!({ "a": 1, "b": "x" }), &document()));
        assert!(matches(&json!({ "$or": [{ "a": 2 }, { "b": "x" }] }), &document()));
        assert!(matches(&json!({ "$nor": [{ "a": 2 }, { "b": "y" }] }), &document()));
        assert!(matches(&json!({ "a": { "$not": { "$gt": 1 } } }), &document()));
        assert!(matches(&json!({ "a": { "$in": [3, 1] }, "b": { "$nin": ["y"] } }), &document()));
        assert!(!matches(&json!({ "$and": [{ "a": 1 }, { "b": "y" }] }), &document()));
        assert!(matches(&json!({}), &document()));
    }
}
