//! Sort orders: read from text, and laid out as bytes that compare.
//!
//! `-timestamp,name` sorts by `timestamp` descending, then by `name`. Ties follow the
//! order of insertion, in the direction of the last field, so that every order is
//! total and a page of results never overlaps the next one.

use courant_model::{json::FieldPath, limits::SORT_FIELDS_MAX};

use super::{Document, Order, SortKey, values::keys_at};
use crate::StoreError;

impl SortKey {
    /// Reads fields joined by commas, a `-` before those that descend.
    ///
    /// # Errors
    /// [`StoreError::InvalidFilter`] at `sort`: a field path that is none, or more
    /// than [`SORT_FIELDS_MAX`] fields.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, StoreError> {
        let refuse = |why| StoreError::InvalidFilter { at: "sort".into(), why };
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let keys = text
            .split(',')
            .map(|part| {
                let part = part.trim();
                let (order, name) = match part.strip_prefix('-') {
                    Some(name) => (Order::Descending, name),
                    None => (Order::Ascending, part.strip_prefix('+').unwrap_or(part)),
                };
                let field =
                    name.parse().map_err(|error: courant_model::json::FieldPathError| {
                        refuse(error.to_string())
                    })?;
                Ok(Self { field, order })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        if keys.len() > SORT_FIELDS_MAX {
            return Err(refuse(format!(
                "{} fields to sort by; {SORT_FIELDS_MAX} are allowed",
                keys.len()
            )));
        }
        Ok(keys)
    }

    /// Whether this sorts by the order of insertion.
    pub(crate) fn is_insertion(&self) -> bool {
        *self.field.segments() == [Self::INSERTED]
    }

    /// The order of insertion.
    pub fn inserted(order: Order) -> Self {
        Self { field: FieldPath::field(Self::INSERTED), order }
    }
}

/// The direction in which ties of a sort follow the insertion.
pub(crate) fn tie_order(sort: &[SortKey]) -> Order {
    sort.last().map(|key| key.order).unwrap_or_default()
}

/// The bytes of a document's place in a sort: they compare as the sort wants it.
/// A list sorts by its least item ascending, by its greatest descending.
pub(crate) fn place(document: &Document, stamp: u64, sort: &[SortKey]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    for key in sort {
        if key.is_insertion() {
            push(&mut out, &stamp.to_be_bytes(), key.order);
            continue;
        }
        let keys = keys_at(document, &key.field);
        let value = match key.order {
            Order::Ascending => keys.values.first(),
            Order::Descending => keys.values.last(),
        };
        push(&mut out, value.map_or(&[], Vec::as_slice), key.order);
    }
    push(&mut out, &stamp.to_be_bytes(), tie_order(sort));
    out
}

fn push(out: &mut Vec<u8>, bytes: &[u8], order: Order) {
    match order {
        Order::Ascending => out.extend(bytes),
        Order::Descending => out.extend(bytes.iter().map(|byte| !byte)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sort_is_read_from_text() {
        let keys = SortKey::parse_list("-timestamp, user.name,+_id").unwrap();
        let read: Vec<_> = keys.iter().map(|key| (key.field.to_string(), key.order)).collect();
        assert_eq!(
            read,
            [
                ("timestamp".to_owned(), Order::Descending),
                ("user.name".to_owned(), Order::Ascending),
                ("_id".to_owned(), Order::Ascending),
            ]
        );
        assert_eq!(SortKey::parse_list(" ").unwrap(), []);
        assert!(SortKey::parse_list("-$natural").unwrap()[0].is_insertion());
        assert!(SortKey::parse_list("a,,b").unwrap_err().to_string().contains("empty segment"));
        assert!(
            SortKey::parse_list(&["a"; 33].join(","))
                .unwrap_err()
                .to_string()
                .contains("33 fields")
        );
    }

    #[test]
    fn a_list_sorts_by_its_least_or_greatest_item() {
        let place_of = |value, order| {
            let document = json!({ "n": value });
            let sort = [SortKey { field: FieldPath::field("n"), order }];
            place(document.as_object().unwrap(), 1, &sort)
        };
        let (up, down) = (Order::Ascending, Order::Descending);
        assert!(place_of(json!([9, 1]), up) < place_of(json!(2), up));
        assert!(place_of(json!([9, 1]), down) < place_of(json!(8), down));
        assert!(place_of(json!([]), up) < place_of(json!(null), up));
    }
}
