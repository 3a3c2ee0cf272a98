//! Functions on strings. They count in UTF-16 units.

use regex::{Regex, RegexBuilder};

use crate::{
    budget::{Budget, Fault},
    java,
    limits::REGEX_BYTES_MAX,
    value::{Number, Value},
};

/// The widest that padding makes a string.
const WIDTH_MAX: i32 = 500;

pub(super) fn to_lower<'x>(value: &Value<'x>) -> Option<Value<'x>> {
    value.as_str().map(|text| text.to_lowercase().into())
}

pub(super) fn to_upper<'x>(value: &Value<'x>) -> Option<Value<'x>> {
    value.as_str().map(|text| text.to_uppercase().into())
}

pub(super) fn trim<'x>(value: &Value<'x>) -> Option<Value<'x>> {
    let trimmed = |text: &str| text.trim_matches(|c: char| c <= ' ').to_owned();
    value.as_str().map(|text| trimmed(text).into())
}

pub(super) fn concat<'x>(items: &[&Value<'x>], budget: &mut Budget) -> Result<Value<'x>, Fault> {
    let mut text = String::new();
    for item in items.iter().filter(|item| !item.is_null()) {
        let before = text.len();
        java::append(item, &mut text);
        budget.text(text.len() - before)?;
    }
    Ok(text.into())
}

/// Leaves out nulls and empty strings, but not the separator before them.
pub(super) fn join<'x>(
    separator: &str,
    items: &[&Value<'x>],
    budget: &mut Budget,
) -> Result<Value<'x>, Fault> {
    let mut text = String::new();
    for (n, item) in items.iter().enumerate() {
        let before = text.len();
        if !item.is_null() {
            java::append(item, &mut text);
        }
        if text.len() > before && n + 1 < items.len() {
            text.push_str(separator);
        }
        budget.text(text.len() - before)?;
    }
    Ok(text.into())
}

pub(super) fn substring<'x>(items: &[&Value<'x>]) -> Option<Value<'x>> {
    let [Value::String(text), Value::Number(Number::Int(start)), Value::Number(Number::Int(end))] =
        items
    else {
        return None;
    };
    let (start, end) = (usize::try_from(*start).ok()?, usize::try_from(*end).ok()?);
    (start < end).then(|| java::substring(text, start, end)).flatten().map(Into::into)
}

pub(super) fn pad<'x>(left: bool, text: &str, items: &[&Value<'x>]) -> Option<Value<'x>> {
    let [Value::Number(Number::Int(width)), Value::String(filler), ..] = items else {
        return None;
    };
    let mut filler = filler.chars();
    let (Some(fill), None) = (filler.next(), filler.next()) else { return None };
    if !(1..=WIDTH_MAX).contains(width) || fill.len_utf16() > 1 {
        return None;
    }
    let missing = usize::try_from(*width).ok()?.saturating_sub(java::length(text));
    let padding: String = std::iter::repeat_n(fill, missing).collect();
    Some(if left { padding + text } else { text.to_owned() + &padding }.into())
}

/// Compiles what `split` splits at.
pub(super) fn separator(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("{text:?} is no regular expression that can be used here: {why}")
    })
}

/// `split(separator, text)`, or of each text of a list.
pub(super) fn split<'x>(known: Option<&Regex>, arguments: &[&Value<'x>]) -> Option<Value<'x>> {
    let spread: Vec<&Value<'x>>;
    let arguments = match arguments {
        [Value::Array(items)] => {
            spread = items.iter().collect();
            &spread
        }
        other => other,
    };
    let [Value::String(text), rest @ ..] = arguments else { return None };
    let compiled;
    let separator = match known.filter(|known| known.as_str() == &**text) {
        Some(known) => known,
        None => {
            compiled = separator(text).ok()?;
            &compiled
        }
    };
    let each = |item: &Value<'x>| pieces(separator, item).unwrap_or_else(|| item.clone());
    match rest {
        [] => None,
        [Value::Array(items)] => Some(Value::Array(items.iter().map(each).collect())),
        [one] => pieces(separator, one),
        several => Some(Value::Array(several.iter().map(|item| each(item)).collect())),
    }
}

/// As Java's `split`: no empty strings at the end, none before a match of nothing at the
/// start, and the whole string where nothing matches.
fn pieces<'x>(separator: &Regex, value: &Value<'x>) -> Option<Value<'x>> {
    let text = value.as_str()?;
    let (mut pieces, mut start) = (Vec::new(), 0);
    for found in separator.find_iter(text) {
        if found.end() == 0 || (found.is_empty() && found.start() == text.len()) {
            continue;
        }
        pieces.push(&text[start..found.start()]);
        start = found.end();
    }
    if pieces.is_empty() {
        return Some(Value::Array(vec![text.to_owned().into()]));
    }
    pieces.push(&text[start..]);
    while pieces.last().is_some_and(|piece| piece.is_empty()) {
        pieces.pop();
    }
    Some(Value::Array(pieces.into_iter().map(|piece| piece.to_owned().into()).collect()))
}
