//! How a question is answered: by id, along an index, or along the insertion.
//!
//! The planner looks at the conditions that hold for every answer (the filter itself,
//! or the members of its outermost *and*). Ids win; else the index that fixes the most
//! fields, or that already has the wanted order; else a scan. Invariant: an access
//! finds every document that can match, perhaps more; the filter decides.

use std::{ops::Bound, sync::Arc};

use serde_json::Value;

use super::{
    index::{Index, cut},
    keys::after_prefix,
};
use crate::{
    Filter, FindQuery, Order, SortKey,
    history::{
        filter::Operator,
        sort::tie_order,
        values::{encode, rank_of},
    },
};

/// How documents are reached, and whether they come in the order that is wanted.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) access: Access,
    /// The order of the access is the order of the answer.
    pub(super) ordered: bool,
    /// The access runs from its end.
    pub(super) reverse: bool,
}

/// Where documents are found.
#[derive(Debug)]
pub(super) enum Access {
    Ids(Vec<String>),
    Index { index: Arc<Index>, ranges: Vec<Range> },
    Insertion,
}

/// A range of index keys.
pub(super) type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Plans a question over these indexes.
pub(super) fn plan(query: &FindQuery, indexes: &[Arc<Index>]) -> Plan {
    let conditions = conjuncts(&query.filter);
    if let Some(ids) = ids(&conditions) {
        return Plan { access: Access::Ids(ids), ordered: false, reverse: false };
    }
    let by_insertion = query.sort.iter().all(SortKey::is_insertion);
    // Of several insertion keys the first decides; nothing is left for the others.
    let insertion_order = query.sort.first().map(|key| key.order).unwrap_or_default();
    let best = indexes
        .iter()
        .map(|index| Candidate::new(index, &conditions, query))
        .max_by_key(|candidate| (candidate.fixed, candidate.ranged, candidate.ordered));
    match best {
        Some(best) if best.fixed > 0 || best.ranged || (best.ordered && !by_insertion) => {
            best.plan(query)
        }
        _ => Plan {
            access: Access::Insertion,
            ordered: by_insertion,
            reverse: by_insertion && insertion_order == Order::Descending,
        },
    }
}

/// What one index can do for a question.
struct Candidate<'a> {
    index: &'a Arc<Index>,
    /// Fields fixed to values, from the first on.
    fixed: usize,
    /// Whether the field after those is bounded.
    ranged: bool,
    ordered: bool,
    ranges: Vec<Range>,
}

impl<'a> Candidate<'a> {
    fn new(index: &'a Arc<Index>, conditions: &[&Filter], query: &FindQuery) -> Self {
        let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
        let mut fixed = 0;
        let mut bounds = None;
        for field in &index.fields {
            let on_field = || conditions.iter().filter(|condition| names(condition, field));
            // One list of values a key: a second would multiply the ranges.
            let points = on_field().find_map(|condition| points(condition, prefixes.len() == 1));
            if let Some(points) = points {
                prefixes = prefixes
                    .iter()
                    .flat_map(|prefix| points.iter().map(|point| [&**prefix, cut(point)].concat()))
                    .collect();
                fixed += 1;
                continue;
            }
            if let [prefix] = prefixes.as_slice() {
                bounds = range(prefix, on_field().copied(), index.loose());
            }
            break;
        }
        let ordered = prefixes.len() == 1 && keeps_order(index, fixed, &query.sort);
        let ranged = bounds.is_some();
        prefixes.sort_unstable();
        prefixes.dedup();
        let ranges = match bounds {
            Some(bounds) => vec![bounds],
            None => prefixes.into_iter().map(within).collect(),
        };
        Self { index, fixed, ranged, ordered, ranges }
    }

    fn plan(self, query: &FindQuery) -> Plan {
        Plan {
            access: Access::Index { index: Arc::clone(self.index), ranges: self.ranges },
            ordered: self.ordered,
            reverse: self.ordered && tie_order(&query.sort) == Order::Descending,
        }
    }
}

