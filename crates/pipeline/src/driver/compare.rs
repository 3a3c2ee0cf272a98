//! How a found value differs from the expected one, in words.
//!
//! Values are compared as JSON; numbers by what they are, so that 1 is 1.0. With
//! `partial`, objects may have further fields, at every depth. The first difference is
//! told, with its path.

use serde_json::Value;

/// Characters of a value that a message quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// The first difference; `None` when the found is as expected.
pub(super) fn difference(expected: &Value, found: &Value, partial: bool) -> Option<String> {
    let mut path = Vec::new();
    let what = differ(expected, found, partial, &mut path)?;
    Some(if path.is_empty() { what } else { format!("field \"{}\" {what}", path.join(".")) })
}

/// A value as messages quote it.
pub(super) fn quote(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn differ(
    expected: &Value,
    found: &Value,
    partial: bool,
    path: &mut Vec<String>,
) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, expected) in expected {
                path.push(name.clone());
                let Some(found) = found.get(name) else {
                    return Some(format!("is missing, expected {}", quote(expected)));
                };
                if let Some(what) = differ(expected, found, partial, path) {
                    return Some(what);
                }
                path.pop();
            }
            let further = found.iter().find(|(name, _)| !partial && !expected.contains_key(*name));
            further.map(|(name, value)| {
                path.push(name.clone());
                format!("is {}, expected nothing", quote(value))
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).enumerate().find_map(|(index, (expected, found))| {
                path.push(index.to_string());
                let what = differ(expected, found, partial, path);
                if what.is_none() {
                    path.pop();
                }
                what
            })
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => None,
        _ if expected == found => None,
        _ => Some(format!("is {}, expected {}", quote(found), quote(expected))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_told_with_its_path() {
        let found = json!({ "a": 1, "b": { "c": [1, 2], "d": null } });
        let against = |expected: Value, partial| difference(&expected, &found, partial);
        assert_eq!(against(json!({ "a": 1.0, "b": { "c": [1, 2], "d": null } }), false), None);
        assert_eq!(against(json!({ "b": { "c": [1, 2] } }), true), None);
        assert_eq!(
            against(json!({ "a": 1, "b": { "c": [1, 2] } }), false).unwrap(),
            "field \"b.d\" is null, expected nothing"
        );
        assert_eq!(
            against(json!({ "b": { "c": [1, 3] } }), true).unwrap(),
            "field \"b.c.1\" is 2, expected 3"
        );
        assert_eq!(
            against(json!({ "b": { "e": 5 } }), true).unwrap(),
            "field \"b.e\" is missing, expected 5"
        );
        assert_eq!(difference(&json!(1), &json!("1"), false).unwrap(), "is \"1\", expected 1");
    }
}
