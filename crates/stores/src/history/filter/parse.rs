//! Reads filters from MongoDB's JSON notation.
//!
//! Every refusal names the place within the filter. Unknown operators are refused,
//! never ignored: a condition that is dropped silently answers with too much.

use courant_model::{
    json::FieldPath,
    limits::{FILTER_CONDITIONS_MAX, FILTER_VALUES_MAX, NESTING_MAX},
    problem::nearest,
};
use serde_json::{Map, Value};

use super::{Filter, Operator};
use crate::StoreError;

const LOGIC: [&str; 3] = ["$and", "$or", "$nor"];
const OPERATORS: [&str; 10] =
    ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not"];

impl Filter {
    /// Reads a filter: an object of fields with values or operators, and of `$and`,
    /// `$or` and `$nor` with lists of filters.
    ///
    /// # Errors
    /// [`StoreError::InvalidFilter`] with the place: an unknown operator, an operand
    /// of the wrong kind, more than [`FILTER_CONDITIONS_MAX`] conditions or more than
    /// [`NESTING_MAX`] levels.
    pub fn parse(value: &Value) -> Result<Self, StoreError> {
        let mut reader = Reader { path: Vec::new(), conditions: 0 };
        reader.filter(value)
    }
}

/// Where the reader is, and how much it has read.
struct Reader {
    path: Vec<String>,
    conditions: usize,
}

impl Reader {
    fn filter(&mut self, value: &Value) -> Result<Filter, StoreError> {
        let Value::Object(members) = value else {
            return self.refuse(format!("expected an object of conditions, found {}", kind(value)));
        };
        let mut conditions = Vec::with_capacity(members.len());
        for (name, value) in members {
            let condition = self.within(name, |reader| match name.strip_prefix('$') {
                Some(_) => reader.logic(name, value),
                None => reader.field(name, value),
            })?;
            conditions.push(condition);
        }
        Ok(all_of(conditions))
    }

    fn logic(&mut self, name: &str, value: &Value) -> Result<Filter, StoreError> {
        if !LOGIC.contains(&name) {
            return self.unknown(name, &LOGIC);
        }
        let Value::Array(items) = value else {
            return self.refuse(format!("expected a list of filters, found {}", kind(value)));
        };
        if items.is_empty() {
            return self.refuse("expected at least one filter in the list, found none".into());
        }
        let mut filters = Vec::with_capacity(items.len().min(FILTER_CONDITIONS_MAX));
        for (index, item) in items.iter().enumerate() {
            filters.push(self.within(&index.to_string(), |reader| {
                reader.count()?;
                reader.filter(item)
            })?);
        }
        Ok(match name {
            "$and" => Filter::And(filters),
            "$or" => Filter::Or(filters),
            _ => Filter::Not(Box::new(Filter::Or(filters))),
        })
    }

    fn field(&mut self, name: &str, value: &Value) -> Result<Filter, StoreError> {
        let field: FieldPath = match name.parse() {
            Ok(field) => field,
            Err(error) => return self.refuse(error.to_string()),
        };
        match value {
            Value::Object(members) if members.keys().any(|name| name.starts_with('$')) => {
                self.operators(&field, members)
            }
            value => self.condition(&field, "$eq", value),
        }
    }

    fn operators(
        &mut self,
        field: &FieldPath,
        members: &Map<String, Value>,
    ) -> Result<Filter, StoreError> {
        let mut conditions = Vec::with_capacity(members.len());
        for (name, value) in members {
            conditions.push(self.within(name, |reader| reader.condition(field, name, value))?);
        }
        Ok(all_of(conditions))
    }

    fn condition(
        &mut self,
        field: &FieldPath,
        name: &str,
        value: &Value,
    ) -> Result<Filter, StoreError> {
        self.count()?;
        let compare =
            |operator| Ok(Filter::Compare { field: field.clone(), operator, value: value.clone() });
        match name {
            "$eq" => compare(Operator::Equal),
            "$ne" => compare(Operator::NotEqual),
            "$gt" => compare(Operator::Greater),
            "$gte" => compare(Operator::GreaterOrEqual),
            "$lt" => compare(Operator::Less),
            "$lte" => compare(Operator::LessOrEqual),
            "$in" => self.values(field, value),
            "$nin" => Ok(Filter::Not(Box::new(self.values(field, value)?))),
            "$exists" => match value {
                Value::Bool(exists) => Ok(Filter::Exists { field: field.clone(), exists: *exists }),
                other => self.refuse(format!("expected true or false, found {}", kind(other))),
            },
            "$not" => match value {
                Value::Object(members) if !members.is_empty() => {
                    Ok(Filter::Not(Box::new(self.operators(field, members)?)))
                }
                other => {
                    self.refuse(format!("expected an object of operators, found {}", kind(other)))
                }
            },
            unknown => self.unknown(unknown, &OPERATORS),
        }
    }