/// Whether an index whose first `fixed` fields have one value each runs in the order
/// of the sort: the rest of its fields are the sort's, all in one direction. The
/// stamps at the end of its keys then settle ties as the sort does.
fn keeps_order(index: &Index, fixed: usize, sort: &[SortKey]) -> bool {
    let rest = &index.fields[fixed..];
    let keys = match sort.split_last() {
        Some((last, keys)) if last.is_insertion() => keys,
        _ => sort,
    };
    let one_direction = sort.iter().all(|key| key.order == tie_order(sort));
    let same =
        keys.len() == rest.len() && keys.iter().zip(rest).all(|(key, field)| key.field == *field);
    // Loose entries mislead about order, except among equal keys.
    one_direction && same && (rest.is_empty() || !index.loose())
}

/// The conditions that every answer meets.
fn conjuncts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::All => Vec::new(),
        Filter::And(filters) => filters.iter().flat_map(conjuncts).collect(),
        other => vec![other],
    }
}

/// The ids that a condition allows. Ids are texts, so other values allow none.
fn ids(conditions: &[&Filter]) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    conditions.iter().find_map(|condition| match condition {
        Filter::Compare { field, operator: Operator::Equal, value } if is_id(field) => {
            Some(text(value).into_iter().collect())
        }
        Filter::In { field, values } if is_id(field) => {
            Some(values.iter().filter_map(text).collect())
        }
        _ => None,
    })
}

fn is_id(field: &courant_model::json::FieldPath) -> bool {
    *field.segments() == ["_id"]
}

fn names(condition: &Filter, name: &courant_model::json::FieldPath) -> bool {
    match condition {
        Filter::Compare { field, .. } | Filter::In { field, .. } => field == name,
        _ => false,
    }
}

/// The bytes of the values that a condition allows. Lists are left to the filter:
/// an index holds their items, not themselves.
fn points(condition: &Filter, several: bool) -> Option<Vec<Vec<u8>>> {
    match condition {
        Filter::Compare { operator: Operator::Equal, value, .. } if !value.is_array() => {
            Some(vec![bytes(value)])
        }
        Filter::In { values, .. } if several && !values.iter().any(Value::is_array) => {
            Some(values.iter().map(bytes).collect())
        }
        _ => None,
    }
}

/// The range that conditions on one field leave, within the type of their values.
/// Cut values make bounds inclusive; the filter is exact. Of a loose index one
/// condition is used: two may be met by different items of a list.
fn range<'a>(
    prefix: &[u8],
    conditions: impl Iterator<Item = &'a Filter>,
    loose: bool,
) -> Option<Range> {
    let mut found: Option<Range> = None;
    for condition in conditions {
        let Filter::Compare { operator, value, .. } = condition else { continue };
        if value.is_array() {
            continue;
        }
        let of_type = [prefix, &[rank_of(value)]].concat();
        let at_value = [prefix, cut(&bytes(value))].concat();
        let (from, to) = match operator {
            Operator::Greater | Operator::GreaterOrEqual => {
                (Bound::Included(at_value), upto(of_type))
            }
            Operator::Less | Operator::LessOrEqual => (Bound::Included(of_type), upto(at_value)),
            Operator::Equal | Operator::NotEqual => continue,
        };
        found = Some(match found {
            None => (from, to),
            Some(earlier) => narrow(earlier, (from, to)),
        });
        if loose {
            break;
        }
    }
    found
}

/// What two ranges share.
fn narrow(left: Range, right: Range) -> Range {
    let from = match (left.0, right.0) {
        (Bound::Included(l), Bound::Included(r)) => Bound::Included(l.max(r)),
        (Bound::Unbounded, other) | (other, _) => other,
    };
    let to = match (left.1, right.1) {
        (Bound::Excluded(l), Bound::Excluded(r)) => Bound::Excluded(l.min(r)),
        (Bound::Unbounded, other) | (other, _) => other,
    };
    (from, to)
}

fn within(prefix: Vec<u8>) -> Range {
    (Bound::Included(prefix.clone()), upto(prefix))
}

fn upto(prefix: Vec<u8>) -> Bound<Vec<u8>> {
    after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded)
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encode(value, &mut bytes);
    bytes
}
