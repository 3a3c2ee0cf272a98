//! Makes a case that differs smaller, as long as it still differs.

use serde_json::{Value, json};

use crate::Outcome;

/// Tries everything that is one step smaller, takes the first that still differs, and
/// begins again.
pub(crate) fn smallest(
    spec: &Value,
    input: &Value,
    mut differs: impl FnMut(&Value, &Value) -> Outcome<bool>,
) -> Outcome<(Value, Value)> {
    let mut smallest = json!([spec, input]);
    'smaller: loop {
        for candidate in smaller(&smallest) {
            let Some([spec, input]) = candidate.as_array().map(Vec::as_slice) else { continue };
            if spec.as_array().is_some_and(|chain| !chain.is_empty()) && differs(spec, input)? {
                smallest = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    Ok((smallest[0].take(), smallest[1].take()))
}

/// The same with one thing left out, or a container replaced by what is in it, or a text
/// shorter by a character.
fn smaller(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Array(items) => {
            for n in 0..items.len() {
                let mut fewer = items.clone();
                fewer.remove(n);
                all.push(Value::Array(fewer));
            }
            for (n, item) in items.iter().enumerate() {
                all.extend(smaller(item).into_iter().map(|smaller| {
                    let mut items = items.clone();
                    items[n] = smaller;
                    Value::Array(items)
                }));
            }
            all.extend(items.iter().cloned());
        }
        Value::Object(object) => {
            for key in object.keys().filter(|key| *key != "operation") {
                let mut fewer = object.clone();
                fewer.shift_remove(key);
                all.push(Value::Object(fewer));
            }
            for (key, item) in object.iter().filter(|(key, _)| *key != "operation") {
                all.extend(smaller(item).into_iter().map(|smaller| {
                    let mut object = object.clone();
                    object[key] = smaller;
                    Value::Object(object)
                }));
            }
            all.extend(object.values().cloned());
        }
        Value::String(text) => all.extend(shorter(text).map(Value::from)),
        _ => {}
    }
    all
}

fn shorter(text: &str) -> impl Iterator<Item = String> {
    text.char_indices().map(|(at, c)| format!("{}{}", &text[..at], &text[at + c.len_utf8()..]))
}
