//! Whether both libraries say the same about a document.
//!
//! Numbers must have the same kind and the same bits, keys the same order, unless a chain
//! has a `default` or a `cardinality`, whose keys Java orders by a hash table. What the
//! README lists as deliberate has verdicts of its own; each is asked only where the two
//! results differ.

use std::collections::BTreeSet;

use courant_jolt::{Arena, Jolt, Object, Value, parse, to_vec};
use serde_json::Value as Json;

use crate::Outcome;

/// What became of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Both refuse the specification.
    Refused,
    /// Both fail.
    Failed,
    /// Equal, and nothing: null, or an empty container.
    Nothing,
    /// Equal, and the document as it was.
    Unchanged,
    /// Equal, and something else.
    Changed,
    /// Equal once each operation of the Java chain has a document of its own.
    EqualApart,
    /// One operation of Java shared a subtree or changed what it read.
    Aliased,
    /// Java cannot change a list that a function made.
    Fixed,
    /// Half of a surrogate pair in Java's text.
    Half,
    /// Two star keys at one level of `cardinality`, which Java refuses.
    Stars,
    /// An escaped bracket in a path, which Java takes for an index.
    Bracket,
    /// A `default` whose spec is no object, at which Java always fails.
    Default,
    /// The order of a hash table decided: two keys of a `default` that mean one place, or a
    /// later operation that sees the order of keys. Each operation alone does the same.
    Order,
    /// A literal separator of `split` that this library refuses ahead.
    Separator,
    /// Something is too large for this library.
    Bound,
    Different,
}

/// Judges each document of a case; one verdict where the specification is refused.
pub(crate) fn judge(
    spec: &Json,
    inputs: &[Json],
    context: &Json,
    answer: &str,
) -> Outcome<Vec<Verdict>> {
    let arena = Arena::new();
    let answers = parse(&arena, answer.trim_end().as_bytes())?;
    let all = |verdict| Ok(vec![verdict]);
    match (Jolt::compile(spec), answers) {
        (Ok(jolt), Value::Array(answers)) => {
            let case = Case { spec, jolt, context };
            let each = inputs.iter().zip(answers.iter());
            each.map(|(input, answer)| case.judge(input, answer)).collect()
        }
        (Err(errors), Value::Array(_)) => all(why_refused(spec, &errors.to_string())),
        (Err(_), _) => all(Verdict::Refused),
        (Ok(_), _) if has_two_stars(spec) => all(Verdict::Stars),
        (Ok(_), _) => all(Verdict::Different),
    }
}

struct Case<'c> {
    spec: &'c Json,
    jolt: Jolt,
    context: &'c Json,
}

impl Case<'_> {
    fn judge(&self, input: &Json, answer: Value<'_>) -> Outcome<Verdict> {
        let Value::Object(answer) = answer else { return Err("an answer is an object".into()) };
        let (input, mut output) = (input.to_string().into_bytes(), Vec::new());
        let worked = self.jolt.transform_into(&input, Some(self.context), &mut output);
        let is_large = worked.as_ref().is_err_and(|error| error.to_string().contains("too large"));
        let arena = Arena::new();
        let ours = if worked.is_ok() { Some(parse(&arena, &output)?) } else { None };
        Ok(if self.same(ours, answer.get("ok")) {
            match ours {
                None => Verdict::Failed,
                Some(ours) if is_nothing(ours) => Verdict::Nothing,
                Some(ours) if equal(ours, parse(&arena, &input)?, true) => Verdict::Unchanged,
                Some(_) => Verdict::Changed,
            }
        } else if is_large {
            Verdict::Bound
        } else {
            self.why(ours, answer)
        })
    }

    /// Why the results are not the same.
    fn why(&self, ours: Option<Value<'_>>, answer: &Object<'_>) -> Verdict {
        let apart = answer.get("apart").map(|apart| match apart {
            Value::Array(output) => output.get(0),
            _ => None,
        });
        if answer.get("half").is_some() {
            Verdict::Half
        } else if apart.is_some_and(|apart| self.same(ours, apart)) {
            Verdict::EqualApart
        } else if answer.get("aliased").is_some() || squashes_elsewhere(self.spec) {
            Verdict::Aliased
        } else if answer.get("fixed").is_some() {
            Verdict::Fixed
        } else if has_rivals(self.spec) {
            Verdict::Order
        } else if self.spec.to_string().contains(r"\\[") {
            Verdict::Bracket
        } else {
            Verdict::Different
        }
    }

    fn same(&self, ours: Option<Value<'_>>, theirs: Option<Value<'_>>) -> bool {
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => equal(ours, theirs, !is_hashed(self.spec)),
            (None, None) => true,
            _ => false,
        }
    }
}