    fn values(&self, field: &FieldPath, value: &Value) -> Result<Filter, StoreError> {
        match value {
            Value::Array(values) if values.len() > FILTER_VALUES_MAX => self.refuse(format!(
                "the list has {} values; {FILTER_VALUES_MAX} are allowed",
                values.len()
            )),
            Value::Array(values) => Ok(Filter::In { field: field.clone(), values: values.clone() }),
            other => self.refuse(format!("expected a list of values, found {}", kind(other))),
        }
    }

    fn count(&mut self) -> Result<(), StoreError> {
        self.conditions += 1;
        if self.conditions > FILTER_CONDITIONS_MAX {
            return self.refuse(format!("more than {FILTER_CONDITIONS_MAX} conditions"));
        }
        Ok(())
    }

    fn within<T>(
        &mut self,
        step: &str,
        read: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.path.push(step.to_owned());
        if self.path.len() > NESTING_MAX {
            self.path.truncate(4);
            return self.refuse(format!("nested deeper than {NESTING_MAX} levels"));
        }
        let result = read(self)?;
        self.path.pop();
        Ok(result)
    }

    fn unknown<T>(&self, name: &str, known: &[&str]) -> Result<T, StoreError> {
        let remedy = match nearest(name, known.iter().copied()) {
            Some(word) => format!("did you mean {word:?}?"),
            None => format!("use one of {}", known.join(", ")),
        };
        self.refuse(format!("unknown operator {name:?}; {remedy}"))
    }

    fn refuse<T>(&self, why: String) -> Result<T, StoreError> {
        Err(StoreError::InvalidFilter { at: self.path.join("."), why })
    }
}

fn all_of(mut conditions: Vec<Filter>) -> Filter {
    match conditions.len() {
        0 => Filter::All,
        1 => conditions.remove(0),
        _ => Filter::And(conditions),
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::any_json;

    fn refusal(filter: &Value) -> String {
        Filter::parse(filter).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_names_the_place_and_the_remedy() {
        assert_eq!(
            refusal(&json!({ "a": { "$gtt": 1 } })),
            "filter is invalid at \"a.$gtt\": unknown operator \"$gtt\"; did you mean \"$gt\"?"
        );
        assert_eq!(
            refusal(&json!({ "$or": [{ "a": 1 }, 5] })),
            "filter is invalid at \"$or.1\": expected an object of conditions, found a number"
        );
        assert!(refusal(&json!({ "$orr": [] })).contains("did you mean \"$or\"?"));
        assert!(refusal(&json!({ "a": { "$in": 1 } })).contains("expected a list of values"));
        assert!(refusal(&json!({ "a": { "$exists": 1 } })).contains("expected true or false"));
        assert!(
            refusal(&json!({ "a": { "$not": 1 } })).contains("expected an object of operators")
        );
        assert!(refusal(&json!({ "$and": [] })).contains("at least one filter"));
        assert!(refusal(&json!({ "a..b": 1 })).contains("empty segment"));
        assert!(refusal(&json!({ "a": { "$gt": 1, "b": 2 } })).contains("unknown operator \"b\""));
    }

    #[test]
    fn filters_too_large_are_refused() {
        let many: Vec<Value> = (0..=FILTER_CONDITIONS_MAX).map(|n| json!({ "a": n })).collect();
        assert!(refusal(&json!({ "$or": many })).contains("more than 256 conditions"));
        let deep = (0..100).fold(json!({ "a": 1 }), |inner, _| json!({ "$and": [inner] }));
        assert!(refusal(&deep).contains("nested deeper than 128 levels"));
        let values: Vec<usize> = (0..=FILTER_VALUES_MAX).collect();
        assert!(refusal(&json!({ "a": { "$in": values } })).contains("1000 are allowed"));
    }

    proptest! {
        #[test]
        fn no_json_panics(value in any_json()) {
            let _ = Filter::parse(&value);
        }
    }
}
