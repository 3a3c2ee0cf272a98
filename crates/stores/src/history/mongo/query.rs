//! Filters and sorts in MongoDB's words, which are ours.
//!
//! Pure. Every sort ends with the order of insertion, as the role's do, so that it is
//! total. A name of a field with a dot in it cannot be said to MongoDB, and is refused.

use courant_model::json::FieldPath;
use mongodb::bson::{Bson, Document as Bdoc, doc};

use super::values::{HIDDEN, value_to_bson};
use crate::{
    Filter, Order, SortKey, StoreError,
    history::{filter::Operator, sort::tie_order},
};

/// A filter as a document.
///
/// # Errors
/// [`StoreError::InvalidFilter`] for what MongoDB has no words for.
pub(super) fn filter(filter: &Filter) -> Result<Bdoc, StoreError> {
    Ok(match filter {
        Filter::All => Bdoc::new(),
        Filter::Compare { field, operator, value } => {
            let operator = match operator {
                Operator::Equal => "$eq",
                Operator::NotEqual => "$ne",
                Operator::Less => "$lt",
                Operator::LessOrEqual => "$lte",
                Operator::Greater => "$gt",
                Operator::GreaterOrEqual => "$gte",
            };
            doc! { path(field)?: { operator: value_to_bson(value)? } }
        }
        Filter::In { field, values } => {
            let values: Vec<Bson> = values.iter().map(value_to_bson).collect::<Result<_, _>>()?;
            doc! { path(field)?: { "$in": values } }
        }
        Filter::Exists { field, exists } => doc! { path(field)?: { "$exists": *exists } },
        Filter::And(filters) => doc! { "$and": all(filters)? },
        Filter::Or(filters) => doc! { "$or": all(filters)? },
        Filter::Not(inner) => doc! { "$nor": [self::filter(inner)?] },
    })
}

fn all(filters: &[Filter]) -> Result<Vec<Bdoc>, StoreError> {
    filters.iter().map(filter).collect()
}

/// A sort as a document; a field that comes twice counts where it comes first.
///
/// # Errors
/// [`StoreError::InvalidFilter`] for what MongoDB has no words for.
pub(super) fn sort(keys: &[SortKey]) -> Result<Bdoc, StoreError> {
    let mut sort = Bdoc::new();
    for key in keys {
        let name = if key.is_insertion() { insertion() } else { path(&key.field)? };
        if !sort.contains_key(&name) {
            sort.insert(name, direction(key.order));
        }
    }
    if !sort.contains_key(insertion()) {
        sort.insert(insertion(), direction(tie_order(keys)));
    }
    Ok(sort)
}

/// The keys of an index over these fields, which serves their sorts.
///
/// # Errors
/// [`StoreError::InvalidFilter`] for what MongoDB has no words for.
pub(super) fn index(fields: &[FieldPath]) -> Result<Bdoc, StoreError> {
    let mut keys = Bdoc::new();
    for field in fields {
        keys.insert(path(field)?, 1_i32);
    }
    keys.insert(insertion(), 1_i32);
    Ok(keys)
}

/// The field with the order of insertion.
pub(super) fn insertion() -> String {
    format!("{HIDDEN}.order")
}

fn direction(order: Order) -> i32 {
    match order {
        Order::Ascending => 1,
        Order::Descending => -1,
    }
}

fn path(field: &FieldPath) -> Result<String, StoreError> {
    let segments = field.segments();
    let refused = segments.iter().find(|name| name.contains(['.', '\0']) || name.starts_with('$'));
    if let Some(name) = refused {
        let why = format!("MongoDB cannot ask for a field with the name {name:?}; rename it");
        return Err(StoreError::InvalidFilter { at: field.to_string(), why });
    }
    Ok(segments.join("."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_said_in_mongodbs_words() {
        let parsed = |value| filter(&Filter::parse(&value).unwrap());
        assert_eq!(parsed(json!({})).unwrap(), doc! {});
        assert_eq!(
            parsed(json!({ "a.0.b": { "$gte": 1, "$lt": 2.5 }, "c": { "$nin": [null] } })).unwrap(),
            doc! { "$and": [
                { "$and": [{ "a.0.b": { "$gte": 1_i64 } }, { "a.0.b": { "$lt": 2.5 } }] },
                { "$nor": [{ "c": { "$in": [Bson::Null] } }] },
            ] }
        );
        let refused = parsed(json!({ "a\\.b": 1 })).unwrap_err();
        assert!(matches!(refused, StoreError::InvalidFilter { .. }), "{refused}");
    }

    #[test]
    fn every_sort_ends_with_the_insertion_in_its_last_direction() {
        let sorted = |text| sort(&SortKey::parse_list(text).unwrap()).unwrap();
        assert_eq!(sorted(""), doc! { "_courant.order": 1_i32 });
        assert_eq!(sorted("a,-b"), doc! { "a": 1_i32, "b": -1_i32, "_courant.order": -1_i32 });
        assert_eq!(sorted("-$natural,a"), doc! { "_courant.order": -1_i32, "a": 1_i32 });
    }
}