/// The names of a chain's operations.
pub(crate) fn operations(spec: &Json) -> impl Iterator<Item = &str> {
    let entries = spec.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.get("operation")?.as_str())
}

/// Whether Java takes keys in the order of a hash table.
pub(crate) fn is_hashed(spec: &Json) -> bool {
    operations(spec).any(|name| matches!(name, "default" | "cardinality"))
}

/// Why only this library refuses a specification.
fn why_refused(spec: &Json, errors: &str) -> Verdict {
    let entries = spec.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_default = |entry: &Json| entry["operation"] == "default" && !entry["spec"].is_object();
    if errors.contains("is no regular expression") {
        Verdict::Separator
    } else if entries.iter().any(is_default) {
        Verdict::Default
    } else {
        Verdict::Different
    }
}

/// Whether a function squashes what it read elsewhere.
fn squashes_elsewhere(spec: &Json) -> bool {
    let spec = spec.to_string();
    spec.contains("=squashNulls(") || spec.contains("=recursivelySquashNulls(")
}

/// Whether a `cardinality` has two keys with stars at one level.
fn has_two_stars(spec: &Json) -> bool {
    has_level(spec, "cardinality", |keys| keys.iter().filter(|key| key.contains('*')).count() > 1)
}

/// Whether a `default` has `a` and `a[]`, or `1` and `01`, at one level.
fn has_rivals(spec: &Json) -> bool {
    fn place(key: &str) -> String {
        let name = key.replace("[]", "");
        name.parse::<i32>().map_or(name, |index| index.to_string())
    }
    has_level(spec, "default", |keys| {
        let places: BTreeSet<_> = keys.iter().map(|key| place(key)).collect();
        places.len() < keys.len()
    })
}

/// Whether an operation of that name has an object in its spec whose keys are so.
fn has_level(spec: &Json, operation: &str, is_so: fn(&[&str]) -> bool) -> bool {
    fn below(spec: &Json, is_so: fn(&[&str]) -> bool) -> bool {
        let Some(object) = spec.as_object() else { return false };
        let keys: Vec<_> = object.keys().map(String::as_str).collect();
        is_so(&keys) || object.values().any(|spec| below(spec, is_so))
    }
    let entries = spec.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().any(|entry| entry["operation"] == operation && below(&entry["spec"], is_so))
}

fn is_nothing(value: Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Array(array) => array.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn equal(a: Value<'_>, b: Value<'_>, ordered: bool) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Number(a), Value::Number(b)) if a.is_double() => {
            b.is_double() && a.to_f64().to_bits() == b.to_f64().to_bits()
        }
        // Digits: a whole number can be larger than any type.
        (Value::Number(_), Value::Number(_)) => to_vec(a) == to_vec(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b, ordered))
        }
        (Value::Object(a), Value::Object(b)) => {
            let in_order = || a.iter().map(|(key, _)| key).eq(b.iter().map(|(key, _)| key));
            a.len() == b.len()
                && (!ordered || in_order())
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b, ordered)))
        }
        _ => false,
    }
}
